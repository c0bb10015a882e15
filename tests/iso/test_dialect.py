"""The tables are the standard's, a wrong one is refused, and a bank derives its own."""

import doctest
import tomllib
from typing import Any

import iso8583
import pytest

from iso import dialect
from iso.codec import decode, encode
from iso.dialect import (
    DIALECTS,
    EBCDIC,
    EDC,
    HIMBARA,
    Dialect,
    Encoding,
    Field,
    Kind,
    Padding,
    Page,
    derive,
    pyiso8583_spec,
)
from iso.errors import DialectError, FormatError
from iso.message import Message

OWN = """
text = "cp037"
numeric = "bcd"
lengths = "raw"
bitmap = "raw"
binary = "raw"
fixed_padding = "right-0"
variable_padding = "left-0"
remove = [71, 127]

[fields.52]
encoding = "hex"
[fields.35]
padding = "right-f"
[fields.48]
length = 120
lengths = "text"
[fields.130]
kind = "ans"
length = 20
length_digits = 2
[fields.192]
name = "message authentication code 3"
kind = "b"
length = 16
"""


def test_himbara_has_every_data_element_of_1987() -> None:
    """Fields 2 to 128, but for the third bitmap at 65."""
    assert [one.number for one in HIMBARA.fields] == [*range(2, 65), *range(66, 129)]


@pytest.mark.parametrize(
    ("number", "kind", "length", "length_digits"),
    [
        (2, Kind.N, 19, 2),
        (4, Kind.N, 12, 0),
        (28, Kind.XN, 9, 0),
        (35, Kind.Z, 37, 2),
        (41, Kind.ANS, 8, 0),
        (42, Kind.ANS, 15, 0),
        (43, Kind.ANS, 40, 0),
        (48, Kind.ANS, 999, 3),
        (52, Kind.B, 16, 0),
        (54, Kind.AN, 120, 3),
        (55, Kind.B, 998, 3),
        (64, Kind.B, 16, 0),
        (90, Kind.N, 42, 0),
        (95, Kind.AN, 42, 0),
        (102, Kind.ANS, 28, 2),
        (120, Kind.ANS, 999, 3),
        (128, Kind.B, 16, 0),
    ],
)
def test_himbara_fields_that_links_depend_on(number: int, kind: Kind, length: int, length_digits: int) -> None:
    """Kind, length and prefix are those of the standard."""
    one = HIMBARA.field(number)
    assert (one.kind, one.length, one.length_digits) == (kind, length, length_digits)


def test_a_missing_field_is_refused_by_name() -> None:
    """The error names the field and the dialect."""
    with pytest.raises(FormatError, match=r"^field 65: is not in dialect himbara$"):
        HIMBARA.field(65)


def test_wants_tells_a_fixed_length() -> None:
    """A fixed field asks for its length."""
    assert HIMBARA.field(4).wants == "must be 12 digits"


def test_wants_tells_a_largest_length() -> None:
    """A variable field asks for no more than its length."""
    assert HIMBARA.field(35).wants == "must be at most 37 track characters"


@pytest.mark.parametrize(
    "fields",
    [
        (Field(1, "bitmap", Kind.B, 16, 0),),
        (Field(65, "bitmap", Kind.B, 16, 0),),
        (Field(193, "beyond", Kind.N, 1, 0),),
        (Field(4, "amount", Kind.N, 12, 0), Field(4, "again", Kind.N, 12, 0)),
        (Field(4, "amount", Kind.N, 0, 0),),
        (Field(4, "amount", Kind.N, 100, 2),),
        (Field(4, "amount", Kind.N, 9, 1),),
        (Field(28, "fee", Kind.XN, 9, 2),),
        (Field(52, "PIN data", Kind.B, 15, 0),),
        (Field(55, "chip data", Kind.B, 1_000, 3),),
        (Field(52, "PIN data", Kind.B, 16, 0, Encoding.BCD),),
        (Field(41, "terminal", Kind.ANS, 8, 0, Encoding.TEXT),),
        (Field(2, "card", Kind.N, 19, 2, Encoding.RAW),),
        (Field(2, "card", Kind.N, 19, 2, lengths=Encoding.HEX),),
    ],
)
def test_an_impossible_table_is_refused(fields: tuple[Field, ...]) -> None:
    """Numbers, doubles and lengths are checked when the dialect is made."""
    with pytest.raises(DialectError, match=r"^dialect odd: "):
        Dialect("odd", fields)


@pytest.mark.parametrize("encodings", [{"numeric": Encoding.RAW}, {"lengths": Encoding.HEX}, {"bitmap": Encoding.TEXT},
                                       {"binary": Encoding.BCD}])  # fmt: skip
def test_an_impossible_encoding_is_refused(encodings: dict[str, Any]) -> None:
    """Each of the four takes its own words."""
    with pytest.raises(DialectError, match=rf"^dialect odd: {next(iter(encodings))} must be "):
        Dialect("odd", HIMBARA.fields, **encodings)


def test_the_three_dialects() -> None:
    """By name, with the same data elements; chip data as long as its length prefix can say."""
    assert {"himbara": HIMBARA, "edc": EDC, "ebcdic": EBCDIC} == DIALECTS
    assert HIMBARA.by_number.keys() == EDC.by_number.keys() == EBCDIC.by_number.keys()
    assert (998, 1_998, 1_998) == tuple(one.field(55).length for one in DIALECTS.values())
    assert [] == [one.name for one in DIALECTS.values() if one.has_third_bitmap]


def test_examples_come_out() -> None:
    """The examples in the docstrings."""
    result = doctest.testmod(dialect)
    assert (0, True) == (result.failed, result.attempted > 0)


def test_a_bank_derives_its_own() -> None:
    """Encodings, fields changed, added and removed, as a table of a links file says."""
    own = derive(HIMBARA, "bank-a", tomllib.loads(OWN))
    assert ("bank-a", Page.CP037) == (own.name, own.text)
    assert (Encoding.BCD, Encoding.RAW, Encoding.RAW, Encoding.RAW) == (
        own.numeric,
        own.lengths,
        own.bitmap,
        own.binary,
    )
    assert (Padding.RIGHT_0, Padding.LEFT_0) == (own.fixed_padding, own.variable_padding)
    assert Field(52, "PIN data", Kind.B, 16, 0, Encoding.HEX) == own.field(52)
    assert Padding.RIGHT_F is own.padding_of(own.field(35))
    assert Padding.LEFT_0 is own.padding_of(own.field(2))
    assert Padding.RIGHT_0 is own.padding_of(own.field(22))
    assert Field(48, "additional data, private", Kind.ANS, 120, 3, lengths=Encoding.TEXT) == own.field(48)
    assert Field(130, "private 130", Kind.ANS, 20, 2) == own.field(130)
    assert Field(192, "message authentication code 3", Kind.B, 16, 0) == own.field(192)
    assert {71, 127} == HIMBARA.by_number.keys() - own.by_number.keys()
    assert own.has_third_bitmap
    message = Message("0200", {2: "60130100000000018", 22: "021", 35: "601301=29", 48: "A", 130: "x", 192: "00" * 8})
    message.fields[35] = "601301D29"
    assert message == decode(encode(message, own), own)


def test_nothing_changed_is_the_same_under_another_name() -> None:
    """An empty table is no fault."""
    own = derive(EDC, "bank-b", {})
    assert (EDC.fields, EDC.numeric, "bank-b") == (own.fields, own.numeric, own.name)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ('speed = "high"', "there is no setting speed"),
        ('text = "utf-8"', "text must be ascii or cp500 or cp037"),
        ("text = 500", "text must be ascii or cp500 or cp037"),
        ('numeric = "raw"', "numeric must be text or bcd"),
        ('fixed_padding = "middle"', "fixed_padding must be left-0 or right-0 or right-f"),
        ("remove = 71", "remove must be a list of field numbers"),
        ('remove = ["71"]', "remove must be a list of field numbers"),
        ("remove = [true]", "remove must be a list of field numbers"),
        ("remove = [71, 71]", "remove: there is no field 71 in himbara"),
        ("remove = [130]", "remove: there is no field 130 in himbara"),
        ("fields = 4", "fields must be a table"),
        ("fields.x.length = 4", "fields.x: is not the number of a data element"),
        ("fields.-4.length = 4", "fields.-4: is not the number of a data element"),
        ("fields.65 = {kind = 'b', length = 16}", "65 is not the number of a data element"),
        ("fields.193 = {kind = 'b', length = 16}", "193 is not the number of a data element"),
        ("fields.4 = 12", "fields.4: must be a table"),
        ("fields.4.colour = 'red'", "fields.4: there is no setting colour"),
        ("fields.4.number = 5", "fields.4: there is no setting number"),
        ("fields.4.length = '12'", "fields.4: length must be a whole number"),
        ("fields.4.length = true", "fields.4: length must be a whole number"),
        ("fields.4.length_digits = 2.0", "fields.4: length_digits must be a whole number"),
        ('fields.4.name = "a\\nb"', "fields.4: name must be text"),
        ("fields.4.kind = 'm'", "fields.4: kind must be n or a or an or ans or ansb or b or z or x+n"),
        ("fields.130.length = 4", "fields.130: a new field needs kind"),
        ("fields.130 = {}", "fields.130: a new field needs kind and length"),
        ("fields.4.length = 0", "field 4 has an impossible length"),
        ("fields.4.length = 1000", "field 4 has an impossible length"),
        ("fields.2.length = 100", "field 2 has an impossible length"),
        ("fields.4.length_digits = 4", "field 4 has an impossible length"),
        ("fields.52.length = 15", "field 52 has an odd number of hexadecimal characters"),
        ("fields.52.encoding = 'bcd'", "field 52 of kind b cannot be encoded as bcd"),
        ("fields.41.encoding = 'text'", "field 41 of kind ans cannot be encoded as text"),
        ("fields.41.lengths = 'hex'", "field 41 lengths must be text or bcd or raw"),
    ],
)
def test_a_wrong_change_is_refused(changes: str, fault: str) -> None:
    """One line that names the dialect, the place and the fault."""
    with pytest.raises(DialectError) as caught:
        derive(HIMBARA, "bank-c", tomllib.loads(changes))
    assert f"dialect bank-c: {fault}" == str(caught.value)


def test_pyiso8583_reads_its_table() -> None:
    """The table drives pyiso8583 to the bytes worked out by hand."""
    encoded, _ = iso8583.encode({"t": "0800", "11": "000001", "70": "301"}, pyiso8583_spec(HIMBARA))
    assert bytes(encoded) == b"080080200000000000000400000000000000000001301"
