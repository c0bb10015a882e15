"""Tests of gateway.measure.torture.partners: a day is what terminals say, and is paid once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import days, partners, run, visits
from gateway.measure.torture.invariants import Violated

if TYPE_CHECKING:
    import datetime as dt

    from gateway.measure.torture.world import World


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "JUMPS_DAYS", (1,))
    monkeypatch.setattr(days, "LONG_JUMP_SHARE", 0)
    monkeypatch.setattr(partners, "DAYS_BACK", (1,))


async def _a_day_passes(town: World) -> dt.date:
    day = town.today
    cash = town.terminals[0].request("CASH", town.members[1].card, 20_000)
    await town.settle(await town.put([(cash, town.processes[0])]))
    for _ in range(4):
        await run.play_step(town, 7, visits.crowd)
    await run.play_step(town, 7, days.next_day)
    return day


async def test_days_are_settled(town: World) -> None:
    """One after the other, cut off or not; twice is refused; the books hold."""
    for _ in range(3):
        day = await _a_day_passes(town)
        due = town.owed_idr(day)
        await run.play_step(town, 7, partners.settle)
        assert (day in town.settled_days) == bool(due)
        await run.play_step(town, 7, partners.settle)
    assert sum(town.settled_idr.values()) > 0
    await run.finish(town, 7)


async def test_terminals_that_say_something_else(town: World) -> None:
    """A rupiah more, and the settlement is not theirs."""
    day = await _a_day_passes(town)
    owed = town.families[1].owed_idr
    owed[day, "ATM"] = owed.get((day, "ATM"), 0) + 1
    with pytest.raises(Violated, match=f"settlement of {day}: terminals say"):
        await partners.settle(town)
