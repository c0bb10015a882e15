"""Twin of gateway.store.lane_connection: one writer a lane, its transactions, and which errors mean that PostgreSQL is away."""

from __future__ import annotations

import asyncio
import doctest
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway.store import lane_connection
from gateway.store.lane_connection import LaneConnection, cause, unreachable
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank


def test_the_examples_hold() -> None:
    """The docstrings' examples."""
    assert 0 == doctest.testmod(lane_connection).failed


async def test_one_writer_a_lane(engine: AsyncEngine) -> None:
    """A second transaction waits for the same lane until the first ends; another lane is free."""
    one, two, three = [await LaneConnection.open(engine, lane) for lane in (0, 0, 1)]
    await one.begin()
    await three.begin()
    waiting = asyncio.ensure_future(two.begin())
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    await one.commit()
    await asyncio.wait_for(waiting, 5)
    for connection in (one, two, three):
        await connection.close()


async def test_what_was_not_committed_is_gone(engine: AsyncEngine) -> None:
    """Closing throws the transaction away; ids that were taken stay taken."""
    connection = await LaneConnection.open(engine, 3)
    first = await connection.take_ids("transfer_id_seq", 2)
    await connection.begin()
    await connection.close()
    async with engine.connect() as fresh:
        assert "lane-3" in list((await fresh.execute(text("SELECT stream FROM audit_chain"))).scalars())
        following = (await fresh.execute(text("SELECT nextval('transfer_id_seq')"))).scalar_one()
    assert [following - 2, following - 1] == first


async def test_a_killed_backend_is_unreachable_and_a_broken_rule_is_not(bank: Bank) -> None:
    """What the lane tries again, and what it declines."""
    engine = bank.database.engine
    connection = await LaneConnection.open(engine, 4)
    await as_owner(bank, KILL_OTHERS)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)) as gone:
        await connection.begin()
    assert unreachable(gone.value)
    await connection.close()
    async with engine.connect() as other:
        with pytest.raises(IntegrityError) as refused:
            await other.execute(text("INSERT INTO terminal_use VALUES ('a', '2026-11-02', -1, 0)"))
    assert not unreachable(refused.value)
    assert "terminal_use" in cause(refused.value)


KILL_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
"""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError("no server"), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.TooManyConnectionsError("sorry, too many clients"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.DataError("not a number"), False),
        (asyncpg.DeadlockDetectedError("deadlock"), False),
        (DBAPIError(None, None, Exception("anything")), False),
    ],
)
def test_which_errors_mean_away(error: Exception, *, expected: bool) -> None:
    """A server that cannot be reached, or takes no more sessions, is away; a statement that failed is not."""
    assert expected is unreachable(error)
