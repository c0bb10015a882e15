"""Tests of gateway.operations.partitions: months are there before they are needed, and go when they may, and nothing breaks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import Refused
from gateway.jobs.catalogue import job_named
from gateway.jobs.runner import run_job
from gateway.operations import day, dormancy, history, partitions, proof
from gateway.operations.bank import reading
from gateway.operations.setup import move_business_date
from gateway.store import partitions as store
from ledger import days
from tests.gateway.owner import as_owner, one_value, tamper
from tests.gateway.street import assert_proved, available_idr, open_street
from tests.gateway.world import MAKER, credit, open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.bank import Bank
    from tests.gateway.street import Street

FIRST, EDGE, AFTER = date(2023, 1, 30), date(2023, 2, 1), date(2033, 2, 1)
ONE_DAY = timedelta(days=1)
FAMILIES = 3
KEPT = {"transfer_2022_12_kept": 0, "authorisation_2022_12_kept": 0,
        "transfer_2023_01_kept": 1 + FAMILIES + 3, "authorisation_2023_01_kept": 4}  # fmt: skip


async def test_months_are_made_where_the_date_is_moved_to(bank: Bank, tmp_path: Path) -> None:
    """Years ahead and back to today: money can be posted at once."""
    today = bank.business_date
    families = await open_families(bank, tmp_path, 2)
    await move_business_date(bank, MAKER, today + timedelta(days=800))
    assert 2 == (await credit(bank, tmp_path, families)).credited
    months = {one.month for one in await partitions.listing(bank) if one.table.startswith("transfer")}
    assert {(bank.business_date + timedelta(days=days)).replace(day=1) for days in (-31, 0, 31, 62, 92)} <= months


async def test_today_has_its_month_where_the_bank_was_opened_on_another_date(bank: Bank) -> None:
    """Going back to today makes what is missing."""
    await as_owner(bank, "DROP TABLE transfer_{0:%Y_%m}, authorisation_{0:%Y_%m}".format(bank.business_date))  # noqa: UP032
    await move_business_date(bank, MAKER, None)
    assert bank.business_date.replace(day=1) in {one.month for one in await partitions.listing(bank)}


async def test_the_job_makes_a_quarter_ahead_once(bank: Bank) -> None:
    """The months of the days ahead; run again for a day that needs no more it makes none."""
    on = bank.business_date + timedelta(days=900)
    await move_business_date(bank, MAKER, on)
    made = await partitions.make_ahead(bank, MAKER, on + timedelta(days=92))
    assert (on + timedelta(days=2 * 92), 6) == (made.through, made.made)
    run = await run_job(bank, job_named("make-partitions"), on)
    assert ("DONE", 0) == (run.state, run.summary["made"])
    assert "partitions.make" == await one_value(bank, "SELECT operation FROM audit_event ORDER BY seq DESC LIMIT 1")


async def test_a_month_leaves_and_everything_still_holds(bank: Bank, tmp_path: Path) -> None:
    """Its tables are kept under another name and recorded; proof, audit chains, days and what is at hand are as before.

    A reversal at hand takes back a purchase of the detached month, and a tranche credited in it still has money that moves later.
    """
    async with _old_bank(bank, tmp_path) as street:
        number, unused = street.families[0].account_number, street.families[-1].family_id
        before = await history.balance(bank, number)
        done = await partitions.retire(bank, MAKER)
        assert ["2023-01"] == [f"{one.month:%Y-%m}" for one in done.months]
        assert KEPT == {table.table: table.rows for table in done.months[0].tables}
        assert "" == done.waits
        await assert_proved(bank)
        assert days.Verdict(1) == await day.verify(bank)
        assert before == await history.balance(bank, number)
        for refused in (history.statement(bank, number, FIRST, FIRST), history.balance(bank, number, on=FIRST)):
            with pytest.raises(
                Refused, match=r"up to 2023-01-31 is in the archive; 2023-01-\d\d is kept in transfer_2023_01_kept"
            ):
                await refused
        assert await available_idr(bank, unused) > 0
        assert EDGE == (await history.statement(bank, number)).first
        await dormancy.freeze_unused(bank, AFTER, 1)
        await dormancy.debit_to_rpl(bank, AFTER, 1)
        assert 0 == await available_idr(bank, unused)
        await assert_proved(bank)
    assert [] == (await partitions.retire(bank, MAKER)).months


async def test_a_dry_run_and_the_list(bank: Bank, tmp_path: Path) -> None:
    """The dry run says what would go and touches nothing; the list says how each month stands."""
    async with _old_bank(bank, tmp_path):
        planned = await partitions.retire(bank, MAKER, dry_run=True)
        assert [("2023-01", 4)] == [(f"{one.month:%Y-%m}", len(one.tables)) for one in planned.months]
        assert {"closed"} == {table.state for table in planned.months[0].tables}
        states = {one.table: one.state for one in await partitions.listing(bank)}
        assert ("closed", "open", "open", "ahead") == tuple(
            states[f"transfer_{month}"] for month in ("2023_01", "2023_02", "2033_02", "2033_03")
        )
        await partitions.retire(bank, MAKER)
        after = {one.table: (one.rows, one.state) for one in await partitions.listing(bank)}
        assert {name: (rows, "kept") for name, rows in KEPT.items()} == {name: after[name] for name in KEPT}
        assert all(one.bytes > 0 for one in await partitions.listing(bank))


async def test_what_may_not_go(bank: Bank, tmp_path: Path) -> None:
    """A month within the retention, one that is not closed, one with an open hold; the database says so to anyone who asks it."""
    async with _old_bank(bank, tmp_path):
        with pytest.raises(Refused, match="only months before 2023-02 may be detached: the retention is 10 years"):
            await partitions.retire(bank, MAKER, before=date(2023, 3, 1))
        assert [] == (await partitions.retire(bank, MAKER, before=date(2023, 1, 1))).months
        assert [] == (await partitions.retire(bank, MAKER, on=AFTER - ONE_DAY)).months
        for years, month, said in (
            (9, FIRST, "kept for ten years at least, not 9"), (11, FIRST, "month 2023-01 is not 11 years old"),
            (10, EDGE, "month 2023-02 is not 10 years old"),
        ):  # fmt: skip
            async with bank.database.engine.connect() as connection:
                with pytest.raises(DBAPIError, match=said):
                    await store.retire(connection, month, years)
        await as_owner(
            bank,
            "UPDATE authorisation SET held_until = '2023-01-31' WHERE kind = 'CASH' AND business_date < '2023-02-01'",
        )
        with pytest.raises(Refused, match="2023-01 is not detached: month 2023-01 has a hold that is open"):
            await partitions.retire(bank, MAKER)
        await as_owner(bank, "UPDATE authorisation SET held_until = NULL")
        await move_business_date(bank, MAKER, date(2033, 3, 1))
        done = await partitions.retire(bank, MAKER)
        assert (1, "2023-02 is not closed to its end") == (len(done.months), done.waits)


async def test_nothing_goes_where_no_day_is_closed(bank: Bank) -> None:
    """The proof would have nothing to stand on."""
    assert "no day is closed" == (await partitions.retire(bank, MAKER)).waits


async def test_a_long_reader_is_not_pushed_aside(bank: Bank, tmp_path: Path) -> None:
    """The month is left where it is, with one line, and everyone else goes on working."""
    async with _old_bank(bank, tmp_path), reading(bank) as reader:
        await reader.execute(text("SELECT count(*) FROM transfer"))
        with pytest.raises(Refused, match="2023-01 is not detached: somebody reads the journal for longer; try again"):
            await partitions.retire(bank, MAKER)
        assert 4 == len((await partitions.retire(bank, MAKER, dry_run=True)).months[0].tables)


async def test_a_kept_month_never_changes(bank: Bank, tmp_path: Path) -> None:
    """Nobody may add, change or remove a row of it; the service may not even read it, an auditor may."""
    async with _old_bank(bank, tmp_path):
        await partitions.retire(bank, MAKER)
    for statement in (
        "INSERT INTO transfer_2023_01_kept SELECT * FROM transfer_2023_01_kept", "DELETE FROM authorisation_2023_01_kept",
        "UPDATE transfer_2023_01_kept SET amount_idr = 1", "TRUNCATE transfer_2023_01_kept", "DELETE FROM retention",
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            await _as(bank, None, statement)
    with pytest.raises(DBAPIError, match="permission denied"):
        await _as(bank, "kks_app", "SELECT * FROM transfer_2023_01_kept")
    with pytest.raises(DBAPIError, match="permission denied"):
        await _as(bank, "kks_app", "INSERT INTO retention SELECT 'x', month, now(), 0, 0, month FROM retention")
    assert KEPT["transfer_2023_01_kept"] == await _as(bank, "kks_auditor", "SELECT count(*) FROM transfer_2023_01_kept")
    with pytest.raises(DBAPIError, match="permission denied"):
        await _as(bank, "kks_auditor", "SELECT count(*) FROM family")


async def test_a_row_that_is_gone_is_still_found_out(bank: Bank, tmp_path: Path) -> None:
    """Events of detached months are no excuse for a missing authorisation or transfer of a month at hand."""
    async with _old_bank(bank, tmp_path):
        await partitions.retire(bank, MAKER)
    await tamper(bank, "authorisation", "DELETE FROM authorisation WHERE kind = 'REVERSAL'")
    assert ["authorisations"] == [one.name for one in await proof.verify_audit(bank) if not one.ok]
    await tamper(bank, "transfer", "DELETE FROM transfer WHERE kind = 'REVERSAL'")
    assert "every tranche equals its journal" in [one.name for one in await proof.prove_ledger(bank) if not one.ok]


async def test_the_job_detaches_what_is_due(bank: Bank, tmp_path: Path) -> None:
    """And says so; the day after there is nothing left to do."""
    async with _old_bank(bank, tmp_path):
        run = await run_job(bank, job_named("retention"), AFTER)
        assert {"months": ["2023-01"]} == run.summary
        await move_business_date(bank, MAKER, AFTER + ONE_DAY)
        assert {"months": []} == (await run_job(bank, job_named("retention"), AFTER + ONE_DAY)).summary
    assert "2023-01" == await one_value(bank, "SELECT subject FROM audit_event WHERE operation = 'month.retire'")


@asynccontextmanager
async def _old_bank(bank: Bank, folder: Path) -> AsyncIterator[Street]:
    """Some families, paid and paid out in January 2023, one purchase taken back in February; it is February 2033 now.

    The last family has not used its money.
    """
    await move_business_date(bank, MAKER, FIRST)
    async with open_street(bank, folder, FAMILIES + 1) as street:  # one of them is under age then
        assert FAMILIES == len(street.families)
        assert "00" == (await street.atm.withdraw(street.card, 100_000)).code
        assert "00" == (await street.atm.balance(street.card)).code
        await move_business_date(bank, MAKER, FIRST + ONE_DAY)
        assert "00" == (await street.agent.withdraw(street.wallet.cards[1], 50_000)).code
        bought = await street.shop.purchase(street.card, 70_000)
        await move_business_date(bank, MAKER, EDGE)
        assert "00" == (await street.shop.reverse(bought)).code
        await move_business_date(bank, MAKER, EDGE + ONE_DAY)
        await day.close(bank, MAKER, EDGE, ())
        await move_business_date(bank, MAKER, AFTER)
        yield street


async def _as(bank: Bank, role: str | None, statement: str) -> int:
    """Run a statement as a role, or as the owner."""
    engine = create_async_engine(bank.database.url)
    try:
        async with engine.begin() as connection:
            if role is not None:
                await connection.execute(text(f"SET LOCAL ROLE {role}"))
            done = await connection.execute(text(statement))
            return int(done.scalar_one()) if done.returns_rows else 0
    finally:
        await engine.dispose()
