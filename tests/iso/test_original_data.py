"""DE90: naming the message that a reversal speaks of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.errors import FormatError
from iso.message import Message
from iso.original_data import (
    OriginalData,
    institution_number,
    original_data_of,
    read_original_data,
    write_original_data,
)
from tests.iso.samples import withdrawal

TEXT = "020000012312240315000000000000200000000000"
ORIGINAL = OriginalData("0200", "000123", "1224031500", 2, 0)


def test_by_hand() -> None:
    """Institutions are right aligned and filled with zeros."""
    assert (read_original_data(TEXT), write_original_data(ORIGINAL)) == (ORIGINAL, TEXT)


def test_of_a_message() -> None:
    """What a reversal of the withdrawal must say."""
    assert original_data_of(withdrawal()) == ORIGINAL


@pytest.mark.parametrize("number", [7, 11])
def test_a_message_without_stan_or_time_cannot_be_named(number: int) -> None:
    """The error names the missing field."""
    message = withdrawal()
    del message.fields[number]
    with pytest.raises(FormatError, match=rf"^field {number}: "):
        original_data_of(message)


@pytest.mark.parametrize("text", ["", TEXT[:-1], TEXT + "0", TEXT.replace("2", "x")])
def test_what_is_not_42_digits_is_refused(text: str) -> None:
    """The error names field 90."""
    with pytest.raises(FormatError, match=r"^field 90: must be 42 digits$"):
        read_original_data(text)


@pytest.mark.parametrize(
    "original",
    [
        OriginalData("02000", "000123", "1224031500", 2, 0),
        OriginalData("0200", "00012x", "1224031500", 2, 0),
        OriginalData("0200", "000123", "1224031500", 10**11, 0),
        OriginalData("0200", "000123", "1224031500", -2, 0),
    ],
)
def test_parts_that_do_not_fit_are_not_written(original: OriginalData) -> None:
    """Nothing is cut off."""
    with pytest.raises(FormatError, match=r"^field 90: must be 42 digits$"):
        write_original_data(original)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, True),
        ({32: "2"}, True),
        ({32: "00000000002"}, True),
        ({32: ""}, True),
        ({33: "9"}, True),
        ({32: "3"}, False),
        ({11: "000124"}, False),
        ({7: "1224031501"}, False),
    ],
)
def test_names_compares_institutions_as_numbers(changes: dict[int, str], named: bool) -> None:  # noqa: FBT001 - a column
    """Padding does not matter; another number, time or institution does."""
    message = withdrawal()
    message.fields.update(changes)
    assert ORIGINAL.names(message) is named


@pytest.mark.parametrize(("mti", "named"), [("0200", True), ("0201", True), ("0220", False), ("0100", False)])
def test_names_compares_class_and_function(mti: str, named: bool) -> None:  # noqa: FBT001 - a column
    """A repeat is the same message; another kind is not."""
    assert ORIGINAL.names(Message(mti, withdrawal().fields)) is named


@pytest.mark.parametrize(("text", "number"), [("000002", 2), (" 2 ", 2), ("", 0), ("ATMB", 0), ("-2", 0)])
def test_institution_number(text: str, number: int) -> None:
    """A number however padded; 0 for none."""
    assert institution_number(text) == number


@given(st.from_regex(r"[0-9]{42}", fullmatch=True))
def test_there_and_back(text: str) -> None:
    """The parts make the whole."""
    assert write_original_data(read_original_data(text)) == text
