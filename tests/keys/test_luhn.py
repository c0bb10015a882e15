"""The check digit of card numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn as other

from keys.luhn import check_digit, is_valid

bodies = st.text("0123456789", min_size=1, max_size=18)


@given(bodies)
def test_same_digit_as_stdnum(body: str) -> None:
    """python-stdnum finds the same digit."""
    assert other.calc_check_digit(body) == check_digit(body)


@given(bodies, st.data())
def test_one_wrong_digit_is_found(body: str, data: st.DataObject) -> None:
    """A number with its check digit is valid; with any one digit changed it is not."""
    number = body + check_digit(body)
    assert is_valid(number)
    place = data.draw(st.integers(0, len(number) - 1))
    digit = data.draw(st.sampled_from("0123456789").filter(lambda drawn: drawn != number[place]))
    assert not is_valid(number[:place] + digit + number[place + 1 :])


@pytest.mark.parametrize("text", ["", "0", "12a4", "１８", "-18", "18 "])
def test_what_is_no_number_is_not_valid(text: str) -> None:
    """Only two ASCII digits or more can be valid."""
    assert not is_valid(text)


@pytest.mark.parametrize("text", ["", "12a4", "１"])
def test_no_check_digit_of_what_is_no_number(text: str) -> None:
    """Asking for one is a mistake of the caller."""
    with pytest.raises(ValueError, match="digits only"):
        check_digit(text)
