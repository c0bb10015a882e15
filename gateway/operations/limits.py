"""Spending limits for people: which are in force, what decided an authorisation, and what a draft would have changed.

Nothing here writes. New limits come by `kks policy load`; the authorisation itself asks gateway.rules.limits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.operations.bank import reading
from gateway.rules.authorise import SPENDING
from gateway.rules.limits import LimitScope, effective, used_before
from gateway.rules.replay import USES_MAX, Replay, ReplayTooLarge, Spending
from gateway.store import limits, policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.rules.replay import Outcome
    from gateway.store.limits import Judged, StoredLimit

TOLD_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class RuleShown:
    """A rule that was evaluated, and what the family had used of it before. None: not counted again (per terminal)."""

    rule: StoredLimit
    decided: bool
    count_before: int | None
    spent_before_idr: int | None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a draft would have changed from SINCE to UNTIL. RULES: the draft's, by their place in the file from 1."""

    since: date
    until: date
    rules: dict[int, StoredLimit]
    stored: dict[int, StoredLimit]
    outcome: Outcome


async def in_force(bank: Bank, on: date | None = None) -> list[StoredLimit]:
    """The limits that count on a date (the bank's, unless said), each with the period in which it does."""
    day = on or bank.business_date
    async with reading(bank) as connection:
        known = await limits.stored(connection)
        rules = await policy.limit_rules(connection)
    return [
        replace(known[rule.id], valid_from=rule.valid_from, valid_to=rule.valid_to)
        for rule in rules
        if rule.valid_from <= day and (rule.valid_to is None or day <= rule.valid_to)
    ]


async def show(bank: Bank, authorisation_id: int) -> tuple[Judged, list[RuleShown]]:
    """The rules an authorisation was judged by, the one that decided, and what was used of them before. Raises NotFound."""
    async with reading(bank) as connection:
        found = await limits.judged(connection, authorisation_id, bank.row.cells)
        known = await limits.stored(connection)
        rules = {rule.id: rule for rule in await policy.limits_as_loaded(connection)}
        spending = Spending()
        if found.limit_ids:
            day = found.business_date
            for past in await limits.of_account(connection, found.cell, found.account_id, day.replace(day=1), day):
                if past.id == found.id:
                    break
                if past.kind not in SPENDING:
                    spending.follow(past)
                elif past.approved:
                    spending.take(past)
    uses = spending.uses(found.account_id)
    shown = []
    for number in found.limit_ids:
        before: tuple[int | None, int | None] = (None, None)
        if rules[number].per is LimitScope.CARD:
            before = used_before(rules[number], found.business_date, uses, ())
        shown.append(RuleShown(known[number], number == found.limit_id, *before))
    return found, shown


async def dry_run(
    bank: Bank, path: Path, since: date | None = None, until: date | None = None,
    progress: Callable[[int], None] | None = None,
) -> DryRun:  # fmt: skip
    """Replay past authorisations under the [[limit]] entries of a policy file. Nothing is written.

    To the bank's date and from the first of that month, unless said. Raises Refused where the file is wrong, or where so many
    debits would have to be kept in mind at once that the memory would not be bounded.
    """
    draft = policy.read_policy_file(path)
    if not draft.limit:
        raise Refused(f"{path}: has no [[limit]]")
    async with reading(bank) as connection:
        numbered = policy.draft_limits(draft, await policy.programme_numbers(connection))
        end = until or bank.business_date
        start = since or end.replace(day=1)
        if end < start:
            raise Refused(f"the span ends on {end}, before it starts on {start}")
        replay = Replay(effective(numbered), start)
        count = 0
        try:
            async for past in limits.replayed(connection, start.replace(day=1), end, by_account=replay.by_account):
                replay.feed(past)
                count += 1
                if progress is not None and count % TOLD_EVERY == 0:
                    progress(TOLD_EVERY)
        except ReplayTooLarge:
            raise Refused(
                f"a draft that counts by terminal is replayed by time, with at most {USES_MAX} debits of a day or month at once: "
                "leave out the limits of a MONTH, or look at the limits of cards alone"
            ) from None
        known = await limits.stored(connection)
    return DryRun(start, end, _described(draft), known, replay.finish())


def _described(draft: policy.PolicyFile) -> dict[int, StoredLimit]:
    return {
        place: limits.StoredLimit(
            place, row.name, row.per.value, row.period.value,
            None if row.channels is None else tuple(one.value for one in row.channels), row.programme, row.terminal,
            row.max_amount_idr, row.max_count, row.reason, row.valid_from, row.valid_to,
        )
        for place, row in enumerate(draft.limit, 1)
    }  # fmt: skip
