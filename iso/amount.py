"""Amounts on the wire to whole rupiah and back: DE4, and DE95 of a partial reversal.

By ISO 4217 the rupiah has two decimals, and hosts disagree whether to send them: the exponent (0 or 2) is part of a
link's profile. Money is never a float, and sen that are not zero are refused, never rounded. Knows no account.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from iso.errors import FormatError

_DIGITS = 12
_FEE_DIGITS = 8
_AMOUNT = 4
_REPLACEMENT = 95
_REPLACEMENT_LENGTH = 42
_UNITS = MappingProxyType({0: 1, 2: 100})


def read_amount(text: str, exponent: int, field: int = _AMOUNT) -> int:
    """Rupiah of `text` (1 to 12 digits, the last `exponent` of them sen). Raises FormatError naming `field`."""
    unit = _unit(exponent, field)
    if not (text.isascii() and text.isdigit()):
        raise FormatError(field, "must be digits")
    if len(text) > _DIGITS:
        raise FormatError(field, f"must be at most {_DIGITS} digits")
    amount_idr, sen = divmod(int(text), unit)
    if sen:
        raise FormatError(field, "must be whole rupiah")
    return amount_idr


def write_amount(amount_idr: int, exponent: int, field: int = _AMOUNT, digits: int = _DIGITS) -> str:
    """Rupiah as `digits` digits, the last `exponent` of them sen. Raises FormatError where it is negative or too large."""
    text = f"{amount_idr * _unit(exponent, field):0{digits}d}"
    if amount_idr < 0 or len(text) > digits:
        raise FormatError(field, f"the amount does not fit {digits} digits")
    return text


@dataclass(frozen=True, slots=True)
class ReplacementAmounts:
    """What really happened (DE95, an 42): amounts n 12 + n 12, fees x+n 8 + x+n 8.

    All in rupiah. A fee is positive where the cardholder pays it (D), negative where it is given back (C).
    """

    transaction_idr: int
    settlement_idr: int = 0
    transaction_fee_idr: int = 0
    settlement_fee_idr: int = 0

    @property
    def reverses_all(self) -> bool:
        """Whether nothing of the original stands (42 zeros)."""
        return self.transaction_idr == 0


def read_replacement(text: str, exponent: int) -> ReplacementAmounts:
    """DE95 as amounts. A fee of plain zeros, as Indonesian hosts send it, is read as none. Raises FormatError."""
    if len(text) != _REPLACEMENT_LENGTH:
        raise FormatError(_REPLACEMENT, f"must be {_REPLACEMENT_LENGTH} letters or digits")
    return ReplacementAmounts(
        read_amount(text[:12], exponent, _REPLACEMENT),
        read_amount(text[12:24], exponent, _REPLACEMENT),
        _read_fee(text[24:33], exponent),
        _read_fee(text[33:], exponent),
    )


def write_replacement(amounts: ReplacementAmounts, exponent: int) -> str:
    """DE95, 42 characters. A fee of zero is written as plain zeros, so that a full reversal is 42 zeros."""
    return (
        write_amount(amounts.transaction_idr, exponent, _REPLACEMENT)
        + write_amount(amounts.settlement_idr, exponent, _REPLACEMENT)
        + _write_fee(amounts.transaction_fee_idr, exponent)
        + _write_fee(amounts.settlement_fee_idr, exponent)
    )


def _read_fee(text: str, exponent: int) -> int:
    amount_idr = read_amount(text[1:], exponent, _REPLACEMENT)
    match text[0]:
        case "D":
            return amount_idr
        case "C":
            return -amount_idr
        case "0" if amount_idr == 0:
            return 0
        case _:
            raise FormatError(_REPLACEMENT, "a fee must begin with C or D")


def _write_fee(amount_idr: int, exponent: int) -> str:
    sign = "0" if amount_idr == 0 else "D" if amount_idr > 0 else "C"
    return sign + write_amount(abs(amount_idr), exponent, _REPLACEMENT, _FEE_DIGITS)


def _unit(exponent: int, field: int) -> int:
    unit = _UNITS.get(exponent)
    if unit is None:
        raise FormatError(field, "the link's exponent must be 0 or 2")
    return unit
