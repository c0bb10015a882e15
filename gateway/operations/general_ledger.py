"""The extract for the bank's general ledger: one business date, checked against the proof before a file is written.

A file that does not add up is never written: debits are the credits, balances add up to nothing, and every closing balance is
what the close of that day wrote, or, before it is closed, what control accounts and purses hold now less what moved since.
Columns: docs/money/settlement.md.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.files.result_file import write_result
from gateway.operations.bank import Bank, reading
from gateway.store import policy
from ledger import days, general_ledger
from ledger.chart import control_account
from ledger.proof import Check, control_balances

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ledger.general_ledger import GlLine

HEADER = ["TANGGAL_BUKU", "AKUN", "NAMA_AKUN", "PROGRAM", "SALDO_AWAL_D", "SALDO_AWAL_K", "MUTASI_D", "MUTASI_K",
          "SALDO_AKHIR_D", "SALDO_AKHIR_K"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extract:
    """The general ledger of a business date. FINAL: the date is over. PROGRAMMES: number -> code."""

    on: date
    final: bool
    lines: list[GlLine]
    checks: list[Check]
    programmes: dict[int, str]

    @property
    def debit_idr(self) -> int:
        """All debits of the date."""
        return sum(line.debit_idr for line in self.lines)

    @property
    def credit_idr(self) -> int:
        """All credits of the date."""
        return sum(line.credit_idr for line in self.lines)

    def programme_of(self, line: GlLine) -> str:
        """Code of the account's programme; its number where the programme has ended; nothing where there is none."""
        number = general_ledger.gl_parts(line.account)[1]
        return self.programmes.get(number, str(number) if number else "")

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


async def extract(bank: Bank, on: date) -> Extract:
    """Read and check the general ledger of a business date. Raises Refused for a date that has not begun, or is detached."""
    if on > bank.business_date:
        raise Refused(f"business date {on} has not begun: the business date is {bank.business_date}")
    async with reading(bank) as connection:
        detached = await days.detached_through(connection)
        if detached is not None and on <= detached:
            raise Refused(f"the journal of {on} is no longer at hand: it begins after {detached}")
        lines = await general_ledger.lines(connection, on)
        checks = await _checks(connection, on, lines)
        known = await policy.programmes(connection, on)
    return Extract(on, on < bank.business_date, lines, checks, {one.number: code for code, one in known.items()})


async def write(found: Extract, out: Path) -> int:
    """Write the extract as CSV or XLSX. Raises Refused where it does not add up; nothing is written then."""
    wrong = next((check for check in found.checks if not check.ok), None)
    if wrong is not None:
        raise Refused(f"the general ledger of {found.on} does not add up ({wrong.name}): no file is written")
    rows = [
        [str(found.on), str(line.account), name_of(line), found.programme_of(line), *_sides(line)]
        for line in found.lines
    ]
    return await asyncio.to_thread(write_result, out, HEADER, rows)


def name_of(line: GlLine) -> str:
    """The account's name for people."""
    control, _, phase = general_ledger.gl_parts(line.account)
    if control is not None:
        return control.name.lower().replace("_", " ")
    return f"purses, {phase.name.lower()}" if phase is not None else ""


async def _checks(connection: AsyncConnection, on: date, lines: list[GlLine]) -> list[Check]:
    debits, credits_ = sum(line.debit_idr for line in lines), sum(line.credit_idr for line in lines)
    opening, closing = sum(line.opening_idr for line in lines), sum(line.closing_idr for line in lines)
    checks = [
        Check("debits = credits", debits == credits_, f"debits Rp{debits:,}, credits Rp{credits_:,}"),
        Check("balances add up to nothing", opening == closing == 0, f"opening Rp{opening:,}, closing Rp{closing:,}"),
    ]
    found = {line.account: line.closing_idr for line in lines}
    known = await general_ledger.checkpoint(connection, on)
    if known is None:  # the day is not closed: compared with what there is now, less what moved since
        known = await general_ledger.purse_balances(connection)
        balances = await control_balances(connection, await days.last_closed(connection))
        known |= {control_account(control): amount for control, amount in balances.items()}
        found = _over_programmes(found, await general_ledger.moved_after(connection, on))
    differing = sorted(a for a in known.keys() | found.keys() if known.get(a, 0) != found.get(a, 0))
    for name, purses in (("control accounts = the proof's balances", False), ("purse accounts = the purses", True)):
        wrong = [str(account) for account in differing if (account >= general_ledger.PURSES) is purses]
        checks.append(Check(name, not wrong, ", ".join(wrong) or "holds"))
    return checks


def _over_programmes(*sums: dict[int, int]) -> dict[int, int]:
    """Added up; control accounts over all programmes, as the proof knows them."""
    total: dict[int, int] = defaultdict(int)
    for amounts in sums:
        for account, amount in amounts.items():
            control = general_ledger.gl_parts(account)[0]
            total[account if control is None else control_account(control)] += amount
    return total


def _sides(line: GlLine) -> list[str]:
    """Balances and movements by side, debit and credit: no number has a sign."""
    opening, closing = line.opening_idr, line.closing_idr
    amounts = (-opening, opening, line.debit_idr, line.credit_idr, -closing, closing)
    return [str(max(amount, 0)) for amount in amounts]
