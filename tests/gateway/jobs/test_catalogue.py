"""Tests of gateway.jobs.catalogue."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.errors import NotFound
from gateway.jobs.catalogue import JOBS, is_working_day, job_named


def test_a_job_is_found_by_its_name() -> None:
    """Every job is found; an unknown name is refused with the names there are."""
    assert list(JOBS) == [job_named(job.name) for job in JOBS]
    with pytest.raises(
        NotFound, match=r"there is no job nothing; jobs: make-partitions, release-holds, .*close-day, retention$"
    ):
        job_named("nothing")


def test_jobs_stand_in_the_order_of_a_day() -> None:
    """Names are unique, and no job stands before one that runs earlier: catching up keeps the order of a day."""
    assert len({job.name for job in JOBS}) == len(JOBS)
    times = [(job.hour, job.minute) for job in JOBS]
    assert sorted(set(times)) == times


@pytest.mark.parametrize(
    ("on", "works"),
    [
        (date(2026, 11, 20), True),  # Friday
        (date(2026, 11, 21), False),  # Saturday
        (date(2026, 11, 22), False),  # Sunday
        (date(2026, 8, 17), False),  # Independence Day, a Monday
        (date(2027, 1, 1), False),  # New Year, a Friday
        (date(2027, 1, 4), True),  # Monday
    ],
)
def test_the_treasury_works_on_working_days(on: date, works: bool) -> None:  # noqa: FBT001 - a column of the table
    """Saturdays, Sundays and public holidays are none."""
    assert works is is_working_day(on)
