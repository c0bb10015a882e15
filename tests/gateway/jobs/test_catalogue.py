"""Tests of gateway.jobs.catalogue."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.jobs.catalogue import AWAITED, JOBS, is_working_day, job_named
from gateway.jobs.runner import run_job
from gateway.operations import outgoing
from gateway.operations.settlement import settlements
from gateway.operations.setup import move_business_date
from gateway.rules.authorise import RequestKind
from tests.gateway.lived_in import rotate
from tests.gateway.operations.test_outgoing import put
from tests.gateway.owner import as_owner
from tests.gateway.till import open_till
from tests.gateway.world import open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


def test_a_job_is_found_by_its_name() -> None:
    """Every job is found; an unknown name is refused with the names there are."""
    assert list(JOBS) == [job_named(job.name) for job in JOBS]
    with pytest.raises(
        NotFound,
        match=r"there is no job nothing; jobs: make-partitions, reseal, expire-outgoing, .*, remove-messages, retention$",
    ):
        job_named("nothing")


def test_jobs_stand_in_the_order_of_a_day() -> None:
    """Names are unique, and no job stands before one that runs earlier: catching up keeps the order of a day."""
    assert len({job.name for job in JOBS}) == len(JOBS)
    times = [(job.hour, job.minute) for job in JOBS]
    assert sorted(set(times)) == times


async def test_settle_closes_the_day_before_of_every_link(bank: Bank, tmp_path: Path) -> None:
    """Run for a date it closes the settlement date before it, once; a date on which nothing was authorised is nothing to do."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        await till.ask(RequestKind.CASH, 100_000)
        await till.ask(RequestKind.CASH, 30_000, link="bersama")
        tomorrow = await till.next_day()
        assert {"settlements": 2, "net_idr": 130_000} == (await run_job(bank, job_named("settle"), tomorrow)).summary
        assert {"settlements": 0, "net_idr": 0} == (await run_job(bank, job_named("settle"), today)).summary
        assert ["bersama", "himbara"] == [one.link for one in await settlements(bank, today, tomorrow)]


async def test_expire_outgoing_is_for_links_nobody_serves(bank: Bank) -> None:
    """What is too old goes to people, and no day waits for it."""
    await put(bank)
    await put(bank, link="gone")
    await as_owner(bank, "UPDATE outgoing_message SET expires_at = now() WHERE link = 'gone'")
    assert {"expired": 1} == (await run_job(bank, job_named("expire-outgoing"), bank.business_date)).summary
    assert ["QUEUED", "EXPIRED"] == [one.state for one in await outgoing.listed(bank, 10)]
    assert "expire-outgoing" not in AWAITED


async def test_messages_are_removed_on_the_day_it_is(bank: Bank) -> None:
    """Not for a date that is caught up, and no day waits for it."""
    number = await put(bank)
    await as_owner(
        bank,
        "UPDATE outgoing_message SET state = 'DROPPED', ended_at = now() - interval '500 days' WHERE id = :id",
        id=number,
    )
    job = job_named("remove-messages")
    yesterday = bank.business_date - timedelta(days=1)
    assert {"to_partners": 0, "of_partners": 0, "journals": 0} == (await run_job(bank, job, yesterday)).summary
    assert {"to_partners": 1, "of_partners": 0, "journals": 0} == (await run_job(bank, job, bank.business_date)).summary
    assert "remove-messages" not in AWAITED


async def test_reseal_seals_anew_what_is_under_an_older_key(bank: Bank, tmp_path: Path) -> None:
    """Nothing while the key was never rotated, or for a past date; then all, and what does not open fails no job."""
    await open_families(bank, tmp_path, 3)
    today, job = bank.business_date, job_named("reseal")
    await move_business_date(bank, "maker", today + timedelta(days=2))
    assert {"resealed": 0} == (await run_job(bank, job, today)).summary
    rotate(bank.hsm)
    assert {"resealed": 0} == (await run_job(bank, job, today + timedelta(days=1))).summary
    await as_owner(bank, "UPDATE card SET pan = 'x' WHERE id = 2")
    done = await run_job(bank, job, today + timedelta(days=2))
    assert ("DONE", 12, 1, 1) == (done.state, *(done.summary[name] for name in ("resealed", "left", "unreadable")))
    assert ["card.pan of row 2"] == [one.split(":")[0] for one in done.summary["named"]]
    await move_business_date(bank, "maker", today + timedelta(days=3))
    await as_owner(bank, "DELETE FROM card WHERE id = 2")
    assert {"resealed": 0} == (await run_job(bank, job, today + timedelta(days=3))).summary


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
