"""Bitmaps as hexadecimal text: which data elements a message holds.

One bitmap is 16 characters; where its first bit is set a second one follows, and behind that a third one where bit 65 is set and
the dialect has fields above 128. An all-zero second or third bitmap is read without complaint, since some hosts always send them,
and is never written. Knows no dialect. Read next: codec.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iso.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Collection

WIDTH = 16
"""Characters of one bitmap."""

FIRST_BIT_SET = frozenset("89ABCDEFabcdef")
"""The first characters of a bitmap behind which another one follows."""

_BITS = 64
_MOST = 3
_FOLLOWED = r"[89A-Fa-f][0-9A-Fa-f]{15}"
_LAST = r"[0-9A-Fa-f]{16}"
_HEXADECIMAL = re.compile(rf"[0-7][0-9A-Fa-f]{{15}}|{_FOLLOWED}{_LAST}|{_FOLLOWED}{_FOLLOWED}{_LAST}")


def width_at(text: str, position: int, most: int = 2) -> int:
    """Characters of all bitmaps starting at `position`: 16 or 32, or 48 where `most` is 3 and bit 65 is set."""
    width = WIDTH
    while width < most * WIDTH and text[position + width - WIDTH : position + width - WIDTH + 1] in FIRST_BIT_SET:
        width += WIDTH
    return width


def read_bitmap(text: str) -> tuple[int, ...]:
    """Numbers of the fields, rising, without the bits that announce a bitmap: 1, and 65 where the third one is there.

    Raises FormatError unless it is 16 hexadecimal characters, or 32 where the first bit is set, or 48 where bit 65 is too.
    """
    if _HEXADECIMAL.fullmatch(text) is None:
        raise FormatError(None, "bitmap must be 16 hexadecimal characters, or 32 where its first bit is set")
    bits = int(text, 16)
    highest = len(text) * 4
    announcing = (1, _BITS + 1) if highest == _MOST * _BITS else (1,)
    return tuple(n for n in range(1, highest + 1) if bits >> (highest - n) & 1 and n not in announcing)


def make_bitmap(numbers: Collection[int]) -> str:
    """The bitmap of these fields (2 to 192): 16 characters, 32 where one is above 64, 48 where one is above 128."""
    bitmaps = -(-max(numbers, default=1) // _BITS)
    highest = bitmaps * _BITS
    bits = 0
    for number in (*numbers, *(following * _BITS + 1 for following in range(bitmaps - 1))):
        bits |= 1 << (highest - number)
    return f"{bits:0{bitmaps * WIDTH}X}"
