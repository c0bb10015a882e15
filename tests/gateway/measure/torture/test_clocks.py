"""Tests of gateway.measure.torture.clocks: when aid is blocked, frozen and returned, in the model."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from gateway.measure.torture import clocks
from gateway.measure.torture.clocks import Treasury
from tests.gateway.measure.torture.model import DAY, credit, family, left, say

if TYPE_CHECKING:
    from gateway.measure.torture.oracle import Family

JOBS = ("release-holds", "dormancy-block", "dormancy-freeze", "rpl-debit", "treasury-return")


def _night(one: Family, days: int, treasury: Treasury | None = None, *, working_day: bool = True) -> Treasury:
    treasury = treasury or Treasury()
    for job in JOBS:
        clocks.run_job(job, DAY + dt.timedelta(days=days), [one], treasury, working_day=working_day)
    return treasury


def test_unused_aid_goes_its_way() -> None:
    """Blocked after 90 days, frozen, debited and deposited after 105; on a holiday it waits at RPL."""
    one = family(600_000)
    states = []
    for days in (89, 90, 105, 106, 107):
        treasury = _night(one, days, working_day=days != 106)
        states.append((one.stages[0].state, treasury.at_rpl_idr))
    assert [("OPEN", 0), ("BLOCKED", 0), ("BLOCKED", 0), ("AT_RPL", 600_000), ("RETURNED", 0)] == states
    assert (600_000, [0], None) == (one.stages[0].returned_idr, left(one), one.check())


def test_what_a_jump_missed_is_frozen_at_once() -> None:
    """Past its term a stage is not blocked any more."""
    one = family(600_000)
    assert (False, True) == (
        clocks.is_blocked_on(one, one.stages[0], DAY + dt.timedelta(days=106)),
        clocks.is_frozen_on(one, one.stages[0], DAY + dt.timedelta(days=106)),
    )
    assert 600_000 == _night(one, 106).returned_idr


def test_a_debit_stops_the_clock_but_not_where_it_runs_on() -> None:
    """And what is given back whole starts it again from where it was."""
    one = family(600_000)
    credit(one, 600_000, DAY, "TAMBAHAN")
    one.answer(say("CASH", 700_000), DAY)
    treasury = _night(one, 31)
    assert (500_000, ["OPEN", "RETURNED"]) == (treasury.returned_idr, [stage.state for stage in one.stages])
    cash = next(iter(one.answered))
    one.answer(say("REVERSAL", 700_000, original=cash), DAY + dt.timedelta(days=31))
    assert (["OPEN", "OPEN"], [600_000, 100_000]) == ([stage.state for stage in one.stages], left(one))
    assert 700_000 == _night(one, 106, treasury).returned_idr - 500_000


def test_unblocking_begins_anew() -> None:
    """From the day of the order."""
    one = family(600_000)
    _night(one, 95)
    assert (1, 0) == (clocks.unblock(one, DAY + dt.timedelta(days=95)), clocks.unblock(one, DAY))
    _night(one, 184)
    assert "OPEN" == one.stages[0].state
    _night(one, 185)
    assert "BLOCKED" == one.stages[0].state


@pytest.mark.parametrize(("days", "held"), [(7, 50_000), (8, 0)])
def test_holds_lapse(days: int, held: int) -> None:
    """The night after their last day."""
    one = family(600_000)
    one.answer(say("HOLD", 50_000), DAY)
    _night(one, days)
    assert held == one.stages[0].held_idr
