"""Twin of gateway.rules.limits."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.limits import (
    LimitKind,
    LimitPeriod,
    LimitRule,
    LimitScope,
    TerminalUse,
    Use,
    Verdict,
    check_limits,
    effective,
    used_before,
)
from gateway.rules.purse import Channel
from ledger.posting import Draw

TODAY = dt.date(2026, 11, 23)
LONG_AGO = dt.date(2017, 1, 1)
HERE, THERE = "200:ATM00001", "200:ATM00002"
CASH = frozenset({Channel.ATM, Channel.AGENT})
MONTH = LimitRule(1, LimitScope.CARD, LimitPeriod.MONTH, CASH, None, None, 1_000, None, LONG_AGO, None, "cash-month")  # fmt: skip
DAY = replace(MONTH, id=2, name="cash-day", period=LimitPeriod.DAY, max_amount_idr=500)
ONCE = replace(MONTH, id=3, name="cash-once", period=LimitPeriod.TRANSACTION, max_amount_idr=300)
OFTEN = replace(DAY, id=4, name="cash-count", max_amount_idr=None, max_count=3)
MACHINE = replace(DAY, id=5, name="machine", per=LimitScope.TERMINAL, channels=None)

channels = st.sampled_from(Channel)
days = st.integers(-70, 5).map(lambda ahead: TODAY + dt.timedelta(days=ahead))
places = st.sampled_from([HERE, THERE])
amounts = st.dictionaries(st.integers(1, 2), st.integers(0, 300), max_size=2)
uses_made = st.lists(st.builds(Use, days, channels, places, amounts), max_size=6)
machine_days = st.lists(st.builds(TerminalUse, days, st.integers(0, 4), st.integers(0, 900)), max_size=4)
draws_made = st.lists(st.builds(Draw, st.just(1), st.integers(1, 2), st.integers(1, 300)), min_size=1, max_size=3)


@st.composite
def a_rule(draw: st.DrawFn) -> LimitRule:
    """Any rule the table would take, its number not set yet."""
    per = draw(st.sampled_from(LimitScope))
    period = draw(st.sampled_from(LimitPeriod))
    amount = draw(st.none() | st.integers(0, 1_500))
    count = None if period is LimitPeriod.TRANSACTION else draw(st.none() | st.integers(0, 5))
    programme = None if per is LimitScope.TERMINAL else draw(st.none() | st.integers(1, 2))
    start = draw(days)
    end = draw(st.none() | st.integers(0, 60).map(lambda ahead: start + dt.timedelta(days=ahead)))
    return LimitRule(
        0, per, period, draw(st.none() | st.frozensets(channels, min_size=1)), programme, draw(st.none() | places),
        100 if amount is None and count is None else amount, count, start, end, "x",
    )  # fmt: skip


rule_sets = st.lists(a_rule(), max_size=6).map(lambda rules: [replace(r, id=n) for n, r in enumerate(rules, 1)])


def spend(
    rules: list[LimitRule], amount_idr: int, *uses: Use, channel: Channel = Channel.ATM, programme: int = 1,
    machine: tuple[TerminalUse, ...] = (), today: dt.date = TODAY, terminal: str = HERE,
) -> Verdict:  # fmt: skip
    """The verdict on one debit."""
    return check_limits(rules, today, channel, terminal, [Draw(1, programme, amount_idr)], uses, machine)


def used(
    amount_idr: int, on: dt.date = TODAY, channel: Channel = Channel.ATM, place: str = HERE, programme: int = 1
) -> Use:
    """An earlier debit."""
    return Use(on, channel, place, {programme: amount_idr})


def expected_left(
    rule: LimitRule, channel: Channel, terminal: str, draws: list[Draw], uses: list[Use], machine: list[TerminalUse]
) -> tuple[int | None, int | None] | None:
    """What a rule leaves of rupiah and transactions, straight from its words; None where it does not fit."""
    in_force = rule.valid_from <= TODAY <= (rule.valid_to or dt.date.max)
    amount = sum(draw.amount_idr for draw in draws if rule.programme in (None, draw.programme))
    if not in_force or rule.terminal not in (None, terminal) or amount == 0:
        return None
    if rule.channels is not None and channel not in rule.channels:
        return None
    same = {LimitPeriod.TRANSACTION: "never", LimitPeriod.DAY: "%Y%m%d", LimitPeriod.MONTH: "%Y%m"}[rule.period]
    if rule.per is LimitScope.TERMINAL:
        counted = [one for one in machine if same != "never" and f"{one.on:{same}}" == f"{TODAY:{same}}"]
        count, spent = sum(one.debits for one in counted), sum(one.amount_idr for one in counted)
    else:
        taken = [
            sum(idr for number, idr in use.amounts_idr.items() if rule.programme in (None, number))
            for use in uses
            if same != "never"
            and f"{use.on:{same}}" == f"{TODAY:{same}}"
            and (rule.channels is None or use.channel in rule.channels)
            and rule.terminal in (None, use.terminal)
        ]
        count, spent = sum(idr > 0 for idr in taken), sum(taken)
    return (
        None if rule.max_amount_idr is None else rule.max_amount_idr - spent - amount,
        None if rule.max_count is None else rule.max_count - count - 1,
    )


@given(rule_sets, channels, places, draws_made, uses_made, machine_days)
def test_every_rule_that_fits_is_told_and_the_strictest_decides(
    rules: list[LimitRule], channel: Channel, terminal: str, draws: list[Draw], uses: list[Use], machine: list[TerminalUse]
) -> None:  # fmt: skip
    """Held against the rules' own words: which were evaluated, what the strictest one leaves, and whether that is too little."""
    found = check_limits(rules, TODAY, channel, terminal, draws, uses, machine)
    left = {rule.id: expected_left(rule, channel, terminal, draws, uses, machine) for rule in rules}
    fitting = {number: one for number, one in left.items() if one is not None}
    assert tuple(fitting) == found.evaluated
    rupiah = sorted((one[0], number) for number, one in fitting.items() if one[0] is not None)
    times = sorted((one[1], number) for number, one in fitting.items() if one[1] is not None)
    exceeded = None
    if rupiah and rupiah[0][0] < 0:
        exceeded = LimitKind.AMOUNT
    elif times and times[0][0] < 0:
        exceeded = LimitKind.COUNT
    assert exceeded == found.exceeded
    strictest = times if exceeded is LimitKind.COUNT else rupiah or times
    assert (strictest[0][1] if strictest else None) == found.decided_by


@given(rule_sets.flatmap(lambda rules: st.tuples(st.just(rules), st.permutations(rules))), channels, places, draws_made,
       uses_made, machine_days)  # fmt: skip
def test_the_order_of_the_rules_does_not_matter(
    rules: tuple[list[LimitRule], list[LimitRule]], channel: Channel, terminal: str, draws: list[Draw], uses: list[Use],
    machine: list[TerminalUse],
) -> None:  # fmt: skip
    """However the database returns them, the same rule decides; the others are told in the order given."""
    one, other = (check_limits(each, TODAY, channel, terminal, draws, uses, machine) for each in rules)
    assert (one.decided_by, one.exceeded) == (other.decided_by, other.exceeded)
    assert sorted(one.evaluated) == sorted(other.evaluated)


@given(rule_sets, channels, places, draws_made, uses_made, machine_days, a_rule())
def test_one_more_rule_never_lets_more_through(
    rules: list[LimitRule], channel: Channel, terminal: str, draws: list[Draw], uses: list[Use], machine: list[TerminalUse],
    added: LimitRule,
) -> None:  # fmt: skip
    """What was refused stays refused when a rule is added."""
    before = check_limits(rules, TODAY, channel, terminal, draws, uses, machine)
    after = check_limits([*rules, replace(added, id=99)], TODAY, channel, terminal, draws, uses, machine)
    assert before.exceeded is None or after.exceeded is not None


def test_without_rules_everything_passes() -> None:
    """No rule, no verdict."""
    assert Verdict() == spend([], 10**12)


@pytest.mark.parametrize(
    ("amount_idr", "decided", "exceeded"),
    [(300, 3, None), (301, 3, LimitKind.AMOUNT), (501, 3, LimitKind.AMOUNT), (1_001, 3, LimitKind.AMOUNT)],
)
def test_a_maximum_may_be_reached_and_not_passed(amount_idr: int, decided: int, exceeded: LimitKind | None) -> None:
    """The last rupiah is still allowed; of several exceeded rules the one that is exceeded most decides."""
    assert Verdict((1, 2, 3), decided, exceeded) == spend([MONTH, DAY, ONCE], amount_idr)


def test_the_strictest_wins_whichever_period_it_has() -> None:
    """The month decides when the month is nearly used up, the day when the day is."""
    yesterday = TODAY - dt.timedelta(days=1)
    assert Verdict((1, 2), 1, LimitKind.AMOUNT) == spend([MONTH, DAY], 200, used(900, yesterday))
    assert Verdict((1, 2), 2, LimitKind.AMOUNT) == spend([MONTH, DAY], 200, used(400))
    assert Verdict((1, 2), 2, None) == spend([MONTH, DAY], 200, used(300))


def test_rules_that_leave_the_same_are_decided_by_the_lower_number() -> None:
    """So that the same facts always name the same rule."""
    assert 2 == spend([replace(DAY, id=7), DAY], 100).decided_by


def test_a_count_is_how_often() -> None:
    """Three a day: the fourth is refused, for its count."""
    assert Verdict((4,), 4, None) == spend([OFTEN], 1, used(1), used(1))
    assert Verdict((4,), 4, LimitKind.COUNT) == spend([OFTEN], 1, used(1), used(1), used(1))
    both = spend([OFTEN, DAY], 500, used(1), used(1), used(1))
    assert Verdict((4, 2), 2, LimitKind.AMOUNT) == both


def test_periods_are_business_dates_and_calendar_months() -> None:
    """Yesterday is another day, the last of October another month, November a year ago another year."""
    first = TODAY.replace(day=1)
    for on, day, month in [
        (TODAY, 1, 1), (TODAY - dt.timedelta(days=1), 0, 1), (first, 0, 1), (first - dt.timedelta(days=1), 0, 0),
        (TODAY.replace(year=2025), 0, 0),
    ]:  # fmt: skip
        assert (day, 100 * day) == used_before(DAY, TODAY, [used(100, on)], [])
        assert (month, 100 * month) == used_before(MONTH, TODAY, [used(100, on)], [])
        assert (0, 0) == used_before(ONCE, TODAY, [used(100, on)], [])
    machine = [TerminalUse(first, 2, 300), TerminalUse(dt.date(2026, 10, 31), 9, 9)]
    assert (2, 300) == used_before(replace(MACHINE, period=LimitPeriod.MONTH), TODAY, [], machine)


def test_what_was_reversed_whole_does_not_count() -> None:
    """A debit of which nothing is taken any more is none; one given back in part is one, with what is left."""
    assert (1, 40) == used_before(DAY, TODAY, [used(0), used(40)], [])
    assert spend([OFTEN], 1, used(0), used(0), used(0)).exceeded is None
    by_programme = replace(DAY, programme=2)
    assert (1, 30) == used_before(by_programme, TODAY, [Use(TODAY, Channel.ATM, HERE, {1: 70, 2: 30}), used(50)], [])


def test_channels_of_a_rule_count_together() -> None:
    """Cash at the agent counts with cash at the machine; food at the shop does not, and is not judged."""
    agent, shop = used(900, channel=Channel.AGENT), used(900, channel=Channel.EWARONG)
    assert spend([MONTH], 200, agent).exceeded is LimitKind.AMOUNT
    assert spend([MONTH], 200, shop).exceeded is None
    assert Verdict() == spend([MONTH], 5_000, agent, channel=Channel.EWARONG)
    every = replace(MONTH, channels=None)
    assert spend([every], 200, shop, channel=Channel.AGENT).exceeded is LimitKind.AMOUNT


def test_a_rule_of_a_programme_sees_its_money_alone() -> None:
    """Its part of the draws and of what was taken before; a debit without its money is not judged by it."""
    food = replace(DAY, programme=2)
    assert Verdict() == spend([food], 9_999)
    mixed = [Draw(1, 1, 9_000), Draw(2, 2, 100)]
    before = [Use(TODAY, Channel.ATM, HERE, {1: 5_000, 2: 400})]
    assert Verdict((2,), 2, None) == check_limits([food], TODAY, Channel.ATM, HERE, mixed, before, [])
    before = [Use(TODAY, Channel.ATM, HERE, {1: 5_000, 2: 401})]
    assert Verdict((2,), 2, LimitKind.AMOUNT) == check_limits([food], TODAY, Channel.ATM, HERE, mixed, before, [])


def test_a_rule_of_a_terminal_counts_what_it_paid_out_to_everybody() -> None:
    """Per TERMINAL the machine's own counters count, the family's debits do not; a named one is that one alone."""
    assert Verdict((5,), 5, LimitKind.AMOUNT) == spend([MACHINE], 101, machine=(TerminalUse(TODAY, 9, 400),))
    assert Verdict((5,), 5, None) == spend([MACHINE], 100, used(9_000), machine=(TerminalUse(TODAY, 9, 400),))
    assert Verdict() == spend([replace(MACHINE, terminal=THERE)], 9_999)
    assert (5,) == spend([replace(MACHINE, terminal=HERE)], 1).evaluated


def test_a_card_rule_may_name_a_terminal() -> None:
    """What the family took there counts, and what it took elsewhere does not."""
    rule = replace(DAY, terminal=HERE)
    assert (1, 100) == used_before(rule, TODAY, [used(100), used(700, place=THERE)], [])
    assert Verdict() == spend([rule], 9_999, terminal=THERE)


@pytest.mark.parametrize(
    ("valid_from", "valid_to", "counts"),
    [(0, None, True), (1, None, False), (-9, 0, True), (-9, -1, False), (0, 0, True)],
)
def test_a_rule_counts_on_both_of_its_ends(valid_from: int, valid_to: int | None, *, counts: bool) -> None:
    """In force from its first day to its last one."""
    end = None if valid_to is None else TODAY + dt.timedelta(days=valid_to)
    rule = replace(ONCE, valid_from=TODAY + dt.timedelta(days=valid_from), valid_to=end)
    assert counts == (spend([rule], 301).exceeded is LimitKind.AMOUNT)


def test_a_newer_rule_of_the_same_name_stands_in() -> None:
    """While it is in force it counts in the older one's place, even where it allows more; then the older one is back."""
    more = replace(MONTH, id=8, max_amount_idr=9_000, valid_from=TODAY, valid_to=TODAY + dt.timedelta(days=7))
    rules = effective([more, MONTH, DAY])
    periods = [(one.id, one.valid_from, one.valid_to) for one in rules if one.name == "cash-month"]
    before, after = TODAY - dt.timedelta(days=1), TODAY + dt.timedelta(days=8)
    assert [(1, LONG_AGO, before), (1, after, None), (8, TODAY, TODAY + dt.timedelta(days=7))] == periods
    assert [DAY] == [one for one in rules if one.name == "cash-day"]
    assert (2, 8) == tuple(sorted(spend(rules, 100).evaluated))
    assert (1, 2) == tuple(sorted(spend(rules, 100, today=after).evaluated))


def test_a_limit_may_be_lifted_for_a_while() -> None:
    """A newer row without a maximum takes its limit away while it is in force."""
    lifted = replace(MONTH, id=8, max_amount_idr=None, valid_from=TODAY, valid_to=TODAY)
    rules = effective([MONTH, lifted])
    assert Verdict() == spend(rules, 10**9)
    assert LimitKind.AMOUNT == spend(rules, 10**9, today=TODAY + dt.timedelta(days=1)).exceeded


named = st.lists(st.tuples(a_rule(), st.sampled_from(["a", "b"])), max_size=6).map(
    lambda made: [replace(rule, id=number, name=name) for number, (rule, name) in enumerate(made, 1)]
)


@given(named.flatmap(lambda rules: st.tuples(st.just(rules), st.permutations(rules))), days)
def test_on_every_day_one_rule_of_a_name_counts(rules: tuple[list[LimitRule], list[LimitRule]], on: dt.date) -> None:
    """The newest in force, whatever the order; outside of its period it is as it was loaded."""
    given_in_order, shuffled = rules
    found = [one for one in effective(shuffled) if one.valid_from <= on <= (one.valid_to or dt.date.max)]
    in_force = [one for one in given_in_order if one.valid_from <= on <= (one.valid_to or dt.date.max)]
    newest = {one.name: one for one in sorted(in_force, key=lambda one: (one.valid_from, one.id))}
    assert sorted(one.id for one in newest.values()) == [one.id for one in found]
    for one in found:
        assert replace(newest[one.name], valid_from=one.valid_from, valid_to=one.valid_to) == one
