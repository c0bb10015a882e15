"""Tests of gateway.jobs.schedule."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.clock import JAKARTA
from gateway.errors import Refused
from gateway.jobs import schedule
from gateway.jobs.catalogue import JOBS
from gateway.operations.setup import move_business_date
from tests.gateway.world import MAKER

if TYPE_CHECKING:
    import pytest

    from gateway.jobs.catalogue import Job
    from gateway.operations.bank import Bank


async def test_every_job_has_its_hour_in_jakarta(bank: Bank) -> None:
    """Each job runs once a day at its hour, and missed dates are looked for every quarter of an hour."""
    planned = {job.id: job for job in schedule.make_schedule(bank).get_jobs()}
    assert {"catch-up", *(job.name for job in JOBS)} == set(planned)
    midnight = datetime(2026, 11, 23, tzinfo=JAKARTA)
    for job in JOBS:
        first = planned[job.name].trigger.get_next_fire_time(None, midnight)
        assert midnight.replace(hour=job.hour, minute=job.minute) == first
        assert first + timedelta(days=1) == planned[job.name].trigger.get_next_fire_time(first, first)
        assert (True, 1) == (planned[job.name].coalesce, planned[job.name].max_instances)
    assert midnight == planned["catch-up"].trigger.get_next_fire_time(None, midnight)
    after = midnight.replace(second=1)
    assert midnight.replace(minute=15) == planned["catch-up"].trigger.get_next_fire_time(None, after)


async def test_a_job_that_runs_elsewhere_is_left_to_it(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduled run takes the bank's date of that moment, and a refusal is no failure."""
    to = date(2027, 3, 1)
    await move_business_date(bank, MAKER, to)
    bank.moved_date = None
    asked: list[tuple[str, date]] = []

    async def refuse(_bank: Bank, job: Job, on: date) -> None:
        asked.append((job.name, on))
        raise Refused("another process")

    async def refuse_all(_bank: Bank) -> None:
        asked.append(("all", to))
        raise Refused("another process")

    monkeypatch.setattr(schedule, "run_job", refuse)
    monkeypatch.setattr(schedule, "catch_up", refuse_all)
    await schedule._run_today(bank, JOBS[0])
    await schedule._catch_up(bank)
    assert [(JOBS[0].name, to), ("all", to)] == asked
