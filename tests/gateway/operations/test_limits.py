"""Tests of gateway.operations.limits."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.migrations import versions
from gateway.operations import limits, setup
from gateway.rules import replay
from gateway.rules.authorise import RequestKind
from gateway.rules.replay import Total
from gateway.store.policy import DEFAULT_FILE
from tests.gateway.owner import as_owner, one_value
from tests.gateway.past import add_past
from tests.gateway.street import open_street
from tests.gateway.till import open_till
from tests.gateway.world import MAKER

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

DAY = """
[[limit]]
name = "draft-day"
per = "{per}"
period = "DAY"
channels = ["ATM", "AGENT"]
max_amount_idr = {most}
reason = "a draft"
valid_from = 2017-01-01
"""
RAISED = """
[[limit]]
name = "cash-month"
per = "CARD"
period = "MONTH"
max_amount_idr = 9_000_000
reason = "several stages paid at once"
valid_from = 2026-11-01
valid_to = 2026-11-30
"""
EVERYTHING = """
    SELECT md5(string_agg(one, '' ORDER BY one)) FROM (
        SELECT a::text AS one FROM authorisation a UNION ALL SELECT e::text FROM audit_event e UNION ALL
        SELECT l::text FROM limit_rule l) x
"""


def draft(folder: Path, most: int, per: str = "CARD") -> Path:
    """A policy file with one limit: cash a day."""
    path = folder / f"draft-{most}-{per}.toml"
    path.write_text(DAY.format(per=per, most=most), encoding="utf-8")
    return path


async def test_a_dry_run_over_a_day_at_the_terminals(bank: Bank, tmp_path: Path) -> None:
    """Cash of 300,000 a day: the third withdrawal would be declined, the shop is not concerned, nothing is written."""
    async with open_street(bank, tmp_path) as street:
        for withdraw in (street.atm.withdraw, street.agent.withdraw):
            assert "00" == (await withdraw(street.card, 150_000)).code
        assert "00" == (await street.shop.purchase(street.card, 100_000)).code
        taken_back = await street.atm.withdraw(street.card, 50_000)
        assert "00" == (await street.atm.reverse(taken_back)).code
    before = await one_value(bank, EVERYTHING)
    found = await limits.dry_run(bank, draft(tmp_path, 300_000))
    as_it_was = await limits.dry_run(bank, draft(tmp_path, 350_000))
    outcome = found.outcome
    assert (Total(4, 450_000), Total(3, 400_000)) == (outcome.approved_before, outcome.approved_after)
    tally = outcome.rules[1]
    assert (3, 3, 1, 50_000, 1) == (
        tally.evaluated, tally.decided, tally.declined, tally.declined_idr, tally.families,
    )  # fmt: skip
    (example,) = tally.examples
    assert 50_000 == (await limits.show(bank, example))[0].amount_idr
    assert 0 == as_it_was.outcome.rules[1].declined
    assert (bank.business_date.replace(day=1), bank.business_date) == (found.since, found.until)
    assert before == await one_value(bank, EVERYTHING)


async def test_a_limit_at_the_terminals(bank: Bank, tmp_path: Path) -> None:
    """It refuses with its own code; what decided is told later; the same limits over the same days would change nothing."""
    day = draft(tmp_path, 300_000)
    await setup.load_policy(bank, MAKER, day)
    async with open_street(bank, tmp_path) as street:
        first = await street.atm.withdraw(street.card, 200_000)
        asked = [first, await street.agent.withdraw(street.card, 150_000), await street.atm.withdraw(street.card, 100_000),
                 await street.atm.withdraw(street.card, 50_000), await street.atm.reverse(first),
                 await street.agent.withdraw(street.card, 150_000)]  # fmt: skip
        assert ["00", "61", "00", "61", "00", "00"] == [one.code for one in asked]
    whole = tmp_path / "whole.toml"
    whole.write_text(DEFAULT_FILE.read_text(encoding="utf-8") + day.read_text(encoding="utf-8"), encoding="utf-8")
    outcome = (await limits.dry_run(bank, whole)).outcome
    assert (outcome.approved_before, outcome.declined_before) == (outcome.approved_after, outcome.declined_after)
    assert (Total(3, 450_000), Total(2, 200_000)) == (outcome.approved_before, outcome.declined_before)
    number = await one_value(
        bank, "SELECT max(id) FROM authorisation WHERE reason = 'LIMIT_AMOUNT' AND amount_idr = 50000"
    )
    found, shown = await limits.show(bank, number)
    assert ("LIMIT_AMOUNT", 5, [1, 2, 3, 4, 5]) == (found.reason, found.limit_id, [one.rule.id for one in shown])
    assert ["draft-day"] == [one.rule.name for one in shown if one.decided]
    assert (2, 300_000) == (shown[-1].count_before, shown[-1].spent_before_idr)


async def test_a_terminal_is_counted_by_link(bank: Bank, tmp_path: Path) -> None:
    """Two links whose messages name the same acquirer and terminal do not use up each other's limit; nor in a dry run."""
    day = draft(tmp_path, 300_000, "TERMINAL")
    await setup.load_policy(bank, MAKER, day)
    async with open_till(bank, tmp_path) as till:
        asked = [
            await till.ask(RequestKind.CASH, 200_000, card=0, link=link) for link in ("himbara", "other", "himbara")
        ]
        asked += await asyncio.gather(
            till.ask(RequestKind.CASH, 100_000, card=0, link="other"),
            till.ask(RequestKind.CASH, 100_000, card=1, link="himbara"),
        )
        assert [True, True, False, True, True] == [one.approved for one in asked]
        used = "SELECT string_agg(terminal || '=' || amount_idr, ' ' ORDER BY terminal) FROM terminal_use"
        assert "himbara:000002:T1=300000 other:000002:T1=300000" == await one_value(bank, used)
    outcome = (await limits.dry_run(bank, draft(tmp_path, 250_000, "TERMINAL"))).outcome
    assert (Total(4, 600_000), Total(2, 400_000)) == (outcome.approved_before, outcome.approved_after)


async def test_the_span_of_a_dry_run(bank: Bank, tmp_path: Path) -> None:
    """What was taken earlier in the month counts and is not judged; a span that ends before it starts is refused."""
    today = date(2026, 11, 23)
    await setup.move_business_date(bank, MAKER, today)
    yesterday = today - timedelta(days=1)
    await add_past(bank, 1, 300, yesterday)
    await add_past(bank, 2, 300, today)
    await add_past(bank, 3, 300, today, account=2)
    path = tmp_path / "month.toml"
    path.write_text(DAY.format(per="CARD", most=500).replace("DAY", "MONTH"), encoding="utf-8")
    whole = await limits.dry_run(bank, path)
    assert (today.replace(day=1), today, 3, [2]) == (
        whole.since, whole.until, whole.outcome.approved_before.count, whole.outcome.rules[1].examples,
    )  # fmt: skip
    part = await limits.dry_run(bank, path, since=today)
    assert (2, [2]) == (part.outcome.approved_before.count, part.outcome.rules[1].examples)
    assert 1 == (await limits.dry_run(bank, path, until=yesterday)).outcome.approved_before.count
    with pytest.raises(Refused, match=f"the span ends on {yesterday}, before it starts on {today}"):
        await limits.dry_run(bank, path, since=today, until=yesterday)


async def test_what_was_declined_for_a_limit_and_would_be_approved(bank: Bank, tmp_path: Path) -> None:
    """By the rule that declined it; a draft per terminal counts over families."""
    today = bank.business_date
    await add_past(bank, 1, 300, today)
    await add_past(bank, 2, 300, today, account=2, reason="LIMIT", limits=(1, 4), limit=4)
    found = await limits.dry_run(bank, draft(tmp_path, 599))
    assert ({4: Total(1, 300)}, [2]) == (found.outcome.freed, found.outcome.freed_examples)
    assert "cash-count-day" == found.stored[4].name
    machine = await limits.dry_run(bank, draft(tmp_path, 599, "TERMINAL"))
    assert ({}, Total(1, 300)) == (machine.outcome.freed, machine.outcome.declined_after)
    assert {1: "draft-day"} == {place: rule.name for place, rule in machine.rules.items()}


async def test_drafts_that_cannot_be_run(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without limits, one of an unknown programme, and one that would need unbounded memory: one line each."""
    none = tmp_path / "none.toml"
    none.write_text("", encoding="utf-8")
    with pytest.raises(Refused, match=r"none\.toml: has no \[\[limit\]\]"):
        await limits.dry_run(bank, none)
    none.write_text(DAY.format(per="CARD", most=1) + 'programme = "NONE"', encoding="utf-8")
    with pytest.raises(Refused, match="names the programme NONE"):
        await limits.dry_run(bank, none)
    await add_past(bank, 1, 300, bank.business_date)
    monkeypatch.setattr(replay, "USES_MAX", 0)
    with pytest.raises(Refused, match="a draft that counts by terminal is replayed by time"):
        await limits.dry_run(bank, draft(tmp_path, 300, "TERMINAL"))


async def test_what_decided_an_authorisation(bank: Bank) -> None:
    """Every rule that was evaluated, the one that decided, and what was used of them before: not what came after it."""
    day = date(2026, 11, 23)
    await setup.move_business_date(bank, MAKER, day)
    await add_past(bank, 1, 2_000_000, day - timedelta(days=1))
    await add_past(bank, 2, 1_000_000, day)
    await add_past(bank, 3, 400_000, day, kind="REVERSAL", of=2)
    await add_past(bank, 4, 3_000_000, day, reason="LIMIT", limits=(1, 2, 3, 4), limit=1)
    await add_past(bank, 5, 70_000, day)
    found, shown = await limits.show(bank, 4)
    assert ("LIMIT", 1, 3_000_000) == (found.reason, found.limit_id, found.amount_idr)
    told = [(one.rule.name, one.decided, one.count_before, one.spent_before_idr) for one in shown]
    assert [
        ("cash-month", True, 2, 2_600_000),
        ("atm-transaction", False, 0, 0),
        ("atm-day", False, 1, 600_000),
        ("cash-count-day", False, 1, 600_000),
    ] == told
    assert [] == (await limits.show(bank, 5))[1]
    with pytest.raises(NotFound, match="there is no authorisation 77"):
        await limits.show(bank, 77)


async def test_limits_of_a_date(bank: Bank, tmp_path: Path) -> None:
    """A newer one of the same name stands in from its first to its last day, as it was loaded; before 2017 there was none."""
    path = tmp_path / "raised.toml"
    path.write_text(RAISED, encoding="utf-8")
    assert 1 == await setup.load_policy(bank, MAKER, path)
    month = {
        on: next(one for one in await limits.in_force(bank, on) if one.name == "cash-month")
        for on in (date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 30), date(2026, 12, 1))
    }
    assert [5_000_000, 9_000_000, 9_000_000, 5_000_000] == [one.max_amount_idr for one in month.values()]
    assert date(2026, 10, 31) == month[date(2026, 10, 31)].valid_to
    assert 4 == len(await limits.in_force(bank))
    assert [] == await limits.in_force(bank, date(2016, 12, 31))
    with pytest.raises(Refused, match="a row is there already or breaks a rule of the table"):
        await setup.load_policy(bank, MAKER, path)


async def test_what_terminals_have_paid_out_is_carried_over(bank: Bank) -> None:
    """The migration counts the newest month again by link; earlier months, which no limit looks at, stay as they were."""
    today, before = date(2026, 11, 23), date(2026, 10, 31)
    await setup.move_business_date(bank, MAKER, before)
    await add_past(bank, 1, 300, before, terminal="T1")
    await setup.move_business_date(bank, MAKER, today)
    for number, terminal, reason in (
        (2, "T1", "APPROVED"),
        (3, "T1", "APPROVED"),
        (4, "T1", "LIMIT_AMOUNT"),
        (5, "T2", "APPROVED"),
    ):
        await add_past(bank, number, 100 * number, today, terminal=terminal, reason=reason)
    for on in (before, today):
        await as_owner(bank, "INSERT INTO terminal_use VALUES ('000200:T1', :on, 9, 999)", on=on)
    script = (Path(versions.__file__).parent.parent / "sql" / "0011_link_life.sql").read_text(encoding="utf-8")
    await as_owner(bank, script.partition("DO NOTHING;")[0] + "DO NOTHING")
    rows = await as_owner(bank, "SELECT terminal, business_date, count, amount_idr FROM terminal_use ORDER BY 1, 2")
    assert [("000200:T1", before, 9, 999), ("000200:T1", today, 9, 999), ("himbara:000200:T1", today, 2, 500)] == [
        tuple(row) for row in rows
    ]
