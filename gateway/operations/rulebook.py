"""Policy in memory: what the lanes ask of purse rules, spending limits and clocks, read anew every few seconds.

Answers what is the same for many requests once. Decides nothing: gateway.rules does. Read next: lane.py, which reads it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.operations.bank import refresh_business_date
from gateway.rules.authorise import SPENDING, Policy, Request
from gateway.rules.dormancy import TrancheClock
from gateway.rules.expiring import lost_on
from gateway.rules.limits import LimitPeriod, LimitScope
from gateway.store import policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from gateway.operations.bank import Bank
    from gateway.rules.authorise import TrancheView
    from gateway.rules.dormancy import ClockPolicy
    from gateway.rules.limits import LimitRule
    from gateway.rules.purse import Channel, Purse, PurseRule


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Policy in memory: purse rules, spending limits, and each programme's purse. Kept for seconds (gateway.operations.lane)."""

    purse_rules: Sequence[PurseRule]
    purse_of: Mapping[int, Purse]
    pin_tries: int
    limits: Sequence[LimitRule] = ()
    clocks: Sequence[ClockPolicy] = ()
    _at: dict[tuple[Channel, str], Policy] = field(default_factory=dict)
    _counted: dict[Channel, bool] = field(default_factory=dict)
    _lost_on: dict[tuple[int, str, date, bool, date], date | None] = field(default_factory=dict)

    @property
    def terminal_limits(self) -> bool:
        """Whether any limit counts what a terminal pays out."""
        return any(limit.per is LimitScope.TERMINAL for limit in self.limits)

    def policy_at(self, channel: Channel, mcc: str) -> Policy:
        """The rules that can count at a channel and MCC; what they say of dates and purses is their own question."""
        found = self._at.get((channel, mcc))
        if found is None:
            purse_rules = [rule for rule in self.purse_rules if rule.channel is channel and rule.mcc in ("*", mcc)]
            limits = [limit for limit in self.limits if limit.concerns(channel)]
            found = self._at[channel, mcc] = Policy(purse_rules, limits, self.pin_tries)
        return found

    def lost_on(self, tranche: TrancheView, today: date, *, used: bool) -> date | None:
        """When a clock takes an open tranche; few programmes, regions and dates stand for all families."""
        key = (tranche.programme, tranche.region, tranche.clock_from, used, today)
        if key not in self._lost_on:
            clock = TrancheClock(tranche.programme, tranche.region, tranche.clock_from, used, tranche.state)
            self._lost_on[key] = lost_on(clock, self.clocks, today)
        return self._lost_on[key]

    def counts(self, request: Request) -> bool:
        """Whether a limit adds up what the request's family has spent before."""
        if request.kind not in SPENDING:
            return False
        found = self._counted.get(request.channel)
        if found is None:
            found = self._counted[request.channel] = any(
                limit.per is LimitScope.CARD
                and limit.period is not LimitPeriod.TRANSACTION
                and limit.concerns(request.channel)
                for limit in self.limits
            )
        return found

    def counts_terminal(self, request: Request) -> bool:
        """Whether a limit adds up what the request's terminal has paid out."""
        return request.kind in SPENDING and any(
            limit.per is LimitScope.TERMINAL
            and limit.concerns(request.channel)
            and limit.terminal in (None, request.terminal)
            for limit in self.limits
        )


async def read_rulebook(bank: Bank) -> Rulebook:
    """Policy as the database has it now. Raises what the database raises.

    Whoever gives up waiting for it is free at once: a read's own end may wait for a PostgreSQL that is silent.
    """
    reading = asyncio.ensure_future(_read(bank))
    try:
        await asyncio.wait({reading})
    except asyncio.CancelledError:
        reading.add_done_callback(_unheard)
        reading.cancel()
        raise
    return reading.result()


async def _read(bank: Bank) -> Rulebook:
    today = await refresh_business_date(bank)
    async with bank.database.engine.connect() as connection:
        known = await policy.programmes(connection, today)
        purse_of = {one.number: one.purse for one in known.values()}
        purse_rules, limits = await policy.purse_rules(connection), await policy.limit_rules(connection)
        clocks = await policy.clock_policies(connection)
        return Rulebook(purse_rules, purse_of, bank.settings.pin_tries, limits, clocks)


def _unheard(reading: asyncio.Future[Rulebook]) -> None:
    """Nobody waits for its error any more."""
    if not reading.cancelled():
        reading.exception()
