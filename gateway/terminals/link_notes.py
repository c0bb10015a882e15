"""Records of what a partner does on its link, in order of coming and one at a time: sign-on, sign-off, cut-over.

Each is a transaction, and no partner is to fill the audit chain or use up the bank's connections by signing on again and again:
after AT_ONCE records within WITHIN_S seconds what comes is counted by its kind, and written as one record of so many times when
there is room again, or at the end. Refuses to know what an event is.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

AT_ONCE, WITHIN_S = 20, 60.0


class LinkNotes:
    """Of one link in one process. Costs nothing until something is to be kept."""

    def __init__(self, write: Callable[[str, int], Coroutine[object, object, None]]) -> None:
        """WRITE(event, times) keeps one record. It raises nothing that may be gone on after."""
        self._write = write
        self._waiting: Counter[str] = Counter()
        self._written: deque[float] = deque(maxlen=AT_ONCE)
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def add(self, event: str) -> None:
        """Have EVENT kept."""
        self._waiting[event] += 1
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def finish(self) -> None:
        """Write what is left, without a pause."""
        self._closing.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._room()
                event = next(iter(self._waiting))
                self._written.append(monotonic())
                await self._write(event, self._waiting.pop(event))
        finally:
            self._task = None

    async def _room(self) -> None:
        """Wait until another record may be written."""
        if len(self._written) < AT_ONCE:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._written[0] + WITHIN_S - monotonic(), 0.0)):
                await self._closing.wait()
