"""What a family loses next if it does nothing: the earliest date on which a clock takes unused aid out of reach, and how much.

That is the day of the block or, where a policy never blocks, of the freeze that sends it back (gateway.rules.dormancy). Policies
that begin or end before that date are reckoned with. Pure, and cheap enough for every balance inquiry.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.dormancy import TrancheState, policy_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.rules.dormancy import ClockPolicy, TrancheClock


class Expiring(NamedTuple):
    """The first date without access, and the rupiah lost on it."""

    on: date
    amount_idr: int


def earliest_expiring(
    tranches: Iterable[tuple[TrancheClock, int]], policies: Sequence[ClockPolicy], today: date
) -> Expiring | None:
    """The earliest loss of tranches given with what is left of each. None: no clock runs on anything.

    One that is blocked already is lost and not counted.
    """
    return earliest(
        (lost_on(tranche, policies, today), left_idr)
        for tranche, left_idr in tranches
        if tranche.state is TrancheState.OPEN
    )


def earliest(losses: Iterable[tuple[date | None, int]]) -> Expiring | None:
    """The earliest of losses given as date (None: never) and rupiah, with all that is lost on it. None: nothing is.

    >>> earliest([(None, 100), (date(2027, 2, 1), 50), (date(2027, 1, 1), 20), (date(2027, 1, 1), 30)])
    Expiring(on=datetime.date(2027, 1, 1), amount_idr=50)
    """
    first, amount_idr = date.max, 0
    for on, left_idr in losses:
        if on is None or on > first or left_idr <= 0:
            continue
        amount_idr = left_idr if on < first else amount_idr + left_idr
        first = on
    return Expiring(first, amount_idr) if amount_idr else None


def lost_on(tranche: TrancheClock, policies: Sequence[ClockPolicy], today: date) -> date | None:
    """The first date on which an open tranche cannot be spent, if nobody does anything. None: no clock runs on it.

    TODAY, where the day's clocks have not run yet. One that was used counts only where its policy says so (partly_used).
    """
    return _lost_on(tranche, policies, _changes(policies, today))


def _changes(policies: Sequence[ClockPolicy], today: date) -> list[date]:
    """Today and the later dates on which another policy may come into force, in order, and the end of time."""
    later = {one.valid_from for one in policies if one.valid_from > today}
    later |= {
        one.valid_to + timedelta(days=1)
        for one in policies
        if one.valid_to is not None and today <= one.valid_to < date.max
    }
    return [today, *sorted(later), date.max]


def _lost_on(tranche: TrancheClock, policies: Sequence[ClockPolicy], changes: Sequence[date]) -> date | None:
    """The first date on which the policy then in force wants the tranche blocked or frozen."""
    for start, end in pairwise(changes):
        policy = policy_for(tranche, policies, start)
        if policy is None or (tranche.used and not policy.partly_used):
            continue
        terms = [policy.block_days, None if policy.return_days is None else policy.return_days + 1]
        days = min((term for term in terms if term is not None), default=None)
        if days is None:
            continue
        on = max(start, tranche.clock_from + timedelta(days=days))
        if on < end:
            return on
    return None
