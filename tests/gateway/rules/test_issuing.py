"""Twin of gateway.rules.issuing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.issuing import (
    PAN_SERIAL_DIGITS,
    SHAPES,
    account_number,
    cell_of_account,
    cell_of_pan,
    pan_for,
    serial_for,
)

BIN = "601301"
banks = st.sampled_from(sorted(SHAPES))
account_ids = st.integers(1, 10**8)
cell_counts = st.integers(1, 256)


def luhn_sum(number: str) -> int:
    """The Luhn sum as ISO/IEC 7812-1 annex B writes it; 0 modulo 10 is right."""
    doubled = [int(digit) * 2 if place % 2 else int(digit) for place, digit in enumerate(reversed(number))]
    return sum(digit - 9 if digit > 9 else digit for digit in doubled)


@given(banks, account_ids)
def test_an_account_number_has_the_banks_length_and_a_check_digit(bank: str, account_id: int) -> None:
    """Branch, serial, Luhn digit; digits only."""
    number = account_number(bank, "0014", account_id)
    shape = SHAPES[bank]
    assert shape.length == len(number)
    assert number.isdecimal()
    assert luhn_sum(number) % 10 == 0
    assert account_id == int(number[shape.branch_digits : -1])


@pytest.mark.parametrize(
    ("bank", "branch", "expected"),
    [
        ("BRI", "0014", "00140000000042"),
        ("BRI", "14", "00140000000042"),
        ("BRI", "KC-0014", "00140000000042"),
        ("BRI", "990014", "00140000000042"),
        ("MANDIRI", "0014", "014000000042"),
        ("BNI", "0014", "000000042"),
        ("BTN", "0014", "000140000000042"),
        ("BSI", "0014", "000000042"),
    ],
)
def test_the_branch_stands_in_front(bank: str, branch: str, expected: str) -> None:
    """As many of its digits as the bank's shape has, the last ones, then the serial; the check digit is apart."""
    assert expected == account_number(bank, branch, 42)[:-1]


@pytest.mark.parametrize("bank", sorted(SHAPES))
def test_an_account_that_does_not_fit_is_refused(bank: str) -> None:
    """The largest serial fits; one more would be a longer number, and is refused."""
    digits = SHAPES[bank].length - SHAPES[bank].branch_digits - 1
    assert SHAPES[bank].length == len(account_number(bank, "0014", 10**digits - 1))
    with pytest.raises(ValueError, match=f"does not fit in {SHAPES[bank].length} digits of {bank}"):
        account_number(bank, "0014", 10**digits)


@given(st.integers(0, 2**63), cell_counts, st.data())
def test_the_cell_of_a_card_is_read_from_its_pan(random_number: int, cells: int, data: st.DataObject) -> None:
    """A serial for a cell makes a PAN of 16 digits that leads to the same cell."""
    cell = data.draw(st.integers(0, cells - 1))
    serial = serial_for(random_number, cell, cells)
    assert 0 <= serial < 10**PAN_SERIAL_DIGITS
    pan = pan_for(BIN, serial)
    assert 16 == len(pan)
    assert BIN == pan[:6]
    assert luhn_sum(pan) % 10 == 0
    assert cell == cell_of_pan(pan, cells)


@given(st.integers(0, 10**9 - 2))
def test_neighbouring_serials_make_other_pans(serial: int) -> None:
    """No two serials share a PAN."""
    assert pan_for(BIN, serial) != pan_for(BIN, serial + 1)


@given(account_ids, cell_counts)
def test_an_account_and_its_card_can_share_a_cell(account_id: int, cells: int) -> None:
    """The account's cell is one that a PAN can name."""
    cell = cell_of_account(account_id, cells)
    assert 0 <= cell < cells
    assert cell == cell_of_pan(pan_for(BIN, serial_for(12_345, cell, cells)), cells)


@given(st.text("0123456789", max_size=19), cell_counts)
def test_any_other_pan_falls_into_some_cell(pan: str, cells: int) -> None:
    """A PAN of another length, even one too short to have a serial, is looked for somewhere and is not an error."""
    assert 0 <= cell_of_pan(pan, cells) < cells
