"""Fields of fixed columns, as a link's profile names them: DE43 of name 22, city 13, country 5. Text to columns and back.

Columns are text, filled with spaces on the right, or numbers, filled with zeros on the left. Knows no meaning of a column.
Fields of tagged values are private_tlv.py's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iso.errors import DialectError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTH = re.compile(r"n ?([0-9]{1,3})")
_WIDEST = 999
_TEXT = re.compile(r"[ -~]*")
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: so many characters, text or digits."""

    name: str
    width: int
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one field, in their order."""

    field: int
    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """Characters of all columns."""
        return sum(column.width for column in self.columns)

    def read(self, text: str) -> dict[str, str]:
        """Every column by its name: text without the spaces behind it, numbers with their zeros.

        Raises FormatError naming the field where `text` is cut off, holds more than spaces behind its last column, or has no
        digits where a number belongs. Spaces behind the last column come of a fixed field that is longer.
        """
        if len(text) < self.width:
            raise FormatError(self.field, f"must hold {self.width} characters in columns: it is cut off")
        if text[self.width :].strip(" "):
            raise FormatError(self.field, f"must hold {self.width} characters in columns: some are left over")
        values: dict[str, str] = {}
        at = 0
        for column in self.columns:
            value = text[at : at + column.width]
            at += column.width
            self._check(column, value)
            values[column.name] = value if column.numeric else value.rstrip(" ")
        return values

    def write(self, values: Mapping[str, str]) -> str:
        """All columns as text. One that `values` lacks is filled up; one that the layout lacks is refused.

        Raises FormatError naming field and column where a value is too long or of another kind.
        """
        unknown = values.keys() - {column.name for column in self.columns}
        if unknown:
            raise FormatError(self.field, f"there is no column {min(unknown)}")
        parts = []
        for column in self.columns:
            value = values.get(column.name, "")
            value = value.rjust(column.width, "0") if column.numeric else value.ljust(column.width)
            self._check(column, value)
            parts.append(value)
        return "".join(parts)

    def _check(self, column: Column, value: str) -> None:
        right = _DIGITS if column.numeric else _TEXT
        if len(value) > column.width or right.fullmatch(value) is None:
            what = "digits" if column.numeric else "printable characters"
            raise FormatError(self.field, f"column {column.name} must be at most {column.width} {what}")


def layout_of(field: int, columns: Mapping[str, int | str]) -> Layout:
    """The layout of a field by a plain mapping, in its order: name to characters, "n 12" where it is a number.

    Raises DialectError naming field and column.

    >>> place = layout_of(43, {"name": 22, "city": 13, "country": 5})
    >>> place.read("WARUNG SITI           JAKARTA      DKIID")
    {'name': 'WARUNG SITI', 'city': 'JAKARTA', 'country': 'DKIID'}
    """
    found = tuple(_column(field, name, said) for name, said in columns.items())
    layout = Layout(field, found)
    if not found or layout.width > _WIDEST:
        raise DialectError(f"layout of field {field}: must have 1 to {_WIDEST} characters in columns")
    return layout


def _column(field: int, name: str, said: int | str) -> Column:
    match = _WIDTH.fullmatch(said) if isinstance(said, str) else None
    width = int(match[1]) if match else said
    if type(width) is not int or not 0 < width <= _WIDEST:
        raise DialectError(
            f'layout of field {field}: column {name} must be 1 to {_WIDEST} characters, or digits like "n 12"'
        )
    return Column(name, width, numeric=match is not None)
