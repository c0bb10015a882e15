"""What a family is due for a stage: effective-dated amounts, counted as the programme counts persons and months.

Pure: rates are data of the caller. Used to compare an instruction with the rule, never to decide what is credited: that is
the SI's own amount. Read next: gateway.rules.instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

PKH_MAX_PERSONS = 4
"""Persons of a family that PKH counts (technical guide; confirm for the year in force)."""


class Per(StrEnum):
    """What an amount is paid for."""

    STAGE = "STAGE"
    MONTH = "MONTH"


@dataclass(frozen=True, slots=True)
class AmountRate:
    """An amount in rupiah, in force from `valid_from` to `valid_to` (both included; None: until a later one).

    With a component it is for one person of it, without one for the family.
    """

    programme: str
    component: str | None
    amount_idr: int
    per: Per
    valid_from: dt.date
    valid_to: dt.date | None = None

    def in_force(self, on: dt.date) -> bool:
        """Whether the rate applies to a stage of this date."""
        return self.valid_from <= on and (self.valid_to is None or on <= self.valid_to)


def expected_amount(
    programme: str,
    components: Mapping[str, int],
    months: int,
    stage_date: dt.date,
    rates: Iterable[AmountRate],
    *,
    max_persons: int = PKH_MAX_PERSONS,
) -> int | None:
    """Rupiah due for one stage of `months` months, or None where the rates in force do not tell.

    The family's amount (if the programme has one) plus, person by person, the `max_persons` highest component amounts.
    Of two rates in force for the same thing the later counts.
    """
    in_force = _latest(programme, stage_date, rates)
    due_idr = {component: _for_stage(rate, months) for component, rate in in_force.items()}
    family_idr = due_idr.pop(None, None)
    if not due_idr:
        return family_idr
    if any(component not in due_idr for component in components):
        return None
    persons = sorted(
        (due_idr[component] for component, count in components.items() for _ in range(min(count, max_persons))),
        reverse=True,
    )
    if not persons and family_idr is None:
        return None
    return (family_idr or 0) + sum(persons[:max_persons])


def _latest(programme: str, on: dt.date, rates: Iterable[AmountRate]) -> dict[str | None, AmountRate]:
    chosen: dict[str | None, AmountRate] = {}
    for rate in rates:
        if rate.programme != programme or not rate.in_force(on):
            continue
        other = chosen.get(rate.component)
        if other is None or other.valid_from < rate.valid_from:
            chosen[rate.component] = rate
    return chosen


def _for_stage(rate: AmountRate, months: int) -> int:
    return rate.amount_idr * months if rate.per is Per.MONTH else rate.amount_idr
