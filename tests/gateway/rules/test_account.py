"""Twin of gateway.rules.account."""

from __future__ import annotations

from gateway.rules.account import CREDITABLE, TRANSITIONS, AccountEvent, AccountState


def test_an_account_becomes_active_by_identification_alone() -> None:
    """PENDING_ID leads to ACTIVE only through IDENTIFY: no block and unblock gets around it."""
    ways = {(start, event) for (start, event), end in TRANSITIONS.items() if end is AccountState.ACTIVE}
    assert {(AccountState.PENDING_ID, AccountEvent.IDENTIFY), (AccountState.BLOCKED, AccountEvent.UNBLOCK)} == ways
    blockable = {start for (start, _), end in TRANSITIONS.items() if end is AccountState.BLOCKED}
    assert {AccountState.ACTIVE} == blockable


def test_a_closed_account_stays_closed() -> None:
    """Every other account can be closed, and nothing leaves CLOSED."""
    starts = {start for start, _ in TRANSITIONS}
    assert AccountState.CLOSED not in starts
    closable = {start for start, event in TRANSITIONS if event is AccountEvent.CLOSE}
    assert set(AccountState) - {AccountState.CLOSED} == closable


def test_aid_reaches_a_family_that_is_not_identified_yet() -> None:
    """PENDING_ID and ACTIVE are credited; a blocked or closed account is not."""
    assert {AccountState.PENDING_ID, AccountState.ACTIVE} == CREDITABLE
