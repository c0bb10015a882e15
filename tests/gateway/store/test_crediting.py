"""Tests of gateway.store.crediting. That it decides as the rule does: tests/gateway/operations/test_crediting.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.operations import instruction
from gateway.operations.instruction import Sp2d
from gateway.operations.si_chunk import STAGED_COLUMNS
from gateway.store import copy_format as field
from gateway.store import crediting, instructions
from ledger.posting import PostingError
from tests.gateway.owner import as_owner
from tests.gateway.world import MAKER, credit, open_families, write_si

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from tests.gateway.world import Holder


def _row(bank: Bank, line: int, holder: Holder, stage: str) -> bytes:
    return b"".join((
        field.row_start(len(STAGED_COLUMNS)), field.int4(line), field.raw(bank.vault.index(holder.nik, "nik")),
        field.text(holder.account_number), field.text(holder.name), field.text("SEMBAKO"), field.text(stage),
        field.text_array((f"{stage}-m",)), field.int8(1_000), field.NULL,
    ))  # fmt: skip


async def _si(bank: Bank, folder: Path) -> instructions.Instruction:
    path = write_si(folder / "si.csv", [["x"] * 6 + ["1000", ""]])
    await instruction.import_instruction(bank, MAKER, path, "SI-9", Sp2d("SP2D-9", bank.business_date, 1_000))
    async with bank.database.engine.connect() as connection:
        return await instructions.read(connection, "SI-9")


async def test_rows_that_depend_on_each_other_are_named(bank: Bank, tmp_path: Path) -> None:
    """Two rows of an account that share a stage or month; not those of different stages, and not other accounts' rows."""
    one, two, three = await open_families(bank, tmp_path, 3)
    rows = [(one, "A"), (two, "A"), (one, "B"), (two, "B"), (two, "B"), (three, "A")]
    staged = [_row(bank, line, holder, stage) for line, (holder, stage) in enumerate(rows, 2)]
    async with bank.database.engine.connect() as connection:
        await crediting.stage(connection, STAGED_COLUMNS, field.payload(staged))
        await crediting.lock_accounts(connection, bank.business_date)
        found = await crediting.to_decide_singly(connection, bank.business_date)
        assert [(3, two.family_id), (5, two.family_id), (6, two.family_id)] == [
            (row.line, row.account_id) for row in found
        ]
        waiting = "SELECT count(*) FROM (SELECT 1 FROM account FOR UPDATE SKIP LOCKED) x"
        assert [0] == [row[0] for row in await as_owner(bank, waiting)]
        await connection.rollback()


async def test_the_book_refuses_what_was_decided_wrongly(bank: Bank, tmp_path: Path) -> None:
    """Were a row credited that was paid before, nothing of its part would be: the stage is there once, whatever is decided."""
    families = await open_families(bank, tmp_path, 2)
    await credit(bank, tmp_path, families[:1], 1_000, stage="2026-T4", months=("2026-10",))
    si = await _si(bank, tmp_path)
    staged = [_row(bank, line, holder, "2026-T4") for line, holder in enumerate(families, 2)]
    async with bank.database.engine.connect() as connection:
        await crediting.stage(connection, STAGED_COLUMNS, field.payload(staged))
        await crediting.lock_accounts(connection, bank.business_date)
        with pytest.raises(PostingError, match="same stage of a programme twice"):
            await crediting.credit(connection, si, bank.business_date, {2: None})
        await connection.rollback()
        assert 1 == (await connection.execute(text("SELECT count(*) FROM tranche"))).scalar_one()
