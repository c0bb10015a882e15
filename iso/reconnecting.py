"""A client that is connected again whenever its connection is lost, after waits that grow and differ.

Knows no message; what was in flight when the connection went away has failed, and is repeated by nobody here.
Read next: client.py.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from iso.errors import IsoError, LinkTimeout

if TYPE_CHECKING:
    from types import TracebackType

    from iso.client import LinkClient
    from iso.message import Message

_DOUBLINGS_MAX = 60
_CHANCE = 1_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits before the next attempt: `first_s`, doubled after each failure up to `most_s`.

    Chance takes up to the share `jitter` away from each, so that many who lost a host together do not come back together.
    """

    first_s: float = 0.5
    most_s: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Refuse waits of no length. Raises ValueError."""
        if not 0 < self.first_s <= self.most_s or not 0 <= self.jitter < 1:
            raise ValueError("a back-off has 0 < first_s <= most_s and 0 <= jitter < 1")

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, 1 or more."""
        longest_s: float = min(self.most_s, self.first_s * 2 ** min(failures - 1, _DOUBLINGS_MAX))
        return longest_s * (1 - self.jitter * secrets.randbelow(_CHANCE + 1) / _CHANCE)


class ReconnectingClient:
    """Keeps `client` connected until close(), or until somebody closes the client itself.

    A connection that is lost sooner than `backoff.most_s` after it was made counts as one more failure, so a host that
    takes each connection and drops it is not called without a pause. `attempts`: connections tried. `failure`: why the
    last attempt failed or the last connection was lost; None while connected, before the first, and after closing.
    """

    def __init__(self, client: LinkClient, backoff: Backoff | None = None) -> None:
        self.client = client
        self.attempts = 0
        self.failure: str | None = None
        self._backoff = backoff or Backoff()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to connect, without waiting for it."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self.client.connected

    def start(self) -> None:
        """Begin to connect. Starting twice is allowed."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    async def ready(self, timeout_s: float) -> None:
        """Wait until connected. Raises LinkTimeout, which tells why the last attempt failed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise LinkTimeout(f"not connected within {timeout_s} s: {self.failure or 'no answer yet'}") from None

    async def request(self, message: Message, *, again: bool = False) -> Message:
        """LinkClient.request: fails at once while there is no connection."""
        return await self.client.request(message, again=again)

    async def close(self) -> None:
        """Stop connecting and close the connection. Closing twice is allowed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self.client.close()
        self.failure = None

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self.attempts += 1
            try:
                await self.client.connect()
            except IsoError as error:  # what cannot be encoded is told like what cannot be reached
                self.failure = str(error)
            else:
                self.failure = None
                began = loop.time()
                self._connected.set()
                try:
                    await self.client.wait_closed()
                finally:
                    self._connected.clear()
                if self.client.failure is None:
                    return
                self.failure = self.client.failure
                if loop.time() - began >= self._backoff.most_s:
                    failures = 0
            failures += 1
            await asyncio.sleep(self._backoff.wait_s(failures))
