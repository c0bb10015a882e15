"""`kks serve` as a process of its own, for tests that look at the service from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Served:
    """A running process. `links`: where each partner link listens, by name; the first one's place as a Service has it."""

    pid: int
    iso_address: tuple[str, int]
    links: dict[str, tuple[str, int]]


async def start(settings: Settings, stderr: int | None = None) -> asyncio.subprocess.Process:
    """The process, which is starting. STDERR: where its log goes, by default where ours does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KKS_")} | {
        "KKS_DATABASE_URL": str(settings.database_url), "KKS_DATA_DIR": str(settings.data_dir), "KKS_ISO_PORT": "0",
        "KKS_HTTP_PORT": "0", "KKS_LOG_LEVEL": "warning", "PYTHONPATH": str(ROOT), "COVERAGE_PROCESS_START": "",
    }  # fmt: skip
    if settings.links_file is not None:
        environment["KKS_LINKS_FILE"] = str(settings.links_file)
    words = (sys.executable, "-m", "gateway", "serve")
    return await asyncio.create_subprocess_exec(
        *words, cwd=settings.data_dir, env=environment, stdout=asyncio.subprocess.PIPE, stderr=stderr
    )


async def ready(process: asyncio.subprocess.Process) -> Served:
    """A process that has said where it listens."""
    assert process.stdout is not None
    links = {}
    async with asyncio.timeout(60):
        while (line := (await process.stdout.readline()).decode()) and line.strip() != "ready":
            if line.startswith("ISO 8583"):
                address, _link, name = line.split()[2:5]
                host, _, port = address.partition(":")
                links[name.rstrip(",")] = host, int(port)
    return Served(process.pid, next(iter(links.values())), links)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Served]:
    """The process, until the block ends; then it must stop cleanly on SIGTERM."""
    process = await start(settings)
    served = await ready(process)
    try:
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            rest, _ = await process.communicate()
        assert (0, b"stopping: answering what was accepted\n") == (process.returncode, rest)
