"""Tests of gateway.api.server: alive, ready, status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from sqlalchemy.exc import OperationalError

from gateway.app import run_service
from gateway.errors import GatewayError
from keys.errors import KeyRefused, TokenError
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.app import Service
    from gateway.operations.bank import Bank


OK = {"state": "ok", "since": None}
STATUS = {
    "bank",
    "business_date",
    "link",
    "links",
    "links_file",
    "outgoing",
    "stand_in",
    "people",
    "transaction_log",
    "connections",
    "keystore",
    "waiting",
    "lanes",
}


async def test_health_and_status(bank: Bank, tmp_path: Path) -> None:
    """Live and ready answer 200; the status tells links, lanes and date, and no family."""
    async with open_street(bank, tmp_path) as street, aiohttp.ClientSession() as http:
        await street.atm.withdraw(street.card, 50_000)
        assert (200, {"status": "alive"}) == await _get(http, street.service, "/health/live")
        assert (200, {"status": "ready", "keystore": OK}) == await _get(http, street.service, "/health/ready")
        code, status = await _get(http, street.service, "/v1/status")
        assert (200, "himbara", 1, 0) == (code, status["link"], status["connections"], status["waiting"])
        assert str(bank.business_date) == status["business_date"]
        assert 1 == sum(lane["decided"] for lane in status["lanes"])
        assert STATUS == set(status)
        assert OK == status["keystore"]
        assert {"told": "all", "lost": 0} == status["transaction_log"]
        assert 404 == (await _get(http, street.service, "/v1/families"))[0]


async def test_not_ready_without_a_database(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alive and not ready (503) while PostgreSQL is away; status still answers."""
    async with open_street(bank, tmp_path) as street, aiohttp.ClientSession() as http:
        for error in (
            OperationalError(None, None, Exception("the database system is starting up")),
            ConnectionRefusedError("no server"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(type(bank.database.engine), "connect", _raising(error))
                assert (503, {"status": "no database", "keystore": OK}) == await _get(
                    http, street.service, "/health/ready"
                )
                assert 200 == (await _get(http, street.service, "/health/live"))[0]
                assert 200 == (await _get(http, street.service, "/v1/status"))[0]
        assert 200 == (await _get(http, street.service, "/health/ready"))[0]


async def test_not_ready_without_its_keys(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was taken out, or an audit key that may not work: 503 until it is back."""
    async with open_street(bank, tmp_path) as street, aiohttp.ClientSession() as http:
        for error in (TokenError("token kks: CKR_DEVICE_REMOVED"), KeyRefused("key audit#1: is SUSPENDED")):
            with monkeypatch.context() as patch:
                patch.setattr(type(bank.hsm), "mac", _raising(error))
                assert (503, {"status": "no keys", "keystore": OK}) == await _get(http, street.service, "/health/ready")
                assert 200 == (await _get(http, street.service, "/health/live"))[0]
        assert (200, {"status": "ready", "keystore": OK}) == await _get(http, street.service, "/health/ready")


async def test_a_port_in_use(bank: Bank, tmp_path: Path) -> None:
    """A second listener on the same port is one clear line."""
    async with open_street(bank, tmp_path) as street:
        port = street.service.http_address[1]
        bank.settings = bank.settings.model_copy(update={"http_port": port})
        with pytest.raises(GatewayError, match=f"cannot listen for HTTP on 127.0.0.1 port {port}"):
            async with run_service(bank, jobs=False):
                pass


def _raising(error: Exception) -> object:
    def failing(*_: object) -> object:
        raise error

    return failing


async def _get(http: aiohttp.ClientSession, service: Service, path: str) -> tuple[int, dict[str, Any]]:
    host, port = service.http_address
    async with http.get(f"http://{host}:{port}{path}") as response:
        return response.status, await response.json() if response.content_type == "application/json" else {}
