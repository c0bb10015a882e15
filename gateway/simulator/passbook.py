"""What the terminals believe each card can spend, held against what the bank says in the end.

Of every card the balance is asked before and after; between, each payment whose fate is known is written down. A card whose
fate is not known is set aside and counted. Knows balances from answers only (DE54). Read next: traffic.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.wallet import TestCard

_DIFFERENCES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """How it ended. `unsure`: cards with a payment of unknown fate, `untold`: cards whose balance the bank did not tell.

    `spent_idr`: what the terminals know was taken from the compared cards. `differences`: a line each, the card masked.
    """

    compared: int
    unsure: int
    untold: int
    spent_idr: int
    bank_spent_idr: int
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the bank says what the terminals believe."""
        return not self.differences


class PassBook:
    """One line a card."""

    def __init__(self) -> None:
        self._before_idr: dict[str, int] = {}
        self._after_idr: dict[str, int] = {}
        self._spent_idr: dict[str, int] = {}
        self._unsure: set[str] = set()
        self._masked: dict[str, str] = {}

    def begin(self, card: TestCard, balance: Exchange) -> None:
        """What the bank says before."""
        pan = card.pan.reveal()
        self._masked[pan] = card.pan.masked
        self._spent_idr[pan] = 0
        if balance.balances:
            self._before_idr[pan] = balance.available_idr

    def spent(self, card: TestCard, amount_idr: int) -> None:
        """Taken for sure; negative where it was given back for sure."""
        self._spent_idr[card.pan.reveal()] += amount_idr

    def is_unsure(self, card: TestCard) -> None:
        """A payment of this card may have been made or not."""
        self._unsure.add(card.pan.reveal())

    def end(self, card: TestCard, balance: Exchange) -> None:
        """What the bank says after."""
        if balance.balances:
            self._after_idr[card.pan.reveal()] = balance.available_idr

    def compare(self) -> Comparison:
        """Lay both beside each other."""
        told = [pan for pan in self._spent_idr if pan in self._before_idr and pan in self._after_idr]
        compared = [pan for pan in told if pan not in self._unsure]
        lines = []
        for pan in compared:
            expected_idr = self._before_idr[pan] - self._spent_idr[pan]
            if expected_idr != self._after_idr[pan]:
                lines.append(
                    f"card {self._masked[pan]}: expected Rp{expected_idr}, the bank says Rp{self._after_idr[pan]}"
                )
        if len(lines) > _DIFFERENCES_SHOWN:
            lines = [*lines[:_DIFFERENCES_SHOWN], f"and {len(lines) - _DIFFERENCES_SHOWN} more"]
        return Comparison(
            compared=len(compared),
            unsure=len(self._unsure),
            untold=len(self._spent_idr) - len(told),
            spent_idr=sum(self._spent_idr[pan] for pan in compared),
            bank_spent_idr=sum(self._before_idr[pan] - self._after_idr[pan] for pan in compared),
            differences=tuple(lines),
        )
