"""What one family does at the terminals of its village, and what it expects to see: the scenes of the story.

Each scene is a short script over terminals; it knows a family's money only from balance answers (DE54) and its own spending.
Which family plays which scene is story.py's business. Read next: tally.py (what is counted), terminal.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.simulator.pinpad import wrong_pin
from gateway.simulator.terminal import Asked, TerminalKind
from iso.response_codes import APPROVED, FORMAT_ERROR

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from gateway.simulator.exchange import Exchange
    from gateway.simulator.tally import Tally
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard

INVALID_TRANSACTION, UNKNOWN_CARD, INSUFFICIENT, WRONG_PIN = "12", "14", "51", "55"
LOCKED = ("75", "38")
NOTE_IDR = 50_000
_STEP_IDR = MappingProxyType({TerminalKind.ATM: NOTE_IDR, TerminalKind.AGENT: 10_000, TerminalKind.EWARONG: 1_000})
_MOST_IDR = MappingProxyType({TerminalKind.ATM: 1_000_000, TerminalKind.AGENT: 500_000, TerminalKind.EWARONG: 400_000})
_TAKES_ALL = 0.3  # share of families that take what they can
_AMOUNT = 4
_BAD_AMOUNT = "0000001000X0"
_UNKNOWN_TYPE = "9200"


class Errand(StrEnum):
    """What a family came for."""

    BALANCE = "BALANCE"
    CASH_AT_ATM = "CASH_AT_ATM"
    CASH_AT_AGENT = "CASH_AT_AGENT"
    PURCHASE = "PURCHASE"
    CASH_AND_PURCHASE = "CASH_AND_PURCHASE"
    WRONG_PIN_ONCE = "WRONG_PIN_ONCE"
    WRONG_PIN_TO_LOCK = "WRONG_PIN_TO_LOCK"
    DUPLICATE = "DUPLICATE"
    TIME_OUT = "TIME_OUT"
    PARTIAL_REVERSAL = "PARTIAL_REVERSAL"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    STRANGE_CARD = "STRANGE_CARD"
    STRANGE_TYPE = "STRANGE_TYPE"
    STRANGE_AMOUNT = "STRANGE_AMOUNT"


STRANGE = (Errand.STRANGE_CARD, Errand.STRANGE_TYPE, Errand.STRANGE_AMOUNT)
"""Scenes of nobody's card: played with an invented one."""


@dataclass(frozen=True, slots=True)
class Village:
    """The terminals one family can walk to. `broken` is an ATM on a link that lets bad fields through."""

    atm: Terminal
    agent: Terminal
    e_warong: Terminal
    broken: Terminal


@dataclass(slots=True)
class Visit:
    """One family, one errand. `left_idr` is what the terminals believe the family can still spend."""

    village: Village
    card: TestCard
    rng: random.Random
    tally: Tally
    pin_tries: int = 3
    left_idr: int = 0

    async def run(self, errand: Errand) -> None:
        """Play one scene."""
        if errand in _NEEDS_BALANCE and not await self._ask_balance():
            return
        await _SCENES[errand](self)

    async def only_balance(self) -> None:
        """The balance was asked for before; at the agent's it is the same."""
        again = await self.village.agent.balance(self.card)
        self.tally.check(again, APPROVED)
        self.tally.check_balance(again, self.left_idr)

    async def cash_at_atm(self) -> None:
        """Banknotes from the machine."""
        await self._spend(self.village.atm)

    async def cash_at_agent(self) -> None:
        """Cash at an agent's."""
        await self._spend(self.village.agent)

    async def purchase(self) -> None:
        """Food at the e-Warong, twice for those who did not take all at once."""
        await self._spend(self.village.e_warong)
        await self._spend(self.village.e_warong)

    async def cash_and_purchase(self) -> None:
        """First cash, then food."""
        await self._spend(self.rng.choice((self.village.atm, self.village.agent)))
        await self._spend(self.village.e_warong)

    async def wrong_pin_once(self) -> None:
        """A slip, then the right PIN: the tries start anew."""
        exchange = await self.village.atm.withdraw(self.card, NOTE_IDR, wrong_pin(self.card.pin))
        self.tally.check(exchange, WRONG_PIN)
        await self._spend(self.village.atm)

    async def wrong_pin_to_lock(self) -> None:
        """Wrong until the card is locked; then even the right PIN does not help."""
        for left in reversed(range(self.pin_tries)):
            exchange = await self.village.atm.withdraw(self.card, NOTE_IDR, wrong_pin(self.card.pin))
            self.tally.check(exchange, *((WRONG_PIN,) if left else (WRONG_PIN, *LOCKED)))
        self.tally.check(await self.village.atm.withdraw(self.card, NOTE_IDR), *LOCKED)

    async def duplicate(self) -> None:
        """The network sends a message again, once as it was and once marked: one payment, one answer."""
        terminal = self._any_terminal()
        first = await self._spend(terminal)
        if first is None:
            return
        self.tally.check_repeated(first, await terminal.repeat(first))
        self.tally.check_repeated(first, await terminal.repeat(first, marked=True))
        await self._confirm_balance()

    async def time_out(self) -> None:
        """The answer comes too late for the terminal: it takes the payment back, and says so twice."""
        terminal = self._any_terminal()
        first = await self._spend(terminal)
        if first is None:
            return
        amount_idr = self._amount_of(first)
        reversal = await terminal.reverse(first)
        self._took_back(terminal, reversal, amount_idr)
        self.tally.check_repeated(reversal, await terminal.reverse(first, repeat=True))
        await self._confirm_balance()

    async def partial_reversal(self) -> None:
        """The machine gives fewer notes than asked for."""
        first = await self._spend(self.village.atm, least_idr=2 * NOTE_IDR)
        if first is None:
            return
        amount_idr = self._amount_of(first)
        kept_idr = self.rng.randrange(NOTE_IDR, amount_idr, NOTE_IDR)
        self._took_back(self.village.atm, await self.village.atm.reverse(first, kept_idr), amount_idr - kept_idr)
        await self._confirm_balance()

    async def insufficient_funds(self) -> None:
        """More than there is: refused, and nothing moves."""
        exchange = await self.village.atm.withdraw(self.card, (self.left_idr // NOTE_IDR + 1) * NOTE_IDR)
        self.tally.check(exchange, INSUFFICIENT)
        await self._confirm_balance()

    async def strange_card(self) -> None:
        """A number of our BIN that was never issued."""
        self.tally.check(await self.village.atm.withdraw(self.card, NOTE_IDR), UNKNOWN_CARD)

    async def strange_type(self) -> None:
        """A message type that the standard does not know is answered all the same."""
        message = self.village.atm.request(Asked.CASH, self.card, NOTE_IDR)
        message.mti = _UNKNOWN_TYPE
        self.tally.check(await self.village.atm.send(message), INVALID_TRANSACTION, FORMAT_ERROR)

    async def strange_amount(self) -> None:
        """An amount that is no number: answered as a format error, and the link lives on."""
        message = self.village.broken.request(Asked.CASH, self.card, NOTE_IDR)
        message.fields[_AMOUNT] = _BAD_AMOUNT
        self.tally.check(await self.village.broken.send(message), FORMAT_ERROR, but=(_AMOUNT,))

    async def _ask_balance(self) -> bool:
        """Learn what there is. Whether the bank told it."""
        exchange = await self._any_terminal().balance(self.card)
        self.left_idr = exchange.available_idr
        if not self.tally.check(exchange, APPROVED):
            return False
        if not exchange.balances:
            self.tally.surprise(exchange, "a balance inquiry was answered without a balance")
        return bool(exchange.balances)

    async def _confirm_balance(self) -> None:
        exchange = await self.village.atm.balance(self.card)
        self.tally.check(exchange, APPROVED)
        self.tally.check_balance(exchange, self.left_idr)

    async def _spend(self, terminal: Terminal, least_idr: int = 0) -> Exchange | None:
        """Take a sum that is there. None where there is too little, or the bank did not approve."""
        amount_idr = self._sum(terminal.kind, least_idr)
        if amount_idr == 0:
            return None
        purchase = terminal.kind is TerminalKind.EWARONG
        exchange = await (terminal.purchase if purchase else terminal.withdraw)(self.card, amount_idr)
        self.tally.check(exchange, APPROVED)
        if exchange.answer is None:  # outcome unknown: take it back, as a terminal must
            self.tally.check(await terminal.reverse(exchange), APPROVED)
        if not exchange.approved:
            return None
        self.left_idr -= amount_idr
        self.tally.spent(amount_idr, purchase=purchase)
        self.tally.check_balance(exchange, self.left_idr)
        return exchange

    def _took_back(self, terminal: Terminal, reversal: Exchange, amount_idr: int) -> None:
        self.tally.check(reversal, APPROVED)
        if reversal.approved:
            self.left_idr += amount_idr
            self.tally.given_back(amount_idr, purchase=terminal.kind is TerminalKind.EWARONG)

    def _sum(self, kind: TerminalKind, least_idr: int) -> int:
        """A sum this terminal can give and the family has: a multiple of its step. 0 where there is none."""
        step_idr = _STEP_IDR[kind]
        steps = min(self.left_idr, _MOST_IDR[kind]) // step_idr
        fewest = max(1, least_idr // step_idr)
        if steps < fewest:
            return 0
        return step_idr * (steps if self.rng.random() < _TAKES_ALL else self.rng.randint(fewest, steps))

    def _any_terminal(self) -> Terminal:
        return self.rng.choice((self.village.atm, self.village.agent, self.village.e_warong))

    def _amount_of(self, exchange: Exchange) -> int:
        return int(exchange.request.fields[_AMOUNT]) // 100


_SCENES: MappingProxyType[Errand, Callable[[Visit], Awaitable[None]]] = MappingProxyType(
    {
        Errand.BALANCE: Visit.only_balance,
        Errand.CASH_AT_ATM: Visit.cash_at_atm,
        Errand.CASH_AT_AGENT: Visit.cash_at_agent,
        Errand.PURCHASE: Visit.purchase,
        Errand.CASH_AND_PURCHASE: Visit.cash_and_purchase,
        Errand.WRONG_PIN_ONCE: Visit.wrong_pin_once,
        Errand.WRONG_PIN_TO_LOCK: Visit.wrong_pin_to_lock,
        Errand.DUPLICATE: Visit.duplicate,
        Errand.TIME_OUT: Visit.time_out,
        Errand.PARTIAL_REVERSAL: Visit.partial_reversal,
        Errand.INSUFFICIENT_FUNDS: Visit.insufficient_funds,
        Errand.STRANGE_CARD: Visit.strange_card,
        Errand.STRANGE_TYPE: Visit.strange_type,
        Errand.STRANGE_AMOUNT: Visit.strange_amount,
    }
)
_NEEDS_BALANCE = frozenset(Errand) - {Errand.WRONG_PIN_TO_LOCK, *STRANGE}
