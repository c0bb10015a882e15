"""Tests of gateway.rules.authorise: holds, what completes or reverses them, refunds, and the limits that were asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.authorise import Decision, Earlier, Original, PinOutcome, RequestKind
from gateway.rules.card import CardState
from gateway.rules.draws import kept_amounts
from gateway.rules.limits import LimitPeriod, LimitRule, LimitScope, Use, Verdict
from gateway.rules.purse import Channel
from ledger.posting import Draw, give_back
from tests.gateway.rules.test_authorise import CASH, ORIGINAL, PKH, REVERSAL, TODAY, Facts, R

HOLD = CASH._replace(kind=RequestKind.HOLD, channel=Channel.ATM)
HELD = replace(ORIGINAL, kind=RequestKind.HOLD)
BOUGHT = replace(ORIGINAL, kind=RequestKind.PURCHASE)
COMPLETION = CASH._replace(kind=RequestKind.COMPLETION)
REFUND = CASH._replace(kind=RequestKind.REFUND)


def test_a_hold_draws_like_a_purchase() -> None:
    """Oldest first, with the same refusals."""
    assert Facts().decide().draws == Facts(HOLD).decide().draws
    assert R.PIN_WRONG is Facts(HOLD, pin=PinOutcome.WRONG).decide().reason


@pytest.mark.parametrize(
    ("amount", "draws", "released"),
    [
        (300_000, (Draw(7, PKH, 200_000), Draw(8, PKH, 100_000)), ()),
        (250_000, (Draw(7, PKH, 200_000), Draw(8, PKH, 50_000)), (Draw(8, PKH, 50_000),)),
        (50_000, (Draw(7, PKH, 50_000),), (Draw(8, PKH, 100_000), Draw(7, PKH, 150_000))),
    ],
)
def test_a_completion_takes_from_its_hold_and_releases_the_rest(
    amount: int, draws: tuple[Draw, ...], released: tuple[Draw, ...]
) -> None:
    """From the tranches that the hold remembers, oldest first; whatever became of the card since."""
    facts = Facts(
        COMPLETION._replace(amount_idr=amount), original=HELD, state=CardState.LOST, pin=PinOutcome.NOT_CHECKED
    )
    assert Decision(R.APPROVED, draws, released=released) == facts.decide()


@given(amount=st.integers(1, 300_000), gone=st.integers(0, 300_000))
def test_a_completion_never_takes_more_than_is_held(amount: int, gone: int) -> None:
    """Taken and released are together exactly what was still held."""
    decision = Facts(COMPLETION._replace(amount_idr=amount), original=replace(HELD, reversed_idr=gone)).decide()
    left = 300_000 - gone
    assert (amount <= left) is decision.approved
    moved: dict[int, int] = {}
    for draw in (*decision.draws, *decision.released):
        moved[draw.tranche_id] = moved.get(draw.tranche_id, 0) + draw.amount_idr
    still = {draw.tranche_id: draw.amount_idr for draw in replace(HELD, reversed_idr=gone).left}
    assert (still if decision.approved else {}) == moved
    assert decision.approved or decision.reason is R.HOLD_AMOUNT


@pytest.mark.parametrize("original", [None, ORIGINAL])
def test_only_a_hold_is_completed(original: Original | None) -> None:
    """A completion of nothing, or of cash, is unknown; one of a declined hold takes nothing."""
    assert R.ORIGINAL_UNKNOWN is Facts(COMPLETION, original=original).decide().reason
    declined = Original(RequestKind.HOLD, R.INSUFFICIENT_FUNDS, 300_000, 0, ())
    assert R.HOLD_AMOUNT is Facts(COMPLETION, original=declined).decide().reason


def test_a_refund_after_its_reversal_moves_nothing() -> None:
    """The reversal came first: like any original that comes late."""
    assert R.REVERSED_BEFORE is Facts(REFUND, original=BOUGHT, reversed_before=True).decide().reason


def test_a_completion_that_took_nothing_is_not_given_back_in_silence() -> None:
    """It told of the amount that its advice (0120) had taken, which stays taken: people must look at it."""
    completed = Original(RequestKind.COMPLETION, R.APPROVED, 300_000, 0, ())
    assert R.REVERSAL_AMOUNT is Facts(REVERSAL, original=completed).decide().reason
    declined = replace(completed, reason=R.HOLD_AMOUNT)
    assert Decision(R.APPROVED) == Facts(REVERSAL, original=declined).decide()


def test_a_refusal_advised_of_what_we_approved_is_kept() -> None:
    """The partner declined in our name what we had approved under the same key: the books of both differ."""
    advised = HOLD._replace(kind=RequestKind.PURCHASE, forced=True, content_digest=b"advised")
    before = Earlier(b"digest", R.APPROVED, RequestKind.HOLD, 300_000)
    assert Decision(R.APPROVED, replayed=True) == Facts(advised, earlier=before).decide()
    declined = advised._replace(fault=R.ADVICE_DECLINED)
    assert Decision(R.KEY_REUSED, replayed=True) == Facts(declined, earlier=before).decide()


ADDED = (Draw(8, PKH, 50_000), Draw(9, PKH, 10_000))
MORE = HOLD._replace(increments=True, amount_idr=50_000)


def test_what_was_added_to_a_hold_is_completed_with_it() -> None:
    """One draw a tranche, oldest first; the rest of all is released."""
    held = replace(HELD, more=ADDED)
    decision = Facts(COMPLETION._replace(amount_idr=340_000), original=held).decide()
    assert ((Draw(7, PKH, 200_000), Draw(8, PKH, 140_000)), (Draw(9, PKH, 10_000), Draw(8, PKH, 10_000))) == (
        decision.draws, decision.released
    )  # fmt: skip
    assert R.HOLD_AMOUNT is Facts(COMPLETION._replace(amount_idr=360_001), original=held).decide().reason
    assert R.ORIGINAL_UNKNOWN is Facts(COMPLETION, original=replace(HELD, increment=True)).decide().reason


@pytest.mark.parametrize("amount", [300_000, 360_000])
def test_what_was_added_to_a_hold_is_given_back_with_it(amount: int) -> None:
    """A reversal of the first hold, of its own amount or of all; one that keeps a part concerns the first alone."""
    held = replace(HELD, more=ADDED)
    whole = Facts(REVERSAL._replace(amount_idr=amount), original=held).decide()
    assert {7: 200_000, 8: 150_000, 9: 10_000} == {draw.tranche_id: draw.amount_idr for draw in whole.draws}
    assert 3 == len(whole.draws)
    part = Facts(REVERSAL._replace(kept_idr=250_000), original=held).decide()
    assert (Draw(8, PKH, 50_000),) == part.draws
    gone = Facts(REVERSAL, original=replace(held, reversed_idr=300_000)).decide()
    assert ADDED == gone.draws
    assert R.REVERSAL_AMOUNT is Facts(REVERSAL._replace(amount_idr=amount - 1), original=held).decide().reason


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (HELD, R.APPROVED),
        (None, R.ORIGINAL_UNKNOWN),
        (BOUGHT, R.ORIGINAL_UNKNOWN),
        (replace(HELD, increment=True), R.ORIGINAL_UNKNOWN),
        (replace(HELD, reversed_idr=300_000), R.HOLD_AMOUNT),
        (replace(HELD, reason=R.INSUFFICIENT_FUNDS, draws=()), R.HOLD_AMOUNT),
    ],
)
def test_only_an_open_hold_is_added_to(original: Original | None, reason: object) -> None:
    """And only the first of its kind; with a PIN like any hold."""
    assert reason is Facts(MORE, original=original).decide().reason
    if original is HELD:
        assert R.PIN_MISSING is Facts(MORE, original=HELD, pin=PinOutcome.MISSING).decide().reason


def test_a_reversed_hold_is_released() -> None:
    """Like any other reversal, last drawn first."""
    assert (Draw(8, PKH, 100_000), Draw(7, PKH, 200_000)) == Facts(REVERSAL, original=HELD).decide().draws


def test_a_refund_gives_back_to_the_tranches_it_came_from() -> None:
    """Part by part, last drawn first, never more than was taken, and only what was bought."""
    part = REFUND._replace(amount_idr=150_000)
    assert (Draw(8, PKH, 100_000), Draw(7, PKH, 50_000)) == Facts(part, original=BOUGHT).decide().draws
    rest = replace(BOUGHT, reversed_idr=150_000)
    assert (Draw(7, PKH, 150_000),) == Facts(part, original=rest).decide().draws
    assert R.REVERSAL_AMOUNT is Facts(part._replace(amount_idr=150_001), original=rest).decide().reason
    for original in (None, ORIGINAL, HELD, Original(RequestKind.PURCHASE, R.PIN_WRONG, 300_000, 0, ())):
        assert R.ORIGINAL_UNKNOWN is Facts(part, original=original).decide().reason


def test_the_limits_that_were_asked_are_told() -> None:
    """An approval and a refusal name every rule and the strictest; a refusal draws nothing."""
    rule = LimitRule(5, LimitScope.CARD, LimitPeriod.MONTH, None, None, None, 500_000, None, TODAY, None)
    looser = replace(rule, id=4, max_amount_idr=900_000)
    approved = Facts(limits=(looser, rule)).decide()
    assert (R.APPROVED, Verdict((4, 5), 5, None)) == (approved.reason, approved.limits)
    before = Use(TODAY, Channel.ATM, "000002:A1", {PKH: 200_001})
    refused = Facts(limits=(looser, rule), uses=(before,)).decide()
    assert (R.LIMIT_AMOUNT, (), (4, 5), 5) == (
        refused.reason, refused.draws, refused.limits.evaluated, refused.limits.decided_by,
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 500)), min_size=1, max_size=4), st.integers(0, 2500))
def test_what_is_left_and_what_is_given_back_are_all(parts: list[tuple[int, int]], undone: int) -> None:
    """kept_amounts goes with give_back: last drawn first."""
    draws = [Draw(place, programme, amount) for place, (programme, amount) in enumerate(parts, 1)]
    total = sum(draw.amount_idr for draw in draws)
    undone = min(undone, total)
    back = {draw.tranche_id: draw.amount_idr for draw in (give_back(draws, 0, undone) if undone else ())}
    expected = [draw.amount_idr - back.get(draw.tranche_id, 0) for draw in draws]
    assert expected == kept_amounts(draws, undone)
