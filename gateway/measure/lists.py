"""`kks bench intake` and `kks bench credit`: a list from file to result file, beside COPY of the rows it stores.

The yardstick is what PostgreSQL itself needs to store what our run has stored of the list: its rows and its sealed chunks are
copied out to files, and those are copied into empty tables with the same columns and indexes, committed, the quickest of three.
A second yardstick counts all the list became as well: accounts and cards, or tranches, transfers and purses. Read next:
workbench.py.
"""

from __future__ import annotations

import asyncio
import csv
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.measure.credit_kill import COPY, Kills, children_of, copy_database, credit_killed, ledger_digest
from gateway.measure.workbench import CHECKER, MAKER, MONTHS, SI_HEADER, STAGE, bench_settings
from gateway.operations import instruction, kpm
from gateway.operations.bank import reading
from gateway.simulator.families import write_kpm_list
from gateway.store.database import driver_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    import asyncpg

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.store.embedded import EmbeddedServer

COPIES = 3
LOOK_S = 0.1
AMOUNT_IDR = 600_000
KIB_IN_MB = 1_024
SI_NO = "SI-BENCH"
INTAKE_TABLES = ("kpm_row", "kpm_chunk")
OPENED_TABLES = ("account", "family", "enrolment", "card")
CREDIT_TABLES = ("si_row", "si_chunk")
CREDITED_TABLES = ("tranche", "transfer", "purse")


@dataclass(frozen=True, slots=True)
class ListFigures:
    """What was measured; the keys of `--json`. RATIO: time of ours / time of COPY of the list's rows.

    RATIO_ALL: against COPY of all that the list became. PEAK_MEMORY_MB: of this process; WORKER_MEMORY_MB: of its largest worker.
    STEPS: seconds of each step. KILLS and SAME_LEDGER only where a second run was killed.
    """

    rows: int
    rows_per_s: float
    copy_rows_per_s: float
    ratio: float
    seconds: float
    copy_seconds: float
    peak_memory_mb: float
    worker_memory_mb: float
    ratio_all: float
    copy_all_seconds: float
    steps: dict[str, float]
    kills: int | None = None
    same_ledger: bool | None = None


class Steps:
    """Times of the steps of a run."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def done(self, name: str) -> None:
        """A step has ended."""
        now = time.perf_counter()
        self.seconds[name], self._last = round(now - self._last, 3), now


class Memory:
    """Most memory that this process, and any worker of it, has held; looked at while a run goes on."""

    def __init__(self) -> None:
        self.own_mb = self.worker_mb = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        self.own_mb = peak_memory_mb(os.getpid())

    async def _look(self) -> None:
        while True:
            self.worker_mb = max([self.worker_mb, *map(peak_memory_mb, children_of(os.getpid()))])
            await asyncio.sleep(LOOK_S)


def peak_memory_mb(pid: int) -> float:
    """Most that a process has held; 0 of one that has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123 - a kernel file
            peak = next((line for line in file if line.startswith("VmHWM:")), "VmHWM: 0")
    except OSError:
        return 0.0
    return round(int(peak.split()[1]) / KIB_IN_MB, 1)


async def measure_intake(settings: Settings, rows: int, say: Callable[[str], None]) -> ListFigures:
    """A KPM list of ROWS: from file to accounts opened, cards ordered and the result file written.

    Raises GatewayError where a row was not opened: a figure of rows refused would be no figure.
    """
    chosen = bench_settings(settings, "bench-intake")
    async with open_bank(chosen) as bank, owner_of(bank) as owner:
        say(f"making a list of {rows} families")
        path = chosen.data_dir / "kpm.csv"
        await asyncio.to_thread(write_kpm_list, path, rows, seed=1)
        await owner.execute("CHECKPOINT")
        say("import, approval, result file")
        async with Memory() as memory:
            steps = Steps()
            summary = await kpm.import_list(bank, MAKER, path, "SK-BENCH", bank.business_date)
            steps.done("import")
            await kpm.approve(bank, CHECKER, summary.batch)
            steps.done("approve")
            await kpm.write_result_file(bank, MAKER, summary.batch, chosen.data_dir / "kpm-result.csv")
            steps.done("result")
        opened = await owner.fetchval("SELECT count(*) FROM kpm_row r JOIN card c ON c.account_id = r.account_id")
        _check_all("opened", rows, opened)
        say("COPY")
        copied = await _copy_seconds(bank, owner, (*INTAKE_TABLES, *OPENED_TABLES))
        return _figures(rows, steps, copied, INTAKE_TABLES, memory)


async def measure_credit(
    settings: Settings, rows: int, say: Callable[[str], None], kills: int = 0, seed: int = 1
) -> ListFigures:
    """An SI of ROWS over as many families: from file to credited and the result file written.

    With KILLS a second run on a copy of the database is killed that often, and its ledger compared with the first's. Raises
    GatewayError where a row was not credited.
    """
    chosen = bench_settings(settings, "bench-credit")
    async with open_bank(chosen) as bank:
        path, sp2d = await furnish_credit(bank, rows, say)
        server = bank.database.embedded
        assert server is not None  # noqa: S101 - bench_settings has no other
        if kills:
            await bank.database.engine.dispose()
            await copy_database(server, "kks", COPY)
        say("import, approval, result file")
        async with Memory() as memory:
            steps = Steps()
            await instruction.import_instruction(bank, MAKER, path, SI_NO, sp2d)
            steps.done("import")
            await instruction.approve(bank, CHECKER, SI_NO)
            steps.done("approve")
            done = await instruction.result(bank, MAKER, SI_NO, chosen.data_dir / "si-result.csv")
            steps.done("result")
        _check_all("credited", rows, done.credited)
        say("COPY")
        async with owner_of(bank) as owner:
            copied = await _copy_seconds(bank, owner, (*CREDIT_TABLES, *CREDITED_TABLES))
        figures = _figures(rows, steps, copied, CREDIT_TABLES, memory)
        if not kills:
            return figures
        say(f"the same again, killed {kills} times")
        done_to = await _killed_run(chosen, server, path, sp2d, kills, seed)
        say(f"killed when {', '.join(map(str, done_to.at_rows))} rows were dealt with")
        one, other = [await ledger_digest(server.database_url(name)) for name in ("kks", COPY)]
        return replace(figures, kills=done_to.process + done_to.postgres, same_ledger=one == other)


async def _killed_run(
    settings: Settings, server: EmbeddedServer, path: Path, sp2d: instruction.Sp2d, kills: int, seed: int
) -> Kills:
    """The same SI on the copy of the database."""
    other = settings.model_copy(update={"database_url": server.database_url(COPY)})
    async with open_bank(other) as bank:
        await instruction.import_instruction(bank, MAKER, path, SI_NO, sp2d)
    return await credit_killed(settings, server, COPY, SI_NO, CHECKER, kills=kills, seed=seed)


async def furnish_credit(bank: Bank, rows: int, say: Callable[[str], None]) -> tuple[Path, instruction.Sp2d]:
    """ROWS families with accounts, and the SI list that credits each. Their cards stay ordered: crediting sees accounts only."""
    say(f"making {rows} families with accounts")
    folder = bank.settings.data_dir
    await asyncio.to_thread(write_kpm_list, folder / "kpm.csv", rows, seed=1)
    summary = await kpm.import_list(bank, MAKER, folder / "kpm.csv", "SK-BENCH", bank.business_date)
    await kpm.approve(bank, CHECKER, summary.batch)
    count = await _write_si(bank, folder / "si.csv")
    async with owner_of(bank) as owner:
        await owner.execute("VACUUM ANALYZE")  # as autovacuum would have by the time an SP2D comes
        await owner.execute("CHECKPOINT")
    return folder / "si.csv", instruction.Sp2d("SP2D-BENCH", bank.business_date, AMOUNT_IDR * count, count)


@asynccontextmanager
async def owner_of(bank: Bank) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner of the schema: the service's own role may make no table and vacuum none."""
    engine = create_async_engine(bank.database.url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            yield await driver_of(connection)
    finally:
        await engine.dispose()


async def _write_si(bank: Bank, path: Path) -> int:
    """An SI list over every family, written as it is read. Returns how many rows."""
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(SI_HEADER)
        async with reading(bank) as connection:
            async for row in await connection.stream(PAYEES):
                nik = bank.vault.open(bytes(row.nik), table="family", row=row.id, column="nik")
                cells = [nik, row.number, row.holder_name, "SEMBAKO", STAGE, MONTHS, str(AMOUNT_IDR), row.region]
                writer.writerow(cells)
                count += 1
    return count


async def _copy_seconds(bank: Bank, owner: asyncpg.Connection, tables: Sequence[str]) -> dict[str, float]:
    """Table -> time of a COPY of all its rows from a file into an empty table like it; the quickest of three."""
    path = bank.settings.data_dir / "yardstick.copy"
    found = {}
    for table in tables:
        try:
            await owner.copy_from_query(f"SELECT * FROM {table}", output=path, format="binary")
            await owner.execute(f"CREATE TABLE yardstick (LIKE {table} INCLUDING ALL)")
            best = float("inf")
            for _ in range(COPIES):
                await owner.execute("TRUNCATE yardstick")
                await owner.execute("CHECKPOINT")
                began = time.perf_counter()
                await owner.copy_to_table("yardstick", source=path, format="binary")
                best = min(best, time.perf_counter() - began)
            copied, stored = await owner.fetchrow(
                f"SELECT (SELECT count(*) FROM yardstick), (SELECT count(*) FROM {table})"
            )
            _check_all("copied", stored, copied)
            await owner.execute("DROP TABLE yardstick")
        finally:
            path.unlink(missing_ok=True)
        found[table] = best
    return found


def _check_all(what: str, wanted: int, found: int) -> None:
    if found != wanted:
        raise GatewayError(f"{found} of {wanted} rows were {what}: nothing to measure")


def _figures(rows: int, steps: Steps, copied: dict[str, float], own: Sequence[str], memory: Memory) -> ListFigures:
    seconds = sum(steps.seconds.values())
    copy_seconds, copy_all = sum(copied[table] for table in own), sum(copied.values())
    return ListFigures(
        rows, round(rows / seconds, 1), round(rows / copy_seconds, 1), round(seconds / copy_seconds, 2), round(seconds, 3),
        round(copy_seconds, 4), memory.own_mb, memory.worker_mb, round(seconds / copy_all, 2), round(copy_all, 4), steps.seconds,
    )  # fmt: skip


PAYEES = text("""
    SELECT f.id, f.nik, a.number, a.holder_name, a.region FROM family f JOIN account a ON a.cell = f.cell AND a.id = f.id
    ORDER BY f.id
""")
