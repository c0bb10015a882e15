"""Closing the bank's days, and proving that closed days are as they were closed.

A close takes two transactions: the first locks the day (nobody can post into it any more), the second hashes it, chains it and
writes the checkpoints, however long that takes, while the bank works on. A close cut off between them is taken up by the next.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway import clock
from gateway.errors import Refused
from gateway.operations.bank import Bank, reading, refresh_business_date, transaction
from gateway.store import job_runs
from gateway.store.audit import Operation
from ledger import days
from ledger.days import CLOSING, ClosedDay, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_NOT_AVAILABLE = "55P03"
LOCK_TIMEOUT_S = 60


@dataclass(slots=True)
class Closing:
    """The days that were closed, and why the next one was not, where it was asked for."""

    closed: list[ClosedDay] = field(default_factory=list)
    waits: str = ""


async def close(
    bank: Bank, actor: str, through: date, awaited: Sequence[str], progress: Callable[[date], None] | None = None
) -> Closing:
    """Close every open day up to and including THROUGH, in order. A day waits until every AWAITED job is done for it.

    Raises Refused where THROUGH is not past.
    """
    today = await refresh_business_date(bank)
    if through >= today:
        raise Refused(f"{through} cannot be closed yet: the business date is {today}")
    async with reading(bank) as connection:
        since = await job_runs.bank_since(connection)
        on = await days.first_to_close(connection, since)
    result = Closing()
    while on <= through:
        async with reading(bank) as connection:
            undone = [] if on < since else await _undone(connection, on, awaited)
        if undone:
            result.waits = f"{on} is not closed: {', '.join(undone)} not done for it"
            break
        result.closed.append(await _close_one(bank, actor, on))
        if progress is not None:
            progress(on)
        on += timedelta(days=1)
    return result


async def newest_days(bank: Bank, limit: int) -> list[ClosedDay]:
    """The newest closed days, newest first."""
    async with reading(bank) as connection:
        return await days.closed_days(connection, limit)


async def verify(bank: Bank, first: date | None = None, last: date | None = None) -> Verdict:
    """Hash closed days again, follow the chain, and compare it with what the audit chain kept of each close.

    Default: every closed day whose journal is at hand. Whoever changes a transfer and computes all hashes after it anew still
    disagrees with the audit events, whose HMAC needs the bank's key (`kks audit verify` proves those).
    """
    async with reading(bank) as connection:
        verdict = await days.verify(connection, first, last)
        kept = {row.business_date: row for row in await connection.execute(KEPT)}
        said = {row.subject: json.loads(row.detail) for row in await connection.execute(CLOSE_EVENTS)}
    wrong = [] if verdict.first_wrong is None else [(verdict.first_wrong, verdict.detail)]
    for on, row in kept.items():
        event = said.get(str(on))
        if row.state != CLOSING and (event is None or event["chain_hash"] != bytes(row.chain_hash).hex()):
            wrong.append((on, "the audit chain has another hash for it, or none"))
    wrong += [(on, "the audit chain says it was closed") for on in _dates(said) if on not in kept]
    within = [one for one in wrong if (first or one[0]) <= one[0] <= (last or one[0])]
    return Verdict(verdict.days, *min(within)) if within else verdict


async def _close_one(bank: Bank, actor: str, on: date) -> ClosedDay:
    async with reading(bank) as connection:
        last = await days.newest(connection)
    if last is None or (last.business_date, last.state) != (on, CLOSING):
        await _lock(bank, actor, on)
    async with transaction(bank, actor) as tx:
        closed = await days.close(tx.connection, on)
        assert closed.day_hash is not None  # noqa: S101 - a closed day has its hashes
        assert closed.chain_hash is not None  # noqa: S101
        await tx.record(
            Operation.DAY_CLOSE, str(on), transfers=closed.transfers, amount_idr=closed.amount_idr,
            day_hash=closed.day_hash.hex(), chain_hash=closed.chain_hash.hex(),
        )  # fmt: skip
    return closed


async def _lock(bank: Bank, actor: str, on: date) -> None:
    """Lock a day that is past, holding the bank's row so that its date is not moved back meanwhile."""
    try:
        async with transaction(bank, actor) as tx:
            await tx.connection.execute(LOCK_TIMEOUT)
            moved: date | None = (await tx.connection.execute(HOLD_BANK)).scalar_one()
            if on >= (moved or clock.jakarta_today()):
                raise Refused(f"{on} cannot be closed: the business date was moved back")
            await days.lock(tx.connection, on, actor)
            await tx.record(Operation.DAY_LOCK, str(on))
    except IntegrityError:
        raise Refused(f"{on} is being closed by somebody else") from None
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise Refused(f"{on} is not closed: a posting into it has been under way for {LOCK_TIMEOUT_S} s") from None


async def _undone(connection: AsyncConnection, on: date, awaited: Sequence[str]) -> list[str]:
    done = set((await connection.execute(DONE_JOBS, {"on": on})).scalars())
    return [name for name in awaited if name not in done]


def _dates(said: dict[str, object]) -> list[date]:
    return [date.fromisoformat(subject) for subject in said]


LOCK_TIMEOUT = text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
HOLD_BANK = text("SELECT business_date FROM bank FOR SHARE")
DONE_JOBS = text("SELECT job FROM job_run WHERE business_date = :on AND state = 'DONE'")
KEPT = text("SELECT business_date, state, chain_hash FROM closed_day ORDER BY business_date")
CLOSE_EVENTS = text("""
    SELECT subject, detail FROM audit_event WHERE stream = 'operations' AND operation = 'day.close' ORDER BY seq
""")
