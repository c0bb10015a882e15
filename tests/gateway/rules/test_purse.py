"""Twin of gateway.rules.purse."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.purse import Channel, Purse, PurseChoice, PurseRule, drawable_programmes, in_force

PKH, SEMBAKO = 1, 2
SINCE = dt.date(2017, 1, 1)
TODAY = dt.date(2026, 11, 2)
GROCER, FUEL = "5411", "5541"
RULES = [
    PurseRule(PKH, Purse.CASH, Channel.ATM, "*", 1, SINCE, None),
    PurseRule(PKH, Purse.CASH, Channel.EWARONG, GROCER, 2, SINCE, None),
    PurseRule(SEMBAKO, Purse.FOOD, Channel.EWARONG, GROCER, 1, SINCE, None),
    PurseRule(SEMBAKO, Purse.FOOD, Channel.ATM, "*", 1, dt.date(2023, 1, 1), None),
]


@pytest.mark.parametrize(
    ("channel", "mcc", "choice", "expected"),
    [
        (Channel.ATM, "6011", PurseChoice.BY_RULE, {PKH: 1, SEMBAKO: 1}),
        (Channel.ATM, "6011", PurseChoice.CASH, {PKH: 1, SEMBAKO: 1}),
        (Channel.ATM, "6011", PurseChoice.FOOD, {SEMBAKO: 1}),
        (Channel.ATM, "", PurseChoice.BY_RULE, {PKH: 1, SEMBAKO: 1}),
        (Channel.EWARONG, GROCER, PurseChoice.BY_RULE, {PKH: 2, SEMBAKO: 1}),
        (Channel.EWARONG, GROCER, PurseChoice.CASH, {PKH: 2}),
        (Channel.EWARONG, GROCER, PurseChoice.FOOD, {SEMBAKO: 1}),
        (Channel.EWARONG, FUEL, PurseChoice.BY_RULE, {}),
        (Channel.EWARONG, "", PurseChoice.BY_RULE, {}),
        (Channel.AGENT, "6011", PurseChoice.BY_RULE, {}),
    ],
)
def test_a_purse_is_spent_where_a_rule_lets_it(
    channel: Channel, mcc: str, choice: PurseChoice, expected: dict[int, int]
) -> None:
    """Channel and MCC must fit; account type 10 at a machine means whatever may leave as cash, at a shop the cash purse."""
    assert expected == drawable_programmes(RULES, channel, mcc, choice, TODAY)


def test_food_aid_becomes_cash_on_the_day_its_rule_starts() -> None:
    """The day before it does not, however the terminal asks."""
    for choice in (PurseChoice.BY_RULE, PurseChoice.CASH):
        assert {PKH: 1} == drawable_programmes(RULES, Channel.ATM, "6011", choice, dt.date(2022, 12, 31))
        assert {PKH: 1, SEMBAKO: 1} == drawable_programmes(RULES, Channel.ATM, "6011", choice, dt.date(2023, 1, 1))
    assert {} == drawable_programmes(RULES, Channel.ATM, "6011", PurseChoice.FOOD, dt.date(2022, 12, 31))


def test_of_two_rules_the_lower_priority_counts() -> None:
    """Whichever of them comes first."""
    both = [RULES[0], replace(RULES[0], mcc="6011", priority=5)]
    for rules in (both, both[::-1]):
        assert {PKH: 1} == drawable_programmes(rules, Channel.ATM, "6011", PurseChoice.BY_RULE, TODAY)


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_period_includes_both_its_ends(start: int, end: int) -> None:
    """In force from valid_from to valid_to; without an end, for good."""
    first, last = TODAY + dt.timedelta(days=start), TODAY + dt.timedelta(days=end)
    assert (start <= 0 <= end) is in_force(first, last, TODAY)
    assert (start <= 0) is in_force(first, None, TODAY)
