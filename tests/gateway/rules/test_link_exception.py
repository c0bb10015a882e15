"""Tests of gateway.rules.link_exception: which messages people must look at, and which are over by themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.rules.account import AccountState
from gateway.rules.authorise import Decision, DeclineReason, Earlier, Original, PinOutcome, RequestKind, needs_pin_check
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.link_exception import Finding, Nothing, exceptions_for, nothing_to_reverse, settles_by_itself
from tests.gateway.rules.test_authorise import CASH, DAILY, DAY, NEW, OLD, ORIGINAL, REVERSAL, TODAY, Facts, R

ADVICE = CASH._replace(forced=True)
HELD = replace(ORIGINAL, kind=RequestKind.HOLD)
COMPLETION = CASH._replace(kind=RequestKind.COMPLETION)


def found(facts: Facts, *, advice: bool = True) -> tuple[DeclineReason, tuple[str, ...]]:
    """What is decided, and why people must look at it."""
    decision = facts.decide()
    return decision.reason, exceptions_for(facts.request, facts.snapshot, decision, advice=advice)


@pytest.mark.parametrize("state", CardState)
def test_what_happened_is_posted_whatever_the_card(state: CardState) -> None:
    """The partner stood in for us: neither card state, expiry, PIN nor limits undo that the money is gone."""
    facts = Facts(ADVICE, state=state, expires_on=TODAY - DAY, tries=0, pin=PinOutcome.WRONG, limits=(DAILY,))
    decision = facts.decide()
    assert (R.APPROVED, 300_000, None) == (
        decision.reason,
        sum(d.amount_idr for d in decision.draws),
        decision.pin_tries_left,
    )
    assert not needs_pin_check(ADVICE, facts.snapshot)
    assert () == exceptions_for(ADVICE, facts.snapshot, decision, advice=True)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(ADVICE, known=False), R.CARD_UNKNOWN),
        (Facts(ADVICE, account=AccountState.BLOCKED), R.ACCOUNT_BLOCKED),
        (Facts(ADVICE, account=AccountState.PENDING_ID), R.ACCOUNT_PENDING_ID),
        (Facts(ADVICE, rules=()), R.NOT_PERMITTED),
        (Facts(ADVICE, tranches=(OLD, NEW._replace(state=TrancheState.BLOCKED))), R.AID_BLOCKED),
        (Facts(ADVICE, tranches=(OLD,)), R.INSUFFICIENT_FUNDS),
        (Facts(ADVICE._replace(fault=R.ADVICE_UNREADABLE)), R.ADVICE_UNREADABLE),
        (Facts(ADVICE._replace(fault=R.ADVICE_NOT_SERVED)), R.ADVICE_NOT_SERVED),
        (Facts(COMPLETION), R.ORIGINAL_UNKNOWN),
        (Facts(COMPLETION._replace(amount_idr=300_001), original=HELD), R.HOLD_AMOUNT),
        (Facts(REVERSAL), R.ORIGINAL_UNKNOWN),
        (Facts(REVERSAL._replace(amount_idr=1), original=ORIGINAL), R.REVERSAL_AMOUNT),
        (Facts(ADVICE, earlier=Earlier(b"another", R.APPROVED)), R.KEY_REUSED),
    ],
)
def test_an_advice_that_cannot_be_posted_is_for_people(facts: Facts, reason: DeclineReason) -> None:
    """Never more than there is, and nothing in silence: its reason is the exception's."""
    assert (reason, (reason.value,)) == found(facts)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(ADVICE._replace(fault=R.ADVICE_DECLINED)), R.ADVICE_DECLINED),
        (Facts(ADVICE, reversed_before=True), R.REVERSED_BEFORE),
        (Facts(ADVICE, earlier=Earlier(b"digest", R.INSUFFICIENT_FUNDS)), R.INSUFFICIENT_FUNDS),
        (Facts(COMPLETION, original=HELD), R.APPROVED),
        (Facts(REVERSAL, original=ORIGINAL), R.APPROVED),
        (Facts(REVERSAL, original=replace(ORIGINAL, reversed_idr=300_000, settled=True)), R.APPROVED),
    ],
)
def test_what_needs_nobody(facts: Facts, reason: DeclineReason) -> None:
    """A refusal in our name, what was reversed before, a repeat, and what could be done."""
    assert (reason, ()) == found(facts)


@pytest.mark.parametrize(
    "facts", [Facts(known=False), Facts(tranches=(OLD,)), Facts(earlier=Earlier(b"another", R.APPROVED))]
)
def test_a_refused_request_is_the_terminals_own_affair(facts: Facts) -> None:
    """It was told, and nothing has happened."""
    assert () == found(facts, advice=False)[1]


def test_reversals_are_told_apart() -> None:
    """Of a settled original, of aid on its way back, of both; an asked one like an advised one; a refund may come late."""
    settled, gone = replace(ORIGINAL, settled=True), replace(ORIGINAL, returning=True)
    both = replace(settled, returning=True)
    for advice in (False, True):
        for original, reasons in (
            (settled, (Finding.ORIGINAL_SETTLED,)),
            (gone, (Finding.AID_RETURNING,)),
            (both, (Finding.ORIGINAL_SETTLED, Finding.AID_RETURNING)),
        ):
            assert (R.APPROVED, reasons) == found(Facts(REVERSAL, original=original), advice=advice)
        assert (R.ORIGINAL_UNKNOWN, ("ORIGINAL_UNKNOWN",)) == found(Facts(REVERSAL), advice=advice)
    bought = replace(both, kind=RequestKind.PURCHASE)
    refund = CASH._replace(kind=RequestKind.REFUND)
    assert (R.APPROVED, (Finding.AID_RETURNING,)) == found(Facts(refund, original=bought), advice=False)
    too_much = refund._replace(amount_idr=300_001)
    assert (R.REVERSAL_AMOUNT, ("REVERSAL_AMOUNT",)) == found(Facts(too_much, original=bought), advice=False)
    assert (R.ORIGINAL_UNKNOWN, ()) == found(Facts(refund), advice=False)


def test_why_a_reversal_moves_nothing() -> None:
    """It was given back before, or there never was anything."""
    declined = Original(RequestKind.CASH, R.INSUFFICIENT_FUNDS, 300_000, 0, ())
    assert [Nothing.ALREADY_REVERSED, Nothing.NOTHING_TAKEN] == [
        nothing_to_reverse(ORIGINAL),
        nothing_to_reverse(declined),
    ]


def test_a_lapsed_hold_is_told_apart() -> None:
    """From one that was released or completed, or is smaller."""
    lapsed = replace(HELD, reversed_idr=300_000, expired=True)
    assert (R.HOLD_AMOUNT, (Finding.HOLD_EXPIRED,)) == found(Facts(COMPLETION, original=lapsed))


@pytest.mark.parametrize(
    ("kind", "amount", "reason"),
    [
        (RequestKind.CASH, 300_000, R.APPROVED),
        (RequestKind.HOLD, 300_000, R.APPROVED),
        (RequestKind.CASH, 300_001, R.KEY_REUSED),
        (RequestKind.BALANCE, 300_000, R.KEY_REUSED),
    ],
)
def test_an_advice_of_what_was_approved_already_takes_nothing_more(
    kind: RequestKind, amount: int, reason: DeclineReason
) -> None:
    """Our answer was lost, the partner stood in: under one key the money is taken once."""
    facts = Facts(ADVICE, earlier=Earlier(b"another", R.APPROVED, kind, amount))
    assert Decision(reason, replayed=True) == facts.decide()
    given_back = Facts(ADVICE, earlier=Earlier(b"another", R.APPROVED, kind, amount, 1))
    assert Decision(reason if kind is RequestKind.HOLD else R.KEY_REUSED, replayed=True) == given_back.decide()
    declined = Facts(ADVICE, earlier=Earlier(b"another", R.INSUFFICIENT_FUNDS, kind, amount))
    assert (R.KEY_REUSED, ("KEY_REUSED",)) == found(declined)


def test_a_completion_of_an_advised_purchase_moves_nothing_more() -> None:
    """It was posted when it was advised; another amount is for people."""
    posted = Original(RequestKind.PURCHASE, R.APPROVED, 300_000, 0, ORIGINAL.draws)
    assert Decision(R.APPROVED) == Facts(COMPLETION, original=posted).decide()
    other = Facts(COMPLETION._replace(amount_idr=250_000), original=posted)
    assert (R.HOLD_AMOUNT, ("HOLD_AMOUNT",)) == found(other)
    assert R.HOLD_AMOUNT is Facts(COMPLETION, original=replace(posted, reversed_idr=300_000)).decide().reason


def test_what_is_over_by_itself() -> None:
    """An original that its reversal forbade, and the reversal of what could not be posted; nothing that moved money."""
    declined = Original(RequestKind.CASH, R.INSUFFICIENT_FUNDS, 300_000, 0, ())
    over = [Facts(reversed_before=True), Facts(REVERSAL, original=declined)]
    going = [
        Facts(),
        Facts(REVERSAL, original=ORIGINAL),
        Facts(REVERSAL._replace(kept_idr=1), original=declined),
        Facts(REVERSAL),
    ]
    told = [settles_by_itself(one.request, one.snapshot, one.decide()) for one in (*over, *going)]
    assert [True] * len(over) + [False] * len(going) == told
