"""Crediting an SI while its process and PostgreSQL are killed (SIGKILL) at random points: the ledger must be the same.

The run that is killed works on a copy of the database that the unbroken run began with. After each kill it is started again, as
an operator would. Then both ledgers are compared, row by row, by everything but the numbers that sequences gave.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.store.embedded import EmbeddedServer

COPY = "broken"  # name of the database that is killed
LOOK_S = 0.01
LATER_S = (
    0.2  # a kill comes up to this much after its row was reached (less in a short run): inside some part's transaction
)
AWAY_S = 120
VICTIMS = ("process", "postgres")
LEDGER = (
    """SELECT t.cell, t.account_id, t.programme, t.stage, t.months, s.si_no, t.si_line, t.sp2d_no, t.region, t.credited_on,
              t.available_from, t.clock_from, t.amount_idr, t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr, t.state,
              t.used_on, t.blocked_on, t.frozen_on, t.rpl_on, t.returned_on
       FROM tranche t JOIN si s ON s.id = t.si_id ORDER BY 1, 2, 3, 4""",
    """SELECT x.cell, x.account_id, x.debit, x.credit, x.amount_idr, x.kind, x.source, s.si_no, t.programme, t.stage, t.si_line,
              x.corrects IS NOT NULL, x.business_date
       FROM transfer x LEFT JOIN tranche t ON (t.cell, t.account_id, t.id) = (x.cell, x.account_id, x.tranche_id)
       LEFT JOIN si s ON x.source = 'si' AND s.id = x.source_id ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10""",
    "SELECT cell, account_id, programme, available_idr, held_idr, frozen_idr FROM purse ORDER BY 1, 2, 3",
    """SELECT s.si_no, s.state, s.rows, s.amount_idr, r.line, r.account_number, r.amount_idr, r.state, r.reason, r.cell,
              r.account_id, t.stage, t.si_line
       FROM si s JOIN si_row r ON r.si_id = s.id
       LEFT JOIN tranche t ON (t.cell, t.account_id, t.id) = (r.cell, r.account_id, r.tranche_id) ORDER BY 1, 5""",
)
POSTED = """
    SELECT coalesce(sum(p.rows), 0) FROM si_part p JOIN si_lane l ON l.si_id = p.si_id AND l.lane = p.lane
    WHERE p.first_line <= l.posted_line
"""


@dataclass(frozen=True, slots=True)
class Kills:
    """What was done to a run: kills of its process and of PostgreSQL, and at how many rows each came."""

    process: int
    postgres: int
    at_rows: list[int]


async def credit_killed(
    settings: Settings, server: EmbeddedServer, database: str, si_no: str, checker: str, *, kills: int, seed: int
) -> Kills:
    """Approve an SI, imported into DATABASE, with kills at random points; again and again until it is posted."""
    chance = random.Random(seed)
    url = server.database_url(database)
    rows = await _value(url, "SELECT max(rows) FROM si")
    later_s = min(LATER_S, rows / 500_000)
    points = sorted(chance.sample(range(1, max(rows * 9 // 10, kills + 1)), kills))
    done: list[tuple[str, int]] = []
    process = await _approve(settings, url, si_no, checker)
    try:
        while True:
            if len(done) == kills or not await _reached(url, points[len(done)], process):
                if await process.wait() == 0:
                    break
                raise GatewayError("a run that was not killed failed: see credit-kill.log")
            await asyncio.sleep(chance.uniform(0, later_s))
            victim = VICTIMS[len(done) % len(VICTIMS)]
            done.append((victim, await _kill(victim, process, server, url)))
            if await _value(url, "SELECT count(*) FROM si WHERE state = 'POSTED'"):
                break
            process = await _approve(settings, url, si_no, checker)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    victims = [victim for victim, _ in done]
    return Kills(victims.count("process"), victims.count("postgres"), [row for _, row in done])


async def ledger_digest(url: str) -> str:
    """A digest of tranches, transfers, purses and rows of SI, by everything but what sequences and clocks gave them."""
    digest = hashlib.sha256()

    async def add(data: bytes) -> None:
        digest.update(data)

    connection = await asyncpg.connect(_plain(url))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for query in LEDGER:
                digest.update(b"\0")
                await connection.copy_from_query(query, output=add)
    finally:
        await connection.close()
    return digest.hexdigest()


async def copy_database(server: EmbeddedServer, name: str, copy: str) -> None:
    """A copy of a database nobody is connected to."""
    connection = await asyncpg.connect(_plain(server.database_url("postgres")))
    try:
        await connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}" STRATEGY FILE_COPY')
    finally:
        await connection.close()


def children_of(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


async def _approve(settings: Settings, url: str, si_no: str, checker: str) -> asyncio.subprocess.Process:
    environment = {
        **os.environ, "KKS_DATA_DIR": str(settings.data_dir), "KKS_DATABASE_URL": url, "KKS_LANES": str(settings.lanes),
        "KKS_LOG_LEVEL": "error",
    }  # fmt: skip
    with (settings.data_dir / "credit-kill.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "si", "approve", si_no, "--as", checker, "--json", env=environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


async def _reached(url: str, row: int, process: asyncio.subprocess.Process) -> bool:
    """Wait until ROW rows are dealt with. False where the run ended before."""
    connection = await asyncpg.connect(_plain(url))
    try:
        while process.returncode is None:
            if await connection.fetchval(POSTED) >= row:
                return True
            await asyncio.sleep(LOOK_S)
    finally:
        await connection.close()
    return False


async def _kill(victim: str, process: asyncio.subprocess.Process, server: EmbeddedServer, url: str) -> int:
    """SIGKILL, and have PostgreSQL up again. Returns how many rows were dealt with when it was over."""
    if victim == "postgres":
        pid = server.postmaster_pid()
        for one in [pid, *children_of(pid)] if pid else []:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        async with asyncio.timeout(AWAY_S):
            await process.wait()  # it sees its database go, and ends
        await asyncio.to_thread(server.start)
    else:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return int(await _value(url, POSTED))


async def _value(url: str, query: str) -> int:
    connection = await asyncpg.connect(_plain(url))
    try:
        found: int = await connection.fetchval(query)
        return found
    finally:
        await connection.close()


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")
