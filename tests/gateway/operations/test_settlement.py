"""Tests of gateway.operations.settlement: two partner's days told as a story, then what must not happen."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import DBAPIError

from gateway.errors import NotFound, Refused
from gateway.operations import correction, proof
from gateway.operations.bank import reading
from gateway.operations.settlement import (
    close_all,
    close_settlement,
    only_link,
    order_payment,
    pay_settlement,
    positions,
    settlement_of,
    settlements,
    verify,
)
from gateway.rules.authorise import RequestKind
from gateway.rules.purse import Channel
from gateway.store.settlement import OWED, payees
from ledger.chart import Control
from ledger.proof import control_balance
from tests.gateway.owner import as_owner, one_value
from tests.gateway.till import Asked, Till, open_till

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.store.settlement import Settlement

CASH, PURCHASE, HOLD = RequestKind.CASH, RequestKind.PURCHASE, RequestKind.HOLD
COMPLETION, REFUND, REVERSAL = RequestKind.COMPLETION, RequestKind.REFUND, RequestKind.REVERSAL
ATM, AGENT, EWARONG = Channel.ATM, Channel.AGENT, Channel.EWARONG
LINK = "himbara"
ONE_DAY = timedelta(days=1)
DRAWN = "SELECT transfer_ids[1] FROM authorisation WHERE stan = :stan"


async def two_days(till: Till) -> tuple[date, date]:
    """A day with cash, purchases, a hold and refusals; the next with what takes some of it back. Then the date is past both."""
    first = till.bank.business_date
    cash = await till.ask(CASH, 100_000, ATM)
    await till.ask(CASH, 50_000, AGENT, merchant="AGEN1", terminal="A1")
    await till.ask(CASH, 20_000, AGENT, card=1, merchant="AGEN2", terminal="A2")
    rice = await till.ask(PURCHASE, 30_000, EWARONG, merchant="TOKO1", terminal="E1")
    held = await till.ask(HOLD, 40_000, EWARONG, card=1, merchant="TOKO2", terminal="E2")
    lapsed = await till.ask(HOLD, 10_000, EWARONG, card=1, merchant="TOKO2", terminal="E2")
    await till.ask(REVERSAL, 10_000, EWARONG, card=1, original=lapsed)
    assert not (await till.ask(CASH, 9_000_000, ATM)).approved
    assert not (await till.ask(REVERSAL, 5_000, ATM, card=1, original=held)).approved
    await till.ask(CASH, 7_000, ATM, on=first + ONE_DAY)  # after the partner's cut-over
    second = await till.next_day()
    await till.ask(COMPLETION, 25_000, EWARONG, card=1, merchant="", terminal="E9", original=held)
    # an advice without merchant type comes as e-Warong; money and books go where the original stood
    await till.ask(REVERSAL, 100_000, EWARONG, merchant="", terminal="T1", original=cash, kept_idr=60_000)
    assert (await till.ask(REFUND, 12_000, EWARONG, merchant="TOKO1", terminal="E1", original=rice)).approved
    await till.ask(PURCHASE, 9_000, EWARONG, merchant="TOKO1", terminal="E1")
    await till.next_day()
    return first, second


def _told(found: list[Settlement]) -> dict[str, tuple[int, ...]]:
    """By channel: count and rupiah of withdrawals, purchases, completions, reversals, refunds; declined; net."""
    return {
        one.channel: (
            one.withdrawals, one.withdrawals_idr, one.purchases, one.purchases_idr, one.completions, one.completions_idr,
            one.reversals, one.reversals_idr, one.refunds, one.refunds_idr, one.declined, one.net_idr,
        )
        for one in found
    }  # fmt: skip


async def _balances(bank: Bank) -> dict[str, int]:
    async with reading(bank) as connection:
        owed = (Control.ATM_SETTLEMENT, Control.AGENT_PAYABLE, Control.EWARONG_PAYABLE, Control.PARTNER_PAID)
        return {control.name: await control_balance(connection, control) for control in owed}


async def _wrong(bank: Bank) -> dict[str, str]:
    checks = [*await proof.prove_ledger(bank), *await proof.verify_audit(bank)]
    return {check.name: check.detail for check in checks if not check.ok}


async def test_two_partners_days_are_closed_and_paid(bank: Bank, tmp_path: Path) -> None:
    """Each date has what its own messages moved, to the rupiah; paid settlements leave nothing owed; every proof holds."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
        assert {
            "ATM": (1, 100_000, 0, 0, 0, 0, 0, 0, 0, 0, 1, 100_000),
            "AGENT": (2, 70_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 70_000),
            "EWARONG": (0, 0, 1, 30_000, 0, 0, 0, 0, 0, 0, 1, 30_000),
        } == _told(await close_settlement(bank, "siti", LINK, first))
        assert {
            "ATM": (1, 7_000, 0, 0, 0, 0, 1, 40_000, 0, 0, 0, -33_000),
            "EWARONG": (0, 0, 1, 9_000, 1, 25_000, 0, 0, 1, 12_000, 0, 22_000),
        } == _told(await close_settlement(bank, "siti", LINK, second))
        assert {} == await _wrong(bank)
        owed = {"ATM_SETTLEMENT": 67_000, "AGENT_PAYABLE": 70_000, "EWARONG_PAYABLE": 52_000, "PARTNER_PAID": 0}
        assert owed == await _balances(bank)

        await order_payment(bank, "siti", LINK, first, "TRF-1")
        paid = await pay_settlement(bank, "budi", LINK, first)
        assert [("PAID", "TRF-1", "siti", "budi", bank.business_date)] * 3 == [
            (one.state, one.evidence, one.ordered_by, one.paid_by, one.paid_on) for one in paid
        ]
        owed = {"ATM_SETTLEMENT": -33_000, "AGENT_PAYABLE": 0, "EWARONG_PAYABLE": 22_000, "PARTNER_PAID": 200_000}
        assert owed == await _balances(bank)
        assert {} == await _wrong(bank)

        await order_payment(bank, "siti", LINK, second, "TRF-2")
        await pay_settlement(bank, "budi", LINK, second)  # the ATM switch pays the bank
        owed = {"ATM_SETTLEMENT": 0, "AGENT_PAYABLE": 0, "EWARONG_PAYABLE": 0, "PARTNER_PAID": 189_000}
        assert owed == await _balances(bank)
        assert {} == await _wrong(bank)
        assert [True] * 6 == [check.ok for check in await verify(bank)]
        assert [True] * 5 == [check.ok for check in await verify(bank, first)]


async def test_a_date_is_closed_when_it_is_over_and_stays_as_it_was(bank: Bank, tmp_path: Path) -> None:
    """Too early and empty dates are refused; closing again gives the same; what comes later belongs to a later date."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        cash = await till.ask(CASH, 100_000)
        with pytest.raises(Refused, match=f"settlement date {today} is not over: the business date is {today}"):
            await close_settlement(bank, "siti", LINK, today)
        await till.next_day()
        with pytest.raises(NotFound, match="link other has nothing to settle for"):
            await close_settlement(bank, "siti", "other", today)
        closed = await close_settlement(bank, "siti", LINK, today)
        assert closed == await close_settlement(bank, "budi", LINK, today)
        await till.ask(REVERSAL, 100_000, original=cash)
        await till.next_day()
        assert closed == await close_all(bank, "budi", today)
        (late,) = await close_settlement(bank, "siti", LINK, today + ONE_DAY)
        assert (1, -100_000) == (late.reversals, late.net_idr)
        assert [] == await close_all(bank, "siti", today - ONE_DAY)
        await till.ask(RequestKind.BALANCE, 0)
        on = bank.business_date
        await till.next_day()
        assert [] == await close_all(bank, "siti", on)
    assert {} == await _wrong(bank)


async def test_links_are_kept_apart(bank: Bank, tmp_path: Path) -> None:
    """Each link has settlements of its own; a command that needs one link says so where there are several."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        await till.ask(CASH, 100_000)
        await till.ask(CASH, 30_000, link="bersama")
        await till.next_day()
        with pytest.raises(NotFound, match="is not closed"):
            await only_link(bank, today, None)
        assert [("bersama", 30_000), ("himbara", 100_000)] == [
            (one.link, one.net_idr) for one in await close_all(bank, "siti", today)
        ]
        with pytest.raises(Refused, match=r"several links have settlements of .*: --link bersama, himbara"):
            await only_link(bank, today, None)
        assert "x" == await only_link(bank, today, "x")
        (paid,) = await order_payment(bank, "siti", "bersama", today, "TRF-1")
        (paid,) = await pay_settlement(bank, "budi", "bersama", today)
        assert 30_000 == paid.net_idr
        assert 70_000 + 30_000 == (await _balances(bank))["ATM_SETTLEMENT"]
    assert {} == await _wrong(bank)


async def test_paying_needs_two_people_and_happens_once(bank: Bank, tmp_path: Path) -> None:
    """Not closed, not ordered, the same person and a second payment are refused in one line; an order may be corrected before."""
    async with open_till(bank, tmp_path) as till:
        first, _ = await two_days(till)
        with pytest.raises(NotFound, match="has no closed settlement of"):
            await order_payment(bank, "siti", LINK, first, "TRF-1")
        await close_settlement(bank, "siti", LINK, first)
        with pytest.raises(Refused, match="the number of its transfer order"):
            await order_payment(bank, "siti", LINK, first, " ")
        with pytest.raises(Refused, match="was not ordered yet"):
            await pay_settlement(bank, "budi", LINK, first)
        await order_payment(bank, "siti", LINK, first, "TRF-1", "ATM")
        await order_payment(bank, "ani", LINK, first, "TRF-2", "ATM")
        with pytest.raises(Refused, match="was ordered by ani: another person must pay it"):
            await pay_settlement(bank, " ANI ", LINK, first, "ATM")
        with pytest.raises(Refused, match=r"the payment of AGENT .* was not ordered yet"):
            await pay_settlement(bank, "budi", LINK, first)
        (paid,) = await pay_settlement(bank, "siti", LINK, first, "ATM")
        assert ("TRF-2", "ani", "siti") == (paid.evidence, paid.ordered_by, paid.paid_by)
        with pytest.raises(Refused, match="is paid already"):
            await pay_settlement(bank, "siti", LINK, first, "ATM")
        await order_payment(bank, "ani", LINK, first, "TRF-3")
        done = await asyncio.gather(
            *(pay_settlement(bank, name, LINK, first) for name in ("budi", "siti", "rudi")), return_exceptions=True
        )
        assert 2 == sum(isinstance(one, Refused) for one in done)
        assert 3 == await one_value(bank, "SELECT count(*) FROM transfer WHERE kind = 'SETTLE'")
        assert 200_000 == (await _balances(bank))["PARTNER_PAID"]
    assert {} == await _wrong(bank)


async def test_closing_at_once_closes_once(bank: Bank, tmp_path: Path) -> None:
    """Four who close the same date at the same moment: one set of settlements, whoever loses is told or gets them."""
    async with open_till(bank, tmp_path) as till:
        first, _ = await two_days(till)
        done = await asyncio.gather(
            *(close_settlement(bank, f"p{n}", LINK, first) for n in range(4)), return_exceptions=True
        )
        assert [] == [one for one in done if isinstance(one, BaseException) and not isinstance(one, Refused)]
        assert 3 == await one_value(bank, "SELECT count(*) FROM settlement")
    assert {} == await _wrong(bank)


async def test_nothing_is_paid_on_totals_that_do_not_hold(bank: Bank, tmp_path: Path) -> None:
    """A closed settlement that is not what its authorisations say any more is not paid."""
    async with open_till(bank, tmp_path) as till:
        first, _ = await two_days(till)
        await close_settlement(bank, "siti", LINK, first)
        await order_payment(bank, "siti", LINK, first, "TRF-1")
        await as_owner(bank, "UPDATE settlement SET withdrawals_idr = withdrawals_idr + 1 WHERE channel = 'AGENT'")
        with pytest.raises(Refused, match=f"AGENT of {first} at himbara is not what its authorisations say"):
            await pay_settlement(bank, "budi", LINK, first)
        assert 0 == (await _balances(bank))["PARTNER_PAID"]


CLOSED, PAID = (
    "every closed settlement = its authorisations",
    "every paid settlement has exactly one transfer of its net",
)
TAMPERED = (
    ("UPDATE settlement SET withdrawals_idr = withdrawals_idr {} WHERE channel = 'AGENT'", "+ 1", "- 1", CLOSED),
    ("UPDATE settlement SET declined = declined {} WHERE channel = 'ATM'", "- 1", "+ 1", CLOSED),
    ("UPDATE settlement SET settlement_date = settlement_date {} WHERE channel = 'AGENT'", "- 1", "+ 1", CLOSED),
    ("UPDATE settlement SET link = {} WHERE channel = 'AGENT'", "'x'", "'himbara'", CLOSED),
    ("UPDATE settlement SET control = {} WHERE channel = 'AGENT'", "5000", "4000", CLOSED),
    ("UPDATE settlement_payee SET amount_idr = amount_idr {} WHERE terminal = 'A1'", "+ 1", "- 1", CLOSED),
    ("UPDATE settlement_payee SET merchant = {} WHERE terminal = 'A1'", "'AGEN2'", "'AGEN1'", CLOSED),
    ("UPDATE authorisation SET settlement_date = settlement_date {} WHERE terminal = 'A1'", "+ 1", "- 1", CLOSED),
    ("UPDATE authorisation SET merchant = {} WHERE terminal = 'A1'", "'AGEN2'", "'AGEN1'", CLOSED),
    ("UPDATE authorisation SET amounts_idr = {} WHERE terminal = 'A1'", "'{50001}'", "'{50000}'", CLOSED),
    ("UPDATE authorisation SET reversed_idr = reversed_idr {} WHERE terminal = 'A1'", "+ 1", "- 1", "agents' payable"),
    ("UPDATE settlement SET paid_on = paid_on {} WHERE channel = 'AGENT'", "+ 1", "- 1", PAID),
    ("UPDATE transfer SET amount_idr = amount_idr {} WHERE kind = 'SETTLE' AND debit = 4000", "+ 1", "- 1", PAID),
    ("UPDATE transfer SET debit = {} WHERE kind = 'SETTLE' AND amount_idr = 70000", "5000", "4000", PAID),
    ("UPDATE transfer SET source_id = source_id {} WHERE kind = 'SETTLE' AND debit = 4000", "+ 77", "- 77", PAID),
    ("UPDATE transfer SET cell = {} WHERE kind = 'SETTLE' AND debit = 4000", "1", "0", PAID),
)


async def test_tampering_is_found(bank: Bank, tmp_path: Path) -> None:
    """A rupiah, a date, a merchant or a transfer that is changed past all triggers fails its check, until it is put back."""
    async with open_till(bank, tmp_path) as till:
        first, _ = await two_days(till)
        await close_settlement(bank, "siti", LINK, first)
        await order_payment(bank, "siti", LINK, first, "TRF-1")
        await pay_settlement(bank, "budi", LINK, first)
    agents = await one_value(bank, "SELECT id FROM settlement WHERE channel = 'AGENT'")
    for statement, wrong, right, check in TAMPERED:
        await as_owner(bank, statement.format(wrong))
        assert any(one.name.startswith(check) for one in await verify(bank) if not one.ok), statement
        assert any(name.startswith(check) for name in await _wrong(bank)), statement
        await as_owner(bank, statement.format(right))
    assert {} == await _wrong(bank)
    await as_owner(bank, "DELETE FROM settlement_payee WHERE terminal = 'A2'")
    assert [CLOSED] == [one.name for one in await verify(bank) if not one.ok]
    await as_owner(bank, "DELETE FROM settlement_payee WHERE settlement_id = :id", id=agents)
    await as_owner(bank, "DELETE FROM settlement WHERE id = :id", id=agents)
    assert {CLOSED, PAID, "agents' payable = approved less reversed less settled",
            "paid to partners = settlements that are paid"} == {one.name for one in await verify(bank) if not one.ok}  # fmt: skip


async def test_the_database_keeps_what_is_closed(bank: Bank, tmp_path: Path) -> None:
    """The service can neither change nor remove a closed settlement and its lines, nor write a partner's day out of reach."""
    async with open_till(bank, tmp_path) as till:
        first, _ = await two_days(till)
        await close_settlement(bank, "siti", LINK, first)
    for statement in (
        "UPDATE settlement SET withdrawals_idr = withdrawals_idr + 1",
        "UPDATE settlement SET closed_by = 'someone'",
        "DELETE FROM settlement",
        "TRUNCATE settlement CASCADE",
        "UPDATE settlement_payee SET amount_idr = 1",
        "DELETE FROM settlement_payee",
        "UPDATE settlement SET state = 'PAID'",
        "UPDATE settlement SET state = 'PAID', ordered_by = 'a', evidence = 'b', paid_by = 'a', paid_on = now()",
        "UPDATE authorisation SET settlement_date = business_date + 2",
    ):
        with pytest.raises(DBAPIError):
            async with bank.database.engine.begin() as connection:
                await connection.exec_driver_sql(statement)
    assert {} == await _wrong(bank)


async def test_a_correction_counts_on_its_own_day(bank: Bank, tmp_path: Path) -> None:
    """A payment that was booked and did not happen is no longer owed: in the settlement of the day it is corrected."""
    async with open_till(bank, tmp_path) as till:
        first = bank.business_date
        await till.ask(CASH, 100_000, AGENT, merchant="AGEN1", terminal="A1")
        await till.ask(CASH, 30_000, ATM)
        second = await till.next_day()
        await close_all(bank, "siti", first)
        wrong = await one_value(bank, "SELECT id FROM transfer WHERE kind = 'WITHDRAWAL' AND amount_idr = 100000")
        number = till.families[0].account_number
        await correction.take_back(bank, "siti", "budi", number, wrong, "the cash was not paid out", 70_000)
        await till.next_day()
        (corrected,) = await close_all(bank, "siti", second)
        assert ("AGENT", 0, 1, 70_000, -70_000) == (
            corrected.channel, corrected.taken, corrected.corrections, corrected.corrections_idr, corrected.net_idr,
        )  # fmt: skip
        async with reading(bank) as connection:
            (line,) = [one async for one in payees(connection, first, second)]
        assert ("AGEN1", 1, 100_000, 1, 70_000, 30_000) == (
            line.merchant, line.count, line.amount_idr, line.reversed, line.reversed_idr, line.net_idr,
        )  # fmt: skip
        for since in (None, first, second):
            assert [] == [one for one in await verify(bank, since) if not one.ok]
    assert {} == await _wrong(bank)


async def test_dates_that_are_not_closed_are_told_as_they_stand(bank: Bank, tmp_path: Path) -> None:
    """The list and the positions hold closed dates, and open ones where asked; together they are the control accounts."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
        await close_settlement(bank, "siti", LINK, first)
        await order_payment(bank, "siti", LINK, first, "TRF-1", "ATM")
        await pay_settlement(bank, "budi", LINK, first, "ATM")
        assert [("ATM", "PAID"), ("AGENT", "CLOSED"), ("EWARONG", "CLOSED")] == [
            (one.channel, one.state) for one in await settlements(bank, first, second)
        ]
        told = await settlements(bank, first, second, LINK, also_open=True)
        assert [("ATM", "OPEN", None, -33_000), ("EWARONG", "OPEN", None, 22_000)] == [
            (one.channel, one.state, one.id, one.net_idr) for one in told if one.settlement_date == second
        ]
        assert told[3:] == await settlement_of(bank, second)
        with pytest.raises(NotFound, match="no authorisation has the settlement date"):
            await settlement_of(bank, first - ONE_DAY, LINK)
        with pytest.raises(Refused, match="ends after it begins"):
            await settlements(bank, second, first)
        found = await positions(bank, first, bank.business_date, also_open=True)
        assert [
            ("ATM", 0, 100_000, 0, 100_000, 100_000, 0, -33_000),
            ("AGENT", 0, 70_000, 0, 70_000, 0, 70_000, 0),
            ("EWARONG", 0, 30_000, 0, 30_000, 0, 30_000, 22_000),
        ] == [
            (one.channel, one.opening_idr, one.taken_idr, one.given_back_idr, one.net_idr, one.paid_idr, one.closing_idr,
             one.open_idr) for one in found
        ]  # fmt: skip
        balances = await _balances(bank)
        owed = [balances[name] for name in ("ATM_SETTLEMENT", "AGENT_PAYABLE", "EWARONG_PAYABLE")]
        assert owed == [one.closing_idr + (one.open_idr or 0) for one in found]
        later = {
            one.channel: (one.opening_idr, one.paid_idr) for one in await positions(bank, second, bank.business_date)
        }
        assert {"ATM": (100_000, 100_000), "AGENT": (70_000, 0), "EWARONG": (30_000, 0)} == later


async def test_payees_add_up_to_their_settlement(bank: Bank, tmp_path: Path) -> None:
    """A completion, refund or reversal counts for the merchant of what it names; paid ones leave the unpaid list."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
        await close_all(bank, "siti", first)
        await close_all(bank, "siti", second)
        async with reading(bank) as connection:
            found = [one async for one in payees(connection, first, second)]
        assert [
            ("AGENT", "AGEN1", "A1", 1, 50_000, 0, 0, 50_000),
            ("AGENT", "AGEN2", "A2", 1, 20_000, 0, 0, 20_000),
            ("EWARONG", "TOKO1", "E1", 2, 39_000, 1, 12_000, 27_000),
            ("EWARONG", "TOKO2", "E2", 1, 25_000, 0, 0, 25_000),
        ] == [
            (one.channel, one.merchant, one.terminal, one.count, one.amount_idr, one.reversed, one.reversed_idr, one.unpaid_idr)
            for one in found
        ]  # fmt: skip
        await order_payment(bank, "siti", LINK, second, "TRF-1")
        await pay_settlement(bank, "budi", LINK, second)
        async with reading(bank) as connection:
            left = [one async for one in payees(connection, first, second, LINK, unpaid=True)]
        assert [("AGEN1", 50_000), ("AGEN2", 20_000), ("TOKO1", 30_000)] == [
            (one.merchant, one.net_idr) for one in left
        ]


@pytest.mark.parametrize("seed", range(4))
async def test_settled_and_not_settled_are_what_is_owed(bank: Bank, tmp_path: Path, seed: int) -> None:
    """Random days: whatever was closed and paid so far, the unpaid, the open and the paid are the accounts, to the rupiah."""
    chance = Random(seed)
    async with open_till(bank, tmp_path, 3, 9_000_000) as till:
        start = bank.business_date
        asked: list[list[Asked]] = [[], []]
        for _ in range(5):
            for _ in range(chance.randint(0, 12)):
                await _random_request(till, chance, asked)
            await till.next_day()
            over = [start + ONE_DAY * n for n in range((bank.business_date - start).days)]
            for on in [on for on in over if chance.random() < 0.4]:
                await close_all(bank, "siti", on)
            for one in await settlements(bank, start, bank.business_date):
                if one.state == "CLOSED" and chance.random() < 0.4:
                    await order_payment(bank, "siti", one.link, one.settlement_date, f"T{chance.random()}", one.channel)
                    await pay_settlement(bank, "budi", one.link, one.settlement_date, one.channel)
            told = await settlements(bank, start, bank.business_date + ONE_DAY, also_open=True)
            owed = {control.name: 0 for control in OWED.values()}
            for one in told:
                owed[OWED[one.channel].name] += one.net_idr if one.state != "PAID" else 0
            paid = sum(one.net_idr for one in told if one.state == "PAID")
            assert owed | {"PARTNER_PAID": paid} == await _balances(bank)
            assert [] == [check for check in await verify(bank) if not check.ok]
            assert [] == [check for check in await verify(bank, start + ONE_DAY * 2) if not check.ok]
    assert {} == await _wrong(bank)


async def _random_request(till: Till, chance: Random, asked: list[list[Asked]]) -> None:
    """Something a partner may send: new ones, and reversals, refunds and completions of what was before."""
    debits, holds = asked
    channel, card, place = chance.choice(list(Channel)), chance.randrange(3), chance.randrange(3)
    on = chance.choice([None, till.bank.business_date + ONE_DAY])
    where: dict[str, Any] = {"on": on, "merchant": f"M{place}", "terminal": f"T{place}"}
    amount = chance.randint(1, 40) * 1_000
    match chance.randrange(6):
        case 4 if debits:
            wrong = chance.choice(debits)
            found = await as_owner(till.bank, DRAWN, stan=wrong.origin.stan)
            number = till.families[wrong.card].account_number
            with suppress(Refused):  # nothing of it is taken any more
                await correction.take_back(till.bank, "siti", "budi", number, found[0][0], "not paid out", amount // 2)
        case 0 | 1:
            debits.append(await till.ask(PURCHASE if channel is EWARONG else CASH, amount, channel, card=card, **where))
        case 2:
            holds.append(await till.ask(HOLD, amount, EWARONG, card=card, **where))
        case 3 if holds:
            hold = holds.pop(chance.randrange(len(holds)))
            part = chance.randint(1, hold.amount_idr)
            done = await till.ask(COMPLETION, part, channel, card=hold.card, original=hold, **where)
            debits.append(done)
        case _ if debits:
            named = chance.choice(debits)
            kind = chance.choice([REVERSAL, REFUND])
            wanted = named.amount_idr if kind is REVERSAL else chance.randint(1, named.amount_idr)
            kept = chance.randrange(named.amount_idr) if kind is REVERSAL else 0
            await till.ask(kind, wanted, channel, card=named.card, original=named, kept_idr=kept, **where)
