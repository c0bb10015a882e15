"""`kks serve`: the service, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from gateway.cli import output
from gateway.cli.running import with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


def serve() -> None:
    """The service: ISO 8583 links, HTTP and jobs. Prints where each listens or calls and `ready`; stops on SIGTERM or Ctrl-C.

    SIGHUP: look at the links file now.
    """
    with_bank(_serve, quiet=False)


async def _serve(bank: Bank) -> None:
    from gateway.app import run_service, settle_collector
    from gateway.testlink import ensure_test_link

    if bank.settings.database_url is None:
        ensure_test_link(bank)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_service(bank, say=output.say) as service:
        loop.add_signal_handler(signal.SIGHUP, service.room.wake)
        for place in service.room.places:
            host, port = place.address
            where = f"{host}:{port}" if place.line is not None else "not open"
            why = f": {place.why}" if place.why is not None else ""
            what = f"link {place.link.name}, acquirer {place.link.acquirer}, {place.link.role}, {place.state}{why}"
            output.say(f"ISO 8583  {where}  {what}")
        output.say(f"HTTP      http://{service.http_address[0]}:{service.http_address[1]}/v1/status")
        settle_collector()
        output.say("ready")
        await stop.wait()
        output.say("stopping: answering what was accepted")
