"""What chaos does to a running bank: kills, restarts, cut links, full pools, and sockets that are not treated as they should be.

Each function does one kind of harm to the scene and leaves it able to recover. Who works meanwhile, and what must come of it, is
gateway.measure.chaos's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway import clock
from gateway.measure.workbench import start_gateway
from gateway.simulator.switch import NetworkCode, Switch
from iso.codec import encode
from iso.errors import IsoError
from iso.framing import HIMBARA_FRAMING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.measure.chaos import Scene
    from gateway.measure.workbench import Gateway

LINKS_CUT = 4
HOLD_S = (1.5, 3.0)
SESSIONS_MAX = 500  # far more than PostgreSQL lets in
CONNECTIONS_TRIED = 220  # more than the listener lets in
SIGN_ONS = 24  # each wants a connection of the pool for its record
HALF_SENT = 12
CONNECT_S = 5.0


async def kill_gateway(scene: Scene) -> None:
    """SIGKILL for one of the gateways; another takes its place at the same port."""
    place = scene.chance.randrange(len(scene.gateways))
    os.kill(scene.gateways[place].process.pid, signal.SIGKILL)
    await scene.gateways[place].process.wait()
    scene.harm["gateway"] += 1
    await _start_again(scene, place)


async def restart_gateway(scene: Scene) -> None:
    """SIGTERM under load: it answers what it has accepted, and is started again."""
    place = scene.chance.randrange(len(scene.gateways))
    await scene.gateways[place].stop()
    scene.harm["restart"] += 1
    await _start_again(scene, place)


async def kill_postgres(scene: Scene) -> None:
    """SIGKILL for PostgreSQL, which recovers from its log."""
    server = scene.bank.database.embedded
    assert server is not None  # noqa: S101 - chaos runs on the embedded one
    pid = server.postmaster_pid()
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    scene.harm["postgres"] += 1
    await asyncio.to_thread(server.start)


async def cut_links(scene: Scene) -> None:
    """Some terminals lose their connection."""
    for number in scene.chance.sample(sorted(scene.switches), k=min(LINKS_CUT, len(scene.switches))):
        await scene.switches[number].close()
    scene.harm["cut"] += 1


async def take_every_session(scene: Scene) -> None:
    """PostgreSQL is full of sessions that do nothing, and those of the gateways are ended: they cannot come back for a while."""
    held: list[asyncpg.Connection] = []
    hold_s = scene.chance.uniform(*HOLD_S)
    try:
        await _open_sessions(scene, held)
        if held:
            await held[0].execute(END_SESSIONS)
            await _open_sessions(scene, held)
            await asyncio.sleep(hold_s)
            scene.harm["pool"] += 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pass  # PostgreSQL is only just coming back
    finally:
        for connection in held:
            connection.terminate()


async def busy_every_pool(scene: Scene) -> None:
    """Every connection of the gateways' pools waits for a lock, and the lanes must come back meanwhile."""
    owner = create_async_engine(scene.bank.database.url)
    hold_s = scene.chance.uniform(*HOLD_S)
    try:
        async with owner.begin() as connection:
            await connection.execute(LOCK_OPERATIONS)
            signing_on = [asyncio.ensure_future(_sign_on(scene, number)) for number in range(SIGN_ONS)]
            await asyncio.sleep(hold_s / 2)
            await connection.execute(END_LANES)
            await asyncio.sleep(hold_s / 2)
        scene.harm["pool"] += 1
        await asyncio.gather(*signing_on)
    finally:
        await owner.dispose()


async def abuse_sockets(scene: Scene) -> None:
    """Frames half sent and hung up on, bytes that are no frame, and as many silent connections as are let in."""
    gateway = scene.chance.choice(scene.gateways)
    hold_s = scene.chance.uniform(*HOLD_S)
    sign_on = encode(Switch("", 0, clock=clock.now).network_message(NetworkCode.SIGN_ON))
    framed = HIMBARA_FRAMING.frame(sign_on)
    half = [framed[: scene.chance.randint(1, len(framed) - 1)] for _ in range(HALF_SENT)]
    silent = [await _connect(gateway) for _ in range(CONNECTIONS_TRIED)]
    for piece in [*half, b"0000", b"9999" + framed, os.urandom(64), framed + half[0]]:
        link = await _connect(gateway)
        if link is not None:
            link.write(piece)
            with suppress(OSError):
                await link.drain()
            link.close()
    await asyncio.sleep(hold_s)
    for link in silent:
        if link is not None:
            link.close()
    scene.harm["sockets"] += 1


EVERY: Sequence[Callable[[Scene], Awaitable[None]]] = (
    kill_gateway, kill_postgres, cut_links, take_every_session, kill_gateway, restart_gateway, kill_postgres, abuse_sockets,
    kill_gateway, busy_every_pool,
)  # fmt: skip


async def _start_again(scene: Scene, place: int) -> None:
    scene.gateways[place] = await start_gateway(scene.settings, scene.gateways[place].port)


async def _open_sessions(scene: Scene, held: list[asyncpg.Connection]) -> None:
    """Open sessions until PostgreSQL lets no more in."""
    url = scene.bank.database.url
    while len(held) < SESSIONS_MAX:
        try:
            held.append(
                await asyncpg.connect(
                    host=str(url.query["host"]), user=url.username, database=url.database, timeout=CONNECT_S
                )
            )
        except asyncpg.TooManyConnectionsError:
            return


async def _sign_on(scene: Scene, number: int) -> None:
    """Somebody signs on and leaves."""
    port = scene.gateways[number % len(scene.gateways)].port
    with suppress(IsoError, OSError):
        async with Switch("127.0.0.1", port, clock=clock.now, timeout_s=CONNECT_S):
            pass


async def _connect(gateway: Gateway) -> asyncio.StreamWriter | None:
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    except (OSError, TimeoutError):
        return None
    return writer


END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'kks' AND pid <> pg_backend_pid()
"""
LOCK_OPERATIONS = text("SELECT 1 FROM audit_chain WHERE stream = 'operations' FOR UPDATE")
END_LANES = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'kks' AND pid <> pg_backend_pid() AND wait_event_type <> 'Lock'
""")
