"""Tests of gateway.measure.torture.oracle: the model answers as a family would expect."""

from __future__ import annotations

import datetime as dt

import pytest

from gateway.measure.torture.oracle import Told
from tests.gateway.measure.torture.model import DAY, PAN, credit, family, left, say

LATER = DAY + dt.timedelta(days=10)


def test_money_is_drawn_oldest_first_and_comes_back_last_drawn_first() -> None:
    """A withdrawal over two stages, half of it reversed, then the rest."""
    one = family(300_000, 500_000)
    cash = say("CASH", 400_000)
    assert Told("APPROVED", (0, 400_000)) == one.answer(cash, LATER)
    assert [0, 400_000] == left(one)
    assert "APPROVED" == one.answer(say("REVERSAL", 400_000, kept_idr=150_000, original=cash.key), LATER).reason
    assert [150_000, 500_000] == left(one)
    assert "APPROVED" == one.answer(say("REVERSAL", 400_000, original=cash.key), LATER).reason
    assert "APPROVED" == one.answer(say("REVERSAL", 400_000, original=cash.key), LATER).reason
    assert ([300_000, 500_000], [False, False]) == (left(one), [stage.used for stage in one.stages])
    assert (2 + 2 + 2 + 1, None) == (one.transfers, one.check())


def test_shops_take_food_before_cash() -> None:
    """And machines whatever is older, and a restaurant nothing."""
    one = family()
    credit(one, 100_000, DAY, "PKH")
    credit(one, 100_000, DAY + dt.timedelta(days=1), "SEMBAKO")
    one.answer(say("PURCHASE", 50_000), LATER)
    assert [100_000, 50_000] == left(one)
    one.answer(say("CASH", 60_000), LATER)
    assert [40_000, 50_000] == left(one)
    assert "NOT_PERMITTED" == one.answer(say("PURCHASE", 10_000, mcc="5812"), LATER).reason
    assert "INSUFFICIENT_FUNDS" == one.answer(say("PURCHASE", 60_000, purse="FOOD"), LATER).reason


def test_a_hold_is_completed_and_the_rest_comes_back() -> None:
    """Not twice, not by more than is held; a lapsed one comes back whole."""
    one = family(100_000, 100_000)
    hold = say("HOLD", 150_000)
    assert "APPROVED" == one.answer(hold, LATER).reason
    assert ([0, 50_000], [100_000, 50_000]) == (left(one), [stage.held_idr for stage in one.stages])
    assert "HOLD_AMOUNT" == one.answer(say("COMPLETION", 160_000, original=hold.key), LATER).reason
    done = say("COMPLETION", 110_000, original=hold.key)
    assert "APPROVED" == one.answer(done, LATER).reason
    assert ([0, 90_000], 110_000, 0) == (left(one), one.paid_idr["EWARONG"], one.stages[1].held_idr)
    assert "HOLD_AMOUNT" == one.answer(say("COMPLETION", 10_000, original=hold.key), LATER).reason
    assert "APPROVED" == one.answer(say("REFUND", 20_000, original=done.key), LATER).reason
    assert ([10_000, 100_000], 90_000) == (left(one), one.paid_idr["EWARONG"])
    second = say("HOLD", 50_000)
    one.answer(second, LATER)
    assert 0 == one.let_go(LATER + dt.timedelta(days=7))
    assert 1 == one.let_go(LATER + dt.timedelta(days=8))
    assert (None, 0) == (one.check(), sum(stage.held_idr for stage in one.stages))


def test_who_can_do_with_less_gets_what_there_is() -> None:
    """A reversal names what was approved or what was asked for, and gives back what was approved."""
    for named in (400_000, 900_000):
        one = family(300_000, 100_000)
        bought = say("PURCHASE", 900_000, partial=True)
        assert Told("PARTIALLY_APPROVED", (0, 0)) == one.answer(bought, LATER)
        assert ([0, 0], 400_000) == (left(one), one.paid_idr["EWARONG"])
        assert Told("PARTIALLY_APPROVED", (0, 0)) == one.answer(bought, LATER)
        assert "REVERSAL_AMOUNT" == one.answer(say("REVERSAL", 500_000, original=bought.key), LATER).reason
        too_much = say("REVERSAL", named, kept_idr=400_001, original=bought.key)
        assert "REVERSAL_AMOUNT" == one.answer(too_much, LATER).reason
        assert "APPROVED" == one.answer(say("REVERSAL", named, kept_idr=50_000, original=bought.key), LATER).reason
        assert ([250_000, 100_000], None) == (left(one), one.check())
    hold = say("HOLD", 900_000, partial=True)
    assert "PARTIALLY_APPROVED" == one.answer(hold, LATER).reason
    assert "HOLD_AMOUNT" == one.answer(say("COMPLETION", 350_001, original=hold.key), LATER).reason
    assert "APPROVED" == one.answer(say("COMPLETION", 350_000, original=hold.key), LATER).reason
    assert "INSUFFICIENT_FUNDS" == one.answer(say("PURCHASE", 1, partial=True), LATER).reason


def test_wrong_pins_lock_the_card() -> None:
    """A right one in between counts them anew."""
    one = family(100_000)
    wrong = {"pin_right": False}
    said = [one.answer(say("CASH", 10_000, **wrong), LATER).reason for _ in range(2)]
    said.append(one.answer(say("BALANCE"), LATER).reason)
    said += [one.answer(say("CASH", 10_000, **wrong), LATER).reason for _ in range(4)]
    assert ["PIN_WRONG"] * 2 + ["APPROVED"] + ["PIN_WRONG"] * 3 + ["PIN_TRIES_EXCEEDED"] == said
    assert ("PIN_LOCKED", [100_000]) == (one.cards[PAN].state, left(one))


def test_the_same_message_is_answered_the_same_and_does_nothing() -> None:
    """Another content under its key is refused; after a month the key is free again."""
    one = family(100_000)
    cash = say("CASH", 30_000)
    first = one.answer(cash, LATER)
    one.answer(say("CASH", 10_000), LATER)
    assert (first, [60_000]) == (one.answer(cash, LATER), left(one))
    assert Told("KEY_REUSED") == one.answer(cash._replace(content=("other",)), LATER)
    one.answer(cash, LATER + dt.timedelta(days=32))
    assert [30_000] == left(one)


def test_a_reversal_that_comes_first_stops_its_original() -> None:
    """For a month."""
    one = family(100_000)
    cash = say("CASH", 30_000)
    assert "ORIGINAL_UNKNOWN" == one.answer(say("REVERSAL", 30_000, original=cash.key), LATER).reason
    assert ("REVERSED_BEFORE", [100_000]) == (one.answer(cash, LATER).reason, left(one))


@pytest.mark.parametrize(
    ("state", "reason"), [("LOST", "CARD_LOST"), ("BLOCKED", "CARD_BLOCKED"), ("REPLACED", "CARD_CLOSED")]
)
def test_cards_that_do_not_work(state: str, reason: str) -> None:
    """Each with its own reason; an expired or unknown one too."""
    one = family(100_000)
    assert "CARD_EXPIRED" == one.answer(say("CASH", 10_000), dt.date(2027, 2, 1)).reason
    one.cards[PAN].state = state
    assert reason == one.answer(say("CASH", 10_000), LATER).reason
    one.cards.clear()
    assert Told("CARD_UNKNOWN") == one.answer(say("CASH", 10_000), LATER)


def test_blocked_aid_is_told_apart() -> None:
    """There is enough, but a clock blocked it; and what is lost next is told with the balance."""
    one = family(100_000, 50_000)
    assert (dt.date(2026, 4, 5), 100_000) == one.answer(say("BALANCE"), LATER).expiring
    one.stages[0].state = "BLOCKED"
    assert "AID_BLOCKED" == one.answer(say("CASH", 120_000), LATER).reason
    assert Told("INSUFFICIENT_FUNDS", (0, 50_000), (dt.date(2026, 4, 6), 50_000)) == one.answer(
        say("CASH", 200_000), LATER
    )


def test_an_office_takes_back_no_more_than_is_taken() -> None:
    """In parts, and a later reversal knows."""
    one = family(100_000)
    cash = say("CASH", 90_000)
    one.answer(cash, LATER)
    assert "APPROVED" == one.answer(say("CORRECTION", 40_000, original=cash.key), LATER).reason
    assert "REFUSED" == one.answer(say("CORRECTION", 60_000, original=cash.key), LATER).reason
    assert "APPROVED" == one.answer(say("REVERSAL", 90_000, kept_idr=30_000, original=cash.key), LATER).reason
    assert ([70_000], None) == (left(one), one.check())


def test_a_model_that_does_not_add_up_says_so() -> None:
    """The checker checks itself."""
    one = family(100_000)
    one.stages[0].available_idr -= 1
    assert "family 1: credited Rp100,000, explained Rp99,999" == one.check()
    one.stages[0].available_idr = -1
    assert "below zero" in (one.check() or "")
