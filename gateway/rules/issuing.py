"""Numbers of accounts and cards: bank-specific account numbers, PANs with a Luhn digit, and the cell a family lives in.

The cell of a family is part of its PAN (the serial modulo the number of cells), so an authorisation knows its lane before it
asks the database. Pure: the randomness comes from outside. Account lengths: docs/domain-rules.md, bank identifiers.
"""

from __future__ import annotations

from dataclasses import dataclass

PAN_SERIAL_DIGITS = 9


@dataclass(frozen=True, slots=True)
class AccountNumberShape:
    """Digits of a bank's account number: the branch's, then a serial, then one Luhn check digit."""

    length: int
    branch_digits: int


SHAPES = {
    "BRI": AccountNumberShape(15, 4),
    "MANDIRI": AccountNumberShape(13, 3),
    "BNI": AccountNumberShape(10, 0),
    "BTN": AccountNumberShape(16, 5),
    "BSI": AccountNumberShape(10, 0),
}


def account_number(bank: str, branch: str, account_id: int) -> str:
    """The number of an account.

    >>> account_number("BNI", "0014", 42)
    '0000000422'
    >>> len(account_number("BRI", "0014", 42))
    15
    """
    shape = SHAPES[bank]
    digits = "".join(c for c in branch if c.isdigit()).zfill(shape.branch_digits)
    prefix = digits[len(digits) - shape.branch_digits :]
    serial = str(account_id).zfill(shape.length - shape.branch_digits - 1)
    if len(prefix) + len(serial) + 1 > shape.length:
        raise ValueError(f"account id {account_id} does not fit in {shape.length} digits of {bank}")
    return prefix + serial + check_digit(prefix + serial)


def cell_of_account(account_id: int, cells: int) -> int:
    """The cell a new account gets."""
    return account_id % cells


def cell_of_pan(pan: str, cells: int) -> int:
    """The cell of the family a 16-digit PAN belongs to; any other PAN falls into some cell, where it is not found.

    >>> cell_of_pan(pan_for("601301", 16 * 7 + 5), 16)
    5
    """
    serial = pan[6:-1]
    return int(serial) % cells if serial.isdigit() else 0


def pan_for(card_bin: str, serial: int) -> str:
    """A 16-digit PAN: BIN, nine digits of serial, Luhn digit."""
    body = card_bin + str(serial).zfill(PAN_SERIAL_DIGITS)
    return body + check_digit(body)


def serial_for(random_number: int, cell: int, cells: int) -> int:
    """A card serial in CELL, from a random number."""
    span: int = 10**PAN_SERIAL_DIGITS // cells
    return (random_number % span) * cells + cell


_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")  # a digit doubled, its two digits added


def check_digit(digits: str) -> str:
    """The Luhn digit (ISO/IEC 7812-1 annex B) that belongs behind DIGITS.

    >>> check_digit("7992739871")
    '3'
    """
    data = digits.encode("ascii")
    total = sum(data[-1::-2].translate(_DOUBLED)) + sum(data[-2::-2]) - 48 * len(data)
    return str(-total % 10)
