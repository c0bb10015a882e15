"""Tests of gateway.simulator.traffic: mixed load on a bank in memory, with cuts and silences, and books that agree in the end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from gateway.clock import now
from gateway.simulator.errors import LoadError
from gateway.simulator.profile import read_profile
from gateway.simulator.switch import Switch
from gateway.simulator.traffic import Kind, Plan, TrafficResult, read_mix, run_traffic
from iso.errors import LinkError
from keys.ksn import TdesKsn
from tests.gateway.simulator.fake_issuer import TEST_KEYS, FakeIssuer, make_pinpad, make_wallet

if TYPE_CHECKING:
    from iso.message import Message

WALLET = make_wallet(24)
PINPAD = make_pinpad()
EDC_PROFILE = read_profile("edc")
EVERYTHING = {Kind.WITHDRAW: 4.0, Kind.PURCHASE: 2.0, Kind.BALANCE: 2.0, Kind.REVERSE: 2.0, Kind.HOLD: 2.0}


async def drive(bank: FakeIssuer, plan: Plan, timeout_s: float = 2, stop: asyncio.Event | None = None) -> TrafficResult:
    """The plan at an open bank."""
    return await run_traffic(
        WALLET.cards, PINPAD, lambda: Switch("127.0.0.1", bank.port, clock=now, timeout_s=timeout_s), plan, stop=stop
    )


def adds_up(result: TrafficResult, bank: FakeIssuer) -> bool:
    """Every message has one end, the books agree, and what the cards spent is what the bank paid."""
    assert result.sent == result.answered + result.timeouts + result.lost
    assert result.answered == result.approved + result.declined == sum(result.codes.values())
    assert (0, 0, ()) == (result.books.unsure, result.books.untold, result.books.differences)
    return bank.paid_idr == result.books.spent_idr == result.books.bank_spent_idr


async def test_as_fast_as_answers_come() -> None:
    """Withdrawals of as many clients at once; figures in order."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        result = await drive(bank, Plan(seconds=0.3, clients=4, connections=2))
        assert adds_up(result, bank)
    assert (24, 0, 0, 0) == (result.cards, result.timeouts, result.lost, result.not_sent)
    assert result.approved * 10_000 == result.books.spent_idr > 100_000
    assert {"withdraw": result.sent} == result.kinds
    assert 0 < result.p50_ms <= result.p90_ms <= result.p95_ms <= result.p99_ms <= result.p999_ms <= result.max_ms
    assert result.per_s == pytest.approx(result.answered / result.seconds)


async def test_a_mix_at_a_fixed_rate() -> None:
    """Two hundred transactions a second; reversals and completions are messages of their own; all kinds occur."""
    plan = Plan(seconds=0.5, clients=4, connections=2, rate_per_s=200, mix=EVERYTHING)
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        result = await drive(bank, plan)
        assert adds_up(result, bank)
        types = {message.mti for message in bank.seen}
    assert 100 == sum(result.kinds.values())
    assert set(EVERYTHING) == set(result.kinds)
    assert result.sent == 100 + result.kinds["reverse"] + result.kinds["hold"]
    assert {"0100", "0200", "0220", "0420", "0800"} == types


async def test_dukpt_numbers_of_a_device_come_in_order() -> None:
    """A bank with lanes decides what comes side by side in any order: no device has two messages on their way."""
    pad = EDC_PROFILE.pinpad(TEST_KEYS)
    plan = Plan(seconds=0.3, clients=4, connections=2, mix=EVERYTHING)
    async with FakeIssuer(WALLET, pad, profile=EDC_PROFILE, money_idr=10**9) as bank:
        link = partial(Switch, "127.0.0.1", bank.port, clock=now, timeout_s=2, profile=EDC_PROFILE)
        assert adds_up(await run_traffic(WALLET.cards, pad, link, plan), bank)
        cards: dict[str, set[str]] = {}
        for message in bank.seen:
            if 62 in message.fields:
                cards.setdefault(TdesKsn.parse(message.fields[62]).device, set()).add(message.fields[2])
    assert (24, {1}) == (len(cards), {len(pans) for pans in cards.values()})


async def test_cut_connections_and_books_that_agree() -> None:
    """A fifth of the messages lose their connection; repeats and reversals settle all of them."""
    plan = Plan(seconds=1.0, clients=6, connections=3, rate_per_s=150, mix=EVERYTHING, cut=0.2)
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        result = await drive(bank, plan)
        assert adds_up(result, bank)
    assert (True, True, 0) == (result.cuts > 10, result.lost > 10, result.unresolved)
    assert (True, True) == (result.repeats > 0, result.reversals > 0)
    assert result.reconnects > 0


async def test_an_open_loop_goes_on_while_the_bank_is_silent() -> None:
    """A bank that loses a third of its answers: what is due is sent all the same, and settled."""
    count = 0

    def lose(request: Message, answer: Message) -> Message | None:
        nonlocal count
        if request.mti == "0200" and request.fields[3] != "300000":
            count += 1
            return None if count % 3 == 0 else answer
        return answer

    plan = Plan(seconds=0.5, clients=4, connections=2, rate_per_s=60)
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9, twist=lose) as bank:
        result = await drive(bank, plan, timeout_s=0.3)
        assert adds_up(result, bank)
    assert (30, 0, 0) == (result.sent, result.lost, result.not_sent)
    assert result.timeouts == result.repeats + result.reversals == 10


async def test_waiting_for_a_card_counts() -> None:
    """One card and a slow bank: the time of what was due meanwhile runs from when it was due."""
    slow = make_wallet(1)
    loop = asyncio.get_running_loop()

    def late(request: Message, answer: Message) -> Message:
        began = loop.time()
        while request.get(3) == "010000" and loop.time() - began < 0.02:
            pass
        return answer

    async with FakeIssuer(slow, PINPAD, money_idr=10**9, twist=late) as bank:
        result = await run_traffic(
            slow.cards, PINPAD, lambda: Switch("127.0.0.1", bank.port, clock=now), Plan(0.2, 1, 1, rate_per_s=100)
        )
    assert 20 == result.sent
    assert result.max_ms > 150
    assert result.behind_ms > 100


async def test_declined_payments_cost_nothing() -> None:
    """Cards without money."""
    async with FakeIssuer(WALLET, PINPAD, money_idr=0) as bank:
        result = await drive(bank, Plan(seconds=0.2, clients=2, connections=1, mix=EVERYTHING))
        assert adds_up(result, bank)
    assert ({"00", "51"}, 0) == (set(result.codes), result.books.spent_idr)


async def test_a_bank_that_forgets_is_found_out() -> None:
    """It approves and moves nothing; it takes no reversal. The books say so."""

    def forget(request: Message, answer: Message) -> Message:
        if request.mti == "0420":
            answer.fields[39] = "96"
        return answer

    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9, twist=forget) as bank:
        plan = Plan(seconds=0.2, clients=2, connections=1, mix={Kind.REVERSE: 1.0})
        result = await drive(bank, plan)
        assert result.unresolved > 0
        assert result.books.unsure > 0
        for account in bank.accounts.values():
            account.available_idr += 1
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, lambda: [bank.accounts.popitem() for _ in range(3)])
        asyncio.get_running_loop().call_later(0.1, stop.set)
        again = await drive(bank, Plan(seconds=9, clients=2, connections=1, stans_from=500_000), stop=stop)
    assert again.seconds < 8
    assert 3 == again.books.untold


async def test_what_is_approved_in_part_counts_as_such() -> None:
    """Of a hold approved in part half is taken, not half of what was asked for; the books agree, and it counts as approved."""

    def in_part(request: Message, answer: Message) -> Message:
        if request.mti == "0100" and answer.get(39) == "00":
            answer.fields |= {4: "000000600000", 39: "10"}
        return answer

    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9, twist=in_part) as bank:
        result = await drive(bank, Plan(seconds=0.3, clients=4, connections=2, mix={Kind.HOLD: 1.0}))
        assert adds_up(result, bank)
        completions = [message.get(4) for message in bank.seen if message.mti == "0220"]
    assert ({"000000300000"}, len(completions), 0) == (set(completions), result.codes["10"], result.declined)
    assert len(completions) * 3_000 == result.books.spent_idr > 0


async def test_some_cards_are_no_good() -> None:
    """They stay out; too few are refused, before and after the bank was asked."""
    async with FakeIssuer(WALLET, PINPAD) as bank:
        for account in list(bank.accounts.values())[:20]:
            account.tries_left = 0
        assert 4 == (await drive(bank, Plan(seconds=0.1, clients=4, connections=1))).cards
        with pytest.raises(LoadError, match="5 at once need as many cards; only 4 of the wallet are good"):
            await drive(bank, Plan(seconds=0.1, clients=5, connections=1))
        with pytest.raises(LoadError, match="25 at once need as many cards; the wallet has 24"):
            await drive(bank, Plan(clients=25))
        port = bank.port
    with pytest.raises(LinkError):
        await run_traffic(WALLET.cards, PINPAD, lambda: Switch("127.0.0.1", port, clock=now), Plan(clients=1))


async def test_progress_tells_the_time() -> None:
    """In milliseconds of the plan's."""
    steps: list[tuple[int, int]] = []
    async with FakeIssuer(WALLET, PINPAD, money_idr=10**9) as bank:
        await run_traffic(
            WALLET.cards, PINPAD, lambda: Switch("127.0.0.1", bank.port, clock=now), Plan(0.2, 1, 1),
            progress=lambda done, total: steps.append((done, total)),
        )  # fmt: skip
    assert {200} == {total for _, total in steps}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.parametrize(
    "text", ["", "withdraw", "dance=1", "withdraw=x", "withdraw=0", "withdraw=-1", "balance=1,balance=1"]
)
def test_a_wrong_mix_is_refused(text: str) -> None:
    """The kinds there are, or what is wrong with the weights."""
    with pytest.raises(LoadError, match="a mix "):
        read_mix(text)


def test_a_mix() -> None:
    """Kinds with their weights."""
    assert {Kind.WITHDRAW: 70, Kind.BALANCE: 20.5} == read_mix("withdraw=70, balance=20.5")
