"""Tests of gateway.measure.torture.world: whatever cannot be explained is an error."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture.invariants import Violated
from gateway.operations.setup import move_business_date
from gateway.rules.authorise import DeclineReason
from gateway.rules.purse import Purse

if TYPE_CHECKING:
    from gateway.measure.torture.terminals import Sent
    from gateway.measure.torture.world import World
    from gateway.operations.authorise import Outcome


async def _answered(town: World) -> tuple[Sent, Outcome]:
    sent = town.terminals[0].request("CASH", town.members[1].card, 10_000)
    ((_, outcome),) = await town.put([(sent, town.processes[0])])
    assert outcome is not None
    assert outcome.reason is DeclineReason.APPROVED
    return sent, outcome


async def test_an_honest_answer(town: World) -> None:
    """Is explained, and the family has so much less."""
    sent, outcome = await _answered(town)
    before = town.families[1].credited_idr()
    await town.settle([(sent, outcome)])
    assert (before, 10_000) == (town.families[1].credited_idr(), town.families[1].paid_idr["ATM"])


async def test_another_reason(town: World) -> None:
    """The bank says no and has paid."""
    sent, outcome = await _answered(town)
    with pytest.raises(Violated, match=r"no order explains: CASH .*INSUFFICIENT_FUNDS"):
        await town.settle([(sent, outcome._replace(reason=DeclineReason.INSUFFICIENT_FUNDS))])


async def test_another_balance(town: World) -> None:
    """The family is told what it does not have."""
    sent, outcome = await _answered(town)
    assert outcome.balances is not None
    wrong = outcome.balances | {Purse.FOOD: outcome.balances[Purse.FOOD] + 1}
    with pytest.raises(Violated, match="no order explains"):
        await town.settle([(sent, outcome._replace(balances=wrong))])


async def test_an_answer_that_never_was(town: World) -> None:
    """Nothing was asked, and the terminal says it has paid out."""
    sent, outcome = await _answered(town)
    await town.settle([(sent, outcome)])
    phantom = town.terminals[0].request("CASH", town.members[2].card, 10_000)
    with pytest.raises(Violated, match="model = bank: family 2"):
        await town.settle([(phantom, outcome)])


async def test_two_answers_to_one_message(town: World) -> None:
    """Approval codes that differ are two answers."""
    sent, outcome = await _answered(town)
    await town.settle([(sent, outcome)])
    with pytest.raises(Violated, match="was answered"):
        await town.settle([(sent, outcome._replace(approval_code="000000"))])


async def test_an_approval_without_a_code_and_a_system_error(town: World) -> None:
    """Neither is honest."""
    sent, outcome = await _answered(town)
    with pytest.raises(Violated, match="without an approval code"):
        await town.settle([(sent, outcome._replace(approval_code=None))])
    with pytest.raises(Violated, match="SYSTEM_ERROR"):
        await town.settle([(sent, outcome._replace(reason=DeclineReason.SYSTEM_ERROR))])


async def test_silence_is_asked_again(town: World) -> None:
    """By the terminal, or taken back by it; both are explained."""
    sent, _ = await _answered(town)
    await town.settle([(sent, None)])
    assert 10_000 == town.families[1].paid_idr["ATM"]
    other = town.terminals[0].request("CASH", town.members[2].card, 10_000)
    await town.settle([(other, None)], take_back=[other.terminal.reversal(other)])
    assert 0 == town.families[2].paid_idr["ATM"]


async def test_a_date_that_is_not_the_banks(town: World) -> None:
    """Everybody must look at the same calendar."""
    await move_business_date(town.home, "somebody", town.today + dt.timedelta(days=1))
    with pytest.raises(Violated, match="business date"):
        await town.turn_to(town.today)
    await town.turn_to(town.today + dt.timedelta(days=1))


async def test_the_terminals_clock(town: World) -> None:
    """It never stands still, and its date is the bank's."""
    first, second = town.now(), town.now()
    assert (town.today, town.today) == (first.date(), second.date())
    assert first < second
