"""Blocks of a list: some thousand rows that can be handed to another process and taken apart there.

A block of text lines is cut by its separator only; whatever has quotation marks, or comes from a sheet, is a block of rows.
Refuses to know what a column means. Read next: gateway.files.delimited, gateway.files.workbook.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from gateway.files.row import fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.files.row import TableRow


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines without a quotation mark, each a row. WIDTH: columns of the header."""

    first_line: int
    lines: list[str]
    separator: str
    width: int

    def rows(self) -> Iterator[TableRow]:
        """The rows; blank ones are left out."""
        separator, width = self.separator, self.width
        for line, text in enumerate(self.lines, self.first_line):
            cells = text.rstrip("\r\n").split(separator)
            if any(map(str.strip, cells)):
                yield fit(line, cells, width)


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows that were taken apart already."""

    first_line: int
    found: list[TableRow]

    def rows(self) -> Iterator[TableRow]:
        """The rows."""
        return iter(self.found)


Block: TypeAlias = LineBlock | RowBlock


def in_blocks(rows: Iterable[TableRow], size: int) -> Iterator[RowBlock]:
    """Rows in blocks of SIZE."""
    source = iter(rows)
    while found := list(islice(source, size)):
        yield RowBlock(found[0].line, found)
