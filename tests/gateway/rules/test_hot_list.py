"""Tests of gateway.rules.hot_list."""

from __future__ import annotations

import pytest

from gateway.rules.card import TRANSITIONS, CardEvent, CardState
from gateway.rules.hot_list import (
    COUNTERFEIT,
    GOOD_AGAIN,
    LOST,
    REASONS,
    STOLEN,
    UNDELIVERED,
    Decision,
    Entry,
    FileUpdate,
    decide,
    entry,
)

S, E, F = CardState, CardEvent, FileUpdate


def test_partners_are_told_what_changes_for_them() -> None:
    """Every step of a card's life: on the list, off it, another reason; nothing where nothing changes for a partner."""
    told = {(before, event): entry(before, after) for (before, event), after in TRANSITIONS.items()}
    assert Entry(F.ADD, "3000") == told[S.ACTIVE, E.REPORT_LOST] == told[S.ORDERED, E.REPORT_LOST]
    assert Entry(F.ADD, "3001") == told[S.PIN_LOCKED, E.REPORT_STOLEN]
    assert Entry(F.ADD, "3750") == told[S.ACTIVE, E.BLOCK]
    assert Entry(F.ADD, "3751") == told[S.ACTIVE, E.CLOSE]
    assert Entry(F.ADD, "3752") == told[S.ACTIVE, E.REPLACE]
    assert Entry(F.CHANGE, "3001") == told[S.BLOCKED, E.REPORT_STOLEN]
    assert Entry(F.DELETE, GOOD_AGAIN) == told[S.BLOCKED, E.UNBLOCK]
    silent = {event for (_, event), one in told.items() if one is None}
    assert {E.DELIVER, E.HAND_OVER, E.CHOOSE_PIN, E.LOCK_PIN, E.UNLOCK_PIN, E.RESET_PIN, E.TRUST_CHIP} == silent


@pytest.mark.parametrize(("reason", "event"), [(LOST, E.REPORT_LOST), (STOLEN, E.REPORT_STOLEN), (COUNTERFEIT, E.BLOCK),
                                               (UNDELIVERED, E.BLOCK), ("", E.BLOCK), ("9999", E.BLOCK)])  # fmt: skip
def test_a_report_stops_an_active_card(reason: str, event: CardEvent) -> None:
    """Lost and stolen for good; whatever else, or nothing, blocks it."""
    assert Decision("00", event) == decide(F.ADD, reason, S.ACTIVE, its_own=False)
    assert Decision("00", event) == decide(F.CHANGE, reason, S.ACTIVE, its_own=False)


def test_a_report_of_a_card_that_is_stopped() -> None:
    """It stays as it is, 00; but a blocked one may turn out lost."""
    for state in REASONS:
        assert Decision("00") == decide(F.ADD, COUNTERFEIT, state, its_own=False)
    assert Decision("00", E.REPORT_LOST) == decide(F.CHANGE, LOST, S.BLOCKED, its_own=False)
    assert Decision("00") == decide(F.ADD, LOST, S.STOLEN, its_own=False)


def test_a_card_that_cannot_be_blocked_goes_to_people() -> None:
    """Before its first PIN, or PIN-locked, a card is used by nobody; what was reported is not lost."""
    for state in (S.ORDERED, S.DELIVERED, S.HANDED_OVER, S.PIN_LOCKED):
        code, event, trouble = decide(F.ADD, COUNTERFEIT, state, its_own=False)
        assert ("57", None) == (code, event)
        assert f"a card that is {state} cannot be blocked: 3003" == trouble


def test_what_is_taken_off_the_list() -> None:
    """A partner's own block alone; never what is lost, stolen, closed or replaced, and never what the bank has blocked."""
    assert Decision("00", E.UNBLOCK) == decide(F.DELETE, "", S.BLOCKED, its_own=True)
    assert Decision("25") == decide(F.DELETE, "", S.ACTIVE, its_own=False)
    for state in REASONS:
        code, event, trouble = decide(F.DELETE, "", state, its_own=False)
        assert ("57", None) == (code, event)
        assert trouble is not None
        assert f"off the list that is {state}" in trouble
    for state in (S.LOST, S.STOLEN, S.CLOSED, S.REPLACED):
        assert "57" == decide(F.DELETE, "", state, its_own=True).code
