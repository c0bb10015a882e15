"""The calling side of a link: call its hosts, sign on, and call again after a loss, slower each time.

Sign-on is part of calling: where it is refused the connection is closed and the next try waits. What is said on the connection
is connection.py's.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from gateway.terminals import network, tls
from gateway.terminals.connection import CLOSING_S, Connection
from iso.backoff import Backoff
from iso.errors import LinkClosed, LinkError, SignOnRefused
from iso.response_codes import APPROVED

if TYPE_CHECKING:
    import ssl

    from gateway.terminals.line import Line
    from gateway.terminals.profile_tables import Host

log = structlog.get_logger(__name__)

SIGN_OFF_S = 2.0


class Connector:
    """Holds the connections of a line that calls: so many to each host of the profile, each called for itself."""

    def __init__(self, line: Line, context: ssl.SSLContext | None = None) -> None:
        """CONTEXT: of TLS; None: plain TCP."""
        self.line = line
        link = line.link
        self._calls = [
            Call(line, host, place, context) for place, host in enumerate(link.hosts) for _ in range(link.connections)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def why(self) -> str | None:
        """What hindered the last call of the first host that is away; None: nothing."""
        away = next((call for call in self._calls if call.why is not None), None)
        if away is None or len(self.line.link.hosts) == 1:
            return None if away is None else away.why
        return f"{away.host}: {away.why}"

    @property
    def refused(self) -> bool:
        """Whether a host refused our last sign-on."""
        return any(call.refused for call in self._calls)

    def shown(self) -> list[dict[str, object]]:
        """For the status: each host, how many connections it shall have, how many are signed on, and what hinders the rest."""
        return [self._shown(host) for host in self.line.link.hosts]

    def _shown(self, host: Host) -> dict[str, object]:
        calls = [call for call in self._calls if call.host == host]
        why = next((call.why for call in calls if call.why is not None), None)
        return {"address": str(host), "wanted": len(calls), "signed_on": sum(call.up for call in calls), "why": why}

    def start(self) -> None:
        """Call, and hold the connections, until close()."""
        self.line.start()
        for call in self._calls:
            self._tasks.append(asyncio.create_task(call.run(), name=f"link-{self.line.link.name}-{call.host}"))

    async def sign_off(self) -> None:
        """Tell the partner that we go; whether it answers or not."""
        if self.line.link.sign_on_required:
            await asyncio.gather(*(self._sign_off(one) for one in self.line.connections if one.signed_on))

    async def _sign_off(self, connection: Connection) -> None:
        connection.signed_on = False
        with suppress(LinkError):
            await connection.ask(network.ours(self.line, network.SIGN_OFF), SIGN_OFF_S)
        self.line.note("sign-off")

    async def close(self) -> None:
        """Sign off and close."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self.sign_off()
        await self.line.finish()


class Call:
    """One connection to one host, called again after each loss. WHY: what hindered the last call; None: nothing."""

    def __init__(self, line: Line, host: Host, place: int, context: ssl.SSLContext | None) -> None:
        """PLACE: of the host in the profile, from 0; CONTEXT: of TLS; None: plain TCP."""
        self.line = line
        self.host = host
        self.why: str | None = None
        self.refused = False
        self._place = place
        self._context = context
        self._connection: Connection | None = None

    @property
    def up(self) -> bool:
        """Whether messages may pass now."""
        one = self._connection
        return one is not None and not one.gone.is_set() and (one.signed_on or not self.line.link.sign_on_required)

    async def run(self) -> None:
        """Call again and again. A connection that does not last is one more failure: the host takes it and drops it."""
        failures = 0
        while True:
            began = monotonic()
            try:
                self._connection = await self._call()
            except (OSError, LinkError, UnicodeError) as error:  # UnicodeError: of a name that can be no host's
                self._failed(error)
            else:
                self.why, self.refused = None, False
                log.info("link.connected", link=self.line.link.name, host=str(self.host))
                await self._connection.gone.wait()
                log.warning("link.lost", link=self.line.link.name, host=str(self.host))
                if monotonic() - began >= self.line.link.reconnect_most_s:
                    failures = 0
            failures += 1
            link = self.line.link
            await asyncio.sleep(Backoff(link.reconnect_s, link.reconnect_most_s).wait_s(failures))

    def _failed(self, error: OSError | LinkError | UnicodeError) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or "no connection in time"
        if why != self.why:
            log.warning("link.no_connection", link=self.line.link.name, host=str(self.host), reason=why)
        self.why, self.refused = why, isinstance(error, SignOnRefused)

    async def _call(self) -> Connection:
        """A connection that is signed on. Raises OSError, LinkError or UnicodeError; what was opened is closed then."""
        line = self.line
        link = line.link
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(link.answer_timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(line, self.admits, self._place), self.host.name, self.host.port, ssl=self._context,
                ssl_shutdown_timeout=None if self._context is None else CLOSING_S,
            )  # fmt: skip
        if connection.transport is None:
            raise LinkClosed(self.why or "the connection was closed at once")
        try:
            if link.sign_on_required:
                await self._sign_on(connection)
        except BaseException:
            await connection.end()
            raise
        return connection

    async def _sign_on(self, connection: Connection) -> None:
        answer = await connection.ask(network.ours(self.line, network.SIGN_ON))
        code = answer.get(39, "")
        if code != APPROVED:
            raise SignOnRefused(code)
        connection.signed_on = True
        self.line.note("sign-on")

    def admits(self, transport: asyncio.Transport) -> bool:
        """Whether whom we called is the link's partner, by its certificate."""
        link = self.line.link
        if link.tls is None or not link.tls.peer_names:
            return True
        if tls.is_named(transport.get_extra_info("peercert"), link.tls.peer_names):
            return True
        self.line.counters.peers_refused += 1
        self.why = "its certificate has another name"
        log.warning("link.peer.refused", link=link.name, peer=self.host.name, reason=self.why)
        return False
