"""Tests of gateway.simulator.errands."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.errands import STRANGE, Errand, Village, Visit
from gateway.simulator.switch import CARELESS, Switch
from gateway.simulator.tally import Tally
from gateway.simulator.terminal import TerminalKind
from gateway.simulator.wallet import strangers
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iso.message import Message

WALLET = make_wallet(2)
CARD = WALLET.cards[0]
STRANGER = next(strangers(WALLET.cards, random.Random(1)))
PINPAD = make_pinpad()


@asynccontextmanager
async def village(bank: FakeIssuer, timeout_s: float = 5) -> AsyncIterator[Village]:
    """One terminal of each kind, signed on."""
    async with (
        Switch("127.0.0.1", bank.port, clock=clock, timeout_s=timeout_s) as switch,
        Switch("127.0.0.1", bank.port, clock=clock, dialect=CARELESS, timeout_s=timeout_s) as careless,
    ):
        atm, agent, e_warong = (
            switch.terminal(PINPAD, kind, 1, first_stan=1 + place * 1000) for place, kind in enumerate(TerminalKind)
        )
        yield Village(atm, agent, e_warong, careless.terminal(PINPAD, TerminalKind.ATM, 9, first_stan=9001))


async def play(bank: FakeIssuer, errand: Errand, seed: int = 1, timeout_s: float = 5) -> Tally:
    """One visit at an open bank."""
    tally = Tally()
    async with village(bank, timeout_s) as place:
        card = STRANGER if errand in STRANGE else CARD
        await Visit(place, card, random.Random(seed), tally).run(errand)
    return tally


@pytest.mark.parametrize("errand", Errand)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_errand_passes_at_a_good_bank(errand: Errand, seed: int) -> None:
    """No surprises, and the terminals' sums are the bank's."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        tally = await play(bank, errand, seed)
        assert [] == tally.surprises
        assert bank.paid_idr == tally.withdrawn_idr + tally.purchased_idr
        assert tally.exchanges >= 1


@pytest.mark.parametrize("errand", sorted(set(Errand) - {Errand.WRONG_PIN_TO_LOCK, *STRANGE}))
async def test_family_without_money_takes_none(errand: Errand) -> None:
    """Nothing is asked for that is not there, but where being refused is the point."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=0) as bank:
        tally = await play(bank, errand)
    assert ([], 0) == (tally.surprises, tally.withdrawn_idr + tally.purchased_idr)


@pytest.mark.parametrize(
    ("errand", "codes"),
    [
        (Errand.WRONG_PIN_TO_LOCK, {"55": 3, "75": 1}),
        (Errand.INSUFFICIENT_FUNDS, {"00": 2, "51": 1}),
        (Errand.STRANGE_CARD, {"14": 1}),
        (Errand.STRANGE_TYPE, {"12": 1}),
        (Errand.STRANGE_AMOUNT, {"30": 1}),
        (Errand.DUPLICATE, {"00": 5}),
        (Errand.TIME_OUT, {"00": 5}),
    ],
)
async def test_codes_of_an_errand(errand: Errand, codes: dict[str, int]) -> None:
    """What each scene makes the bank say."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        tally = await play(bank, errand)
    assert codes == tally.codes


async def test_reversals_count_what_came_back() -> None:
    """A time-out gives all back, a partial reversal leaves the bank's and the terminals' sums equal."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        tally = await play(bank, Errand.TIME_OUT)
        assert (1, 0, 0) == (tally.reversed, tally.withdrawn_idr + tally.purchased_idr, bank.paid_idr)
    async with FakeIssuer(WALLET, PINPAD) as bank:
        tally = await play(bank, Errand.PARTIAL_REVERSAL)
        assert tally.reversed == 1
        assert 0 < tally.reversed_idr < 1_000_000
        assert 0 < bank.paid_idr == tally.withdrawn_idr


async def test_bank_that_pays_a_duplicate_twice_is_found_out() -> None:
    """The balance does not add up."""

    class Careless(FakeIssuer):
        def decide(self, message: Message) -> Message:
            self._decided.clear()
            return super().decide(message)

    async with Careless(WALLET, PINPAD) as bank:
        tally = await play(bank, Errand.DUPLICATE)
    assert any("a repeated message was answered differently" in surprise for surprise in tally.surprises)
    assert any("expected a balance of" in surprise for surprise in tally.surprises)


async def test_bank_that_ignores_wrong_pins_is_found_out() -> None:
    """Approval is the surprise."""

    def approve(_request: Message, answer: Message) -> Message:
        answer.fields[39] = "00"
        return answer

    async with FakeIssuer(WALLET, PINPAD, twist=approve) as bank:
        tally = await play(bank, Errand.WRONG_PIN_TO_LOCK)
    assert len(tally.surprises) == 4
    assert "expected 55, got 00" in tally.surprises[0]


async def test_unanswered_withdrawal_is_taken_back() -> None:
    """The terminal does not know, so it reverses, and counts nothing."""

    def lose_cash(request: Message, answer: Message) -> Message | None:
        return None if request.fields.get(3, "").startswith("01") and request.mti == "0200" else answer

    async with FakeIssuer(WALLET, PINPAD, twist=lose_cash) as bank:
        tally = await play(bank, Errand.CASH_AT_ATM, timeout_s=1)
        assert bank.paid_idr == 0
    assert (0, {"00": 2, "none": 1}) == (tally.withdrawn_idr, tally.codes)
    assert len(tally.surprises) == 1


async def test_balance_that_is_not_told_ends_the_visit() -> None:
    """Without it nothing can be expected."""

    def hide(_request: Message, answer: Message) -> Message:
        answer.fields.pop(54, None)
        return answer

    async with FakeIssuer(WALLET, PINPAD, twist=hide) as bank:
        tally = await play(bank, Errand.CASH_AT_ATM)
    assert tally.exchanges == 1
    assert "a balance inquiry was answered without a balance" in tally.surprises[0]
