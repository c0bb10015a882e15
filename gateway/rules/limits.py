"""Spending limits: how much and how often, a transaction, day or month, by card, channels, terminal and programme.

Every rule that fits a debit is evaluated, the strictest wins, and both are told, so that a refusal can be explained years
later. Rules are effective-dated data (table limit_rule); a newer rule of the same name takes the older one's place while it is
in force. What a draft of other rules would have done: gateway.rules.replay. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.rules.purse import Channel
    from ledger.posting import Draw

DAY = timedelta(days=1)


class LimitScope(StrEnum):
    """Whose spending a rule counts: the family's (its card), or what one terminal has paid out."""

    CARD = "CARD"
    TERMINAL = "TERMINAL"


class LimitPeriod(StrEnum):
    """Over which time a rule counts: business date or calendar month of business dates."""

    TRANSACTION = "TRANSACTION"
    DAY = "DAY"
    MONTH = "MONTH"


class LimitKind(StrEnum):
    """What of a rule was exceeded."""

    AMOUNT = "AMOUNT"
    COUNT = "COUNT"


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One rule. CHANNELS, PROGRAMME None: every one together. TERMINAL None: each terminal by itself (scope TERMINAL), or any.

    Several CHANNELS are counted together. The period is the one in which no newer rule of the same name stands in its place.
    Without a maximum it says that the limit of its name is lifted, and is never evaluated (effective()).
    """

    id: int
    per: LimitScope
    period: LimitPeriod
    channels: frozenset[Channel] | None
    programme: int | None
    terminal: str | None
    max_amount_idr: int | None
    max_count: int | None
    valid_from: date
    valid_to: date | None
    name: str = ""

    def concerns(self, channel: Channel) -> bool:
        """Whether a debit through CHANNEL is counted."""
        return self.channels is None or channel in self.channels


class Use(NamedTuple):
    """One approved debit of the family this month: what of it is still taken, by programme."""

    on: date
    channel: Channel
    terminal: str
    amounts_idr: Mapping[int, int]


class TerminalUse(NamedTuple):
    """What one terminal has paid out on a date."""

    on: date
    debits: int
    amount_idr: int


class Verdict(NamedTuple):
    """Ids of the rules that were evaluated, the one that decided (the strictest), and what was exceeded, if anything."""

    evaluated: tuple[int, ...] = ()
    decided_by: int | None = None
    exceeded: LimitKind | None = None


NO_LIMITS = Verdict()


def check_limits(
    rules: Sequence[LimitRule],
    today: date,
    channel: Channel,
    terminal: str,
    draws: Sequence[Draw],
    uses: Sequence[Use],
    terminal_uses: Sequence[TerminalUse],
) -> Verdict:
    """Evaluate every rule that fits a debit of DRAWS at TERMINAL (acquirer:terminal), whose own use is TERMINAL_USES.

    The strictest rule is the one that leaves least: rupiah before transactions, an exceeded rule before all others, the
    lower id of two that leave the same.
    """
    evaluated: list[int] = []
    room = fewest = 0  # what the strictest rule leaves, in rupiah and in transactions
    by_amount = by_count = 0  # the rule that leaves it; 0: none yet
    total = sum([draw.amount_idr for draw in draws])
    for rule in rules:
        if not _fits(rule, today, channel, terminal):
            continue
        amount = total
        if rule.programme is not None:
            amount = sum([draw.amount_idr for draw in draws if draw.programme == rule.programme])
        if amount == 0:
            continue
        evaluated.append(rule.id)
        count, spent = used_before(rule, today, uses, terminal_uses)
        if rule.max_amount_idr is not None:
            left = rule.max_amount_idr - spent - amount
            if not by_amount or (left, rule.id) < (room, by_amount):
                room, by_amount = left, rule.id
        if rule.max_count is not None:
            left = rule.max_count - count - 1
            if not by_count or (left, rule.id) < (fewest, by_count):
                fewest, by_count = left, rule.id
    if not evaluated:
        return NO_LIMITS
    if room < 0:
        return Verdict(tuple(evaluated), by_amount, LimitKind.AMOUNT)
    if fewest < 0:
        return Verdict(tuple(evaluated), by_count, LimitKind.COUNT)
    return Verdict(tuple(evaluated), by_amount or by_count)


def used_before(
    rule: LimitRule, today: date, uses: Sequence[Use], terminal_uses: Sequence[TerminalUse]
) -> tuple[int, int]:
    """How many debits a rule counts before this one, and their rupiah. What was taken back whole does not count."""
    if rule.period is LimitPeriod.TRANSACTION:
        return 0, 0
    daily, year, month = rule.period is LimitPeriod.DAY, today.year, today.month
    count = spent = 0
    if rule.per is LimitScope.TERMINAL:
        for on, debits, amount_idr in terminal_uses:
            if on == today or (not daily and on.month == month and on.year == year):
                count += debits
                spent += amount_idr
        return count, spent
    channels, programme, terminal = rule.channels, rule.programme, rule.terminal
    for on, channel, place, amounts in uses:
        if on != today and (daily or on.month != month or on.year != year):
            continue
        if (channels is not None and channel not in channels) or (terminal is not None and terminal != place):
            continue
        taken = sum(amounts.values()) if programme is None else amounts.get(programme, 0)
        if taken > 0:
            count += 1
            spent += taken
    return count, spent


def effective(rules: Iterable[LimitRule]) -> list[LimitRule]:
    """The rules with the periods in which they count: of those of one name, the one with the newest valid_from in force.

    A rule that another one stands in for comes back when that one ends, so one rule may have several periods. One without a
    maximum lifts the limit while it is in force.
    """
    found: list[LimitRule] = []
    by_name = attrgetter("name")
    for _, group in groupby(sorted(rules, key=by_name), key=by_name):
        same = sorted(group, key=attrgetter("valid_from", "id"))
        ends = {one.valid_to + DAY for one in same if one.valid_to is not None and one.valid_to < date.max}
        changes: list[date | None] = [*sorted({one.valid_from for one in same} | ends), None]
        for start, end in pairwise(changes):
            assert start is not None  # noqa: S101 - None stands last
            newest = next((one for one in reversed(same) if _in_force(one, start)), None)
            if newest is None or (newest.max_amount_idr is None and newest.max_count is None):
                continue
            until = newest.valid_to if end is None else end - DAY
            if found and found[-1].id == newest.id and found[-1].valid_to == start - DAY:
                found[-1] = replace(found[-1], valid_to=until)
            else:
                found.append(replace(newest, valid_from=start, valid_to=until))
    return sorted(found, key=attrgetter("id", "valid_from"))


def _fits(rule: LimitRule, today: date, channel: Channel, terminal: str) -> bool:
    return rule.concerns(channel) and (rule.terminal is None or rule.terminal == terminal) and _in_force(rule, today)


def _in_force(rule: LimitRule, today: date) -> bool:
    return rule.valid_from <= today and (rule.valid_to is None or today <= rule.valid_to)
