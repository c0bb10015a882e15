"""The yardstick of `kks bench authorise`: pgbench's TPC-B, prepared, on the same server; its rate and its latencies."""

from __future__ import annotations

import asyncio
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.simulator.load import percentile

if TYPE_CHECKING:
    from gateway.store.embedded import EmbeddedServer

SCALE = 20
SAMPLED = 0.2  # of the transactions have their latency logged: a log of all would cost the yardstick time


@dataclass(frozen=True, slots=True)
class PgbenchRun:
    """One run: transactions a second, and their latencies in milliseconds."""

    clients: int
    tps: float
    p50_ms: float
    p99_ms: float


async def prepare_pgbench(server: EmbeddedServer) -> None:
    """Make pgbench's tables in a database of their own."""
    base = ["-h", str(server.socket_dir), "-U", "postgres"]
    await _run(server, "dropdb", *base, "--if-exists", "pgbench")
    await _run(server, "createdb", *base, "pgbench")
    await _run(server, "pgbench", *base, "-i", "-q", "-s", str(SCALE), "pgbench")


async def pgbench(server: EmbeddedServer, clients: int, seconds: float) -> PgbenchRun:
    """Run it with so many clients. Raises GatewayError where it fails or prints no figure."""
    with tempfile.TemporaryDirectory(prefix="kks-pgbench-") as folder:
        prefix = Path(folder) / "log"
        output = await _run(
            server, "pgbench", "-h", str(server.socket_dir), "-U", "postgres", "-M", "prepared", "-c", str(clients), "-j", "2",
            "-T", str(max(1, round(seconds))), "-n", "-l", f"--log-prefix={prefix}", f"--sampling-rate={SAMPLED}", "pgbench",
        )  # fmt: skip
        found = re.search(r"tps = ([0-9.]+)", output)
        if found is None:
            raise GatewayError("pgbench printed no figure")
        latencies_ms = await asyncio.to_thread(_latencies_ms, Path(folder))
    return PgbenchRun(clients, float(found[1]), percentile(latencies_ms, 50), percentile(latencies_ms, 99))


def _latencies_ms(folder: Path) -> list[float]:
    """Of every transaction in pgbench's logs, rising. A line: client, number, latency in microseconds, script, time, time."""
    found = []
    for path in folder.iterdir():
        with path.open(encoding="ascii") as lines:
            found += [int(line.split(" ", 3)[2]) / 1_000 for line in lines]
    return sorted(found)


async def _run(server: EmbeddedServer, program: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(server.bin_dir / program), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise GatewayError(f"{program} failed: {errors.decode().strip().splitlines()[-1:]}")
    return out.decode()
