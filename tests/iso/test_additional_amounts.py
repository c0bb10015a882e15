"""Balances in DE54."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.additional_amounts import AdditionalAmount, AmountType, read_additional_amounts, write_additional_amounts
from iso.errors import FormatError

CASH = AdditionalAmount("10", AmountType.AVAILABLE, 150_000)
FOOD = AdditionalAmount("98", AmountType.LEDGER, -200_000)
BOTH = "1002360C0000150000009801360D000020000000"


def test_write_by_hand() -> None:
    """Twenty characters a purse."""
    assert write_additional_amounts([CASH, FOOD], 2) == BOTH


def test_read_by_hand() -> None:
    """A debit balance comes back negative."""
    assert read_additional_amounts(BOTH, 2) == (CASH, FOOD)


def test_the_unsigned_variant_is_read() -> None:
    """Eighteen characters with one digit of amount type and no sign."""
    assert read_additional_amounts("001360000015000000", 2) == (AdditionalAmount("00", AmountType.LEDGER, 150_000),)


def test_nothing_is_nothing() -> None:
    """An empty field holds no amounts."""
    assert (read_additional_amounts("", 2), write_additional_amounts([], 2)) == ((), "")


@pytest.mark.parametrize(
    "text", [BOTH[:-1], BOTH[:-1] + "x", BOTH.replace("C", "X"), "x" * 18, BOTH * 4, "1002360C000015000050"]
)
def test_a_broken_field_is_refused(text: str) -> None:
    """The error names field 54."""
    with pytest.raises(FormatError, match=r"^field 54: "):
        read_additional_amounts(text, 2)


@pytest.mark.parametrize(
    "amounts",
    [
        [CASH] * 7,
        [AdditionalAmount("1", AmountType.LEDGER, 1)],
        [AdditionalAmount("10", "1", 1)],
        [AdditionalAmount("10", "01", 1, "IDR")],
        [AdditionalAmount("10", "01", 10**10)],
    ],
)
def test_what_does_not_fit_is_not_written(amounts: list[AdditionalAmount]) -> None:
    """Exact when writing."""
    with pytest.raises(FormatError, match=r"^field 54: "):
        write_additional_amounts(amounts, 2)


@given(
    st.lists(
        st.builds(
            AdditionalAmount,
            st.integers(0, 99).map("{:02d}".format),
            st.integers(0, 99).map("{:02d}".format),
            st.integers(1 - 10**10, 10**10 - 1),
        ),
        max_size=6,
    ),
    st.sampled_from((0, 2)),
)
def test_there_and_back(amounts: list[AdditionalAmount], exponent: int) -> None:
    """Up to six amounts survive both kinds of link."""
    assert read_additional_amounts(write_additional_amounts(amounts, exponent), exponent) == tuple(amounts)
