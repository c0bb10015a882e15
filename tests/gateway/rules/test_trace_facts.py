"""Tests of gateway.rules.trace_facts."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from gateway.rules.trace_facts import Cause, Movement, TrancheFacts
from ledger.chart import Control, Phase, control_account, purse_account

DAY = date(2026, 11, 25)
NEXT = date(2026, 11, 26)
AT = datetime(2026, 11, 25, tzinfo=UTC)
AVAILABLE, HELD = purse_account(42, 1, Phase.AVAILABLE), purse_account(42, 1, Phase.HELD)
CAUSE = Cause("CASH", "ATM", "2", "A1", None, "himbara", None, "000001", "APPROVED", "00", 9, NEXT, b"key", None, None)
PAID = Movement(3, 42, 7, 1, AVAILABLE, 0, 9, "WITHDRAWAL", "authorisation", 5, None, DAY, AT, CAUSE)


@pytest.mark.parametrize(
    ("control", "channel"),
    [(Control.ATM_SETTLEMENT, "ATM"), (Control.AGENT_PAYABLE, "AGENT"), (Control.EWARONG_PAYABLE, "EWARONG")],
)
def test_what_is_owed_is_settled_by_link_partners_day_and_channel(control: Control, channel: str) -> None:
    """The channel is where the money is booked, whichever way it goes, not what the message said of itself."""
    account = control_account(control)
    for moved in (PAID._replace(credit=account), PAID._replace(debit=account, credit=AVAILABLE)):
        assert (control, ("himbara", NEXT, channel)) == (moved.control, moved.settled_as)


def test_what_is_not_settled() -> None:
    """Money between a purse's own phases, money to RPL, and a correction, which no authorisation caused."""
    hold = PAID._replace(credit=HELD)
    assert (None, None) == (hold.control, hold.settled_as)
    assert (Control.RPL, None) == (
        (to_rpl := PAID._replace(credit=control_account(Control.RPL, 1))).control,
        to_rpl.settled_as,
    )
    assert None is PAID._replace(credit=control_account(Control.ATM_SETTLEMENT), cause=None).settled_as


def test_the_key_of_a_tranche() -> None:
    """Cell, account and its own id."""
    assert (3, 42, 7) == TrancheFacts(3, 42, 7, "1", "PKH", "T", 1, 2, DAY, DAY, 1, 1, 0, 0, 0, "OPEN").key
