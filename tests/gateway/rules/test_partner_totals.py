"""Tests of gateway.rules.partner_totals."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.rules.partner_totals import Totals, compare, year_of

OURS = Totals(credits=1, credits_idr=12_000, debits=3, debits_idr=150_000, debit_reversals=1, debit_reversals_idr=40_000,
              inquiries=7, authorisations=2)  # fmt: skip


def test_the_net_is_credits_less_debits() -> None:
    """Reversals take from what they reverse."""
    assert 12_000 + 40_000 - 150_000 == OURS.net_idr
    assert 5_000 - 2_000 == Totals(credits_idr=5_000, credit_reversals_idr=2_000).net_idr


def test_only_what_was_told_is_compared() -> None:
    """The same, or a part of it, is in balance; each difference is named with both sides."""
    assert {} == compare(OURS.told(), OURS)
    assert {} == compare({"debits": 3}, OURS)
    assert {} == compare({}, OURS)
    assert {"debits": (4, 3), "net_idr": (1, -98_000)} == compare({"debits": 4, "credits": 1, "net_idr": 1}, OURS)


@pytest.mark.parametrize(
    ("month", "day", "today", "found"),
    [
        (11, 23, date(2026, 11, 24), date(2026, 11, 23)),
        (12, 31, date(2027, 1, 1), date(2026, 12, 31)),
        (1, 1, date(2026, 12, 31), date(2027, 1, 1)),
        (2, 29, date(2027, 2, 1), date(2028, 2, 29)),
    ],
)
def test_a_date_without_a_year(month: int, day: int, today: date, found: date) -> None:
    """The nearest one; the 29th of February stands in one year of three."""
    assert found == year_of(month, day, today)


def test_a_date_of_no_calendar() -> None:
    """13-01, 02-30 and 00-00 are refused; so is 02-29 where no year near has it."""
    for month, day in ((13, 1), (2, 30), (0, 0)):
        with pytest.raises(ValueError, match="no year has the day"):
            year_of(month, day, date(2026, 11, 24))
    with pytest.raises(ValueError, match="no year has the day 02-29"):
        year_of(2, 29, date(2030, 1, 1))
