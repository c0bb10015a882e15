"""What a draft of spending limits would have done to authorisations of the past: the dry run, one row after another. Pure.

The rows come ordered by account and time, or by time alone where a rule counts by terminal. What the draft would have declined
does not count for what came later, and what it would have let through does. Money is not replayed: a debit that was approved
had its funds, one that was declined for a limit had them too. Reads nothing: gateway.operations.limits feeds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.authorise import SPENDING, RequestKind
from gateway.rules.limits import LimitPeriod, LimitScope, TerminalUse, Use, Verdict, check_limits
from ledger.posting import Draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from gateway.rules.limits import LimitRule
    from gateway.rules.purse import Channel

EXAMPLES = 5  # authorisations named for each rule
USES_MAX = 500_000  # debits kept in memory at once: about 300 MB
NO_PROGRAMME = 0  # a debit that was declined drew from no programme
Period = tuple[int, ...]


class ReplayTooLarge(ValueError):
    """More debits would have to be remembered at once than USES_MAX."""


class Past(NamedTuple):
    """One authorisation of the past: a debit (approved, or declined by the limit LIMIT_ID), or what came of an earlier one."""

    id: int
    account_id: int
    on: date
    kind: RequestKind
    channel: Channel
    terminal: str  # acquirer:terminal
    key: bytes
    original_key: bytes | None  # the debit that it gives back of, or the hold that it completes
    approved: bool
    limit_id: int | None
    amount_idr: int
    amounts_idr: Mapping[int, int]  # drawn or given back, by programme
    link: str = ""  # over which the terminal spoke: its use is counted by link


@dataclass(slots=True)
class RuleTally:
    """What one rule of the draft did."""

    evaluated: int = 0
    decided: int = 0  # it was the strictest, whether or not it was exceeded
    declined: int = 0  # of what was approved
    declined_idr: int = 0
    families: int = 0
    examples: list[int] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)  # accounts not yet counted in families


@dataclass(slots=True)
class Total:
    """Debits and their rupiah."""

    count: int = 0
    amount_idr: int = 0

    def add(self, amount_idr: int) -> None:
        """Count one more."""
        self.count += 1
        self.amount_idr += amount_idr


@dataclass(slots=True)
class Outcome:
    """Before and after. FREED: by the id of the rule that declined it then, what would now be approved."""

    rules: dict[int, RuleTally]
    approved_before: Total = field(default_factory=Total)
    approved_after: Total = field(default_factory=Total)
    declined_before: Total = field(default_factory=Total)
    declined_after: Total = field(default_factory=Total)
    freed: dict[int, Total] = field(default_factory=dict)
    freed_examples: list[int] = field(default_factory=list)


class Spending:
    """Debits that count, of the families and terminals of one period, and what came of them since."""

    def __init__(self) -> None:
        self._families: dict[int, dict[bytes, Use]] = {}
        self._terminals: dict[tuple[str, str], dict[date, TerminalUse]] = {}
        self._refused: set[bytes] = set()  # holds that would not have been
        self._added: dict[bytes, list[bytes]] = {}  # holds that added to another
        self.size = 0

    def uses(self, account_id: int) -> Sequence[Use]:
        """A family's debits, for check_limits."""
        return list(self._families.get(account_id, {}).values())

    def terminal_uses(self, past: Past) -> Sequence[TerminalUse]:
        """The days of a debit's terminal, for check_limits."""
        return list(self._terminals.get((past.link, past.terminal), {}).values())

    def take(self, past: Past) -> None:
        """A debit counts from here on, for its family and its terminal."""
        self._count(past)
        if past.original_key is not None:
            self._added.setdefault(past.original_key, []).append(past.key)
        on = past.on
        days = self._terminals.setdefault((past.link, past.terminal), {})
        before = days.get(on, TerminalUse(on, 0, 0))
        days[on] = TerminalUse(on, before.debits + 1, before.amount_idr + past.amount_idr)

    def refuse(self, past: Past) -> None:
        """A debit does not count, nor what came of it."""
        if past.kind is RequestKind.HOLD:
            self._refused.add(past.key)

    def follow(self, past: Past) -> None:
        """What came of a debit: given back in part or whole, or a hold completed. A terminal's use stays as it was."""
        family = self._families.get(past.account_id, {})
        original = past.original_key or b""
        use = family.get(original)
        if past.kind is RequestKind.COMPLETION:
            if original not in self._refused:
                for key in (original, *self._added.pop(original, ())):
                    family.pop(key, None)
                self._count(past)
        elif use is not None and original in self._added:
            self._give_back(family, (original, *self._added[original]), past)
        elif use is not None:
            left = {programme: idr - past.amounts_idr.get(programme, 0) for programme, idr in use.amounts_idr.items()}
            family[original] = use._replace(amounts_idr=left)

    @staticmethod
    def _give_back(family: dict[bytes, Use], keys: Sequence[bytes], past: Past) -> None:
        """A hold ends with what was added to it: what is given back is taken from one after the other."""
        back = dict(past.amounts_idr)
        for key in keys:
            use = family.get(key)
            if use is None:
                continue
            left = {}
            for programme, idr in use.amounts_idr.items():
                part = min(idr, back.get(programme, 0))
                back[programme] = back.get(programme, 0) - part
                left[programme] = idr - part
            family[key] = use._replace(amounts_idr=left)

    def _count(self, past: Past) -> None:
        amounts = past.amounts_idr or {NO_PROGRAMME: past.amount_idr}
        self._families.setdefault(past.account_id, {})[past.key] = Use(past.on, past.channel, past.terminal, amounts)
        self.size += 1


class Replay:
    """Feed it every row from the start of the period that the first judged one belongs to; ask for the outcome at the end."""

    def __init__(self, rules: Sequence[LimitRule], since: date) -> None:
        """RULES: a draft's, as effective() gives them. Rows before SINCE count as they happened and are not judged."""
        self._rules = rules
        self._since = since
        self._spending = Spending()
        self._place: tuple[int, Period] | None = None
        self.by_account = not counts_by_terminal(rules)
        self._monthly = any(rule.period is LimitPeriod.MONTH for rule in rules)
        self.outcome = Outcome({rule.id: RuleTally() for rule in rules})

    def feed(self, past: Past) -> None:
        """One row more. Raises ReplayTooLarge."""
        self._turn_page(past)
        approved = past.approved
        if past.kind not in SPENDING:
            self._spending.follow(past)
            return
        if past.on >= self._since:
            verdict = self._judge(past)
            approved = verdict.exceeded is None
            self._tally(past, verdict)
        if not approved:
            self._spending.refuse(past)
            return
        self._spending.take(past)
        if self._spending.size > USES_MAX:
            raise ReplayTooLarge

    def finish(self) -> Outcome:
        """The outcome, when there are no more rows."""
        self._count_families()
        return self.outcome

    def _judge(self, past: Past) -> Verdict:
        amounts = past.amounts_idr or {NO_PROGRAMME: past.amount_idr}
        draws = [Draw(0, programme, idr) for programme, idr in amounts.items()]
        uses, terminal_uses = self._spending.uses(past.account_id), self._spending.terminal_uses(past)
        return check_limits(self._rules, past.on, past.channel, past.terminal, draws, uses, terminal_uses)

    def _tally(self, past: Past, verdict: Verdict) -> None:
        outcome = self.outcome
        (outcome.approved_before if past.approved else outcome.declined_before).add(past.amount_idr)
        (outcome.approved_after if verdict.exceeded is None else outcome.declined_after).add(past.amount_idr)
        for rule in verdict.evaluated:
            outcome.rules[rule].evaluated += 1
        if verdict.decided_by is not None:
            tally = outcome.rules[verdict.decided_by]
            tally.decided += 1
            if past.approved and verdict.exceeded is not None:
                tally.declined += 1
                tally.declined_idr += past.amount_idr
                tally.touched.add(past.account_id)
                if len(tally.examples) < EXAMPLES:
                    tally.examples.append(past.id)
        if not past.approved and verdict.exceeded is None:
            outcome.freed.setdefault(past.limit_id or 0, Total()).add(past.amount_idr)
            if len(outcome.freed_examples) < EXAMPLES:
                outcome.freed_examples.append(past.id)

    def _turn_page(self, past: Past) -> None:
        """Forget what can count no longer: another family's debits where rows come by account, another period's always."""
        period: Period = (past.on.year, past.on.month) if self._monthly else (past.on.toordinal(),)
        account = past.account_id if self.by_account else 0
        if (account, period) == self._place:
            return
        if self.by_account and self._place is not None and self._place[0] != account:
            self._count_families()
        self._spending = Spending()
        self._place = account, period

    def _count_families(self) -> None:
        for tally in self.outcome.rules.values():
            tally.families += len(tally.touched)
            tally.touched.clear()


def counts_by_terminal(rules: Iterable[LimitRule]) -> bool:
    """Whether the rows must come in order of time over all accounts: a rule counts what a terminal has paid out."""
    return any(rule.per is LimitScope.TERMINAL for rule in rules)
