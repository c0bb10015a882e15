"""One function for every transition table: a noun's states, the events it knows, and nothing else.

The tables stand beside their nouns (card, account, batch, instruction, dormancy). What a table does not name is refused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


class TransitionRefused(ValueError):
    """The event is not possible in this state; the message says so for a person."""


def move(noun: str, table: Mapping[tuple[State, Event], State], state: State, event: Event) -> State:
    """The state after EVENT. Raises TransitionRefused naming the noun, its state and the event."""
    after = table.get((state, event))
    if after is None:
        possible = ", ".join(sorted(known.value for (start, known) in table if start is state)) or "nothing"
        raise TransitionRefused(f"{noun} is {state.value}: {event.value} is not possible (possible: {possible})")
    return after


def sources(table: Mapping[tuple[State, Event], State], event: Event) -> list[str]:
    """The states in which EVENT is possible: the guard of an UPDATE ... WHERE state = ANY(...)."""
    return sorted(start.value for (start, known) in table if known is event)
