"""The long part of `kks bench codec`: malformed frames over TCP against our listener, a process of its own without a database.

Frames go in batches. A batch of `broken` ones ends with an echo: when its answer comes, all before it were read and answered or
passed over, and the link lives. A batch that ends `derailed` ends with end of file: the listener must close. What is neither in
time is a hang. The listener's memory is looked at before and after. Read next: malformed.py (what is sent).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.measure.malformed import broken, derailed
from iso.codec import encode, peek
from iso.errors import FrameError
from iso.framing import Deframer
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.terminals.profile import Link

BATCH = 64
DERAILED = 0.1  # so many of the batches end with a header that lies
CONNECTIONS = 4
BOUND_S = 10.0  # no batch may take longer
WARM = 4_000  # frames before the memory is looked at for the first time
KIB = 1_024
ECHO_STAN = "999999"
SEED = 8583


@dataclass(slots=True)
class FuzzFigures:
    """What became of the frames. Hung: batches without an answer or a close in time. Memory of the listener, in MiB."""

    frames: int = 0
    answers: int = 0
    closes: int = 0
    hung: int = 0
    memory_mib: float = 0.0
    memory_growth_mib: float = 0.0
    seconds: float = 0.0


async def throw(link: Link, seeds: Sequence[bytes], port: int, pid: int, frames: int, seed: int = SEED) -> FuzzFigures:
    """Send FRAMES malformed frames over a few connections. Raises GatewayError where the listener's process is gone."""
    figures = FuzzFigures()
    began = time.monotonic()
    await _share(link, seeds, port, min(WARM, frames), Random(seed), FuzzFigures())
    before = _resident_mib(pid)
    share = -(-frames // CONNECTIONS)
    throwers = [_share(link, seeds, port, share, Random(seed + one + 1), figures) for one in range(CONNECTIONS)]
    await asyncio.gather(*throwers)
    figures.memory_mib = round(_resident_mib(pid), 1)
    figures.memory_growth_mib = round(_resident_mib(pid) - before, 1)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


async def _share(
    link: Link, seeds: Sequence[bytes], port: int, frames: int, random: Random, figures: FuzzFigures
) -> None:
    """One connection's share, over as many connections as it takes."""
    framing = link.framing
    echo = framing.frame(encode(Message("0800", {7: "1123120000", 11: ECHO_STAN, 70: "301"}), link.wire))
    connection: _Connection | None = None
    left = frames
    while left > 0:
        if connection is None:
            connection = await _connect(link, port)
        count = min(BATCH, left)
        left -= count
        derail = random.random() < DERAILED
        sent = [broken(seeds, framing, random) for _ in range(count - derail)]
        sent.append(derailed(seeds, framing, random) if derail else echo)
        ended = await connection.batch(b"".join(sent), derail=derail)
        figures.frames += count
        figures.answers += connection.take_answers()
        if ended == _CLOSED:
            figures.closes += 1
        elif ended == _HUNG:
            figures.hung += 1
        if ended != _ALIVE:
            connection.abort()
            connection = None
    if connection is not None:
        connection.abort()


_ALIVE, _CLOSED, _HUNG = "alive", "closed", "hung"


class _Connection(asyncio.Protocol):
    """A sender of nonsense that counts what comes back."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._deframer = Deframer(link.framing)
        self._transport: asyncio.Transport | None = None
        self._moved = asyncio.Event()
        self._echoed = False
        self._lost = False
        self._answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Count answers; the echo's says that all before it are through."""
        try:
            answers = self._deframer.feed(data)
        except FrameError as error:
            raise GatewayError(f"the listener sent a broken frame: {error}") from None
        self._answers += len(answers)
        for answer in answers:
            if peek(self._link.framing.split(answer)[1], self._link.wire) == ("0810", ECHO_STAN):
                self._echoed = True
        self._moved.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by the listener, or by us."""
        del exc
        self._lost = True
        self._moved.set()

    def take_answers(self) -> int:
        """Answers since it was asked last."""
        count, self._answers = self._answers, 0
        return count

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    async def batch(self, data: bytes, *, derail: bool) -> str:
        """Send a batch and wait until it is through: alive, closed or hung."""
        if self._transport is None or self._lost:
            return _CLOSED
        self._echoed = False
        self._transport.write(data)
        if derail and self._transport.can_write_eof():
            self._transport.write_eof()
        try:
            async with asyncio.timeout(BOUND_S):
                while not self._lost and (derail or not self._echoed):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return _HUNG
        return _CLOSED if self._lost else _ALIVE


async def _connect(link: Link, port: int) -> _Connection:
    try:
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(link), "127.0.0.1", port)
    except OSError as error:
        raise GatewayError(f"the listener takes no connection any more: {error.strerror}") from None
    return connection


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        raise GatewayError("the listener's process is gone") from None
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / KIB
