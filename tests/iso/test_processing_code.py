"""DE3 in three parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.errors import FormatError
from iso.processing_code import ProcessingCode, read_processing_code


def test_split_by_hand() -> None:
    """Cash from a savings account."""
    assert read_processing_code("011000") == ProcessingCode("01", "10", "00")


@pytest.mark.parametrize("text", ["", "01100", "0110000", "01100x", "01100\N{ARABIC-INDIC DIGIT THREE}", "011000\n"])
def test_what_is_not_6_digits_is_refused(text: str) -> None:
    """The error names field 3."""
    with pytest.raises(FormatError, match=r"^field 3: must be 6 digits$"):
        read_processing_code(text)


@given(st.from_regex(r"[0-9]{6}", fullmatch=True))
def test_there_and_back(text: str) -> None:
    """The parts make the whole."""
    assert read_processing_code(text).text == text
