"""Tests of gateway.simulator.load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.errors import LoadError
from gateway.simulator.load import LoadResult, PreparedLoad, percentile, prepare
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import Asked, TerminalKind
from gateway.simulator.wallet import TestCard
from keys.sensitive import Pan, Pin
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from iso.message import Message

WALLET = make_wallet(24)
PINPAD = make_pinpad()


async def short(bank: FakeIssuer, *, rate_per_s: float | None = None, timeout_s: float = 2) -> LoadResult:
    """Two connections with four in flight each, for a fifth of a second."""
    return await prepared(2).run(
        "127.0.0.1", bank.port, in_flight=4, seconds=0.2, rate_per_s=rate_per_s, timeout_s=timeout_s
    )


def prepared(connections: int = 4) -> PreparedLoad:
    """Withdrawals of the wallet's cards."""
    return prepare(WALLET.cards, PINPAD, clock=clock, connections=connections)


async def test_every_message_is_answered_and_paid_for() -> None:
    """What the bank paid is approved times amount; trace numbers never meet."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        result = await short(bank)
        assert result.approved * 10_000 == bank.paid_idr
        stans = [message.fields[11] for message in bank.seen if message.mti == "0200"]
    assert result.sent == result.answered == result.approved == len(stans) > 20
    assert len(set(stans)) == len(stans)
    assert ({"00": result.approved}, 0, 0) == (result.codes, result.declined, result.unanswered)
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms <= result.p999_ms <= result.max_ms
    assert result.per_s == pytest.approx(result.answered / result.seconds)


async def test_messages_are_those_of_a_terminal() -> None:
    """Field by field, but for trace number and reference."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        await short(bank)
        sent = {message.fields[2]: message for message in bank.seen if message.mti == "0200"}
    switch = Switch("127.0.0.1", 9, clock=clock)
    for place, card in enumerate(WALLET.cards):
        terminal = switch.terminal(PINPAD, TerminalKind.ATM, place % 2 + 1)
        expected = terminal.request(Asked.CASH, card, 10_000).fields
        message = sent[card.pan.reveal()].fields
        assert message[37] == expected[37][:6] + message[11]
        assert expected | {11: message[11], 37: message[37]} == message


async def test_no_card_is_in_flight_twice() -> None:
    """Where no withdrawal is answered, each place has sent one message of a card of its own, and all stay unanswered."""
    async with FakeIssuer(WALLET, PINPAD, twist=lambda r, a: a if r.mti == "0800" else None) as bank:
        result = await short(bank, timeout_s=1)
        cards = [message.fields[2] for message in bank.seen if message.mti == "0200"]
    assert (8, 0, 8, 0.0, 0.0) == (result.sent, result.answered, result.unanswered, result.per_s, result.p99_ms)
    assert len(set(cards)) == len(cards) == 8


async def test_fixed_rate_sends_no_more_than_asked() -> None:
    """A hundred a second for a fifth of a second."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        result = await short(bank, rate_per_s=100)
    assert 10 <= result.sent <= 20
    assert result.sent == result.answered


async def test_fixed_rate_counts_waiting_for_a_place() -> None:
    """A bank that answers nobody holds all places; what was due later is never sent."""
    async with FakeIssuer(WALLET, PINPAD, twist=lambda r, a: a if r.mti == "0800" else None) as bank:
        result = await short(bank, rate_per_s=1000, timeout_s=1)
    assert (8, 8) == (result.sent, result.unanswered)


async def test_refusals_are_counted_by_code() -> None:
    """Declined, with the code."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=0) as bank:
        result = await short(bank)
    assert ({"51": result.answered}, result.answered, 0) == (result.codes, result.declined, result.approved)


async def test_too_few_cards_are_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(LoadError, match="128 in flight need as many cards; the wallet has 24"):
        await prepared().run("127.0.0.1", 9)


def test_cards_of_different_lengths_are_refused() -> None:
    """The model fits one length."""
    odd = TestCard(Pan("6013010000000018000"), Pin("271828"), WALLET.cards[0].expires, "", "")
    with pytest.raises(LoadError, match="differ in length"):
        prepare([*WALLET.cards, odd], PINPAD, clock=clock, connections=1)


async def test_bank_that_is_not_there_is_one_line() -> None:
    """Host and port are named."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        port = bank.port
    with pytest.raises(LoadError, match=f"no connection to 127.0.0.1:{port}"):
        await short(bank)


async def test_refused_sign_on_is_one_line() -> None:
    """With the code."""

    def refuse(_request: Message, answer: Message) -> Message:
        answer.fields[39] = "91"
        return answer

    async with FakeIssuer(WALLET, PINPAD, twist=refuse) as bank:
        with pytest.raises(LoadError, match="the sign-on was answered 91"):
            await short(bank)


@given(st.lists(st.floats(0, 1e6), max_size=50), st.floats(0, 100))
def test_percentile_is_one_of_the_values(values: list[float], percent: float) -> None:
    """At least that share of the values does not exceed it; none gives 0."""
    rising = sorted(values)
    found = percentile(rising, percent)
    assert found == 0 or found in rising
    if rising:
        assert sum(value <= found for value in rising) * 100 >= percent * len(rising) - 1e-6
        assert percentile(rising, 100) == rising[-1]


def test_percentile_by_hand() -> None:
    """Nearest rank."""
    assert [1, 5, 9, 10] == [percentile(range(1, 11), percent) for percent in (0, 50, 90, 99)]
