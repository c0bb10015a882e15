"""Monthly partitions of the journal and the authorisations: made ahead of the dates that need them, detached after the retention.

The work is done by two functions of the database that run as its owner (sql/0002_partitions.sql, sql/0002_retention.sql).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.rules.retention import next_month

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

DAYS_BEHIND = 31
DAYS_AHEAD = 92


async def make_around(connection: AsyncConnection, on: date) -> int:
    """Make the partitions that work on a date and the months after it need. Returns how many were missing."""
    return await make_between(connection, on - timedelta(days=DAYS_BEHIND), on + timedelta(days=DAYS_AHEAD))


async def make_between(connection: AsyncConnection, first: date, last: date) -> int:
    """Make the partitions of a span of dates. Returns how many were missing."""
    return int((await connection.execute(MAKE, {"first": first, "last": last})).scalar_one())


@dataclass(frozen=True, slots=True)
class Partition:
    """A month of a table. ROWS: an estimate of the server, exact once it is kept. STATE: ahead, open, closed or kept."""

    table: str
    month: date
    rows: int
    bytes: int
    state: str


async def listing(connection: AsyncConnection, today: date) -> list[Partition]:
    """Every month of every partitioned table, kept ones too, in the order of months."""
    return [Partition(*row) for row in await connection.execute(LISTING, {"today": today})]


async def closed_span(connection: AsyncConnection) -> tuple[date, date] | None:
    """The first day that is closed and at hand, and the last one; None where there is none."""
    row = (await connection.execute(CLOSED_SPAN)).one()
    return None if row.first is None else (row.first, row.last)


async def kept_since(connection: AsyncConnection) -> date | None:
    """The first date whose rows are at hand, where months before it were detached; None where none was."""
    found: date | None = (await connection.execute(DETACHED_THROUGH)).scalar_one()
    return None if found is None else found + timedelta(days=1)


async def retire(connection: AsyncConnection, month: date, years: int) -> list[Partition]:
    """Detach a month. Returns the tables it is kept in now. The database refuses what may not be (sql/0002_retention.sql)."""
    await connection.execute(RETIRE, {"month": month, "years": years})
    through = next_month(month) - timedelta(days=1)
    return [Partition(*row) for row in await connection.execute(KEPT, {"through": through})]


MAKE = text("SELECT make_partitions(CAST(:first AS date), CAST(:last AS date))")
DETACHED_THROUGH = text("SELECT detached_through FROM journal_opening")
CLOSED_SPAN = text("""
    SELECT min(business_date) AS first, max(business_date) AS last FROM closed_day
    WHERE state = 'CLOSED' AND business_date > coalesce((SELECT detached_through FROM journal_opening), '-infinity')
""")
RETIRE = text("SELECT retire_month(CAST(:month AS date), :years)")
KEPT_COLUMNS = "table_name, month, rows, pg_total_relation_size(to_regclass(table_name)), 'kept'"
KEPT = text(f"SELECT {KEPT_COLUMNS} FROM retention WHERE detached_through = :through ORDER BY month, table_name DESC")
LISTING = text(f"""
    WITH months AS (
        SELECT c.oid, c.relname, to_date(substring(c.relname FROM '[0-9]{{4}}_[0-9]{{2}}$'), 'YYYY_MM') AS month,
               greatest(c.reltuples, 0)::bigint AS rows
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('transfer'::regclass, 'authorisation'::regclass)
    )
    SELECT relname, month, greatest(rows, pg_stat_get_live_tuples(oid)), pg_total_relation_size(oid),
           CASE WHEN month > :today THEN 'ahead'
                WHEN month + interval '1 month' - interval '1 day' <= (SELECT max(business_date) FROM closed_day
                                                                       WHERE state = 'CLOSED') THEN 'closed'
                ELSE 'open' END
    FROM months
    UNION ALL
    SELECT {KEPT_COLUMNS} FROM retention
    ORDER BY 2, 1 DESC
""")
