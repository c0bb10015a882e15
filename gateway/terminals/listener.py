"""The listening side of a link: who may connect, and how many. What they say is connection.py's."""

from __future__ import annotations

import asyncio
import socket
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

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen. Returns the address in use (port 0 picks one). Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        secure = self._context is not None
        self._server = await loop.create_server(
            lambda: Connection(self.line, self.admits), host, port, backlog=BACKLOG, ssl=self._context,
            ssl_handshake_timeout=self.line.link.frame_timeout_s if secure else None,
            ssl_shutdown_timeout=CLOSING_S if secure else None,
        )  # fmt: skip
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
        await self.line.finish()
        if self._server is not None:
            await self._server.wait_closed()

    def admits(self, transport: asyncio.Transport) -> bool:
        """Whether this connection may stay: an allowed address, the link's certificate, and room for one more."""
        line = self.line
        link = line.link
        peer = str((transport.get_extra_info("peername") or ("",))[0])
        if link.peers and not _within(peer, link.peers):
            line.counters.peers_refused += 1
            log.warning("link.peer.refused", link=link.name, peer=peer, reason="its address is not allowed")
            return False
        names = () if link.tls is None else link.tls.peer_names
        if names and not tls.is_named(transport.get_extra_info("peercert"), names):
            line.counters.peers_refused += 1
            log.warning("link.peer.refused", link=link.name, peer=peer, reason="its certificate has another name")
            return False
        if len(line.connections) >= link.connections_max:
            line.counters.full += 1
            log.warning("link.connections.full", link=link.name, peer=peer)
            return False
        return True


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
