"""Tests of gateway.rules.retention."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.retention import first_within, months_before, next_month

DAYS = st.dates(date(2016, 1, 1), date(2099, 12, 31))


@given(today=DAYS, years=st.integers(10, 15), age=st.integers(0, 400))
def test_a_month_goes_when_its_last_day_is_old_enough(today: date, years: int, age: int) -> None:
    """Every day of the months before the edge is more than so many years old, and the edge's own month has one that is not."""
    edge = first_within(today, years)
    last_before = edge - timedelta(days=1)
    assert (last_before.year + years, last_before.month, last_before.day) < (today.year, today.month, today.day)
    last_within = next_month(edge) - timedelta(days=1)
    assert (last_within.year + years, last_within.month) >= (today.year, today.month)
    months = months_before(edge - timedelta(days=age), edge)
    assert months == sorted(set(months))
    assert all(month.day == 1 and month < edge for month in months)


def test_months_one_by_one() -> None:
    """Over the turn of a year, from the middle of a month; none where the oldest is within the retention."""
    assert [date(2015, 11, 1), date(2015, 12, 1), date(2016, 1, 1)] == months_before(
        date(2015, 11, 23), date(2016, 2, 1)
    )
    assert [] == months_before(date(2016, 2, 1), date(2016, 2, 1))


def test_never_under_ten_years() -> None:
    """A shorter retention is refused."""
    with pytest.raises(ValueError, match="10 years at least, not 9"):
        first_within(date(2026, 1, 1), 9)
