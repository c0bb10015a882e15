"""The NIK, Indonesia's identity number: province, regency, district, birth date (day + 40 for women), serial.

Structure only: there is no check digit, and only Dukcapil knows whether a number was given out. Date and place are judged by
python-stdnum (its place table with our supplement, looked up once a province); day and serial more strictly than it does.
Read next: gateway.rules.regions.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from stdnum.exceptions import ValidationError
from stdnum.id import nik

from gateway.rules.findings import Reason
from gateway.rules.regions import known_province

if TYPE_CHECKING:
    import datetime as dt

_DIGITS = 16
_SPREADSHEET_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]+|[0-9]{11,}[.,]0+")
_LAST_DAY = 71
_WOMAN_DAYS = 40


class Sex(StrEnum):
    """As in the lists: L laki-laki (man), P perempuan (woman)."""

    MAN = "L"
    WOMAN = "P"


def trim(value: str) -> str:
    """A number's cell without outer spaces and the apostrophe a spreadsheet puts before text."""
    if value.isdigit():
        return value
    return value.strip().strip("'\u200b\ufeff").strip()


def judge_nik(value: str, *, stored_as_number: bool = False) -> Reason | None:
    """What is wrong with a trimmed NIK, None if nothing is seen.

    NIK_AS_NUMBER: a spreadsheet kept 15 digits of it. NIK_INVALID: not 16 digits, unknown province, no such birth date,
    serial 0000.
    """
    is_digits = value.isdigit()
    if stored_as_number or (not is_digits and _SPREADSHEET_NUMBER.fullmatch(value)):
        return Reason.NIK_AS_NUMBER
    if not is_digits or len(value) != _DIGITS or not value.isascii() or value[12:] == "0000":
        return Reason.NIK_INVALID
    return None if known_province(value[:2]) and _is_birth(value[6:12]) else Reason.NIK_INVALID


@lru_cache(maxsize=65_536)
def _is_birth(digits: str) -> bool:
    """Whether the six digits of a NIK's birth date are one."""
    if int(digits[:2]) > _LAST_DAY:  # 41 to 71 are the days of women; stdnum takes 81 and above for days too
        return False
    try:
        nik.get_birth_date(f"000000{digits}0001")
    except ValidationError:
        return False
    return True


def sex_of(number: str) -> Sex:
    """The sex a valid NIK tells."""
    return Sex.WOMAN if int(number[6:8]) > _WOMAN_DAYS else Sex.MAN


def born_on(number: str, birth_date: dt.date) -> bool:
    """Whether a valid NIK tells this birth date; its year has two digits, so the century is not compared."""
    day = int(number[6:8]) % _WOMAN_DAYS
    return (day, int(number[8:10]), int(number[10:12])) == (birth_date.day, birth_date.month, birth_date.year % 100)
