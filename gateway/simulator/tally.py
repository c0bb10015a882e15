"""What the terminals count for themselves while a story runs: response codes, money, and everything that surprised them.

Knows only answers. A surprise names the message by type, trace number and terminal, never a card. Read next: errands.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.simulator.exchange import Exchange

_UNANSWERED = "none"
_SURPRISES_KEPT = 1_000


@dataclass(slots=True)
class Tally:
    """Running counts. `reversed` and `reversed_idr` count what reversals gave back; withdrawn and purchased are net of it."""

    codes: Counter[str] = field(default_factory=Counter)
    exchanges: int = 0
    reversed: int = 0
    reversed_idr: int = 0
    withdrawn_idr: int = 0
    purchased_idr: int = 0
    surprises: list[str] = field(default_factory=list)
    surprises_lost: int = 0

    def check(self, exchange: Exchange, *codes: str, but: Iterable[int] = ()) -> bool:
        """Count `exchange`; whether it was answered with one of `codes` and in good form. Fields in `but` need no echo."""
        self.exchanges += 1
        self.codes[exchange.code or _UNANSWERED] += 1
        if exchange.answer is not None and exchange.code not in codes:
            self.surprise(exchange, f"expected {' or '.join(codes)}, got {exchange.code or 'no response code'}")
            return False
        faults = exchange.faults(but)
        for fault in faults:
            self.surprise(exchange, fault)
        return not faults

    def check_repeated(self, first: Exchange, again: Exchange) -> bool:
        """Count a repeat; whether it was answered just as the first time."""
        alike = self.check(again, first.code)
        if alike and not first.same_answer(again):
            self.surprise(again, "a repeated message was answered differently")
            return False
        return alike

    def check_balance(self, exchange: Exchange, expected_idr: int) -> None:
        """Where the answer tells balances, they must add up to what the terminal expects."""
        if exchange.balances and exchange.available_idr != expected_idr:
            self.surprise(exchange, f"expected a balance of Rp{expected_idr}, got Rp{exchange.available_idr}")

    def spent(self, amount_idr: int, *, purchase: bool) -> None:
        """Money went out."""
        if purchase:
            self.purchased_idr += amount_idr
        else:
            self.withdrawn_idr += amount_idr

    def given_back(self, amount_idr: int, *, purchase: bool) -> None:
        """A reversal took `amount_idr` back."""
        self.reversed += 1
        self.reversed_idr += amount_idr
        self.spent(-amount_idr, purchase=purchase)

    def surprise(self, exchange: Exchange, what: str) -> None:
        """Note something that was not expected; a flood of them is counted, not kept."""
        if len(self.surprises) < _SURPRISES_KEPT:
            self.surprises.append(f"{exchange.place}: {what}")
        else:
            self.surprises_lost += 1
