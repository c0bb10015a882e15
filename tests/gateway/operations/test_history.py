"""Tests of gateway.operations.history."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.jobs.runner import catch_up
from gateway.operations import account, dormancy, history
from gateway.operations.history import Balance
from gateway.operations.setup import move_business_date
from tests.gateway.owner import as_owner
from tests.gateway.street import assert_proved, open_street
from tests.gateway.world import MAKER, credit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

ONE_DAY = timedelta(days=1)


async def test_a_statement_run_to_today_ends_at_the_purses(bank: Bank, tmp_path: Path) -> None:
    """Every movement with its paper and the balance after it, over days that are closed and one that is open."""
    first = bank.business_date
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
        before = bank.now()
        withdrawn = await street.atm.withdraw(street.card, 100_000)
        await street.atm.reverse(withdrawn, kept_idr=60_000)
        await move_business_date(bank, MAKER, first + 2 * ONE_DAY)
        await catch_up(bank)
        await credit(bank, tmp_path, street.families, 75_000, "PKH", "SI-2", "2027-T1", ("2027-01",))
        await street.shop.hold(street.card, 30_000)
    found = await history.statement(bank, number)
    assert (Balance(), Balance(585_000, 30_000, 0)) == (found.opening, found.closing)
    kinds = ["CREDIT", "WITHDRAWAL", "REVERSAL", "CREDIT", "HOLD"]
    assert kinds == [line.kind for line in found.lines]
    balances = [600_000, 500_000, 540_000, 615_000, 585_000]
    assert balances == [line.balance.available_idr for line in found.lines]
    assert [-100_000, 40_000] == [line.available_idr for line in found.lines[1:3]]
    assert found.lines[1].transfer == found.lines[2].corrects
    assert "SI SI-1, SP2D SP2D-SI-1" == found.lines[0].reference
    assert found.lines[1].reference.startswith("ATM ")
    assert "STAN " in found.lines[1].reference
    now = (await account.show(bank, number))["purses"]
    assert found.closing == Balance(
        *(sum(one[name] for one in now) for name in ("available_idr", "held_idr", "frozen_idr"))
    )
    pkh = await history.statement(bank, number, first + ONE_DAY, programme="PKH")
    assert (["CREDIT"], Balance(), Balance(75_000)) == ([line.kind for line in pkh.lines], pkh.opening, pkh.closing)
    sembako = await history.statement(bank, number, first, first, "SEMBAKO")
    assert (3, Balance(540_000)) == (len(sembako.lines), sembako.closing)
    for on in (first, first + ONE_DAY, bank.business_date):
        then = await history.balance(bank, number, on=on)
        until = (await history.statement(bank, number, None, on)).closing
        assert until == sum_of(then)
    assert {"SEMBAKO": Balance(600_000)} == (await history.balance(bank, number, at=before)).programmes
    assert sum_of(await history.balance(bank, number)) == found.closing
    await assert_proved(bank)


def sum_of(found: history.PastBalance) -> Balance:
    """All programmes together."""
    total = Balance()
    for one in found.programmes.values():
        total = total.plus(one)
    return total


async def test_papers_of_jobs_and_returns_are_named(bank: Bank, tmp_path: Path) -> None:
    """Freeze and debit to RPL name their run and evidence; control accounts are known at every date."""
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
    first, on = bank.business_date, bank.business_date + timedelta(days=106)
    await move_business_date(bank, MAKER, on)
    await dormancy.freeze_unused(bank, on, 1)
    await dormancy.debit_to_rpl(bank, on, 1)
    await as_owner(bank, f"INSERT INTO job_run (job, business_date, state) VALUES ('dormancy-freeze', '{on}', 'DONE')")
    found = await history.statement(bank, number, on)
    assert ["FREEZE", "TO_RPL"] == [line.kind for line in found.lines]
    assert f"dormancy-freeze of {on}" == found.lines[0].reference
    assert found.lines[1].reference.startswith(f"RPL-{on:%Y%m%d}-1-")
    assert (Balance(600_000), Balance()) == (found.opening, found.closing)
    assert {2: 600_000} == await history.control_balance(bank, "rpl", on)
    assert {} == await history.control_balance(bank, "RPL", first)
    assert {0: -600_000} == await history.control_balance(bank, "treasury", first)
    assert {2: 0} == await history.control_balance(bank, "programme-fund", on)


async def test_what_is_not_there_is_refused(bank: Bank, tmp_path: Path) -> None:
    """Unknown account, programme and control account; a span that ends before it begins."""
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
    for refused in (history.balance(bank, "123"), history.statement(bank, "123")):
        with pytest.raises(NotFound, match="there is no account 123"):
            await refused
    with pytest.raises(NotFound, match=r"there is no programme BLT; programmes: PKH, SEMBAKO"):
        await history.statement(bank, number, programme="BLT")
    with pytest.raises(NotFound, match=r"there is no control account cash; control accounts: treasury, .*rpl"):
        await history.control_balance(bank, "cash", bank.business_date)
    with pytest.raises(Refused, match="a statement cannot go from"):
        await history.statement(bank, number, bank.business_date, bank.business_date - ONE_DAY)


async def test_a_month_in_the_archive_is_refused(bank: Bank, tmp_path: Path) -> None:
    """By default a statement begins with the first day at hand, and says what stood there."""
    async with open_street(bank, tmp_path) as street:
        number = street.families[0].account_number
    through = bank.business_date
    await as_owner(bank, "INSERT INTO tranche_opening SELECT cell, account_id, id, programme, amount_idr, available_idr, 0, 0, 0 "
                         "FROM tranche")  # fmt: skip
    await as_owner(bank, f"UPDATE journal_opening SET detached_through = '{through}', last_id = 1000000")
    await as_owner(bank, "DELETE FROM transfer")
    await move_business_date(bank, MAKER, through + ONE_DAY)
    found = await history.statement(bank, number)
    assert (through + ONE_DAY, Balance(600_000), []) == (found.first, found.opening, found.lines)
    for refused in (history.statement(bank, number, through), history.balance(bank, number, on=through - ONE_DAY),
                    history.control_balance(bank, "rpl", through - ONE_DAY)):  # fmt: skip
        with pytest.raises(Refused, match=f"the journal up to {through} is in the archive"):
            await refused
