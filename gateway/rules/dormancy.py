"""The clocks of unused aid: warn, block, freeze and return. Each tranche has its own, running from the day it was credited.

A debit of the tranche stops its clock (the rules speak of aid that is not "dicairkan"); a balance inquiry and a new credit do
not. How many days, for which programme and region, is data: ClockPolicy rows, the most specific one counts. Pure.
Sources: 90 days to the block (BNI, 2021), more than 3 months and 15 days to the return (minister, August 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


class TrancheState(StrEnum):
    """Where a tranche stands."""

    OPEN = "OPEN"
    BLOCKED = "BLOCKED"
    FROZEN = "FROZEN"
    AT_RPL = "AT_RPL"
    RETURNED = "RETURNED"


class ClockEvent(StrEnum):
    """What the clocks and people do to a tranche."""

    BLOCK = "block"
    UNBLOCK = "unblock"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    DEBIT_TO_RPL = "debit to RPL"
    RETURN = "return to treasury"


S, E = TrancheState, ClockEvent
TRANSITIONS = {
    (S.OPEN, E.BLOCK): S.BLOCKED,
    (S.BLOCKED, E.UNBLOCK): S.OPEN,
    (S.OPEN, E.FREEZE): S.FROZEN,
    (S.BLOCKED, E.FREEZE): S.FROZEN,
    (S.FROZEN, E.UNFREEZE): S.OPEN,
    (S.FROZEN, E.DEBIT_TO_RPL): S.AT_RPL,
    (S.AT_RPL, E.RETURN): S.RETURNED,
}


class Step(StrEnum):
    """What is due for a tranche on a date."""

    WARN = "WARN"
    BLOCK = "BLOCK"
    FREEZE = "FREEZE"


@dataclass(frozen=True, slots=True)
class ClockPolicy:
    """Days of one policy row; None: never. PROGRAMME None and REGION_PREFIX '' mean every one."""

    programme: int | None
    region_prefix: str
    warn_days: tuple[int, ...]
    block_days: int | None
    return_days: int | None
    partly_used: bool
    valid_from: date
    valid_to: date | None


@dataclass(frozen=True, slots=True)
class TrancheClock:
    """What the clocks need to know of a tranche."""

    programme: int
    region: str
    clock_from: date
    used: bool
    state: TrancheState


def due(tranche: TrancheClock, policies: Sequence[ClockPolicy], today: date) -> Step | None:
    """What is due on TODAY. WARN falls on its day exactly (a missed day is caught up by running that day's job)."""
    policy = policy_for(tranche, policies, today)
    if policy is None or (tranche.used and not policy.partly_used):
        return None
    days = (today - tranche.clock_from).days
    if policy.return_days is not None and days > policy.return_days and tranche.state in (S.OPEN, S.BLOCKED):
        return Step.FREEZE
    if policy.block_days is not None and days >= policy.block_days and tranche.state is S.OPEN:
        return Step.BLOCK
    if days in policy.warn_days and tranche.state is S.OPEN:
        return Step.WARN
    return None


def policy_for(tranche: TrancheClock, policies: Sequence[ClockPolicy], today: date) -> ClockPolicy | None:
    """The policy in force for a tranche: the longest region prefix wins, then one that names the programme, then the newest."""
    fitting = [
        policy
        for policy in policies
        if policy.programme in (None, tranche.programme)
        and tranche.region.startswith(policy.region_prefix)
        and policy.valid_from <= today
        and (policy.valid_to is None or today <= policy.valid_to)
    ]
    return max(fitting, key=_specificity, default=None)


def _specificity(policy: ClockPolicy) -> tuple[int, bool, date]:
    return len(policy.region_prefix), policy.programme is not None, policy.valid_from
