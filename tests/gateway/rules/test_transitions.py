"""Twin of gateway.rules.transitions: every table of the bank, every state, every event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.rules import account, batch, card, dormancy
from gateway.rules.transitions import TransitionRefused, move, sources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

TABLES: list[tuple[Mapping[tuple[StrEnum, StrEnum], StrEnum], type[StrEnum], type[StrEnum]]] = [
    (dict(account.TRANSITIONS.items()), account.AccountState, account.AccountEvent),
    (dict(card.TRANSITIONS.items()), card.CardState, card.CardEvent),
    (dict(batch.BATCH_TRANSITIONS.items()), batch.BatchState, batch.BatchEvent),
    (dict(batch.SI_TRANSITIONS.items()), batch.SiState, batch.SiEvent),
    (dict(dormancy.TRANSITIONS.items()), dormancy.TrancheState, dormancy.ClockEvent),
]


@pytest.mark.parametrize(("table", "states", "events"), TABLES, ids=["account", "card", "batch", "si", "tranche"])
def test_every_pair_is_in_the_table_or_refused(
    table: Mapping[tuple[StrEnum, StrEnum], StrEnum], states: type[StrEnum], events: type[StrEnum]
) -> None:
    """A pair either leads where the table says, or its refusal names noun, state, event and what would be possible."""
    allowed = 0
    for state in states:
        for event in events:
            if (state, event) in table:
                assert table[state, event] is move("the thing", table, state, event)
                assert state.value in sources(table, event)
                allowed += 1
                continue
            assert state.value not in sources(table, event)
            possible = sorted(other.value for other in events if (state, other) in table) or ["nothing"]
            with pytest.raises(TransitionRefused) as refused:
                move("the thing", table, state, event)
            expected = f"the thing is {state.value}: {event.value} is not possible (possible: {', '.join(possible)})"
            assert expected == str(refused.value)
    assert len(table) == allowed


@pytest.mark.parametrize(("table", "states", "events"), TABLES, ids=["account", "card", "batch", "si", "tranche"])
def test_every_state_and_event_is_used(
    table: Mapping[tuple[StrEnum, StrEnum], StrEnum], states: type[StrEnum], events: type[StrEnum]
) -> None:
    """A state that nothing enters or leaves, or an event that is possible nowhere, would be dead."""
    assert set(events) == {event for _, event in table}
    assert set(states) == {start for start, _ in table} | set(table.values())


def test_sources_are_in_order() -> None:
    """The guard of an UPDATE is the same text every time."""
    expected = ["ACTIVE", "BLOCKED", "DELIVERED", "HANDED_OVER", "ORDERED", "PIN_LOCKED"]
    assert expected == sources(card.TRANSITIONS, card.CardEvent.REPORT_LOST)
    assert ["BLOCKED"] == sources(account.TRANSITIONS, account.AccountEvent.UNBLOCK)
