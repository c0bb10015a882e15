"""A process that forwards and stops at a point, to be killed there: `python -m tests.gateway.forward_and_die HOST PORT POINT`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.settings import load_settings
from gateway.store.link_locks import LinkLocks
from gateway.terminals.forwarder import Forwarder
from iso.client import LinkClient
from tests.gateway.partner import hot_link

if TYPE_CHECKING:
    from iso.message import Message


async def main(host: str, port: str, point: str) -> None:
    """Ask until POINT (marked, sent, answered), say so, and stay there."""

    async def ask(message: Message, _timeout_s: float) -> Message:
        if point != "marked":
            async with LinkClient(host, int(port), timeout_s=60) as client:
                asking = asyncio.create_task(client.request(message))
                await (asking if point == "answered" else asyncio.sleep(0.5))
        sys.stdout.write(f"{point}\n")
        sys.stdout.flush()
        await asyncio.sleep(600)
        raise AssertionError

    async with open_bank(load_settings()) as bank:
        await Forwarder(bank, hot_link(), ask, lambda: True, LinkLocks(bank.database.engine)).step()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
