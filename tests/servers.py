"""A PostgreSQL server for tests: one migrated template, copied for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from gateway.settings import load_settings
from gateway.store import database

if TYPE_CHECKING:
    from gateway.store.embedded import EmbeddedServer

TEMPLATE = "kks_template"


def kill(server: EmbeddedServer) -> None:
    """SIGKILL the postmaster and wait until the machine has buried it."""
    pid = server.postmaster_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while server.is_running():
        time.sleep(0.05)


class TestServer:
    """Makes and drops databases on an embedded server."""

    __test__ = False

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Start the server and migrate the template."""
        self.server.start()
        self._sql(f'CREATE DATABASE "{TEMPLATE}"')
        worker = threading.Thread(target=lambda: asyncio.run(self._migrate()))  # a loop of its own, whoever calls
        worker.start()
        worker.join()

    def stop(self) -> None:
        """Stop the server."""
        self.server.stop()

    def new_database(self) -> str:
        """Address of a fresh copy of the template."""
        name = f"kks_{next(self._numbers)}"
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
        return self.server.database_url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        self._sql(f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')

    async def _migrate(self) -> None:
        settings = load_settings(database_url=self.server.database_url(TEMPLATE))
        opened = await database.open_database(settings, migrated=False)
        await database.migrate(opened.engine)
        async with opened.engine.begin() as connection:  # tests post on dates of their own, whatever today is
            await connection.exec_driver_sql("SELECT make_partitions('2026-10-01', '2027-12-31')")
        await opened.close()

    def _sql(self, statement: str) -> None:
        command = [str(self.server.bin_dir / "psql"), "-h", str(self.server.socket_dir), "-U", "postgres", "-d", "postgres",
                   "-Atqc", statement]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own server
