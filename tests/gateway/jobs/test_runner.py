"""Tests of gateway.jobs.runner."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.jobs import runner
from gateway.jobs.catalogue import JOBS, Job, is_working_day, job_named
from gateway.jobs.runner import catch_up, run_job
from gateway.operations import dormancy, proof
from gateway.operations.setup import load_policy, move_business_date
from gateway.store import job_runs
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import MAKER, credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

RUNS = "SELECT business_date, state FROM job_run WHERE job = 'count' ORDER BY business_date"


class Counter:
    """A job that notes its dates, and fails or waits where it is told to."""

    def __init__(self, name: str = "count") -> None:
        self.dates: list[date] = []
        self.fails: set[date] = set()
        self.started, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.job = Job(name, "a test's own", 5, 0, self.run)

    async def run(self, _bank: Bank, on: date, _run_id: int) -> dict[str, Any]:
        """The work."""
        self.started.set()
        await self.go_on.wait()
        if on in self.fails:
            raise ConnectionError("with a detail")
        self.dates.append(on)
        return {"did": len(self.dates)}


async def test_a_job_runs_once_a_date(bank: Bank) -> None:
    """A run that is DONE is given back as it was, and a future date is refused."""
    counter, today = Counter(), bank.business_date
    first = await run_job(bank, counter.job, today)
    assert ("DONE", {"did": 1}, None) == (first.state, first.summary, first.error)
    assert first == await run_job(bank, counter.job, today)
    await run_job(bank, counter.job, today - timedelta(days=1))
    assert [today, today - timedelta(days=1)] == counter.dates
    with pytest.raises(
        Refused, match=f"count cannot run for {today + timedelta(days=1)}: the business date is {today}"
    ):
        await run_job(bank, counter.job, today + timedelta(days=1))


async def test_two_processes_run_a_job_once(bank: Bank) -> None:
    """While one process works, another is refused; other jobs are free, and afterwards the second finds the run DONE."""
    counter, other, today = Counter(), Counter("other"), bank.business_date
    counter.go_on.clear()
    async with open_bank(bank.settings) as second:
        working = asyncio.create_task(run_job(bank, counter.job, today))
        await counter.started.wait()
        with pytest.raises(Refused, match="count is being run by another process"):
            await run_job(second, counter.job, today)
        assert "DONE" == (await run_job(second, other.job, today)).state
        counter.go_on.set()
        assert await working == await run_job(second, counter.job, today)
    assert [today] == counter.dates


async def test_many_at_once_run_a_job_once(bank: Bank) -> None:
    """Whoever comes at the same moment is refused or finds the run DONE."""
    counter, today = Counter(), bank.business_date
    done = await asyncio.gather(*(run_job(bank, counter.job, today) for _ in range(6)), return_exceptions=True)
    assert [] == [one for one in done if isinstance(one, BaseException) and not isinstance(one, Refused)]
    assert [today] == counter.dates


async def test_a_failed_run_is_tried_again(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is kept, lets the lock go, and the date is caught up later, also when a later date was done meanwhile."""
    counter, today = Counter(), bank.business_date
    monkeypatch.setattr(runner, "JOBS", (counter.job,))
    await move_business_date(bank, MAKER, today + timedelta(days=3))
    missed = today + timedelta(days=1)
    counter.fails = {missed}
    with pytest.raises(ConnectionError):
        await catch_up(bank)
    assert [(today, "DONE"), (missed, "FAILED")] == [tuple(row) for row in await as_owner(bank, RUNS)]
    assert "ConnectionError" == await one_value(bank, "SELECT error FROM job_run WHERE state = 'FAILED'")
    await run_job(bank, counter.job, today + timedelta(days=2))
    counter.fails = set()
    assert 2 == await catch_up(bank)
    assert [today, today + timedelta(days=2), missed, today + timedelta(days=3)] == counter.dates
    assert {"DONE"} == {row.state for row in await as_owner(bank, RUNS)}
    assert 0 == await catch_up(bank)


async def test_a_run_cut_off_is_taken_up(bank: Bank) -> None:
    """A process that died left its run RUNNING: the next one does it under the same number."""
    counter, today = Counter(), bank.business_date
    async with bank.database.engine.begin() as connection:
        cut_off = await job_runs.begin(connection, "count", today)
    assert "RUNNING" == cut_off.state
    done = await run_job(bank, counter.job, today)
    assert (cut_off.id, "DONE") == (done.id, done.state)


async def test_missed_days_are_caught_up_in_order(bank: Bank, tmp_path: Path) -> None:
    """A service that was off for days runs each day in turn: warned, blocked, frozen and returned as if it had been on."""
    path = tmp_path / "short.toml"
    path.write_text("""
        [[clock]]
        region_prefix = "12"
        warn_days = [1]
        block_days = 2
        return_days = 3
        reason = "a test"
        valid_from = 2026-01-01
    """)
    await load_policy(bank, MAKER, path)
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families)
    start = bank.business_date
    end = next(on for days in range(4, 30) if is_working_day(on := start + timedelta(days=days)))
    await move_business_date(bank, MAKER, end)
    seen: list[date] = []
    days = (end - start).days + 1
    assert days * len(JOBS) == await catch_up(bank, seen.append)
    assert [start + timedelta(days=day) for day in range(days)] == seen
    found = await as_owner(bank, "SELECT notice, business_date FROM dormancy_notice GROUP BY 1, 2 ORDER BY 2, 1")
    assert [("WARN", 1), ("BLOCK", 2), ("FREEZE", 4)] == [(row[0], (row[1] - start).days) for row in found]
    assert {"RETURNED"} == {row[0] for row in await as_owner(bank, "SELECT state FROM tranche")}
    assert [] == [check.name for check in await proof.prove_ledger(bank) if not check.ok]
    assert 0 == await catch_up(bank)


async def test_the_treasury_is_paid_on_working_days_only(bank: Bank, tmp_path: Path) -> None:
    """What is at RPL on a Saturday waits for the next working day."""
    families = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, families)
    saturday = next(on for days in range(106, 113) if (on := bank.business_date + timedelta(days=days)).weekday() == 5)
    monday = next(on for days in range(2, 20) if is_working_day(on := saturday + timedelta(days=days)))
    bank.moved_date = monday
    await dormancy.freeze_unused(bank, saturday, 1)
    await dormancy.debit_to_rpl(bank, saturday, 1)
    job = job_named("treasury-return")
    waits = await run_job(bank, job, saturday)
    assert ("DONE", {"skipped"}) == (waits.state, set(waits.summary))
    assert "AT_RPL" == await one_value(bank, "SELECT state FROM tranche")
    paid = await run_job(bank, job, monday)
    assert (1, 600_000) == (paid.summary["tranches"], paid.summary["amount_idr"])
    assert monday == await one_value(bank, "SELECT returned_on FROM treasury_return")


async def test_every_job_runs_on_an_empty_bank(bank: Bank) -> None:
    """There is nothing to do, and that is done and kept."""
    assert len(JOBS) == await catch_up(bank)
    summaries = await as_owner(bank, "SELECT coalesce((summary ->> 'tranches')::int, 0) FROM job_run")
    assert [0] * len(JOBS) == [row[0] for row in summaries]


async def test_the_lock_is_let_go_after_a_failure(bank: Bank) -> None:
    """The same process can run a job again at once after it failed."""
    counter, today = Counter(), bank.business_date
    failing = replace(counter.job)
    counter.fails = {today}
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await run_job(bank, failing, today)
    counter.fails = set()
    assert "DONE" == (await run_job(bank, failing, today)).state


async def test_a_bank_that_stood_still_for_months(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Aid is frozen on its day of a month that had no partitions when the date moved past it."""
    monkeypatch.setattr(runner, "JOBS", (job_named("dormancy-freeze"),))
    await move_business_date(bank, MAKER, date(2028, 1, 25))
    await as_owner(bank, "UPDATE bank SET created_at = '2028-01-25T00:00:00Z'")
    await credit(bank, tmp_path, await open_families(bank, tmp_path, 2), months=("2028-01",))
    await move_business_date(bank, MAKER, date(2028, 9, 1))
    assert await one_value(bank, "SELECT to_regclass('transfer_2028_05')") is None
    await catch_up(bank)
    frozen = "SELECT business_date, count(*) FROM transfer WHERE kind = 'FREEZE' GROUP BY 1"
    assert [(date(2028, 5, 10), 2)] == [tuple(row) for row in await as_owner(bank, frozen)]
    assert [] == [check.name for check in await proof.prove_ledger(bank) if not check.ok]
