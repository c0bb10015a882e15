"""Blocks of a list: some thousand rows that can be handed to another process and taken apart there.

A block of lines holds one record a line; where quotation marks may go over line ends, and of a sheet, it is a block of rows.
Refuses to know what a column means. Read next: gateway.files.delimited, gateway.files.workbook.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from gateway.files.row import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.files.row import TableRow


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines, each a record. WIDTH: columns of the header. QUOTED: whether a quotation mark is among them."""

    first_line: int
    lines: list[str]
    separator: str
    width: int
    quoted: bool = False

    def rows(self) -> Iterator[TableRow]:
        """The rows; blank ones are left out."""
        width = self.width
        for line, cells in enumerate(self._records(), self.first_line):
            if any(map(str.strip, cells)):
                yield fit(line, cells, width)

    def _records(self) -> Iterable[list[str]]:
        separator = self.separator
        if self.quoted:
            return csv.reader(self.lines, delimiter=separator)
        return (text.rstrip("\r\n").split(separator) for text in self.lines)


def is_record(line: str, separator: str) -> bool:
    """Whether the quotation marks of a line stand only around whole cells and doubled inside: then the record ends with it."""
    return _record(separator)(line) is not None


@lru_cache
def _record(separator: str) -> Callable[[str], re.Match[str] | None]:
    cut = re.escape(separator)
    cell = rf'(?:"(?:[^"\r\n]|"")*"|[^"{cut}\r\n]*)'
    return re.compile(rf"{cell}(?:{cut}{cell})*[\r\n]*").fullmatch


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
