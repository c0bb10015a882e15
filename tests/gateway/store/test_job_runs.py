"""Tests of gateway.store.job_runs."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from gateway import clock
from gateway.store import job_runs

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank

ONE, TWO, THREE = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)


async def test_a_run_is_begun_ended_and_done_once(engine: AsyncEngine) -> None:
    """A failed run is taken up under its number and its error forgotten; a DONE one stays as it is."""
    async with engine.begin() as connection:
        run = await job_runs.begin(connection, "warn", ONE)
        assert ("RUNNING", {}, None, None) == (run.state, run.summary, run.ended_at, run.error)
        await job_runs.end(connection, run.id, "FAILED", {}, "ConnectionError")
        again = await job_runs.begin(connection, "warn", ONE)
        assert (run.id, "RUNNING", None) == (again.id, again.state, again.error)
        await job_runs.end(connection, run.id, "DONE", {"tranches": 3}, None)
        done = await job_runs.begin(connection, "warn", ONE)
        assert ("DONE", {"tranches": 3}, True) == (done.state, done.summary, done.ended_at is not None)


async def test_done_dates_leave_holes(engine: AsyncEngine) -> None:
    """Failed and running dates are not done, nor are another job's; the newest run stands first."""
    async with engine.begin() as connection:
        for on, state in ((ONE, "DONE"), (TWO, "FAILED"), (THREE, "DONE")):
            run = await job_runs.begin(connection, "warn", on)
            await job_runs.end(connection, run.id, state, {}, None)
        await job_runs.begin(connection, "block", TWO)
        assert {ONE, THREE} == await job_runs.done_dates(connection, "warn")
        assert set() == await job_runs.done_dates(connection, "block")
        assert [THREE, TWO] == [run.business_date for run in await job_runs.newest(connection, 2)]


async def test_one_connection_holds_a_job(engine: AsyncEngine) -> None:
    """Another connection gets other jobs only, until the job is let go or its holder is gone."""
    async with engine.connect() as other:
        async with engine.connect() as holder:
            assert await job_runs.try_lock(holder, "warn")
            assert not await job_runs.try_lock(other, "warn")
            assert await job_runs.try_lock(other, "block")
            await job_runs.unlock(holder, "warn")
            assert await job_runs.try_lock(other, "warn")
            assert not await job_runs.try_lock(holder, "block")
            await holder.invalidate()
        await job_runs.unlock(other, "block")


async def test_work_begins_when_the_bank_did(bank: Bank) -> None:
    """Without a credit, the first date is the day of setup in Jakarta."""
    async with bank.database.engine.connect() as connection:
        assert clock.jakarta_today() == await job_runs.bank_since(connection)
