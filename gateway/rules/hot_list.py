"""Cards that may not be used, as partners are told of them and tell of them: file actions (0302). Pure.

What a partner is told follows from a card's state before and after. What a partner tells may stop a card, and may give back only
what it stopped itself: a card that is lost or stolen is so for good, and one that the bank has blocked is the bank's to unblock.
Reason codes: 3000 to 3003 as in the jPOS CMF; 3750 and above are ours, in the range that ISO 8583:2003 leaves to private use.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from gateway.rules.card import TRANSITIONS, CardEvent, CardState


class FileUpdate(StrEnum):
    """DE91, file update code (ISO 8583:1987)."""

    ADD = "1"
    CHANGE = "2"
    DELETE = "3"


LOST, STOLEN, UNDELIVERED, COUNTERFEIT = "3000", "3001", "3002", "3003"
REASONS = {
    CardState.LOST: LOST,
    CardState.STOLEN: STOLEN,
    CardState.BLOCKED: "3750",
    CardState.CLOSED: "3751",
    CardState.REPLACED: "3752",
}
"""Why a card is on the list, by its state; a state that is not here is not on it."""
GOOD_AGAIN = "3759"
EVENTS = {LOST: CardEvent.REPORT_LOST, STOLEN: CardEvent.REPORT_STOLEN}
"""What a reported reason does to a card; any other blocks it, which people can take back."""
APPROVED, NOT_ON_FILE, NOT_PERMITTED = "00", "25", "57"


class Entry(NamedTuple):
    """What partners are told of a card."""

    update: FileUpdate
    reason: str


class Decision(NamedTuple):
    """What becomes of a card that a partner tells of. EVENT: None, nothing. TROUBLE: why people must look at it."""

    code: str
    event: CardEvent | None = None
    trouble: str | None = None


def entry(before: CardState, after: CardState) -> Entry | None:
    """What partners are told when a card goes from one state to another; None: nothing.

    >>> entry(CardState.ACTIVE, CardState.STOLEN)
    Entry(update=<FileUpdate.ADD: '1'>, reason='3001')
    >>> entry(CardState.BLOCKED, CardState.ACTIVE).update.name, entry(CardState.ORDERED, CardState.DELIVERED)
    ('DELETE', None)
    """
    was, now = REASONS.get(before), REASONS.get(after)
    if was == now:
        return None
    if now is None:
        return Entry(FileUpdate.DELETE, GOOD_AGAIN)
    return Entry(FileUpdate.ADD if was is None else FileUpdate.CHANGE, now)


def decide(update: FileUpdate, reason: str, state: CardState, *, its_own: bool) -> Decision:
    """What a partner's file action does to a card in STATE. ITS_OWN: the card is BLOCKED, and this partner's report did it.

    REASON: four digits, or nothing. Adding and changing are the same to us: the card is to be stopped.
    """
    if update is FileUpdate.DELETE:
        return _take_off(state, its_own=its_own)
    event = EVENTS.get(reason, CardEvent.BLOCK)
    if (state, event) in TRANSITIONS:
        return Decision(APPROVED, event)
    if state in REASONS:  # it is stopped already
        return Decision(APPROVED)
    return Decision(NOT_PERMITTED, trouble=f"a card that is {state} cannot be blocked: {reason or 'no reason given'}")


def _take_off(state: CardState, *, its_own: bool) -> Decision:
    if state not in REASONS:
        return Decision(NOT_ON_FILE)
    if state is CardState.BLOCKED and its_own:
        return Decision(APPROVED, CardEvent.UNBLOCK)
    by = "by somebody else" if state is CardState.BLOCKED else "for good"
    return Decision(NOT_PERMITTED, trouble=f"the partner takes a card off the list that is {state} {by}")
