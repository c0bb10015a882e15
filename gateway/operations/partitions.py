"""The months of the journal and the authorisations: made ahead, shown, and detached after the retention.

A detached month is never dropped: it stays as a table that nobody can change and that auditors may read (docs/money/size.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from gateway.errors import Refused
from gateway.operations.bank import Bank, reading, transaction
from gateway.rules.retention import first_within, months_before, next_month
from gateway.store import partitions
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from datetime import date

    from gateway.store.partitions import Partition

LOCK_NOT_AVAILABLE = "55P03"
NOT_YET = "55000"  # what the database says of a month that may not be detached


@dataclass(frozen=True, slots=True)
class Made:
    """How many months were missing, of all tables, and up to which date there are partitions now."""

    made: int
    through: date


@dataclass(frozen=True, slots=True)
class RetiredMonth:
    """A month that was detached, or would be, and its tables."""

    month: date
    tables: list[Partition]


@dataclass(slots=True)
class Retired:
    """What was detached, or would be, and what keeps the next month from it, where something does."""

    months: list[RetiredMonth] = field(default_factory=list)
    waits: str = ""


async def make_ahead(bank: Bank, actor: str, on: date) -> Made:
    """Make the months that work on a date and the quarter after it need."""
    async with transaction(bank, actor) as tx:
        made = await partitions.make_around(tx.connection, on)
        through = on + timedelta(days=partitions.DAYS_AHEAD)
        await tx.record(Operation.PARTITIONS_MAKE, str(on), made=made, through=through)
    return Made(made, through)


async def listing(bank: Bank) -> list[Partition]:
    """Every month of every partitioned table."""
    async with reading(bank) as connection:
        return await partitions.listing(connection, bank.business_date)


async def retire(
    bank: Bank, actor: str, *, before: date | None = None, on: date | None = None, dry_run: bool = False
) -> Retired:
    """Detach every month that is older than the retention as of a date (default: the business date), the oldest first.

    BEFORE: only months before that one. A month that is not closed to its end stops it. Raises Refused where BEFORE is within
    the retention, or a month is in use and cannot be detached now.
    """
    today, years = on or bank.business_date, bank.settings.retention_years
    edge = first_within(today, years)
    if before is not None and before > edge:
        raise Refused(f"only months before {edge:%Y-%m} may be detached: the retention is {years} years")
    async with reading(bank) as connection:
        closed = await partitions.closed_span(connection)
        at_hand = [one for one in await partitions.listing(connection, today) if one.state != "kept"]
    result = Retired()
    if closed is None:
        return Retired(waits="no day is closed")
    for month in months_before(closed[0], before or edge):
        if closed[1] < next_month(month) - timedelta(days=1):
            result.waits = f"{month:%Y-%m} is not closed to its end"
            break
        if dry_run:
            tables = [one for one in at_hand if one.month <= month]
            at_hand = [one for one in at_hand if one.month > month]
            result.months.append(RetiredMonth(month, tables))
        else:
            result.months.append(await _retire_one(bank, actor, month))
    return result


async def _retire_one(bank: Bank, actor: str, month: date) -> RetiredMonth:
    try:
        async with transaction(bank, actor) as tx:
            tables = await partitions.retire(tx.connection, month, bank.settings.retention_years)
            await tx.record(Operation.MONTH_RETIRE, f"{month:%Y-%m}", tables={one.table: one.rows for one in tables})
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state == LOCK_NOT_AVAILABLE:
            raise Refused(f"{month:%Y-%m} is not detached: somebody reads the journal for longer; try again") from None
        if state == NOT_YET:
            cause = getattr(error.orig, "__cause__", None)
            raise Refused(f"{month:%Y-%m} is not detached: {cause}") from None
        raise
    return RetiredMonth(month, tables)
