"""Balances in an answer: DE54, additional amounts.

Each amount is 20 characters: account type 2, amount type 2, currency 3, C or D, 12 digits. A variant of 18 characters
(amount type of one digit, no sign) is seen in Indonesia: read, never written. Knows no purse. Read next: amount.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from iso.amount import read_amount, write_amount
from iso.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

RUPIAH = "360"
"""ISO 4217 number of the rupiah."""

_FIELD = 54
_LONGEST = 120
_EXACT = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{3})([CD])([0-9]{12})")
LENGTH = 20
"""Characters of one amount, as we write it."""
_UNSIGNED = re.compile(r"([0-9]{2})([0-9])([0-9]{3})()([0-9]{12})")
_UNSIGNED_LENGTH = 18


class AmountType(StrEnum):
    """What an amount is. Other codes are kept as they came."""

    LEDGER = "01"
    AVAILABLE = "02"
    ORIGINAL = "57"
    """What was asked for, where less was approved: of ISO 8583:2003 and the card schemes, none of the standard of 1987."""


@dataclass(frozen=True, slots=True)
class AdditionalAmount:
    """One amount. `account_type` 2 digits as in DE3, `amount_idr` negative where the holder owes (D)."""

    account_type: str
    amount_type: str
    amount_idr: int
    currency: str = RUPIAH


def write_additional_amounts(amounts: Iterable[AdditionalAmount], exponent: int) -> str:
    """DE54: 20 characters an amount. Raises FormatError where there are more than six, or one does not fit."""
    text = "".join(_write(one, exponent) for one in amounts)
    if len(text) > _LONGEST:
        raise FormatError(_FIELD, f"must be at most {_LONGEST} letters or digits")
    return text


def read_additional_amounts(text: str, exponent: int) -> tuple[AdditionalAmount, ...]:
    """The amounts of a DE54, of 20 or of 18 characters each. Raises FormatError."""
    for length, pattern in ((LENGTH, _EXACT), (_UNSIGNED_LENGTH, _UNSIGNED)):
        if len(text) <= _LONGEST and len(text) % length == 0:
            parts = [pattern.fullmatch(text[start : start + length]) for start in range(0, len(text), length)]
            return tuple(_read(part, exponent) for part in parts)
    raise FormatError(_FIELD, "must be 20 characters an amount")


def _write(one: AdditionalAmount, exponent: int) -> str:
    sign = "D" if one.amount_idr < 0 else "C"
    text = (
        f"{one.account_type}{one.amount_type}{one.currency}{sign}{write_amount(abs(one.amount_idr), exponent, _FIELD)}"
    )
    if _EXACT.fullmatch(text) is None:
        raise FormatError(_FIELD, "account and amount type must be 2 digits, currency 3")
    return text


def _read(part: re.Match[str] | None, exponent: int) -> AdditionalAmount:
    if part is None:
        raise FormatError(_FIELD, "an amount must be account type, amount type, currency, C or D and 12 digits")
    account_type, amount_type, currency, sign, digits = part.groups()
    amount_idr = read_amount(digits, exponent, _FIELD)
    return AdditionalAmount(account_type, amount_type.zfill(2), -amount_idr if sign == "D" else amount_idr, currency)
