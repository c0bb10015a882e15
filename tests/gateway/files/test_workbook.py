"""Twin of gateway.files.workbook."""

from __future__ import annotations

import datetime as dt
import zipfile
from typing import TYPE_CHECKING

import pytest
import xlsxwriter

from gateway.files import workbook
from gateway.files.errors import FileRefused
from gateway.files.workbook import Cell, open_workbook, text_of

if TYPE_CHECKING:
    from pathlib import Path


def made(path: Path, first_row: int = 0) -> Path:
    """A workbook: an empty sheet, then a filled one with texts, a number and dates."""
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("KOSONG")
        sheet = book.add_worksheet("KPM")
        as_date = book.add_format({"num_format": "dd/mm/yyyy"})
        sheet.write_row(first_row, 0, ["NIK", "TGL_LAHIR", "NO_HP"])
        sheet.write_string(first_row + 1, 0, "0271074112900001")
        sheet.write_datetime(first_row + 1, 1, dt.datetime(1990, 12, 1, tzinfo=None), as_date)  # noqa: DTZ001 a date cell has no zone
        sheet.write_number(first_row + 1, 2, 81234567890)
        sheet.write_number(first_row + 3, 0, 1271074112900001)
        sheet.write_string(first_row + 3, 4, "x")
    return path


def test_types_are_seen_and_texts_stay_as_they_are(tmp_path: Path) -> None:
    """A date becomes ISO, a whole number has no fraction, and numbers are known by position."""
    book = open_workbook(made(tmp_path / "a.xlsx"))
    rows = list(book.rows())
    assert book.header == ("NIK", "TGL_LAHIR", "NO_HP")
    assert [row.line for row in rows] == [2, 4]
    assert rows[0].cells == ("0271074112900001", "1990-12-01", "81234567890")
    assert [frozenset({2}), frozenset({0})] == [row.numeric for row in rows]
    assert [row.surplus for row in rows] == [0, 1]


def test_rows_above_the_header_are_counted(tmp_path: Path) -> None:
    """Line numbers are those the spreadsheet shows."""
    book = open_workbook(made(tmp_path / "a.xlsx", first_row=3))
    assert (book.header_line, book.row_hint) == (4, 3)
    assert [row.line for row in book.rows()] == [5, 7]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("007", "007"),
        (7.0, "7"),
        (7.25, "7.25"),
        (1271074112900000.0, "1271074112900000"),
        (1e300, "1e+300"),
        (True, "TRUE"),
        (5, "5"),
        (dt.date(1990, 12, 1), "1990-12-01"),
        (dt.datetime(1990, 12, 1, tzinfo=dt.UTC), "1990-12-01"),
        (dt.datetime(1990, 12, 1, 8, 30), "1990-12-01 08:30:00"),  # noqa: DTZ001 a cell has no zone
        (dt.time(8, 30), "08:30:00"),
    ],
)
def test_a_cell_becomes_text(value: Cell, expected: str) -> None:
    """Nothing is rounded or cut."""
    assert expected == text_of(value)


def test_a_broken_workbook_is_refused(tmp_path: Path) -> None:
    """No archive, half of one, or an archive of something else."""
    whole = made(tmp_path / "whole.xlsx").read_bytes()
    half = tmp_path / "half.xlsx"
    half.write_bytes(whole[: len(whole) // 2])
    other = tmp_path / "other.xlsx"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "no workbook")
    for path in (half, other):
        with pytest.raises(FileRefused, match="the workbook is broken"):
            open_workbook(path)


def test_an_empty_workbook_is_refused(tmp_path: Path) -> None:
    """A sheet without a cell has no header."""
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        book.add_worksheet()
    with pytest.raises(FileRefused, match="the workbook is empty"):
        open_workbook(tmp_path / "a.xlsx")


def test_a_workbook_too_large_unpacked_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive's own directory is asked first."""
    monkeypatch.setattr(workbook, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(FileRefused, match="too large"):
        open_workbook(made(tmp_path / "a.xlsx"))
