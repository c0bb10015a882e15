"""The check digit of card numbers (ISO/IEC 7812-1 annex B, modulus 10, "double-add-double").

Refuses to know what the number is. Read next: sensitive.py (Pan).
"""

from __future__ import annotations

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def check_digit(body: str) -> str:
    """The digit that makes BODY (digits, without its check digit) valid (ISO/IEC 7812-1 annex B).

    Raises ValueError where BODY is not digits. The number is the one that textbooks of the formula show.

    >>> check_digit("7992739871")
    '3'
    """
    if not (body.isascii() and body.isdigit()):
        raise ValueError("a check digit is made of digits only")
    return str(-_sum(body, doubled_first=True) % 10)


def is_valid(digits: str) -> bool:
    """Whether the last digit of DIGITS is its check digit (ISO/IEC 7812-1 annex B). Fewer than two digits are not valid.

    Anything other than ASCII digits is not valid either. The number is the one that textbooks show.

    >>> is_valid("79927398713"), is_valid("79927398710")
    (True, False)
    """
    if len(digits) < 2 or not (digits.isascii() and digits.isdigit()):  # noqa: PLR2004 - a body and its check digit
        return False
    return _sum(digits, doubled_first=False) % 10 == 0


def _sum(digits: str, *, doubled_first: bool) -> int:
    """Sum of the digits from the right, every other one doubled and its own digits added."""
    backwards = [int(digit) for digit in reversed(digits)]
    doubled, plain = (backwards[::2], backwards[1::2]) if doubled_first else (backwards[1::2], backwards[::2])
    return sum(_DOUBLED[digit] for digit in doubled) + sum(plain)
