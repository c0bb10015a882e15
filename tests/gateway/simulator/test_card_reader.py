"""Tests of gateway.simulator.card_reader: what a message holds for each way of showing a card; which answer a chip believes."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.card_reader import CardReader, ChipWord, Entry, Shown, StripeWord
from gateway.simulator.chip_card import ChipCard
from gateway.simulator.chip_counters import ChipCounters
from gateway.simulator.errors import CaseError, WalletError
from iso import tlv
from iso.message import Message
from keys import emv
from keys.emv_profile import profiles
from tests.gateway.simulator.fake_issuer import issuer_proof, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

IMK, CVK = bytes.fromhex("404142434445464748494A4B4C4D4E4F"), bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
CARD, OTHER = make_wallet(2).cards
TODAY = date(2026, 11, 23)
REQUEST = Message("0200", {2: CARD.pan.reveal(), 3: "010000", 4: "000001000000", 22: "051", 49: "360"})


def reader(counters: ChipCounters | None = None, *, by_chip: bool = True) -> CardReader:
    """Of terminals before cards with the test keys."""
    return CardReader(lambda card: ChipCard(card, IMK, CVK), counters or ChipCounters(), by_chip=by_chip)


def tags(message: Message) -> dict[str, bytes]:
    """DE55."""
    return dict(tlv.parse(bytes.fromhex(message.fields[55])))


def is_right(message: Message) -> bool:
    """Whether the cryptogram is what the issuer's key makes of the tags that are there."""
    told = tags(message)
    scheme = profiles()["nsiccs"]
    read = scheme.read(told)
    master = emv.issuer(IMK).derive(scheme.master_data(CARD.pan, "00"))
    session = master.derive(emv.session_data(read.r))  # type: ignore[arg-type]
    return told["9F26"] == emv.code(session, read.data, scheme.padding)


def test_a_good_card_by_chip() -> None:
    """DE22 051; amount, currency and kind are those of the message; the counter goes up; no track."""
    here = reader()
    first, second = (here.put(REQUEST, CARD, TODAY) for _ in range(2))
    told = tags(first)
    assert ("051", "000001000000", "0360", "01", "261123") == (
        first.fields[22], told["9F02"].hex(), told["5F2A"].hex(), told["9C"].hex(), told["9A"].hex(),
    )  # fmt: skip
    assert (1, 2) == tuple(int.from_bytes(tags(one)["9F36"]) for one in (first, second))
    assert 35 not in first.fields
    assert is_right(first)
    assert is_right(second)


def test_what_a_chip_cannot_sign_it_signs_as_zeros() -> None:
    """A message on purpose without amount, or with letters in it."""
    for amount in ({}, {4: "TEN THOUSAND"}):
        message = Message("0200", {2: CARD.pan.reveal()} | amount)
        told = tags(reader().put(message, CARD, TODAY))
        assert ("0" * 12, "0000", "00") == (told["9F02"].hex(), told["5F2A"].hex(), told["9C"].hex())


def test_chips_that_are_not_as_they_should() -> None:
    """Each differs in the one thing it says."""
    here = reader()
    good = here.put(REQUEST, CARD, TODAY)
    wrong = here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.WRONG))
    assert (2, False) == (int.from_bytes(tags(wrong)["9F36"]), is_right(wrong))
    assert good.fields[55] == here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.REPLAYED)).fields[55]
    ahead = here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.AHEAD))
    assert (2 + 101, True) == (int.from_bytes(tags(ahead)["9F36"]), is_right(ahead))
    other = here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.OTHER_AMOUNT))
    assert (3, "000001000001", True) == (
        int.from_bytes(tags(other)["9F36"]),
        tags(other)["9F02"].hex(),
        is_right(other),
    )
    declined = here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.DECLINED))
    assert (b"\x00", True) == (tags(declined)["9F27"], is_right(declined))
    assert 55 not in here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.NONE)).fields
    assert 5 + 90 == int.from_bytes(tags(here.put(REQUEST, CARD, TODAY, Shown(skips=90)))["9F36"])


def test_nothing_to_replay() -> None:
    """The chip has to have signed something."""
    here = reader()
    here.put(REQUEST, CARD, TODAY)
    with pytest.raises(CaseError, match="has signed nothing yet"):
        here.put(REQUEST, OTHER, TODAY, Shown(chip=ChipWord.REPLAYED))


def test_ways_of_reading() -> None:
    """DE22, and what comes with it."""
    here = reader()
    expiry = f"{CARD.expires:%y%m}"
    right = ChipCard(CARD, IMK, CVK)
    stripe = here.put(REQUEST, CARD, TODAY, Shown(Entry.STRIPE))
    assert ("901", right.track2("501"), False) == (stripe.fields[22], stripe.fields[35], 55 in stripe.fields)
    fallback = here.put(REQUEST, CARD, TODAY, Shown(Entry.FALLBACK))
    assert ("801", right.track2("601")) == (fallback.fields[22], fallback.fields[35])
    typed = here.put(REQUEST, CARD, TODAY, Shown(Entry.TYPED))
    assert ("011", True) == (typed.fields[22], {35, 55}.isdisjoint(typed.fields))
    image = here.put(REQUEST, CARD, TODAY, Shown(stripe=StripeWord.RIGHT))
    assert (right.track2("601", from_chip=True), True) == (image.fields[35], 55 in image.fields)
    service = here.put(REQUEST, CARD, TODAY, Shown(Entry.STRIPE, service_code="201"))
    assert f"={expiry}201" in service.fields[35]
    assert "901" == reader(by_chip=False).put(REQUEST, CARD, TODAY).fields[22]


def test_values_of_a_stripe() -> None:
    """Right, another, the chip's, none, and no track at all."""
    here = reader()
    tracks = [here.put(REQUEST, CARD, TODAY, Shown(Entry.STRIPE, stripe=word)).fields.get(35) for word in StripeWord]
    right, wrong, of_the_chip, without, none = tracks
    assert right is not None
    assert ChipCard(CARD, IMK, CVK).track2("501") == right
    assert ChipCard(CARD, IMK, CVK).track2("501", from_chip=True) == of_the_chip
    assert (right[:-3], None) == (without, none)
    assert wrong is not None
    assert (right[:-3], True) == (wrong[:-3], right[-3:] != wrong[-3:])


def test_chips_go_on_where_they_were(tmp_path: Path) -> None:
    """The counter is kept before it is used; a stranger's is not."""
    path = tmp_path / "counters.txt"
    here = reader(ChipCounters(path))
    here.put(REQUEST, CARD, TODAY, Shown(skips=4))
    here.put(REQUEST, CARD, TODAY, Shown(chip=ChipWord.AHEAD))
    assert 6 == int.from_bytes(tags(reader(ChipCounters(path)).put(REQUEST, CARD, TODAY))["9F36"])
    assert {CARD.account_number} == {line.split()[0] for line in path.read_text(encoding="ascii").splitlines()}
    worn = ChipCounters()
    worn.keep(CARD.account_number, 65_535)
    with pytest.raises(WalletError, match="has made 65535 transactions"):
        reader(worn).put(REQUEST, CARD, TODAY)


def answer(code: str, chip_data: str = "") -> Message:
    """An answer with or without DE55."""
    fields = {2: CARD.pan.reveal(), 39: code} | ({55: chip_data} if chip_data else {})
    return Message("0210", fields)


def proof(request: Message, code: str) -> str:
    """What the issuer answers the chip."""
    return issuer_proof(request, code, IMK)


def test_which_answer_a_chip_believes() -> None:
    """An approval must prove itself, a decline may leave it, and what is there must be right."""
    here = reader()
    asked = here.put(REQUEST, CARD, TODAY)
    assert "" == here.fault(asked, answer("00", proof(asked, "00")))
    assert "" == here.fault(asked, answer("51", proof(asked, "51")))
    assert "" == here.fault(asked, answer("51"))
    assert "the approval of 0200 has no ARPC (DE55, tag 91)" == here.fault(asked, answer("00"))
    assert "the approval of 0200 has no ARPC (DE55, tag 91)" == here.fault(asked, answer("00", "9F36020001"))
    assert "the answer to 0200 has a wrong ARPC" == here.fault(asked, answer("51", proof(asked, "00")))
    assert "the answer to 0200 has chip data that cannot be read" == here.fault(asked, answer("00", "91"))
    assert "" == here.fault(REQUEST, answer("00"))
    assert "" == reader().fault(asked, answer("00"))
