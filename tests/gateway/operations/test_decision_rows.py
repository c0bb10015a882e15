"""Twin of gateway.operations.decision_rows: whose money moves where, and what is kept of a message for people."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, cast

import pytest

from gateway.operations.authorise import AuthoriseCommand, Keyed, Origin
from gateway.operations.decision_rows import columns, exceptions_of, transfers_of
from gateway.rules.authorise import Decision, DeclineReason, Original, Request, RequestKind, Snapshot
from gateway.rules.purse import Channel, PurseChoice
from gateway.store.authorisations import Loaded
from ledger.posting import Account, Draw, Kind, Source

if TYPE_CHECKING:
    from keys.sensitive import Pan

TODAY = date(2026, 11, 23)
DRAWS = (Draw(7, 1, 200), Draw(8, 1, 100))
REQUEST = Request(RequestKind.CASH, Channel.AGENT, "6012", PurseChoice.BY_RULE, 300, b"d" * 16, "000002:A1")
SOURCE = Source("authorisation", 5, TODAY)
HELD = Original(RequestKind.HOLD, DeclineReason.APPROVED, 300, 0, DRAWS)
PAID = Original(RequestKind.CASH, DeclineReason.APPROVED, 300, 100, DRAWS)


def loaded(original: Original | None = None) -> Loaded:
    """What was found for a member whose original, if any, was at an e-Warong."""
    channel = None if original is None else "EWARONG"
    return Loaded(
        Snapshot(original=original),
        42,
        3,
        None,
        None,
        None,
        None,
        None if original is None else 9,
        channel,
        None,
        {7: 70, 8: 80},
    )


@pytest.mark.parametrize(
    ("kind", "original", "kinds"),
    [
        (RequestKind.CASH, None, [Kind.WITHDRAWAL, Kind.WITHDRAWAL]),
        (RequestKind.PURCHASE, None, [Kind.PURCHASE, Kind.PURCHASE]),
        (RequestKind.HOLD, None, [Kind.HOLD, Kind.HOLD]),
        (RequestKind.COMPLETION, HELD, [Kind.CAPTURE, Kind.CAPTURE]),
        (RequestKind.REVERSAL, HELD, [Kind.RELEASE, Kind.RELEASE]),
        (RequestKind.REVERSAL, PAID, [Kind.REVERSAL, Kind.REVERSAL]),
        (RequestKind.REFUND, PAID, [Kind.REVERSAL, Kind.REVERSAL]),
    ],
)
def test_a_decision_as_transfers(kind: RequestKind, original: Original | None, kinds: list[Kind]) -> None:
    """One a draw, of the family's account; what gives money back names the transfers it corrects."""
    decision = Decision(DeclineReason.APPROVED, DRAWS)
    made = transfers_of(REQUEST._replace(kind=kind), decision, loaded(original), Account(2, 42), SOURCE)
    assert kinds == [one.kind for one in made]
    assert [(42, 7, 200), (42, 8, 100)] == [(one.account_id, one.tranche_id, one.amount_idr) for one in made]
    assert ([70, 80] if Kind.REVERSAL in kinds else [None, None]) == [one.corrects for one in made]


def test_what_people_are_told_of_a_message() -> None:
    """Where it came from, what it says and what its original had taken; the channel is where that one stood."""
    origin = Origin("himbara", "0420", "A1", "M1", "000002", "000007", "1123120000", "632712000007")
    command = AuthoriseCommand(
        REQUEST._replace(kind=RequestKind.REVERSAL),
        origin,
        cast("Pan", None),
        None,
        None,
        {},
        why="field 4: is missing",
    )
    member = object.__new__(Keyed)
    member.command, member.cell, member.message_key, member.original_key = command, 2, b"k" * 16, b"o" * 16
    (one,) = exceptions_of(member, loaded(PAID), ["REVERSAL_AMOUNT"], 5, TODAY)
    assert ("REVERSAL_AMOUNT", "0420", "EWARONG", 300, 200, "field 4: is missing") == (
        one.reason, one.mti, one.channel, one.amount_idr, one.taken_idr, one.detail
    )  # fmt: skip
    assert (5, 9, 42, 3, b"k" * 16, b"o" * 16) == (
        one.authorisation_id, one.original_id, one.account_id, one.card_id, one.message_key, one.original_key
    )  # fmt: skip
    (first, second) = exceptions_of(member, loaded(), ["A", "B"], None, TODAY)
    assert ("A", "B", None, "AGENT") == (first.reason, second.reason, first.taken_idr, second.channel)


def test_rows_as_columns() -> None:
    """Nothing is empty columns."""
    assert {"a": [1, 2], "b": ["x", "y"]} == columns(("a", "b"), [(1, "x"), (2, "y")])
    assert {"a": [], "b": []} == columns(("a", "b"), [])
