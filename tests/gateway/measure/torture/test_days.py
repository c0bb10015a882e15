"""Tests of gateway.measure.torture.days: the date jumps, the jobs follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import days, offices, run
from gateway.measure.torture.invariants import Violated
from gateway.measure.torture.wire import CutAt
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from gateway.measure.torture.world import World


async def test_a_long_jump(town: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the quick clock: all of that programme has gone back, and nothing of the others."""
    monkeypatch.setattr(days, "LONG_JUMP_SHARE", 1)
    monkeypatch.setattr(days, "LONG_JUMP_DAYS", 35)
    monkeypatch.setattr(days, "CUT_SHARE", 0)
    await _credit_all(town)
    await run.play_step(town, 7, days.next_day)
    quick = [stage for family in town.real_families() for stage in family.stages if stage.programme == "TAMBAHAN"]
    assert 0 < sum(stage.amount_idr for stage in quick) == town.treasury.returned_idr
    await run.finish(town, 7)


async def test_jobs_that_are_cut_off(town: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken up again they end where they would have ended; and families come in between."""
    monkeypatch.setattr(days, "LONG_JUMP_SHARE", 0)
    monkeypatch.setattr(days, "JUMPS_DAYS", (1, 3))
    monkeypatch.setattr(days, "CUT_SHARE", 1)
    for _ in range(5):
        await run.play_step(town, 7, days.next_day)
    assert sum(town.crashes[f"cut {at.value}"] for at in CutAt) >= 2
    await run.finish(town, 7)


async def test_a_night_that_froze_nothing(town: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks' policy was taken away from the bank: the model notices."""
    monkeypatch.setattr(days, "LONG_JUMP_SHARE", 1)
    monkeypatch.setattr(days, "LONG_JUMP_DAYS", 23)
    await _credit_all(town)
    await as_owner(town.home, "DELETE FROM clock_policy")
    with pytest.raises(Violated, match="model = bank"):
        await days.next_day(town)


async def _credit_all(town: World) -> None:
    """Lists until every programme was paid to somebody."""
    while len({stage.programme for family in town.real_families() for stage in family.stages}) < len(town.programmes):
        await run.play_step(town, 7, offices.credit)
