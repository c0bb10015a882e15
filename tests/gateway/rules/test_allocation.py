"""Twin of gateway.rules.allocation."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.allocation import AmountRate, Per, expected_amount
from gateway.store.policy import DEFAULT_FILE, read_policy_file

STAGE = dt.date(2026, 10, 1)
PUBLISHED_RATES = tuple(
    AmountRate(row.programme, row.component, row.amount_idr, Per(row.per), row.valid_from, row.valid_to)
    for row in read_policy_file(DEFAULT_FILE).amount
)
PKH_CODES = sorted({rate.component for rate in PUBLISHED_RATES if rate.component})


def due(programme: str, components: dict[str, int], months: int = 3, on: dt.date = STAGE) -> int | None:
    """The amount under the published rates."""
    return expected_amount(programme, components, months, on, PUBLISHED_RATES)


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ({"HAMIL": 1}, 750_000),
        ({"HAMIL": 1, "SD": 2}, 1_200_000),
        ({"SD": 2, "SMP": 1, "HAMIL": 2}, 2 * 750_000 + 375_000 + 225_000),
        ({"HAMIL": 9}, 3_000_000),
        ({}, None),
        ({"KULIAH": 1}, None),
    ],
)
def test_pkh_counts_the_four_highest_persons(components: dict[str, int], expected: int | None) -> None:
    """Four times 750,000 is the most of ordinary components; what has no rate is not told."""
    assert expected == due("PKH", components)


def test_sembako_is_paid_by_month_at_the_rate_of_the_date() -> None:
    """200,000 today, 150,000 in February 2020, unknown before there was a rate."""
    assert (due("SEMBAKO", {}), due("SEMBAKO", {"SD": 1}, months=1)) == (600_000, 200_000)
    assert due("SEMBAKO", {}, months=2, on=dt.date(2020, 2, 29)) == 300_000
    assert due("SEMBAKO", {}, on=dt.date(2016, 12, 31)) is None
    assert due("BLT", {}) is None


def test_the_later_of_two_rates_counts() -> None:
    """A new amount needs no end date on the old one."""
    rates = [AmountRate("BLT", None, amount, Per.STAGE, dt.date(year, 1, 1)) for year, amount in ((2026, 2), (2025, 1))]
    assert [expected_amount("BLT", {}, 1, dt.date(year, 6, 1), rates) for year in (2026, 2025)] == [2, 1]


def test_family_and_person_amounts_add_up() -> None:
    """A programme may have both."""
    rates = [
        AmountRate("X", None, 100, Per.STAGE, STAGE),
        AmountRate("X", "SD", 10, Per.MONTH, STAGE),
    ]
    assert expected_amount("X", {"SD": 2}, 3, STAGE, rates) == 100 + 2 * 30
    assert expected_amount("X", {}, 3, STAGE, rates) == 100


@given(st.dictionaries(st.sampled_from(PKH_CODES), st.integers(1, 9), min_size=1), st.integers(1, 6))
def test_more_persons_counted_never_means_less_money(components: dict[str, int], persons: int) -> None:
    """The cap is the only thing that keeps the amount down, and it takes the highest first."""
    capped = expected_amount("PKH", components, 3, STAGE, PUBLISHED_RATES, max_persons=persons)
    wider = expected_amount("PKH", components, 3, STAGE, PUBLISHED_RATES, max_persons=persons + 1)
    assert capped is not None
    assert wider is not None
    assert capped <= wider <= capped * (persons + 1) / persons
