"""The re-check before a credit: is the account there and alive, is it this family's, may this stage be paid now.

One reason a row, in order of precedence; a row with a reason becomes TOPUP_GAGAL and its money stays in the programme's
account. Sources: domain rules 6 and 7 (docs/domain-rules.md). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.rules.account import CREDITABLE, AccountState
from gateway.rules.names import same_person_name

if TYPE_CHECKING:
    from collections.abc import Mapping


class CreditReason(StrEnum):
    """Why a row was not credited, as told to the ministry (KODE), with what to do in GUIDANCE."""

    ROW_INVALID = "ROW_INVALID"
    PROGRAM_UNKNOWN = "PROGRAM_UNKNOWN"
    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    NIK_MISMATCH = "NIK_MISMATCH"
    NAME_MISMATCH = "NAME_MISMATCH"
    ACCOUNT_NOT_ACTIVE = "ACCOUNT_NOT_ACTIVE"
    EXCLUDED = "EXCLUDED"
    DUP_ROW = "DUP_ROW"
    ALREADY_PAID = "ALREADY_PAID"


GUIDANCE = {
    CreditReason.ROW_INVALID: "baris tidak lengkap atau salah / the row is incomplete or wrong",
    CreditReason.PROGRAM_UNKNOWN: "program tidak dikenal / the programme is not known to the bank",
    CreditReason.ACCOUNT_NOT_FOUND: "nomor rekening tidak ada / there is no such account",
    CreditReason.NIK_MISMATCH: "NIK bukan pemilik rekening / the NIK is not the account holder's",
    CreditReason.NAME_MISMATCH: "nama berbeda dengan rekening / the name differs from the account's",
    CreditReason.ACCOUNT_NOT_ACTIVE: "rekening tidak aktif / the account is blocked or closed",
    CreditReason.EXCLUDED: "daftar pengecualian / the family is on the exclusion list",
    CreditReason.DUP_ROW: "baris ganda dalam SI / the same stage stands twice in this SI",
    CreditReason.ALREADY_PAID: "tahap atau bulan ini sudah dibayar / this stage or month was paid before",
}


@dataclass(frozen=True, slots=True)
class CreditRow:
    """What a row of the SI asks for; None where the row itself was not readable."""

    nik_index: bytes | None
    holder_name: str | None
    programme: str | None
    stage: str | None
    months: tuple[str, ...]
    amount_idr: int | None


@dataclass(frozen=True, slots=True)
class CreditAccount:
    """The account that the row names, as it stands now."""

    nik_index: bytes
    holder_name: str
    state: AccountState
    excluded: bool


def refuse_credit(
    row: CreditRow,
    account: CreditAccount | None,
    known: Mapping[str, int],
    paid: Mapping[str, set[str]],
    in_this_si: Mapping[str, set[str]],
) -> CreditReason | None:
    """The first reason not to credit, or None. PAID and IN_THIS_SI: programme -> stages and months of this account."""
    if (
        row.nik_index is None
        or row.stage is None
        or row.amount_idr is None
        or row.holder_name is None
        or not row.months
    ):
        return CreditReason.ROW_INVALID
    if row.programme is None or row.programme not in known:
        return CreditReason.PROGRAM_UNKNOWN
    if account is None:
        return CreditReason.ACCOUNT_NOT_FOUND
    if row.nik_index != account.nik_index:
        return CreditReason.NIK_MISMATCH
    if not same_person_name(row.holder_name, account.holder_name):
        return CreditReason.NAME_MISMATCH
    if account.state not in CREDITABLE:
        return CreditReason.ACCOUNT_NOT_ACTIVE
    if account.excluded:
        return CreditReason.EXCLUDED
    wanted = {row.stage, *row.months}
    if wanted & in_this_si.get(row.programme, set()):
        return CreditReason.DUP_ROW
    if wanted & paid.get(row.programme, set()):
        return CreditReason.ALREADY_PAID
    return None
