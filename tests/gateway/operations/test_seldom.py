"""Twin of gateway.operations.seldom: PIN changes, mini statements, increments of holds and reversals without DE90, over TCP."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.operations import holds
from gateway.operations.custody import PIN_LABEL
from gateway.operations.holds import release_lapsed
from gateway.simulator.terminal import Asked
from gateway.store.holds import HoldState
from iso.message import Message
from iso.original_data import original_data_of, write_original_data
from keys.keytypes import KeyUsage
from keys.sensitive import Pin
from tests.gateway.cage import tables
from tests.gateway.chips import send, street_of, under_dukpt
from tests.gateway.operations.test_link_exceptions import queued
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, tranches_idr
from tests.gateway.world import credit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.exchange import Exchange
    from tests.gateway.street import Street

NEW = Pin("837164")
HELD = "SELECT sum(held_idr) FROM purse"


def pin_change(street: Street, new: Pin = NEW, old: Pin | None = None) -> Message:
    """A 0200 with DE3 900000: the old PIN's block in DE52, the new one's in DE125; no amount, no currency."""
    message = street.atm.request(Asked.BALANCE, street.card, 0, old)
    message.fields |= {3: "900000", 125: street.pinpad.block(street.card.pan, new)}
    del message.fields[4], message.fields[49]
    return message


def statement(street: Street) -> Message:
    """A 0200 with DE3 380000."""
    message = street.atm.request(Asked.BALANCE, street.card, 0)
    message.fields[3] = "380000"
    return message


def more(street: Street, hold: Exchange, amount_idr: int) -> Message:
    """A 0100 that adds to an earlier one."""
    message = street.shop.request(Asked.PURCHASE, street.card, amount_idr, mti="0100")
    message.fields[90] = write_original_data(original_data_of(hold.request))
    return message


async def offset(bank: Bank) -> tuple[str, int]:
    """What the only card is verified by, and how many tries it has."""
    ((reference, tries),) = await as_owner(bank, "SELECT pin_offset, pin_tries_left FROM card")
    return reference, tries


async def test_a_pin_is_changed_at_a_terminal(bank: Bank, tmp_path: Path) -> None:
    """From the next message on the new one counts, and the old one does not; a repeat changes nothing; no block is stored."""
    async with open_street(bank, tmp_path) as street:
        before = await offset(bank)
        await street.atm.withdraw(street.card, 10_000, Pin("999999"))
        message = pin_change(street)
        done = await street.atm.send(message)
        after = await offset(bank)
        assert ("00", AID_IDR, 3) == (done.code, done.available_idr, after[1])
        assert before[0] != after[0]
        assert "55" == (await street.atm.withdraw(street.card, 10_000)).code
        assert "00" == (await street.atm.withdraw(street.card, 10_000, NEW)).code
        again = await street.atm.repeat(done, marked=True)
        assert again.same_answer(done)
        assert after[0] == (await offset(bank))[0]
        other = Message("0200", message.fields | {125: street.pinpad.block(street.card.pan, Pin("918273"))})
        assert "94" == (await street.atm.send(other)).code
        assert "00" == (await street.atm.balance(street.card, NEW)).code
        kept = "\n".join((await tables(bank)).values()).lower()
        for block in (message.fields[52], message.fields[125]):
            assert block.lower() not in kept
    assert ["PIN_CHANGE"] == [row[0] for row in await as_owner(bank, KINDS)]
    await assert_proved(bank)


@pytest.mark.parametrize("new", ["111111", "123456", "112233", "2048", "20481755"])
async def test_a_weak_pin_is_refused(bank: Bank, tmp_path: Path, new: str) -> None:
    """Weak, or not of six digits: the PIN stays, its tries come back, and the balance is told as behind any right PIN."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.balance(street.card, Pin("999999"))
        done = await street.atm.send(pin_change(street, Pin(new)))
        assert ("05", AID_IDR, 3) == (done.code, done.available_idr, (await offset(bank))[1])
        assert "00" == (await street.atm.balance(street.card)).code
    assert "NEW_PIN_REFUSED" in await reasons(bank)


async def test_a_pin_change_needs_the_old_pin(bank: Bank, tmp_path: Path) -> None:
    """A wrong one uses up tries to the lock, whatever the new one is; a block that is none is refused or asked for."""
    async with open_street(bank, tmp_path) as street:
        before = await offset(bank)
        odd = pin_change(street)
        odd.fields[125] = "XYZ"
        missing = [pin_change(street), pin_change(street)]
        del missing[0].fields[52], missing[1].fields[125]
        assert ["05", "30", "30"] == [(await street.atm.send(one)).code for one in (odd, *missing)]
        wrong = [await street.atm.send(pin_change(street, new, Pin("999999"))) for new in (NEW, Pin("111111"), NEW)]
        assert ["55", "55", "55"] == [one.code for one in wrong]
        locked = await street.atm.send(pin_change(street))
        assert ("75", False) == (locked.code, locked.answer is not None and 54 in locked.answer.fields)
        assert (before[0], 0) == await offset(bank)


async def test_a_pin_is_changed_to_the_newest_key(bank: Bank, tmp_path: Path) -> None:
    """A card whose PIN hangs on an older version of the verification key gets its new one under the newest."""
    async with open_street(bank, tmp_path) as street:
        bank.hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, PIN_LABEL)
        done = await street.atm.send(pin_change(street))
        assert "00" == done.code
        assert 2 == await one_value(bank, "SELECT pin_key_version FROM card")
        assert ["55", "00"] == [(await street.atm.balance(street.card, pin)).code for pin in (None, NEW)]


async def test_a_pin_is_changed_at_a_dukpt_terminal(bank_settings: Settings, tmp_path: Path) -> None:
    """Both blocks under the key of one KSN; a repeat is the same bytes, and another KSN is another entry of the PIN."""
    async with street_of(bank_settings, tmp_path, pin_scheme="dukpt", pin_key="bdk") as street:

        def asked(counter: int, first: Message) -> Message:
            old, new = (under_dukpt(street, first, counter, pin) for pin in ("", NEW.reveal()))
            return Message("0200", old.fields | {125: new.fields[52]})

        message = pin_change(street)
        first = asked(1, message)
        done = await street.atm.send(first)
        assert ("00", "00") == (done.code, (await street.atm.repeat(done, marked=True)).code)
        assert "94" == await send(street, asked(2, message))
        balance = street.atm.request(Asked.BALANCE, street.card, 0)
        assert "00" == await send(street, under_dukpt(street, balance, 3, NEW.reveal()))


async def test_the_last_movements(bank: Bank, tmp_path: Path) -> None:
    """Newest first, 24 characters each, a payment from two tranches as one; a repeat tells what was told first."""
    async with open_street(bank, tmp_path, amount_idr=100_000) as street:
        await credit(bank, tmp_path, street.families, 200_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        await street.atm.withdraw(street.card, 150_000)
        bought = await street.shop.purchase(street.card, 20_000)
        await street.shop.reverse(bought)
        hold = await street.shop.hold(street.card, 50_000)
        await street.shop.complete(hold, 30_000)
        done = await street.atm.send(statement(street))
        assert done.answer is not None
        told = done.answer.fields[125]
        today = f"{bank.business_date:%Y%m%d}"
        lines = [told[at : at + 24] for at in range(0, len(told), 24)]
        expected = [
            ("RLS", "C", 20_000),
            ("HLD", "D", 50_000),
            ("REV", "C", 20_000),
            ("PUR", "D", 20_000),
            ("CSH", "D", 150_000),
        ]
        assert [f"{today}{kind}{sign}{amount * 100:012d}" for kind, sign, amount in expected] == lines
        assert ("00", 120_000) == (done.code, done.available_idr)
        await street.atm.withdraw(street.card, 10_000)
        assert (await street.atm.repeat(done)).same_answer(done)
        wrong = statement(street)
        wrong.fields[52] = street.pinpad.block(street.card.pan, NEW)
        refused = await street.atm.send(wrong)
        assert refused.answer is not None
        assert ("55", True) == (refused.code, {54, 125}.isdisjoint(refused.answer.fields))
    await assert_proved(bank)


async def test_a_family_without_movements_has_an_empty_statement(bank: Bank, tmp_path: Path) -> None:
    """Approved, and nothing to tell."""
    async with open_street(bank, tmp_path, amount_idr=0) as street:
        done = await street.atm.send(statement(street))
        assert done.answer is not None
        assert ("00", False) == (done.code, 125 in done.answer.fields)


async def test_a_hold_is_added_to_and_completed_as_one(bank: Bank, tmp_path: Path) -> None:
    """With a PIN, limits and funds like any hold; the completion of the first takes from all, from two tranches."""
    async with open_street(bank, tmp_path, amount_idr=300_000) as street:
        await credit(bank, tmp_path, street.families, 300_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        account, shop = street.families[0].family_id, street.shop
        hold = await shop.hold(street.card, 200_000)
        added = await shop.send(more(street, hold, 150_000))
        assert ("00", 250_000) == (added.code, added.available_idr)
        wrong = more(street, hold, 10_000)
        wrong.fields[52] = street.pinpad.block(street.card.pan, NEW)
        asked = [wrong, more(street, hold, 250_001), more(street, added, 10_000)]
        assert ["55", "51", "25"] == [(await shop.send(one)).code for one in asked]
        assert "00" == (await shop.repeat(added, marked=True)).code
        assert 350_000 == await one_value(bank, HELD)
        known = await holds.of_account(bank, street.families[0].account_number)
        assert [(150_000, known[1].id, HoldState.OPEN), (200_000, None, HoldState.OPEN)] == [
            (one.left_idr, one.adds_to, one.state) for one in known
        ]
        done = await shop.complete(hold, 340_000)
        assert ("00", 0) == (done.code, await one_value(bank, HELD))
        assert [0, 260_000] == await tranches_idr(bank, account)
        assert "13" == (await shop.send(more(street, hold, 10_000))).code
        states = [one.state for one in await holds.of_account(bank, street.families[0].account_number)]
        assert [HoldState.COMPLETED] * 2 == states
        await shop.reverse(done)
        assert AID_IDR == await available_idr(bank, account)
        assert "00" == (await shop.purchase(street.card, 10_000)).code
    assert [] == await queued(bank)
    await assert_proved(bank)


@pytest.mark.parametrize("total", [False, True])
async def test_a_reversed_hold_takes_with_it_what_was_added(bank: Bank, tmp_path: Path, *, total: bool) -> None:
    """Named by the first, of its own amount or of all; one that was added can be given back by itself."""
    async with open_street(bank, tmp_path) as street:
        hold = await street.shop.hold(street.card, 200_000)
        first = await street.shop.send(more(street, hold, 50_000))
        await street.shop.send(more(street, hold, 30_000))
        assert "00" == (await street.shop.reverse(first)).code
        assert 230_000 == await one_value(bank, HELD)
        reversal = street.shop.reversal(hold.request)
        if total:
            reversal.fields[4] = f"{230_000 * 100:012d}"
        assert "00" == (await street.shop.send(reversal)).code
        assert (0, AID_IDR) == (await one_value(bank, HELD), await available_idr(bank, street.families[0].family_id))
        states = [one.state for one in await holds.of_account(bank, street.families[0].account_number)]
        assert [HoldState.REVERSED] * 3 == states
    assert [] == await queued(bank)
    await assert_proved(bank)


async def test_an_increment_lets_its_hold_stand_longer(bank: Bank, tmp_path: Path) -> None:
    """All parts lapse on the day of the last; lapsed is told apart from reversed, also after a part was given back."""
    async with open_street(bank, tmp_path) as street:
        hold = await street.shop.hold(street.card, 200_000)
        await street.shop.reverse(hold, kept_idr=150_000)
        await as_owner(bank, "UPDATE authorisation SET held_until = held_until - 5 WHERE held_until IS NOT NULL")
        await street.shop.send(more(street, hold, 50_000))
        until = bank.business_date + timedelta(days=7)
        known = await holds.of_account(bank, street.families[0].account_number)
        assert [until, until] == [one.until for one in known]
        assert 0 == (await release_lapsed(bank, until, 1)).tranches
        assert 200_000 == (await release_lapsed(bank, until + timedelta(days=1), 1)).amount_idr
        known = await holds.of_account(bank, street.families[0].account_number)
        assert [(HoldState.EXPIRED, 0, None)] * 2 == [(one.state, one.left_idr, one.until) for one in known]
        await street.shop.complete(hold, 150_000)
        assert ["HOLD_EXPIRED"] == [one[0] for one in await queued(bank)]
    await assert_proved(bank)


@pytest.mark.parametrize("named", [None, "0" * 42])
async def test_a_reversal_without_de90_finds_its_original(bank: Bank, tmp_path: Path, named: str | None) -> None:
    """By terminal, trace number and reference, of cash, of a hold and of an advice; once, like any reversal."""
    async with open_street(bank, tmp_path) as street:
        family = street.families[0].family_id
        paid = await street.atm.withdraw(street.card, 100_000)
        hold = await street.shop.hold(street.card, 50_000)
        await street.shop.send(more(street, hold, 25_000))
        for original, terminal, left in ((paid, street.atm, 75_000), (hold, street.shop, 0)):
            reversal = terminal.reversal(original.request)
            del reversal.fields[90]
            reversal.fields |= {11: original.request.fields[11], **({} if named is None else {90: named})}
            for mti in ("0420", "0421", "0400"):
                assert "00" == (await terminal.send(replace(reversal, mti=mti))).code
            assert AID_IDR - left == await available_idr(bank, family)
    assert [] == await queued(bank)
    keys = await as_owner(
        bank, "SELECT o.kind FROM authorisation r JOIN authorisation o ON o.message_key = r.original_key"
    )
    assert {"CASH", "HOLD"} == {row[0] for row in keys}
    await assert_proved(bank)


async def test_a_reversal_without_de90_that_fits_nothing(bank: Bank, tmp_path: Path) -> None:
    """Another trace number, reference, terminal or card gives nothing back; a late original of the same DE7 is stopped."""
    async with open_street(bank, tmp_path, families=2) as street:
        paid = await street.atm.withdraw(street.card, 100_000)
        plain = street.atm.reversal(paid.request)
        del plain.fields[90]
        plain.fields[11] = paid.request.fields[11]
        others = [{11: "999999"}, {37: "999999999999"}, {41: "A9999999"}, {2: street.wallet.cards[1].pan.reveal()}]
        for second, change in enumerate(others):
            fields = plain.fields | {7: f"010100000{second}"} | change
            assert "00" == (await street.atm.send(Message("0420", fields))).code
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)
        assert ["ORIGINAL_UNKNOWN"] * 4 == [one[0] for one in await queued(bank)]
        unnamed = Message("0400", {number: value for number, value in plain.fields.items() if number != 37})
        assert "30" == (await street.atm.send(unnamed)).code
        late = street.atm.request(Asked.CASH, street.card, 20_000)
        before = Message("0420", {number: value for number, value in late.fields.items() if number != 52})
        assert "00" == (await street.atm.send(before)).code
        assert "68" == (await street.atm.send(late)).code
    await assert_proved(bank)


async def test_messages_are_told_apart_by_the_links_fields(bank: Bank, tmp_path: Path) -> None:
    """With 37 and 41 in key_fields two terminals may use one trace number at one second; the same message is still the same."""
    async with open_street(bank, tmp_path) as street:
        line = street.service.room.places[0].line
        assert line is not None
        line.link = line.link.model_copy(update={"key_fields": (7, 11, 32, 37, 41)})
        first = await street.atm.withdraw(street.card, 10_000)
        twin = Message("0200", first.request.fields | {41: "A0000009"})
        assert "00" == (await street.atm.send(twin)).code
        assert (await street.atm.repeat(first, marked=True)).same_answer(first)
        other = Message("0200", first.request.fields | {4: "000002000000"})
        assert "94" == (await street.atm.send(other)).code
        assert "00" == (await street.atm.reverse(first)).code
        assert AID_IDR - 10_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_a_lane_does_no_more_for_the_others(bank: Bank, tmp_path: Path) -> None:
    """Cash, balance and a named reversal run the two statements of every group and no third."""
    async with open_street(bank, tmp_path) as street:
        paid = await street.atm.withdraw(street.card, 10_000)
        await street.atm.reverse(paid)
        await street.atm.balance(street.card)
        lanes = street.service.lanes._lanes
        prepared = [lane.connection._seldom for lane in lanes if lane.connection is not None]
        assert [{}] * len(prepared) == prepared
        await street.atm.send(pin_change(street))
        assert 3 == sum(len(lane.connection._seldom) for lane in lanes if lane.connection is not None)


KINDS = "SELECT kind FROM authorisation WHERE kind = 'PIN_CHANGE'"
