"""The NIK, Indonesia's identity number: province, regency, district, birth date (day + 40 for women), serial.

Structure only: there is no check digit, and only Dukcapil knows whether a number was given out. Date and place are judged by
python-stdnum (its place table with our supplement, looked up once a province); day and serial more strictly than it does.
Read next: gateway.rules.regions.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from stdnum.exceptions import ValidationError
from stdnum.id import nik

from gateway.rules.findings import Reason
from gateway.rules.regions import known_province

if TYPE_CHECKING:
    import datetime as dt

_DIGITS_16 = re.compile(r"[0-9]{16}")
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
    if stored_as_number or (not value.isdigit() and _SPREADSHEET_NUMBER.fullmatch(value)):
        return Reason.NIK_AS_NUMBER
    if not _DIGITS_16.fullmatch(value) or value[12:] == "0000" or not known_province(value[:2]):
        return Reason.NIK_INVALID
    if int(value[6:8]) > _LAST_DAY:  # 41 to 71 are the days of women; stdnum takes 81 and above for days too
        return Reason.NIK_INVALID
    try:
        nik.get_birth_date(value)
    except ValidationError:
        return Reason.NIK_INVALID
    return None


def sex_of(number: str) -> Sex:
    """The sex a valid NIK tells."""
    return Sex.WOMAN if int(number[6:8]) > _WOMAN_DAYS else Sex.MAN


def born_on(number: str, birth_date: dt.date) -> bool:
    """Whether a valid NIK tells this birth date; its year has two digits, so the century is not compared."""
    day = int(number[6:8]) % _WOMAN_DAYS
    return (day, int(number[8:10]), int(number[10:12])) == (birth_date.day, birth_date.month, birth_date.year % 100)
