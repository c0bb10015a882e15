"""Fixtures: a real PostgreSQL for the whole run, a fresh database for each test that asks for one, and an open bank on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from gateway.app import open_bank
from gateway.settings import Settings, load_settings
from gateway.store import database
from gateway.store.embedded import EmbeddedServer
from tests.servers import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank


@dataclass(frozen=True)
class KillSize:
    """Rows of the run that is killed, and how often."""

    rows: int
    kills: int


KILL_SIZE = KillSize(int(os.environ.get("KKS_KILL_ROWS", "20000")), int(os.environ.get("KKS_KILL_TIMES", "4")))

hypothesis_settings.register_profile(
    "kks", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis_settings.load_profile("kks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the server is marked `database`, so that it can be run again on another PostgreSQL."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("database")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see no KKS_* of the caller, no kks.toml, and a working folder of their own."""
    for name in [name for name in os.environ if name.startswith("KKS_") and name != "KKS_PG_BIN"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kill_size() -> KillSize:
    """How large tests/gateway/operations/test_credit_kill.py is: KKS_KILL_ROWS, KKS_KILL_TIMES."""
    return KILL_SIZE


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    """A PostgreSQL server: the packaged one, or the one in KKS_PG_BIN."""
    chosen = os.environ.get("KKS_PG_BIN")
    folder = Path(tempfile.mkdtemp(prefix="kks-test-pg-"))  # pytest closes its own folders to the server's user
    running = TestServer(EmbeddedServer(folder, Path(chosen) if chosen else None))
    running.start()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(server: TestServer) -> Iterator[str]:
    """Address of a fresh migrated database."""
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def bank_settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a bank on a fresh database, with keys in a folder of its own."""
    return load_settings(
        database_url=database_url, data_dir=tmp_path / "var", iso_port=0, http_port=0, log_level="warning"
    )


@pytest.fixture
async def engine(bank_settings: Settings) -> AsyncIterator[AsyncEngine]:
    """An engine on a fresh migrated database, without a bank."""
    opened = await database.open_database(bank_settings)
    yield opened.engine
    await opened.close()


@pytest.fixture
async def bank(bank_settings: Settings) -> AsyncIterator[Bank]:
    """An open bank on a fresh database."""
    async with open_bank(bank_settings) as opened:
        yield opened
