"""Columns by hand, there and back, and what is refused."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso import layout
from iso.errors import DialectError, FormatError
from iso.layout import Layout, layout_of

PLACE = layout_of(43, {"name": 22, "city": 13, "country": 5})
TRANSFER = layout_of(48, {"to": 30, "reference": 16, "from": 30})
CHARGES = layout_of(61, {"phone": "n13", "charge": "n 12", "note": 10})


def refused(columns: Layout, text: str) -> str:
    """Why `text` is refused, with the field of the layout."""
    with pytest.raises(FormatError) as caught:
        columns.read(text)
    assert columns.field == caught.value.field
    return caught.value.reason


def test_examples_come_out() -> None:
    """The examples in the docstrings."""
    result = doctest.testmod(layout)
    assert (0, True) == (result.failed, result.attempted > 0)


def test_text_columns_by_hand() -> None:
    """Names, a reference between them, filled with spaces."""
    text = "SITI AMINAH" + " " * 19 + "REF0000000000001" + "BUDI" + " " * 26
    values = {"to": "SITI AMINAH", "reference": "REF0000000000001", "from": "BUDI"}
    assert values == TRANSFER.read(text)
    assert text == TRANSFER.write(values)


def test_numbers_are_filled_with_zeros() -> None:
    """On the left, and kept when they are read."""
    text = CHARGES.write({"phone": "62811", "charge": "6500"})
    assert "0000000062811" + "000000006500" + " " * 10 == text
    assert {"phone": "0000000062811", "charge": "000000006500", "note": ""} == CHARGES.read(text)


def test_spaces_behind_the_last_column_are_no_fault() -> None:
    """A fixed field that is longer than its columns is filled up with them."""
    short = layout_of(43, {"name": 33, "city": 5})
    assert {"name": "WARUNG", "city": "DUMAI"} == short.read(short.write({"name": "WARUNG", "city": "DUMAI"}).ljust(40))


@pytest.mark.parametrize(
    ("columns", "text", "reason"),
    [
        (PLACE, "", "must hold 40 characters in columns: it is cut off"),
        (PLACE, "A" * 39, "must hold 40 characters in columns: it is cut off"),
        (PLACE, "A" * 41, "must hold 40 characters in columns: some are left over"),
        (PLACE, "A" * 40 + " \t", "must hold 40 characters in columns: some are left over"),
        (PLACE, "A" * 22 + "\n" + "A" * 17, "column city must be at most 13 printable characters"),
        (CHARGES, " " * 35, "column phone must be at most 13 digits"),
        (CHARGES, "0" * 24 + "x" + "0" * 10, "column charge must be at most 12 digits"),
        (CHARGES, "0" * 24 + "\u0661" + "0" * 10, "column charge must be at most 12 digits"),
    ],
)
def test_what_does_not_fit_is_refused(columns: Layout, text: str, reason: str) -> None:
    """Cut off, left over, of another kind: the field and the column, never the value."""
    assert reason == refused(columns, text)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"street": "x"}, "there is no column street"),
        ({"note": "x" * 11}, "column note must be at most 10 printable characters"),
        ({"note": "caf\u00e9"}, "column note must be at most 10 printable characters"),
        ({"charge": "1" * 13}, "column charge must be at most 12 digits"),
        ({"charge": "-5"}, "column charge must be at most 12 digits"),
    ],
)
def test_what_would_not_be_read_is_not_written(values: dict[str, str], reason: str) -> None:
    """Unknown columns, values too long or of another kind."""
    with pytest.raises(FormatError) as caught:
        CHARGES.write(values)
    assert (61, reason) == (caught.value.field, caught.value.reason)


@pytest.mark.parametrize("said", [0, -1, 1_000, "n0", "n 1000", "ans 4", "", "12", True, None, 2.0])
def test_a_wrong_column_is_refused(said: object) -> None:
    """A profile's fault is named with field and column."""
    with pytest.raises(DialectError, match=r"^layout of field 48: column a must be 1 to 999 characters"):
        layout_of(48, {"a": said})  # type: ignore[dict-item]


@pytest.mark.parametrize("columns", [{}, {"a": 500, "b": 500}])
def test_a_layout_that_no_field_holds_is_refused(columns: dict[str, int | str]) -> None:
    """Nothing, or more than 999 characters."""
    with pytest.raises(DialectError, match=r"^layout of field 48: must have 1 to 999 characters in columns$"):
        layout_of(48, columns)


@given(st.text("".join(map(chr, range(0x20, 0x7F))), min_size=40, max_size=40))
def test_what_was_read_is_written_back(text: str) -> None:
    """Character by character, where all columns are text."""
    assert text == PLACE.write(PLACE.read(text))


@given(st.text(max_size=50))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error, and what was read is there in every column."""
    try:
        values = CHARGES.read(text)
    except FormatError:
        assert refused(CHARGES, text)
        return
    assert ["phone", "charge", "note"] == list(values)
