"""All forwarders of one process: one a link of the room, started, changed and stopped as the links file says.

Looks at the room's links each second, tells the bank who keeps a hot list of ours, and keeps how the queues stand, and what of
the links waits for people, for the status.
Read next: forwarder.py (one link's queue).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.errors import GatewayError
from gateway.operations import desk, outgoing
from gateway.operations.outgoing import LinkTerms
from gateway.store.lane_connection import DATABASE_ERRORS
from gateway.store.link_locks import LinkLocks
from gateway.terminals.forwarder import Forwarder
from keys.errors import KeysError

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.terminals.links import LinkRoom
    from gateway.terminals.profile import Link

LOOK_S = 1.0
FIGURES_EACH = 5  # looks

log = structlog.get_logger(__name__)


class Forwarding:
    """Of one running service."""

    def __init__(self, bank: Bank, room: LinkRoom, look_s: float = LOOK_S) -> None:
        """ROOM: the links of this process. start() begins."""
        self._bank = bank
        self._room = room
        self._look_s = look_s
        self._locks = LinkLocks(bank.database.engine)
        self._forwarders: dict[str, Forwarder] = {}
        self._links: dict[str, Link] | None = None
        self._figures: list[dict[str, object]] = []
        self._people: list[dict[str, object]] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Forward until close()."""
        self._task = asyncio.create_task(self._run(), name="forwarding")

    async def close(self) -> None:
        """Stop all; what is on its way may be answered until its link's drain_s is over."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*(one.close() for one in self._forwarders.values()))
        self._forwarders.clear()

    def status(self) -> list[dict[str, object]]:
        """How the queues of all links stood some seconds ago: a link that nothing waits for is not there."""
        return self._figures

    def for_people(self) -> list[dict[str, object]]:
        """What waited for people some seconds ago: exceptions and messages of each link that has any."""
        return self._people

    async def look(self) -> None:
        """Take up what has changed of the links."""
        links = {place.link.name: place.link for place in self._room.places}
        if links == self._links:
            return
        await outgoing.keep_links(self._bank, map(terms_of, links.values()))
        for name in [name for name in self._forwarders if name not in links]:
            await self._forwarders.pop(name).close()
        for name, link in links.items():
            if name in self._forwarders:
                self._forwarders[name].link = link
            else:
                ask, ready = partial(self._room.ask, name), partial(self._room.ready, name)
                self._forwarders[name] = Forwarder(self._bank, link, ask, ready, self._locks, self._look_s)
                self._forwarders[name].start()
        self._links = links

    async def _run(self) -> None:
        looks = 0
        while True:
            try:
                await self.look()
                if looks % FIGURES_EACH == 0:
                    self._figures = [asdict(one) for one in await outgoing.figures(self._bank)]
                    self._people = [asdict(one) for one in await desk.for_people(self._bank)]
            except (*DATABASE_ERRORS, KeysError, GatewayError) as error:
                log.warning("forwarding.waits", error=type(error).__name__)
            looks += 1
            await asyncio.sleep(self._look_s)


def terms_of(link: Link) -> LinkTerms:
    """What the bank must know of a link to queue for it."""
    told = link.outgoing
    return LinkTerms(link.name, told.hot_list_file if told.hot_list else None, told.expire_s)
