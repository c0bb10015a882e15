"""Twin of gateway.rules.expiring."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.dormancy import ClockPolicy, Step, TrancheClock, TrancheState, due
from gateway.rules.expiring import Expiring, earliest_expiring

FROM = dt.date(2026, 1, 15)
POLICY = ClockPolicy(None, "", (60, 80), 90, 105, partly_used=False, valid_from=dt.date(2017, 1, 1), valid_to=None)
OPEN = TrancheClock(2, "1271070001", FROM, used=False, state=TrancheState.OPEN)
HORIZON_DAYS = 60

dates = st.integers(-30, 40).map(lambda days: FROM + dt.timedelta(days=days))
terms = st.none() | st.integers(1, 25)


@st.composite
def policies(draw: st.DrawFn) -> ClockPolicy:
    """A policy of short terms, often for a region or programme, often ending."""
    start = draw(dates)
    end = draw(st.none() | st.integers(0, 30).map(lambda days: start + dt.timedelta(days=days)))
    return ClockPolicy(
        draw(st.sampled_from([None, 1, 2])), draw(st.sampled_from(["", "12", "1271"])), (), draw(terms), draw(terms),
        draw(st.booleans()), start, end,
    )  # fmt: skip


tranches = st.tuples(
    st.builds(
        TrancheClock, st.sampled_from([1, 2]), st.sampled_from(["1271070001", "3171010001"]), dates, used=st.booleans(),
        state=st.sampled_from(TrancheState),
    ),
    st.integers(0, 3),
)  # fmt: skip


def on(day: int) -> dt.date:
    """The date DAY days after the credit."""
    return FROM + dt.timedelta(days=day)


def stepped(found: list[tuple[TrancheClock, int]], rules: list[ClockPolicy], today: dt.date) -> Expiring | None:
    """The same by asking the clocks day by day, until one takes something away."""
    for ahead in range(HORIZON_DAYS):
        day = today + dt.timedelta(days=ahead)
        lost = [
            idr
            for one, idr in found
            if idr and one.state is TrancheState.OPEN and due(one, rules, day) in (Step.BLOCK, Step.FREEZE)
        ]
        if lost:
            return Expiring(day, sum(lost))
    return None


@given(st.lists(tranches, max_size=4), st.lists(policies(), max_size=4), dates)
def test_it_is_what_the_clocks_will_do_day_by_day(
    found: list[tuple[TrancheClock, int]], rules: list[ClockPolicy], today: dt.date
) -> None:
    """Whatever policies begin and end on the way, date and amount are those of the first day on which a clock takes something."""
    told = earliest_expiring(found, rules, today)
    if told is None or told.on < today + dt.timedelta(days=HORIZON_DAYS):
        assert stepped(found, rules, today) == told
    else:
        assert stepped(found, rules, today) is None


def test_the_earliest_date_and_what_is_lost_on_it() -> None:
    """Two tranches of one day are one sum; a younger one is not in it."""
    younger = replace(OPEN, clock_from=on(20))
    told = earliest_expiring([(OPEN, 100), (younger, 900), (OPEN, 50)], [POLICY], on(30))
    assert Expiring(on(90), 150) == told
    assert Expiring(on(110), 900) == earliest_expiring([(younger, 900)], [POLICY], on(30))


@pytest.mark.parametrize(
    ("tranche", "policy", "expected"),
    [
        (OPEN, replace(POLICY, block_days=None), on(106)),  # never blocked: the day after the return term
        (OPEN, replace(POLICY, return_days=None), on(90)),
        (OPEN, replace(POLICY, block_days=None, return_days=None), None),
        (replace(OPEN, used=True), POLICY, None),
        (replace(OPEN, used=True), replace(POLICY, partly_used=True), on(90)),
        (replace(OPEN, state=TrancheState.BLOCKED), POLICY, None),
        (replace(OPEN, state=TrancheState.FROZEN), POLICY, None),
        (OPEN, replace(POLICY, programme=1), None),
        (OPEN, replace(POLICY, region_prefix="99"), None),
        (OPEN, replace(POLICY, valid_to=on(89)), None),  # the policy ends before its block
        (OPEN, replace(POLICY, valid_to=on(90)), on(90)),
        (OPEN, replace(POLICY, valid_from=on(95)), on(95)),  # it begins after its block would have been
    ],
)
def test_which_tranches_are_lost_and_when(tranche: TrancheClock, policy: ClockPolicy, expected: dt.date | None) -> None:
    """Only open and unused aid has a date; it is the policy's in force then."""
    told = earliest_expiring([(tranche, 100)], [policy], on(1))
    assert expected == (told.on if told else None)


def test_nothing_left_is_nothing_lost() -> None:
    """An empty tranche has no date; no tranche neither."""
    assert earliest_expiring([(OPEN, 0)], [POLICY], on(1)) is None
    assert earliest_expiring([], [POLICY], on(1)) is None


def test_a_clock_that_has_not_run_yet_today_is_told_as_today() -> None:
    """Between midnight and the day's job the money is as good as lost."""
    assert Expiring(on(91), 100) == earliest_expiring([(OPEN, 100)], [POLICY], on(91))


def test_money_that_is_not_available_yet_counts_from_its_own_day() -> None:
    """The clock begins on the day from which it can be spent, whenever it was credited."""
    later = replace(OPEN, clock_from=on(14))
    assert Expiring(on(104), 100) == earliest_expiring([(later, 100)], [POLICY], on(0))
