"""Tests of gateway.operations.account."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations import account
from tests.gateway.owner import as_owner
from tests.gateway.world import credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_an_account_is_shown_with_its_money(bank: Bank, tmp_path: Path) -> None:
    """The officer sees holder, purses and each tranche with its papers, of this account alone."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families[:1], 600_000)
    await credit(bank, tmp_path, families[:1], 200_000, si="SI-2", stage="2026-T5", months=("2027-01",))
    shown = await account.show(bank, families[0].account_number)
    assert (families[0].account_number, "ACTIVE", families[0].name) == (
        shown["number"],
        shown["state"],
        shown["holder"],
    )
    assert [{"programme": "SEMBAKO", "available_idr": 800_000, "held_idr": 0, "frozen_idr": 0}] == shown["purses"]
    told = [(one["stage"], one["sp2d_no"], one["amount_idr"], one["state"]) for one in shown["tranches"]]
    assert [("2026-T4", "SP2D-SI-1", 600_000, "OPEN"), ("2026-T5", "SP2D-SI-2", 200_000, "OPEN")] == told
    other = await account.show(bank, families[1].account_number)
    assert ([], []) == (other["purses"], other["tranches"])
    assert families[0].nik not in str(shown)


async def test_what_is_lost_next_and_what_cannot_be_spent_yet(bank: Bank, tmp_path: Path) -> None:
    """Ninety days after it can first be spent the unused aid is blocked; a used tranche has no such date."""
    families = await open_families(bank, tmp_path, 1)
    number = families[0].account_number
    assert (await account.show(bank, number))["expiring"] is None
    await credit(bank, tmp_path, families, 600_000)
    await credit(bank, tmp_path, families, 200_000, si="SI-2", stage="2026-T5", months=("2027-01",))
    today = bank.business_date
    waits = "UPDATE tranche SET available_from = :later, clock_from = :later WHERE stage = '2026-T5'"
    await as_owner(bank, waits, later=today + timedelta(days=14))
    shown = await account.show(bank, number)
    assert {"on": today + timedelta(days=90), "amount_idr": 600_000} == shown["expiring"]
    assert [today, today + timedelta(days=14)] == [one["available_from"] for one in shown["tranches"]]
    await as_owner(bank, "UPDATE tranche SET used_on = :today WHERE stage = '2026-T4'", today=today)
    assert {"on": today + timedelta(days=104), "amount_idr": 200_000} == (await account.show(bank, number))["expiring"]


async def test_an_unknown_account_is_said_so(bank: Bank) -> None:
    """The number is not found, in one line."""
    with pytest.raises(NotFound, match=r"^there is no account 123$"):
        await account.show(bank, "123")
