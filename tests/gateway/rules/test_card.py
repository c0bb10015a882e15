"""Twin of gateway.rules.card."""

from __future__ import annotations

import pytest

from gateway.rules.card import ENDED, HOT, LIVE, TRANSITIONS, CardEvent, CardState
from gateway.rules.transitions import move

S, E = CardState, CardEvent


def reachable(start: CardState, without: CardEvent | None = None) -> set[CardState]:
    """Every state that a card in START can come to, were there no event WITHOUT."""
    found, todo = {start}, [start]
    while todo:
        now = todo.pop()
        for (state, event), after in TRANSITIONS.items():
            if state is now and event is not without and after not in found:
                found.add(after)
                todo.append(after)
    return found


def test_the_life_of_a_card() -> None:
    """Ordered, delivered, handed over, PIN chosen, active; locked and unlocked; reset to choose a PIN again."""
    events = [E.DELIVER, E.HAND_OVER, E.CHOOSE_PIN, E.LOCK_PIN, E.UNLOCK_PIN, E.BLOCK, E.UNBLOCK, E.RESET_PIN, E.CHOOSE_PIN,
              E.LOCK_PIN, E.RESET_PIN]  # fmt: skip
    states = [S.DELIVERED, S.HANDED_OVER, S.ACTIVE, S.PIN_LOCKED, S.ACTIVE, S.BLOCKED, S.ACTIVE, S.HANDED_OVER, S.ACTIVE,
              S.PIN_LOCKED, S.HANDED_OVER]  # fmt: skip
    state = S.ORDERED
    for event, expected in zip(events, states, strict=True):
        state = move("card", TRANSITIONS, state, event)
        assert state is expected


@pytest.mark.parametrize("step", [E.DELIVER, E.HAND_OVER, E.CHOOSE_PIN])
def test_no_card_becomes_active_past_a_step(step: CardEvent) -> None:
    """Delivery, hand-over with KTP and KK, and the choice of a PIN cannot be gone around."""
    assert S.ACTIVE in reachable(S.ORDERED)
    assert S.ACTIVE not in reachable(S.ORDERED, without=step)


def test_nothing_brings_an_ended_card_back() -> None:
    """Lost, stolen, replaced and closed cards have no event."""
    assert ENDED == set(S) - set(LIVE)
    assert HOT < ENDED
    for state in ENDED:
        assert {state} == reachable(state)


@pytest.mark.parametrize("state", LIVE)
def test_a_live_card_can_be_lost_at_any_time(state: CardState) -> None:
    """Even a card that was not handed over yet can be lost, stolen or closed; only one that exists can be replaced."""
    assert move("card", TRANSITIONS, state, E.REPORT_LOST) is S.LOST
    assert move("card", TRANSITIONS, state, E.REPORT_STOLEN) is S.STOLEN
    assert move("card", TRANSITIONS, state, E.CLOSE) is S.CLOSED
    assert (state is not S.ORDERED) is ((state, E.REPLACE) in TRANSITIONS)


def test_a_new_pin_needs_a_new_choice() -> None:
    """A reset leaves the card without PIN: it is handed over, not active."""
    ends = {end for (_, event), end in TRANSITIONS.items() if event is E.RESET_PIN}
    assert {S.HANDED_OVER} == ends
