"""Load as a switch sees it: kinds of transactions mixed, at a fixed rate or as fast as answers come, with connections cut.

At a fixed rate the loop is open: each transaction is sent when it is due, whether or not answers came, and its time counts
from then. Whose answer does not come is settled as a terminal must: it is reversed, or repeated, until the bank has answered.
What the terminals know of each card's money is held against the bank in the end. Read next: passbook.py, steady.py; load.py
(faster, and simpler).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.simulator.errors import LoadError
from gateway.simulator.exchange import Exchange, repeated
from gateway.simulator.load import percentile
from gateway.simulator.passbook import Comparison, PassBook
from gateway.simulator.steady import Cutter, SteadyLink
from gateway.simulator.terminal import Asked, TerminalKind
from iso.amount import read_amount
from iso.errors import LinkError
from iso.message import Message
from iso.response_codes import APPROVED, PARTIALLY_APPROVED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.simulator.pinpad import Pad
    from gateway.simulator.switch import Switch
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard

_MS = 1_000
_STANS = 999_999
_FIRST_TERMINAL = 5_000_000
_SETTLING_TRIES = 30
_SETTLING_PAUSE_S = 0.05
_SETTLING_LONGEST_S = 1.0
_WAITING_MOST = 20_000
_AT_ONCE = 32
_TICK_S = 0.05


class Kind(StrEnum):
    """A transaction of the mix."""

    WITHDRAW = "withdraw"
    """Cash at an ATM or agent (0200)."""
    PURCHASE = "purchase"
    """Goods at an e-Warong (0200)."""
    BALANCE = "balance"
    """What there is (0200)."""
    REVERSE = "reverse"
    """Cash, and once it is approved its reversal (0200, 0420)."""
    HOLD = "hold"
    """Goods held, and once that is approved half of it taken (0100, 0220)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is offered. `mix`: kind -> weight.

    `rate_per_s`: transactions a second; None: each of `clients` sends when it is answered.

    `cut`: how many of the messages (0 to 1) have their connection cut before the answer. `amount_idr`: of each payment.
    `stans_from`: where trace numbers begin; two runs within a second must not have the same.
    """

    seconds: float = 10.0
    clients: int = 32
    connections: int = 4
    rate_per_s: float | None = None
    mix: dict[Kind, float] = field(default_factory=lambda: {Kind.WITHDRAW: 1.0})
    cut: float = 0.0
    amount_idr: int = 10_000
    seed: int = 1
    stans_from: int = 0


@dataclass(frozen=True, slots=True)
class TrafficResult:
    """Figures of a run. Every message that was sent for the first time was answered, timed out, or lost with its connection.

    Times in milliseconds over those answered, at a fixed rate from when they were due. `per_s`: answers a second. `kinds`:
    transactions of each kind; `codes`: DE39 -> answers. Of those without answer `repeats` got theirs by a repeat, `reversals`
    were taken back, and `unresolved` could not be settled. `unmatched`: answers nobody waited for any more. `not_sent`: due
    while too much was waiting. `behind_ms`: the longest that a message was sent after it was due. `books`: cards and bank
    compared.
    """

    cards: int
    sent: int
    answered: int
    approved: int
    declined: int
    timeouts: int
    lost: int
    cuts: int
    reconnects: int
    repeats: int
    reversals: int
    unresolved: int
    unmatched: int
    not_sent: int
    seconds: float
    per_s: float
    behind_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    kinds: dict[str, int]
    codes: dict[str, int]
    books: Comparison


def read_mix(text: str) -> dict[Kind, float]:
    """A mix as `withdraw=70,balance=20,reverse=5`. Raises LoadError."""
    mix: dict[Kind, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            kind, share = Kind(name.strip()), float(weight)
        except ValueError:
            raise LoadError(
                f"a mix is like withdraw=70,balance=30 of {', '.join(Kind)}, not {part.strip()!r}"
            ) from None
        if not 0 < share < float("inf") or kind in mix:
            raise LoadError(f"a mix names each kind once, with a weight above zero: {part.strip()!r}")
        mix[kind] = share
    return mix


async def run_traffic(
    cards: Sequence[TestCard],
    pinpad: Pad,
    new_link: Callable[[], Switch],
    plan: Plan,
    *,
    stop: asyncio.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrafficResult:
    """Offer the plan to the bank. It ends after the plan's seconds, or when `stop` is set. `progress(done_ms, total_ms)`.

    Raises LoadError where too few cards are good; LinkError where the bank cannot be reached or refuses the sign-on.
    """
    if len(cards) < plan.clients:
        raise LoadError(f"{plan.clients} at once need as many cards; the wallet has {len(cards)}")
    traffic = _Traffic(plan, pinpad.by_card(), new_link)
    try:
        await traffic.open()
        await traffic.begin(cards)
        began = asyncio.get_running_loop().time()
        await traffic.offer(began, stop or asyncio.Event(), progress)
        seconds = traffic.last_answer - began
        await traffic.end()
        return traffic.result(max(0.0, seconds))
    finally:
        await traffic.close()


class _Lane:
    """One connection with its terminals, whose trace numbers no other lane has."""

    def __init__(self, link: SteadyLink, pinpad: Pad, number: int, lanes: int, stans_from: int) -> None:
        self.link = link
        apart = _STANS // (lanes * len(TerminalKind))
        self._terminals = {
            kind: link.switch.terminal(
                pinpad,
                kind,
                _FIRST_TERMINAL + number,
                first_stan=1 + (stans_from + apart * (number * len(TerminalKind) + place)) % _STANS,
            )
            for place, kind in enumerate(TerminalKind)
        }

    def terminal(self, kind: TerminalKind) -> Terminal:
        return self._terminals[kind]


class _Traffic:
    """A run: its lanes, the cards that rest, and what was counted."""

    def __init__(self, plan: Plan, pinpad: Pad, new_link: Callable[[], Switch]) -> None:
        self.last_answer = 0.0
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._cutter = Cutter(plan.cut, random.Random(f"{plan.seed}:cut"))
        self._lanes = [
            _Lane(
                SteadyLink(new_link(), self._cutter if plan.cut else None),
                pinpad,
                number,
                plan.connections,
                plan.stans_from,
            )
            for number in range(plan.connections)
        ]
        self._turn = 0
        self._book = PassBook()
        self._cards: list[TestCard] = []
        self._resting: asyncio.Queue[TestCard] = asyncio.Queue()
        self._counts: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._latencies_ms: list[float] = []
        self._behind_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._errands: dict[Kind, Callable[[_Lane, TestCard, float], Awaitable[None]]] = {
            Kind.WITHDRAW: self._withdraw,
            Kind.PURCHASE: self._purchase,
            Kind.BALANCE: self._balance,
            Kind.REVERSE: self._reverse,
            Kind.HOLD: self._hold,
        }

    async def open(self) -> None:
        for lane in self._lanes:
            await lane.link.open()

    async def close(self) -> None:
        await asyncio.gather(*(lane.link.close() for lane in self._lanes))

    async def begin(self, cards: Sequence[TestCard]) -> None:
        """Ask every card's balance; those that are not good stay out."""
        for card, exchange in await self._ask_all(cards):
            if exchange.approved:
                self._book.begin(card, exchange)
                self._cards.append(card)
        if len(self._cards) < self._plan.clients:
            raise LoadError(
                f"{self._plan.clients} at once need as many cards; only {len(self._cards)} of the wallet are good"
            )
        for card in self._cards:
            self._resting.put_nowait(card)

    async def end(self) -> None:
        """Ask every card's balance again."""
        for card, exchange in await self._ask_all(self._cards):
            self._book.end(card, exchange)

    async def offer(self, began: float, stop: asyncio.Event, progress: Callable[[int, int], None] | None) -> None:
        """Send, and wait until every transaction has come to its end."""
        async with asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(self._tell(began, progress))
            if self._plan.rate_per_s is None:
                workers = [tasks.create_task(self._work(began, stop)) for _ in range(self._plan.clients)]
                await asyncio.wait(workers)
            else:
                sent = await self._at_rate(began, self._plan.rate_per_s, stop, tasks)
                if sent:
                    await asyncio.wait(sent)
            ticker.cancel()

    def result(self, seconds: float) -> TrafficResult:
        """What was counted."""
        rising = sorted(self._latencies_ms)
        approved, answered = self._codes[APPROVED] + self._codes[PARTIALLY_APPROVED], self._codes.total()
        links = [lane.link for lane in self._lanes]
        p50, p90, p95, p99, p999, most = (percentile(rising, percent) for percent in (50, 90, 95, 99, 99.9, 100))
        return TrafficResult(
            cards=len(self._cards), sent=self._counts["sent"], answered=answered, approved=approved,
            declined=answered - approved, timeouts=self._counts["timeouts"], lost=self._counts["lost"],
            cuts=self._cutter.cuts, reconnects=sum(link.reconnects for link in links), repeats=self._counts["repeats"],
            reversals=self._counts["reversals"], unresolved=self._counts["unresolved"],
            unmatched=sum(link.switch.client.unmatched for link in links), not_sent=self._counts["not_sent"],
            seconds=seconds, per_s=answered / seconds if seconds else 0.0, behind_ms=self._behind_s * _MS,
            p50_ms=p50, p90_ms=p90, p95_ms=p95, p99_ms=p99, p999_ms=p999, max_ms=most,
            kinds=dict(sorted(self._kinds.items())), codes=dict(sorted(self._codes.items())), books=self._book.compare(),
        )  # fmt: skip

    async def _tell(self, began: float, progress: Callable[[int, int], None] | None) -> None:
        total_ms = int(self._plan.seconds * _MS)
        while progress is not None:
            progress(min(total_ms, int((self._loop.time() - began) * _MS)), total_ms)
            await asyncio.sleep(_TICK_S)

    async def _work(self, began: float, stop: asyncio.Event) -> None:
        while not stop.is_set() and (now := self._loop.time()) < began + self._plan.seconds:
            await self._one(now)

    async def _at_rate(
        self, began: float, rate_per_s: float, stop: asyncio.Event, tasks: asyncio.TaskGroup
    ) -> set[asyncio.Task[None]]:
        """Begin each transaction when it is due. Those still under way at the end."""
        number, under_way = 0, set[asyncio.Task[None]]()
        while not stop.is_set() and (due := began + number / rate_per_s) < began + self._plan.seconds:
            number += 1
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if len(under_way) >= _WAITING_MOST:
                self._counts["not_sent"] += 1
                continue
            task = tasks.create_task(self._one(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        return under_way

    async def _one(self, due: float) -> None:
        """One transaction, with the card that has rested longest, on the lane whose turn it is."""
        kind = self._rng.choices(tuple(self._plan.mix), tuple(self._plan.mix.values()))[0]
        self._turn += 1
        lane = self._lanes[self._turn % len(self._lanes)]
        card = await self._resting.get()
        self._kinds[kind] += 1
        try:
            await self._errands[kind](lane, card, due)
        finally:
            self._resting.put_nowait(card)

    async def _balance(self, lane: _Lane, card: TestCard, due: float) -> None:
        await self._first(lane, lane.terminal(TerminalKind.ATM).request(Asked.BALANCE, card, 0), due)

    async def _withdraw(self, lane: _Lane, card: TestCard, due: float) -> None:
        kind = self._rng.choice((TerminalKind.ATM, TerminalKind.AGENT))
        await self._pay(lane, lane.terminal(kind), Asked.CASH, card, due)

    async def _purchase(self, lane: _Lane, card: TestCard, due: float) -> None:
        await self._pay(lane, lane.terminal(TerminalKind.EWARONG), Asked.PURCHASE, card, due)

    async def _reverse(self, lane: _Lane, card: TestCard, due: float) -> None:
        terminal = lane.terminal(TerminalKind.ATM)
        paid = await self._pay(lane, terminal, Asked.CASH, card, due)
        if paid is None:
            return
        exchange = await self._insist(lane, terminal.reversal(paid), self._loop.time())
        self._account(card, exchange, -self._plan.amount_idr)

    async def _hold(self, lane: _Lane, card: TestCard, due: float) -> None:
        """Half of what is held is taken. The book has the whole hold until the bank has answered the completion."""
        terminal = lane.terminal(TerminalKind.EWARONG)
        held = await self._pay(lane, terminal, Asked.PURCHASE, card, due, "0100")
        if held is None:
            return
        held_idr = read_amount(held.fields[4], lane.link.switch.profile.amount_exponent)
        taken_idr = max(held_idr // 2, 1)
        completion = terminal.following(held, "0220", Asked.PURCHASE, taken_idr)
        exchange = await self._insist(lane, completion, self._loop.time())
        self._account(card, exchange, taken_idr - held_idr)

    async def _pay(
        self, lane: _Lane, terminal: Terminal, asked: Asked, card: TestCard, due: float, mti: str = "0200"
    ) -> Message | None:
        """A payment and what becomes of it. The message, for what was approved, where the bank has and it stands."""
        message = terminal.request(asked, card, self._plan.amount_idr, mti=mti)
        exchange = await self._first(lane, message, due)
        if exchange.answer is None and self._rng.random() < 0.5:  # noqa: PLR2004 - a terminal of one kind or the other
            back = await self._insist(lane, terminal.reversal(message), None)
            if back.approved:
                self._counts["reversals"] += 1
                return None
            exchange = back
        elif exchange.answer is None:
            exchange = await self._insist(lane, repeated(message), None)
            self._counts["repeats"] += exchange.answer is not None
        self._account(card, exchange, exchange.approved_idr)
        return Message(message.mti, exchange.taken.fields) if exchange.approved else None

    def _account(self, card: TestCard, exchange: Exchange, amount_idr: int) -> None:
        """Write down what the bank answered, or that its answer is not known."""
        if exchange.answer is None or (exchange.request.mti[1:2] == "4" and not exchange.approved):
            self._counts["unresolved"] += 1
            self._book.is_unsure(card)
        elif exchange.approved:
            self._book.spent(card, amount_idr)

    async def _first(self, lane: _Lane, message: Message, due: float) -> Exchange:
        """Send for the first time; counted and timed from DUE."""
        self._behind_s = max(self._behind_s, self._loop.time() - due)
        self._counts["sent"] += 1
        exchange = await self._ask(lane, message)
        self.last_answer = self._loop.time()
        if exchange.answer is not None:
            self._latencies_ms.append((self.last_answer - due) * _MS)
            self._codes[exchange.code] += 1
        else:
            self._counts["timeouts" if lane.link.switch.client.connected else "lost"] += 1
        return exchange

    async def _insist(self, lane: _Lane, message: Message, due: float | None) -> Exchange:
        """Send until it is answered, marked as a repeat from the second time on. DUE: None where it is no first sending."""
        exchange = await (self._ask(lane, message) if due is None else self._first(lane, message, due))
        pause_s = _SETTLING_PAUSE_S
        for _ in range(_SETTLING_TRIES):
            if exchange.answer is not None:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _SETTLING_LONGEST_S)
            exchange = await self._ask(lane, repeated(message))
        return exchange

    @staticmethod
    async def _ask(lane: _Lane, message: Message) -> Exchange:
        """The exchange; one without answer where no connection could be had."""
        try:
            return await lane.link.ask(message)
        except LinkError as error:
            return Exchange(message, None, 0.0, str(error))

    async def _ask_all(self, cards: Iterable[TestCard]) -> list[tuple[TestCard, Exchange]]:
        """Balances of all cards, a few at once; nothing is cut."""
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, card: TestCard) -> tuple[TestCard, Exchange]:
            lane = self._lanes[number % len(self._lanes)]
            async with places:
                message = lane.terminal(TerminalKind.ATM).request(Asked.BALANCE, card, 0)
                return card, await lane.link.ask_on(message, may_cut=False)

        return list(await asyncio.gather(*(one(number, card) for number, card in enumerate(cards))))
