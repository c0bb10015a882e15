"""The life of a KKS card, as a table: ordered, delivered, handed over with KTP and KK seen, PIN chosen, active, and its ends.

A card whose holder tried three wrong PINs is PIN_LOCKED. LOST and STOLEN are hot: nothing brings them back; the family gets a
new card with a new PAN. Pure; gateway.operations.card carries it out.
"""

from __future__ import annotations

from enum import StrEnum


class CardState(StrEnum):
    """Where a card stands."""

    ORDERED = "ORDERED"
    DELIVERED = "DELIVERED"  # at the branch
    HANDED_OVER = "HANDED_OVER"  # with the family, KTP and KK seen; no PIN yet
    ACTIVE = "ACTIVE"
    PIN_LOCKED = "PIN_LOCKED"
    BLOCKED = "BLOCKED"
    LOST = "LOST"
    STOLEN = "STOLEN"
    REPLACED = "REPLACED"  # damaged or expired, a new card was ordered
    CLOSED = "CLOSED"


class CardEvent(StrEnum):
    """What may happen to a card."""

    DELIVER = "deliver"
    HAND_OVER = "hand over"
    CHOOSE_PIN = "choose PIN"
    LOCK_PIN = "lock PIN"
    UNLOCK_PIN = "unlock PIN"
    RESET_PIN = "reset PIN"
    BLOCK = "block"
    UNBLOCK = "unblock"
    TRUST_CHIP = "trust chip"  # its transaction counter is further ahead than a link lets through, and it is the card
    REPORT_LOST = "report lost"
    REPORT_STOLEN = "report stolen"
    REPLACE = "replace"
    CLOSE = "close"


S, E = CardState, CardEvent
LIVE = (S.ORDERED, S.DELIVERED, S.HANDED_OVER, S.ACTIVE, S.PIN_LOCKED, S.BLOCKED)
TRANSITIONS: dict[tuple[CardState, CardEvent], CardState] = {
    (S.ORDERED, E.DELIVER): S.DELIVERED,
    (S.DELIVERED, E.HAND_OVER): S.HANDED_OVER,
    (S.HANDED_OVER, E.CHOOSE_PIN): S.ACTIVE,
    (S.ACTIVE, E.LOCK_PIN): S.PIN_LOCKED,
    (S.PIN_LOCKED, E.UNLOCK_PIN): S.ACTIVE,
    (S.PIN_LOCKED, E.RESET_PIN): S.HANDED_OVER,
    (S.ACTIVE, E.RESET_PIN): S.HANDED_OVER,
    (S.ACTIVE, E.BLOCK): S.BLOCKED,
    (S.BLOCKED, E.UNBLOCK): S.ACTIVE,
    (S.ACTIVE, E.TRUST_CHIP): S.ACTIVE,
    **{(state, E.REPORT_LOST): S.LOST for state in LIVE},
    **{(state, E.REPORT_STOLEN): S.STOLEN for state in LIVE},
    **{(state, E.REPLACE): S.REPLACED for state in LIVE if state is not S.ORDERED},
    **{(state, E.CLOSE): S.CLOSED for state in LIVE},
}
HOT = frozenset({S.LOST, S.STOLEN})
ENDED = frozenset({S.LOST, S.STOLEN, S.REPLACED, S.CLOSED})
