"""The HTTP side: is it alive, is it ready, how do its links and lanes stand. No families, no cards, no amounts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from keys.errors import KeysError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.operations.bank import Bank
    from gateway.operations.key_watch import KeyWatch
    from gateway.operations.lane import Lanes


class ApiServer:
    """The HTTP listener of one process."""

    def __init__(self, bank: Bank, lanes: Lanes, links: Callable[[], dict[str, object]], watch: KeyWatch) -> None:
        """Make the routes; start() listens. LINKS: how the partner links stand now; WATCH: over keys."""
        self._bank = bank
        self._lanes = lanes
        self._links = links
        self._watch = watch
        application = web.Application()
        application.add_routes(
            [
                web.get("/health/live", self._live),
                web.get("/health/ready", self._ready),
                web.get("/v1/status", self._status),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen. Returns the address in use. Raises OSError where it cannot."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        address: tuple[str, int] = self._runner.addresses[0][:2]
        return address

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _request: web.Request) -> web.Response:
        try:
            async with self._bank.database.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError):
            return web.json_response({"status": "no database", "keystore": self._keystore()}, status=503)
        try:
            self._bank.hsm.mac(
                self._bank.keys.audit, b""
            )  # without this key nothing can be done, as nothing can be recorded
        except KeysError:
            return web.json_response({"status": "no keys", "keystore": self._keystore()}, status=503)
        return web.json_response({"status": "ready", "keystore": self._keystore()})

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "bank": self._bank.row.name,
                "business_date": str(self._bank.business_date),
                **self._links(),
                "keystore": self._keystore(),
                "waiting": self._lanes.waiting,
                "lanes": [asdict(lane) for lane in self._lanes.statistics],
            }
        )

    def _keystore(self) -> dict[str, str | None]:
        """Whether the keystore can be taken up. Where it cannot, the service goes on with the keys that are loaded."""
        since = self._watch.not_taken_up_since
        if since is None:
            return {"state": "ok", "since": None}
        return {"state": "not taken up", "since": since.isoformat(timespec="seconds")}
