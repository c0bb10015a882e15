"""Which column of a file is which: names in any case and order, with spaces, dots or underscores between the words.

Columns it does not know are kept under their own name, so that a result file can show them again. Refuses to judge a cell.
Read next: gateway.files.kpm_list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.files.errors import FileRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.files.row import TableRow
    from gateway.files.table import Table

NO_NAMES: frozenset[str] = frozenset()
_REMARK = re.compile(r"(?<=\w)\s*\([^()]*\)\s*$")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a kind of list. `aliases` maps other spellings (as `squeeze` gives them) to a known name."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: Mapping[str, str]


def squeeze(name: str) -> str:
    """The letters and digits of a name in upper case, without a remark in brackets behind it.

    "No. KK", "no_kk" and "NOKK (16 angka)" are one.
    """
    return "".join(char for char in _REMARK.sub("", name).upper() if char.isalnum())


def name_columns(table: Table, layout: Layout) -> tuple[str, ...]:
    """A name for each column of the table, in its order: the layout's where known, the file's own otherwise.

    FileRefused: a required column is missing (all are named), or two columns are the same.
    """
    known = {squeeze(name): name for name in (*layout.required, *layout.optional)} | dict(layout.aliases)
    names = tuple(known.get(squeeze(written), written) for written in table.header)
    missing = [name for name in layout.required if name not in names]
    if missing:
        raise FileRefused(table.path, f"missing columns: {', '.join(missing)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FileRefused(table.path, f"columns that stand twice: {', '.join(twice)}")
    return names


def named_values(names: tuple[str, ...], row: TableRow) -> tuple[dict[str, str], frozenset[str]]:
    """The cells by column name, in the file's order, and the names of those a spreadsheet stored as numbers."""
    values = dict(zip(names, row.cells, strict=True))
    return values, frozenset(names[at] for at in row.numeric if at < len(names)) if row.numeric else NO_NAMES
