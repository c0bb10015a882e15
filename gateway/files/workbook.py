"""XLSX sheets. A cell's type is seen, so a number that a spreadsheet made of an identity number is known as such.

The workbook is held in memory by the reader, so its unpacked size is bounded first; longer lists come as text. Refuses to
know what a column means. Read next: gateway.files.table.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from gateway.files.blocks import in_blocks
from gateway.files.errors import FileRefused
from gateway.files.row import NO_NUMBERS, clean_header, fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.files.blocks import Block
    from gateway.files.row import TableRow

MAX_UNPACKED_BYTES = 2 * 1024**3
_MIDNIGHT = dt.time(0)
_EXACT_FLOAT = 2**53

Cell: TypeAlias = int | float | str | bool | dt.time | dt.date | dt.datetime | dt.timedelta


@dataclass(frozen=True, slots=True)
class Workbook:
    """An opened sheet: the first visible worksheet that has a filled cell."""

    path: Path
    sha256: str
    header: tuple[str, ...]
    row_hint: int
    header_line: int
    sheet: CalamineSheet

    def rows(self) -> Iterator[TableRow]:
        """Each filled row under the header, with its sheet row number."""
        width = len(self.header)
        for line, values in _numbered(self.sheet):
            if line <= self.header_line:
                continue
            cells = [value if isinstance(value, str) else text_of(value) for value in values]
            if any(map(str.strip, cells)):
                yield fit(line, cells, width, _numeric(values))

    def blocks(self, size: int) -> Iterator[Block]:
        """The rows in blocks of SIZE."""
        return in_blocks(self.rows(), size)


def open_workbook(path: Path) -> Workbook:
    """Open the workbook and read its header. FileRefused: broken, protected, too large unpacked, or nothing in it."""
    _check_archive(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    sheet, last_line = _first_filled_sheet(path)
    for line, values in _numbered(sheet):
        cells = [text_of(value) for value in values]
        if any(map(str.strip, cells)):
            header = clean_header(path, cells, line)
            return Workbook(path, digest.hexdigest(), header, last_line - line, line, sheet)
    raise FileRefused(path, "the workbook has no header row")


def text_of(value: Cell) -> str:
    """A cell as text: whole numbers without a fraction, dates as 1990-12-31, other numbers as they print."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_FLOAT * 1024 else repr(value)
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == _MIDNIGHT else value.isoformat(sep=" ")
    if isinstance(value, dt.date):
        return value.isoformat()
    return str(value)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise FileRefused(path, "the workbook is broken") from error
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        raise FileRefused(path, "the workbook is too large: send the list as CSV")


def _first_filled_sheet(path: Path) -> tuple[CalamineSheet, int]:
    """The sheet and its last filled row number."""
    try:
        book = CalamineWorkbook.from_path(path)
        for about in book.sheets_metadata:
            if about.typ != SheetTypeEnum.WorkSheet or about.visible != SheetVisibleEnum.Visible:
                continue
            sheet = book.get_sheet_by_name(about.name)
            if sheet.end is not None:
                return sheet, sheet.end[0] + 1
    except (CalamineError, ValueError, OSError) as error:
        raise FileRefused(path, "the workbook is broken or protected by a password") from error
    raise FileRefused(path, "the workbook is empty")


def _numbered(sheet: CalamineSheet) -> Iterator[tuple[int, Sequence[Cell]]]:
    return enumerate(sheet.iter_rows(), start=1)


def _numeric(values: Sequence[Cell]) -> frozenset[int]:
    found = [at for at, value in enumerate(values) if isinstance(value, int | float) and not isinstance(value, bool)]
    return frozenset(found) if found else NO_NUMBERS
