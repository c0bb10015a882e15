"""The bytes under a message authentication code, and where the code stands. Not the cryptography: that is passed in.

The MAC is the last field that the last bitmap has a bit for: DE64, DE128 where there is a second bitmap (ISO 8583:1987, 4.3),
DE192 where there is a third. It covers every byte before itself as it is on the wire: MTI, bitmaps (with the MAC's own bit
set) and fields; not the frame. Read next: codec.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iso import wire
from iso.codec import encode
from iso.dialect import HIMBARA, Dialect, Encoding
from iso.errors import FormatError
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

_MACS = (64, 128, 192)


def mac_field(message: Message) -> int:
    """The number of the field in which this message carries a MAC, present or not: 64, 128 or 192."""
    last = max(message.fields, default=0)
    return next((number for number in _MACS if last <= number), _MACS[-1])


def mac_input(encoded: bytes, dialect: Dialect = HIMBARA) -> bytes:
    """The bytes that the MAC at the end of `encoded` covers. Raises FormatError where the last field is no MAC.

    Message type and bitmaps are read, and no field: those may be rubbish.
    """
    numbers, start = wire.numbers(encoded, dialect)
    last = numbers[-1] if numbers else 0
    if last not in _MACS:
        raise FormatError(next(number for number in _MACS if last < number), "is missing: the message has no MAC")
    field = dialect.field(last)
    covered = encoded[: -wire.fixed_bytes(field, dialect)]
    if len(covered) < start:
        raise FormatError(last, field.wants)
    return covered


def seal(message: Message, sign: Callable[[bytes], bytes], dialect: Dialect = HIMBARA) -> bytes:
    """`message` encoded, with the MAC that `sign` makes (8 bytes) as its last field. `message` itself is not changed."""
    number = mac_field(message)
    field = dialect.field(number)
    unsigned = encode(Message(message.mti, {**message.fields, number: "0" * field.length}), dialect)
    covered = unsigned[: -wire.fixed_bytes(field, dialect)]
    code = sign(covered)
    if 2 * len(code) != field.length:
        raise FormatError(number, field.wants)
    raw = dialect.encoding_of(field) is Encoding.RAW
    return covered + (code if raw else code.hex().upper().encode(dialect.text.value))
