"""Twin of gateway.files.si_list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.files.errors import FileRefused
from gateway.files.si_list import RawSiRow, open_si_list
from gateway.rules.findings import Reason
from gateway.rules.instruction import InstructionPolicy, check_instruction

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "NIK,NO_REKENING,NAMA,PROGRAM,TAHAP,BULAN,NOMINAL,KODE_WILAYAH"


def test_a_row_is_read_by_name_and_judged(tmp_path: Path) -> None:
    """Quoted months stay one cell."""
    path = tmp_path / "si.csv"
    path.write_text(f'{HEADER}\n1271074112900001,0014000012,SITI,PKH,2026-T4,"2026-10,2026-11",750000,1271071008\n')
    si = open_si_list(path)
    row = next(si.rows())
    instruction, findings = check_instruction(row.values, InstructionPolicy(), numeric=row.numeric, surplus=row.surplus)
    assert findings == ()
    assert instruction is not None
    assert (instruction.months, instruction.amount_idr) == (("2026-10", "2026-11"), 750_000)
    assert (64, 1, tuple(HEADER.split(","))) == (len(si.sha256), si.row_hint, si.header)


def test_unquoted_months_are_a_fault_of_the_row(tmp_path: Path) -> None:
    """The cells have moved: nothing of the row is believed."""
    path = tmp_path / "si.csv"
    path.write_text(f"{HEADER}\n1271074112900001,0014000012,SITI,PKH,2026-T4,2026-10,2026-11,750000,1271071008\n")
    row = next(open_si_list(path).rows())
    instruction, findings = check_instruction(row.values, InstructionPolicy(), surplus=row.surplus)
    assert instruction is None
    assert findings[0].code == Reason.ROW_MALFORMED


def test_a_list_without_a_required_column_is_refused(tmp_path: Path) -> None:
    """The region alone may be missing."""
    path = tmp_path / "si.csv"
    path.write_text("NIK;No Rekening;Nama;Program;Tahap;Bulan;Nilai\n")
    assert "NOMINAL" in open_si_list(path).columns
    path.write_text("NIK;NAMA;PROGRAM;TAHAP;BULAN\n")
    with pytest.raises(FileRefused, match="missing columns: NO_REKENING, NOMINAL"):
        open_si_list(path)


def test_the_repr_of_a_row_shows_no_cell() -> None:
    """A log line names nobody."""
    assert repr(RawSiRow(3, {"NIK": "1271074112900001"}, frozenset())) == "RawSiRow(line=3)"
