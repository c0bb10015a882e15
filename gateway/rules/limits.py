"""Spending limits: how much and how often, a transaction, day or month, by card, channel, terminal and programme.

Every rule that fits a request is evaluated, the strictest wins, and both are told, so that a refusal can be explained years
later. Rules are effective-dated data (table limit_rule). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from gateway.rules.purse import Channel
    from ledger.posting import Draw


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
    """One rule. CHANNEL, PROGRAMME None: every one together. TERMINAL None: each terminal by itself (scope TERMINAL), or any."""

    id: int
    per: LimitScope
    period: LimitPeriod
    channel: Channel | None
    programme: int | None
    terminal: str | None
    max_amount_idr: int | None
    max_count: int | None
    valid_from: date
    valid_to: date | None


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
    """Evaluate every rule that fits a debit of DRAWS. The strictest is the one that leaves least room, an exceeded one first."""
    evaluated: list[int] = []
    strictest: tuple[int, int] | None = None  # room left, rule
    fewest: tuple[int, int] | None = None  # transactions left, rule
    for rule in rules:
        if not _fits(rule, today, channel, terminal):
            continue
        amount = sum(draw.amount_idr for draw in draws if rule.programme in (None, draw.programme))
        if amount == 0:
            continue
        count, spent = _counted(rule, today, terminal, uses, terminal_uses)
        evaluated.append(rule.id)
        if rule.max_amount_idr is not None:
            room = (rule.max_amount_idr - spent - amount, rule.id)
            strictest = room if strictest is None else min(strictest, room)
        if rule.max_count is not None:
            left = (rule.max_count - count - 1, rule.id)
            fewest = left if fewest is None else min(fewest, left)
    if strictest is not None and strictest[0] < 0:
        return Verdict(tuple(evaluated), strictest[1], LimitKind.AMOUNT)
    if fewest is not None and fewest[0] < 0:
        return Verdict(tuple(evaluated), fewest[1], LimitKind.COUNT)
    decided = strictest or fewest
    return Verdict(tuple(evaluated), decided[1] if decided else None)


def _fits(rule: LimitRule, today: date, channel: Channel, terminal: str) -> bool:
    return (
        rule.channel in (None, channel)
        and rule.terminal in (None, terminal)
        and rule.valid_from <= today
        and (rule.valid_to is None or today <= rule.valid_to)
    )


def _counted(
    rule: LimitRule, today: date, terminal: str, uses: Sequence[Use], terminal_uses: Sequence[TerminalUse]
) -> tuple[int, int]:
    """How many debits a rule counts before this one, and their rupiah."""
    if rule.period is LimitPeriod.TRANSACTION:
        return 0, 0
    daily = rule.period is LimitPeriod.DAY
    if rule.per is LimitScope.TERMINAL:
        counted = [use for use in terminal_uses if _in_period(use.on, today, daily=daily)]
        return sum(use.debits for use in counted), sum(use.amount_idr for use in counted)
    amounts = []
    for use in uses:
        if not _in_period(use.on, today, daily=daily) or rule.channel not in (None, use.channel):
            continue
        if rule.terminal is not None and use.terminal != terminal:
            continue
        amounts.append(
            sum(use.amounts_idr.values()) if rule.programme is None else use.amounts_idr.get(rule.programme, 0)
        )
    taken = [amount for amount in amounts if amount > 0]  # what was reversed whole does not count
    return len(taken), sum(taken)


def _in_period(on: date, today: date, *, daily: bool) -> bool:
    return on == today if daily else (on.year, on.month) == (today.year, today.month)
