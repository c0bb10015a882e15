"""Tests of gateway.simulator.story."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.errands import STRANGE, Errand
from gateway.simulator.story import StoryResult, choose_untouched, make_plans, tell
from iso.errors import LinkError
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

WALLET = make_wallet(80)
PINPAD = make_pinpad()


async def told(seed: int = 1, untouched: frozenset[str] = frozenset()) -> tuple[StoryResult, FakeIssuer]:
    """A story at a bank of its own."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        result = await tell(WALLET, PINPAD, "127.0.0.1", bank.port, clock=clock, seed=seed, untouched=untouched)
    return result, bank


async def test_good_bank_gives_no_surprise_and_the_same_sums() -> None:
    """Every kind of answer occurs; withdrawn and purchased are what left the accounts."""
    result, bank = await told()
    assert [] == result.surprises
    assert bank.paid_idr == result.withdrawn_idr + result.purchased_idr
    assert {"00", "12", "14", "30", "51", "55", "75"} == set(result.codes)
    assert (80, True) == (result.families, result.reversed >= 4)
    assert result.exchanges == sum(result.codes.values())
    assert result.exchanges == sum(message.mti[:2] != "08" for message in bank.seen)


async def test_untouched_families_never_transact() -> None:
    """Their accounts appear in no message; the others' do."""
    untouched = choose_untouched(WALLET, 1)
    result, bank = await told(untouched=untouched)
    asked = {message.fields.get(2) for message in bank.seen}
    for card in WALLET.cards:
        assert (card.account_number in untouched) == (card.pan.reveal() not in asked)
    assert (12, 68) == (len(untouched), result.families)


async def test_same_seed_tells_the_same_story() -> None:
    """Codes and sums; another seed tells another."""
    first, _ = await told(7)
    again, _ = await told(7)
    other, _ = await told(8)
    assert again == first
    assert other != first


async def test_progress_counts_visits_to_the_end() -> None:
    """Each visit is one step, strangers included."""
    steps: list[tuple[int, int]] = []
    async with FakeIssuer(WALLET, PINPAD) as bank:
        await tell(
            WALLET,
            PINPAD,
            "127.0.0.1",
            bank.port,
            clock=clock,
            progress=lambda done, total: steps.append((done, total)),
        )
    assert [(done, 89) for done in range(1, 90)] == steps


async def test_wrong_sums_are_surprises() -> None:
    """A bank that always answers approved is found out."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=10_000, twist=lambda _, answer: answer) as bank:
        for account in bank.accounts.values():
            account.tries_left = 0
        result = await tell(WALLET, PINPAD, "127.0.0.1", bank.port, clock=clock)
    assert len(result.surprises) >= 80
    assert (0, 0) == (result.withdrawn_idr, result.purchased_idr)


async def test_bank_that_is_not_there_is_a_link_error() -> None:
    """Not a group of errors: one, of the link."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        port = bank.port
    with pytest.raises(LinkError):
        await tell(WALLET, PINPAD, "127.0.0.1", port, clock=clock)


@given(count=st.integers(0, 80), seed=st.integers(0, 1000))
def test_every_card_has_one_visit_and_strangers_are_unknown(count: int, seed: int) -> None:
    """Whatever the wallet's size; the same seed makes the same plans."""
    cards = WALLET.cards[:count]
    plans = make_plans(cards, WALLET.cards, seed)
    assert make_plans(cards, WALLET.cards, seed) == plans
    own = [plan for plan in plans if plan.errand not in STRANGE]
    assert {card.account_number for card in cards} == {plan.card.account_number for plan in own}
    assert count == len(own)
    known = {card.pan for card in WALLET.cards}
    assert not known & {plan.card.pan for plan in plans if plan.errand in STRANGE}


def test_plans_hold_every_special_errand() -> None:
    """Also where their share of the wallet is below one."""
    errands = Counter(plan.errand for plan in make_plans(WALLET.cards, WALLET.cards, 1))
    ordinary = {Errand.BALANCE, Errand.CASH_AT_ATM, Errand.CASH_AT_AGENT, Errand.PURCHASE, Errand.CASH_AND_PURCHASE}
    assert set(Errand) - ordinary <= set(errands)
    assert errands[Errand.STRANGE_CARD] == 3


@given(seed=st.integers(0, 100), share=st.floats(0, 1))
def test_untouched_are_a_share_of_the_wallet(seed: int, share: float) -> None:
    """Rounded, and the same for the same seed."""
    chosen = choose_untouched(WALLET, seed, share)
    assert choose_untouched(WALLET, seed, share) == chosen
    assert round(80 * share) == len(chosen)
