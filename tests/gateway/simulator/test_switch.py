"""Tests of gateway.simulator.switch."""

from __future__ import annotations

import asyncio

import pytest

from gateway.simulator.switch import CARELESS, NetworkCode, Switch, careless
from gateway.simulator.terminal import Asked, TerminalKind
from iso.codec import encode
from iso.dialect import EDC
from iso.errors import FormatError, LinkClosed, SignOnRefused
from iso.message import Message
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

WALLET = make_wallet(6)
PINPAD = make_pinpad()


async def test_sign_on_echo_and_sign_off() -> None:
    """Each is an 0800 with its own DE70 and trace number, answered 00."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        async with Switch("127.0.0.1", bank.port, clock=clock) as switch:
            assert (await switch.echo()).approved
        assert [("001", "000001"), ("301", "000002"), ("002", "000003")] == [
            (message.fields[70], message.fields[11]) for message in bank.seen
        ]


async def test_before_sign_on_and_after_sign_off_the_bank_refuses() -> None:
    """The switch can be told to connect only."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        switch = Switch("127.0.0.1", bank.port, clock=clock)
        await switch.connect()
        terminal = switch.terminal(PINPAD, TerminalKind.ATM, 1)
        codes = [(await terminal.balance(WALLET.cards[0])).code]
        for step in (switch.sign_on, switch.sign_off):
            assert (await step()).approved
            codes.append((await terminal.balance(WALLET.cards[0])).code)
        await switch.close()
    assert ["91", "00", "91"] == codes


async def test_refused_sign_on_closes_the_connection() -> None:
    """The context raises what the other side said."""

    def refuse(_request: Message, answer: Message) -> Message:
        answer.fields[39] = "91"
        return answer

    async with FakeIssuer(WALLET, PINPAD, twist=refuse) as bank:
        switch = Switch("127.0.0.1", bank.port, clock=clock)
        with pytest.raises(SignOnRefused) as caught:
            await switch.__aenter__()
    assert ("91", False) == (caught.value.response_code, switch.client.connected)


async def test_unanswered_sign_on_is_a_closed_link() -> None:
    """The reason is the client's."""
    async with FakeIssuer(WALLET, PINPAD, twist=lambda _request, _answer: None) as bank:
        switch = Switch("127.0.0.1", bank.port, clock=clock, timeout_s=1)
        with pytest.raises(LinkClosed, match="no answer"):
            await switch.__aenter__()


async def test_several_terminals_share_the_connection() -> None:
    """Answers find their own terminal, although trace numbers are equal."""
    async with FakeIssuer(WALLET, PINPAD) as bank, Switch("127.0.0.1", bank.port, clock=clock) as switch:
        terminals = [switch.terminal(PINPAD, kind, number) for kind in TerminalKind for number in (1, 2)]
        exchanges = await asyncio.gather(
            *(terminal.withdraw(card, 50_000) for terminal, card in zip(terminals, WALLET.cards, strict=True))
        )
    assert [[]] * 6 == [exchange.faults() for exchange in exchanges]
    assert len({terminal.terminal_id for terminal in terminals}) == 6


def test_network_message_may_hold_any_code() -> None:
    """Cut-over is one of them."""
    message = Switch("127.0.0.1", 9, clock=clock).network_message(NetworkCode.CUT_OVER)
    assert {7: "1123173005", 11: "000001", 70: "201"} == message.fields


def test_careless_dialect_lets_letters_into_an_amount() -> None:
    """The strict one does not; with good fields both make the same bytes."""
    message = Switch("127.0.0.1", 9, clock=clock).terminal(PINPAD, TerminalKind.ATM, 1).request(
        Asked.CASH, WALLET.cards[0], 50_000
    )  # fmt: skip
    assert encode(message) == encode(message, CARELESS)
    message.fields[4] = "00000500000X"
    assert b"00000500000X" in encode(message, CARELESS)
    with pytest.raises(FormatError):
        encode(message)


def test_careless_dialect_lets_anything_into_fields_of_text() -> None:
    """Of every kind where all is text; where digits are packed and bytes are raw, those fields stay as they are."""
    fields = {2: "60X3", 35: "no track", 37: "\t" * 12, 41: "\n" * 8, 52: "no PIN block....", 97: "X" + "0" * 16}
    for number, text in fields.items():
        message = Message("0200", {number: text})
        assert text.encode() in encode(message, CARELESS)
        with pytest.raises(FormatError):
            encode(message)
    packed = careless(EDC)
    assert b"\t" * 12 in encode(Message("0200", {37: "\t" * 12}), packed)
    for number in (2, 35, 52, 97):
        with pytest.raises(FormatError):
            encode(Message("0200", {number: fields[number]}), packed)
