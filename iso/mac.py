"""The bytes under a message authentication code, and where the code stands. Not the cryptography: that is passed in.

The MAC is the last field: DE128 where the message has a second bitmap, else DE64 (ISO 8583:1987, 4.3). It covers every
byte before itself: MTI, bitmaps (with the MAC's own bit set) and fields; not the frame. Read next: codec.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iso import bitmap
from iso.codec import encode
from iso.dialect import HIMBARA, Dialect
from iso.errors import FormatError
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

_PRIMARY_MAC = 64
_SECONDARY_MAC = 128
_MTI = 4


def mac_field(message: Message) -> int:
    """The number of the field in which this message carries a MAC, present or not: 64 or 128."""
    return _SECONDARY_MAC if any(number > _PRIMARY_MAC for number in message.fields) else _PRIMARY_MAC


def mac_input(encoded: bytes, dialect: Dialect = HIMBARA) -> bytes:
    """The bytes that the MAC at the end of `encoded` covers. Raises FormatError where the last field is no MAC."""
    text = str(encoded[: _MTI + 2 * bitmap.WIDTH], "latin-1")
    numbers = bitmap.read_bitmap(text[_MTI : _MTI + bitmap.width_at(text, _MTI)])
    last = numbers[-1] if numbers else 0
    if last not in (_PRIMARY_MAC, _SECONDARY_MAC):
        raise FormatError(_SECONDARY_MAC if last > _PRIMARY_MAC else _PRIMARY_MAC, "is missing: the message has no MAC")
    length = dialect.field(last).length
    covered = encoded[:-length]
    if len(covered) < _MTI + bitmap.WIDTH:
        raise FormatError(last, dialect.field(last).wants)
    return covered


def seal(message: Message, sign: Callable[[bytes], bytes], dialect: Dialect = HIMBARA) -> bytes:
    """`message` encoded, with the MAC that `sign` makes (8 bytes) as its last field. `message` itself is not changed."""
    number = mac_field(message)
    field = dialect.field(number)
    unsigned = encode(Message(message.mti, {**message.fields, number: "0" * field.length}), dialect)
    covered = unsigned[: -field.length]
    code = sign(covered).hex().upper()
    if len(code) != field.length:
        raise FormatError(number, field.wants)
    return covered + code.encode("ascii")
