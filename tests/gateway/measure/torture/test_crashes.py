"""Tests of gateway.measure.torture.crashes: everything that breaks, amid a crowd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.measure.torture import crashes, offices, run
from gateway.measure.torture.town import open_town

if TYPE_CHECKING:
    from gateway.measure.torture.world import World
    from gateway.settings import Settings

EVERY = (
    crashes.kill_process, crashes.restart_process, crashes.cut_at_commit, crashes.cut_all, crashes.end_sessions,
    crashes.kill_server,
)  # fmt: skip


async def test_every_crash(town: World) -> None:
    """On a server that is not ours to kill: its sessions end instead."""
    for step in (*EVERY, *EVERY[:4]):
        await run.play_step(town, 7, step)
    await run.finish(town, 7)
    assert {"process": 2, "restart": 2, "cut": 2, "sessions": 2}.items() <= town.crashes.items()


async def test_postgresql_is_killed(settings: Settings) -> None:
    """SIGKILL for a server of our own, twice."""
    chosen = settings.model_copy(update={"iso_port": 0, "http_port": 0})
    async with open_town(chosen, 7, 4) as town:
        for step in (offices.credit, crashes.kill_server, crashes.kill_server):
            await run.play_step(town, 7, step)
        await run.finish(town, 7)
        assert 2 == town.crashes["server"]
