"""Runs scripted cases against a bank: one by one, or many at once, again and again, with connections cut and under load.

Each run of a case has connections of its own and a card that no other run uses: the first of the wallet that is good and
holds the money the case needs. Read next: script.py (the language), play.py (one case), cases/ (those we ship).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.simulator.play import Play
from gateway.simulator.profile import HIMBARA_PROFILE, Profile
from gateway.simulator.script import read_case
from gateway.simulator.steady import Cutter
from gateway.simulator.switch import Switch, careless
from gateway.simulator.terminal import Purse, TerminalKind
from gateway.simulator.traffic import Kind, Plan, run_traffic
from gateway.simulator.wallet import strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from gateway.simulator.capture import Capture
    from gateway.simulator.pinpad import Pad
    from gateway.simulator.script import Case
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.traffic import TrafficResult
    from gateway.simulator.wallet import TestCard, Wallet

FOLDER = Path(__file__).with_name("cases")
_STRANGERS_SEED = 601_301
_FINDER_STAN = 900_000
_STANS = 999_999
_MS = 1_000
_LOAD_SECONDS = 86_400.0  # until the cases are done
_LOAD_CARDS = 200
_LOAD_CONNECTIONS = 2
_LOAD_MIX = MappingProxyType({Kind.WITHDRAW: 60.0, Kind.BALANCE: 20.0, Kind.PURCHASE: 15.0, Kind.REVERSE: 5.0})


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one run of a case went. `failures`: a line each, with the step; none where it passed.

    `repeats`: messages that were sent again because their connection was lost.
    """

    name: str
    path: Path
    steps: int
    failures: tuple[str, ...]
    elapsed_ms: float
    repeats: int = 0

    @property
    def passed(self) -> bool:
        """Whether every answer was as expected."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Round:
    """How often and how the cases run: each `repeat` times, `clients` at once.

    `cut` (0 to 1): how many of the messages lose their connection before the answer, by the dice of `seed`. `load_per_s`: so
    many transactions a second run beside the cases, on the last cards of the wallet; its connections are cut as well. 0: none.
    `stans_from`: where trace numbers begin; two rounds within a second must not have the same.
    """

    repeat: int = 1
    clients: int = 1
    cut: float = 0.0
    load_per_s: float = 0.0
    seed: int = 1
    stans_from: int = 0


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The runs in the order in which they began, how often a case's connection was cut, and the load that ran beside them.

    `not_run`: names of cases that are not for this profile.
    """

    cases: list[CaseResult]
    cuts: int = 0
    load: TrafficResult | None = None
    not_run: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Bank:
    """Where the cases go."""

    host: str
    port: int
    clock: Callable[[], datetime]
    timeout_s: float
    profile: Profile
    capture: Capture | None

    def link(self, *, is_careless: bool = False) -> Switch:
        dialect = careless(self.profile.dialect) if is_careless else None
        return Switch(
            self.host, self.port, clock=self.clock, profile=self.profile, dialect=dialect, timeout_s=self.timeout_s,
            capture=self.capture,
        )  # fmt: skip


def shipped_cases(profile: Profile = HIMBARA_PROFILE) -> list[Path]:
    """The files of the cases that come with the simulator and are for PROFILE, sorted: those of a group together.

    Those about what the profile has not (MACs, chips) are not among them. Raises CaseError.
    """
    return [path for path in sorted(FOLDER.glob("*.toml")) if _is_for(read_case(path), profile)]


async def run_cases(
    paths: Sequence[Path],
    host: str,
    port: int,
    wallet: Wallet,
    pinpad: Pad,
    *,
    clock: Callable[[], datetime],
    profile: Profile = HIMBARA_PROFILE,
    timeout_s: float = 10.0,
    plan: Round | None = None,
    capture: Capture | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RoundResult:
    """Run the cases of `paths` as the plan says, by default once, one after the other. `progress(done, total)` counts runs.

    Raises CaseError before anything is sent where a file is wrong, LinkError where the bank cannot be reached, LoadError
    where the load beside the cases finds too few good cards.
    """
    plan = plan or Round()
    read = [read_case(path) for path in paths]
    fitting = [case for case in read if _fits(case, profile)]
    cases = [*fitting, *[case for case in fitting if not case.once] * (plan.repeat - 1)]
    bank = _Bank(host, port, clock, timeout_s, profile, capture)
    own, of_load = _shared_out(wallet, plan)
    stop = asyncio.Event()
    async with bank.link() as switch:
        teller = switch.terminal(
            pinpad, TerminalKind.ATM, 9_999_999, first_stan=(_FINDER_STAN + plan.stans_from) % _STANS + 1
        )
        load: asyncio.Task[TrafficResult] | None = None
        if of_load:
            beside = Plan(
                _LOAD_SECONDS,
                1,
                _LOAD_CONNECTIONS,
                plan.load_per_s,
                dict(_LOAD_MIX),
                plan.cut,
                seed=plan.seed,
                stans_from=plan.stans_from,
            )
            load = asyncio.create_task(run_traffic(of_load, pinpad, bank.link, beside, stop=stop))
        try:
            done = await _play_all(cases, bank, pinpad, _Finder(own, teller), wallet, plan, progress)
        finally:
            stop.set()
            traffic = None if load is None else await load
    return RoundResult(*done, traffic, tuple(case.name for case in read if case not in fitting))


def _is_for(case: Case, profile: Profile) -> bool:
    """Whether the case is about such a link."""
    wanted = (
        (case.needs_mac, profile.mac_key),
        (case.needs_fresh, profile.freshness_s),
        (case.needs_chip, profile.chip),
        (case.needs_stripe, profile.stripe_value),
        (case.needs_key_change, profile.zone_master_key),
    )
    return case.profile in ("", profile.name) and all(has for needs, has in wanted if needs)


def _fits(case: Case, profile: Profile) -> bool:
    """Whether the case can be played in this profile."""
    if not _is_for(case, profile) or (case.careless and not profile.digits_are_text):
        return False
    if case.needs_whole if profile.partial_approval else case.needs_partial:
        return False
    return profile.sign_on_required or not case.needs_sign_on


def _shared_out(wallet: Wallet, plan: Round) -> tuple[Sequence[TestCard], Sequence[TestCard]]:
    """The cards of the cases, and of the load beside them: the last third of the wallet, but not too many."""
    if not plan.load_per_s:
        return wallet.cards, ()
    count = len(wallet.cards) - min(len(wallet.cards) // 3, _LOAD_CARDS)
    return wallet.cards[:count], wallet.cards[count:]


async def _play_all(
    cases: Sequence[Case], bank: _Bank, pinpad: Pad, finder: _Finder, wallet: Wallet, plan: Round,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[CaseResult], int]:  # fmt: skip
    """All runs, as many at once as the plan has clients; and how many connections were cut."""
    unknown = strangers(wallet.cards, random.Random(_STRANGERS_SEED))
    cutter = Cutter(plan.cut, random.Random(plan.seed)) if plan.cut else None
    results: dict[int, CaseResult] = {}
    waiting = deque(enumerate(cases))

    async def work() -> None:
        while waiting:
            place, case = waiting.popleft()
            results[place] = await _run(case, bank, pinpad, finder, next(unknown), place, cutter, plan.stans_from)
            if progress is not None:
                progress(len(results), len(cases))

    await asyncio.gather(*(work() for _ in range(plan.clients)))
    return [results[place] for place in range(len(cases))], 0 if cutter is None else cutter.cuts


async def _run(
    case: Case,
    bank: _Bank,
    pinpad: Pad,
    finder: _Finder,
    unknown: TestCard,
    place: int,
    cutter: Cutter | None,
    stans_from: int,
) -> CaseResult:
    loop = asyncio.get_running_loop()
    card = await finder.card(case)
    began = loop.time()
    repeats = 0
    if card is None:
        failures = [f"no card of the wallet is good and has {_needs(case)}{finder.why}"]
    else:
        play = Play(
            case, lambda: bank.link(is_careless=case.careless), pinpad, (card, unknown), place, cutter, stans_from
        )
        failures = await play.run()
        repeats = play.repeats
    elapsed_ms = (loop.time() - began) * _MS
    return CaseResult(case.name, case.path, len(case.steps), tuple(failures), elapsed_ms, repeats)


def _has(balances: Mapping[str, int], case: Case) -> bool:
    """Whether a card with so much in its purses, by account type, is one for the case."""
    food_idr, cash_idr = balances.get(Purse.FOOD, 0), balances.get(Purse.CASH, 0)
    return (
        sum(balances.values()) >= case.needs_idr and food_idr >= case.needs_food_idr and cash_idr >= case.needs_cash_idr
    )


def _needs(case: Case) -> str:
    food = f", Rp{case.needs_food_idr} of it food" if case.needs_food_idr else ""
    cash = f", Rp{case.needs_cash_idr} of it cash" if case.needs_cash_idr else ""
    return f"Rp{case.needs_idr}{food}{cash}"


class _Finder:
    """Gives out cards, each once, after asking the bank for their balance; one at a time, whoever asks."""

    def __init__(self, cards: Sequence[TestCard], teller: Terminal) -> None:
        self._untried = deque(cards)
        self._passed_over: list[tuple[TestCard, dict[str, int]]] = []
        self._teller = teller
        self._lock = asyncio.Lock()
        self._refused = ""

    @property
    def why(self) -> str:
        """What the last card that was refused its balance was told."""
        return f"; a balance was answered {self._refused}" if self._refused else ""

    async def card(self, case: Case) -> TestCard | None:
        """A good card with what the case needs, or None."""
        async with self._lock:
            return await self._found(case)

    async def _found(self, case: Case) -> TestCard | None:
        for place, (card, balances) in enumerate(self._passed_over):
            if _has(balances, case):
                del self._passed_over[place]
                return card
        while self._untried:
            card = self._untried.popleft()
            exchange = await self._teller.balance(card)
            if exchange.answer is None:
                return None
            if not exchange.approved:
                self._refused = exchange.code
                continue
            if _has(exchange.balances, case):
                return card
            self._passed_over.append((card, exchange.balances))
        return None
