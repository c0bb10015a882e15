"""`kks bench intake` and `kks bench credit`: a list from file to result file, beside COPY of as many rows of the same shape.

The yardstick is what PostgreSQL itself needs to store such rows: those that our run has stored are copied out to a file, and
that file is copied into an empty table with the same columns and indexes, committed. The quickest of three counts. Read next:
workbench.py.
"""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import create_async_engine

from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.measure.workbench import CHECKER, MAKER, bench_settings, write_si_list
from gateway.operations import instruction, kpm
from gateway.simulator.families import write_kpm_list
from gateway.store.database import driver_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

COPIES = 3
AMOUNT_IDR = 600_000
KIB_IN_MB = 1_024


@dataclass(frozen=True, slots=True)
class ListFigures:
    """What was measured; the keys of `--json`. RATIO: time of ours / time of COPY. PEAK_MEMORY_MB: of this process."""

    rows: int
    rows_per_s: float
    copy_rows_per_s: float
    ratio: float
    seconds: float
    copy_seconds: float
    peak_memory_mb: float


async def measure_intake(settings: Settings, rows: int, say: Callable[[str], None]) -> ListFigures:
    """A KPM list of ROWS: from file to accounts opened, cards ordered and the result file written.

    Raises GatewayError where a row was not opened: a figure of rows refused would be no figure.
    """
    chosen = bench_settings(settings, "bench-intake")
    async with open_bank(chosen) as bank, _owner(bank) as owner:
        say(f"making a list of {rows} families")
        path = chosen.data_dir / "kpm.csv"
        await asyncio.to_thread(write_kpm_list, path, rows, seed=1)
        await owner.execute("CHECKPOINT")
        say("import, approval, result file")
        began = time.perf_counter()
        summary = await kpm.import_list(bank, MAKER, path, "SK-BENCH", bank.business_date)
        await kpm.approve(bank, CHECKER, summary.batch)
        await kpm.write_result_file(bank, MAKER, summary.batch, chosen.data_dir / "kpm-result.csv")
        seconds = time.perf_counter() - began
        peak_mb = _peak_memory_mb()
        opened = await owner.fetchval("SELECT count(*) FROM kpm_row r JOIN card c ON c.account_id = r.account_id")
        _check_all("opened", rows, opened)
        say("COPY")
        return _figures(rows, seconds, await _copy_seconds(bank, owner, "kpm_row"), peak_mb)


async def measure_credit(settings: Settings, rows: int, say: Callable[[str], None]) -> ListFigures:
    """An SI of ROWS over as many families: from file to credited and the result file written.

    Raises GatewayError where a row was not credited.
    """
    chosen = bench_settings(settings, "bench-credit")
    async with open_bank(chosen) as bank, _owner(bank) as owner:
        say(f"making {rows} families with accounts")
        await _open_accounts(bank, rows)
        path = chosen.data_dir / "si.csv"
        count = await write_si_list(bank, path, AMOUNT_IDR)
        sp2d = instruction.Sp2d("SP2D-BENCH", bank.business_date, AMOUNT_IDR * count, count)
        await owner.execute("VACUUM ANALYZE")  # as autovacuum would have by the time an SP2D comes
        await owner.execute("CHECKPOINT")
        say("import, approval, result file")
        began = time.perf_counter()
        await instruction.import_instruction(bank, MAKER, path, "SI-BENCH", sp2d)
        await instruction.approve(bank, CHECKER, "SI-BENCH")
        done = await instruction.result(bank, MAKER, "SI-BENCH", chosen.data_dir / "si-result.csv")
        seconds = time.perf_counter() - began
        peak_mb = _peak_memory_mb()
        _check_all("credited", rows, done.credited)
        say("COPY")
        return _figures(rows, seconds, await _copy_seconds(bank, owner, "si_row"), peak_mb)


async def _open_accounts(bank: Bank, families: int) -> None:
    """Accounts to credit. Their cards stay ordered: crediting looks at accounts only."""
    path = bank.settings.data_dir / "kpm.csv"
    await asyncio.to_thread(write_kpm_list, path, families, seed=1)
    summary = await kpm.import_list(bank, MAKER, path, "SK-BENCH", bank.business_date)
    await kpm.approve(bank, CHECKER, summary.batch)


@asynccontextmanager
async def _owner(bank: Bank) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner of the schema: the service's own role may make no table and vacuum none."""
    engine = create_async_engine(bank.database.url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            yield await driver_of(connection)
    finally:
        await engine.dispose()


async def _copy_seconds(bank: Bank, owner: asyncpg.Connection, table: str) -> float:
    """Time of a COPY of all rows of TABLE from a file into an empty table like it; the quickest of three."""
    path = bank.settings.data_dir / f"{table}.copy"
    try:
        await owner.copy_from_table(table, output=path, format="binary")
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
    return best


def _check_all(what: str, wanted: int, found: int) -> None:
    if found != wanted:
        raise GatewayError(f"{found} of {wanted} rows were {what}: nothing to measure")


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_IN_MB


def _figures(rows: int, seconds: float, copy_seconds: float, peak_memory_mb: float) -> ListFigures:
    return ListFigures(
        rows, round(rows / seconds, 1), round(rows / copy_seconds, 1), round(seconds / copy_seconds, 2), round(seconds, 3),
        round(copy_seconds, 4), round(peak_memory_mb, 1),
    )  # fmt: skip
