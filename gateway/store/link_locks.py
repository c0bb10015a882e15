"""Who of all processes of a bank forwards a link's messages: an advisory lock a link, on one database connection of a process.

The locks of a process that is killed are free at once, as its connection is gone. Where the connection is lost while a lock is
held, another process may take over a message that is on its way: it sends it as a repeat, which partners expect.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text

from gateway.store.lane_connection import DATABASE_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

LINK_LOCKS = 8_583_009  # first key; the second is of the link's name

_log = structlog.get_logger(__name__)


class LinkLocks:
    """The locks of one process. A connection is taken from the pool while one of them is held."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._gate = asyncio.Lock()
        self._held: set[str] = set()
        self._connection: AsyncConnection | None = None

    @asynccontextmanager
    async def held(self, link: str) -> AsyncIterator[bool]:
        """Whether this is the one that forwards a link's messages, until the block ends. Raises what the database raises."""
        taken = await self._take(link)
        try:
            yield taken
        finally:
            if taken:
                await self._give_back(link)

    async def _take(self, link: str) -> bool:
        async with self._gate:
            if link in self._held:
                return False
            if self._connection is None:
                self._connection = await self._engine.connect()
            try:
                taken = bool((await self._connection.execute(TAKE, {"group": LINK_LOCKS, "link": link})).scalar_one())
            except BaseException:
                await self._drop()
                raise
            if taken:
                self._held.add(link)
            elif not self._held:
                await self._let_go()
            return taken

    async def _give_back(self, link: str) -> None:
        async with self._gate:
            self._held.discard(link)
            if self._connection is None:
                return  # it was lost, and all locks with it
            try:
                await self._connection.execute(GIVE_BACK, {"group": LINK_LOCKS, "link": link})
            except DATABASE_ERRORS as error:
                _log.warning("link_locks.lost", error=type(error).__name__)
                await self._drop()
            else:
                if not self._held:
                    await self._let_go()

    async def _let_go(self) -> None:
        """Back to the pool: it holds no lock any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _drop(self) -> None:
        """Away with the connection, and with it whatever it holds."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()


TAKE = text("SELECT pg_try_advisory_lock(:group, hashtext(:link))")
GIVE_BACK = text("SELECT pg_advisory_unlock(:group, hashtext(:link))")
