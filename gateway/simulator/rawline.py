"""A connection for bytes as they are: half frames, wrong lengths, garbage; and whatever comes back, frame by frame.

Knows where a frame ends and nothing of what is in it. Read next: play.py (raw steps of a case), replay.py (captured frames).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from iso.errors import FrameError, LinkClosed, LinkTimeout
from iso.framing import Deframer

if TYPE_CHECKING:
    from iso.framing import LengthFraming

_CHUNK = 65_536


class RawLine:
    """One connection. `framing` cuts what comes back."""

    def __init__(self, host: str, port: int, framing: LengthFraming, *, timeout_s: float) -> None:
        self._address = host, port
        self._framing = framing
        self._timeout_s = timeout_s
        self._deframer = Deframer(framing)
        self._heard: deque[bytes] = deque()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and neither side closed it as far as is known here."""
        return self._writer is not None

    async def open(self) -> None:
        """Connect, where it is not open. Raises LinkClosed, LinkTimeout."""
        if self._writer is not None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                self._reader, self._writer = await asyncio.open_connection(*self._address)
        except TimeoutError:
            raise LinkTimeout(f"no connection within {self._timeout_s} s") from None
        except OSError as error:
            raise LinkClosed(f"no connection: {error.strerror or 'refused'}") from None
        self._deframer = Deframer(self._framing)
        self._heard.clear()

    async def send(self, data: bytes) -> None:
        """Put DATA on the wire, header and all. Raises LinkClosed."""
        if self._writer is None:
            raise LinkClosed("not connected")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            await self.close()
            raise LinkClosed("the connection was closed") from None

    async def next_frame(self, timeout_s: float | None = None) -> bytes:
        """What stands in the next frame that comes. Raises LinkTimeout, LinkClosed, FrameError."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while not self._heard:
                    await self._hear()
        except TimeoutError:
            raise LinkTimeout(f"nothing came within {limit_s} s") from None
        return self._heard.popleft()

    async def close(self) -> None:
        """Close. Twice is allowed."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    async def _hear(self) -> None:
        if self._reader is None:
            raise LinkClosed("not connected")
        try:
            data = await self._reader.read(_CHUNK)
        except OSError:
            data = b""
        if not data:
            await self.close()
            raise LinkClosed("the connection was closed")
        try:
            self._heard.extend(self._deframer.feed(data))
        except FrameError as error:
            self._heard.extend(error.complete)
            if not self._heard:
                raise
