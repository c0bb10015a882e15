"""Tests of gateway.rules.authorise: purchases and holds that can do with less than they ask for, and what comes after them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.authorise import APPROVALS, PIN_WAS_RIGHT, Decision, Earlier, Original, PinOutcome, RequestKind
from gateway.rules.dormancy import TrancheState
from gateway.rules.limits import LimitPeriod, LimitRule, LimitScope, Verdict
from gateway.rules.purse import Channel, PurseChoice
from ledger.posting import Draw, give_back
from tests.gateway.rules.test_authorise import (
    ATM_PKH,
    ATM_SEMBAKO,
    CASH,
    NEW,
    OLD,
    PKH,
    REVERSAL,
    SEMBAKO,
    TODAY,
    Facts,
    R,
    view,
)

SHOP_RULES = (replace(ATM_PKH, channel=Channel.EWARONG), replace(ATM_SEMBAKO, channel=Channel.EWARONG))
BUY = CASH._replace(kind=RequestKind.PURCHASE, channel=Channel.EWARONG, mcc="5411", amount_idr=500_000, partial=True)
ALL = (Draw(7, PKH, 200_000), Draw(8, PKH, 150_000))
FOOD = view(9, SEMBAKO, 80_000, TrancheState.OPEN, TODAY)
IN_PART = Original(RequestKind.PURCHASE, R.PARTIALLY_APPROVED, 350_000, 0, ALL, asked_idr=500_000)
HELD_IN_PART = replace(IN_PART, kind=RequestKind.HOLD)


def facts(**change: object) -> Facts:
    """A purchase of more than there is that can do with less."""
    return replace(Facts(BUY, rules=SHOP_RULES), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [RequestKind.PURCHASE, RequestKind.HOLD])
def test_what_there_is_is_approved(kind: RequestKind) -> None:
    """All that is open, oldest first, and the answer is a yes."""
    decision = facts(request=BUY._replace(kind=kind)).decide()
    assert Decision(R.PARTIALLY_APPROVED, ALL, approved_idr=350_000) == decision
    assert decision.approved
    assert R.PARTIALLY_APPROVED in PIN_WAS_RIGHT


def test_who_cannot_do_with_less_gets_nothing() -> None:
    """And who asks for no more than there is gets it whole."""
    assert R.INSUFFICIENT_FUNDS is facts(request=BUY._replace(partial=False)).decide().reason
    assert Decision(R.APPROVED, ALL) == facts(request=BUY._replace(amount_idr=350_000)).decide()


def test_what_has_happened_is_never_in_part() -> None:
    """The money is out already: all of it, or it is for people."""
    assert Decision(R.INSUFFICIENT_FUNDS) == facts(request=BUY._replace(forced=True)).decide()


def test_where_there_is_nothing_nothing_is_approved() -> None:
    """No money, or none through this purse."""
    assert Decision(R.INSUFFICIENT_FUNDS) == facts(tranches=()).decide()
    assert Decision(R.INSUFFICIENT_FUNDS) == facts(request=BUY._replace(purse=PurseChoice.FOOD)).decide()


def test_one_purse_is_not_filled_up_from_the_other() -> None:
    """Who asks for food money gets what there is of it."""
    decision = facts(request=BUY._replace(purse=PurseChoice.FOOD), tranches=(OLD, NEW, FOOD)).decide()
    assert ((Draw(9, SEMBAKO, 80_000),), 80_000) == (decision.draws, decision.approved_idr)


def test_blocked_aid_stays_where_it_is() -> None:
    """What is open is approved, whatever there would be with the blocked aid; without any: it is told that aid is blocked."""
    blocked = NEW._replace(state=TrancheState.BLOCKED, available_idr=400_000)
    assert (Draw(7, PKH, 200_000),) == facts(tranches=(OLD, blocked)).decide().draws
    enough = blocked._replace(available_idr=500_000)
    assert Decision(R.AID_BLOCKED) == facts(tranches=(enough,)).decide()


def test_limits_are_asked_for_what_would_be_approved() -> None:
    """A limit never makes it less: it refuses what it would not let pass, and lets pass what is within it."""
    limit = LimitRule(5, LimitScope.CARD, LimitPeriod.DAY, None, None, None, 350_000, None, TODAY, None)
    within = facts(limits=(limit,)).decide()
    assert (R.PARTIALLY_APPROVED, 350_000, Verdict((5,), 5)) == (within.reason, within.approved_idr, within.limits)
    beyond = facts(limits=(replace(limit, max_amount_idr=349_999),)).decide()
    assert (R.LIMIT_AMOUNT, (), None) == (beyond.reason, beyond.draws, beyond.approved_idr)


@pytest.mark.parametrize(
    ("pin", "reason"),
    [(PinOutcome.WRONG, R.PIN_WRONG), (PinOutcome.MISSING, R.PIN_MISSING), (PinOutcome.VOID, R.PIN_VOID)],
)
def test_every_refusal_before_the_money_stands(pin: PinOutcome, reason: R) -> None:
    """No part without the PIN."""
    assert (reason, ()) == facts(pin=pin).decide()[:2]


@given(
    amounts=st.lists(st.integers(1, 1_000_000), max_size=6),
    programmes=st.lists(st.sampled_from([PKH, SEMBAKO]), min_size=6, max_size=6),
    states=st.lists(st.sampled_from([TrancheState.OPEN, TrancheState.BLOCKED]), min_size=6, max_size=6),
    asked=st.integers(1, 4_000_000),
    purse=st.sampled_from(list(PurseChoice)),
)
def test_never_more_than_there_is_nor_than_was_asked(
    amounts: list[int], programmes: list[int], states: list[TrancheState], asked: int, purse: PurseChoice
) -> None:
    """The draws are exactly what is approved: what was asked, or less and then all there is; nothing where nothing is."""
    tranches = tuple(
        view(number, programme, amount, state, TODAY)
        for number, (amount, programme, state) in enumerate(zip(amounts, programmes, states, strict=False), 1)
    )
    fits = {PurseChoice.BY_RULE: {PKH, SEMBAKO}, PurseChoice.CASH: {PKH}, PurseChoice.FOOD: {SEMBAKO}}[purse]
    open_idr = {t.id: t.available_idr for t in tranches if t.state is TrancheState.OPEN and t.programme in fits}
    there_idr = sum(open_idr.values())
    decision = facts(request=BUY._replace(amount_idr=asked, purse=purse), tranches=tranches).decide()
    drawn = sum(draw.amount_idr for draw in decision.draws)
    assert min(asked, there_idr) == drawn
    assert (there_idr > 0) is decision.approved
    assert (0 < there_idr < asked) is (decision.reason is R.PARTIALLY_APPROVED)
    assert decision.approved_idr == (drawn if decision.reason is R.PARTIALLY_APPROVED else None)
    assert all(draw.amount_idr <= open_idr[draw.tranche_id] for draw in decision.draws)


def test_a_repeat_is_told_the_same() -> None:
    """Whatever there is by then; and an advice of what was approved under the key moves nothing more."""
    earlier = Earlier(b"digest", R.PARTIALLY_APPROVED, RequestKind.PURCHASE, 350_000)
    assert Decision(R.PARTIALLY_APPROVED, replayed=True) == facts(earlier=earlier, tranches=()).decide()
    advice = BUY._replace(partial=False, forced=True, content_digest=b"advice", amount_idr=350_000)
    assert Decision(R.APPROVED, replayed=True) == facts(request=advice, earlier=earlier).decide()
    wrong = advice._replace(amount_idr=500_000)
    assert Decision(R.KEY_REUSED, replayed=True) == facts(request=wrong, earlier=earlier).decide()


@pytest.mark.parametrize("named", [350_000, 500_000])
@pytest.mark.parametrize("kept", [0, 100_000, 350_000])
def test_a_reversal_may_name_what_was_approved_or_what_was_asked(named: int, kept: int) -> None:
    """It gives back what was approved, but for what it says was kept."""
    request = REVERSAL._replace(amount_idr=named, kept_idr=kept)
    expected = give_back(ALL, 0, 350_000 - kept) if kept < 350_000 else ()
    assert Decision(R.APPROVED, expected) == Facts(request, original=IN_PART).decide()


@pytest.mark.parametrize(
    ("named", "kept"), [(349_999, 0), (350_001, 0), (500_001, 0), (500_000, 350_001), (350_000, 400_000)]
)
def test_a_reversal_of_another_amount_is_for_people(named: int, kept: int) -> None:
    """Neither what was approved nor what was asked, or more kept than was ever taken."""
    request = REVERSAL._replace(amount_idr=named, kept_idr=kept)
    assert Decision(R.REVERSAL_AMOUNT) == Facts(request, original=IN_PART).decide()


def test_a_reversal_that_came_first_stops_it() -> None:
    """As any original that comes late."""
    assert Decision(R.REVERSED_BEFORE) == facts(reversed_before=True).decide()


@given(amount=st.integers(1, 500_000))
def test_a_refund_gives_back_no_more_than_was_approved(amount: int) -> None:
    """What was asked for does not count."""
    refund = BUY._replace(kind=RequestKind.REFUND, partial=False, amount_idr=amount)
    decision = facts(request=refund, original=IN_PART).decide()
    assert (amount <= 350_000) is decision.approved
    assert sum(draw.amount_idr for draw in decision.draws) == (amount if decision.approved else 0)


@given(amount=st.integers(1, 500_000))
def test_a_completion_takes_no_more_than_is_held(amount: int) -> None:
    """Of a hold that was approved in part, too; what is not taken is given back."""
    completion = BUY._replace(kind=RequestKind.COMPLETION, partial=False, amount_idr=amount)
    decision = facts(request=completion, original=HELD_IN_PART).decide()
    assert (R.APPROVED if amount <= 350_000 else R.HOLD_AMOUNT) is decision.reason
    moved = sum(draw.amount_idr for draw in (*decision.draws, *decision.released))
    assert moved == (350_000 if decision.approved else 0)


@pytest.mark.parametrize("named", [350_000, 400_000, 500_000, 550_000])
def test_a_hold_is_released_with_what_was_added(named: int) -> None:
    """By what was approved or asked for, with or without what another hold added to it."""
    grown = replace(HELD_IN_PART, more=(Draw(9, SEMBAKO, 50_000),))
    decision = Facts(REVERSAL._replace(amount_idr=named), original=grown).decide()
    assert (R.APPROVED, 400_000) == (decision.reason, sum(draw.amount_idr for draw in decision.draws))


def test_an_increment_of_a_hold_in_part() -> None:
    """It stands like any other."""
    adds = BUY._replace(kind=RequestKind.HOLD, partial=False, increments=True, amount_idr=50_000)
    assert R.APPROVED is facts(request=adds, original=HELD_IN_PART).decide().reason


def test_what_says_yes() -> None:
    """Two reasons, and nothing else."""
    assert set(APPROVALS) == {reason for reason in R if Decision(reason).approved}
