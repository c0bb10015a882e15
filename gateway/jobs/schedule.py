"""When jobs run: APScheduler with its in-memory store, in Jakarta's time. Missed dates are caught up first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from gateway.clock import JAKARTA
from gateway.errors import Refused
from gateway.jobs.catalogue import JOBS, Job
from gateway.jobs.runner import catch_up, run_job
from gateway.operations.bank import refresh_business_date

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

log = structlog.get_logger(__name__)
CATCH_UP_MINUTES = 15


def make_schedule(bank: Bank) -> AsyncIOScheduler:
    """A scheduler with every job; the caller starts and stops it."""
    scheduler = AsyncIOScheduler(timezone=JAKARTA)
    for job in JOBS:
        trigger = CronTrigger(hour=job.hour, minute=job.minute, timezone=JAKARTA)
        scheduler.add_job(_run_today, trigger, args=[bank, job], id=job.name, coalesce=True, max_instances=1)
    every = CronTrigger(minute=f"*/{CATCH_UP_MINUTES}", timezone=JAKARTA)
    scheduler.add_job(_catch_up, every, args=[bank], id="catch-up", coalesce=True, max_instances=1)
    return scheduler


async def _run_today(bank: Bank, job: Job) -> None:
    on = await refresh_business_date(bank)
    try:
        await run_job(bank, job, on)
    except Refused as error:
        log.info("job.elsewhere", job=job.name, reason=str(error))


async def _catch_up(bank: Bank) -> None:
    """A failed or cut-off run is tried again; done ones cost one look."""
    try:
        await catch_up(bank)
    except Refused as error:
        log.info("catch-up.elsewhere", reason=str(error))
