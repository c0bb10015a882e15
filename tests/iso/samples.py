"""Messages that the tests of this folder share: one by hand, and a strategy for any message of a dialect."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from iso.dialect import HIMBARA, Dialect, Encoding, Field, Kind
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

WITHDRAWAL_BYTES = (
    b"0200"
    b"7238440108C09000"
    b"166013010000000018"
    b"011000"
    b"000050000000"
    b"1224031500"
    b"000123"
    b"101500"
    b"1224"
    b"6011"
    b"021"
    b"06000002"
    b"435910000123"
    b"ATM00001"
    b"BANK DEMO      "
    b"360"
    b"0123456789ABCDEF"
)


def withdrawal() -> Message:
    """The message in WITHDRAWAL_BYTES: 500,000 rupiah at a cash machine, two decimals, 15 fields."""
    return Message(
        "0200",
        {
            2: "6013010000000018",
            3: "011000",
            4: "000050000000",
            7: "1224031500",
            11: "000123",
            12: "101500",
            13: "1224",
            18: "6011",
            22: "021",
            32: "000002",
            37: "435910000123",
            41: "ATM00001",
            42: "BANK DEMO      ",
            49: "360",
            52: "0123456789ABCDEF",
        },
    )


_LETTERS = string.ascii_letters + " "
_ALPHABETS = {
    Kind.N: string.digits,
    Kind.A: _LETTERS,
    Kind.AN: _LETTERS + string.digits,
    Kind.ANS: "".join(map(chr, range(0x20, 0x7F))),
    Kind.ANSB: "".join(map(chr, range(0x80))),
    Kind.Z: string.digits + ":;<=>?D",
    Kind.XN: string.digits,
}


def values(field: Field, dialect: Dialect = HIMBARA) -> st.SearchStrategy[str]:
    """Any value that `field` may hold in `dialect`, at its full length where that is fixed."""
    shortest = 1 if field.length_digits else field.length
    longest = min(field.length, 40) if field.length_digits else field.length
    if field.kind is Kind.B:
        return st.binary(min_size=(shortest + 1) // 2, max_size=longest // 2).map(lambda value: value.hex().upper())
    if field.kind is Kind.XN:
        digits = st.text(string.digits, min_size=shortest - 1, max_size=longest - 1)
        return st.builds(str.__add__, st.sampled_from("CD"), digits)
    packed_track = field.kind is Kind.Z and dialect.encoding_of(field) is Encoding.BCD
    alphabet = string.digits + "D" if packed_track else _ALPHABETS[field.kind]
    return st.text(alphabet, min_size=shortest, max_size=longest)


def messages(dialect: Dialect = HIMBARA, fields: Sequence[Field] = ()) -> st.SearchStrategy[Message]:
    """Any message of `dialect`, of up to 20 of its fields, or of those given."""
    mtis = st.text(string.digits, min_size=4, max_size=4)
    chosen = st.lists(st.sampled_from(fields or dialect.fields), max_size=20, unique_by=lambda field: field.number)
    some = chosen.flatmap(lambda them: st.fixed_dictionaries({one.number: values(one, dialect) for one in them}))
    return st.builds(Message, mtis, some)
