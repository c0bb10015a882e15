"""The one place that reads the clock: aware UTC for moments, and the day in Jakarta for the business date."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

JAKARTA = ZoneInfo("Asia/Jakarta")


def now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)


def jakarta_today() -> date:
    """Today's date in Jakarta: the business date of a bank whose date is not moved by hand."""
    return datetime.now(JAKARTA).date()
