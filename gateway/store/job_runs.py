"""Job runs as stored: one row a job and business date, and the lock that makes one process run it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

JOB_LOCKS = 8_583_500


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run as it stands."""

    id: int
    job: str
    business_date: date
    state: str
    started_at: datetime
    ended_at: datetime | None
    summary: dict[str, Any]
    error: str | None


async def try_lock(connection: AsyncConnection, job: str) -> bool:
    """Hold the job for this connection (session lock); False: another process runs it."""
    return bool((await connection.execute(TRY_LOCK, {"group": JOB_LOCKS, "job": job})).scalar_one())


async def unlock(connection: AsyncConnection, job: str) -> None:
    """Let the job go."""
    await connection.execute(UNLOCK, {"group": JOB_LOCKS, "job": job})


async def begin(connection: AsyncConnection, job: str, on: date) -> JobRun:
    """Begin a run, or take up one that failed or was cut off. A run that is DONE comes back as it is."""
    await connection.execute(BEGIN, {"job": job, "on": on})
    row = (await connection.execute(READ_ONE, {"job": job, "on": on})).one()
    return JobRun(*row)


async def end(connection: AsyncConnection, run_id: int, state: str, summary: dict[str, Any], error: str | None) -> None:
    """Write how a run ended."""
    values = {"id": run_id, "state": state, "summary": json.dumps(summary), "error": error}
    await connection.execute(END, values)


async def done_dates(connection: AsyncConnection, job: str) -> set[date]:
    """The dates for which a job is done. A failed run leaves a hole, also where later dates are done."""
    return set((await connection.execute(DONE_DATES, {"job": job})).scalars())


async def bank_since(connection: AsyncConnection) -> date:
    """The first date for which there can be work: the day in Jakarta on which the bank was set up, or the first SI."""
    found: date = (await connection.execute(BANK_SINCE)).scalar_one()
    return found


async def newest(connection: AsyncConnection, limit: int) -> list[JobRun]:
    """The newest runs."""
    return [JobRun(*row) for row in await connection.execute(NEWEST, {"limit": limit})]


RUN = "id, job, business_date, state, started_at, ended_at, summary, error"
TRY_LOCK = text("SELECT pg_try_advisory_lock(:group, hashtext(:job))")
UNLOCK = text("SELECT pg_advisory_unlock(:group, hashtext(:job))")
BEGIN = text("""
    INSERT INTO job_run (job, business_date, state) VALUES (:job, :on, 'RUNNING')
    ON CONFLICT (job, business_date) DO UPDATE SET state = 'RUNNING', started_at = now(), error = NULL
    WHERE job_run.state <> 'DONE'
""")
READ_ONE = text(f"SELECT {RUN} FROM job_run WHERE job = :job AND business_date = :on")
END = text("""
    UPDATE job_run SET state = :state, ended_at = now(), summary = CAST(:summary AS jsonb), error = :error WHERE id = :id
""")
DONE_DATES = text("SELECT business_date FROM job_run WHERE job = :job AND state = 'DONE'")
BANK_SINCE = text("""
    SELECT least((created_at AT TIME ZONE 'Asia/Jakarta')::date, (SELECT min(business_date) FROM si)) FROM bank
""")
NEWEST = text(f"SELECT {RUN} FROM job_run ORDER BY business_date DESC, id DESC LIMIT :limit")
