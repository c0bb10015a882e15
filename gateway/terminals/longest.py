"""How long the longest answer of a link is: a profile that has no room for it would move money and then say nothing.

Made of the most that an answer may hold (docs/iso8583.md, "Messages"), and written by the codec itself. Read next: profile.py,
mapping.py (to_answer), totals.py.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from iso.additional_amounts import LENGTH
from iso.codec import encode
from iso.dialect import Kind
from iso.errors import FormatError, FrameError
from iso.message import Message

if TYPE_CHECKING:
    from gateway.terminals.profile import Link
    from iso.dialect import Field

REQUEST = "0420"
ECHOED = (2, 3, 4, 7, 11, 12, 13, 32, 33, 37, 41, 42, 49, 90)
CODES = {38: 6, 39: 2}
TOTALS = {15: 4, 50: 3, 66: 1, 74: 10, 75: 10, 76: 10, 77: 10, 80: 10, 81: 10, 86: 16, 87: 16, 88: 16, 89: 16, 97: 17}
EXPIRING = 23
"""EXP, date and amount; as one tag more it fits DE48 or is left out."""
STATEMENT_LINE = 24
CHIP_ANSWER = 2 * (2 + 16 + 3 + 128)
"""Hexadecimal characters: tag 91 with 16 bytes at most (EMV 4.3 book 3, A), and scripts of 128 in template 72 (10.10)."""
MAC = 16
_FULL = {Kind.N: "9", Kind.B: "F", Kind.Z: "9"}


def check_room(link: Link) -> None:
    """Raise ValueError, in one line, where an answer of the link lacks a field in its dialect, or room in a field or frame."""
    for added in (_money(link), TOTALS):
        _check(link, added | {39: CODES[39]})


def _money(link: Link) -> dict[int, int]:
    """What an answer about money may hold beside what it echoes: characters by field."""
    added = dict(CODES)
    if link.balance_in_54:
        added[54] = LENGTH * (len(link.account_types) + (link.partial_approval != "off"))  # and what was asked for
    if link.expiring_in_48:
        layout = link.columns.get(48)
        added[48] = EXPIRING if layout is None else layout.width
    if link.chip != "off":
        added[55] = CHIP_ANSWER
    added[link.statement_field] = STATEMENT_LINE * link.statement_lines
    return added


def _check(link: Link, added: dict[int, int]) -> None:
    wire = link.wire
    sizes = {number: wire.field(number).length for number in chain(ECHOED, link.tags) if number in wire.by_number}
    for number, size in added.items():
        if number not in wire.by_number:
            raise ValueError(f"answers need field {number}, which is not in dialect {wire.name}")
        if size > wire.field(number).length:
            raise ValueError(f"an answer puts {size} characters into field {number}, which has room for fewer")
        sizes[number] = max(size, sizes.get(number, 0))
    if link.mac != "off":
        sizes[128 if max(sizes) > 64 else 64] = MAC  # noqa: PLR2004 - ISO 8583: the last field of the last bitmap
    try:
        fields = {number: _full(wire.field(number), size) for number, size in sizes.items()}
        longest = encode(Message(REQUEST, fields), wire)
    except FormatError as error:
        raise ValueError(f"an answer cannot be written: {error}") from None
    try:
        link.framing.frame(longest)
    except FrameError:
        needed = len(longest) + link.framing.message_header_bytes
        raise ValueError(f"largest_frame = {link.largest_frame} has no room for an answer of {needed} bytes") from None


def _full(field: Field, size: int) -> str:
    """A value of so many characters."""
    if field.kind is Kind.XN:
        return "D" + "9" * (size - 1)
    return _FULL.get(field.kind, "X") * size
