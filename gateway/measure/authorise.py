"""`kks bench authorise`: cash withdrawals with PIN over TCP, everything on, beside pgbench's TPC-B on the same server.

The gateway is a process of its own (or several) and durability is PostgreSQL's default (fsync, synchronous_commit). pgbench runs
before and after with 8 and with 32 clients; its best figures count. The peak is measured with a closed loop; then requests come
at half that rate, at set times whether or not earlier ones are answered: the latency of a bank that is not overloaded.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway import clock
from gateway.errors import GatewayError
from gateway.measure.processor import ServerCpu, server_cpu
from gateway.measure.workbench import Furnished, bench_settings, furnished_bank, gateway_process
from gateway.measure.yardstick import PgbenchRun, pgbench, prepare_pgbench
from gateway.operations.bank import reading
from gateway.simulator.load import LoadResult, PreparedLoad, prepare
from gateway.simulator.pinpad import pinpad_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.measure.workbench import Gateway
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.store.embedded import EmbeddedServer

PGBENCH_CLIENTS = (8, 32)
CONNECTIONS = 4  # to each gateway process
BALANCE_IDR = 90_000_000
WARM_UP_S = 2.0
STATISTICS_S = 1.1  # the server's processes tell what they have written once a second


@dataclass(frozen=True, slots=True)
class AuthoriseFigures:
    """What was measured; the keys of `--json`. `_half_`: at half the rate of the peak. Processor time is per authorisation."""

    authorisations_per_s: float
    pgbench_tps: float
    ratio: float
    p50_ms: float
    p99_ms: float
    declined: int
    accounts: int
    gateway_cpu_us_per_authorisation: float
    half_per_s: float
    p50_half_ms: float
    p99_half_ms: float
    pgbench_tps_8: float
    pgbench_tps_32: float
    pgbench_p50_8_ms: float
    p99_half_ratio: float  # of p99_half_ms to pgbench_p50_8_ms
    postgres_cpu_us_per_authorisation: float
    postgres_background_cpu_us_per_authorisation: float
    load_cpu_us_per_authorisation: float
    wal_bytes_per_authorisation: int
    wal_pages_per_authorisation: float  # written whole, since they were changed for the first time after a checkpoint
    processes: int
    clients: int
    seconds: float
    cards: int  # that are asked; the other accounts are there
    database_bytes: int
    fsync: str
    synchronous_commit: str


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time up to a moment, in seconds, and what the server has written to its log."""

    gateway_s: float
    server: ServerCpu
    load_s: float
    wal_bytes: int
    wal_pages: int

    def since(self, before: _Used) -> _Used:
        """What was used after BEFORE was read."""
        return _Used(
            self.gateway_s - before.gateway_s, self.server.since(before.server), self.load_s - before.load_s,
            self.wal_bytes - before.wal_bytes, self.wal_pages - before.wal_pages,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Range:
    """What is shot at, and with what."""

    bank: Bank
    prepared: PreparedLoad
    gateways: list[Gateway]
    in_flight: int  # on each connection
    postmaster: int

    async def load(self, seconds: float, rate_per_s: float | None = None) -> LoadResult:
        """One run. Raises GatewayError where an answer is missing or nothing was approved."""
        ports = [gateway.port for gateway in self.gateways]
        result = await self.prepared.run(
            "127.0.0.1", ports, in_flight=self.in_flight, seconds=seconds, rate_per_s=rate_per_s
        )
        if result.unanswered or result.approved == 0:
            raise GatewayError(
                f"{result.unanswered} of {result.sent} authorisations were not answered; codes {result.codes}"
            )
        return result

    async def used(self) -> _Used:
        """Processor time and log so far."""
        await asyncio.sleep(STATISTICS_S)
        async with reading(self.bank) as connection:
            wal = (await connection.execute(WAL)).one()
        times = os.times()
        gateways_s = sum(gateway.cpu_seconds() for gateway in self.gateways)
        return _Used(gateways_s, server_cpu(self.postmaster), times.user + times.system, int(wal.bytes), int(wal.pages))


async def measure(
    settings: Settings, accounts: int, clients: int, seconds: float, say: Callable[[str], None], *, processes: int = 1,
    reuse: bool = False,
) -> AuthoriseFigures:  # fmt: skip
    """Run the measurement on a bank with ACCOUNTS families. Raises GatewayError where an answer went missing.

    REUSE: take the bank of the run before where it has as many families and the same schema.
    """
    keep = Furnished.wanted(accounts, BALANCE_IDR) if reuse else None
    chosen = bench_settings(settings, "bench", keep)
    connections = CONNECTIONS * processes
    async with furnished_bank(chosen, accounts, BALANCE_IDR, say) as (bank, wallet):
        server = bank.database.embedded
        assert server is not None  # noqa: S101 - bench_settings asked for the embedded one
        facts = await _facts(bank)
        await prepare_pgbench(server)
        runs = await _yardstick(server, seconds, say)
        prepared = prepare(wallet.cards, pinpad_of(wallet), clock=clock.now, connections=connections)
        say(f"authorisations, {clients} in flight")
        async with AsyncExitStack() as stack:
            gateways = [await stack.enter_async_context(gateway_process(chosen)) for _ in range(processes)]
            stack.enter_context(_no_collector())
            shooting = _Range(bank, prepared, gateways, clients // connections, server.postmaster_pid() or 0)
            await shooting.load(WARM_UP_S)
            before = await shooting.used()
            peak = await shooting.load(seconds)
            used = (await shooting.used()).since(before)
            say(f"{peak.per_s:.0f} a second; now half of that")
            half = await shooting.load(seconds, peak.per_s / 2)
        runs += await _yardstick(server, seconds, say)
    return AuthoriseFigures(
        **_latency_figures(peak, half, runs),
        **_processor_figures(used, peak.answered),
        **facts,
        declined=peak.declined + half.declined,
        accounts=accounts,
        cards=len(wallet.cards),
        processes=processes,
        clients=shooting.in_flight * connections,
        seconds=seconds,
    )


def _latency_figures(peak: LoadResult, half: LoadResult, runs: list[PgbenchRun]) -> dict[str, Any]:
    """Rates and latencies beside pgbench's best."""
    few, many = PGBENCH_CLIENTS[0], PGBENCH_CLIENTS[-1]
    tps = {count: max(run.tps for run in runs if run.clients == count) for count in PGBENCH_CLIENTS}
    pgbench_p50_ms = min(run.p50_ms for run in runs if run.clients == few)
    return {
        "authorisations_per_s": round(peak.per_s, 1),
        "pgbench_tps": round(max(tps.values()), 1),
        "ratio": round(peak.per_s / max(tps.values()), 2),
        "p50_ms": round(peak.p50_ms, 2),
        "p99_ms": round(peak.p99_ms, 2),
        "half_per_s": round(half.per_s, 1),
        "p50_half_ms": round(half.p50_ms, 2),
        "p99_half_ms": round(half.p99_ms, 2),
        "pgbench_tps_8": round(tps[few], 1),
        "pgbench_tps_32": round(tps[many], 1),
        "pgbench_p50_8_ms": round(pgbench_p50_ms, 3),
        "p99_half_ratio": round(half.p99_ms / pgbench_p50_ms, 2),
    }


def _processor_figures(used: _Used, answered: int) -> dict[str, Any]:
    """Microseconds of processor time for each authorisation, by whose they were, and what it added to the server's log."""
    return {
        "gateway_cpu_us_per_authorisation": round(used.gateway_s / answered * 1e6, 1),
        "postgres_cpu_us_per_authorisation": round(used.server.whole_s / answered * 1e6, 1),
        "postgres_background_cpu_us_per_authorisation": round(used.server.background_s / answered * 1e6, 1),
        "load_cpu_us_per_authorisation": round(used.load_s / answered * 1e6, 1),
        "wal_bytes_per_authorisation": used.wal_bytes // answered,
        "wal_pages_per_authorisation": round(used.wal_pages / answered, 2),
    }


async def _facts(bank: Bank) -> dict[str, Any]:
    """How durable the server is, and how large the bank's database."""
    async with reading(bank) as connection:
        return dict((await connection.execute(FACTS)).one()._mapping)  # noqa: SLF001 - SQLAlchemy's public name


async def _yardstick(server: EmbeddedServer, seconds: float, say: Callable[[str], None]) -> list[PgbenchRun]:
    say("pgbench TPC-B")
    return [await pgbench(server, count, seconds) for count in PGBENCH_CLIENTS]


@contextmanager
def _no_collector() -> Iterator[None]:
    """Python's garbage collector would walk every card of the wallet while the load runs; the load makes no cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


WAL = text("SELECT pg_current_wal_insert_lsn() - '0/0' AS bytes, (SELECT wal_fpi FROM pg_stat_wal) AS pages")
FACTS = text("""
    SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
           pg_database_size(current_database()) AS database_bytes
""")
