"""One lane's own database connection: the driver itself, with the statements of a group prepared once.

A group is four round trips: begin with the lane's lock, LOAD, WRITE, commit. The lock makes the lane one writer over all
processes of the bank; it is taken before LOAD, so that LOAD sees all that the writer before has left. Errors are the driver's
own (asyncpg) or OSError; the connection is thrown away after any of them.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.store import audit
from gateway.store.authorisations import LOAD, WRITE, dates_of, load_parameters, read_loaded
from gateway.telemetry import masked_text
from ledger.book import TAKE_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from asyncpg.prepared_stmt import PreparedStatement
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from gateway.store.audit import Head
    from gateway.store.authorisations import Loaded, Wanted

log = structlog.get_logger(__name__)

LANE_LOCK = 8_583_100  # and the lane's number
# A group's statements find their rows by index whatever the planner has heard of the tables' sizes so far.
NEVER_SCAN = """
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan
"""
# Plans are made anew as tables grow, soon at first: nobody waits for autovacuum to tell the planner that a month has begun.
PLAN_AGE_FIRST_S, PLAN_AGE_MAX_S = 0.5, 60.0
PARAMETER = re.compile(r"(?<!:):(\w+)")


DATABASE_ERRORS = (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
GONE_STATES = ("08", "57P")  # SQLSTATE: connection lost, server shutting down, crashed or starting up


def unreachable(error: BaseException) -> bool:
    """Whether the connection was lost or refused, as against a statement that failed. What SQLAlchemy wraps counts as itself."""
    if isinstance(error, DBAPIError):
        inner = error.orig.__cause__ if error.orig is not None else None
        return error.connection_invalidated or (inner is not None and unreachable(inner))
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(GONE_STATES) or isinstance(error, asyncpg.TooManyConnectionsError)
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # a parameter that cannot be sent is our own fault
    return isinstance(error, OSError | PoolTimeout | asyncpg.InternalClientError)  # the last: closed under our feet


def cause(error: BaseException) -> str:
    """What the driver said, without the statement and its parameters."""
    orig = getattr(error, "orig", None)
    return masked_text((str(orig or error).splitlines() or [""])[0][:200])


class LaneConnection:
    """An open connection of one lane. open() makes it, close() throws it away."""

    def __init__(self, lane: int, pooled: AsyncConnection, driver: asyncpg.Connection) -> None:
        self.stream = f"lane-{lane}"
        self._begin = f"BEGIN; SELECT pg_advisory_xact_lock({LANE_LOCK + lane})"
        self._pooled = pooled
        self._driver = driver
        self._plan_age_s = PLAN_AGE_FIRST_S
        self._plans_until = 0.0
        self._dated: date | None = None
        self._load: _Statement
        self._write: _Statement
        self._ids = _Statement(str(TAKE_IDS))
        self._seldom: dict[str, _Statement] = {}

    @classmethod
    async def open(cls, engine: AsyncEngine, lane: int) -> LaneConnection:
        """Take a connection from the pool and make it ready."""
        pooled = await engine.connect()
        raw = await pooled.get_raw_connection()
        opened = cls(lane, pooled, raw.driver_connection)
        try:
            await opened._make_ready()
        except BaseException:
            await opened.close()
            raise
        return opened

    async def begin(self) -> None:
        """Begin a transaction as the lane's only writer; waits for the one before."""
        now = asyncio.get_running_loop().time()
        if now < self._plans_until:
            await self._driver.execute(self._begin)
            return
        self._plan_age_s = min(2 * self._plan_age_s, PLAN_AGE_MAX_S)
        self._plans_until = now + self._plan_age_s
        await self._driver.execute(f"DISCARD PLANS; {self._begin}")

    async def load(self, wanted: Sequence[Wanted], terminals: Iterable[str], today: date) -> tuple[Head, list[Loaded]]:
        """Lock and read what the members need, in their order, and the head of the lane's audit chain."""
        if today != self._dated:
            await self._date_statements(today)
        rows = await self._load.fetch(load_parameters(wanted, terminals, today, self.stream))
        return read_loaded(rows, len(wanted))

    async def write(self, parameters: Mapping[str, Any]) -> tuple[int, ...]:
        """Write the group. Returns how many rows its parts wrote."""
        (row,) = await self._write.fetch(parameters)
        return tuple(row)

    async def fetch(self, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        """Run a statement that not every group needs; it is prepared when it is first run. Returns its rows."""
        prepared = self._seldom.get(statement)
        if prepared is None:
            prepared = _Statement(statement)
            await prepared.prepare(self._driver)
            self._seldom[statement] = prepared
        return await prepared.fetch(parameters)

    async def take_ids(self, sequence: str, count: int) -> list[int]:
        """COUNT new ids of a sequence."""
        ((found,),) = await self._ids.fetch({"sequence": sequence, "count": count})
        return list(found)

    async def commit(self) -> None:
        """Commit; durable when it returns."""
        await self._driver.execute("COMMIT")

    async def close(self) -> None:
        """Close it for good; what was not committed is rolled back. Waits for no PostgreSQL, which may be silent."""
        self._driver.terminate()
        await _throw_away(self._pooled)

    async def _make_ready(self) -> None:
        await self._driver.execute(NEVER_SCAN)
        chain = _Statement(audit.ENSURE_CHAIN)
        for statement in (chain, self._ids):
            await statement.prepare(self._driver)
        await chain.fetch({"stream": self.stream, "hash": audit.FIRST_HASH})

    async def _date_statements(self, today: date) -> None:
        """Prepare a group's statements for a business date: what is written as a date is planned for its partitions alone."""
        self._load, self._write = (_Statement(dated(statement, today)) for statement in (LOAD, WRITE))
        for statement in (self._load, self._write):
            await statement.prepare(self._driver)
        self._dated = today


def dated(statement: str, today: date) -> str:
    """A statement of a group with the dates of its parameters written out.

    >>> from datetime import date
    >>> dated("WHERE business_date BETWEEN :month AND :today AND cell = :cell", date(2026, 11, 23))
    "WHERE business_date BETWEEN DATE '2026-11-01' AND DATE '2026-11-23' AND cell = :cell"
    """
    literals = {name: f"DATE '{value}'" for name, value in dates_of(today).items()}
    return PARAMETER.sub(lambda found: literals.get(found[1], found[0]), statement)


class _Statement:
    """One SQL text with :name parameters, prepared on a connection."""

    def __init__(self, statement: str) -> None:
        self._names = list(dict.fromkeys(PARAMETER.findall(statement)))
        places = {name: f"${place}" for place, name in enumerate(self._names, 1)}
        self._text = PARAMETER.sub(lambda found: places[found[1]], statement)
        self._prepared: PreparedStatement | None = None

    async def prepare(self, driver: asyncpg.Connection) -> None:
        self._prepared = await driver.prepare(self._text)

    async def fetch(self, parameters: Mapping[str, Any]) -> list[Any]:
        assert self._prepared is not None  # noqa: S101 - LaneConnection.open has prepared it
        found: list[Any] = await self._prepared.fetch(*[parameters[name] for name in self._names])
        return found


async def _throw_away(pooled: AsyncConnection) -> None:
    try:
        await pooled.invalidate()
        await pooled.close()
    except (OSError, SQLAlchemyError) as error:
        log.debug("lane.connection.dropped", error=type(error).__name__)
