"""How the data elements of one kind of link are written: which there are, and the encoding of each. Data, no code.

Three dialects of ISO 8583:1987 are here, all with every data element of elements.py: himbara (ASCII), edc (binary, digits packed)
and ebcdic. A bank's own variant is derived from one of them. Refuses to know how to read or write (codec.py, wire.py) and what a
field means to a bank. Read next: elements.py, codec.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from iso.elements import ELEMENTS_1987
from iso.errors import DialectError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iso.elements import Row

FIRST_FIELD = 2
LAST_FIELD = 192
THIRD_BITMAP = 65
"""The bit of the second bitmap that announces a third: not a data element."""

ABOVE_SECOND = 128
"""Fields above this one stand in the third bitmap."""


class Kind(StrEnum):
    """What characters a field may hold (ISO 8583:1987, 4.2). Space counts as padding in a, an and ans."""

    N = "n"
    A = "a"
    AN = "an"
    ANS = "ans"
    ANSB = "ansb"
    """Any 7-bit character, control characters included: opaque."""
    B = "b"
    """Binary, in a message as two hexadecimal characters a byte."""
    Z = "z"
    """Track 2 or 3: digits, = or D and the other separators of ISO 7813."""
    XN = "x+n"
    """C or D, then digits; the length counts the C or D."""


class Page(StrEnum):
    """What byte a character is. Both EBCDIC pages have all of Latin-1, and differ in ! [ ] ^ | alone."""

    ASCII = "ascii"
    CP500 = "cp500"
    """EBCDIC international, which hosts outside North America use."""
    CP037 = "cp037"
    """EBCDIC of the USA and Canada."""


class Encoding(StrEnum):
    """How digits, bytes, lengths and bitmaps are written. A dialect chooses for each, a field may differ."""

    TEXT = "text"
    """A character a digit, in the dialect's page."""
    BCD = "bcd"
    """Two digits a byte. Of track data the separator is nibble D. Of x+n the C or D is a character, and digits follow it."""
    HEX = "hex"
    """Two hexadecimal characters a byte, in the dialect's page."""
    RAW = "raw"
    """The bytes themselves; of a length prefix an unsigned number in 1 (LL) or 2 (LLL) bytes."""


class Padding(StrEnum):
    """What fills the byte of an odd number of packed digits, and on which side. Either of 0 and F is taken when reading."""

    LEFT_0 = "left-0"
    RIGHT_0 = "right-0"
    RIGHT_F = "right-f"


_WORDS = MappingProxyType(
    {
        Kind.N: "digits",
        Kind.A: "letters",
        Kind.AN: "letters or digits",
        Kind.ANS: "printable characters",
        Kind.ANSB: "ASCII characters",
        Kind.B: "hexadecimal characters",
        Kind.Z: "track characters",
        Kind.XN: "characters, C or D and then digits",
    }
)
_PACKED_KINDS = frozenset({Kind.N, Kind.Z, Kind.XN})
_CHOICES = MappingProxyType(
    {
        "numeric": (Encoding.TEXT, Encoding.BCD),
        "lengths": (Encoding.TEXT, Encoding.BCD, Encoding.RAW),
        "bitmap": (Encoding.HEX, Encoding.RAW),
        "binary": (Encoding.HEX, Encoding.RAW),
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """One data element. `length` is in characters of a message: exact where `length_digits` is 0, else the largest.

    A binary one has two characters a byte; its length prefix counts what is written: bytes where they are raw, characters in hex.
    `encoding` (text or bcd of numbers and tracks, hex or raw of binary), `lengths` and `padding` are the dialect's where None.
    """

    number: int
    name: str
    kind: Kind
    length: int
    length_digits: int
    encoding: Encoding | None = None
    lengths: Encoding | None = None
    padding: Padding | None = None

    @property
    def wants(self) -> str:
        """What the field must hold, for people: "must be 12 digits"."""
        many = self.length if self.length_digits == 0 else f"at most {self.length}"
        return f"must be {many} {_WORDS[self.kind]}"


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """The fields of one kind of link. Compared by identity: two dialects are the same only if they are one.

    `numeric` is of n, x+n and z fields and of the message type, `lengths` of length prefixes, `binary` of b fields; all else
    is text in `text`. Where it has fields above 128, bit 65 means that a third bitmap follows the second one.
    """

    name: str
    fields: tuple[Field, ...]
    text: Page = Page.ASCII
    numeric: Encoding = Encoding.TEXT
    lengths: Encoding = Encoding.TEXT
    bitmap: Encoding = Encoding.HEX
    binary: Encoding = Encoding.HEX
    fixed_padding: Padding = Padding.LEFT_0
    variable_padding: Padding = Padding.RIGHT_F
    by_number: Mapping[int, Field] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a table that no codec could follow. Raises DialectError."""
        for what, choices in _CHOICES.items():
            if getattr(self, what) not in choices:
                raise DialectError(f"dialect {self.name}: {what} must be {' or '.join(choices)}")
        table: dict[int, Field] = {}
        for one in self.fields:
            if not FIRST_FIELD <= one.number <= LAST_FIELD or one.number == THIRD_BITMAP:
                raise DialectError(f"dialect {self.name}: {one.number} is not the number of a data element")
            if one.number in table:
                raise DialectError(f"dialect {self.name}: field {one.number} is there twice")
            fault = self._fault(one)
            if fault:
                raise DialectError(f"dialect {self.name}: field {one.number} {fault}")
            table[one.number] = one
        object.__setattr__(self, "by_number", MappingProxyType(table))

    def field(self, number: int) -> Field:
        """The field of that number. Raises FormatError, naming the dialect, where it has none."""
        found = self.by_number.get(number)
        if found is None:
            raise FormatError(number, f"is not in dialect {self.name}")
        return found

    def encoding_of(self, one: Field) -> Encoding:
        """How the field's own characters are written."""
        if one.kind is Kind.B:
            return one.encoding or self.binary
        return (one.encoding or self.numeric) if one.kind in _PACKED_KINDS else Encoding.TEXT

    def lengths_of(self, one: Field) -> Encoding:
        """How the field's length prefix is written."""
        return one.lengths or self.lengths

    def padding_of(self, one: Field) -> Padding:
        """What fills up an odd number of the field's digits, where they are packed."""
        return one.padding or (self.variable_padding if one.length_digits else self.fixed_padding)

    @property
    def has_third_bitmap(self) -> bool:
        """Whether a third bitmap may come."""
        return any(one.number > ABOVE_SECOND for one in self.fields)

    def _fault(self, one: Field) -> str:
        """Why the field can be neither read nor written, or nothing."""
        allowed = _CHOICES["binary" if one.kind is Kind.B else "numeric"]
        if one.encoding is not None and (one.encoding not in allowed or one.kind not in (*_PACKED_KINDS, Kind.B)):
            return f"of kind {one.kind} cannot be encoded as {one.encoding}"
        if one.lengths is not None and one.lengths not in _CHOICES["lengths"]:
            return f"lengths must be {' or '.join(_CHOICES['lengths'])}"
        if one.kind is Kind.XN and one.length_digits:
            return "of kind x+n has a fixed length"
        if one.kind is Kind.B and one.length % 2:
            return "has an odd number of hexadecimal characters"
        counted = one.length // 2 if self.encoding_of(one) is Encoding.RAW else one.length
        if one.length_digits not in (0, 2, 3) or not 0 < counted < 10 ** (one.length_digits or 3):
            return "has an impossible length"
        return ""


def _field(row: Row) -> Field:
    number, name, kind, length, length_digits = row
    return Field(number, name, Kind(kind), length, length_digits)


_FIELDS_1987 = tuple(_field(row) for row in ELEMENTS_1987)
_CHIP_BYTES = Field(55, "chip data", Kind.B, 1_998, 3)  # as many bytes as three digits count

HIMBARA = Dialect("himbara", _FIELDS_1987)
"""The default link: ISO 8583:1987, all ASCII, hexadecimal bitmaps, every data element of the standard."""

EDC = Dialect(
    "edc",
    tuple(_CHIP_BYTES if one.number == _CHIP_BYTES.number else one for one in _FIELDS_1987),
    numeric=Encoding.BCD,
    lengths=Encoding.BCD,
    bitmap=Encoding.RAW,
    binary=Encoding.RAW,
)
"""Terminals: ISO 8583:1987 binary. Digits and lengths packed (LL 1 byte, LLL 2), bitmaps and binary fields as bytes, ASCII."""

EBCDIC = Dialect("ebcdic", EDC.fields, text=Page.CP500, bitmap=Encoding.RAW, binary=Encoding.RAW)
"""Hosts: ISO 8583:1987 with characters, digits and lengths in EBCDIC, bitmaps and binary fields as bytes."""

DIALECTS: Mapping[str, Dialect] = MappingProxyType({one.name: one for one in (HIMBARA, EDC, EBCDIC)})
"""The dialects that come with the gateway, by name."""

_Word = TypeVar("_Word", bound=StrEnum)
_DIALECT_WORDS = MappingProxyType(
    {
        "text": Page,
        **dict.fromkeys(("numeric", "lengths", "bitmap", "binary"), Encoding),
        **dict.fromkeys(("fixed_padding", "variable_padding"), Padding),
    }
)
_FIELD_WORDS = MappingProxyType({"kind": Kind, "encoding": Encoding, "lengths": Encoding, "padding": Padding})
_FIELD_NUMBERS = ("length", "length_digits")
_NUMBER = re.compile(r"[0-9]{1,3}")


def derive(base: Dialect, name: str, changes: Mapping[str, object]) -> Dialect:
    """A bank's own variant of `base`, by a plain mapping as a TOML table gives it. Raises DialectError with place and fault.

    Any of text, numeric, lengths, bitmap, binary, fixed_padding and variable_padding; `remove`, a list of field numbers;
    `fields`, a table by number whose entries have any of name, kind, length, length_digits, encoding, lengths and padding: what
    is said of a field that `base` has is changed, a field it does not have is added and needs kind and length (fixed, where
    nothing else is said).

    >>> own = derive(HIMBARA, "bank-a", {"bitmap": "raw", "remove": [71], "fields": {"52": {"encoding": "raw"}}})
    >>> own.field(52).encoding, 71 in own.by_number
    (<Encoding.RAW: 'raw'>, False)
    """
    place = f"dialect {name}"
    encodings: dict[str, Any] = {}
    for key, value in changes.items():
        if key in _DIALECT_WORDS:
            encodings[key] = _word(_DIALECT_WORDS[key], value, f"{place}: {key}")
        elif key not in ("fields", "remove"):
            raise DialectError(f"{place}: there is no setting {key}")
    table = dict(base.by_number)
    for number in _removed(changes.get("remove", ()), place):
        if table.pop(number, None) is None:
            raise DialectError(f"{place}: remove: there is no field {number} in {base.name}")
    changed = changes.get("fields", {})
    if not isinstance(changed, dict):
        raise DialectError(f"{place}: fields must be a table")
    for key, value in changed.items():
        where = f"{place}: fields.{key}"
        if _NUMBER.fullmatch(str(key)) is None:
            raise DialectError(f"{where}: is not the number of a data element")
        number = int(key)
        table[number] = _changed(table.get(number), number, value, where)
    return replace(base, name=name, fields=tuple(table[number] for number in sorted(table)), **encodings)


def _removed(value: object, place: str) -> list[int]:
    if not isinstance(value, list | tuple) or any(type(number) is not int for number in value):
        raise DialectError(f"{place}: remove must be a list of field numbers")
    return list(value)


def _changed(old: Field | None, number: int, value: object, where: str) -> Field:
    """The field of that number after the change, or the new one."""
    if not isinstance(value, dict):
        raise DialectError(f"{where}: must be a table")
    said: dict[str, Any] = {}
    for key, one in value.items():
        if key in _FIELD_WORDS:
            said[key] = _word(_FIELD_WORDS[key], one, f"{where}: {key}")
        elif key == "name":
            if not isinstance(one, str) or not one.isprintable():
                raise DialectError(f"{where}: name must be text")
            said[key] = one
        elif key in _FIELD_NUMBERS:
            if type(one) is not int:
                raise DialectError(f"{where}: {key} must be a whole number")
            said[key] = one
        else:
            raise DialectError(f"{where}: there is no setting {key}")
    if old is not None:
        return replace(old, **said)
    missing = [key for key in ("kind", "length") if key not in said]
    if missing:
        raise DialectError(f"{where}: a new field needs {' and '.join(missing)}")
    return Field(**{"number": number, "name": f"private {number}", "length_digits": 0, **said})


def _word(words: type[_Word], value: object, place: str) -> _Word:
    """The word of an enumeration. Raises DialectError that says which there are."""
    if isinstance(value, str) and value in list(words):
        return words(value)
    raise DialectError(f"{place} must be {' or '.join(words)}")


def pyiso8583_spec(dialect: Dialect) -> dict[str, dict[str, object]]:
    """The same dialect as the table that pyiso8583 (package iso8583) reads. It checks lengths, but no kinds.

    Left out is what it has no words for: x+n packed, which is a character and then digits.
    """
    page, packed = dialect.text.value, dialect.numeric is Encoding.BCD
    bitmap = {"data_enc": page, "max_len": 16} if dialect.bitmap is Encoding.HEX else {"data_enc": "b", "max_len": 8}
    plain: dict[str, object] = {"len_enc": page, "len_type": 0}
    spec: dict[str, dict[str, object]] = {
        "h": {**plain, "data_enc": page, "max_len": 0, "desc": "header"},
        "t": {**plain, "data_enc": "b" if packed else page, "max_len": 2 if packed else 4, "desc": "message type"},
        "p": {**plain, **bitmap, "desc": "bitmap, primary"},
        "1": {**plain, **bitmap, "desc": "bitmap, secondary"},
    }
    for one in dialect.fields:
        if one.kind is not Kind.XN or dialect.encoding_of(one) is Encoding.TEXT:
            spec[str(one.number)] = _pyiso8583_field(dialect, one)
    return spec


def _pyiso8583_field(dialect: Dialect, one: Field) -> dict[str, object]:
    lengths, encoding = dialect.lengths_of(one), dialect.encoding_of(one)
    as_text = lengths is Encoding.TEXT
    entry: dict[str, object] = {
        "data_enc": dialect.text.value,
        "len_enc": dialect.text.value if as_text else {Encoding.BCD: "bcd", Encoding.RAW: "b"}[lengths],
        "len_type": one.length_digits if as_text else one.length_digits // 2 + one.length_digits % 2,
        "max_len": one.length,
        "desc": one.name,
    }
    if encoding is Encoding.RAW:
        entry |= {"data_enc": "b", "max_len": one.length // 2}
    elif encoding is Encoding.BCD:
        side, nibble = dialect.padding_of(one).split("-")
        entry |= {"data_enc": "b", "len_count": "nibbles", f"{side}_pad": nibble.upper()}
    return entry
