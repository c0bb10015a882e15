"""What is wrong with a row of a list, said so that the sender can mend it: reason, column, masked value, how to mend.

Every reason code of the lists stands here, also those found later against the database. Refuses to know how a row is
judged. Read next: gateway.rules.kpm, gateway.rules.instruction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reason(StrEnum):
    """Reason codes as they stand in result files and reports."""

    NIK_INVALID = "NIK_INVALID"
    NIK_MISMATCH = "NIK_MISMATCH"
    NIK_AS_NUMBER = "NIK_AS_NUMBER"
    NO_KK_INVALID = "NO_KK_INVALID"
    NAME_MISSING = "NAME_MISSING"
    MOTHER_NAME_EMPTY = "MOTHER_NAME_EMPTY"
    DATE_INVALID = "DATE_INVALID"
    REGION_INVALID = "REGION_INVALID"
    PROGRAM_UNKNOWN = "PROGRAM_UNKNOWN"
    COMPONENT_INVALID = "COMPONENT_INVALID"
    DUP_NIK_IN_FILE = "DUP_NIK_IN_FILE"
    DUP_KK_IN_FILE = "DUP_KK_IN_FILE"
    DUP_NIK_EXISTING_KKS = "DUP_NIK_EXISTING_KKS"
    DUP_KK_EXISTING_KKS = "DUP_KK_EXISTING_KKS"
    DUP_PERSON = "DUP_PERSON"
    UNDER_AGE = "UNDER_AGE"
    EXCLUDED = "EXCLUDED"
    DATA_INVALID = "DATA_INVALID"
    ROW_MALFORMED = "ROW_MALFORMED"
    ACCOUNT_INVALID = "ACCOUNT_INVALID"
    STAGE_INVALID = "STAGE_INVALID"
    MONTH_INVALID = "MONTH_INVALID"
    AMOUNT_INVALID = "AMOUNT_INVALID"


class Severity(StrEnum):
    """An error keeps the row out; a warning lets it in with a consequence."""

    ERROR = "ERROR"
    WARNING = "WARNING"


MENDS: Mapping[Reason, str] = {
    Reason.NIK_INVALID: "Tulis NIK 16 angka sesuai KTP / write the 16-digit NIK as on the identity card",
    Reason.NIK_MISMATCH: "Samakan NIK dengan tanggal lahir dan jenis kelamin / NIK, birth date and sex must agree",
    Reason.NIK_AS_NUMBER: "Format kolom sebagai teks lalu isi ulang NIK / make the column text, enter the NIK again",
    Reason.NO_KK_INVALID: "Tulis No KK 16 angka sesuai Kartu Keluarga / write the 16-digit number of the family card",
    Reason.NAME_MISSING: "Isi nama sesuai KTP / fill in the name as on the identity card",
    Reason.MOTHER_NAME_EMPTY: "Isi nama ibu kandung saat penyerahan / fill in the mother's name at hand-over",
    Reason.DATE_INVALID: "Tulis tanggal lahir sebagai 31-12-1990 / write the birth date as 31-12-1990",
    Reason.REGION_INVALID: "Tulis kode wilayah Kemendagri 10 angka / write the 10-digit Kemendagri region code",
    Reason.PROGRAM_UNKNOWN: "Tulis program yang berlaku, gabung dengan + / write known programmes, joined by +",
    Reason.COMPONENT_INVALID: "Tulis komponen seperti HAMIL:1;SD:2 / write components like HAMIL:1;SD:2",
    Reason.DUP_NIK_IN_FILE: "Hapus baris dengan NIK yang sama / remove the row with the same NIK",
    Reason.DUP_KK_IN_FILE: "Satu KKS per keluarga: hapus baris No KK yang sama / one card a family: remove the row",
    Reason.DUP_NIK_EXISTING_KKS: "NIK sudah punya KKS: pakai kartu itu / this NIK has a card already: use it",
    Reason.DUP_KK_EXISTING_KKS: "Keluarga sudah punya KKS: pakai kartu itu / this family has a card already: use it",
    Reason.DUP_PERSON: "Orang yang sama dengan NIK lain: periksa ke Dukcapil / same person, other NIK: check it",
    Reason.UNDER_AGE: "Ganti pengurus dengan anggota keluarga dewasa / name an adult member of the family",
    Reason.EXCLUDED: "Orang ini dikecualikan: ajukan sanggahan / this person is excluded: file an appeal",
    Reason.DATA_INVALID: "Perbaiki isi kolom ini / correct this column",
    Reason.ROW_MALFORMED: "Jumlah kolom berlebih: periksa pemisah dan kutip / too many cells: check separators, quotes",
    Reason.ACCOUNT_INVALID: "Tulis nomor rekening hanya angka, sebagai teks / write the account number as digits, as text",
    Reason.STAGE_INVALID: "Tulis tahap seperti 2026-T4 / write the stage like 2026-T4",
    Reason.MONTH_INVALID: "Tulis bulan seperti 2026-10,2026-11, tanpa ulang / write months like 2026-10, none twice",
    Reason.AMOUNT_INVALID: "Tulis rupiah bulat lebih dari nol, misal 600000 / write whole rupiah above zero, like 600000",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a row. `shown` is masked and safe to log; `mend` is Indonesian, a slash, English."""

    code: Reason
    column: str
    shown: str
    mend: str
    severity: Severity = Severity.ERROR


def found(
    code: Reason, column: str, shown: str, mend: str | None = None, severity: Severity = Severity.ERROR
) -> Finding:
    """A finding with the usual way to mend its reason. `shown` must be masked already."""
    return Finding(code, column, shown, mend or MENDS[code], severity)


_NUMBER_LENGTH = 14
_TEXT_LENGTH = 24
_LONG_DIGITS = re.compile(r"\d{7,}")
_NOT_SHOWN = re.compile(r"[^\x20-\x7e\xa1-\xff]+")


def mask_number(value: str) -> str:
    """An identity number: the first 6 and last 4 of 14 characters or more, the first 2 of shorter ones."""
    plain = _plain(value)
    if len(plain) >= _NUMBER_LENGTH:
        return f"{plain[:6]}{'*' * min(len(plain) - 10, 10)}{plain[-4:]}"
    return f"{plain[:2]}***" if plain else ""


def mask_name(value: str) -> str:
    """A name: its first letter."""
    plain = _plain(value)
    return f"{plain[0]}***" if plain else ""


def mask_date(value: str) -> str:
    """A birth date: only the year stays where it can be told, so that it does not complete a masked NIK."""
    plain = _plain(value)
    year = re.search(r"(?<!\d)\d{4}(?!\d)", plain)
    return f"**-**-{year[0]}" if year else re.sub(r"\d", "*", plain)[:_TEXT_LENGTH]


def mask_text(value: str) -> str:
    """Any other cell: at most 24 characters, runs of 7 digits or more hidden, since a shifted cell may hold a NIK."""
    return _LONG_DIGITS.sub(lambda run: f"{run[0][:2]}***", _plain(value))[:_TEXT_LENGTH]


def _plain(value: str) -> str:
    return _NOT_SHOWN.sub(" ", value).strip()
