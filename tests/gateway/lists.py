"""KPM lists made by hand: rows of the generator, changed where a test wants them changed."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, TypeAlias

from gateway.simulator.families import write_kpm_list

if TYPE_CHECKING:
    from pathlib import Path

Row: TypeAlias = dict[str, str]


def good_rows(folder: Path, count: int) -> list[Row]:
    """Rows without a fault; the same families whenever they are asked for. Everyone gets Sembako."""
    path = folder / "generated.csv"
    write_kpm_list(path, count)
    return [row | {"PROGRAM": "SEMBAKO", "KOMPONEN": ""} for row in read_rows(path)]


def read_rows(path: Path) -> list[Row]:
    """The rows of a list or of a result file."""
    text = path.read_text(encoding="utf-8-sig")
    separator = ";" if ";" in text.splitlines()[0] else ","
    return list(csv.DictReader(io.StringIO(text), delimiter=separator))


def write_rows(path: Path, rows: list[Row]) -> Path:
    """A list of those rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path
