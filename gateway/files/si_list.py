"""The standing instruction (SI) list: who is credited what, for which stage and months.

Refuses to judge a row (gateway.rules.instruction does) and to compare it with the SP2D (gateway.operations does).
Read next: gateway.files.table for formats and encodings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.files.columns import Layout, name_columns, named_values
from gateway.files.table import Table, open_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SI_LAYOUT = Layout(
    required=("NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL"),
    optional=("KODE_WILAYAH",),
    aliases={
        "NONIK": "NIK",
        "NIKKTP": "NIK",
        "NOREK": "NO_REKENING",
        "NOMORREKENING": "NO_REKENING",
        "REKENING": "NO_REKENING",
        "NAMAPENERIMA": "NAMA",
        "NAMAKPM": "NAMA",
        "BULANALOKASI": "BULAN",
        "NILAI": "NOMINAL",
        "JUMLAH": "NOMINAL",
    },
)


@dataclass(frozen=True, slots=True)
class RawSiRow:
    """A row by column name, nothing judged: arguments of gateway.rules.instruction.check_instruction."""

    line: int
    values: dict[str, str]
    numeric: frozenset[str]
    surplus: int = 0

    def __repr__(self) -> str:
        return f"RawSiRow(line={self.line})"


@dataclass(frozen=True, slots=True)
class SiList:
    """An opened list. `header` is as written in the file, `columns` the names used in `RawSiRow.values`."""

    table: Table
    columns: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Lower-case hex digest of the file."""
        return self.table.sha256

    @property
    def header(self) -> tuple[str, ...]:
        """Column names as written in the file."""
        return self.table.header

    @property
    def row_hint(self) -> int:
        """The most rows there can be."""
        return self.table.row_hint

    def rows(self) -> Iterator[RawSiRow]:
        """Rows in the file's order, one at a time. FileRefused where the file breaks off."""
        names = self.columns
        for row in self.table.rows():
            values, numeric = named_values(names, row)
            yield RawSiRow(row.line, values, numeric, row.surplus)


def open_si_list(path: Path | str) -> SiList:
    """Open a standing instruction list. FileRefused: unreadable, or a required column is missing or stands twice."""
    table = open_table(path)
    return SiList(table, name_columns(table, SI_LAYOUT))
