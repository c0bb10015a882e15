"""Twin of gateway.rules.replay."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules import replay as replay_module
from gateway.rules.authorise import RequestKind
from gateway.rules.limits import LimitPeriod, LimitRule, LimitScope, TerminalUse, Use, check_limits
from gateway.rules.purse import Channel
from gateway.rules.replay import Outcome, Past, Replay, ReplayTooLarge, Total
from ledger.posting import Draw

START = dt.date(2026, 10, 1)
LONG_AGO = dt.date(2017, 1, 1)
HERE = "200:ATM00001"
MONTH = LimitRule(1, LimitScope.CARD, LimitPeriod.MONTH, None, None, None, 500, None, LONG_AGO, None, "month")  # fmt: skip


def past(
    number: int, amount_idr: int, day: int = 0, account: int = 1, channel: Channel = Channel.ATM, terminal: str = HERE,
    *, kind: RequestKind | None = None, of: int | None = None, declined_by: int | None = None,
) -> Past:  # fmt: skip
    """Authorisation NUMBER, DAY days after the start: a debit, or what came of debit OF (given back, unless said)."""
    original = None if of is None else b"%d" % of
    drawn = {} if declined_by is not None else {1: amount_idr}
    usual = RequestKind.CASH if of is None else RequestKind.REVERSAL
    on = START + dt.timedelta(days=day)
    return Past(number, account, on, kind or usual, channel, terminal, b"%d" % number, original, declined_by is None, declined_by,
                amount_idr, drawn)  # fmt: skip


def run(rules: list[LimitRule], rows: list[Past], since: dt.date = START) -> Outcome:
    """The outcome of a replay; the rows stand in order of time."""
    replay = Replay(rules, since)
    if replay.by_account:
        rows = sorted(rows, key=lambda row: row.account_id)
    for row in rows:
        replay.feed(row)
    return replay.finish()


def test_what_would_be_declined_does_not_count_for_what_came_later() -> None:
    """300 and 300 are too much for 500, 200 after them is not: the second 300 would never have been taken."""
    outcome = run([MONTH], [past(1, 300), past(2, 300), past(3, 200), past(4, 1)])
    tally = outcome.rules[1]
    assert (4, 4, 2, 301, 1, [2, 4]) == (
        tally.evaluated, tally.decided, tally.declined, tally.declined_idr, tally.families, tally.examples,
    )  # fmt: skip
    assert (Total(4, 801), Total(2, 500)) == (outcome.approved_before, outcome.approved_after)
    assert (Total(), Total(2, 301)) == (outcome.declined_before, outcome.declined_after)


def test_what_was_declined_and_would_be_approved_counts_from_then_on() -> None:
    """A draft that allows more lets it through, and it uses the draft's room."""
    rows = [past(1, 300), past(2, 200, declined_by=7), past(3, 1)]
    outcome = run([MONTH], rows)
    assert ({7: Total(1, 200)}, [2]) == (outcome.freed, outcome.freed_examples)
    assert ([3], Total(1, 1)) == (outcome.rules[1].examples, outcome.declined_after)
    stays = run([replace(MONTH, max_amount_idr=499)], rows)
    assert ({}, Total(1, 200), Total(2, 301)) == (stays.freed, stays.declined_after, stays.approved_after)
    assert 0 == stays.rules[1].declined  # it was declined before: nothing changes


def test_what_was_given_back_is_given_back_in_the_draft_too() -> None:
    """From its moment on, and only where the debit would have been there."""
    assert [] == run([MONTH], [past(1, 500), past(2, 500, of=1), past(3, 500)]).rules[1].examples
    assert [2] == run([MONTH], [past(1, 500), past(2, 1), past(3, 500, of=1)]).rules[1].examples
    outcome = run([MONTH], [past(1, 300), past(2, 300), past(3, 300, of=2), past(4, 200), past(5, 1)])
    assert [2, 5] == outcome.rules[1].examples  # what gives back a debit that would not have been makes no room


def test_months_and_families_are_apart() -> None:
    """A new month and another family begin anew; a family is counted once, its examples are at most five."""
    rows = [past(n, 400, day=10 * n, account=n % 2) for n in range(1, 21)]
    tally = run([MONTH], rows).rules[1]
    assert 2 == tally.families
    assert replay_module.EXAMPLES == len(tally.examples)
    one_a_month = {(row.account_id, row.on.month) for row in rows}
    assert len(rows) - len(one_a_month) == tally.declined


def test_rows_before_the_span_count_and_are_not_judged() -> None:
    """What was taken earlier in the month is used up, whatever the draft would have said of it."""
    outcome = run([MONTH], [past(1, 900), past(2, 1, day=5)], since=START + dt.timedelta(days=5))
    assert (Total(1, 1), [2]) == (outcome.approved_before, outcome.rules[1].examples)


def test_a_completion_stands_in_for_its_hold() -> None:
    """It is not judged, and what it took is used, no more; it is there only where its hold would have been."""
    held = [past(1, 500, kind=RequestKind.HOLD), past(2, 400, kind=RequestKind.COMPLETION, of=1)]
    outcome = run([MONTH], [*held, past(3, 100), past(4, 1)])
    assert (3, [4], Total(3, 601)) == (outcome.rules[1].evaluated, outcome.rules[1].examples, outcome.approved_before)
    assert [1] == run([replace(MONTH, max_amount_idr=499)], [*held, past(3, 499)]).rules[1].examples
    later = [held[0], past(2, 400, 40, kind=RequestKind.COMPLETION, of=1), past(3, 100, 40), past(4, 1, 40)]
    assert [4] == run([MONTH], later).rules[1].examples


def test_a_rule_that_never_decides_is_seen() -> None:
    """Evaluated each time, the strictest never."""
    loose = replace(MONTH, id=2, max_amount_idr=9_000)
    outcome = run([MONTH, loose], [past(1, 300)])
    assert (1, 0) == (outcome.rules[2].evaluated, outcome.rules[2].decided)


def test_a_rule_per_terminal_counts_over_families() -> None:
    """What a card's rule declines does not fill the terminal, and the other way round; what is given back does not empty it."""
    machine = replace(MONTH, id=2, per=LimitScope.TERMINAL, max_amount_idr=800)
    rows = [past(1, 500, account=1), past(2, 500, account=1), past(3, 300, account=2), past(4, 1, account=3),
            past(5, 300, account=2, of=3), past(6, 300, account=3)]  # fmt: skip
    outcome = run([MONTH, machine], rows)
    assert ([2], [4, 6]) == (outcome.rules[1].examples, outcome.rules[2].examples)
    assert (1, 1) == (outcome.rules[1].families, outcome.rules[2].families)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By time, only so many debits of a period are kept; by account, a family's."""
    monkeypatch.setattr(replay_module, "USES_MAX", 3)
    rows = [past(n, 1, account=n) for n in range(1, 6)]
    assert Total(5, 5) == run([MONTH], rows).approved_after
    with pytest.raises(ReplayTooLarge):
        run([replace(MONTH, per=LimitScope.TERMINAL)], rows)
    a_day = [replace(MONTH, per=LimitScope.TERMINAL, period=LimitPeriod.DAY)]
    assert (
        Total(5, 5) == run(a_day, [row._replace(on=START + dt.timedelta(days=row.id)) for row in rows]).approved_after
    )


@dataclass(slots=True)
class Oracle:
    """The same from one list of everything that ever counted."""

    rules: list[LimitRule]
    since: dt.date
    counted: dict[bytes, tuple[int, Use]] = field(default_factory=dict)
    paid: list[tuple[str, dt.date, int]] = field(default_factory=list)
    declined: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    decided: Counter[int] = field(default_factory=Counter)
    approved: list[int] = field(default_factory=list)

    def feed(self, row: Past) -> None:
        """One row, in order of time."""
        if row.kind is RequestKind.REVERSAL:
            assert row.original_key is not None
            if row.original_key in self.counted:
                account, use = self.counted[row.original_key]
                left = {1: use.amounts_idr[1] - row.amount_idr}
                self.counted[row.original_key] = account, use._replace(amounts_idr=left)
            return
        approved = row.approved
        if row.on >= self.since:
            uses = [use for account, use in self.counted.values() if account == row.account_id]
            paid = [TerminalUse(on, 1, amount) for terminal, on, amount in self.paid if terminal == row.terminal]
            draws = [Draw(9, 1, row.amount_idr)]
            verdict = check_limits(self.rules, row.on, row.channel, row.terminal, draws, uses, paid)
            approved = verdict.exceeded is None
            if verdict.decided_by is not None:
                self.decided[verdict.decided_by] += 1
                if row.approved and not approved:
                    self.declined[verdict.decided_by].append(row.id)
            if approved:
                self.approved.append(row.id)
        if approved:
            use = Use(row.on, row.channel, row.terminal, {1: row.amount_idr})
            self.counted[row.key] = row.account_id, use
            self.paid.append((row.terminal, row.on, row.amount_idr))


@st.composite
def histories(draw: st.DrawFn) -> list[Past]:
    """Debits of three families at two terminals over two months, some declined, some given back in parts."""
    rows: list[Past] = []
    left: dict[int, int] = {}
    day = 0
    for number in range(1, draw(st.integers(1, 14)) + 1):
        day += draw(st.integers(0, 6))
        if left and draw(st.integers(0, 3)) == 0:
            original = draw(st.sampled_from(sorted(left)))
            part = draw(st.integers(1, left[original]))
            left[original] -= part
            if left[original] == 0:
                del left[original]
            rows.append(past(number, part, day, rows[original - 1].account_id, of=original))
            continue
        declined_by = draw(st.none() | st.just(7))
        amount = draw(st.integers(1, 300))
        rows.append(past(number, amount, day, draw(st.integers(1, 3)), draw(st.sampled_from(Channel)),
                         draw(st.sampled_from([HERE, "200:ATM00002"])), declined_by=declined_by))  # fmt: skip
        if declined_by is None:
            left[number] = amount
    return rows


@st.composite
def drafts(draw: st.DrawFn) -> list[LimitRule]:
    """Rules without programmes: a debit that was declined tells no programme."""
    rules = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        period = draw(st.sampled_from(LimitPeriod))
        count = None if period is LimitPeriod.TRANSACTION else draw(st.none() | st.integers(0, 3))
        amount = draw(st.integers(0, 600)) if count is None else draw(st.none() | st.integers(0, 600))
        channels = draw(st.none() | st.frozensets(st.sampled_from(Channel), min_size=1))
        start = START + dt.timedelta(days=draw(st.integers(-10, 40)))
        per = draw(st.sampled_from(LimitScope))
        rules.append(LimitRule(number, per, period, channels, None, None, amount, count, start, None))
    return rules


@given(drafts(), histories(), st.integers(0, 20))
def test_it_is_the_same_as_remembering_everything(rules: list[LimitRule], rows: list[Past], since: int) -> None:
    """Whatever is forgotten on the way, and in whichever order the rows come, decides nothing."""
    oracle = Oracle(rules, START + dt.timedelta(days=since))
    for row in rows:
        oracle.feed(row)
    outcome = run(rules, rows, oracle.since)
    assert len(oracle.approved) == outcome.approved_after.count
    for rule in rules:
        tally = outcome.rules[rule.id]
        declined = oracle.declined[rule.id]
        assert (oracle.decided[rule.id], len(declined)) == (tally.decided, tally.declined)
        assert len({rows[number - 1].account_id for number in declined}) == tally.families
        assert set(tally.examples) <= set(declined)
