"""Rows of a list packed into one text, as it is sealed and stored, and pages of a result file made of them again.

A packed text is the numbers of its lines ("2-5001 5003"), then each row as one CSV record (separator `;`), each ended by a line
end and NUL, a character that no list may contain. So records are told apart without reading them, and a result file is written
by putting its columns behind each. Refuses to know what a column means. Read next: gateway.files.result_file.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NUL = "\0"
END = f"\r\n{NUL}"
SEPARATOR = ";"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_PERHAPS_FORMULA = re.compile(rf"(?:^|[{SEPARATOR}{NUL}])\"?[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows taken in: their lines in the file, and each as a CSV record."""

    lines: list[int]
    records: list[str]

    def cells(self) -> Iterator[list[str]]:
        """The rows' cells."""
        return csv.reader(self.records, delimiter=SEPARATOR)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a result file: records as they came in, and what stands behind each (gateway.files.packed.tail)."""

    records: list[str]
    tails: list[str]


def pack(lines: Sequence[int], rows: Sequence[Sequence[str]]) -> str:
    """One text of rows and their line numbers, which must ascend. A NUL in a sheet's cell is dropped."""
    return END.join((_spans(lines), *map(_record, rows), ""))


def unpack(text: str) -> Packed:
    """The rows of a packed text."""
    spans, *records = text.split(END)[:-1]
    lines: list[int] = []
    for span in spans.split():
        first, _, last = span.partition("-")
        lines.extend(range(int(first), int(last or first) + 1))
    return Packed(lines, records)


def pages_rows(pages: Iterable[Page]) -> Iterator[list[str]]:
    """Cells of the rows of pages."""
    for page in pages:
        yield from csv.reader(map(str.__add__, page.records, page.tails), delimiter=SEPARATOR)


def page_text(page: Page) -> str:
    """A page as it stands in a CSV result file: cells that a spreadsheet would run as formulas made plain text."""
    records = page.records
    if _PERHAPS_FORMULA.search(NUL.join(records)):
        records = [_defused(record) if _PERHAPS_FORMULA.search(record) else record for record in records]
    return "".join([f"{record}{tail}\r\n" for record, tail in zip(records, page.tails, strict=True)])


@lru_cache(maxsize=4_096)
def tail(*cells: str) -> str:
    """Cells as they stand behind a record, the separator first; formulas are made plain text."""
    return SEPARATOR + record_of([defuse(cell) for cell in cells])


def defuse(cell: str) -> str:
    """A cell that starts like a formula (= + - @, tab, return) gets an apostrophe in front (OWASP CSV injection)."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def record_of(cells: Sequence[str]) -> str:
    """One CSV record without a line end."""
    out = io.StringIO()
    csv.writer(out, delimiter=SEPARATOR, lineterminator=END).writerow(cells)  # the writer quotes what ends a line
    return out.getvalue().removesuffix(END)


def _record(cells: Sequence[str]) -> str:
    """A record as the writer makes it; almost none needs one."""
    joined = SEPARATOR.join(cells)
    plain = joined and '"' not in joined and "\n" not in joined and "\r" not in joined and NUL not in joined
    if plain and joined.count(SEPARATOR) == len(cells) - 1:
        return joined
    return record_of([cell.replace(NUL, "") for cell in cells])


def _defused(record: str) -> str:
    (cells,) = csv.reader([record], delimiter=SEPARATOR)
    return record_of([defuse(cell) for cell in cells])


def _spans(lines: Sequence[int]) -> str:
    """Ascending numbers as spans: 2-4 7."""
    if not lines:
        return ""
    if lines[-1] - lines[0] + 1 == len(lines):
        return f"{lines[0]}-{lines[-1]}"
    breaks = [place for place, (one, next_one) in enumerate(pairwise(lines), 1) if next_one != one + 1]
    starts = [0, *breaks, len(lines)]
    return " ".join(f"{lines[first]}-{lines[end - 1]}" for first, end in pairwise(starts))
