"""Bitmaps as hexadecimal text: which data elements a message holds.

One bitmap is 16 characters; where its first bit is set a second one follows. An all-zero second bitmap is read without
complaint, since some hosts always send two, and is never written. Knows no dialect. Read next: codec.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iso.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH = 16
"""Characters of one bitmap."""

_BITS = 64
_HEXADECIMAL = re.compile(r"[0-7][0-9A-Fa-f]{15}|[89A-Fa-f][0-9A-Fa-f]{31}")
_SECOND_FOLLOWS = frozenset("89ABCDEFabcdef")


def width_at(text: str, position: int) -> int:
    """Characters of the bitmap, or both, starting at `position`: 16 or 32."""
    return 2 * WIDTH if text[position : position + 1] in _SECOND_FOLLOWS else WIDTH


def read_bitmap(text: str) -> tuple[int, ...]:
    """Numbers of the fields, rising, without bit 1.

    Raises FormatError unless it is 16 hexadecimal characters, or 32 where the first bit is set.
    """
    if _HEXADECIMAL.fullmatch(text) is None:
        raise FormatError(None, "bitmap must be 16 hexadecimal characters, or 32 where its first bit is set")
    bits = int(text, 16)
    highest = len(text) * 4
    return tuple(number for number in range(2, highest + 1) if bits >> (highest - number) & 1)


def make_bitmap(numbers: Iterable[int]) -> str:
    """The bitmap of these fields (2 to 128): 16 characters, or 32 where one is above 64."""
    bits = 0
    for number in numbers:
        bits |= 1 << (2 * _BITS - number)
    if bits & ((1 << _BITS) - 1):
        return f"{bits | 1 << (2 * _BITS - 1):032X}"
    return f"{bits >> _BITS:016X}"
