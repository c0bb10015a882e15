"""A row as it stands in a file, and the header above it. Nothing here knows what a column means.

Read next: gateway.files.delimited and gateway.files.workbook make these rows, gateway.files.columns names their cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.files.errors import FileRefused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_COLUMNS = 256
NO_NUMBERS: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: `line` is the physical line (or sheet row) where it starts, `cells` has one text a header column.

    `numeric` holds the positions that a spreadsheet stored as numbers; `surplus` counts filled cells beyond the header.
    """

    line: int
    cells: tuple[str, ...]
    numeric: frozenset[int] = NO_NUMBERS
    surplus: int = 0


def fit(line: int, cells: Sequence[str], width: int, numeric: frozenset[int] = NO_NUMBERS) -> TableRow:
    """Give the row the width of its header: missing cells are empty, filled cells beyond it are counted."""
    have = len(cells)
    if have == width:
        return TableRow(line, tuple(cells), numeric)
    if have < width:
        return TableRow(line, (*cells, *("",) * (width - have)), numeric)
    surplus = sum(1 for cell in cells[width:] if cell.strip())
    return TableRow(line, tuple(cells[:width]), numeric, surplus)


def clean_header(path: Path, cells: Sequence[str], line: int) -> tuple[str, ...]:
    """Strip the header's names. Unnamed columns at the end are dropped, one in between becomes KOLOM_n.

    FileRefused: no name at all, or more than MAX_COLUMNS columns.
    """
    names = [" ".join(cell.replace("\ufeff", "").split()) for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise FileRefused(path, "the header row is empty", line)
    if len(names) > MAX_COLUMNS:
        raise FileRefused(path, f"{len(names)} columns, at most {MAX_COLUMNS} are read", line)
    return tuple(name or f"KOLOM_{position}" for position, name in enumerate(names, start=1))
