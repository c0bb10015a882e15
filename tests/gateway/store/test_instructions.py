"""Tests of gateway.store.instructions. Crediting is tested with gateway.operations.instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations import instruction
from gateway.operations.bank import reading
from gateway.operations.instruction import Sp2d
from gateway.rules.batch import SiState
from gateway.store import instructions
from tests.gateway.world import CHECKER, MAKER, credit, open_families, write_si

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
        assert (2, 0, 400_000, {}) == await instructions.outcome(connection, oldest.id)
        assert {} == await instructions.parts_left(connection, oldest.id)
        assert {2: ("TOPUP_SUKSES", None)} == await instructions.decided_rows(connection, oldest.id, (2, 2))
        assert {} == await instructions.decided_rows(connection, oldest.id, (2, 3), but="TOPUP_SUKSES")
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


async def test_a_part_is_taken_once(bank: Bank, tmp_path: Path) -> None:
    """Whoever takes a part locks its lane and marks it; a second taker gets nothing, and its content is gone with it."""
    families = await open_families(bank, tmp_path, 2)
    rows = [[h.nik, h.account_number, h.name, "SEMBAKO", "2026-T4", "2026-10", "1000", h.region] for h in families]
    path = write_si(tmp_path / "si.csv", [*rows, ["wrong"] * 8])
    await instruction.import_instruction(bank, MAKER, path, "SI-1", Sp2d("SP2D-1", bank.business_date, 2_000))
    async with bank.database.engine.begin() as connection:
        si = await instructions.read(connection, "SI-1")
        left = await instructions.parts_left(connection, si.id)
        assert 0 in left
        total = 0
        for lane, parts in left.items():
            assert [2] == parts
            taken = await instructions.take_part(connection, si.id, lane, 2)
            assert taken is not None
            total += taken[0]
            assert await instructions.take_part(connection, si.id, lane, 2) is None
        assert 3 == total
        assert {} == await instructions.parts_left(connection, si.id)
        chunk = await instructions.next_chunk(connection, si.id, 0)
        assert chunk is not None
        assert (2, 3) == (chunk.first_line, chunk.rows)
        assert await instructions.next_chunk(connection, si.id, 2) is None
        assert [] == await instructions.rows_taken_in_before(connection, si.id, 0, 10)
