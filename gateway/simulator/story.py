"""The terminals' part of the demo: a day on which most families of a wallet come for their aid, over TCP.

Who does what is drawn from a seed; a share of families stays at home, so that their clocks run out. What is counted comes from
the terminals' own answers, so it can be laid beside the bank's books. Read next: errands.py (the scenes), tally.py.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.simulator.errands import STRANGE, Errand, Village, Visit
from gateway.simulator.switch import CARELESS, Switch
from gateway.simulator.tally import Tally
from gateway.simulator.terminal import TerminalKind
from gateway.simulator.wallet import strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.wallet import TestCard, Wallet

UNTOUCHED_SHARE = 0.15
_SPECIAL_SHARES = MappingProxyType(
    {
        Errand.DUPLICATE: 0.04,
        Errand.TIME_OUT: 0.04,
        Errand.PARTIAL_REVERSAL: 0.02,
        Errand.INSUFFICIENT_FUNDS: 0.03,
        Errand.WRONG_PIN_ONCE: 0.03,
        Errand.WRONG_PIN_TO_LOCK: 0.005,
    }
)
_ORDINARY_WEIGHTS = MappingProxyType(
    {
        Errand.CASH_AT_ATM: 30,
        Errand.CASH_AT_AGENT: 20,
        Errand.PURCHASE: 25,
        Errand.CASH_AND_PURCHASE: 15,
        Errand.BALANCE: 10,
    }
)
_STRANGE_EACH = 3
_STANS_A_KIND = 300_000
_STANS_A_VILLAGE = 5_000


@dataclass(frozen=True, slots=True)
class StoryResult:
    """What the terminals saw. Money in rupiah; withdrawn and purchased are net of what reversals gave back.

    `codes` counts DE39 of every exchange but network management, "none" where no answer came. `surprises`: every answer that
    was not what its terminal expected; empty when all went well.
    """

    codes: dict[str, int]
    exchanges: int
    reversed: int
    reversed_idr: int
    withdrawn_idr: int
    purchased_idr: int
    surprises: list[str]
    families: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Who comes for what. `seed` makes the family's own choices."""

    errand: Errand
    card: TestCard
    seed: str


async def tell(
    wallet: Wallet,
    pinpad: PinPad,
    host: str,
    port: int,
    *,
    clock: Callable[[], datetime],
    seed: int = 1,
    untouched: Collection[str] = (),
    in_flight: int = 50,
    pin_tries: int = 3,
    timeout_s: float = 30.0,
    progress: Callable[[int, int], None] | None = None,
) -> StoryResult:
    """Play the day. `untouched`: account numbers that must not transact. `progress(done, total)` counts visits.

    Raises LinkError where the bank cannot be reached or refuses the sign-on.
    """
    kept = frozenset(untouched)
    cards = [card for card in wallet.cards if card.account_number not in kept]
    plans = make_plans(cards, wallet.cards, seed)
    tally = Tally()
    done = 0

    async def live(village: Village, own: Iterator[Plan]) -> None:
        nonlocal done
        for plan in own:
            await Visit(village, plan.card, random.Random(plan.seed), tally, pin_tries).run(plan.errand)
            done += 1
            if progress is not None:
                progress(done, len(plans))

    async with (
        Switch(host, port, clock=clock, timeout_s=timeout_s) as switch,
        Switch(host, port, clock=clock, dialect=CARELESS, timeout_s=timeout_s) as careless,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(in_flight):
            village = _village(switch, careless, pinpad, number)
            tasks.create_task(live(village, islice(plans, number, None, in_flight)))
    return StoryResult(
        codes=dict(sorted(tally.codes.items())),
        exchanges=tally.exchanges,
        reversed=tally.reversed,
        reversed_idr=tally.reversed_idr,
        withdrawn_idr=tally.withdrawn_idr,
        purchased_idr=tally.purchased_idr,
        surprises=tally.surprises,
        families=len(cards),
    )


def choose_untouched(wallet: Wallet, seed: int, share: float = UNTOUCHED_SHARE) -> frozenset[str]:
    """Account numbers of the families that stay at home: `share` of the wallet, by the seed."""
    accounts = [card.account_number for card in wallet.cards]
    return frozenset(random.Random(f"{seed}:untouched").sample(accounts, round(len(accounts) * share)))


def make_plans(cards: Sequence[TestCard], known: Sequence[TestCard], seed: int) -> list[Plan]:
    """One visit a card, and a few by strangers whose cards are none of `known`. Every special scene occurs, cards allowing."""
    rng = random.Random(f"{seed}:plans")
    special = [errand for errand, share in _SPECIAL_SHARES.items() for _ in range(max(1, round(share * len(cards))))]
    ordinary = rng.choices(
        tuple(_ORDINARY_WEIGHTS), tuple(_ORDINARY_WEIGHTS.values()), k=max(0, len(cards) - len(special))
    )
    errands = [*special, *ordinary][: len(cards)]
    rng.shuffle(errands)
    plans = [Plan(errand, card, f"{seed}:{card.account_number}") for errand, card in zip(errands, cards, strict=True)]
    unknown = strangers(known, rng)
    plans += [Plan(errand, next(unknown), f"{seed}:{errand}:{n}") for errand in STRANGE for n in range(_STRANGE_EACH)]
    rng.shuffle(plans)
    return plans


def _village(switch: Switch, careless: Switch, pinpad: PinPad, number: int) -> Village:
    """One ATM, agent and e-Warong, with trace numbers that no other terminal uses that day."""
    atm, agent, e_warong = (
        switch.terminal(pinpad, kind, number, first_stan=place * _STANS_A_KIND + number * _STANS_A_VILLAGE + 1)
        for place, kind in enumerate(TerminalKind)
    )
    broken = careless.terminal(
        pinpad, TerminalKind.ATM, 9_000_000 + number, first_stan=3 * _STANS_A_KIND + number * 100 + 1
    )
    return Village(atm, agent, e_warong, broken)
