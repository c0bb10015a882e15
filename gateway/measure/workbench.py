"""A bank to measure on: its own embedded PostgreSQL in the data folder, families with active cards and money.

Lists and credits go through the bank's own operations. Only the hand-over of cards is done in bulk here: one PIN for all, put in
by SQL, since tens of thousands of hand-overs are not what is measured. A bank of more families than REAL_MAX is filled up with
copies (fillers.py). A furnished bank can be used again: a marker file says how many families it has and of which schema it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.app import open_bank
from gateway.errors import GatewayError, Refused
from gateway.files.result_file import write_result
from gateway.measure import fillers
from gateway.measure.processor import tree_cpu_s
from gateway.operations import instruction, kpm, setup
from gateway.operations.bank import reading
from gateway.simulator.families import write_kpm_list
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.wallet import TestCard, Wallet
from gateway.store import database
from gateway.store.embedded import EmbeddedServer
from gateway.testlink import ensure_test_link, read_test_key
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

LIMITS_FILE = Path(__file__).with_name("limits_bench.toml")  # the shipped limits, out of reach
MAKER, CHECKER = "bench-maker", "bench-checker"
PIN = "204817"
STAGE, MONTHS = "2026-T4", "2026-10,2026-11,2026-12"
PAGE = 5_000
REAL_MAX = 100_000  # families made by the bank's own operations; beyond, they are copied
MARKER = "furnished.json"
SQL_FOLDER = Path(database.__file__).parent.parent / "migrations" / "sql"
START_TIMEOUT_S = 60
SI_HEADER = ["NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL", "KODE_WILAYAH"]


@dataclass(frozen=True, slots=True)
class Furnished:
    """What a furnished bank is: how it was asked for, and the schema it was made with."""

    families: int
    amount_idr: int
    schema: str

    @staticmethod
    def wanted(families: int, amount_idr: int) -> Furnished:
        """What would be made now."""
        texts = (path.read_bytes() for path in sorted(SQL_FOLDER.glob("*.sql")))
        return Furnished(families, amount_idr, hashlib.sha256(b"".join(texts)).hexdigest()[:16])

    @staticmethod
    def read(folder: Path) -> Furnished | None:
        """What is in a folder; None where nothing is, or nothing whole."""
        try:
            return Furnished(**json.loads((folder / MARKER).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Say that the folder is furnished."""
        values = {"families": self.families, "amount_idr": self.amount_idr, "schema": self.schema}
        (folder / MARKER).write_text(json.dumps(values), encoding="utf-8")


def bench_settings(settings: Settings, name: str, keep: Furnished | None = None) -> Settings:
    """Settings of a bank in a folder of its own below the data folder; what was there is removed, unless it is what to KEEP."""
    folder = settings.data_dir / name
    server = EmbeddedServer(folder / "pg", settings.pg_bin)
    if server.data.exists() and server.is_running():
        raise Refused(f"a server is running in {folder}: is another measurement under way?")
    if keep is None or keep != Furnished.read(folder):
        shutil.rmtree(folder, ignore_errors=True)
    changes = {"database_url": None, "data_dir": folder, "iso_port": 0, "http_port": 0, "log_level": "error"}
    return settings.model_copy(update=changes)


async def furnish(
    bank: Bank, families: int, amount_idr: int, say: Callable[[str], None] = lambda _line: None
) -> Wallet:
    """FAMILIES with an active card each and AMOUNT_IDR of Sembako. The wallet holds the cards of the real ones, shuffled."""
    folder = bank.settings.data_dir
    marker = Furnished.wanted(families, amount_idr)
    if marker == Furnished.read(folder):
        say(f"using the {families} families of an earlier run")
        return await _open_wallet(bank)
    path = folder / "kpm.csv"
    await setup.load_policy(bank, MAKER, LIMITS_FILE)
    step = fillers.step_for(families, REAL_MAX)
    real = -(-families // step)
    say(f"making {real} families by the bank's own operations")
    await asyncio.to_thread(write_kpm_list, path, real, seed=1)
    if step > 1:
        await fillers.spread_ids(bank, step)
    summary = await kpm.import_list(bank, MAKER, path, "SK-BENCH", bank.business_date)
    await kpm.approve(bank, CHECKER, summary.batch)
    wallet = await _activate_all(bank)
    await credit_all(bank, amount_idr)
    if step > 1:
        say(f"copying them to {families} families")
        await fillers.multiply(bank, families, step, say)
    await _vacuum(bank)
    marker.write(folder)
    return wallet


async def _vacuum(bank: Bank) -> None:
    """As autovacuum would have by the time a bank is in use, and a checkpoint; the service's own role may not."""
    engine = create_async_engine(bank.database.url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("VACUUM (FREEZE, ANALYZE)"))
        await connection.execute(text("CHECKPOINT"))
    await engine.dispose()


async def credit_all(bank: Bank, amount_idr: int) -> None:
    """One SI that credits every family."""
    path = bank.settings.data_dir / "si.csv"
    count = await write_si_list(bank, path, amount_idr)
    sp2d = instruction.Sp2d("SP2D-BENCH", bank.business_date, amount_idr * count, count)
    await instruction.import_instruction(bank, MAKER, path, "SI-BENCH", sp2d)
    await instruction.approve(bank, CHECKER, "SI-BENCH")


async def write_si_list(bank: Bank, path: Path, amount_idr: int) -> int:
    """An SI list over every family. Returns how many rows."""
    lines = []
    async with reading(bank) as connection:
        async for row in await connection.stream(PAYEES):
            nik = bank.vault.open(bytes(row.nik), table="family", row=row.id, column="nik")
            lines.append([nik, row.number, row.holder_name, "SEMBAKO", STAGE, MONTHS, str(amount_idr), row.region])
    await asyncio.to_thread(write_result, path, SI_HEADER, lines)
    return len(lines)


@dataclass(slots=True)
class Gateway:
    """A running `kks serve` process."""

    process: asyncio.subprocess.Process
    port: int

    def cpu_seconds(self) -> float:
        """Processor time it and its children have used, user and system."""
        return tree_cpu_s(self.process.pid)

    async def stop(self) -> None:
        """End it and wait."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


@asynccontextmanager
async def gateway_process(settings: Settings, port: int = 0) -> AsyncIterator[Gateway]:
    """`kks serve` as a process of its own on the bank of SETTINGS."""
    gateway = await start_gateway(settings, port)
    try:
        yield gateway
    finally:
        await gateway.stop()


async def start_gateway(settings: Settings, port: int = 0) -> Gateway:
    """Start `kks serve` and wait until it is ready. Raises GatewayError where it does not come up."""
    environment = {
        **os.environ, "KKS_DATA_DIR": str(settings.data_dir), "KKS_ISO_PORT": str(port), "KKS_HTTP_PORT": "0",
        "KKS_LOG_LEVEL": "info", "KKS_LANES": str(settings.lanes), "KKS_DATABASE_URL": "",
    }  # fmt: skip
    with (settings.data_dir / "gateway.log").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", env=environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=errors, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    found: int | None = None  # the first link's, which terminals of the bench talk to
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while line := (await process.stdout.readline()).decode():
                if line.startswith("ISO 8583") and found is None:
                    found = int(line.split()[2].rpartition(":")[2])
                if line.strip() == "ready" and found is not None:
                    return Gateway(process, found)
    except TimeoutError:
        process.kill()
    await process.wait()
    raise GatewayError("the gateway process did not come up")


@asynccontextmanager
async def furnished_bank(
    settings: Settings, families: int, amount_idr: int, say: Callable[[str], None] = lambda _line: None
) -> AsyncIterator[tuple[Bank, Wallet]]:
    """A bank with FAMILIES; it stays open so that its PostgreSQL does."""
    async with open_bank(settings) as bank:
        yield bank, await furnish(bank, families, amount_idr, say)


async def _activate_all(bank: Bank) -> Wallet:
    """Hand over every card at once with one PIN."""
    ensure_test_link(bank)
    label, components = read_test_key(bank.settings.data_dir)
    pinpad = pinpad_of(Wallet((), label, tuple(components)))
    pin_key = bank.hsm.find(label)
    async with bank.database.engine.begin() as connection:
        rows = list(await connection.execute(CARDS))
        for start in range(0, len(rows), PAGE):
            ids, offsets = [], []
            for row in rows[start : start + PAGE]:
                pan = Pan(bank.vault.open(bytes(row.pan), table="card", row=row.id, column="pan"))
                block = bytes.fromhex(pinpad.block(pan, Pin(PIN)))
                ids.append(row.id)
                offsets.append(bank.hsm.choose_pin(block, pin_key, bank.keys.pin_verification, pan, None))
            values = {"ids": ids, "offsets": offsets, "version": bank.keys.pin_verification.version}
            await connection.execute(ACTIVATE, values)
        await connection.execute(IDENTIFY)
    return await _open_wallet(bank)


async def _open_wallet(bank: Bank) -> Wallet:
    """The cards of the real families, in no order: neighbours in a table are not asked one after the other."""
    label, components = read_test_key(bank.settings.data_dir)
    cards = []
    async with reading(bank) as connection:
        async for row in await connection.stream(ACTIVE_CARDS):
            pan = Pan(bank.vault.open(bytes(row.pan), table="card", row=row.id, column="pan"))
            cards.append(TestCard(pan, Pin(PIN), row.expires_on, row.number, row.holder_name))
    random.Random(1).shuffle(cards)
    return Wallet(tuple(cards), label, tuple(components))


CARDS = text("SELECT id, pan FROM card ORDER BY id")
ACTIVE_CARDS = text("""
    SELECT c.id, c.pan, c.expires_on, a.number, a.holder_name FROM card c
    JOIN account a ON a.cell = c.cell AND a.id = c.account_id WHERE c.handed_over_by = 'bench' ORDER BY c.id
""")
ACTIVATE = text("""
    UPDATE card c SET state = 'ACTIVE', pin_offset = o.pin_offset, pin_key_version = CAST(:version AS smallint), ktp_seen = true,
           kk_seen = true, handed_over_at = now(), handed_over_by = 'bench', activated_at = now()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:offsets AS text[])) AS o (id, pin_offset) WHERE c.id = o.id
""")
IDENTIFY = text("UPDATE account SET state = 'ACTIVE' WHERE state = 'PENDING_ID'")
PAYEES = text("""
    SELECT f.id, f.nik, a.number, a.holder_name, a.region FROM family f JOIN account a ON a.cell = f.cell AND a.id = f.id
    ORDER BY f.id
""")
