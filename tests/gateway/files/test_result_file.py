"""Twin of gateway.files.result_file."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from gateway.files import result_file
from gateway.files.errors import FileRefused
from gateway.files.packed import Page, pack, tail, unpack
from gateway.files.result_file import write_pages, write_result
from gateway.files.table import open_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = ("NIK", "NAMA", "KETERANGAN")
ROWS = [("0271074112900001", 'ANDR\u00c9; "X"', "=1+1"), ("2", "B\nC", "-")]


def test_text_is_written_for_spreadsheets(tmp_path: Path) -> None:
    """UTF-8 with BOM, the separator asked for, formulas made harmless."""
    path = tmp_path / "hasil.csv"
    assert write_result(path, HEADER, iter(ROWS), separator=",") == 2
    assert path.read_bytes().startswith(b"\xef\xbb\xbfNIK,NAMA,KETERANGAN\r\n")
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert [list(HEADER), [*ROWS[0][:2], "'=1+1"], ["2", "B\nC", "'-"]] == list(csv.reader(file))


def test_a_workbook_holds_texts_only(tmp_path: Path) -> None:
    """Leading zeros and what looks like a formula stay as they are."""
    path = tmp_path / "hasil.xlsx"
    assert write_result(path, HEADER, iter(ROWS)) == 2
    rows = list(open_table(path).rows())
    assert [row.cells for row in rows] == ROWS
    assert {frozenset()} == {row.numeric for row in rows}


def _pages() -> Iterator[Page]:
    records = unpack(pack([2, 3], [row[:2] for row in ROWS])).records
    yield Page(records, [tail("=1+1"), tail("TOPUP_GAGAL")])
    yield Page(records[1:], [tail("")])


def test_pages_of_packed_rows_are_written_as_rows_are(tmp_path: Path) -> None:
    """As CSV and as a workbook: each row with its columns behind it, formulas made harmless."""
    expected = [list(HEADER), [*ROWS[0][:2], "'=1+1"], ["2", "B\nC", "TOPUP_GAGAL"], ["2", "B\nC", ""]]
    assert write_pages(tmp_path / "hasil.csv", HEADER, _pages()) == 3
    with (tmp_path / "hasil.csv").open(encoding="utf-8-sig", newline="") as file:
        assert expected == list(csv.reader(file, delimiter=";"))
    assert write_pages(tmp_path / "hasil.xlsx", HEADER, _pages()) == 3
    assert expected[1:] == [list(row.cells) for row in open_table(tmp_path / "hasil.xlsx").rows()]


@pytest.mark.parametrize("name", ["hasil.csv", "hasil.xlsx"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    """The new file appears whole or not at all."""
    path = tmp_path / name
    path.write_text("old")

    def breaking() -> Iterator[tuple[str, ...]]:
        yield ROWS[0]
        raise LookupError

    with pytest.raises(LookupError):
        write_result(path, HEADER, breaking())
    assert ("old", [path]) == (path.read_text(), list(tmp_path.iterdir()))
    write_result(path, HEADER, ROWS)
    assert [path] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the path in one line."""
    with pytest.raises(FileRefused, match=r"hasil\.csv: cannot be written"):
        write_result(tmp_path / "none" / "hasil.csv", HEADER, ROWS)


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbook is never cut short in silence."""
    monkeypatch.setattr(result_file, "MAX_SHEET_ROWS", 2)
    with pytest.raises(FileRefused, match=r"write it as \.csv"):
        write_result(tmp_path / "hasil.xlsx", HEADER, ROWS)
    assert list(tmp_path.iterdir()) == []
