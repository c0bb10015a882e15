"""Result files: the rows that came in plus what became of them, as CSV or XLSX by the ending of the name.

Written as a stream beside its place and renamed into it, so a reader sees the whole file or none. A cell that a
spreadsheet would run as a formula is made plain text. Refuses to know what a column means.
"""

from __future__ import annotations

import csv
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import xlsxwriter

from gateway.files.errors import FileRefused
from gateway.files.packed import defuse, page_text, pages_rows, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.files.packed import Page

MAX_SHEET_ROWS = 1_048_576
MAX_CELL_CHARS = 32_767
_WORKBOOK_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}


def write_result(
    path: Path | str, header: Sequence[str], rows: Iterable[Sequence[str]], *, separator: str = ";"
) -> int:
    """Write header and rows to `path`; an existing file is replaced only once all is written. Returns the rows written.

    CSV: UTF-8 with BOM, CRLF, `separator`. XLSX (by the ending): every cell is text. FileRefused: the folder cannot be
    written, or more rows than a sheet holds. Any other error of `rows` goes through and leaves the old file as it was.
    """
    path = Path(path)
    if path.suffix.lower() == ".xlsx":
        return _write_whole(path, lambda new: _write_workbook(path, new, header, rows))
    return _write_whole(path, lambda new: _write_text(new, header, rows, separator))


def write_pages(path: Path | str, header: Sequence[str], pages: Iterable[Page]) -> int:
    """The same, of pages of rows that were packed (gateway.files.packed): much faster for CSV. Returns the rows written."""
    path = Path(path)
    if path.suffix.lower() == ".xlsx":
        return _write_whole(path, lambda new: _write_workbook(path, new, header, pages_rows(pages)))
    return _write_whole(path, lambda new: _write_packed(new, header, pages))


def _write_whole(path: Path, write: Callable[[Path], int]) -> int:
    try:
        with _replacing(path) as new:
            return write(new)
    except OSError as error:
        raise FileRefused(path, f"cannot be written: {error.strerror or 'output error'}") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(handle)
    new = Path(name)
    try:
        yield new
        with new.open("rb") as written:
            os.fsync(written.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _write_text(new: Path, header: Sequence[str], rows: Iterable[Sequence[str]], separator: str) -> int:
    count = 0
    with new.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\r\n")
        writer.writerow([defuse(cell) for cell in header])
        for count, row in enumerate(rows, start=1):  # noqa: B007 the last number is the answer
            writer.writerow([defuse(cell) for cell in row])
    return count


def _write_packed(new: Path, header: Sequence[str], pages: Iterable[Page]) -> int:
    count = 0
    with new.open("w", encoding="utf-8-sig", newline="") as file:
        file.write(record_of([defuse(cell) for cell in header]) + "\r\n")
        for page in pages:
            file.write(page_text(page))
            count += len(page.records)
    return count


def _write_workbook(path: Path, new: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    count = 0
    with xlsxwriter.Workbook(str(new), _WORKBOOK_OPTIONS) as book:
        sheet = book.add_worksheet("HASIL")
        sheet.freeze_panes(1, 0)
        bold = book.add_format({"bold": True})
        for column, cell in enumerate(header):
            sheet.write_string(0, column, cell, bold)
        for count, row in enumerate(rows, start=1):
            if count >= MAX_SHEET_ROWS:
                raise FileRefused(path, f"more than {MAX_SHEET_ROWS - 1} rows: write it as .csv")
            for column, cell in enumerate(row):
                sheet.write_string(count, column, cell[:MAX_CELL_CHARS])
    return count
