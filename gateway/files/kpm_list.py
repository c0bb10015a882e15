"""The ministry's list of families (KPM): which columns it has and its rows by name.

Refuses to judge a row: gateway.rules.kpm does. Read next: gateway.files.table for formats and encodings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.files.columns import Layout, name_columns, named_values
from gateway.files.table import Table, open_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KPM_LAYOUT = Layout(
    required=(
        "NIK",
        "NO_KK",
        "NAMA",
        "TEMPAT_LAHIR",
        "TGL_LAHIR",
        "JENIS_KELAMIN",
        "NAMA_IBU_KANDUNG",
        "ALAMAT",
        "KODE_WILAYAH",
        "PROGRAM",
    ),
    optional=("RT", "RW", "NO_HP", "ID_DTSEN", "KOMPONEN", "KODE_CABANG"),
    aliases={
        "NOMORKK": "NO_KK",
        "NOKARTUKELUARGA": "NO_KK",
        "NOMORKARTUKELUARGA": "NO_KK",
        "NONIK": "NIK",
        "NIKKTP": "NIK",
        "NAMALENGKAP": "NAMA",
        "NAMAPENERIMA": "NAMA",
        "NAMAKPM": "NAMA",
        "TMPLAHIR": "TEMPAT_LAHIR",
        "TANGGALLAHIR": "TGL_LAHIR",
        "JK": "JENIS_KELAMIN",
        "LP": "JENIS_KELAMIN",
        "KELAMIN": "JENIS_KELAMIN",
        "NAMAIBU": "NAMA_IBU_KANDUNG",
        "IBUKANDUNG": "NAMA_IBU_KANDUNG",
        "KODEDESA": "KODE_WILAYAH",
        "KODEKELURAHAN": "KODE_WILAYAH",
        "NOMORHP": "NO_HP",
        "NOTELP": "NO_HP",
        "NOTELEPON": "NO_HP",
        "HP": "NO_HP",
        "PROGRAMBANSOS": "PROGRAM",
        "KOMPONENPKH": "KOMPONEN",
        "CABANG": "KODE_CABANG",
    },
)


@dataclass(frozen=True, slots=True)
class RawKpmRow:
    """A row by column name, nothing judged: arguments of gateway.rules.kpm.check_row."""

    line: int
    values: dict[str, str]
    numeric: frozenset[str]
    surplus: int = 0

    def __repr__(self) -> str:
        return f"RawKpmRow(line={self.line})"


@dataclass(frozen=True, slots=True)
class KpmList:
    """An opened list. `header` is as written in the file, `columns` the names used in `RawKpmRow.values`."""

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

    def rows(self) -> Iterator[RawKpmRow]:
        """Rows in the file's order, one at a time. FileRefused where the file breaks off."""
        names = self.columns
        for row in self.table.rows():
            values, numeric = named_values(names, row)
            yield RawKpmRow(row.line, values, numeric, row.surplus)


def open_kpm_list(path: Path | str) -> KpmList:
    """Open a list of families. FileRefused: unreadable, or a required column is missing or stands twice."""
    table = open_table(path)
    return KpmList(table, name_columns(table, KPM_LAYOUT))
