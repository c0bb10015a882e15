"""The clock jumps: the business date moves on by a day or by months, and every missed job of every missed date is caught up.

Jobs may be cut off anywhere; whoever takes them up again must end where an undisturbed run would have ended.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.jobs.catalogue import JOBS, is_working_day
from gateway.jobs.runner import catch_up, run_job
from gateway.measure.torture import clocks, invariants, visits
from gateway.measure.torture.invariants import Violated
from gateway.measure.torture.town import MAKER
from gateway.measure.torture.wire import CutAt
from gateway.measure.torture.world import AGAIN_S, PATIENCE
from gateway.operations import setup
from gateway.store.lane_connection import DATABASE_ERRORS, unreachable

if TYPE_CHECKING:
    from gateway.measure.torture.world import World

JUMPS_DAYS = (1, 1, 1, 1, 1, 1, 2, 3, 5, 12, 33)
LONG_JUMP_DAYS = 97
LONG_JUMP_SHARE = 0.06
BETWEEN_JOBS_SHARE = 0.25
CUT_SHARE = 0.3
COMMITS_OF_A_DAY = 12


async def next_day(world: World) -> str:
    """The date moves, the jobs are caught up, and every family's stages stand where their clocks say."""
    long = world.chance.random() < LONG_JUMP_SHARE
    days = LONG_JUMP_DAYS if long else world.chance.choice(JUMPS_DAYS)
    last, to = world.today, world.today + dt.timedelta(days=days)
    await setup.move_business_date(world.some_process().bank, MAKER, to)
    await world.turn_to(to)
    between = world.chance.random() < BETWEEN_JOBS_SHARE
    cut = (world.chance.randint(1, COMMITS_OF_A_DAY), world.chance.choice(tuple(CutAt)))
    is_cut = world.chance.random() < CUT_SHARE
    if between and days == 1:
        await _one_by_one(world)
    else:
        await _catch_up(world, last, cut if is_cut else None)
    families = world.real_families()
    await world.verify(family.number for family in families)
    books = await invariants.read(world.home, [family.number for family in families])
    invariants.check_clocks(books, world.programmes, to)
    await invariants.check_totals(world.home, world.real_families(), world.treasury, world.settled_idr)
    return f"the date is {to}, {days} days on"


async def _one_by_one(world: World) -> None:
    """Families come to terminals between the jobs of a day."""
    for job in JOBS:
        await run_job(world.some_process().bank, job, world.today)
        _model_job(world, job.name, world.today)
        step = world.chance.choice((visits.visit, visits.reverse, visits.complete))
        await step(world)


async def _catch_up(world: World, last: dt.date, cut: tuple[int, CutAt] | None) -> None:
    process = world.some_process()
    if cut is not None:
        process.wire.cut_commit(*cut)
    for attempt in range(PATIENCE):
        try:
            await catch_up((process if attempt == 0 else world.processes[attempt % len(world.processes)]).bank)
            break
        except Refused:  # the one that was cut off is not quite gone
            await asyncio.sleep(AGAIN_S)
        except DATABASE_ERRORS as error:
            if not unreachable(error):
                raise
            await asyncio.sleep(AGAIN_S)
    else:
        raise Violated("the jobs could not be caught up")
    if cut is not None and not process.wire.spare_commits():
        world.crashes[f"cut {cut[1].value}"] += 1
    for day in range((world.today - last).days):
        for job in JOBS:
            _model_job(world, job.name, last + dt.timedelta(days=day + 1))


def _model_job(world: World, name: str, on: dt.date) -> None:
    clocks.run_job(name, on, world.real_families(), world.treasury, working_day=is_working_day(on))
