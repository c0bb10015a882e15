"""What breaks: a process dies, a connection is cut at a commit, PostgreSQL ends sessions or is killed as a whole.

Each while a crowd is at the terminals. Whoever got no answer asks again or reverses; then everything must be explained.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.measure.torture import visits
from gateway.measure.torture.wire import CutAt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.measure.torture.world import World

TAKE_BACK_SHARE = 0.3
AFTER_S = 0.012  # a group takes a few milliseconds: somewhere in it
COMMITS = 2


async def kill_process(world: World) -> str:
    """One process dies with groups in flight."""
    victim = world.some_process()
    return "a process dies: " + await _amid_a_crowd(world, "process", lambda: world.kill(victim))


async def restart_process(world: World) -> str:
    """One process is restarted cleanly: what it accepted it answers."""
    victim = world.some_process()
    return "a process restarts: " + await _amid_a_crowd(world, "restart", lambda: world.restart(victim))


async def cut_at_commit(world: World) -> str:
    """A connection is lost at a commit, just before PostgreSQL has it or just after."""
    victim = world.some_process()
    at = world.chance.choice(tuple(CutAt))
    victim.wire.cut_commit(world.chance.randint(1, COMMITS), at)

    async def spare() -> None:
        await asyncio.sleep(0)

    done = await _amid_a_crowd(world, "", spare)
    if not victim.wire.spare_commits():
        world.crashes[f"cut {at.value}"] += 1
    return f"cut {at.value}: {done}"


async def cut_all(world: World) -> str:
    """Every connection of a process to PostgreSQL is lost; the process lives on."""
    victim = world.some_process()
    return "a process loses PostgreSQL: " + await _amid_a_crowd(world, "cut", lambda: victim.wire.cut(for_good=False))


async def end_sessions(world: World) -> str:
    """PostgreSQL ends every session of the bank (pg_terminate_backend)."""

    async def end() -> None:
        async with world.owner.begin() as connection:
            await connection.execute(END_SESSIONS)

    return "PostgreSQL ends all sessions: " + await _amid_a_crowd(world, "sessions", end)


async def kill_server(world: World) -> str:
    """SIGKILL for PostgreSQL as a whole, where it is ours to kill; it recovers from its log."""
    server = world.home.database.embedded
    if server is None:
        return await end_sessions(world)

    async def kill() -> None:
        pid = server.postmaster_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(server.start)
        await world.owner.dispose()

    return "PostgreSQL is killed: " + await _amid_a_crowd(world, "server", kill)


async def _amid_a_crowd(world: World, what: str, crash: Callable[[], Awaitable[None]]) -> str:
    """A crowd asks, the crash comes, and then it is found out what was decided."""
    questions = visits.new_crowd(world)
    reversed_later = [
        visits.keep(world, sent.terminal.reversal(sent))
        for sent in dict.fromkeys(sent for sent, _ in questions)
        if world.chance.random() < TAKE_BACK_SHARE and sent.said.kind in ("CASH", "PURCHASE", "HOLD")
    ]
    after_s = world.chance.uniform(0, AFTER_S)
    asking = asyncio.ensure_future(world.put(questions))
    await asyncio.sleep(after_s)
    await crash()
    asked = await asking
    if what:
        world.crashes[what] += 1
    await world.settle(asked, reversed_later)
    silent = sum(outcome is None for _, outcome in asked)
    return "; ".join(str(sent) for sent, _ in questions) + f" ({silent} without an answer)"


END_SESSIONS = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'kks' AND pid <> pg_backend_pid()
""")
