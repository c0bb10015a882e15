"""Tests of gateway.store.policy."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Refused
from gateway.rules.allocation import Per, expected_amount
from gateway.rules.purse import Channel, Purse, PurseChoice, drawable_programmes
from gateway.store import policy

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

TODAY = date(2026, 11, 23)


async def test_the_shipped_policy_is_what_the_programmes_pay(engine: AsyncEngine) -> None:
    """PKH by component a stage, Sembako Rp200,000 a month; both may be withdrawn since 2023; clocks 60, 80, 90 and 105."""
    async with engine.begin() as connection:
        assert 18 == await policy.add(connection, policy.read_policy_file(policy.DEFAULT_FILE))
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


async def test_a_programme_ends_on_its_last_day(engine: AsyncEngine) -> None:
    """Both days of a period belong to it."""
    row = policy.ProgrammeRow(number=9, code="TOPUP", name="x", purse=Purse.CASH, valid_from=TODAY, valid_to=TODAY)
    async with engine.begin() as connection:
        await policy.add(connection, policy.PolicyFile(programme=(row,)))
        days = (TODAY.replace(day=22), TODAY, TODAY.replace(day=24))
        assert [False, True, False] == ["TOPUP" in await policy.programmes(connection, on) for on in days]


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
