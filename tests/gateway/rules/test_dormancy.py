"""Twin of gateway.rules.dormancy."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.dormancy import ClockPolicy, Step, TrancheClock, TrancheState, due, policy_for

FROM = dt.date(2026, 1, 15)
LONG_AGO = dt.date(2017, 1, 1)
POLICY = ClockPolicy(None, "", (60, 80), 90, 105, partly_used=False, valid_from=LONG_AGO, valid_to=None)
OPEN = TrancheClock(2, "1271070001", FROM, used=False, state=TrancheState.OPEN)
BLOCKED = replace(OPEN, state=TrancheState.BLOCKED)
days_after = st.integers(-10, 400)


def on(day: int) -> dt.date:
    """The date DAY days after the credit."""
    return FROM + dt.timedelta(days=day)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (-1, None), (0, None), (59, None), (60, Step.WARN), (61, None), (79, None), (80, Step.WARN), (81, None), (89, None),
        (90, Step.BLOCK), (91, Step.BLOCK), (104, Step.BLOCK), (105, Step.BLOCK), (106, Step.FREEZE), (400, Step.FREEZE),
    ],
)  # fmt: skip
def test_the_days_of_an_open_tranche(day: int, expected: Step | None) -> None:
    """Warned on day 60 and 80 exactly, blocked from day 90, frozen after 105: on day 106."""
    assert expected == due(OPEN, [POLICY], on(day))


@pytest.mark.parametrize(("day", "expected"), [(60, None), (90, None), (105, None), (106, Step.FREEZE)])
def test_the_days_of_a_blocked_tranche(day: int, expected: Step | None) -> None:
    """It is neither warned nor blocked again; it is frozen on day 106."""
    assert expected == due(BLOCKED, [POLICY], on(day))


@given(days_after, st.sampled_from([TrancheState.FROZEN, TrancheState.AT_RPL, TrancheState.RETURNED]))
def test_frozen_and_returned_money_has_no_clock(day: int, state: TrancheState) -> None:
    """What has left the family's hands is not due again on any day."""
    assert due(replace(OPEN, state=state), [POLICY], on(day)) is None


@given(days_after, st.sampled_from(TrancheState))
def test_use_stops_the_clock(day: int, state: TrancheState) -> None:
    """A used tranche is never due, unless its policy also counts what is left of one."""
    used = replace(OPEN, used=True, state=state)
    assert due(used, [POLICY], on(day)) is None
    counting = replace(POLICY, partly_used=True)
    assert due(replace(used, used=False), [counting], on(day)) == due(used, [counting], on(day))


def test_the_clock_counts_from_its_own_date() -> None:
    """After an unblock the clock starts again: clock_from counts, not the credit."""
    again = replace(OPEN, clock_from=on(95))
    assert due(again, [POLICY], on(106)) is None
    assert due(again, [POLICY], on(95 + 90)) is Step.BLOCK


def test_a_policy_without_block_still_returns() -> None:
    """block_days None: warned, never blocked, frozen after its term."""
    unblocked = replace(POLICY, block_days=None)
    assert due(OPEN, [unblocked], on(80)) is Step.WARN
    assert due(OPEN, [unblocked], on(105)) is None
    assert due(OPEN, [unblocked], on(106)) is Step.FREEZE


def test_a_policy_without_return_never_freezes() -> None:
    """return_days None: blocked for as long as it takes."""
    kept = replace(POLICY, return_days=None)
    assert due(OPEN, [kept], on(4_000)) is Step.BLOCK
    assert due(BLOCKED, [kept], on(4_000)) is None


def test_no_policy_no_clock() -> None:
    """Without a row in force nothing is ever due."""
    assert due(OPEN, [], on(200)) is None
    assert due(OPEN, [replace(POLICY, programme=1)], on(200)) is None


def test_a_region_has_its_exception() -> None:
    """The longest region prefix wins, even over a policy that names the programme."""
    island = replace(POLICY, region_prefix="1271", block_days=None, return_days=None)
    district = replace(POLICY, region_prefix="127107", block_days=30)
    programme = replace(POLICY, programme=2, block_days=45)
    policies = [POLICY, district, programme, island]
    assert due(OPEN, policies, on(30)) is Step.BLOCK
    assert due(replace(OPEN, region="1271990001"), policies, on(300)) is None
    assert due(replace(OPEN, region="3171010001"), policies, on(45)) is Step.BLOCK
    assert due(replace(OPEN, region="3171010001", programme=1), policies, on(45)) is None


def test_a_programme_has_its_exception() -> None:
    """Within the same region, the row that names the programme wins, whichever is newer."""
    newer = replace(POLICY, valid_from=dt.date(2026, 1, 1))
    cash = replace(POLICY, programme=1, block_days=None)
    assert cash == policy_for(replace(OPEN, programme=1), [newer, cash, POLICY], on(1))
    assert newer == policy_for(OPEN, [POLICY, cash, newer], on(1))


@pytest.mark.parametrize(
    ("valid_from", "valid_to", "counts"),
    [(0, None, True), (1, None, False), (-9, 0, True), (-9, -1, False), (0, 0, True)],
)
def test_a_policy_counts_on_both_of_its_ends(valid_from: int, valid_to: int | None, *, counts: bool) -> None:
    """In force from its first day to its last one; the newest in force wins."""
    today = on(100)
    start = today + dt.timedelta(days=valid_from)
    end = None if valid_to is None else today + dt.timedelta(days=valid_to)
    changed = replace(POLICY, block_days=None, valid_from=start, valid_to=end)
    expected = changed if counts else POLICY
    assert expected == policy_for(OPEN, [changed, POLICY], today)


@given(st.permutations([POLICY, replace(POLICY, programme=2, block_days=50), replace(POLICY, region_prefix="12"),
                        replace(POLICY, region_prefix="12", valid_from=dt.date(2025, 1, 1), block_days=40)]))  # fmt: skip
def test_the_order_of_policies_does_not_matter(policies: list[ClockPolicy]) -> None:
    """However the database returns them, the same one counts."""
    chosen = policy_for(OPEN, policies, on(0))
    assert chosen is not None
    assert 40 == chosen.block_days
