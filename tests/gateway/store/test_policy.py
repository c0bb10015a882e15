"""Tests of gateway.store.policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Refused
from gateway.rules.allocation import Per, expected_amount
from gateway.rules.limits import LimitPeriod, LimitScope, check_limits
from gateway.rules.purse import Channel, Purse, PurseChoice, drawable_programmes
from gateway.store import policy
from ledger.posting import Draw

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

TODAY = date(2026, 11, 23)


async def test_the_shipped_policy_is_what_the_programmes_pay(engine: AsyncEngine) -> None:
    """PKH by component a stage, Sembako Rp200,000 a month; both may be withdrawn since 2023; clocks 60, 80, 90 and 105."""
    async with engine.begin() as connection:
        assert 22 == await policy.add(connection, policy.read_policy_file(policy.DEFAULT_FILE))
        rates = await policy.amounts(connection)
        rules = await policy.purse_rules(connection)
        (clock,) = await policy.clock_policies(connection)
        known = await policy.programmes(connection, TODAY)
        assert {} == await policy.programmes(connection, date(2016, 12, 31))
    assert 600_000 == expected_amount("SEMBAKO", {}, 3, TODAY, rates)
    assert 330_000 == expected_amount("SEMBAKO", {}, 3, date(2019, 6, 1), rates)
    assert 750_000 + 225_000 == expected_amount("PKH", {"HAMIL": 1, "SD": 1}, 3, TODAY, rates)
    assert {Per.STAGE, Per.MONTH} == {rate.per for rate in rates}
    assert [1, 2] == sorted(drawable_programmes(rules, Channel.ATM, "6011", PurseChoice.BY_RULE, TODAY))
    assert [1] == sorted(drawable_programmes(rules, Channel.ATM, "6011", PurseChoice.BY_RULE, date(2022, 12, 31)))
    assert ((60, 80), 90, 105, False, None, "") == (
        clock.warn_days, clock.block_days, clock.return_days, clock.partly_used, clock.programme, clock.region_prefix,
    )  # fmt: skip
    assert (Purse.CASH, Purse.FOOD) == (known["PKH"].purse, known["SEMBAKO"].purse)
    facts = policy.programme_facts(known.values())
    assert (True, False, "SEMBAKO") == (
        facts["PKH"].needs_components,
        facts["SEMBAKO"].needs_components,
        facts["BPNT"].code,
    )


async def test_the_shipped_limits(engine: AsyncEngine) -> None:
    """Cash of Rp5,000,000 a month; they let the highest stage of PKH and three months of Sembako out in one withdrawal."""
    async with engine.begin() as connection:
        await policy.add(connection, policy.read_policy_file(policy.DEFAULT_FILE))
        rules = await policy.limit_rules(connection)
        rates = await policy.amounts(connection)
    assert {LimitScope.CARD} == {
        rule.per for rule in rules
    }  # a rule per terminal costs a lock a terminal: none is shipped
    by_name = {rule.name: rule for rule in rules}
    assert ["cash-month", "atm-transaction", "atm-day", "cash-count-day"] == list(by_name)
    month = by_name["cash-month"]
    assert (LimitPeriod.MONTH, 5_000_000, frozenset({Channel.ATM, Channel.AGENT}), None) == (
        month.period, month.max_amount_idr, month.channels, month.valid_to,
    )  # fmt: skip
    stage = expected_amount("PKH", {"HAMIL": 2, "USIA_DINI": 2}, 3, TODAY, rates) or 0
    draws = [Draw(1, 1, stage), Draw(2, 2, expected_amount("SEMBAKO", {}, 3, TODAY, rates) or 0)]
    assert 3_600_000 == sum(draw.amount_idr for draw in draws)
    assert check_limits(rules, TODAY, Channel.ATM, "200:ATM00001", draws, [], []).exceeded is None


LIMIT = """
[[limit]]
name = "machine"
per = "TERMINAL"
period = "DAY"
terminal = "200:ATM00001"
max_count = 900
reason = "a test"
valid_from = 2026-11-01
[[limit]]
name = "food"
per = "CARD"
period = "MONTH"
channels = ["ATM", "AGENT"]
programme = "TOPUP"
max_amount_idr = 0
reason = "a test"
valid_from = 2026-11-01
valid_to = 2026-11-30
[[limit]]
name = "food"
per = "CARD"
period = "MONTH"
lifted = true
reason = "a test"
valid_from = 2026-11-20
[[programme]]
number = 9
code = "TOPUP"
name = "x"
purse = "CASH"
available_after_days = 14
valid_from = 2026-01-01
"""


async def test_limits_come_back_as_they_were_written(engine: AsyncEngine, tmp_path: Path) -> None:
    """Each column of a limit, and of two of one name the newer one while it is in force; days to wait of a programme."""
    path = tmp_path / "policy.toml"
    path.write_text(LIMIT)
    async with engine.begin() as connection:
        assert 4 == await policy.add(connection, policy.read_policy_file(path))
        machine, food, lifted = await policy.limits_as_loaded(connection)
        assert [machine, replace(food, valid_to=date(2026, 11, 19))] == await policy.limit_rules(connection)
        assert {"TOPUP": 14} == {
            code: one.available_after_days for code, one in (await policy.programmes(connection, TODAY)).items()
        }
    assert (LimitScope.TERMINAL, LimitPeriod.DAY, "200:ATM00001", 900, None, None, None, date(2026, 11, 1), None) == (
        machine.per, machine.period, machine.terminal, machine.max_count, machine.max_amount_idr, machine.channels,
        machine.programme, machine.valid_from, machine.valid_to,
    )  # fmt: skip
    assert (LimitScope.CARD, LimitPeriod.MONTH, 9, 0, None, None, date(2026, 11, 30)) == (
        food.per, food.period, food.programme, food.max_amount_idr, food.max_count, food.terminal, food.valid_to,
    )  # fmt: skip
    assert frozenset({Channel.ATM, Channel.AGENT}) == food.channels
    assert (None, None) == (lifted.max_amount_idr, lifted.max_count)


async def test_a_programme_ends_on_its_last_day(engine: AsyncEngine) -> None:
    """Both days of a period belong to it."""
    row = policy.ProgrammeRow(number=9, code="TOPUP", name="x", purse=Purse.CASH, valid_from=TODAY, valid_to=TODAY)
    async with engine.begin() as connection:
        await policy.add(connection, policy.PolicyFile(programme=(row,)))
        days = (TODAY.replace(day=22), TODAY, TODAY.replace(day=24))
        assert [False, True, False] == ["TOPUP" in await policy.programmes(connection, on) for on in days]


def limit(changed: str) -> bytes:
    """A limit without a maximum, with some lines added or put in place of others."""
    lines = dict(line.split(" = ", 1) for line in changed.splitlines() if line)
    usual = {"name": "'one'", "per": "'CARD'", "period": "'DAY'", "reason": "'x'", "valid_from": "2026-01-01"}
    return ("[[limit]]\n" + "\n".join(f"{name} = {value}" for name, value in (usual | lines).items())).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"clock = 1", r"clock: Input should be a valid tuple"),
        (b"[[clock]]\nreason = 'x'", r"clock\.0\.valid_from: Field required"),
        (b"[[clock]]\nregion_prefix = 'ABC'\nreason = 'x'\nvalid_from = 2026-01-01", r"clock\.0\.region_prefix"),
        (b"[[amount]]\nprogramme = 'PKH'\nper = 'YEAR'\namount_idr = 1\nvalid_from = 2026-01-01", r"amount\.0\.per"),
        (
            b"[[amount]]\nprogramme = 'PKH'\nper = 'MONTH'\namount_idr = 0\nvalid_from = 2026-01-01",
            r"amount\.0\.amount_idr",
        ),
        (
            b"[[programme]]\nnumber=9\ncode='AB'\nname='x'\npurse='CASH'\navailable_after_days=-1\nvalid_from=2026-01-01",
            r"programme\.0\.available_after_days",
        ),
        (limit("name = 'Big One'"), r"limit\.0\.name"),
        (limit("period = 'WEEK'"), r"limit\.0\.period"),
        (limit("per = 'FAMILY'"), r"limit\.0\.per"),
        (limit("channels = ['POS']"), r"limit\.0\.channels\.0"),
        (limit("channels = []"), r"limit\.0\.channels"),
        (limit("terminal = 'ATM00001'"), r"limit\.0\.terminal"),
        (limit("max_amount_idr = -1"), r"limit\.0\.max_amount_idr"),
        (limit("reason = ''"), r"limit\.0\.reason"),
        (limit(""), r"limit\.0: a limit needs max_amount_idr or max_count"),
        (limit("max_count = 1\nlifted = true"), r"limit\.0: a limit that is lifted has no maximum"),
        (limit("max_count = 1\nperiod = 'TRANSACTION'"), r"limit\.0: a transaction is one"),
        (limit("max_count = 1\nper = 'TERMINAL'\nprogramme = 'PKH'"), r"limit\.0: what a terminal pays out"),
        (limit("max_count = 1\nvalid_to = 2025-12-31"), r"limit\.0: valid_to is before valid_from"),
        (b"[[unknown]]", r"unknown: Extra inputs"),
        (b"not toml", r"policy\.toml: "),
        (b"\xff\xfe", r"policy\.toml: "),
    ],
)
def test_a_wrong_policy_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """One line names the file, the place and what is wrong."""
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(Refused, match=message) as refused:
        policy.read_policy_file(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_a_missing_policy_file_is_refused(tmp_path: Path) -> None:
    """The path is told."""
    with pytest.raises(Refused, match=r"none\.toml: No such file"):
        policy.read_policy_file(tmp_path / "none.toml")


async def test_two_limits_of_one_name_and_day(engine: AsyncEngine, tmp_path: Path) -> None:
    """In one file they are refused by name; what an unknown programme is limited to, too."""
    path = tmp_path / "policy.toml"
    twice = limit("max_count = 1\nname = 'twice'")
    path.write_bytes(twice + b"\n" + twice)
    async with engine.begin() as connection:
        with pytest.raises(Refused, match=r"^policy has two limits named twice from 2026-01-01$"):
            await policy.add(connection, policy.read_policy_file(path))
        path.write_bytes(limit("max_count = 1\nprogramme = 'NONE'"))
        with pytest.raises(Refused, match="names the programme NONE, which does not exist"):
            await policy.add(connection, policy.read_policy_file(path))
