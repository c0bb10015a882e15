"""The clocks as a family and the treasury know them: when a stage is blocked, frozen, debited to RPL and deposited.

Part of the model (oracle.py): what each job of a date must have done when it is done. Days count from the stage's clock; a debit
stops it, except where a programme's clock also runs on what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from gateway.measure.torture.oracle import Family, Stage


@dataclass(slots=True)
class Treasury:
    """What the treasury paid in by programme, what waits at RPL, and what came back."""

    funded_idr: dict[str, int] = field(default_factory=dict)
    at_rpl_idr: int = 0
    returned_idr: int = 0

    def fund(self, programme: str, amount_idr: int) -> None:
        """An SP2D's money arrived."""
        self.funded_idr[programme] = self.funded_idr.get(programme, 0) + amount_idr


def run_job(job: str, on: date, families: Iterable[Family], treasury: Treasury, *, working_day: bool) -> None:
    """What the job of that name does for a date."""
    if job == "treasury-return":
        if working_day:
            _deposit(families, treasury)
        return
    for family in families:
        for stage in family.stages:
            if job == "dormancy-block" and is_blocked_on(family, stage, on):
                stage.state = "BLOCKED"
            elif job == "dormancy-freeze" and is_frozen_on(family, stage, on):
                stage.state = "FROZEN"
                stage.frozen_idr += stage.available_idr
                stage.available_idr = 0
                family.transfers += 1
            elif job == "rpl-debit" and stage.state == "FROZEN":
                stage.state = "AT_RPL"
                stage.returned_idr += stage.frozen_idr
                treasury.at_rpl_idr += stage.frozen_idr
                stage.frozen_idr = 0
                family.transfers += 1
        if "hold" in job:
            family.let_go(on)


def unblock(family: Family, on: date) -> int:
    """Blocked stages are open again and their clocks start anew. Returns how many."""
    blocked = [stage for stage in family.stages if stage.state == "BLOCKED"]
    for stage in blocked:
        stage.state = "OPEN"
        stage.clock_from = on
    return len(blocked)


def is_blocked_on(family: Family, stage: Stage, on: date) -> bool:
    """Whether a stage is blocked by its clock on a date. What is past its term is frozen instead."""
    rules = family.programmes[stage.programme]
    days = (on - stage.clock_from).days
    return stage.state == "OPEN" and _ticks(family, stage) and rules.block_days <= days <= rules.return_days


def is_frozen_on(family: Family, stage: Stage, on: date) -> bool:
    """Whether a stage is frozen by its clock on a date."""
    rules = family.programmes[stage.programme]
    past = (on - stage.clock_from).days > rules.return_days
    return stage.state in ("OPEN", "BLOCKED") and _ticks(family, stage) and past


def _ticks(family: Family, stage: Stage) -> bool:
    return stage.available_idr > 0 and (not stage.used or family.programmes[stage.programme].partly_used)


def _deposit(families: Iterable[Family], treasury: Treasury) -> None:
    treasury.returned_idr += treasury.at_rpl_idr
    treasury.at_rpl_idr = 0
    for family in families:
        for stage in family.stages:
            if stage.state == "AT_RPL":
                stage.state = "RETURNED"
