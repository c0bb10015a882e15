"""Judges one row of a standing instruction (SI): a credit to be made, or everything that is wrong with it.

Pure. Whether the sum equals the SP2D, and whether the account may be credited, needs the other rows and the database
(gateway.operations). Read next: gateway.rules.findings, gateway.rules.allocation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.rules.findings import Finding, Reason, Severity, found, mask_name, mask_number, mask_text
from gateway.rules.kpm import KpmPolicy, ProgrammeFacts, parse_region
from gateway.rules.names import tidy
from gateway.rules.nik import judge_nik, trim

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True, eq=False)
class InstructionPolicy:
    """The configurable part. Amounts in rupiah; `programmes` maps the spelling in a list to its facts.

    Compared by identity, so that what a cell means under it is worked out once: make one and keep it.
    """

    programmes: Mapping[str, ProgrammeFacts] = field(default_factory=lambda: KpmPolicy().programmes)
    max_amount_idr: int = 100_000_000
    account_digits: tuple[int, int] = (8, 20)
    max_months: int = 12


class Instruction(NamedTuple):
    """A credit asked for. `months` are "2026-10" in order, `stage` is "2026-T4", `region` is "" where not given."""

    nik: str
    account: str
    name: str
    programme: str
    stage: str
    months: tuple[str, ...]
    amount_idr: int
    region: str

    def __repr__(self) -> str:
        return (
            f"Instruction(nik={mask_number(self.nik)!r}, account={mask_number(self.account)!r},"
            f" name={mask_name(self.name)!r}, programme={self.programme!r}, stage={self.stage!r},"
            f" months={self.months!r}, amount_idr={self.amount_idr})"
        )


def check_instruction(
    values: Mapping[str, str], policy: InstructionPolicy, *, numeric: Collection[str] = (), surplus: int = 0
) -> tuple[Instruction | None, tuple[Finding, ...]]:
    """Judge a row and collect all its findings; the instruction is None where one of them is an error.

    `values` by column name, `numeric` the columns a spreadsheet stored as numbers, `surplus` the filled cells beyond the
    header.
    """
    findings: list[Finding] = []
    if surplus:
        findings.append(found(Reason.ROW_MALFORMED, "", f"+{surplus}"))
    nik = _nik(values.get("NIK", ""), "NIK" in numeric, findings)
    account = _account(values.get("NO_REKENING", ""), policy, findings)
    name = _name(values.get("NAMA", ""), findings)
    paid = _payment(
        values.get("PROGRAM", ""), values.get("TAHAP", ""), values.get("BULAN", ""), values.get("NOMINAL", ""),
        "NOMINAL" in numeric, policy,
    )  # fmt: skip
    findings += paid.findings
    region = _region(values.get("KODE_WILAYAH", ""), findings)
    if findings and any(finding.severity is Severity.ERROR for finding in findings):
        return None, tuple(findings)
    wanted = Instruction(nik, account, name, paid.programme, paid.stage, paid.months, paid.amount_idr, region)
    return wanted, tuple(findings)


class _Payment(NamedTuple):
    """What a row pays, the same for most rows of a list."""

    programme: str
    stage: str
    months: tuple[str, ...]
    amount_idr: int
    findings: tuple[Finding, ...]


@lru_cache(maxsize=4_096)
def _payment(
    programme: str,
    stage: str,
    months: str,
    amount: str,
    amount_is_number: bool,  # noqa: FBT001 a fact of the cell beside it
    policy: InstructionPolicy,
) -> _Payment:
    findings: list[Finding] = []
    code = _programme(programme, policy, findings)
    told = _stage(stage, findings), _months(months, policy, findings)
    amount_idr = _amount(amount, amount_is_number, policy, findings)
    return _Payment(code, *told, amount_idr, tuple(findings))


_AMOUNT = re.compile(r"(?:RP\.?\s*)?([0-9]{1,3}(?:\.[0-9]{3})+|[0-9]{1,15})(?:[.,]00|,0|,-)?", re.IGNORECASE)


def parse_amount(value: str) -> int | None:
    """Whole rupiah from 600000, 600.000, Rp600.000, Rp 600.000,00 or Rp600.000,-; None for anything else.

    A point groups thousands as Indonesia writes them; a fraction may only be 00, since aid is whole rupiah.
    """
    text = value.strip()
    match = _AMOUNT.fullmatch(text) if len(text) <= _MAX_AMOUNT_CHARS else None
    return int(match[1].replace(".", "")) if match else None


_MAX_AMOUNT_CHARS = 32


def _amount(value: str, is_number: bool, policy: InstructionPolicy, findings: list[Finding]) -> int:  # noqa: FBT001 a fact of the cell beside it
    amount_idr = parse_amount(value)
    if is_number and not value.isdigit():
        amount_idr = None
    if amount_idr is None or not 0 < amount_idr <= policy.max_amount_idr:
        findings.append(found(Reason.AMOUNT_INVALID, "NOMINAL", mask_text(value)))
        return 0
    return amount_idr


def _nik(value: str, is_number: bool, findings: list[Finding]) -> str:  # noqa: FBT001 a fact of the cell beside it
    nik = trim(value)
    if wrong := judge_nik(nik, stored_as_number=is_number):
        findings.append(found(wrong, "NIK", mask_number(nik)))
    return nik


_DIGITS = re.compile(r"[0-9]+")


def _account(value: str, policy: InstructionPolicy, findings: list[Finding]) -> str:
    account = trim(value)
    shortest, longest = policy.account_digits
    if not _DIGITS.fullmatch(account) or not shortest <= len(account) <= longest:
        findings.append(found(Reason.ACCOUNT_INVALID, "NO_REKENING", mask_number(account)))
    return account


_MAX_NAME = 100


def _name(value: str, findings: list[Finding]) -> str:
    name = tidy(value)
    if not name.isupper() and not any(char.isalpha() for char in name):
        findings.append(found(Reason.NAME_MISSING, "NAMA", mask_text(value)))
    elif len(name) > _MAX_NAME:
        findings.append(found(Reason.DATA_INVALID, "NAMA", mask_name(name)))
    return name


def _programme(value: str, policy: InstructionPolicy, findings: list[Finding]) -> str:
    facts = policy.programmes.get(value.strip().upper())
    if facts is None:
        findings.append(found(Reason.PROGRAM_UNKNOWN, "PROGRAM", mask_text(value)))
        return ""
    return facts.code


_STAGE = re.compile(r"[0-9]{4}-[A-Z]+[0-9]{1,2}")


def _stage(value: str, findings: list[Finding]) -> str:
    stage = value.strip().upper()
    if not _STAGE.fullmatch(stage):
        findings.append(found(Reason.STAGE_INVALID, "TAHAP", mask_text(value)))
    return stage


_MONTH = re.compile(r"([0-9]{4}-(?:0[1-9]|1[0-2]))(?:-01)?")
_BETWEEN_MONTHS = re.compile(r"[\s,;+]+")


def parse_months(value: str) -> tuple[str, ...] | None:
    """Months in order from 2026-10,2026-11 (also ; + or space between); None if one is none or stands twice.

    A spreadsheet may have made the first of the month of a single month: 2026-10-01 is 2026-10.
    """
    words = [word for word in _BETWEEN_MONTHS.split(value.strip()) if word]
    matches = [_MONTH.fullmatch(word) for word in words]
    months = sorted(match[1] for match in matches if match)
    if not words or len(set(months)) != len(words):
        return None
    return tuple(months)


def _months(value: str, policy: InstructionPolicy, findings: list[Finding]) -> tuple[str, ...]:
    months = parse_months(value)
    if months is None or len(months) > policy.max_months:
        findings.append(found(Reason.MONTH_INVALID, "BULAN", mask_text(value)))
        return ()
    return months


def _region(value: str, findings: list[Finding]) -> str:
    """Only a warning: the money follows the account, not the region of the row."""
    region = parse_region(value) if value.strip() else ""
    if region is None:
        findings.append(found(Reason.REGION_INVALID, "KODE_WILAYAH", mask_text(value), severity=Severity.WARNING))
        return ""
    return region
