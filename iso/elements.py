"""The data elements of ISO 8583:1987 as data: number, name, kind, length, digits of the length prefix.

Lengths are in characters, two a byte where the element is binary. How they are written as bytes is a dialect's matter.
Read next: dialect.py.
"""

from __future__ import annotations

from typing import TypeAlias

Row: TypeAlias = tuple[int, str, str, int, int]
"""Number, name, kind (a value of dialect.Kind), length, digits of the length prefix (0: fixed)."""

N, AN, ANS, B, Z, X_N = "n", "an", "ans", "b", "z", "x+n"


def _fixed(number: int, name: str, kind: str, length: int) -> Row:
    return number, name, kind, length, 0


def _ll(number: int, name: str, kind: str, longest: int) -> Row:
    return number, name, kind, longest, 2


def _lll(number: int, name: str, kind: str, longest: int = 999) -> Row:
    return number, name, kind, longest, 3


# DE53 is n 16 in the standard; links carry a PIN block or key data there, so hexadecimal characters are let through.
# DE55 is reserved by the standard of 1987; chip cards put their data objects there (EMV 4.3 book 3), so it is binary.
_PRIMARY: tuple[Row, ...] = (
    _ll(2, "primary account number", N, 19),
    _fixed(3, "processing code", N, 6),
    _fixed(4, "amount, transaction", N, 12),
    _fixed(5, "amount, settlement", N, 12),
    _fixed(6, "amount, cardholder billing", N, 12),
    _fixed(7, "transmission date and time", N, 10),
    _fixed(8, "amount, cardholder billing fee", N, 8),
    _fixed(9, "conversion rate, settlement", N, 8),
    _fixed(10, "conversion rate, cardholder billing", N, 8),
    _fixed(11, "systems trace audit number", N, 6),
    _fixed(12, "time, local transaction", N, 6),
    _fixed(13, "date, local transaction", N, 4),
    _fixed(14, "date, expiration", N, 4),
    _fixed(15, "date, settlement", N, 4),
    _fixed(16, "date, conversion", N, 4),
    _fixed(17, "date, capture", N, 4),
    _fixed(18, "merchant type", N, 4),
    _fixed(19, "country, acquiring institution", N, 3),
    _fixed(20, "country, primary account number", N, 3),
    _fixed(21, "country, forwarding institution", N, 3),
    _fixed(22, "point of service entry mode", N, 3),
    _fixed(23, "card sequence number", N, 3),
    _fixed(24, "network international identifier", N, 3),
    _fixed(25, "point of service condition code", N, 2),
    _fixed(26, "point of service PIN capture code", N, 2),
    _fixed(27, "authorisation identification response length", N, 1),
    _fixed(28, "amount, transaction fee", X_N, 9),
    _fixed(29, "amount, settlement fee", X_N, 9),
    _fixed(30, "amount, transaction processing fee", X_N, 9),
    _fixed(31, "amount, settlement processing fee", X_N, 9),
    _ll(32, "acquiring institution", N, 11),
    _ll(33, "forwarding institution", N, 11),
    _ll(34, "primary account number, extended", ANS, 28),
    _ll(35, "track 2 data", Z, 37),
    _lll(36, "track 3 data", Z, 104),
    _fixed(37, "retrieval reference number", AN, 12),
    _fixed(38, "authorisation identification response", AN, 6),
    _fixed(39, "response code", AN, 2),
    _fixed(40, "service restriction code", AN, 3),
    _fixed(41, "card acceptor terminal", ANS, 8),
    _fixed(42, "card acceptor identification", ANS, 15),
    _fixed(43, "card acceptor name and location", ANS, 40),
    _ll(44, "additional response data", ANS, 25),
    _ll(45, "track 1 data", ANS, 76),
    _lll(46, "additional data, ISO", ANS),
    _lll(47, "additional data, national", ANS),
    _lll(48, "additional data, private", ANS),
    _fixed(49, "currency, transaction", AN, 3),
    _fixed(50, "currency, settlement", AN, 3),
    _fixed(51, "currency, cardholder billing", AN, 3),
    _fixed(52, "PIN data", B, 16),
    _fixed(53, "security related control information", B, 16),
    _lll(54, "additional amounts", AN, 120),
    _lll(55, "chip data", B, 998),
    _lll(56, "reserved ISO 56", ANS),
    *(_lll(number, f"reserved national {number}", ANS) for number in range(57, 60)),
    *(_lll(number, f"reserved private {number}", ANS) for number in range(60, 64)),
    _fixed(64, "message authentication code", B, 16),
)

# Field 65 is the third bitmap of the standard, not a data element. Fields above 128 are nobody's until a bank adds its own.
_SECONDARY: tuple[Row, ...] = (
    _fixed(66, "settlement code", N, 1),
    _fixed(67, "extended payment code", N, 2),
    _fixed(68, "country, receiving institution", N, 3),
    _fixed(69, "country, settlement institution", N, 3),
    _fixed(70, "network management information code", N, 3),
    _fixed(71, "message number", N, 4),
    _fixed(72, "message number, last", N, 4),
    _fixed(73, "date, action", N, 6),
    _fixed(74, "credits, number", N, 10),
    _fixed(75, "credits, reversal number", N, 10),
    _fixed(76, "debits, number", N, 10),
    _fixed(77, "debits, reversal number", N, 10),
    _fixed(78, "transfers, number", N, 10),
    _fixed(79, "transfers, reversal number", N, 10),
    _fixed(80, "inquiries, number", N, 10),
    _fixed(81, "authorisations, number", N, 10),
    _fixed(82, "credits, processing fee amount", N, 12),
    _fixed(83, "credits, transaction fee amount", N, 12),
    _fixed(84, "debits, processing fee amount", N, 12),
    _fixed(85, "debits, transaction fee amount", N, 12),
    _fixed(86, "credits, amount", N, 16),
    _fixed(87, "credits, reversal amount", N, 16),
    _fixed(88, "debits, amount", N, 16),
    _fixed(89, "debits, reversal amount", N, 16),
    _fixed(90, "original data elements", N, 42),
    _fixed(91, "file update code", AN, 1),
    _fixed(92, "file security code", AN, 2),
    _fixed(93, "response indicator", AN, 5),
    _fixed(94, "service indicator", AN, 7),
    _fixed(95, "replacement amounts", AN, 42),
    _fixed(96, "message security code", B, 16),
    _fixed(97, "amount, net settlement", X_N, 17),
    _fixed(98, "payee", ANS, 25),
    _ll(99, "settlement institution", N, 11),
    _ll(100, "receiving institution", N, 11),
    _ll(101, "file name", ANS, 17),
    _ll(102, "account identification 1", ANS, 28),
    _ll(103, "account identification 2", ANS, 28),
    _lll(104, "transaction description", ANS, 100),
    *(_lll(number, f"reserved ISO {number}", ANS) for number in range(105, 112)),
    *(_lll(number, f"reserved national {number}", ANS) for number in range(112, 120)),
    *(_lll(number, f"reserved private {number}", ANS) for number in range(120, 128)),
    _fixed(128, "message authentication code 2", B, 16),
)

ELEMENTS_1987: tuple[Row, ...] = _PRIMARY + _SECONDARY
"""Every data element of the standard, 2 to 128 without 65."""
