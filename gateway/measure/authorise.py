"""`kks bench authorise`: cash withdrawals with PIN over TCP, everything on, beside pgbench's TPC-B on the same server.

The gateway is a process of its own and durability is PostgreSQL's default (fsync, synchronous_commit). pgbench runs before and
after with 8 and with 32 clients; its best figure counts.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway import clock
from gateway.errors import GatewayError
from gateway.measure.workbench import bench_settings, furnished_bank, gateway_process
from gateway.operations.bank import reading
from gateway.simulator.load import LoadResult, drive
from gateway.simulator.pinpad import pinpad_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.settings import Settings
    from gateway.store.embedded import EmbeddedServer

SCALE = 20
PGBENCH_CLIENTS = (8, 32)
CONNECTIONS = 4
BALANCE_IDR = 90_000_000
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class AuthoriseFigures:
    """What was measured; the keys of `--json`."""

    authorisations_per_s: float
    pgbench_tps: float
    ratio: float
    p50_ms: float
    p99_ms: float
    declined: int
    accounts: int
    gateway_cpu_us_per_authorisation: float
    clients: int
    seconds: float
    fsync: str
    synchronous_commit: str


async def measure(
    settings: Settings, accounts: int, clients: int, seconds: float, say: Callable[[str], None]
) -> AuthoriseFigures:
    """Run the measurement on a fresh bank with ACCOUNTS families. Raises GatewayError where an answer went missing."""
    chosen = bench_settings(settings, "bench")
    say(f"making {accounts} families with active cards and money")
    async with furnished_bank(chosen, accounts, BALANCE_IDR) as (bank, wallet):
        server = bank.database.embedded
        assert server is not None  # noqa: S101 - bench_settings asked for the embedded one
        async with reading(bank) as connection:
            fsync = (await connection.execute(text("SHOW fsync"))).scalar_one()
            commit = (await connection.execute(text("SHOW synchronous_commit"))).scalar_one()
        await _pgbench_init(server)
        say("pgbench TPC-B")
        tps = [await _pgbench(server, count, seconds) for count in PGBENCH_CLIENTS]
        pinpad = pinpad_of(wallet)
        say(f"authorisations, {clients} in flight")
        async with gateway_process(chosen) as gateway:
            per_connection = clients // CONNECTIONS

            def load(duration: float) -> Coroutine[Any, Any, LoadResult]:
                return drive(
                    wallet.cards, pinpad, "127.0.0.1", gateway.port, clock=clock.now, connections=CONNECTIONS,
                    in_flight=per_connection, seconds=duration,
                )  # fmt: skip

            await load(WARM_UP_S)
            before = gateway.cpu_seconds()
            result = await load(seconds)
            used = gateway.cpu_seconds() - before
        say("pgbench TPC-B again")
        tps += [await _pgbench(server, count, seconds) for count in PGBENCH_CLIENTS]
    if result.unanswered or result.approved == 0:
        raise GatewayError(
            f"{result.unanswered} of {result.sent} authorisations were not answered; codes {result.codes}"
        )
    best = max(tps)
    return AuthoriseFigures(
        round(result.per_s, 1), round(best, 1), round(result.per_s / best, 2), round(result.p50_ms, 2), round(result.p99_ms, 2),
        result.declined, accounts, round(used / result.answered * 1e6, 1), CONNECTIONS * (clients // CONNECTIONS), seconds,
        fsync, commit,
    )  # fmt: skip


async def _pgbench_init(server: EmbeddedServer) -> None:
    base = ["-h", str(server.socket_dir), "-U", "postgres"]
    await _run(server, "dropdb", *base, "--if-exists", "pgbench")
    await _run(server, "createdb", *base, "pgbench")
    await _run(server, "pgbench", *base, "-i", "-q", "-s", str(SCALE), "pgbench")


async def _pgbench(server: EmbeddedServer, clients: int, seconds: float) -> float:
    output = await _run(
        server, "pgbench", "-h", str(server.socket_dir), "-U", "postgres", "-M", "prepared", "-c", str(clients), "-j", "2",
        "-T", str(max(1, round(seconds))), "-n", "pgbench",
    )  # fmt: skip
    found = re.search(r"tps = ([0-9.]+)", output)
    if found is None:
        raise GatewayError("pgbench printed no figure")
    return float(found[1])


async def _run(server: EmbeddedServer, program: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(server.bin_dir / program), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise GatewayError(f"{program} failed: {errors.decode().strip().splitlines()[-1:]}")
    return out.decode()
