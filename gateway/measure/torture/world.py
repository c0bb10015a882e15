"""The bank under torture and everybody around it: processes, families with cards, terminals, and the model beside them.

settle() is the heart: whatever was asked and answered must be explained by an order of the model that also fits the books.
Nothing here is decided but by `chance`, and never by what the bank answered, so a seed plays the same day again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import create_async_engine

from gateway.app import open_bank
from gateway.measure.torture import invariants
from gateway.measure.torture.clocks import Treasury
from gateway.measure.torture.invariants import Violated
from gateway.measure.torture.oracle import APPROVALS, REMEMBERED_DAYS, UNDECIDED, Family, Programme, Told
from gateway.measure.torture.order import Asked, explain
from gateway.measure.torture.process import Process
from gateway.operations.bank import refresh_business_date
from gateway.rules.purse import Purse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.measure.torture.ceilings import Ceiling
    from gateway.measure.torture.terminals import Sent, TerminalPost
    from gateway.operations.authorise import Outcome
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.wallet import TestCard

START = dt.date(2026, 1, 5)
PROCESSES = 2
PATIENCE = 40  # how often a terminal asks again before the bank counts as dead
AGAIN_S = 0.05
REMEMBERED_STEPS = 15


@dataclass(slots=True)
class Member:
    """A family as the outside knows it: its papers, its account and the card in its hand."""

    number: int
    nik: str
    name: str
    region: str
    account_number: str
    card_id: int
    card: TestCard
    excluded: list[tuple[dt.date, dt.date]] = field(default_factory=list)


class World:
    """One run: the real bank, the model, and the dice."""

    def __init__(
        self, settings: Settings, home: Bank, seed: int, programmes: dict[str, Programme], ceilings: tuple[Ceiling, ...]
    ) -> None:
        self.settings = settings
        self.home = home  # reads and proves; asks nothing
        self.owner: AsyncEngine = create_async_engine(home.database.url)
        self.chance = random.Random(seed)
        self.programmes = programmes
        self.processes: list[Process] = []
        self.members: dict[int, Member] = {}
        self.ceilings = ceilings
        self.families: dict[int, Family] = {0: Family(0, programmes)}  # 0: cards nobody issued
        self.holder_of: dict[str, int] = {}  # PAN -> family
        self.treasury = Treasury()
        self.settled_idr: Counter[str] = Counter()  # paid to the partner, by channel
        self.settled_days: set[dt.date] = set()
        self.terminals: list[TerminalPost] = []
        self.sent: list[Sent] = []  # what may be repeated, reversed, completed or refunded
        self.pinpad: PinPad
        self.today = START
        self.step = 0
        self.seconds = 0
        self.checks = 0
        self.crashes: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.doing: list[str] = []  # in the step that runs
        self.log: deque[str] = deque(maxlen=REMEMBERED_STEPS)
        self._told: dict[tuple[object, ...], tuple[Outcome, dt.date]] = {}
        self._graves: list[asyncio.Task[None]] = []

    def now(self) -> dt.datetime:
        """The terminals' clock: the business date, a few seconds on for every look."""
        self.seconds += 7
        midnight = dt.datetime.combine(self.today, dt.time(), dt.UTC)
        return midnight + dt.timedelta(seconds=self.seconds % 80_000)

    def some_process(self) -> Process:
        """Any living process."""
        return self.chance.choice(self.processes)

    def some_member(self) -> Member:
        """Any family."""
        return self.members[self.chance.choice(sorted(self.members))]

    def real_families(self) -> list[Family]:
        """Every family with an account."""
        return [family for number, family in self.families.items() if number]

    def owed_idr(self, day: dt.date) -> dict[str, int]:
        """What terminals say the bank owes for a partner's day, by channel; nothing where it comes to nothing."""
        owed: Counter[str] = Counter()
        for family in self.families.values():
            for (on, channel), amount in family.owed_idr.items():
                if on == day:
                    owed[channel] += amount
        return {channel: amount for channel, amount in owed.items() if amount}

    async def start_processes(self) -> None:
        """Have as many processes as there should be."""
        while len(self.processes) < PROCESSES:
            self.processes.append(await Process.start(self.settings, self.home.database.url))

    async def kill(self, process: Process) -> None:
        """A process dies and another takes its place."""
        self.processes.remove(process)
        self._graves.append(await process.kill())
        await self.start_processes()

    async def restart(self, process: Process) -> None:
        """A process ends cleanly, answering what it has accepted, and another takes its place."""
        self.processes.remove(process)
        await process.stop()
        await self.start_processes()

    async def turn_to(self, day: dt.date) -> None:
        """Everybody looks at the calendar."""
        self.today = day
        for bank in (self.home, *(process.bank for process in self.processes)):
            if await refresh_business_date(bank) != day:
                raise Violated(f"the business date is {bank.business_date}, not {day}")

    async def put(self, questions: Iterable[tuple[Sent, Process]]) -> list[tuple[Sent, Outcome | None]]:
        """Ask all of it at once."""
        asked = list(questions)
        self.doing += [str(sent) for sent, _ in asked]
        answers = await asyncio.gather(*(process.ask(sent) for sent, process in asked))
        return [(sent, answer) for (sent, _), answer in zip(asked, answers, strict=True)]

    async def insist(self, sent: Sent) -> tuple[Sent, Outcome | None]:
        """Send the same message until it is answered with a decision, as a terminal does."""
        for attempt in range(PATIENCE):
            (answered,) = await self.put([(sent, self.processes[attempt % len(self.processes)])])
            if answered[1] is not None and answered[1].reason not in UNDECIDED:
                return answered
            await asyncio.sleep(AGAIN_S)
        raise Violated(f"{sent} was not answered {PATIENCE} times")

    async def settle(
        self, asked: Sequence[tuple[Sent, Outcome | None]], take_back: Iterable[Sent] = (), beside: Iterable[Asked] = ()
    ) -> None:
        """Find out what is still open, then explain every answer, and what offices did BESIDE.

        TAKE_BACK: reversals of messages, sent where a message was not answered.
        """
        window = list(asked)
        answered = {sent.said.key for sent, outcome in asked if _told(outcome) is not None}
        reversals = {one.original.said.key: one for one in take_back if one.original is not None}
        for key, sent in {sent.said.key: sent for sent, _ in asked}.items():
            if key not in answered:
                window.append(await self.insist(reversals.get(key, sent)))
        for sent, outcome in window:
            self._remember(sent, outcome)
            self.answers[f"{sent.said.kind} {'none' if outcome is None else outcome.reason.value}"] += 1
        touched: dict[int, list[Asked]] = {}
        for sent, outcome in window:
            number = self.holder_of.get(sent.said.key.pan, 0)
            if outcome is None or outcome.reason not in UNDECIDED:
                touched.setdefault(number, []).append(Asked(sent.said, _told(outcome)))
            else:
                touched.setdefault(number, [])
        for one in beside:
            touched.setdefault(self.holder_of[one.said.key.pan], []).append(one)
        await self._explain(touched)

    async def verify(self, numbers: Iterable[int]) -> None:
        """The books of some families are what the model says."""
        await self._explain({number: [] for number in numbers})

    async def _explain(self, touched: dict[int, list[Asked]]) -> None:
        books = await invariants.read(self.home, sorted(number for number in touched if number))
        for number, window in touched.items():
            self.checks += 1
            family = self.families[number]
            differences: list[str | None] = []

            def fits(after: Family, number: int = number, differences: list[str | None] = differences) -> bool:
                differences.append(invariants.agree(after, books[number]) if number else None)
                return differences[-1] is None

            after = explain(family, window, self.today, fits)
            if after is None:
                raise Violated(self._unexplained(family, window, differences))
            self.families[number] = after
            if after.machines is not family.machines:
                for other in self.families.values():
                    other.machines = after.machines

    def _unexplained(self, family: Family, window: list[Asked], differences: list[str | None]) -> str:
        if differences:
            return f"model = bank: family {family.number}: {differences[0]}"
        trial = family.copy()
        lines = []
        for one in window:
            expected = trial.answer(one.said, self.today)
            lines.append(f"{one.said.kind} {one.said.key.stan} told {one.told}, the model says {expected}")
        return f"model = bank: family {family.number}: no order explains: " + "; ".join(lines)

    def _remember(self, sent: Sent, outcome: Outcome | None) -> None:
        """Each message is answered the same twice, in every word."""
        if outcome is None or outcome.reason in UNDECIDED:
            if outcome is not None and outcome.reason != UNDECIDED[0]:
                raise Violated(f"{sent} was answered {outcome.response_code} ({outcome.reason})")
            return
        if outcome.reason == "KEY_REUSED":
            return
        if outcome.reason in APPROVALS and outcome.approval_code is None:
            raise Violated(f"{sent} was approved without an approval code")
        key = (sent.said.key, sent.said.content)
        first, on = self._told.setdefault(key, (outcome, self.today))
        if (self.today - on).days > REMEMBERED_DAYS:
            self._told[key] = outcome, self.today
        elif first._replace(replayed=False) != outcome._replace(replayed=False):
            raise Violated(f"{sent} was answered {first} first and {outcome} later")

    async def close(self) -> None:
        """End everything."""
        for process in self.processes:
            await process.stop()
        await asyncio.gather(*self._graves)
        await self.owner.dispose()


@asynccontextmanager
async def open_world(
    settings: Settings, seed: int, programmes: dict[str, Programme], ceilings: tuple[Ceiling, ...]
) -> AsyncIterator[World]:
    """A bank on a fresh database, with its processes not started yet."""
    async with open_bank(settings) as home:
        world = World(settings, home, seed, programmes, ceilings)
        try:
            yield world
        finally:
            await world.close()


def _told(outcome: Outcome | None) -> Told | None:
    if outcome is None or outcome.reason in UNDECIDED:
        return None
    balances, expiring = outcome.balances, outcome.expiring
    return Told(
        outcome.reason.value, None if balances is None else (balances[Purse.CASH], balances[Purse.FOOD]),
        None if expiring is None else (expiring.on, expiring.amount_idr),
    )  # fmt: skip
