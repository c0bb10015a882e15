"""One process of the bank, as far as PostgreSQL and terminals can tell: an open bank with lanes of its own, behind a wire.

Killed, it is gone in the middle of whatever it did: its connections are cut, its memory is not used again, and nobody who waits
for an answer gets one.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from gateway.app import open_bank
from gateway.measure.torture.terminals import MARK
from gateway.measure.torture.wire import Wire
from gateway.operations.lane import Lanes
from gateway.terminals.links_file import read_links
from gateway.terminals.mapping import to_command
from gateway.terminals.profile_tables import PartialMark

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from gateway.measure.torture.terminals import Sent
    from gateway.operations.authorise import Outcome
    from gateway.operations.bank import Bank
    from gateway.settings import Settings


IN_PART = {
    "partial_approval": "marked", "partial_mark": PartialMark(field=MARK, column="part"), "layouts": {MARK: {"part": 1}},
}  # fmt: skip
"""Settings of the link: terminals that say so can do with less than they ask for."""


class Process:
    """A running process of the bank. start() makes it; stop() ends it cleanly, kill() does not."""

    def __init__(self, wire: Wire, bank: Bank, held: AsyncExitStack) -> None:
        self.wire = wire
        self.bank = bank
        self._held = held
        self._lanes = Lanes(bank)
        self._link = read_links(bank.settings.links_file).first.model_copy(update=IN_PART)
        self._pin_key = bank.hsm.find(self._link.pin_key)
        self._waiting: set[asyncio.Future[Outcome | None]] = set()
        self.killed = False

    @classmethod
    async def start(cls, settings: Settings, database: URL) -> Process:
        """Open the bank of SETTINGS on DATABASE (the address of its Unix socket) and start its lanes."""
        wire = Wire(Path(str(database.query["host"])))
        await wire.open()
        url = database.update_query_dict({"host": str(wire.folder)}).set(drivername="postgresql")
        held = AsyncExitStack()
        changed = settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)})
        started = cls(wire, await held.enter_async_context(open_bank(changed)), held)
        await started._lanes.start()
        return started

    async def ask(self, sent: Sent) -> Outcome | None:
        """Put a terminal's message to the bank. None: no answer came."""
        if self.killed:
            return None
        answer: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)

        def told(outcome: Outcome | None) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self._lanes.submit(to_command(sent.message, self._link, self._pin_key, sent.said.settles_on), told)
        try:
            return await answer
        finally:
            self._waiting.discard(answer)

    async def stop(self) -> None:
        """Answer what was accepted and end."""
        self.killed = True
        await self._lanes.close()
        await self._held.aclose()
        await self.wire.close()

    async def kill(self) -> asyncio.Task[None]:
        """Die at once. PostgreSQL has let go of it when this returns; the task that comes back buries what is left."""
        self.killed = True
        for answer in list(self._waiting):
            if not answer.done():
                answer.set_result(None)
        await self.wire.close()
        return asyncio.ensure_future(self._bury())

    async def _bury(self) -> None:
        await self._lanes.close()
        with suppress(OSError, SQLAlchemyError):
            await self._held.aclose()
