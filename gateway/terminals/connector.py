"""The calling side of a link: call, sign on, and call again after a loss, slower each time.

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

log = structlog.get_logger(__name__)

SIGN_OFF_S = 2.0


class Connector:
    """Holds the one connection of a line that calls. WHY: what hindered the last call; None: nothing."""

    def __init__(self, line: Line, context: ssl.SSLContext | None = None) -> None:
        """CONTEXT: of TLS; None: plain TCP."""
        self.line = line
        self.why: str | None = None
        self.refused = False
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Call, and hold the connection, until close()."""
        self.line.start()
        self._task = asyncio.create_task(self._run(), name=f"link-{self.line.link.name}")

    async def sign_off(self) -> None:
        """Tell the partner that we go; whether it answers or not."""
        if not self.line.link.sign_on_required:
            return
        for connection in [one for one in self.line.connections if one.signed_on]:
            connection.signed_on = False
            with suppress(LinkError):
                await connection.ask(network.ours(self.line, network.SIGN_OFF), SIGN_OFF_S)
            self.line.note("sign-off")

    async def close(self) -> None:
        """Sign off and close."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.sign_off()
        await self.line.finish()

    async def _run(self) -> None:
        """Call again and again. A connection that does not last is one more failure: the host takes it and drops it."""
        failures = 0
        while True:
            began = monotonic()
            try:
                connection = await self._call()
            except (OSError, LinkError) as error:
                self._failed(error)
            else:
                self.why, self.refused = None, False
                log.info("link.connected", link=self.line.link.name)
                await connection.gone.wait()
                log.warning("link.lost", link=self.line.link.name)
                if monotonic() - began >= self.line.link.reconnect_most_s:
                    failures = 0
            failures += 1
            link = self.line.link
            await asyncio.sleep(Backoff(link.reconnect_s, link.reconnect_most_s).wait_s(failures))

    def _failed(self, error: OSError | LinkError) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or "no connection in time"
        if why != self.why:
            log.warning("link.no_connection", link=self.line.link.name, reason=why)
        self.why, self.refused = why, isinstance(error, SignOnRefused)

    async def _call(self) -> Connection:
        """A connection that is signed on. Raises OSError or LinkError; what was opened is closed then."""
        line = self.line
        link = line.link
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(link.answer_timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(line, self.admits), link.host or "", link.port or 0, ssl=self._context,
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
        log.warning("link.peer.refused", link=link.name, peer=link.host, reason=self.why)
        return False
