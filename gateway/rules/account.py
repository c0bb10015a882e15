"""The life of a family's account, as a table.

An account opened without a mother's name is PENDING_ID: it can be credited, and nothing can be taken out until the family is
identified at hand-over (Perpres 63/2017, annex: data completed at the existence check). Pure.
"""

from __future__ import annotations

from enum import StrEnum


class AccountState(StrEnum):
    """Where an account stands."""

    PENDING_ID = "PENDING_ID"
    ACTIVE = "ACTIVE"
    BLOCKED = "BLOCKED"
    CLOSED = "CLOSED"


class AccountEvent(StrEnum):
    """What may happen to an account."""

    IDENTIFY = "identify"
    BLOCK = "block"
    UNBLOCK = "unblock"
    CLOSE = "close"


S, E = AccountState, AccountEvent
TRANSITIONS = {
    (S.PENDING_ID, E.IDENTIFY): S.ACTIVE,
    (S.ACTIVE, E.BLOCK): S.BLOCKED,
    (S.BLOCKED, E.UNBLOCK): S.ACTIVE,
    (S.PENDING_ID, E.CLOSE): S.CLOSED,
    (S.ACTIVE, E.CLOSE): S.CLOSED,
    (S.BLOCKED, E.CLOSE): S.CLOSED,
}
CREDITABLE = frozenset({S.PENDING_ID, S.ACTIVE})
