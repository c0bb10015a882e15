"""Amounts: decimals, limits, and DE95."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.amount import ReplacementAmounts, read_amount, read_replacement, write_amount, write_replacement
from iso.errors import FormatError

EXPONENTS = st.sampled_from((0, 2))


@pytest.mark.parametrize(
    ("text", "exponent", "amount_idr"),
    [
        ("000050000000", 2, 500_000),
        ("000000500000", 0, 500_000),
        ("000000000000", 2, 0),
        ("999999999900", 2, 9_999_999_999),
    ],
)
def test_amount_by_hand(text: str, exponent: int, amount_idr: int) -> None:
    """Twelve digits, the last two of them sen where the link says so."""
    assert (read_amount(text, exponent), write_amount(amount_idr, exponent)) == (amount_idr, text)


def test_sen_are_refused_not_rounded() -> None:
    """Half a rupiah is a format error of field 4."""
    with pytest.raises(FormatError, match=r"^field 4: must be whole rupiah$"):
        read_amount("000050000050", 2)


@pytest.mark.parametrize("text", ["", "12x", "-5", " 5", "\N{ARABIC-INDIC DIGIT THREE}"])
def test_what_is_no_number_is_refused(text: str) -> None:
    """Only the digits 0 to 9 are read."""
    with pytest.raises(FormatError, match=r"^field 5: must be digits$"):
        read_amount(text, 0, field=5)


@pytest.mark.parametrize("length", [13, 5_000, 100_000])
def test_more_digits_than_a_field_has_are_refused(length: int) -> None:
    """Whoever calls it with whatever: no integer of thousands of digits is made, nor refused by an error that is not ours."""
    with pytest.raises(FormatError, match=r"^field 4: must be at most 12 digits$"):
        read_amount("9" * length, 0)


@pytest.mark.parametrize(("amount_idr", "exponent"), [(-1, 0), (10**12, 0), (10**10, 2)])
def test_an_amount_that_does_not_fit_is_refused(amount_idr: int, exponent: int) -> None:
    """Nothing is cut off."""
    with pytest.raises(FormatError, match=r"^field 4: the amount does not fit 12 digits$"):
        write_amount(amount_idr, exponent)


@pytest.mark.parametrize("exponent", [1, 3, -2])
def test_other_exponents_are_refused(exponent: int) -> None:
    """A profile says 0 or 2."""
    with pytest.raises(FormatError, match=r"^field 4: the link's exponent must be 0 or 2$"):
        read_amount("000000000001", exponent)


@given(st.integers(0, 10**10 - 1), EXPONENTS)
def test_amount_there_and_back(amount_idr: int, exponent: int) -> None:
    """Every amount survives both kinds of link."""
    assert read_amount(write_amount(amount_idr, exponent), exponent) == amount_idr


def test_replacement_by_hand() -> None:
    """A partial reversal: 200,000 dispensed, a fee of 2,500 charged."""
    amounts = ReplacementAmounts(200_000, 0, 2_500, -1)
    text = "000020000000000000000000D00250000C00000100"
    assert (write_replacement(amounts, 2), read_replacement(text, 2)) == (text, amounts)


def test_a_full_reversal_is_42_zeros() -> None:
    """As Indonesian hosts send it."""
    assert (write_replacement(ReplacementAmounts(0), 2), read_replacement("0" * 42, 2).reverses_all) == ("0" * 42, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0" * 41, "must be 42 letters or digits"),
        ("0" * 24 + "X00000000" + "0" * 9, "a fee must begin with C or D"),
        ("0" * 24 + "000000100" + "0" * 9, "a fee must begin with C or D"),
        ("x" * 42, "must be digits"),
        ("000000000001" + "0" * 30, "must be whole rupiah"),
    ],
)
def test_a_broken_replacement_is_refused(text: str, reason: str) -> None:
    """The error names field 95."""
    with pytest.raises(FormatError) as caught:
        read_replacement(text, 2)
    assert (caught.value.field, caught.value.reason) == (95, reason)


@given(*[st.integers(0, 10**10 - 1)] * 2, *[st.integers(1 - 10**6, 10**6 - 1)] * 2, EXPONENTS)
def test_replacement_there_and_back(amount: int, settled: int, fee: int, settled_fee: int, exponent: int) -> None:
    """All four amounts survive."""
    amounts = ReplacementAmounts(amount, settled, fee, settled_fee)
    assert read_replacement(write_replacement(amounts, exponent), exponent) == amounts
