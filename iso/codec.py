"""Bytes to Message and back, by a dialect. The hot path of every link.

Where all is ASCII text a message is taken apart here, as one string: a dialect is compiled once into a step a field, and for each
bitmap that comes again a function is compiled and kept (a bounded number of them, since messages on a link come in few shapes:
compiled.py). This way only tells plain from not. What is not plain is read in wire.py: a field of length zero counts as not
there, and what exactly was wrong is found by a slow walk, which also saves the fields that are readable.
Dialects with packed digits, bytes or EBCDIC are read and written in wire.py. ISO 8583:1987, 4.
Knows no meaning of a field. Read next: dialect.py, message.py; mac.py for the bytes under a MAC.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from iso import bitmap, wire
from iso.compiled import Step, reader, writer
from iso.dialect import HIMBARA, Dialect, Encoding, Kind, Page
from iso.errors import FormatError
from iso.message import Message
from iso.wire import PADS, PEEKED, STAN, diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iso.dialect import Field

_MTI = 4
_SHAPES_KEPT = 512  # functions, each way
_SHAPES_SEEN = 4_096  # shapes remembered as having come once
_DIALECTS_KEPT = 256
_ONE_BITMAP = _MTI + bitmap.WIDTH
_TWO_BITMAPS = _ONE_BITMAP + bitmap.WIDTH
_FIRST_BIT_SET = bitmap.FIRST_BIT_SET
_TOO_LONG = 1_000_000  # larger than any field


def decode(data: bytes, dialect: Dialect = HIMBARA) -> Message:
    """The message in `data` (without its frame). Raises FormatError, with `partial`, and nothing else."""
    plan = _compiled(dialect)
    if plan is None:
        return wire.decode(data, dialect)
    try:
        text = str(data, "ascii")
    except UnicodeDecodeError:
        text = ""  # the slow walk tells which field it is
    mti = text[:_MTI]
    if len(mti) != _MTI or not mti.isdigit():
        raise diagnose(data, dialect)
    position = _TWO_BITMAPS if text[_MTI : _MTI + 1] in _FIRST_BIT_SET else _ONE_BITMAP
    read = plan.readers.get(text[_MTI:position])
    if read is None:
        try:
            read = plan.reader_of(text[_MTI:position])
        except FormatError as error:
            raise FormatError(None, error.reason, Message(mti, {})) from None
        if read is None:
            return wire.decode(data, dialect)
    fields = read(text, position)
    return wire.decode(data, dialect) if fields is None else Message(mti, fields)


def encode(message: Message, dialect: Dialect = HIMBARA) -> bytes:
    """The bytes of `message` (without a frame). Raises FormatError where a field is not what the dialect wants.

    Fixed numeric fields are filled with zeros on the left, fixed text with spaces on the right; all else must fit.
    """
    plan = _compiled(dialect)
    if plan is None:
        return wire.encode(message, dialect)
    fields = message.fields
    mti = message.mti
    if len(mti) != _MTI or not mti.isdigit():
        raise FormatError(None, "MTI must be 4 digits")
    numbers = tuple(fields)
    write = plan.writers.get(numbers) or plan.writer_of(numbers)
    text = None if write is None else write(mti, fields)
    try:
        return (text or _written(message, dialect, plan)).encode("ascii")
    except UnicodeEncodeError:
        raise _not_ascii(message) from None


def peek(data: bytes, dialect: Dialect = HIMBARA) -> tuple[str, str] | None:
    """MTI and STAN (DE11) of a message, without reading it all; None where either cannot be found."""
    plan = _compiled(dialect)
    if plan is None:
        return wire.peek(data, dialect)
    text = _ascii_part(data[:PEEKED])
    mti = text[:_MTI]
    if len(mti) != _MTI or not mti.isdigit():
        return None
    position = _MTI + bitmap.width_at(text, _MTI)
    try:
        steps = plan.steps(text[_MTI:position])
    except FormatError:
        return None
    for number, length_digits, length, right, *_ in steps:
        if number >= STAN:
            value = text[position : position + length]
            return (mti, value) if number == STAN and len(value) == length and right(value) else None
        if length_digits:
            start = position + length_digits
            position = start + _LENGTHS.get(text[position:start], _TOO_LONG)
        else:
            position += length
    return None


class _TextPlan:
    """A dialect compiled that is all ASCII text: a step a field, and functions for the shapes seen lately."""

    __slots__ = ("_dialect", "_seen", "_steps", "readers", "writers")

    def __init__(self, dialect: Dialect) -> None:
        self.readers: dict[str, Callable[[str, int], dict[int, str] | None]] = {}
        self.writers: dict[tuple[int, ...], Callable[[str, Mapping[int, str]], str | None]] = {}
        self._seen: set[str | tuple[int, ...]] = set()
        self._dialect = dialect
        self._steps = {
            one.number: Step(
                one.number, one.length_digits, one.length, _right(one), one.kind in _EACH, one.kind is Kind.B
            )
            for one in dialect.fields
        }

    def steps(self, bitmap_text: str) -> list[Step]:
        """A step for each field of a message with that bitmap; one that the dialect lacks gets a step that must fail."""
        numbers = bitmap.read_bitmap(bitmap_text)
        return [self._steps.get(number) or Step(number, 0, 0, _nothing, each=False, binary=False) for number in numbers]

    def reader_of(self, bitmap_text: str) -> Callable[[str, int], dict[int, str] | None] | None:
        """The function that reads a shape, made when it comes for the second time; None when it comes for the first.

        Making one takes far longer than a message: whoever sends a new bitmap each time must not have it made each time.
        Raises FormatError where it is no bitmap.
        """
        steps = self.steps(bitmap_text)
        if not self._comes_again(bitmap_text):
            return None
        if len(self.readers) >= _SHAPES_KEPT:
            self.readers.clear()
        made = self.readers[bitmap_text] = reader(steps, _LENGTHS)
        return made

    def writer_of(self, numbers: tuple[int, ...]) -> Callable[[str, Mapping[int, str]], str | None] | None:
        """The same for writing. NUMBERS: in any order. Raises FormatError for a field the dialect lacks."""
        for number in sorted(numbers):
            self._dialect.field(number)
        if not self._comes_again(numbers):
            return None
        if len(self.writers) >= _SHAPES_KEPT:
            self.writers.clear()
        steps = [self._steps[number] for number in sorted(numbers)]
        made = self.writers[numbers] = writer(steps, bitmap.make_bitmap(numbers), _PREFIXES)
        return made

    def _comes_again(self, shape: str | tuple[int, ...]) -> bool:
        if shape in self._seen:
            return True
        if len(self._seen) >= _SHAPES_SEEN:
            self._seen.clear()
        self._seen.add(shape)
        return False


def _written(message: Message, dialect: Dialect, plan: _TextPlan) -> str:
    """The text of a message field by field: what wants padding gets it, and what is wrong is named."""
    numbers = sorted(message.fields)
    parts = [message.mti, bitmap.make_bitmap(numbers)]
    for number, length_digits, length, right, *_ in plan.steps(parts[1]):
        value = message.fields[number]
        if length_digits:
            if len(value) > length:
                raise FormatError(number, dialect.field(number).wants)
            parts.append(_PREFIXES[length_digits][len(value)])
        elif len(value) != length:
            value = _padded(value, length, dialect.field(number))
        if not right(value):
            raise FormatError(number, dialect.field(number).wants)
        parts.append(value)
    return "".join(parts)


@lru_cache(maxsize=_DIALECTS_KEPT)
def _compiled(dialect: Dialect) -> _TextPlan | None:
    """The plan of a dialect that is all ASCII text with two bitmaps; None of any other."""
    text = (Encoding.TEXT, Encoding.HEX)
    plain = (
        dialect.text is Page.ASCII
        and dialect.numeric in text
        and dialect.bitmap in text
        and not dialect.has_third_bitmap
        and all(dialect.encoding_of(one) in text for one in dialect.fields)
        and all(dialect.lengths_of(one) in text for one in dialect.fields if one.length_digits)
    )
    return _TextPlan(dialect) if plain else None


def _ascii_part(data: bytes) -> str:
    """The text of `data` up to its first byte that is not ASCII."""
    try:
        return str(data, "ascii")
    except UnicodeDecodeError as error:
        return str(data[: error.start], "ascii")


def _padded(value: str, length: int, field: Field) -> str:
    """Numbers are filled with zeros on the left, text with spaces on the right; where neither fits the length must be exact."""
    pad = PADS.get(field.kind, "")
    if not 0 < len(value) < length or not pad:
        raise FormatError(field.number, field.wants)
    return value.rjust(length, "0") if pad == "0" else value.ljust(length)


def _not_ascii(message: Message) -> FormatError:
    """Name the field whose text cannot be written in ASCII."""
    for number, value in message.fields.items():
        if not value.isascii():
            return FormatError(number, "holds a character that is not ASCII")
    return FormatError(None, "MTI must be 4 digits")


def _right(field: Field) -> Callable[[str], object]:
    """Whether every character is of the field's kind, and bytes are whole where the length does not say it."""
    return _WHOLE_BYTES if field.kind is Kind.B and field.length_digits else _RIGHT[field.kind]


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
_EACH = frozenset({Kind.N, Kind.A, Kind.AN, Kind.ANS, Kind.ANSB, Kind.B})
"""Kinds whose check looks at each character by itself."""
_WHOLE_BYTES = re.compile(r"(?:[0-9A-Fa-f]{2})+").fullmatch
_PREFIXES = MappingProxyType({2: tuple(f"{n:02d}" for n in range(100)), 3: tuple(f"{n:03d}" for n in range(1000))})
_LENGTHS = {prefix: length for prefixes in _PREFIXES.values() for length, prefix in enumerate(prefixes)}
