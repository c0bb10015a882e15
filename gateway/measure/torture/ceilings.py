"""Spending limits as a family reads them on a notice: how much and how often, a transaction, day or month. Part of the model."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.measure.torture.oracle import Family, Said

CASH_CHANNELS = frozenset({"ATM", "AGENT"})
FIRST_DAY = dt.date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One limit. CHANNELS, PROGRAMME None: every one together. TERMINAL: what that one machine pays out, to everybody."""

    period: str  # TRANSACTION, DAY or MONTH
    channels: frozenset[str] | None
    programme: str | None
    max_amount_idr: int | None
    max_count: int | None = None
    terminal: str | None = None
    start: dt.date = FIRST_DAY
    end: dt.date = dt.date.max


def exceeded(
    family: Family, said: Said, amounts: Mapping[str, int], today: dt.date, ceilings: Iterable[Ceiling]
) -> str | None:
    """Why a debit of AMOUNTS by programme is refused: rupiah of any limit before transactions of any. None: it is not."""
    found = set()
    for one in ceilings:
        amount = sum(amounts.values()) if one.programme is None else amounts.get(one.programme, 0)
        if amount == 0 or not _fits(one, said, today):
            continue
        count, spent = _machine(family, one, today) if one.terminal else _before(family, one, today)
        if one.max_amount_idr is not None and spent + amount > one.max_amount_idr:
            found.add("LIMIT_AMOUNT")
        if one.max_count is not None and count + 1 > one.max_count:
            found.add("LIMIT_COUNT")
    return min(found, default=None)  # the words happen to stand in the order in which they count


def _fits(one: Ceiling, said: Said, today: dt.date) -> bool:
    here = one.terminal in (None, said.terminal)
    return here and (one.channels is None or said.channel in one.channels) and one.start <= today <= one.end


def _before(family: Family, one: Ceiling, today: dt.date) -> tuple[int, int]:
    """How many debits count before this one, and what is still taken of them."""
    taken = []
    for debit in family.answered.values():
        approved = debit.told.reason in ("APPROVED", "PARTIALLY_APPROVED")
        counts = approved and debit.said.kind in ("CASH", "PURCHASE", "HOLD", "COMPLETION")
        if not counts or not _in_period(one, debit.on, today):
            continue
        if one.channels is not None and debit.said.channel not in one.channels:
            continue
        left = [
            amount
            for place, amount in debit.left()
            if one.programme in (None, family.stages[place].programme)
        ]  # fmt: skip
        taken.append(sum(left))
    return sum(amount > 0 for amount in taken), sum(taken)


def _machine(family: Family, one: Ceiling, today: dt.date) -> tuple[int, int]:
    used = [
        use
        for (terminal, on), use in family.machines.items()
        if terminal == one.terminal and _in_period(one, on, today)
    ]
    return sum(count for count, _ in used), sum(amount for _, amount in used)


def _in_period(one: Ceiling, on: dt.date, today: dt.date) -> bool:
    if one.period == "TRANSACTION":
        return False
    return on == today if one.period == "DAY" else (on.year, on.month) == (today.year, today.month)
