"""A service, or anything that listens, on an event loop of its own beside the commands that are tested."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.settings import load_settings
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

FAMILIES = 4


@contextmanager
def in_thread(opened: Callable[[], AbstractAsyncContextManager[int]]) -> Iterator[int]:
    """Something that listens, on an event loop of its own: commands run theirs in this thread. Yields its port."""
    ready = threading.Event()
    ports: list[int] = []
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failures: list[BaseException] = []

    async def stay() -> None:
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        async with opened() as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(stay())
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        ready.wait()
        if failures:
            raise failures[0]
        yield ports[0]
    finally:
        if not failures:
            loop, stop = stops[0]
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    assert [] == failures


@asynccontextmanager
async def serving(folder: Path, families: int = FAMILIES, link: str = "himbara") -> AsyncIterator[int]:
    """The bank of the environment with families, cards and money. Yields the port of LINK."""
    async with open_bank(load_settings()) as bank, open_street(bank, folder, families=families) as street:
        (folder / "var" / "demo").mkdir()
        street.wallet.save(folder / "var" / "demo" / "wallet.json")
        yield next(place.address[1] for place in street.service.room.places if place.link.name == link)
