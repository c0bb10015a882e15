"""Arrays as PostgreSQL's own text, for the one statement that carries fifty of them many times a second.

The driver's binary arrays cost about a microsecond an element in Python; PostgreSQL reads text arrays faster than that. Every
value is quoted as the array syntax asks (PostgreSQL manual, 8.15.2), so nothing in it can end the array.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ARRAY_CAST = re.compile(r"CAST\((:\w+) AS (\w+)\[\]\)")


def arrays_as_text(statement: str) -> str:
    """The same statement with every array parameter read from text.

    >>> arrays_as_text("CAST(:ids AS bigint[])")
    'CAST(CAST(:ids AS text) AS bigint[])'
    """
    return ARRAY_CAST.sub(r"CAST(CAST(\1 AS text) AS \2[])", statement)


def array_text(values: Sequence[object]) -> str:
    r"""A one-dimensional array of whole numbers, texts, bytes, dates or NULLs.

    >>> array_text([1, None, 3])
    '{1,NULL,3}'
    >>> print(array_text(['a "b"', b"ab"]))
    {"a \"b\"","\\x6162"}
    """
    kinds = set(map(type, values))
    if kinds == _NUMBERS:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == _TEXTS:
        inside = '","'.join(cast("Sequence[str]", values))
        if "\\" not in inside and inside.count('"') == 2 * (len(values) - 1):  # nothing in it needs a backslash
            return f'{{"{inside}"}}'
    return "{" + ",".join([_ELEMENTS[type(value)](value) for value in values]) + "}"


def _text(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


_NUMBERS, _TEXTS = {int}, {str}
_ELEMENTS: dict[type, Callable[[Any], str]] = {
    int: str,
    bool: lambda value: "t" if value else "f",
    str: _text,
    bytes: lambda value: f'"\\\\x{value.hex()}"',
    date: date.isoformat,
    type(None): lambda _value: "NULL",
}
