"""Tests of gateway.rules.settlement: the boundary is exact, and the kept day is the worked-out one."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.settlement import JAKARTA, ONE_DAY, PartnerDay, settlement_date

DAY = date(2026, 11, 23)
TICK = timedelta(microseconds=1)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - timezones= says it
cut_overs = st.none() | st.builds(time, st.integers(0, 23), st.integers(0, 59))


def _jakarta(on: date, at: time) -> datetime:
    return datetime.combine(on, at, JAKARTA).astimezone(UTC)


@pytest.mark.parametrize("cut_over", [time(23), time(22, 30), time(0, 1), time(12)])
def test_the_next_day_begins_at_the_cut_over_itself(cut_over: time) -> None:
    """One microsecond before it is still this day; midnight does not move a day that is on already."""
    at = _jakarta(DAY, cut_over)
    assert DAY == settlement_date(at - TICK, cut_over)
    assert DAY + ONE_DAY == settlement_date(at, cut_over)
    midnight = _jakarta(DAY + ONE_DAY, time(0))
    assert DAY + ONE_DAY == settlement_date(midnight - TICK, cut_over)
    assert DAY + ONE_DAY == settlement_date(midnight, cut_over)


@pytest.mark.parametrize("cut_over", [None, time(0)])
def test_without_a_cut_over_midnight_in_jakarta_is_it(cut_over: time | None) -> None:
    """Seven hours before midnight UTC; a cut-over at 00:00 says the same as none."""
    midnight = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
    assert DAY == settlement_date(midnight - TICK, cut_over)
    assert DAY + ONE_DAY == settlement_date(midnight, cut_over)


@given(moments, cut_overs)
def test_a_settlement_date_is_jakartas_date_or_the_day_after(now: datetime, cut_over: time | None) -> None:
    """Whatever the time and the cut-over."""
    assert settlement_date(now, cut_over) - now.astimezone(JAKARTA).date() in (timedelta(0), ONE_DAY)


@given(st.lists(moments, min_size=1, max_size=20), cut_overs)
def test_the_kept_day_is_the_worked_out_one(asked: list[datetime], cut_over: time | None) -> None:
    """One PartnerDay asked again and again, in any order and close to its boundaries, says what the rule says."""
    day = PartnerDay(cut_over)
    for now in asked:
        local = now.astimezone(JAKARTA).date()
        edge = _jakarta(local, cut_over or time(0))
        for at in (now, edge - TICK, edge, edge + TICK):
            assert settlement_date(at, cut_over) == day.of(at, at.astimezone(JAKARTA).date())


@given(moments, st.dates(date(2024, 1, 1), date(2030, 1, 1)), cut_overs)
def test_it_is_the_business_date_or_the_day_after(now: datetime, business_date: date, cut_over: time | None) -> None:
    """Whatever the bank's date is: the database refuses anything else."""
    assert PartnerDay(cut_over).of(now, business_date) - business_date in (timedelta(0), ONE_DAY)


def test_a_bank_whose_date_is_moved_by_hand_settles_on_its_own_date() -> None:
    """The wall clock says nothing about the partners' days of such a bank."""
    late = _jakarta(DAY, time(23, 30))
    assert DAY + ONE_DAY == PartnerDay(time(23)).of(late, DAY)
    assert DAY + ONE_DAY * 40 == PartnerDay(time(23)).of(late, DAY + ONE_DAY * 40)


def test_a_clock_read_before_midnight_and_a_date_read_after_it() -> None:
    """The two reads of one message may fall on either side of midnight; the result is never a day behind the books."""
    before = _jakarta(DAY + ONE_DAY, time(0)) - TICK
    assert DAY + ONE_DAY == PartnerDay(None).of(before, DAY + ONE_DAY)
    assert DAY + ONE_DAY == PartnerDay(time(23)).of(before, DAY + ONE_DAY)
    assert DAY + ONE_DAY == PartnerDay(None).of(before + TICK, DAY)
