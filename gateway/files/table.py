"""The door for lists: any supported file becomes a header and a stream of rows, whatever its format.

The content decides the format, not the name. Refuses to know what a column means. Read next: gateway.files.kpm_list,
gateway.files.si_list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.files.delimited import Delimited, open_delimited
from gateway.files.errors import FileRefused
from gateway.files.workbook import Workbook, open_workbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.files.blocks import Block
    from gateway.files.row import TableRow

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@dataclass(frozen=True, slots=True)
class Table:
    """A file that can be read. `sha256` is lower-case hex of its bytes; `separator` is "" for a workbook."""

    path: Path
    sha256: str
    header: tuple[str, ...]
    row_hint: int
    separator: str
    _source: Delimited | Workbook
    _stamp: tuple[int, int]

    def rows(self) -> Iterator[TableRow]:
        """Rows under the header, blank ones left out. FileRefused: broken on the way, or changed since it was opened."""
        self._check_unchanged()
        return self._source.rows()

    def blocks(self, size: int) -> Iterator[Block]:
        """The same rows in blocks of at most SIZE, fit for another process."""
        self._check_unchanged()
        return self._source.blocks(size)

    def _check_unchanged(self) -> None:
        if not self.path.is_file() or _stamp(self.path) != self._stamp:
            raise FileRefused(self.path, "the file changed while it was being read")


def open_table(path: Path | str) -> Table:
    """Open a CSV-like or XLSX file.

    FileRefused with one line: not found, a folder, empty, no header, not text, a broken workbook.
    """
    path = Path(path)
    try:
        return _open(path)
    except OSError as error:
        raise FileRefused(path, f"cannot be read: {error.strerror or 'input error'}") from error


def _open(path: Path) -> Table:
    if path.is_dir():
        raise FileRefused(path, "is a folder, not a file")
    if not path.exists():
        raise FileRefused(path, "no such file")
    if not path.is_file():
        raise FileRefused(path, "is not a regular file")
    stamp = _stamp(path)
    with path.open("rb") as file:
        magic = file.read(8)
    if not magic:
        raise FileRefused(path, "the file is empty")
    if magic == _OLE:
        raise FileRefused(path, "an old .xls or a password-protected workbook: save it as plain .xlsx or CSV")
    if magic.startswith(_ZIP) or path.suffix.lower() == ".xlsx":
        book = open_workbook(path)
        return Table(path, book.sha256, book.header, book.row_hint, "", book, stamp)
    text = open_delimited(path)
    return Table(path, text.sha256, text.header, text.row_hint, text.separator, text, stamp)


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
