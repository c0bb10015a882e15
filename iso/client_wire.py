"""One TCP or TLS connection of a client: bytes to messages, and an end in bounded time that says who wanted it.

Knows no dialect and no key: whole messages go to the client. Read next: client.py.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from iso.errors import FrameError, LinkClosed
from iso.framing import Deframer, LengthFraming

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from iso.client import LinkClient

CLOSING_S = 5.0
"""For so long a peer that reads nothing, or never ends its TLS, may hold up closing."""


class Wire(asyncio.Protocol):
    """A connection. `gone` is set when it is over; `failure` tells why, None where we closed it. `tasks` end with it.

    `heard_at`: the loop's time when something came last.
    """

    def __init__(self, client: LinkClient, framing: LengthFraming) -> None:
        self.gone = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.failure: str | None = None
        self.heard_at = 0.0
        self._client = client
        self._framing = framing
        self._deframer = Deframer(framing)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._forced: asyncio.TimerHandle | None = None

    @property
    def closing(self) -> bool:
        """Whether we have begun to close."""
        return self._forced is not None

    @property
    def unread(self) -> int:
        """Bytes written that the other side has not read yet, as far as we know."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own promise, for the type checker
        self._transport = transport
        self.heard_at = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages. A header that makes no sense ends the connection, after what was whole before it."""
        self.heard_at = self._loop.time()
        try:
            frames, fault = self._deframer.feed(data), ""
        except FrameError as error:
            frames, fault = list(error.complete), str(error)
        try:
            for frame in filter(None, frames):  # what is empty is a poll, and we ask none
                header, payload = self._framing.split(frame) if self._framing.message_header_bytes else (b"", frame)
                self._client.received(self, header, payload)
        except FrameError as error:
            fault = str(error)
        if fault:
            self.fail(fault)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the client, and end what was done for the other side."""
        if self._forced is None:
            self.failure = "the other side closed the connection" if error is None else why(error)
        else:
            self._forced.cancel()
        self._transport = None
        self.gone.set()
        self._client.lost(self)
        for task in self.tasks:
            task.cancel()

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Do `work` as long as the connection stands."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """What goes wrong in such work ends the link, as asyncio ends it for what goes wrong in data_received."""
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LinkClosed):
            self.fail(f"{type(error).__name__} in work for the link")
            self._loop.call_exception_handler({"message": "work for a link failed", "exception": error})

    def write(self, data: bytes) -> None:
        """Send; nothing is sent any more once closing has begun."""
        if self._transport is not None and not self.closing:
            self._transport.write(data)

    def close(self) -> None:
        """Close: what is written is still sent, for a while."""
        if self._transport is not None and self._forced is None:
            self._forced = self._loop.call_later(CLOSING_S, self._transport.abort)
            self._transport.close()

    def fail(self, why: str) -> None:
        """Close, since the other side is of no use any more."""
        if self._transport is not None and self._forced is None:
            self.failure = why
            self.close()


def why(error: Exception) -> str:
    """What happened to a connection, in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason: str = getattr(error, "reason", None) or "failed"  # there only where OpenSSL gave one
        return f"TLS: {reason.replace('_', ' ').lower()}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
