"""Monthly partitions of the journal and the authorisations: made ahead of the dates that need them (sql/0002_partitions.sql)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

DAYS_BEHIND = 31
DAYS_AHEAD = 92


async def make_around(connection: AsyncConnection, on: date) -> int:
    """Make the partitions that work on a date and the months after it need. Returns how many were missing."""
    return await make_between(connection, on - timedelta(days=DAYS_BEHIND), on + timedelta(days=DAYS_AHEAD))


async def make_between(connection: AsyncConnection, first: date, last: date) -> int:
    """Make the partitions of a span of dates. Returns how many were missing."""
    return int((await connection.execute(MAKE, {"first": first, "last": last})).scalar_one())


MAKE = text("SELECT make_partitions(CAST(:first AS date), CAST(:last AS date))")
