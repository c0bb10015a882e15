"""Which of a partner's days an authorisation is settled in. A partner's day ends at its cut-over, the bank's at midnight. Pure.

The time in the link's profile governs. A partner's own cut-over message (0800, DE70 201) is kept as a link event and is evidence
of when the partner thinks its day ended: if it moved the date, a late, lost or repeated message would move money between days.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from datetime import date

JAKARTA = ZoneInfo("Asia/Jakarta")
MIDNIGHT = time(0)
ONE_DAY = timedelta(days=1)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def settlement_date(now_utc: datetime, cut_over: time | None) -> date:
    """The partner's day of a moment: Jakarta's date, and the next one from CUT_OVER on. None, and midnight, follow the date.

    >>> settlement_date(datetime(2026, 11, 23, 16, 0, tzinfo=UTC), time(23))
    datetime.date(2026, 11, 24)
    >>> settlement_date(datetime(2026, 11, 23, 15, 59, 59, 999999, tzinfo=UTC), time(23))
    datetime.date(2026, 11, 23)
    """
    local = now_utc.astimezone(JAKARTA)
    if cut_over is None or cut_over == MIDNIGHT or local.time() < cut_over:
        return local.date()
    return local.date() + ONE_DAY


class PartnerDay:
    """The settlement date of one link, asked for with every message: worked out again only when a boundary has passed."""

    __slots__ = ("_cut_over", "_from", "_on", "_until")

    def __init__(self, cut_over: time | None) -> None:
        """CUT_OVER: Jakarta's wall clock; None: midnight."""
        self._cut_over = cut_over
        self._from = self._until = LONG_AGO
        self._on: date = LONG_AGO.date()

    def of(self, now_utc: datetime, business_date: date) -> date:
        """The settlement date of a message decided now, on the bank's BUSINESS_DATE: that date or the day after, never another.

        A bank whose date is moved by hand has no partners' days: its settlement date is its business date.
        """
        if not self._from <= now_utc < self._until:
            self._work_out(now_utc)
        if self._on == business_date or self._on - business_date == ONE_DAY:
            return self._on
        return business_date

    def _work_out(self, now_utc: datetime) -> None:
        """The date of this moment, and from when until when it stays the same."""
        local = now_utc.astimezone(JAKARTA)
        midnights = [datetime.combine(local.date() + ONE_DAY * days, MIDNIGHT, JAKARTA) for days in (0, 1)]
        cut_over = datetime.combine(local.date(), self._cut_over or MIDNIGHT, JAKARTA)
        self._from = max(one for one in (midnights[0], cut_over) if one <= local).astimezone(UTC)
        self._until = min(one for one in (midnights[1], cut_over) if one > local).astimezone(UTC)
        self._on = settlement_date(now_utc, self._cut_over)
