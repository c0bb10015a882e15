"""Tests of gateway.simulator.steady."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.steady import Cutter, SteadyLink
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import Asked, TerminalKind
from iso.errors import LinkClosed, SignOnRefused
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from iso.message import Message

WALLET = make_wallet(8)
CARD = WALLET.cards[0]
PINPAD = make_pinpad()


def link_to(bank: FakeIssuer, cutter: Cutter | None = None, *, signs_on: bool = True) -> SteadyLink:
    """A link that is not open."""
    return SteadyLink(Switch("127.0.0.1", bank.port, clock=clock, timeout_s=10), cutter, signs_on=signs_on)


def test_cutter_strikes_a_share() -> None:
    """None, all, and something between; it counts."""
    for share, least, most in ((0.0, 0, 0), (1.0, 1_000, 1_000), (0.1, 60, 140)):
        cutter = Cutter(share, random.Random(1))
        struck = sum(cutter.strikes() for _ in range(1_000))
        assert (True, struck) == (least <= struck <= most, cutter.cuts)
    assert 0 <= Cutter(1, random.Random(1)).moment_s() <= 0.005


async def test_what_was_lost_comes_back_before_the_next_cut() -> None:
    """Whoever would cut every message cuts each once: its repeat is answered, whatever the dice say."""

    class AtOnce(Cutter):
        def moment_s(self) -> float:
            return 0.0

    async with FakeIssuer(WALLET, PINPAD) as bank:
        cutter = AtOnce(1, random.Random(1))
        link = link_to(bank, cutter)
        await link.open()
        terminal = link.switch.terminal(PINPAD, TerminalKind.ATM, 1)
        for asked in range(1, 6):
            exchange = await link.ask_on(terminal.request(Asked.CASH, CARD, 10_000))
            assert (True, asked, asked) == (exchange.approved, cutter.cuts, link.repeats)
        await link.close()
    assert 50_000 == bank.paid_idr


async def test_a_cut_message_is_repeated_and_moves_money_once() -> None:
    """Every message loses its connection once; its repeat (0201) gets the answer, signed on again."""

    class Once(Cutter):
        def strikes(self) -> bool:
            self.cuts += 1
            return self.cuts % 2 == 1

        def moment_s(self) -> float:
            return 0.0

    async with FakeIssuer(WALLET, PINPAD) as bank:
        link = link_to(bank, Once(0, random.Random(1)))
        await link.open()
        terminal = link.switch.terminal(PINPAD, TerminalKind.ATM, 1)
        for _ in range(5):
            exchange = await link.ask_on(terminal.request(Asked.CASH, CARD, 10_000))
            assert exchange.approved
        await link.close()
        marked = [message.mti for message in bank.seen if message.mti[1] == "2"]
    assert 50_000 == bank.paid_idr
    assert link.repeats == marked.count("0201")
    assert 1 <= link.repeats <= 5
    assert link.reconnects >= link.repeats


async def test_silence_on_a_standing_link_is_not_repeated() -> None:
    """A time-out is told as it is."""
    async with FakeIssuer(
        WALLET, PINPAD, twist=lambda request, answer: answer if request.mti == "0800" else None
    ) as bank:
        link = SteadyLink(Switch("127.0.0.1", bank.port, clock=clock, timeout_s=1))
        await link.open()
        terminal = link.switch.terminal(PINPAD, TerminalKind.ATM, 1)
        exchange = await link.ask_on(terminal.request(Asked.CASH, CARD, 10_000))
        await link.close()
    assert ("", 0) == (exchange.code, link.repeats)


async def test_many_who_find_the_link_gone_make_one_connection() -> None:
    """One sign-on for all of them."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        link = link_to(bank)
        await link.open()
        await link.close()
        terminal = link.switch.terminal(PINPAD, TerminalKind.ATM, 1)
        messages = [terminal.request(Asked.BALANCE, card, 0) for card in WALLET.cards]
        codes = [exchange.code for exchange in await asyncio.gather(*map(link.ask, messages))]
        await link.close()
        sign_ons = [message for message in bank.seen if message.get(70) == "001"]
    assert (["00"] * 8, 2, 1) == (codes, len(sign_ons), link.reconnects)


async def test_a_link_that_does_not_sign_on() -> None:
    """The bank says what it says to those."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        link = link_to(bank, signs_on=False)
        terminal = link.switch.terminal(PINPAD, TerminalKind.ATM, 1)
        assert "91" == (await link.ask(terminal.request(Asked.BALANCE, CARD, 0))).code
        await link.close()


async def test_no_bank_and_a_bank_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few tries, then what went wrong; a refused sign-on is not tried again."""

    def refuse(_request: Message, answer: Message) -> Message:
        answer.fields[39] = "91"
        return answer

    async with FakeIssuer(WALLET, PINPAD, twist=refuse) as bank:
        link = link_to(bank)
        with pytest.raises(SignOnRefused):
            await link.open()
        with pytest.raises(SignOnRefused):
            await link.restore()
        assert 2 == len(bank.seen)
    monkeypatch.setattr("gateway.simulator.steady._PAUSE_S", 0.001)
    with pytest.raises(LinkClosed):
        await link.restore()
