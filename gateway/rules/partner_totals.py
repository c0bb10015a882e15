"""A partner's totals of a settlement date beside ours: what each counts, what they come to, and whether they agree. Pure.

Counts and sums are those of ISO 8583:1987, DE74 to 89, by the transaction of DE3: 00 to 19 are debits (cash, purchases, completed
holds), 20 to 29 credits (refunds), 30 to 39 inquiries. A reversal counts as one of what it reverses, with what it gave back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date


class Balance(StrEnum):
    """DE66, settlement code."""

    IN_BALANCE = "1"
    OUT_OF_BALANCE = "2"
    ERROR = "3"


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts and rupiah of one link and settlement date."""

    credits: int = 0
    credits_idr: int = 0
    credit_reversals: int = 0
    credit_reversals_idr: int = 0
    debits: int = 0
    debits_idr: int = 0
    debit_reversals: int = 0
    debit_reversals_idr: int = 0
    inquiries: int = 0
    authorisations: int = 0

    @property
    def net_idr(self) -> int:
        """Credits less debits, reversals taken off. Below zero (D in DE97): the bank owes the partner, as on nearly every day."""
        return self.credits_idr + self.debit_reversals_idr - self.credit_reversals_idr - self.debits_idr

    def told(self) -> dict[str, int]:
        """By name, the net among them."""
        return asdict(self) | {"net_idr": self.net_idr}


def compare(theirs: Mapping[str, int], ours: Totals) -> dict[str, tuple[int, int]]:
    """What a partner said (some or all names of `told`) that is not ours: name, theirs and ours. Empty: in balance.

    >>> compare({"debits": 2, "net_idr": -100}, Totals(debits=2, debits_idr=150))
    {'net_idr': (-100, -150)}
    """
    told = ours.told()
    return {name: (value, told[name]) for name, value in theirs.items() if told[name] != value}


def year_of(month: int, day: int, today: date) -> date:
    """The date nearest to TODAY that has this month and day. Raises ValueError for a day that no calendar has.

    >>> from datetime import date
    >>> year_of(12, 31, date(2027, 1, 2)), year_of(1, 1, date(2026, 12, 31))
    (datetime.date(2026, 12, 31), datetime.date(2027, 1, 1))
    """
    found = []
    for year in (today.year - 1, today.year, today.year + 1):
        try:
            found.append(today.replace(year=year, month=month, day=day))
        except ValueError:  # 29 February is in some years alone
            continue
    if not found:
        raise ValueError(f"no year has the day {month:02d}-{day:02d}")
    return min(found, key=lambda one: abs(one - today))
