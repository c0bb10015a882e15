"""What each data element looks like on a link, as data: number, name, kind, length, digits of the length prefix.

Refuses to know how to read or write (codec.py compiles a dialect) and what a field means to a bank. HIMBARA is
ISO 8583:1987 all in ASCII with hexadecimal bitmaps. A binary or BCD dialect is another table beside it: add the
encoding as a property of Dialect when the first link needs it. Read next: codec.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from iso.errors import DialectError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST_FIELD = 2
_LAST_FIELD = 128
_THIRD_BITMAP = 65


class Kind(StrEnum):
    """What characters a field may hold (ISO 8583:1987, 4.2). Space counts as padding in a, an and ans."""

    N = "n"
    A = "a"
    AN = "an"
    ANS = "ans"
    ANSB = "ansb"
    """Any 7-bit character, control characters included: opaque."""
    B = "b"
    """Binary, written as two hexadecimal characters a byte."""
    Z = "z"
    """Track 2 or 3: digits, = or D and the other separators of ISO 7813."""
    XN = "x+n"
    """C or D, then digits; the length counts the C or D."""


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


@dataclass(frozen=True, slots=True)
class Field:
    """One data element. `length` is in characters: exact where `length_digits` is 0, else the largest."""

    number: int
    name: str
    kind: Kind
    length: int
    length_digits: int

    @property
    def wants(self) -> str:
        """What the field must hold, for people: "must be 12 digits"."""
        many = self.length if self.length_digits == 0 else f"at most {self.length}"
        return f"must be {many} {_WORDS[self.kind]}"


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """The fields of one kind of link. Compared by identity: two dialects are the same only if they are one."""

    name: str
    fields: tuple[Field, ...]
    by_number: Mapping[int, Field] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a table that no codec could follow. Raises DialectError."""
        table: dict[int, Field] = {}
        for one in self.fields:
            if not _FIRST_FIELD <= one.number <= _LAST_FIELD or one.number == _THIRD_BITMAP:
                raise DialectError(f"dialect {self.name}: {one.number} is not the number of a data element")
            if one.number in table:
                raise DialectError(f"dialect {self.name}: field {one.number} is there twice")
            if one.length_digits not in (0, 2, 3) or not 0 < one.length < 10 ** (one.length_digits or 3):
                raise DialectError(f"dialect {self.name}: field {one.number} has an impossible length")
            table[one.number] = one
        object.__setattr__(self, "by_number", MappingProxyType(table))

    def field(self, number: int) -> Field:
        """The field of that number. Raises FormatError, naming the dialect, where it has none."""
        found = self.by_number.get(number)
        if found is None:
            raise FormatError(number, f"is not in dialect {self.name}")
        return found


def pyiso8583_spec(dialect: Dialect) -> dict[str, dict[str, object]]:
    """The same dialect as the table that pyiso8583 (package iso8583) reads. It checks lengths, but no kinds."""
    spec = {
        "h": _pyiso8583_field("header", 0, 0),
        "t": _pyiso8583_field("message type", 0, 4),
        "p": _pyiso8583_field("bitmap, primary", 0, 16),
        "1": _pyiso8583_field("bitmap, secondary", 0, 16),
    }
    for one in dialect.fields:
        spec[str(one.number)] = _pyiso8583_field(one.name, one.length_digits, one.length)
    return spec


def _pyiso8583_field(name: str, length_digits: int, length: int) -> dict[str, object]:
    return {"data_enc": "ascii", "len_enc": "ascii", "len_type": length_digits, "max_len": length, "desc": name}


def _fixed(number: int, name: str, kind: Kind, length: int) -> Field:
    return Field(number, name, kind, length, 0)


def _ll(number: int, name: str, kind: Kind, longest: int) -> Field:
    return Field(number, name, kind, longest, 2)


def _lll(number: int, name: str, kind: Kind, longest: int = 999) -> Field:
    return Field(number, name, kind, longest, 3)


# DE53 is n 16 in the standard; links carry a PIN block or key data there, so hexadecimal characters are let through.
_PRIMARY = (
    _ll(2, "primary account number", Kind.N, 19),
    _fixed(3, "processing code", Kind.N, 6),
    _fixed(4, "amount, transaction", Kind.N, 12),
    _fixed(5, "amount, settlement", Kind.N, 12),
    _fixed(6, "amount, cardholder billing", Kind.N, 12),
    _fixed(7, "transmission date and time", Kind.N, 10),
    _fixed(8, "amount, cardholder billing fee", Kind.N, 8),
    _fixed(9, "conversion rate, settlement", Kind.N, 8),
    _fixed(10, "conversion rate, cardholder billing", Kind.N, 8),
    _fixed(11, "systems trace audit number", Kind.N, 6),
    _fixed(12, "time, local transaction", Kind.N, 6),
    _fixed(13, "date, local transaction", Kind.N, 4),
    _fixed(14, "date, expiration", Kind.N, 4),
    _fixed(15, "date, settlement", Kind.N, 4),
    _fixed(16, "date, conversion", Kind.N, 4),
    _fixed(17, "date, capture", Kind.N, 4),
    _fixed(18, "merchant type", Kind.N, 4),
    _fixed(19, "country, acquiring institution", Kind.N, 3),
    _fixed(20, "country, primary account number", Kind.N, 3),
    _fixed(21, "country, forwarding institution", Kind.N, 3),
    _fixed(22, "point of service entry mode", Kind.N, 3),
    _fixed(23, "card sequence number", Kind.N, 3),
    _fixed(24, "network international identifier", Kind.N, 3),
    _fixed(25, "point of service condition code", Kind.N, 2),
    _fixed(26, "point of service PIN capture code", Kind.N, 2),
    _fixed(27, "authorisation identification response length", Kind.N, 1),
    _fixed(28, "amount, transaction fee", Kind.XN, 9),
    _fixed(29, "amount, settlement fee", Kind.XN, 9),
    _fixed(30, "amount, transaction processing fee", Kind.XN, 9),
    _fixed(31, "amount, settlement processing fee", Kind.XN, 9),
    _ll(32, "acquiring institution", Kind.N, 11),
    _ll(33, "forwarding institution", Kind.N, 11),
    _ll(34, "primary account number, extended", Kind.ANS, 28),
    _ll(35, "track 2 data", Kind.Z, 37),
    _lll(36, "track 3 data", Kind.Z, 104),
    _fixed(37, "retrieval reference number", Kind.AN, 12),
    _fixed(38, "authorisation identification response", Kind.AN, 6),
    _fixed(39, "response code", Kind.AN, 2),
    _fixed(40, "service restriction code", Kind.AN, 3),
    _fixed(41, "card acceptor terminal", Kind.ANS, 8),
    _fixed(42, "card acceptor identification", Kind.ANS, 15),
    _fixed(43, "card acceptor name and location", Kind.ANS, 40),
    _ll(44, "additional response data", Kind.ANS, 25),
    _ll(45, "track 1 data", Kind.ANS, 76),
    _lll(46, "additional data, ISO", Kind.ANS),
    _lll(47, "additional data, national", Kind.ANS),
    _lll(48, "additional data, private", Kind.ANS),
    _fixed(49, "currency, transaction", Kind.AN, 3),
    _fixed(50, "currency, settlement", Kind.AN, 3),
    _fixed(51, "currency, cardholder billing", Kind.AN, 3),
    _fixed(52, "PIN data", Kind.B, 16),
    _fixed(53, "security related control information", Kind.B, 16),
    _lll(54, "additional amounts", Kind.AN, 120),
    _lll(55, "chip data", Kind.ANSB),
    _lll(56, "reserved ISO 56", Kind.ANS),
    *(_lll(number, f"reserved national {number}", Kind.ANS) for number in range(57, 60)),
    *(_lll(number, f"reserved private {number}", Kind.ANS) for number in range(60, 64)),
    _fixed(64, "message authentication code", Kind.B, 16),
)

# Field 65 is the third bitmap of the standard, not a data element: no link sends it, and a message with it is refused.
_SECONDARY = (
    _fixed(66, "settlement code", Kind.N, 1),
    _fixed(67, "extended payment code", Kind.N, 2),
    _fixed(68, "country, receiving institution", Kind.N, 3),
    _fixed(69, "country, settlement institution", Kind.N, 3),
    _fixed(70, "network management information code", Kind.N, 3),
    _fixed(71, "message number", Kind.N, 4),
    _fixed(72, "message number, last", Kind.N, 4),
    _fixed(73, "date, action", Kind.N, 6),
    _fixed(74, "credits, number", Kind.N, 10),
    _fixed(75, "credits, reversal number", Kind.N, 10),
    _fixed(76, "debits, number", Kind.N, 10),
    _fixed(77, "debits, reversal number", Kind.N, 10),
    _fixed(78, "transfers, number", Kind.N, 10),
    _fixed(79, "transfers, reversal number", Kind.N, 10),
    _fixed(80, "inquiries, number", Kind.N, 10),
    _fixed(81, "authorisations, number", Kind.N, 10),
    _fixed(82, "credits, processing fee amount", Kind.N, 12),
    _fixed(83, "credits, transaction fee amount", Kind.N, 12),
    _fixed(84, "debits, processing fee amount", Kind.N, 12),
    _fixed(85, "debits, transaction fee amount", Kind.N, 12),
    _fixed(86, "credits, amount", Kind.N, 16),
    _fixed(87, "credits, reversal amount", Kind.N, 16),
    _fixed(88, "debits, amount", Kind.N, 16),
    _fixed(89, "debits, reversal amount", Kind.N, 16),
    _fixed(90, "original data elements", Kind.N, 42),
    _fixed(91, "file update code", Kind.AN, 1),
    _fixed(92, "file security code", Kind.AN, 2),
    _fixed(93, "response indicator", Kind.AN, 5),
    _fixed(94, "service indicator", Kind.AN, 7),
    _fixed(95, "replacement amounts", Kind.AN, 42),
    _fixed(96, "message security code", Kind.B, 16),
    _fixed(97, "amount, net settlement", Kind.XN, 17),
    _fixed(98, "payee", Kind.ANS, 25),
    _ll(99, "settlement institution", Kind.N, 11),
    _ll(100, "receiving institution", Kind.N, 11),
    _ll(101, "file name", Kind.ANS, 17),
    _ll(102, "account identification 1", Kind.ANS, 28),
    _ll(103, "account identification 2", Kind.ANS, 28),
    _lll(104, "transaction description", Kind.ANS, 100),
    *(_lll(number, f"reserved ISO {number}", Kind.ANS) for number in range(105, 112)),
    *(_lll(number, f"reserved national {number}", Kind.ANS) for number in range(112, 120)),
    *(_lll(number, f"reserved private {number}", Kind.ANS) for number in range(120, 128)),
    _fixed(128, "message authentication code 2", Kind.B, 16),
)

HIMBARA = Dialect("himbara", _PRIMARY + _SECONDARY)
"""The default link: ISO 8583:1987, all ASCII, hexadecimal bitmaps, every data element of the standard."""
