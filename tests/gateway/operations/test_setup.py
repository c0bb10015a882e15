"""Tests of gateway.operations.setup."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway import clock
from gateway.errors import Refused
from gateway.operations import setup
from gateway.operations.bank import BankRow
from gateway.settings import load_settings
from gateway.store import policy
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import MAKER, credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank


async def test_two_first_starts_make_one_bank(engine: AsyncEngine) -> None:
    """Processes that start at the same moment on an empty database agree on one row and one policy."""
    settings = load_settings(bank="BNI", lanes=3)

    async def start() -> BankRow:
        async with engine.begin() as connection:
            return await setup.create_bank_row(connection, settings)

    async with engine.connect() as connection:
        assert await setup.read_bank_row(connection) is None
    rows = await asyncio.gather(*(start() for _ in range(4)))
    assert {BankRow("BNI", "601301", 16, 3)} == set(rows)
    async with engine.connect() as connection:
        assert rows[0] == await setup.read_bank_row(connection)
        assert {"PKH", "SEMBAKO"} == set(await policy.programmes(connection, date(2026, 11, 1)))


@pytest.mark.parametrize(
    ("change", "name"),
    [({"name": "BNI"}, "KKS_BANK=BNI"), ({"card_bin": "601302"}, "KKS_CARD_BIN=601302"), ({"lanes": 9}, "KKS_LANES=9")],
)
def test_what_was_fixed_at_setup_stays(change: dict[str, object], name: str) -> None:
    """A setting that may not change after setup is refused by name; the same ones pass."""
    settings = load_settings()
    row = BankRow("BRI", "601301", 16, 2)
    setup.check_settings_match(row, settings)
    with pytest.raises(Refused, match=f"^this database was set up with {name}; the setting says"):
        setup.check_settings_match(replace(row, **change), settings)  # type: ignore[arg-type]


async def test_a_policy_file_adds_rows(bank: Bank, tmp_path: Path) -> None:
    """A new programme with its amount, purse rule and clock is loaded whole, and recorded."""
    path = tmp_path / "topup.toml"
    path.write_text("""
        programme = [{number = 3, code = "BLT_2026", name = "Top-up", purse = "CASH", valid_from = 2026-01-01}]
        amount = [{programme = "BLT_2026", per = "MONTH", amount_idr = 100_000, valid_from = 2026-01-01}]
        purse_rule = [{programme = "BLT_2026", channels = ["ATM"], mccs = ["*"], valid_from = 2026-01-01}]
        clock = [{programme = "BLT_2026", block_days = 30, reason = "a test", valid_from = 2026-01-01}]
    """)
    assert 4 == await setup.load_policy(bank, MAKER, path)
    assert (MAKER, "topup.toml") == tuple(
        (await as_owner(bank, "SELECT actor, subject FROM audit_event WHERE operation = 'policy.load'"))[0]
    )
    with pytest.raises(Refused, match="a row is there already or breaks a rule of the table"):
        await setup.load_policy(bank, MAKER, path)
    path.write_text('amount = [{programme = "NONE", per = "MONTH", amount_idr = 1, valid_from = 2026-01-01}]')
    with pytest.raises(Refused, match="names the programme NONE, which does not exist"):
        await setup.load_policy(bank, MAKER, path)
    path.write_text('clock = [{block_days = 30, reason = "x", valid_from = 2026-01-02, valid_to = 2026-01-01}]')
    with pytest.raises(Refused, match="breaks a rule"):
        await setup.load_policy(bank, MAKER, path)
    assert 1 == await one_value(bank, "SELECT count(*) FROM audit_event WHERE operation = 'policy.load'")
    assert 3 == await one_value(bank, "SELECT count(*) FROM programme")


async def test_the_business_date_is_moved_by_hand(bank: Bank, tmp_path: Path) -> None:
    """It moves forward and back while the journal is empty, never to before the journal's newest entry, and is recorded."""
    today = bank.business_date
    assert today - timedelta(days=3) == await setup.move_business_date(bank, MAKER, today - timedelta(days=3))
    assert today + timedelta(days=3) == await setup.move_business_date(bank, MAKER, today + timedelta(days=3))
    families = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, families)
    assert today + timedelta(days=3) == await one_value(bank, "SELECT max(business_date) FROM transfer")
    with pytest.raises(
        Refused, match=f"cannot go back to {today}: the journal has entries of {today + timedelta(days=3)}"
    ):
        await setup.move_business_date(bank, MAKER, today)
    assert today + timedelta(days=3) == bank.business_date
    assert 2 == await one_value(bank, "SELECT count(*) FROM audit_event WHERE operation = 'bank.business_date'")
    assert clock.jakarta_today() == today
