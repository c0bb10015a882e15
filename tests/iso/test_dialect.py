"""The himbara table is the standard's, and a wrong table is refused."""

import iso8583
import pytest

from iso.dialect import HIMBARA, Dialect, Field, Kind, pyiso8583_spec
from iso.errors import DialectError, FormatError


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
        (55, Kind.ANSB, 999, 3),
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
        (Field(129, "beyond", Kind.N, 1, 0),),
        (Field(4, "amount", Kind.N, 12, 0), Field(4, "again", Kind.N, 12, 0)),
        (Field(4, "amount", Kind.N, 0, 0),),
        (Field(4, "amount", Kind.N, 100, 2),),
        (Field(4, "amount", Kind.N, 9, 1),),
    ],
)
def test_an_impossible_table_is_refused(fields: tuple[Field, ...]) -> None:
    """Numbers, doubles and lengths are checked when the dialect is made."""
    with pytest.raises(DialectError, match=r"^dialect odd: "):
        Dialect("odd", fields)


def test_pyiso8583_reads_its_table() -> None:
    """The table drives pyiso8583 to the bytes worked out by hand."""
    encoded, _ = iso8583.encode({"t": "0800", "11": "000001", "70": "301"}, pyiso8583_spec(HIMBARA))
    assert bytes(encoded) == b"080080200000000000000400000000000000000001301"
