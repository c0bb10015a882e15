"""Which months of the journal may leave the hot tables: those whose every day is older than the retention, the oldest first."""

from __future__ import annotations

from datetime import date, timedelta

YEARS_MIN = 10


def next_month(on: date) -> date:
    """The first day of the month after a date's.

    >>> next_month(date(2026, 12, 31))
    datetime.date(2027, 1, 1)
    """
    return (on.replace(day=1) + timedelta(days=32)).replace(day=1)


def first_within(today: date, years: int) -> date:
    """The oldest month with a day within the retention: whatever is before it may go. Raises ValueError under ten years.

    >>> first_within(date(2026, 2, 1), 10)
    datetime.date(2016, 2, 1)
    """
    if years < YEARS_MIN:
        raise ValueError(f"the journal is kept for {YEARS_MIN} years at least, not {years}")
    return date(today.year - years, today.month, 1)


def months_before(oldest: date, edge: date) -> list[date]:
    """The first days of the months from OLDEST up to the one before EDGE."""
    months = []
    month = oldest.replace(day=1)
    while month < edge:
        months.append(month)
        month = next_month(month)
    return months
