"""Tests of gateway.measure.torture.offices: lists, cards, clocks and corrections, cut off or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import offices, run, visits
from gateway.measure.torture.invariants import Violated
from gateway.measure.torture.wire import CutAt
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from gateway.measure.torture.world import World

EVERY = (
    offices.block_card, offices.unlock_cards, offices.replace_card, offices.unblock_aid, offices.release_holds,
    offices.correct_payment, offices.correct_credit, offices.exclude, offices.credit,
)  # fmt: skip


async def test_every_errand(town: World) -> None:
    """Between visits, again and again in one town; the whole proof at the end."""
    for _ in range(4):
        for step in EVERY:
            await run.play_step(town, 7, step)
            await run.play_step(town, 7, visits.visit)
    await run.finish(town, 7)


@pytest.mark.parametrize("at", CutAt)
async def test_a_list_that_is_cut_off(town: World, monkeypatch: pytest.MonkeyPatch, at: CutAt) -> None:
    """At each of its commits in turn; taken up again it is credited as if nothing had been."""
    cuts = iter((number, at) for number in (1, 1, 2, 3, 4, 5) for _ in range(2))
    monkeypatch.setattr(offices, "dice_for_a_cut", lambda _world: next(cuts))
    for _ in range(6):
        await run.play_step(town, 7, offices.credit)
    assert town.crashes[f"cut {at.value}"] >= 6
    await run.finish(town, 7)


async def test_a_result_that_is_not_due(town: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that the bank forgot would be paid twice: the list's own result says so."""
    await as_owner(town.home, "DELETE FROM tranche")
    await as_owner(town.home, "DELETE FROM purse")
    monkeypatch.setattr(offices, "ODD_ROW_SHARE", 0)
    monkeypatch.setattr(offices, "STAGES_BACK", 1)
    with pytest.raises(Violated, match=r"^SI .*: credited \d.*; due \d"):
        await _credit_for_ever(town)


async def _credit_for_ever(town: World) -> None:
    while True:
        town.step += 1
        assert " 0 refused" in await offices.credit(town)  # a programme nobody was paid yet
