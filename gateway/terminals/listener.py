"""The listening side of a link: who may connect, and how many. What they say is connection.py's.

With TLS an address that is not allowed is closed before the first byte of a handshake, and handshakes under way are counted like
connections, bounded for each address, and cut off after frame_timeout_s.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import structlog

from gateway.terminals import tls
from gateway.terminals.connection import CLOSING_S, Connection

if TYPE_CHECKING:
    import ssl
    from ipaddress import IPv4Network, IPv6Network

    from gateway.terminals.line import Line

log = structlog.get_logger(__name__)

BACKLOG = 200
SILENCE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""A host that is gone without a word is found out by TCP itself, within two minutes: we ask no echo of whoever called us."""


class Listener:
    """Takes in the partner's connections of one line."""

    def __init__(self, line: Line, context: ssl.SSLContext | None = None) -> None:
        """CONTEXT: of TLS; None: plain TCP."""
        self.line = line
        self._context = context
        self._server: asyncio.Server | None = None
        self._peers: Counter[str] = Counter()  # handshakes under way, by address
        self._handshakes: set[asyncio.Task[None]] = set()

    @property
    def handshakes(self) -> int:
        """TLS handshakes under way."""
        return len(self._handshakes)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen. Returns the address in use (port 0 picks one). Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._taken, host, port, backlog=BACKLOG)
        for one in self._server.sockets:
            _ask_silent_ones(one)
        self.line.start()
        address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return address

    def stop(self) -> None:
        """Take in no more connections; those that are there go on."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Stop listening and close every connection."""
        self.stop()
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        await self.line.finish()
        if self._server is not None:
            await self._server.wait_closed()

    def _taken(self) -> asyncio.Protocol:
        """What a new connection is given to."""
        return Connection(self.line, self.admits) if self._context is None else _AtTheDoor(self)

    def shake(self, transport: asyncio.Transport) -> None:
        """A connection that is to speak TLS has come: begin the handshake, where it may and there is room."""
        peer = _address(transport)
        if not self._is_allowed(peer) or not self._has_room(peer):
            return
        try:
            taken = transport.get_extra_info("socket").dup()  # the transport goes, the connection stays
        except OSError as error:  # as many files are open as may be
            self.line.counters.handshakes_failed += 1
            log.warning("link.handshake.failed", link=self.line.link.name, peer=peer, reason=error.strerror)
            return
        task = asyncio.get_running_loop().create_task(self._shake(taken, peer))
        self._peers[peer] += 1
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake(self, taken: socket.socket, peer: str) -> None:
        """One handshake, from its first byte to a connection of the line."""
        line = self.line
        loop = asyncio.get_running_loop()
        seconds = line.link.frame_timeout_s
        try:
            async with asyncio.timeout(seconds):
                await loop.connect_accepted_socket(
                    lambda: Connection(line, self.admits), taken, ssl=self._context,
                    ssl_handshake_timeout=2 * seconds, ssl_shutdown_timeout=CLOSING_S,
                )  # fmt: skip
        except TimeoutError:
            line.counters.handshakes_cut_off += 1
            log.warning("link.handshake.cut_off", link=line.link.name, peer=peer, seconds=seconds)
        except OSError as error:
            line.counters.handshakes_failed += 1
            log.info("link.handshake.failed", link=line.link.name, peer=peer, reason=tls.why(error))
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    def admits(self, transport: asyncio.Transport) -> bool:
        """Whether this connection may stay: an allowed address and room for one more, or with TLS the link's certificate."""
        if self._context is None:
            peer = _address(transport)
            return self._is_allowed(peer) and self._has_room(peer)
        link = self.line.link
        names = () if link.tls is None else link.tls.peer_names
        if names and not tls.is_named(transport.get_extra_info("peercert"), names):
            self._refuse(_address(transport), "its certificate has another name")
            return False
        return True

    def _is_allowed(self, peer: str) -> bool:
        peers = self.line.link.peers
        if peers and not _within(peer, peers):
            self._refuse(peer, "its address is not allowed")
            return False
        return True

    def _has_room(self, peer: str) -> bool:
        """Whether one more may be. Handshakes of one address take half of the room at most: the other half stays for partners."""
        line = self.line
        most = line.link.connections_max
        if len(line.connections) + self.handshakes >= most or self._peers[peer] >= (most + 1) // 2:
            line.counters.full += 1
            log.warning("link.connections.full", link=line.link.name, peer=peer)
            return False
        return True

    def _refuse(self, peer: str, why: str) -> None:
        self.line.counters.peers_refused += 1
        log.warning("link.peer.refused", link=self.line.link.name, peer=peer, reason=why)


class _AtTheDoor(asyncio.Protocol):
    """A connection that is to speak TLS and has not begun: handed on before a byte is read, or closed."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at its address, which costs nothing yet."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        self._listener.shake(transport)
        transport.abort()


def _address(transport: asyncio.Transport) -> str:
    return str((transport.get_extra_info("peername") or ("",))[0])


def _ask_silent_ones(listening: socket.socket) -> None:
    """Connections taken from this socket inherit it. What a system does not know it does in its own way."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in SILENCE.items():
        option = getattr(socket, name, None)
        if option is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)


def _within(peer: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Whether an address is in one of these networks; an IPv4 one may come dressed as IPv6."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
