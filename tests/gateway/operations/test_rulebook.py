"""Twin of gateway.operations.rulebook: what it answers for many is what the rules say of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from gateway.operations.rulebook import Rulebook
from gateway.rules.authorise import Request, RequestKind, TrancheView
from gateway.rules.dormancy import ClockPolicy, TrancheState
from gateway.rules.limits import LimitPeriod, LimitRule, LimitScope
from gateway.rules.purse import Channel, Purse, PurseChoice, PurseRule

TODAY = date(2026, 11, 23)
DAILY = LimitRule(5, LimitScope.CARD, LimitPeriod.DAY, frozenset({Channel.ATM}), None, None, 500, None, TODAY, None)
ATM = PurseRule(1, Purse.CASH, Channel.ATM, "*", 1, TODAY, None)
FOOD = PurseRule(2, Purse.FOOD, Channel.EWARONG, "5411", 1, TODAY, None)
CASH = Request(RequestKind.CASH, Channel.ATM, "6011", PurseChoice.BY_RULE, 100, b"d", "000002:A1")
CLOCKS = [
    ClockPolicy(None, "", (), 90, 105, partly_used=False, valid_from=date(2017, 1, 1), valid_to=None),
    ClockPolicy(2, "12", (), 30, 105, partly_used=True, valid_from=date(2017, 1, 1), valid_to=None),
]
TRANCHE = TrancheView(7, 1, 500, TrancheState.OPEN, TODAY, TODAY, TODAY, False, "1271070001")  # noqa: FBT003 - unused


def test_rules_of_a_place() -> None:
    """Those of its channel and MCC, and the limits that concern it; asked twice, the same."""
    book = Rulebook([ATM, FOOD], {}, 3, [DAILY])
    assert ([ATM], [DAILY]) == (
        book.policy_at(Channel.ATM, "6011").purse_rules,
        book.policy_at(Channel.ATM, "6011").limits,
    )
    assert ([FOOD], []) == (
        book.policy_at(Channel.EWARONG, "5411").purse_rules,
        book.policy_at(Channel.EWARONG, "5411").limits,
    )
    assert [] == book.policy_at(Channel.EWARONG, "5812").purse_rules
    assert book.policy_at(Channel.ATM, "6011") is book.policy_at(Channel.ATM, "6011")


@pytest.mark.parametrize(
    ("change", "limit", "card", "terminal"),
    [
        ({}, {}, True, False),
        ({"channel": Channel.EWARONG}, {}, False, False),
        ({"kind": RequestKind.BALANCE}, {}, False, False),
        ({"kind": RequestKind.PIN_CHANGE}, {}, False, False),
        ({}, {"period": LimitPeriod.TRANSACTION}, False, False),
        ({}, {"per": LimitScope.TERMINAL}, False, True),
        ({"terminal": "000002:A2"}, {"per": LimitScope.TERMINAL, "terminal": "000002:A1"}, False, False),
    ],
)
def test_whose_past_is_counted(
    change: dict[str, object], limit: dict[str, object], *, card: bool, terminal: bool
) -> None:
    """Of debits alone, where a limit adds something up for the card or for the terminal."""
    book = Rulebook([], {}, 3, [replace(DAILY, **limit)])  # type: ignore[arg-type]
    request = CASH._replace(**change)  # type: ignore[arg-type]
    assert (card, terminal) == (book.counts(request), book.counts_terminal(request))
    assert (limit.get("per") is LimitScope.TERMINAL) is book.terminal_limits


@pytest.mark.parametrize(
    ("programme", "used", "days"), [(1, False, 90), (1, True, None), (2, False, 30), (2, True, 30)]
)
def test_when_a_tranche_is_lost(programme: int, days: int | None, *, used: bool) -> None:
    """By the policy of its programme and region, each day anew; what is kept for one tranche is not told of another."""
    book = Rulebook([], {}, 3, clocks=CLOCKS)
    tranche = TRANCHE._replace(programme=programme)
    for today in (TODAY, TODAY + timedelta(days=200)):
        expected = None if days is None else max(today, TODAY + timedelta(days=days))
        assert [expected] * 2 == [book.lost_on(tranche, today, used=used) for _ in range(2)]
    later = tranche._replace(clock_from=TODAY + timedelta(days=1))
    assert (None if days is None else TODAY + timedelta(days=days + 1)) == book.lost_on(later, TODAY, used=used)
