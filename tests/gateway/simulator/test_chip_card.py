"""Tests of gateway.simulator.chip_card, beside pyemv and psec: a chip that a stranger would make the same."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import psec
import pytest
from pyemv import ac, cvn, kd, sm

from gateway.simulator.chip_card import ChipCard, chips_of
from gateway.simulator.errors import WalletError
from gateway.simulator.wallet import TestCard
from iso import tlv
from keys.emv_profile import profiles
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from pathlib import Path

IMK, CVK = bytes.fromhex("404142434445464748494A4B4C4D4E4F"), bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
CARD = TestCard(Pan("6013010000000018"), Pin("204817"), date(2031, 12, 31), "001", "SITI")
TODAY = date(2026, 11, 23)
SMI = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
SIGNED = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36", "9F10")

old_ciphers = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


def chip(**changes: object) -> ChipCard:
    """A test card's chip."""
    return ChipCard(CARD, IMK, CVK, **changes)  # type: ignore[arg-type]


@old_ciphers
def test_a_cryptogram_is_the_one_that_pyemv_makes() -> None:
    """NSICCS: option A, common session key, padding 80; and the answer by method 1 that the chip believes."""
    card = chip(psn="01")
    sent = card.sign("000010000000", TODAY)
    tags = dict(tlv.parse(bytes.fromhex(sent)))
    assert ("0001", "000010000000", "261123") == (tags["9F36"].hex(), tags["9F02"].hex(), tags["9A"].hex())
    master = kd.derive_icc_mk_a(IMK, CARD.pan.reveal(), "01")
    session = kd.derive_common_sk(master, tags["9F36"] + bytes(6))
    data = b"".join(tags[tag] for tag in SIGNED)
    assert tags["9F26"] == ac.generate_ac(session, data, ac.PaddingType.EMV)
    arpc = ac.generate_arpc_1(session, tags["9F26"], b"51")
    answer = tlv.build([("91", arpc + b"51")]).hex()
    assert card.believes(sent, answer, "51")
    assert not card.believes(sent, answer, "00")
    assert not card.believes(card.sign("000010000000", TODAY), answer, "51")
    assert not card.believes(sent, "", "51")


@pytest.mark.parametrize("name", sorted(profiles()))
def test_every_profile_can_be_signed_by(name: str) -> None:
    """The version that stands in tag 9F10 is one of the profile's, and each transaction has its own counter and cryptogram."""
    card = chip(profile=profiles()[name], atc=41)
    first, second = (dict(tlv.parse(bytes.fromhex(card.sign("0" * 12, TODAY)))) for _ in range(2))
    assert (42, 43) == (int.from_bytes(first["9F36"]), int.from_bytes(second["9F36"]))
    assert first["9F26"] != second["9F26"]
    assert profiles()[name].read(first).atc == first["9F36"]


@old_ciphers
def test_an_answer_by_method_2() -> None:
    """Of Visa's version 18: the card status update says whether the issuer approves, and is signed."""
    card = chip(profile=profiles()["visa-cvn18"])
    sent = card.sign("000010000000", TODAY)
    tags = dict(tlv.parse(bytes.fromhex(sent)))
    session = kd.derive_common_sk(kd.derive_icc_mk_b(IMK, CARD.pan.reveal(), "00"), tags["9F36"] + bytes(6))
    for status, code in ((b"\0\x80\0\0", "00"), (bytes(4), "51")):
        answer = tlv.build([("91", ac.generate_arpc_2(session, tags["9F26"], status) + status)]).hex()
        other = {"00": "51", "51": "00"}[code]
        assert (True, False) == (card.believes(sent, answer, code), card.believes(sent, answer, other))
        assert not card.believes(sent, answer[:-2] + "01", code)
    assert not card.believes(sent, "", "51")


@old_ciphers
def test_the_stripe_carries_its_own_value() -> None:
    """CVV1 over the service code, iCVV in what the chip tells, as psec makes them."""
    pan, expiry = CARD.pan.reveal(), "3112"
    assert f"{pan}={expiry}50100000{psec.cvv.generate_cvv(CVK, pan, expiry, '501')}" == chip().track2()
    assert f"{pan}={expiry}60100000{psec.cvv.generate_cvv(CVK, pan, expiry, '601')}" == chip().track2("601")
    assert f"{pan}={expiry}60100000{psec.cvv.generate_cvv(CVK, pan, expiry, '999')}" == chip().track2(
        "601", from_chip=True
    )


def test_a_changed_tag_is_signed_as_changed() -> None:
    """For messages that do not say what the card signed; and nothing of a card is printed."""
    card = chip()
    tags = dict(tlv.parse(bytes.fromhex(card.sign("000010000000", TODAY, t9F02="000099000000", t9F27="40"))))
    assert ("000099000000", "40") == (tags["9F02"].hex(), tags["9F27"].hex())
    assert "ChipCard(601301******0018)" == repr(card)


def test_the_keys_come_from_the_file_of_test_keys(tmp_path: Path) -> None:
    """Components are joined; keys of other kinds stand beside them."""
    path = tmp_path / "test-keys.json"
    parts = [bytes(16).hex(), IMK.hex()], [b"\xff".hex() * 16, bytes(byte ^ 0xFF for byte in CVK).hex()]
    keys = [
        {"kind": "zpk", "components": []},
        *({"kind": kind, "components": one} for kind, one in zip(("imk-ac", "cvk"), parts, strict=True)),
    ]
    path.write_text(json.dumps(keys), encoding="utf-8")
    (card,) = chips_of(path, [CARD])
    assert (IMK, CVK, None) == (card.imk, card.cvk, card.smi)
    path.write_text(json.dumps([*keys, {"kind": "imk-smi", "components": [SMI.hex()]}]), encoding="utf-8")
    assert [SMI] == [one.smi for one in chips_of(path, [CARD])]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"), ("{", "is not a file of key components"), ('[{"kind": "cvk"}]', "components is missing"),
        ('[{"kind": "cvk", "components": ["00", "0000"]}]', "is not a file of key components"), ("[]", "imk-ac is missing"),
        ("[1]", "is not a file of key components"), ('[{"kind": "imk-ac", "components": [""]}]', "cvk is missing"),
    ],
)  # fmt: skip
def test_a_file_of_test_keys_that_is_none(tmp_path: Path, content: str | None, words: str) -> None:
    """One line that names it."""
    path = tmp_path / "test-keys.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(WalletError, match=f"test-keys.json: .*{words}"):
        chips_of(path, [CARD])


def script_of(
    command: bytes, mac: bytes, identifier: bytes = b"\x01\x00\x00\x01", tag: str = "72"
) -> tuple[str, bytes]:
    """A script template with one command."""
    return tag, tlv.build([("9F18", identifier), ("86", command + mac)])


def arpc_of(sent: str, code: bytes) -> tuple[str, bytes]:
    """Tag 91 for what an NSICCS chip sent, as pyemv makes it."""
    tags = dict(tlv.parse(bytes.fromhex(sent)))
    session = kd.derive_common_sk(kd.derive_icc_mk_a(IMK, CARD.pan.reveal(), "00"), tags["9F36"] + bytes(6))
    return "91", ac.generate_arpc_1(session, tags["9F26"], code) + code


def mac_of(sent: str, command: bytes) -> bytes:
    """A script MAC of an NSICCS card, as pyemv makes it: the session key of its cryptogram."""
    tags = dict(tlv.parse(bytes.fromhex(sent)))
    session = kd.derive_common_sk(kd.derive_icc_mk_a(SMI, CARD.pan.reveal(), "00"), tags["9F26"])
    return bytes(sm.generate_command_mac(session, command + tags["9F36"] + tags["9F26"]))


@old_ciphers
@pytest.mark.parametrize("command", ["841E000008", "8416000008"])
def test_a_blocked_chip_signs_nothing_more(command: str) -> None:
    """The script's MAC is its issuer's, over this very transaction; what the terminal tells of it names it."""
    card, header = chip(smi=SMI), bytes.fromhex(command)
    sent = card.sign("000010000000", TODAY)
    answer = tlv.build([arpc_of(sent, b"62"), script_of(header, mac_of(sent, header))]).hex()
    assert "2001000001" == card.obey(sent, answer, "62")
    told = dict(tlv.parse(bytes.fromhex(card.confirm(sent))))
    assert ("0001", "2001000001", "0000000000") == tuple(told[tag].hex() for tag in ("9F36", "9F5B", "95"))
    with pytest.raises(WalletError, match=r"the chip of 601301\*+0018 was blocked by its issuer"):
        card.sign("000010000000", TODAY)


@old_ciphers
def test_tries_of_the_chips_own_pin_begin_anew() -> None:
    """Where the script says so, in either template."""
    for tag in ("71", "72"):
        card, header = chip(smi=SMI, pin_tries=0), bytes.fromhex("8424000008")
        sent = card.sign("000010000000", TODAY)
        answer = tlv.build([arpc_of(sent, b"00"), script_of(header, mac_of(sent, header), tag=tag)]).hex()
        assert ("2001000001", 3, False) == (card.obey(sent, answer, "00"), card.pin_tries, card.blocked)


@old_ciphers
def test_what_a_chip_does_not_do() -> None:
    """A wrong MAC, another transaction's, an unknown command, a wrong length; an answer it does not believe; without a key."""
    header, other = bytes.fromhex("841E000008"), bytes.fromhex("84FE000008")
    card = chip(smi=SMI)
    before = card.sign("000010000000", TODAY)
    sent = card.sign("000010000000", TODAY)
    right = mac_of(sent, header)
    for command, mac in (
        (header, bytes(8)), (header, mac_of(before, header)), (other, mac_of(sent, other)), (header, right[:7]),
        (header[:3], b""),
    ):  # fmt: skip
        answer = tlv.build([arpc_of(sent, b"62"), script_of(command, mac)]).hex()
        assert "1101000001" == card.obey(sent, answer, "62")
        assert "0000000010" == dict(tlv.parse(bytes.fromhex(card.confirm(sent))))["95"].hex()
    answer = tlv.build([arpc_of(sent, b"62"), script_of(header, right)]).hex()
    assert "0001000001" == card.obey(sent, answer, "51")
    assert "1101000001" == chip().obey(sent, answer, "62")
    assert "" == card.obey(sent, tlv.build([arpc_of(sent, b"62")]).hex(), "62")
    assert not card.blocked
    assert card.sign("000010000000", TODAY)


@old_ciphers
def test_macs_by_the_rules_of_each_scheme() -> None:
    """Visa's session key, and M/Chip's counted cryptogram: two commands, each under a key of its own."""
    header = bytes.fromhex("8424000008")
    keys = (IMK, SMI, SMI, CARD.pan.reveal(), "00")
    for name, scheme in (("visa-cvn10", cvn.VisaCVN10), ("visa-cvn18", cvn.VisaCVN18), ("mchip", cvn.MasterCardCVN16)):
        card = chip(smi=SMI, profile=profiles()[name])
        sent = card.sign("000010000000", TODAY)
        tags = dict(tlv.parse(bytes.fromhex(sent)))
        one = scheme(*keys)
        counted = [tags["9F26"], ((int.from_bytes(tags["9F26"]) + (name == "mchip")) % 2**64).to_bytes(8)]
        macs = [one.generate_command_mac(header, arqc, tags["9F36"]) for arqc in counted]
        if isinstance(one, cvn.VisaCVN18):
            arpc = one.generate_arpc(tags["9F26"], tags["9F36"], b"\0\x80\0\0") + b"\0\x80\0\0"
        else:
            arpc = one.generate_arpc(tags["9F26"], b"00") + b"00"
        template = tlv.build([("9F18", b"\3\0\0\1"), *(("86", header + mac) for mac in macs)])
        assert "2003000001" == card.obey(sent, tlv.build([("91", arpc), ("72", template)]).hex(), "00")
        template = tlv.build([("9F18", b"\3\0\0\1"), ("86", header + macs[0]), ("86", header + bytes(8))])
        assert "1203000001" == card.obey(sent, tlv.build([("91", arpc), ("72", template)]).hex(), "00")
