"""Bytes to Message and back, by a dialect. The hot path of every link.

A dialect is compiled once into a step a field. Messages on a link come in few shapes, so the list of steps of a bitmap
is kept (a bounded number of them). The fast path only tells right from wrong; what exactly was wrong is found by a
second, slow walk, which also saves the fields that are readable. ISO 8583:1987, 4.
Knows no meaning of a field. Read next: dialect.py, message.py; mac.py for the bytes under a MAC.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from iso import bitmap
from iso.dialect import HIMBARA, Dialect, Kind
from iso.errors import FormatError
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from iso.dialect import Field

_MTI = 4
_STAN = 11
_SHAPES_KEPT = 512
_PEEKED = 256  # more than the MTI, two bitmaps and fields 2 to 11 can take
_TOO_LONG = 1_000_000  # larger than any field: what a length prefix that is no number counts as


# A field compiled: number, digits of the length prefix, length, check, pad. A bare tuple, which Python takes apart faster
# than a named one. The check is true where every character is of the field's kind. The pad: 0 fills numbers on the left, a
# space fills text on the right, and where it is empty the length must be exact.
_Step: TypeAlias = tuple[int, int, int, "Callable[[str], object]", str]


def decode(data: bytes, dialect: Dialect = HIMBARA) -> Message:
    """The message in `data` (without its frame). Raises FormatError, with `partial`, and nothing else."""
    text = _ascii_part(data)
    mti = text[:_MTI]
    if len(mti) != _MTI or not mti.isdigit():
        raise FormatError(None, "MTI must be 4 digits")
    position = _MTI + bitmap.width_at(text, _MTI)
    try:
        steps = _compiled(dialect).reading(text[_MTI:position])
    except FormatError as error:
        raise FormatError(None, error.reason, Message(mti, {})) from None
    fields: dict[int, str] = {}
    for number, length_digits, length, right, _ in steps:
        if length_digits:
            start = position + length_digits
            end = start + _LENGTHS.get(text[position:start], _TOO_LONG)
            if end - start > length:
                raise _diagnose(data, text, dialect)
        else:
            start = position
            end = start + length
        value = text[start:end]
        if not right(value):
            raise _diagnose(data, text, dialect)
        fields[number] = value
        position = end
    if position != len(data) or position != len(text):
        raise _diagnose(data, text, dialect)
    return Message(mti, fields)


def encode(message: Message, dialect: Dialect = HIMBARA) -> bytes:
    """The bytes of `message` (without a frame). Raises FormatError where a field is not what the dialect wants.

    Fixed numeric fields are filled with zeros on the left, fixed text with spaces on the right; all else must fit.
    """
    fields = message.fields
    mti = message.mti
    if len(mti) != _MTI or not mti.isdigit():
        raise FormatError(None, "MTI must be 4 digits")
    head, steps = _compiled(dialect).writing(tuple(sorted(fields)))
    parts = [mti, head]
    for number, length_digits, length, right, pad in steps:
        value = fields[number]
        if length_digits:
            if len(value) > length:
                raise FormatError(number, dialect.field(number).wants)
            parts.append(_PREFIXES[length_digits][len(value)])
        elif len(value) != length:
            value = _padded(value, length, pad, dialect.field(number))
        if not right(value):
            raise FormatError(number, dialect.field(number).wants)
        parts.append(value)
    try:
        return "".join(parts).encode("ascii")
    except UnicodeEncodeError:
        raise _not_ascii(message) from None


def peek(data: bytes, dialect: Dialect = HIMBARA) -> tuple[str, str] | None:
    """MTI and STAN (DE11) of a message, without reading it all; None where either cannot be found."""
    text = _ascii_part(data[:_PEEKED])
    mti = text[:_MTI]
    if len(mti) != _MTI or not mti.isdigit():
        return None
    position = _MTI + bitmap.width_at(text, _MTI)
    try:
        steps = _compiled(dialect).reading(text[_MTI:position])
    except FormatError:
        return None
    for number, length_digits, length, right, _ in steps:
        if number >= _STAN:
            value = text[position : position + length]
            return (mti, value) if number == _STAN and len(value) == length and right(value) else None
        if length_digits:
            start = position + length_digits
            position = start + _LENGTHS.get(text[position:start], _TOO_LONG)
        else:
            position += length
    return None


class _Plan:
    """A dialect compiled: a step a field, and the steps of the shapes seen lately."""

    __slots__ = ("_steps", "reading", "writing")

    def __init__(self, dialect: Dialect) -> None:
        self._steps = {
            one.number: (one.number, one.length_digits, one.length, _RIGHT[one.kind], _PADS.get(one.kind, ""))
            for one in dialect.fields
        }
        self.reading = lru_cache(maxsize=_SHAPES_KEPT)(self._reading)
        self.writing = lru_cache(maxsize=_SHAPES_KEPT)(lambda numbers: self._writing(numbers, dialect))

    def _reading(self, bitmap_text: str) -> tuple[_Step, ...]:
        """Steps of a message with that bitmap. A field the dialect lacks gets a step at which reading must fail."""
        numbers = bitmap.read_bitmap(bitmap_text)
        return tuple(self._steps.get(number) or (number, 0, 0, _nothing, "") for number in numbers)

    def _writing(self, numbers: tuple[int, ...], dialect: Dialect) -> tuple[str, tuple[_Step, ...]]:
        """Bitmap and steps of a message with these fields. Raises FormatError for a field the dialect lacks."""
        for number in numbers:
            dialect.field(number)
        return bitmap.make_bitmap(numbers), tuple(self._steps[number] for number in numbers)


@lru_cache(maxsize=16)
def _compiled(dialect: Dialect) -> _Plan:
    return _Plan(dialect)


def _ascii_part(data: bytes) -> str:
    """The text of `data` up to its first byte that is not ASCII."""
    try:
        return str(data, "ascii")
    except UnicodeDecodeError as error:
        return str(data[: error.start], "ascii")


def _padded(value: str, length: int, pad: str, field: Field) -> str:
    if not 0 < len(value) < length or not pad:
        raise FormatError(field.number, field.wants)
    return value.rjust(length, "0") if pad == "0" else value.ljust(length)


def _not_ascii(message: Message) -> FormatError:
    """Name the field whose text cannot be written in ASCII."""
    for number, value in message.fields.items():
        if not value.isascii():
            return FormatError(number, "holds a character that is not ASCII")
    return FormatError(None, "MTI must be 4 digits")


def _diagnose(data: bytes, text: str, dialect: Dialect) -> FormatError:
    """Walk again, slowly: the first fault, and every field that can be read.

    After a field of the right length but the wrong kind the walk goes on, since the next field's place is known.
    """
    position = _MTI + bitmap.width_at(text, _MTI)
    steps = _compiled(dialect).reading(text[_MTI:position])
    fields: dict[int, str] = {}
    faults: list[tuple[int | None, str]] = []
    for step in steps:
        number, right = step[0], step[3]
        extent = _extent(step, text, len(data), position, dialect)
        if isinstance(extent, str):
            faults.append((number, extent))
            break
        start, position = extent
        value = text[start:position]
        if right(value):
            fields[number] = value
        else:
            faults.append((number, dialect.field(number).wants))
    else:
        faults.append((None, "bytes are left over after the last field"))
    return FormatError(*faults[0], partial=Message(text[:_MTI], fields))


def _extent(step: _Step, text: str, size: int, position: int, dialect: Dialect) -> tuple[int, int] | str:
    """Start and end of the field at `position`, or why there is none."""
    number, length_digits, length, _, _ = step
    if number not in dialect.by_number:
        return f"is not in dialect {dialect.name}"
    start = position + length_digits
    if length_digits and start <= len(text):
        longest, length = length, _LENGTHS.get(text[position:start], -1)
        if length < 0:
            return f"length must be {length_digits} digits"
        if length > longest:
            return dialect.field(number).wants
    end = start + length
    if end <= len(text):
        return start, end
    return "holds a byte that is not ASCII" if len(text) < size else "the message ends inside it"


def _anything(_value: str) -> bool:
    return True


def _nothing(_value: str) -> bool:
    return False


# The text under these checks is ASCII, so the methods of str mean what the standard means: isdigit is 0 to 9, isprintable
# is space to tilde. An empty field is right only where text is free.
_RIGHT: MappingProxyType[Kind, Callable[[str], object]] = MappingProxyType(
    {
        Kind.N: str.isdigit,
        Kind.A: re.compile(r"[A-Za-z ]+").fullmatch,
        Kind.AN: re.compile(r"[A-Za-z0-9 ]+").fullmatch,
        Kind.ANS: str.isprintable,
        Kind.ANSB: _anything,
        Kind.B: re.compile(r"[0-9A-Fa-f]+").fullmatch,
        Kind.Z: re.compile(r"[0-9:;<=>?D]+").fullmatch,
        Kind.XN: re.compile(r"[CD][0-9]+").fullmatch,
    }
)
_PADS = MappingProxyType({Kind.N: "0", Kind.A: " ", Kind.AN: " ", Kind.ANS: " "})
_PREFIXES = MappingProxyType({2: tuple(f"{n:02d}" for n in range(100)), 3: tuple(f"{n:03d}" for n in range(1000))})
_LENGTHS = {prefix: length for prefixes in _PREFIXES.values() for length, prefix in enumerate(prefixes)}
