"""Tests of gateway.operations.si_chunk."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import TYPE_CHECKING

from gateway.files.blocks import RowBlock
from gateway.files.packed import unpack
from gateway.files.row import TableRow
from gateway.operations.si_chunk import SiTask, lane_of, part_place, record_place
from gateway.rules.instruction import InstructionPolicy
from gateway.rules.kpm import ProgrammeFacts

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

COLUMNS = ("NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL")
GOOD = ("1271074112900001", "001400000012", "Siti Aminah", "SEMBAKO", "2026-T4", "2026-10", "600000")
TASK = SiTask(7, COLUMNS, InstructionPolicy({"SEMBAKO": ProgrammeFacts("SEMBAKO")}), 4)


def _block(*rows: tuple[str, ...]) -> RowBlock:
    return RowBlock(2, [TableRow(line, row) for line, row in enumerate(rows, 2)])


def test_a_chunk_keeps_the_rows_and_stages_them_by_lane(bank: Bank) -> None:
    """Rows as they came, whole; parts sealed for their lane; sums by programme, wrong rows with their amount."""
    others = [(*GOOD[:1], f"0014000000{n:02}", *GOOD[2:]) for n in range(20)]
    wrong = (*GOOD[:3], "BLT", *GOOD[4:])
    task: SiTask = pickle.loads(pickle.dumps(TASK))  # noqa: S301 - as for a worker
    chunk = task(bank.vault, _block(*others, wrong))
    assert (2, 21, 21 * 600_000) == (chunk.first_line, chunk.rows, chunk.amount_idr)
    assert {"SEMBAKO": 20 * 600_000, "": 600_000} == chunk.by_programme
    packed = unpack(bank.vault.open(chunk.record, **record_place(7, 2)))
    assert list(range(2, 23)) == packed.lines
    assert [list(row) for row in (*others, wrong)] == list(packed.cells())
    expected = Counter(lane_of(row[1], 4) for row in others) + Counter([0])
    assert dict(expected) == {part.lane: part.rows for part in chunk.parts}
    opened = b"".join(bank.vault.open_bytes(part.staged, **part_place(7, part.lane, 2)) for part in chunk.parts)
    assert 20 == opened.count(b"SITI AMINAH")
    assert b"PROGRAM_UNKNOWN: PROGRAM_UNKNOWN" in opened
    assert b"1271074112900001" not in opened


def test_rows_of_an_account_are_of_one_lane() -> None:
    """Whatever process asks; no account is lane 0; several lanes are used."""
    numbers = [f"00140000{n:04}" for n in range(200)]
    assert [lane_of(one, 4) for one in numbers] == [lane_of(one, 4) for one in numbers]
    assert {0, 1, 2, 3} == {lane_of(one, 4) for one in numbers}
    assert 0 == lane_of(None, 4)
