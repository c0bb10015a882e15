"""Running a job for a business date: by one process, once, and every missed date in turn."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from gateway.errors import Refused
from gateway.jobs.catalogue import JOBS, Job
from gateway.operations.bank import refresh_business_date
from gateway.store import job_runs, partitions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from gateway.operations.bank import Bank
    from gateway.store.job_runs import JobRun

log = structlog.get_logger(__name__)


async def run_job(bank: Bank, job: Job, on: date) -> JobRun:
    """Run a job for a date. One that is done stays done. Raises Refused while another process runs it, or for a future date."""
    if on > bank.business_date:
        raise Refused(f"{job.name} cannot run for {on}: the business date is {bank.business_date}")
    engine = bank.database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        if not await job_runs.try_lock(connection, job.name):
            raise Refused(f"{job.name} is being run by another process")
        try:
            run = await job_runs.begin(connection, job.name, on)
            if run.state == "DONE":
                return run
            try:
                summary = await job.run(bank, on, run.id)
            except Exception as error:
                await job_runs.end(connection, run.id, "FAILED", {}, f"{type(error).__name__}")
                log.exception("job.failed", job=job.name, date=str(on))
                raise
            await job_runs.end(connection, run.id, "DONE", summary, None)
            log.info("job.done", job=job.name, date=str(on), **summary)
            return await job_runs.begin(connection, job.name, on)
        finally:
            await job_runs.unlock(connection, job.name)


async def catch_up(bank: Bank, progress: Callable[[date], None] | None = None) -> int:
    """Run every job for every date up to today for which it is not done, day by day. Returns how many runs."""
    today = await refresh_business_date(bank)
    async with bank.database.engine.connect() as connection:
        since = await job_runs.bank_since(connection)
        done = {job.name: await job_runs.done_dates(connection, job.name) for job in JOBS}
    dates = [since + timedelta(days=days) for days in range((today - since).days + 1)]
    work = [(on, [job for job in JOBS if on not in done[job.name]]) for on in dates]
    first = next((on for on, missed in work if missed), None)
    if first is not None:  # a bank that stood still for months has no partitions for the days between
        async with bank.database.engine.begin() as connection:
            await partitions.make_between(connection, first, today)
    runs = 0
    for on, missed in work:
        for job in missed:
            await run_job(bank, job, on)
        runs += len(missed)
        if missed and progress is not None:
            progress(on)
    return runs
