"""Tests of gateway.store.instructions. Crediting is tested with gateway.operations.instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations.bank import reading
from gateway.rules.batch import SiState
from gateway.store import instructions
from tests.gateway.owner import exclude
from tests.gateway.world import CHECKER, credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_instructions_are_read_with_their_sp2d(bank: Bank, tmp_path: Path) -> None:
    """An SI comes back with its SP2D, newest first; an unknown number is not found."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families, 200_000)
    await credit(bank, tmp_path, families[:1], 300_000, si="SI-2", stage="2026-T5", months=("2027-01",))
    async with reading(bank) as connection:
        newest, oldest = await instructions.read_all(connection)
        assert oldest == await instructions.read(connection, "SI-1")
        told = (
            newest.si_no,
            newest.sp2d_no,
            newest.sp2d_amount_idr,
            newest.rows,
            newest.amount_idr,
            newest.state,
            newest.checker,
        )
        assert ("SI-2", "SP2D-SI-2", 300_000, 1, 300_000, SiState.POSTED, CHECKER) == told
        assert {2: 400_000} == await instructions.amounts_by_programme(connection, oldest.id)
        assert (2, 400_000) == await instructions.totals(connection, oldest.id)
        assert (2, 0, 400_000, {}) == await instructions.outcome(connection, oldest.id)
        assert [] == await instructions.waiting_rows(connection, oldest.id, 10)
        with pytest.raises(NotFound, match=r"^there is no SI SI-3$"):
            await instructions.read(connection, "SI-3")


async def test_what_was_paid_is_told_apart_by_instruction(bank: Bank, tmp_path: Path) -> None:
    """Stages and months of an account: those of other instructions, and those of this one."""
    (family,) = await open_families(bank, tmp_path, 1)
    await credit(bank, tmp_path, [family], months=("2026-10",))
    await credit(bank, tmp_path, [family], si="SI-2", stage="2026-T5", months=("2027-01", "2027-02"))
    owner = [(family.family_id % bank.row.cells, family.family_id)]
    async with reading(bank) as connection:
        second = (await instructions.read(connection, "SI-2")).id
        before, here = await instructions.paid_stages(connection, second, owner)
        assert {family.family_id: {"SEMBAKO": {"2026-T4", "2026-10"}}} == before
        assert {family.family_id: {"SEMBAKO": {"2026-T5", "2027-01", "2027-02"}}} == here
        assert ({}, {}) == await instructions.paid_stages(connection, second, [(0, 999)])


async def test_accounts_are_locked_and_excluded_ones_told(bank: Bank, tmp_path: Path) -> None:
    """Accounts come by number; who is excluded on that date is told, and an unknown number is not among them."""
    first, second = await open_families(bank, tmp_path, 2)
    await exclude(bank, first.nik, bank.business_date)
    async with bank.database.engine.begin() as connection:
        numbers = [first.account_number, second.account_number, "1"]
        found = await instructions.lock_accounts(connection, numbers, bank.business_date)
    assert {first.account_number: True, second.account_number: False} == {
        number: row.excluded for number, row in found.items()
    }
