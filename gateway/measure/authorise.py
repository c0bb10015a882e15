"""`kks bench authorise`: cash withdrawals with PIN over TCP, everything on, beside pgbench's TPC-B on the same server.

The gateway is a process of its own (or several) and durability is PostgreSQL's default (fsync, synchronous_commit). pgbench runs
before and after with 8 and with 32 clients; its best figures count. The peak is measured with a closed loop; then requests come at
half that rate, at set times whether or not earlier ones are answered, for the latency a bank that is not overloaded has.
"""

from __future__ import annotations

import gc
import os
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway import clock
from gateway.errors import GatewayError
from gateway.measure.processor import ServerCpu, server_cpu
from gateway.measure.workbench import Furnished, bench_settings, furnished_bank, gateway_process
from gateway.measure.yardstick import PgbenchRun, pgbench, prepare
from gateway.operations.bank import reading
from gateway.simulator.load import LoadResult, drive
from gateway.simulator.pinpad import pinpad_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.measure.workbench import Gateway
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.wallet import Wallet
    from gateway.store.embedded import EmbeddedServer

PGBENCH_CLIENTS = (8, 32)
CONNECTIONS = 4  # to each gateway process
BALANCE_IDR = 90_000_000
WARM_UP_S = 2.0


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
    processes: int
    clients: int
    seconds: float
    cards: int  # that are asked; the other accounts are there
    database_bytes: int
    fsync: str
    synchronous_commit: str


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time up to a moment, in seconds."""

    gateway_s: float
    server: ServerCpu
    load_s: float


@dataclass(frozen=True, slots=True)
class _Range:
    """What is shot at, and with what."""

    wallet: Wallet
    gateways: list[Gateway]
    clients: int
    postmaster: int

    async def load(self, seconds: float, rate_per_s: float | None = None) -> LoadResult:
        """One run. Raises GatewayError where an answer is missing or nothing was approved."""
        ports = [gateway.port for gateway in self.gateways]
        connections = CONNECTIONS * len(ports)
        with _no_collector():
            result = await drive(
                self.wallet.cards, pinpad_of(self.wallet), "127.0.0.1", ports, clock=clock.now, connections=connections,
                in_flight=self.clients // connections, seconds=seconds, rate_per_s=rate_per_s,
            )  # fmt: skip
        if result.unanswered or result.approved == 0:
            raise GatewayError(
                f"{result.unanswered} of {result.sent} authorisations were not answered; codes {result.codes}"
            )
        return result

    def used(self) -> _Used:
        """Processor time so far."""
        times = os.times()
        return _Used(
            sum(gateway.cpu_seconds() for gateway in self.gateways),
            server_cpu(self.postmaster),
            times.user + times.system,
        )


async def measure(
    settings: Settings, accounts: int, clients: int, seconds: float, say: Callable[[str], None], *, processes: int = 1,
    reuse: bool = False,
) -> AuthoriseFigures:  # fmt: skip
    """Run the measurement on a bank with ACCOUNTS families. Raises GatewayError where an answer went missing.

    REUSE: take the bank of the run before where it has as many families and the same schema.
    """
    keep = Furnished.wanted(accounts, BALANCE_IDR) if reuse else None
    chosen = bench_settings(settings, "bench", keep)
    async with furnished_bank(chosen, accounts, BALANCE_IDR, say) as (bank, wallet):
        server = bank.database.embedded
        assert server is not None  # noqa: S101 - bench_settings asked for the embedded one
        fsync, commit, size = await _facts(bank)
        await prepare(server)
        runs = await _yardstick(server, seconds, say)
        say(f"authorisations, {clients} in flight")
        async with AsyncExitStack() as stack:
            gateways = [await stack.enter_async_context(gateway_process(chosen)) for _ in range(processes)]
            shooting = _Range(wallet, gateways, clients, server.postmaster_pid() or 0)
            await shooting.load(WARM_UP_S)
            before = shooting.used()
            peak = await shooting.load(seconds)
            after = shooting.used()
            say(f"{peak.per_s:.0f} a second; now half of that")
            half = await shooting.load(seconds, peak.per_s / 2)
        runs += await _yardstick(server, seconds, say)
    tps = {count: max(run.tps for run in runs if run.clients == count) for count in PGBENCH_CLIENTS}
    best = max(tps.values())
    few, many = PGBENCH_CLIENTS[0], PGBENCH_CLIENTS[-1]
    pgbench_p50_ms = min(run.p50_ms for run in runs if run.clients == few)
    used = after.server.since(before.server)
    each_us = 1e6 / peak.answered
    return AuthoriseFigures(
        authorisations_per_s=round(peak.per_s, 1),
        pgbench_tps=round(best, 1),
        ratio=round(peak.per_s / best, 2),
        p50_ms=round(peak.p50_ms, 2),
        p99_ms=round(peak.p99_ms, 2),
        declined=peak.declined + half.declined,
        accounts=accounts,
        gateway_cpu_us_per_authorisation=round((after.gateway_s - before.gateway_s) * each_us, 1),
        half_per_s=round(half.per_s, 1),
        p50_half_ms=round(half.p50_ms, 2),
        p99_half_ms=round(half.p99_ms, 2),
        pgbench_tps_8=round(tps[few], 1),
        pgbench_tps_32=round(tps[many], 1),
        pgbench_p50_8_ms=round(pgbench_p50_ms, 3),
        p99_half_ratio=round(half.p99_ms / pgbench_p50_ms, 2),
        postgres_cpu_us_per_authorisation=round(used.whole_s * each_us, 1),
        postgres_background_cpu_us_per_authorisation=round(used.background_s * each_us, 1),
        load_cpu_us_per_authorisation=round((after.load_s - before.load_s) * each_us, 1),
        processes=processes,
        clients=shooting.clients // (CONNECTIONS * processes) * CONNECTIONS * processes,
        seconds=seconds,
        cards=len(wallet.cards),
        database_bytes=size,
        fsync=fsync,
        synchronous_commit=commit,
    )


async def _facts(bank: Bank) -> tuple[str, str, int]:
    """How durable the server is, and how large the bank's database."""
    async with reading(bank) as connection:
        row = (await connection.execute(FACTS)).one()
        return row.fsync, row.synchronous_commit, row.size


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


FACTS = text("""
    SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
           pg_database_size(current_database()) AS size
""")
