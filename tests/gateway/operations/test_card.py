"""Tests of gateway.operations.card."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.app import run_service
from gateway.errors import NotFound, Refused
from gateway.operations import card, kpm
from gateway.operations.card import HandOver
from gateway.rules.card import CardEvent, CardState
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.wallet import Wallet
from gateway.testlink import ensure_test_link, read_test_key
from keys.sensitive import Pin
from tests.gateway.lists import good_rows, write_rows
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import stand_before
from tests.gateway.world import CHECKER, MAKER, PIN, activate, credit, holders, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from keys.keytypes import KeyHandle
    from tests.gateway.world import Holder

REASONS = """
    SELECT detail::jsonb ->> 'reason' FROM audit_event WHERE operation = 'card.event' AND detail::jsonb ? 'reason' ORDER BY seq
"""
SEEN = HandOver(ktp_seen=True, kk_seen=True)


def _pin_pad(bank: Bank, holder: Holder, pin: str) -> tuple[bytes, KeyHandle]:
    """A PIN as the branch's PIN pad sends it."""
    ensure_test_link(bank)
    label, components = read_test_key(bank.settings.data_dir)
    block = pinpad_of(Wallet((), label, tuple(components))).block(holder.pan, Pin(pin))
    return bytes.fromhex(block), bank.hsm.find(label)


async def _state(bank: Bank, card_id: int) -> tuple[str, int, bool]:
    found = await as_owner(
        bank, "SELECT state, pin_tries_left, pin_offset IS NOT NULL FROM card WHERE id = :id", id=card_id
    )
    return found[0][0], found[0][1], found[0][2]


async def test_a_card_is_delivered_handed_over_and_gets_a_pin(bank: Bank, tmp_path: Path) -> None:
    """ORDERED, DELIVERED, HANDED_OVER, ACTIVE, and no step before its time; hand-over only with KTP and KK seen."""
    (family,) = await open_families(bank, tmp_path, 1)
    number = family.card_id
    with pytest.raises(Refused, match="is ORDERED: hand over is not possible"):
        await card.hand_over(bank, "officer", number, SEEN)
    assert CardState.DELIVERED is await card.deliver(bank, "officer", number, "0014")
    for ktp, kk, missing in ((False, True, "KTP$"), (True, False, "KK$"), (False, False, "KTP and KK$")):
        with pytest.raises(Refused, match=f"not seen: {missing}"):
            await card.hand_over(bank, "officer", number, HandOver(ktp, kk))
    with pytest.raises(Refused, match="is DELIVERED: choose PIN is not possible"):
        await card.choose_pin(bank, "officer", number, *_pin_pad(bank, family, PIN))
    assert CardState.HANDED_OVER is await card.hand_over(bank, "officer", number, SEEN)
    assert ("HANDED_OVER", 3, False) == await _state(bank, number)
    assert CardState.ACTIVE is await card.choose_pin(bank, "officer", number, *_pin_pad(bank, family, PIN))
    assert ("ACTIVE", 3, True) == await _state(bank, number)
    kept = await as_owner(bank, "SELECT ktp_seen, kk_seen, handed_over_by, delivered_to FROM card")
    assert (True, True, "officer", "0014") == tuple(kept[0])
    with pytest.raises(NotFound, match="there is no card 99"):
        await card.deliver(bank, "officer", 99, "0014")


async def test_a_weak_pin_is_refused(bank: Bank, tmp_path: Path) -> None:
    """A repeated, counted or birth-date PIN and a block of another card leave the card without a PIN."""
    (family,) = await open_families(bank, tmp_path, 1)
    await card.deliver(bank, "officer", family.card_id, "0014")
    await card.hand_over(bank, "officer", family.card_id, SEEN)
    born = await one_value(bank, "SELECT to_char(birth_date, 'DDMMYY') FROM family")
    for pin, reason in (("111111", "WEAK_REPEATED"), ("123456", "WEAK_SEQUENCE"), (born, "WEAK_BIRTH_DATE")):
        with pytest.raises(Refused, match=f"the PIN is refused: {reason}$") as refused:
            await card.choose_pin(bank, "officer", family.card_id, *_pin_pad(bank, family, pin))
        assert pin not in str(refused.value)
    _, key = _pin_pad(bank, family, PIN)
    with pytest.raises(Refused, match="BAD_BLOCK"):
        await card.choose_pin(bank, "officer", family.card_id, bytes(8), key)
    assert ("HANDED_OVER", 3, False) == await _state(bank, family.card_id)


async def test_a_family_without_mothers_name_is_identified_at_hand_over(bank: Bank, tmp_path: Path) -> None:
    """The hand-over asks for the name, seals it, and makes the account ACTIVE; without it nothing changes."""
    rows = good_rows(tmp_path, 1)
    rows[0]["NAMA_IBU_KANDUNG"] = ""
    summary = await kpm.import_list(bank, MAKER, write_rows(tmp_path / "l.csv", rows), "SK-1", bank.business_date)
    await kpm.approve(bank, CHECKER, summary.batch)
    (family,) = await holders(bank)
    assert "PENDING_ID" == family.account_state
    await card.deliver(bank, "officer", family.card_id, "0014")
    with pytest.raises(Refused, match="the mother's name is needed"):
        await card.hand_over(bank, "officer", family.card_id, HandOver(ktp_seen=True, kk_seen=True, mother_name="  "))
    assert "DELIVERED" == (await _state(bank, family.card_id))[0]
    await card.hand_over(
        bank, "officer", family.card_id, HandOver(ktp_seen=True, kk_seen=True, mother_name=" SITI  AINI ")
    )
    assert "ACTIVE" == (await holders(bank))[0].account_state
    sealed = await one_value(bank, "SELECT mother_name FROM family")
    assert b"SITI" not in sealed
    assert "SITI AINI" == bank.vault.open(sealed, table="family", row=family.family_id, column="mother_name")
    assert 0 == await one_value(bank, "SELECT count(*) FROM audit_event WHERE detail LIKE '%SITI AINI%'")


async def test_a_box_of_cards_is_delivered_whole_or_not(bank: Bank, tmp_path: Path) -> None:
    """One card that cannot be delivered keeps the whole box undelivered."""
    families = await open_families(bank, tmp_path, 3)
    ids = [one.card_id for one in families]
    await card.deliver(bank, "officer", ids[2], "0014")
    with pytest.raises(Refused, match=f"card {ids[2]} is DELIVERED"):
        await card.deliver_many(bank, "officer", ids, "0014")
    assert "ORDERED" == (await _state(bank, ids[0]))[0]
    assert 2 == await card.deliver_many(bank, "officer", ids[:2], "0014")
    assert "DELIVERED" == (await _state(bank, ids[0]))[0]


async def test_block_lock_and_reset(bank: Bank, tmp_path: Path) -> None:
    """A card is blocked and unblocked, unlocked after wrong PINs with all its tries, and reset to choose a new PIN."""
    (family,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [family])
    number = family.card_id
    assert CardState.BLOCKED is await card.change_state(bank, "officer", number, CardEvent.BLOCK, "asked")
    assert CardState.ACTIVE is await card.change_state(bank, "officer", number, CardEvent.UNBLOCK, "found")
    await as_owner(bank, "UPDATE card SET state = 'PIN_LOCKED', pin_tries_left = 0")
    with pytest.raises(Refused, match="is PIN_LOCKED: choose PIN is not possible"):
        await card.choose_pin(bank, "officer", number, *_pin_pad(bank, family, PIN))
    await card.change_state(bank, "officer", number, CardEvent.UNLOCK_PIN, "came with KTP")
    assert ("ACTIVE", 3, True) == await _state(bank, number)
    await as_owner(bank, "UPDATE card SET state = 'PIN_LOCKED', pin_tries_left = 0")
    await card.change_state(bank, "officer", number, CardEvent.RESET_PIN, "forgotten")
    assert ("HANDED_OVER", 3, False) == await _state(bank, number)
    await card.choose_pin(bank, "officer", number, *_pin_pad(bank, family, "518204"))
    assert ("ACTIVE", 3, True) == await _state(bank, number)
    assert ["asked", "found", "came with KTP", "forgotten"] == [row[0] for row in await as_owner(bank, REASONS)]


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (CardEvent.RESET_PIN, ["UNBLOCK_PIN"]),
        (CardEvent.BLOCK, []),
        (CardEvent.REPORT_STOLEN, []),
        (CardEvent.TRUST_CHIP, []),
    ],
)
async def test_what_a_chip_is_to_be_told(bank: Bank, tmp_path: Path, event: CardEvent, wanted: list[str]) -> None:
    """Its own count of wrong PINs begins anew with the PIN's; that it is stopped follows from its state."""
    (family,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [family])
    await card.change_state(bank, "officer", family.card_id, event, "as asked")
    assert wanted == [row[0] for row in await as_owner(bank, "SELECT script FROM chip_script WHERE sent = 0")]


async def test_no_step_goes_around_its_own_command(bank: Bank, tmp_path: Path) -> None:
    """Changing a state by hand cannot stand for delivery, hand-over, PIN choice or replacement; a reason is always asked."""
    (family,) = await open_families(bank, tmp_path, 1)
    own = (CardEvent.DELIVER, CardEvent.HAND_OVER, CardEvent.CHOOSE_PIN, CardEvent.LOCK_PIN, CardEvent.REPLACE)
    for event in own:
        with pytest.raises(Refused, match="has its own command"):
            await card.change_state(bank, "officer", family.card_id, event, "because")
    for event in set(CardEvent) - set(own):
        with pytest.raises(Refused, match="needs a reason"):
            await card.change_state(bank, "officer", family.card_id, event, " ")
    assert ("ORDERED", 3, False) == await _state(bank, family.card_id)


async def test_a_lost_card_never_works_again(bank: Bank, tmp_path: Path) -> None:
    """Lost and replaced: the family gets a new PAN and its money with it; nothing brings the old card back."""
    families = await open_families(bank, tmp_path, 1)
    wallet = await activate(bank, families)
    await credit(bank, tmp_path, families)
    old = families[0]
    assert CardState.LOST is await card.change_state(bank, "officer", old.card_id, CardEvent.REPORT_LOST, "market")
    for event in set(CardEvent) & card.REASON_EVENTS:
        with pytest.raises(Refused, match="is LOST"):
            await card.change_state(bank, "officer", old.card_id, event, "please")
    with pytest.raises(Refused, match="replace needs a reason"):
        await card.replace(bank, "officer", old.card_id, "")
    new = await card.replace(bank, "officer", old.card_id, "lost at the market")
    with pytest.raises(Refused, match=f"card {old.card_id} was replaced by card {new.id} already"):
        await card.replace(bank, "officer", old.card_id, "again")
    after = await holders(bank)
    assert (new.id, True) == (after[0].card_id, after[0].pan.reveal() != old.pan.reveal())
    new_wallet = await activate(bank, after)
    async with run_service(bank, jobs=False) as service, stand_before(bank, service, new_wallet, after) as street:
        assert "41" == (await street.atm.withdraw(wallet.cards[0], 50_000)).code
        assert "00" == (await street.atm.withdraw(new_wallet.cards[0], 50_000)).code
    assert ("LOST", "ACTIVE") == ((await _state(bank, old.card_id))[0], (await _state(bank, new.id))[0])


async def test_a_live_card_is_replaced_once(bank: Bank, tmp_path: Path) -> None:
    """A damaged card becomes REPLACED; two replacements at once order one card; ORDERED and CLOSED ones are not replaced."""
    families = await open_families(bank, tmp_path, 2)
    with pytest.raises(Refused, match="is ORDERED: replace is not possible"):
        await card.replace(bank, "officer", families[1].card_id, "damaged")
    await card.change_state(bank, "officer", families[1].card_id, CardEvent.CLOSE, "moved away")
    with pytest.raises(Refused, match="is CLOSED: replace is not possible"):
        await card.replace(bank, "officer", families[1].card_id, "damaged")
    await activate(bank, families[:1])
    work = [card.replace(bank, "officer", families[0].card_id, "damaged") for _ in range(2)]
    done = await asyncio.gather(*work, return_exceptions=True)
    assert [True] == [isinstance(one, Refused) for one in done if isinstance(one, BaseException)]
    assert "REPLACED" == (await _state(bank, families[0].card_id))[0]
    assert 3 == await one_value(bank, "SELECT count(*) FROM card")
