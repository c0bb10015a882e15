"""Tests of gateway.store.partitions. Detaching: tests/gateway/operations/test_partitions.py."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.store import partitions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

ON = date(2040, 6, 15)


async def test_months_around_a_date_are_made_once(engine: AsyncEngine) -> None:
    """One behind and three ahead, of both tables; what is there stays."""
    async with engine.begin() as connection:
        assert 10 == await partitions.make_around(connection, ON)
        assert 0 == await partitions.make_around(connection, ON)
        assert 2 == await partitions.make_around(connection, ON + timedelta(days=31))
        found = await partitions.listing(connection, ON)
    made = [(one.table, one.state) for one in found if one.month.year == ON.year]
    assert 12 == len(made)
    assert [("transfer_2040_05", "open"), ("authorisation_2040_05", "open"), ("transfer_2040_06", "open")] == made[:3]
    assert ("authorisation_2040_10", "ahead") == made[-1]
    assert [one.month for one in found] == sorted(one.month for one in found)


async def test_a_span_of_decades_is_refused(engine: AsyncEngine) -> None:
    """A wrong date makes no thousand tables."""
    async with engine.begin() as connection:
        with pytest.raises(DBAPIError, match="partitions of more than ten years at once"):
            await connection.execute(partitions.MAKE, {"first": date(2030, 1, 1), "last": date(2050, 1, 1)})


async def test_what_is_at_hand(engine: AsyncEngine) -> None:
    """Nothing detached, nothing closed: everything is; closed days are told from the first at hand to the last."""
    async with engine.begin() as connection:
        assert (None, None) == (await partitions.kept_since(connection), await partitions.closed_span(connection))
        await connection.execute(text("SET LOCAL ROLE NONE"))
        for on in (date(2026, 10, 30), date(2026, 10, 31), date(2026, 11, 1)):
            await connection.execute(
                text("INSERT INTO closed_day (business_date, actor) VALUES (:on, 'test')"), {"on": on}
            )
            await connection.execute(CLOSE, {"on": on})
        assert (date(2026, 10, 30), date(2026, 11, 1)) == await partitions.closed_span(connection)
        await connection.execute(text("UPDATE journal_opening SET detached_through = '2026-10-31'"))
        assert date(2026, 11, 1) == await partitions.kept_since(connection)
        assert (date(2026, 11, 1), date(2026, 11, 1)) == await partitions.closed_span(connection)


CLOSE = text("""
    UPDATE closed_day SET state = 'CLOSED', closed_at = now(), transfers = 0, amount_idr = 0, day_hash = sha256(''),
                          chain_hash = sha256('') WHERE business_date = :on
""")
