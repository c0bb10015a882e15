"""`kks torture`: a seeded run of DAYS random days, every invariant checked after every step; a failure prints its seed.

    ./kks torture --seed 7 --days 30

The same seed plays the same steps again; only how a crowd's messages fall between each other is PostgreSQL's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.measure.torture import days, invariants, offices, steps
from gateway.measure.torture.town import open_town
from gateway.measure.workbench import bench_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.measure.torture.steps import Step
    from gateway.measure.torture.world import World
    from gateway.settings import Settings

STEPS_OF_A_DAY = (6, 14)
PROVE_EVERY = 25
SAY_EVERY = 10


@dataclass(frozen=True, slots=True)
class TortureFigures:
    """What was done and found; the keys of `--json`. CHECKS: families compared with the model. FAILURE: empty where all holds."""

    seed: int
    days: int
    steps: int
    checks: int
    crashes: int
    proof_ok: bool
    seconds: float
    last_day: str
    credited_idr: int
    returned_idr: int
    crashes_by_kind: dict[str, int]
    answers: dict[str, int]
    failure: str = ""


class TortureFailed(GatewayError):
    """Something does not hold. The text has the seed, the step, what does not hold, and what happened before."""


async def run_torture(
    settings: Settings, seed: int, number_of_days: int, families: int, say: Callable[[str], None]
) -> TortureFigures:
    """Make a fresh bank and torture it. What does not hold is told in the figures."""
    chosen = bench_settings(settings, "torture")
    began = time.monotonic()
    say(f"seed {seed}: {families} families, {number_of_days} days")
    async with open_town(chosen, seed, families) as world:
        failure = ""
        try:
            for day in range(1, number_of_days + 1):
                await play_day(world, seed)
                if day % SAY_EVERY == 0:
                    say(f"day {day} of {number_of_days}: {world.today}, {world.step} steps, {world.checks} checks")
            await finish(world, seed)
        except TortureFailed as error:
            failure = f"{error}\nagain: ./kks torture --seed {seed} --days {number_of_days} --families {families}"
        return TortureFigures(
            seed, number_of_days, world.step, world.checks, sum(world.crashes.values()), not failure,
            round(time.monotonic() - began, 1), str(world.today),
            sum(family.credited_idr() for family in world.real_families()), world.treasury.returned_idr,
            dict(sorted(world.crashes.items())), dict(sorted(world.answers.items())), failure,
        )  # fmt: skip


async def play_day(world: World, seed: int) -> None:
    """One day: its steps, then the night. The first day begins with a list."""
    for _ in range(world.chance.randint(*STEPS_OF_A_DAY)):
        await play_step(world, seed, offices.credit if world.step == 0 else steps.choose(world))
    await play_step(world, seed, days.next_day)


async def play_step(world: World, seed: int, step: Step) -> None:
    """One step and what must hold after it. Raises TortureFailed."""
    world.step += 1
    world.doing.clear()
    try:
        done = await step(world)
        world.log.append(f"{world.step}. {world.today} {done}")
        if world.step % PROVE_EVERY == 0:
            await _prove_all(world)
    except Exception as error:
        raise TortureFailed(_report(world, seed, step, error)) from error


async def finish(world: World, seed: int) -> None:
    """The whole proof at the end."""
    try:
        await _prove_all(world)
    except Exception as error:
        raise TortureFailed(_report(world, seed, finish, error)) from error


async def _prove_all(world: World) -> None:
    await world.verify(family.number for family in world.real_families())
    await invariants.check_totals(world.home, world.real_families(), world.treasury, world.settled_idr)
    await invariants.prove(world.home)


def _report(world: World, seed: int, step: Callable[..., object], error: Exception) -> str:
    what = str(error) if isinstance(error, invariants.Violated | GatewayError) else f"{type(error).__name__}: {error}"
    before = "\n".join(f"  {line}" for line in (*world.log, f"{world.step}. under way: {'; '.join(world.doing)}"))
    return f"seed {seed}, step {world.step} ({step.__name__}) on {world.today}: {what}\n{before}"
