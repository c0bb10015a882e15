"""Bytes to Message and back for any dialect, each field by its own encoding; and the slow walk that says what is wrong.

A dialect is compiled once: a reader and a writer a field. A message is seen at once as characters, one a byte, and as hexadecimal
digits, two a byte; what a field holds is a piece of the one or of the other. ISO 8583:1987, 4.
Knows no meaning of a field. Read next: codec.py (what others call, and the fast way for all-text dialects), dialect.py.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from iso import bitmap
from iso.dialect import Encoding, Kind, Padding, Page
from iso.errors import FormatError
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iso.dialect import Dialect, Field

STAN = 11
PEEKED = 256  # more than the MTI, three bitmaps and fields 2 to 11 can take

_MTI = 4
_SHAPES_KEPT = 512
_DIALECTS_KEPT = 256
_TOO_LONG = 1_000_000  # larger than any field: what a length prefix that is no number counts as
_FILLERS = "0F"

# What a field holds, cut out of a message: given the characters, the digits, where it starts and ends in bytes, and what its
# length prefix said. None where it is not of the field's kind.
_Cut: TypeAlias = "Callable[[str, str, int, int, int], str | None]"

# Number, bytes of the length prefix and what they say, the most it may say, whether it counts half bytes, and the cut. Of a
# fixed field the most is its bytes. A bare tuple, which Python takes apart faster than a named one.
_Step: TypeAlias = "tuple[int, int, Mapping[bytes, int], int, bool, _Cut]"

# The bytes of a field's value with its length prefix; None where the dialect does not take it.
_Put: TypeAlias = "Callable[[str], bytes | None]"


def decode(data: bytes, dialect: Dialect) -> Message:
    """The message in `data`. Raises FormatError, with `partial`, and nothing else.

    A variable field of length zero that holds digits, bytes or a track says nothing: it is read as if its bit were not there, as
    free text it is kept, empty.
    """
    plan = _compiled(dialect)
    text, digits = plan.views(data)
    mti, steps, position = plan.head(text, digits)
    fields: dict[int, str] = {}
    for number, head, lengths, most, halves, cut in steps:
        start = position + head
        count = most
        if head:
            count = lengths.get(data[position:start], _TOO_LONG)
            if count > most:
                raise diagnose(data, dialect)
        position = start + (count + 1 >> 1 if halves else count)
        value = cut(text, digits, start, position, count)
        if value is not None:
            fields[number] = value
        elif count or not head:
            raise diagnose(data, dialect)
    if position != len(data):
        raise diagnose(data, dialect)
    return Message(mti, fields)


def encode(message: Message, dialect: Dialect) -> bytes:
    """The bytes of `message`. Raises FormatError where a field is not what the dialect wants."""
    plan = _compiled(dialect)
    fields = message.fields
    head, writers = plan.writing(tuple(sorted(fields)))
    parts = [plan.mti(message.mti), head]
    for number, put in writers:
        written = put(fields[number])
        if written is None:
            raise FormatError(number, wanted(fields[number], dialect.field(number)))
        parts.append(written)
    return b"".join(parts)


def peek(data: bytes, dialect: Dialect) -> tuple[str, str] | None:
    """MTI and STAN of a message, without reading it all; None where either cannot be found."""
    plan = _compiled(dialect)
    data = data[:PEEKED]
    text, digits = plan.views(data)
    try:
        mti, steps, position = plan.head(text, digits)
    except FormatError:
        return None
    for number, head, lengths, most, halves, cut in steps:
        start = position + head
        count = lengths.get(data[position:start], _TOO_LONG) if head else most
        position = start + (count + 1 >> 1 if halves else count)
        if number >= STAN:
            value = cut(text, digits, start, position, count)
            return None if number > STAN or value is None or position > len(data) else (mti, value)
    return None


def numbers(data: bytes, dialect: Dialect) -> tuple[tuple[int, ...], int]:
    """Which fields `data` says it holds, and where the first of them starts. Raises FormatError.

    Reads the message type and bitmaps alone: the fields may be rubbish.
    """
    plan = _compiled(dialect)
    _, steps, position = plan.head(*plan.views(data[:PEEKED]))
    return tuple(step[0] for step in steps), position


def fixed_bytes(field: Field, dialect: Dialect) -> int:
    """Bytes that a fixed field takes."""
    encoding = dialect.encoding_of(field)
    if encoding is Encoding.RAW:
        return field.length // 2
    if encoding is Encoding.BCD:
        return 1 + field.length // 2 if field.kind is Kind.XN else (field.length + 1) // 2
    return field.length


def wanted(value: str, field: Field) -> str:
    """Why the field does not take `value`, for people."""
    return field.wants if value.isascii() else "holds a character that is not ASCII"


def diagnose(data: bytes, dialect: Dialect) -> FormatError:
    """Walk slowly through what could not be read: the first fault, and every field that can be read.

    After a field of the right length but the wrong kind the walk goes on, since the next field's place is known.
    """
    plan = _compiled(dialect)
    text, digits = plan.views(data)
    mti, steps, position = plan.head(text, digits)
    fields: dict[int, str] = {}
    faults: list[tuple[int | None, str]] = []
    for step in steps:
        number, cut = step[0], step[5]
        extent = _extent(step, data, position, dialect)
        if isinstance(extent, str):
            faults.append((number, extent))
            break
        start, position, count = extent
        value = cut(text, digits, start, position, count)
        if value is not None:
            fields[number] = value
        elif count or not step[1]:
            field = dialect.field(number)
            as_text = dialect.encoding_of(field) in (Encoding.TEXT, Encoding.HEX)
            faults.append((number, wanted(text[start:position] if as_text else "", field)))
    else:
        faults.append((None, "bytes are left over after the last field"))
    return FormatError(*faults[0], partial=Message(mti, fields))


def _extent(step: _Step, data: bytes, position: int, dialect: Dialect) -> tuple[int, int, int] | str:
    """Start, end and count of the field at `position`, or why there is none."""
    number, head, lengths, most, halves, _ = step
    if number not in dialect.by_number:
        return f"is not in dialect {dialect.name}"
    field = dialect.field(number)
    start = position + head
    count = most
    if head and start <= len(data):
        count = lengths.get(data[position:start], -1)
        if count < 0 and dialect.lengths_of(field) is not Encoding.RAW:
            return f"length must be {field.length_digits} digits"
        if not 0 <= count <= most:
            return field.wants
    end = start + (count + 1 >> 1 if halves else count)
    return (start, end, count) if end <= len(data) else "the message ends inside it"


class _Plan:
    """A dialect compiled: a reader and a writer a field, and those of the shapes seen lately."""

    __slots__ = ("_bitmap_wants", "_bitmaps", "_packed", "_page", "_raw", "_readers", "_writers", "reading", "writing")

    def __init__(self, dialect: Dialect) -> None:
        self._page = dialect.text
        self._packed = dialect.numeric is Encoding.BCD
        self._raw = dialect.bitmap is Encoding.RAW
        self._bitmaps = 3 if dialect.has_third_bitmap else 2
        unit = (8, "bytes") if self._raw else (16, "hexadecimal characters")
        self._bitmap_wants = f"bitmap must be {unit[0]} {unit[1]}, or {2 * unit[0]} where its first bit is set"
        self._readers = {one.number: _reader(dialect, one) for one in dialect.fields}
        self._writers = {one.number: _writer(dialect, one) for one in dialect.fields}
        self.reading = lru_cache(maxsize=_SHAPES_KEPT)(self._reading)
        self.writing = lru_cache(maxsize=_SHAPES_KEPT)(lambda numbers: self._writing(numbers, dialect))

    def views(self, data: bytes) -> tuple[str, str]:
        """`data` as characters, one a byte, and as hexadecimal digits, two a byte."""
        as_latin_1 = data if self._page is Page.ASCII else data.translate(_FROM_PAGE[self._page])
        return str(as_latin_1, "latin-1"), data.hex().upper()

    def head(self, text: str, digits: str) -> tuple[str, tuple[_Step, ...], int]:
        """Message type, steps of the fields, and where the first field starts. Raises FormatError."""
        mti = digits[:_MTI] if self._packed else text[:_MTI]
        if len(mti) != _MTI or not (mti.isascii() and mti.isdigit()):
            raise FormatError(None, "MTI must be 4 digits")
        at = _MTI // 2 if self._packed else _MTI
        view, first = (digits, 2 * at) if self._raw else (text, at)
        width = bitmap.width_at(view, first, self._bitmaps)
        try:
            steps = self.reading(view[first : first + width])
        except FormatError:
            raise FormatError(None, self._bitmap_wants, Message(mti, {})) from None
        return mti, steps, at + (width // 2 if self._raw else width)

    def mti(self, mti: str) -> bytes:
        """The bytes of a message type. Raises FormatError."""
        if len(mti) != _MTI or not (mti.isascii() and mti.isdigit()):
            raise FormatError(None, "MTI must be 4 digits")
        return bytes.fromhex(mti) if self._packed else _characters(self._page)(mti)

    def _reading(self, bitmap_text: str) -> tuple[_Step, ...]:
        """Steps of a message with that bitmap. A field the dialect lacks gets a step at which reading must fail."""
        missing: _Step
        found = []
        for number in bitmap.read_bitmap(bitmap_text):
            missing = (number, 0, MappingProxyType({}), 0, False, _nothing)
            found.append(self._readers.get(number, missing))
        return tuple(found)

    def _writing(self, numbers: tuple[int, ...], dialect: Dialect) -> tuple[bytes, tuple[tuple[int, _Put], ...]]:
        """Bitmap and writers of a message with these fields. Raises FormatError for a field the dialect lacks."""
        for number in numbers:
            dialect.field(number)
        text = bitmap.make_bitmap(numbers)
        written = bytes.fromhex(text) if self._raw else _characters(self._page)(text)
        return written, tuple((number, self._writers[number]) for number in numbers)


@lru_cache(maxsize=_DIALECTS_KEPT)
def _compiled(dialect: Dialect) -> _Plan:
    return _Plan(dialect)


def _reader(dialect: Dialect, field: Field) -> _Step:
    """How `field` is read."""
    encoding = dialect.encoding_of(field)
    halves = False
    if encoding is Encoding.RAW:
        cut: _Cut = _cut_bytes
    elif encoding is Encoding.BCD and field.kind is Kind.XN:
        cut = _cut_signed(field.length - 1, dialect.padding_of(field))
    elif encoding is Encoding.BCD:
        odd = None if field.length_digits else field.length % 2 == 1
        cut = _cut_digits(_PACKED[field.kind], dialect.padding_of(field), odd=odd)
        halves = field.length_digits > 0
    elif encoding is Encoding.HEX:
        cut = _cut_hex
    else:
        cut = _cut_text(_RIGHT[field.kind])
    if not field.length_digits:
        return field.number, 0, MappingProxyType({}), fixed_bytes(field, dialect), False, cut
    prefixes = _prefixes(dialect.lengths_of(field), field.length_digits, dialect.text)
    lengths = MappingProxyType({prefix: count for count, prefix in enumerate(prefixes)})
    most = field.length // 2 if encoding is Encoding.RAW else field.length
    return field.number, len(prefixes[0]), lengths, most, halves, cut


def _cut_text(right: Callable[[str], object]) -> _Cut:
    def cut(text: str, _digits: str, start: int, end: int, _count: int) -> str | None:
        value = text[start:end]
        return value if right(value) else None

    return cut


def _cut_hex(text: str, _digits: str, start: int, end: int, _count: int) -> str | None:
    value = text[start:end]
    return value.upper() if _RIGHT[Kind.B](value) else None


def _cut_bytes(_text: str, digits: str, start: int, end: int, _count: int) -> str | None:
    return digits[2 * start : 2 * end] or None


def _cut_digits(right: Callable[[str], object], padding: Padding, *, odd: bool | None) -> _Cut:
    """Packed digits; `odd`: whether there is a filler, None where the length prefix says it."""
    left = padding is Padding.LEFT_0

    def cut(_text: str, digits: str, start: int, end: int, count: int) -> str | None:
        value = digits[2 * start : 2 * end]
        if count & 1 if odd is None else odd:
            filler, value = (value[:1], value[1:]) if left else (value[-1:], value[:-1])
            if filler not in _FILLERS:
                return None
        return value if right(value) else None

    return cut


def _cut_signed(length: int, padding: Padding) -> _Cut:
    """C or D as a character, then so many packed digits."""
    digits_of = _cut_digits(str.isdigit, padding, odd=length % 2 == 1)

    def cut(text: str, digits: str, start: int, end: int, count: int) -> str | None:
        sign, number = text[start : start + 1], digits_of(text, digits, start + 1, end, count)
        return sign + number if sign in ("C", "D") and number is not None else None

    return cut


def _nothing(_text: str, _digits: str, _start: int, _end: int, _count: int) -> str | None:
    return None


def _writer(dialect: Dialect, field: Field) -> _Put:
    """How `field` is written: made as long as it must be, checked, encoded, and its length put before it."""
    encoding, right, pad = dialect.encoding_of(field), _RIGHT[field.kind], PADS.get(field.kind, "")
    length, fixed = field.length, not field.length_digits
    pack = _packing(dialect, field)
    prefixes = () if fixed else _prefixes(dialect.lengths_of(field), field.length_digits, dialect.text)
    shift = 1 if encoding is Encoding.RAW else 0

    def put(value: str) -> bytes | None:
        size = len(value)
        if size != length and (fixed or size > length):
            if size > length or not size or not pad:
                return None
            value = value.rjust(length, "0") if pad == "0" else value.ljust(length)
        if not right(value):
            return None
        packed = pack(value)
        if packed is None or fixed:
            return packed
        return prefixes[size >> shift] + packed

    return put


def _packing(dialect: Dialect, field: Field) -> _Put:
    """The bytes of a value that is of the field's kind and length."""
    encoding, characters = dialect.encoding_of(field), _characters(dialect.text)
    if encoding is Encoding.RAW:
        return bytes.fromhex
    if encoding is not Encoding.BCD:
        return characters
    side, filler = dialect.padding_of(field).upper().split("-")
    left = side == "LEFT"

    def pack(value: str) -> bytes:
        if len(value) & 1:
            value = filler + value if left else value + filler
        return bytes.fromhex(value)

    if field.kind is Kind.XN:
        return lambda value: characters(value[0]) + pack(value[1:])
    if field.kind is not Kind.Z:
        return pack

    def pack_track(value: str) -> bytes | None:
        value = value.replace("=", "D")
        return pack(value) if _PACKED[Kind.Z](value) else None

    return pack_track


def _characters(page: Page) -> Callable[[str], bytes]:
    """The bytes of characters that are ASCII, in a page. A table of bytes is several times as fast as Python's own codec."""
    if page is Page.ASCII:
        return str.encode
    table = _TO_PAGE[page]
    return lambda value: value.encode().translate(table)


@lru_cache(maxsize=32)
def _prefixes(encoding: Encoding, digits: int, page: Page) -> tuple[bytes, ...]:
    """The length prefix of every count: as text, packed in 1 or 2 bytes, or as a number in 1 or 2 bytes."""
    size = (digits + 1) // 2
    counts = range(10**digits)
    if encoding is Encoding.BCD:
        return tuple(bytes.fromhex(f"{count:0{2 * size}d}") for count in counts)
    if encoding is Encoding.RAW:
        return tuple(count.to_bytes(size) for count in counts)
    return tuple(f"{count:0{digits}d}".encode(page) for count in counts)


# Each EBCDIC page has every character of Latin-1 once, so bytes can be changed for bytes, and nothing is lost.
_LATIN_1 = bytes(range(256)).decode("latin-1")
_EBCDIC = (Page.CP500, Page.CP037)
_TO_PAGE = MappingProxyType({page: _LATIN_1.encode(page.value) for page in _EBCDIC})
_FROM_PAGE = MappingProxyType({page: bytes(range(256)).decode(page.value).encode("latin-1") for page in _EBCDIC})

# Every check takes ASCII alone, whatever the page. An empty field is right only where text is free.
_RIGHT: MappingProxyType[Kind, Callable[[str], object]] = MappingProxyType(
    {
        Kind.N: re.compile(r"[0-9]+").fullmatch,
        Kind.A: re.compile(r"[A-Za-z ]+").fullmatch,
        Kind.AN: re.compile(r"[A-Za-z0-9 ]+").fullmatch,
        Kind.ANS: re.compile(r"[ -~]*").fullmatch,
        Kind.ANSB: str.isascii,
        Kind.B: re.compile(r"(?:[0-9A-Fa-f]{2})+").fullmatch,
        Kind.Z: re.compile(r"[0-9:;<=>?D]+").fullmatch,
        Kind.XN: re.compile(r"[CD][0-9]+").fullmatch,
    }
)
_PACKED: MappingProxyType[Kind, Callable[[str], object]] = MappingProxyType(
    {Kind.N: str.isdigit, Kind.Z: re.compile(r"[0-9D]+").fullmatch}
)
PADS = MappingProxyType({Kind.N: "0", Kind.A: " ", Kind.AN: " ", Kind.ANS: " "})
"""What fills a fixed field that is short: 0 numbers on the left, a space text on the right. All else must fit."""
