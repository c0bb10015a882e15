"""Settlement on paper: the report of a date, positions over a span, and the list of agents and e-Warong, as CSV or XLSX.

No amount has a sign: what the partner is entitled to and what the bank is entitled to are columns of their own. Columns:
docs/money/settlement.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.files.result_file import write_result
from gateway.operations.bank import Bank, reading
from gateway.operations.result import in_pages, write_streamed
from gateway.operations.settlement import check_span, positions, settlement_of
from gateway.store import settlement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date
    from pathlib import Path

    from gateway.store.settlement import Payee, Position, Settlement

REPORT_HEADER = ["LINK", "TANGGAL_SETELMEN", "KANAL", "JENIS", "JUMLAH", "HAK_MITRA_RP", "HAK_BANK_RP", "STATUS", "BUKTI",
                 "TANGGAL_BAYAR"]  # fmt: skip
POSITION_HEADER = ["LINK", "KANAL", "DARI", "SAMPAI", "SALDO_AWAL_D", "SALDO_AWAL_K", "TRANSAKSI_RP", "DIKEMBALIKAN_RP",
                   "DIBAYAR_RP", "DITERIMA_RP", "SALDO_AKHIR_D", "SALDO_AKHIR_K"]  # fmt: skip
PAYEE_HEADER = ["LINK", "KANAL", "ACQUIRER", "MERCHANT", "TERMINAL", "JUMLAH", "NOMINAL_RP", "JUMLAH_DIKEMBALIKAN",
                "DIKEMBALIKAN_RP", "HAK_MITRA_RP", "HAK_BANK_RP", "BELUM_DIBAYAR_RP", "BELUM_DITERIMA_RP"]  # fmt: skip


async def write_report(bank: Bank, on: date, out: Path, link: str | None = None) -> int:
    """The report of a settlement date: a line for each link, channel and type, and the net. Returns how many lines."""
    found = await settlement_of(bank, on, link)
    return await asyncio.to_thread(write_result, out, REPORT_HEADER, [row for one in found for row in _report(one)])


async def write_positions(bank: Bank, first: date, last: date, out: Path) -> int:
    """Counterparty positions over a span of settlement dates. Returns how many lines."""
    found = await positions(bank, first, last)
    return await asyncio.to_thread(write_result, out, POSITION_HEADER, [_position(one, first, last) for one in found])


async def write_payees(
    bank: Bank, first: date, last: date, out: Path, link: str | None = None, *, unpaid: bool = False
) -> int:
    """What agents and e-Warong are owed over a span of closed dates; memory stays at a few pages. Returns how many lines."""
    check_span(first, last)
    async with reading(bank) as connection:
        rows = settlement.payees(connection, first, last, link, unpaid=unpaid)
        return await write_streamed(out, PAYEE_HEADER, in_pages(_payees(rows)))


async def payees(
    bank: Bank, first: date, last: date, link: str | None = None, *, unpaid: bool = False, most: int = 1_000
) -> list[Payee]:
    """The same as a list, at most so many lines of it."""
    check_span(first, last)
    found: list[Payee] = []
    async with reading(bank) as connection:
        async for one in settlement.payees(connection, first, last, link, unpaid=unpaid):
            if len(found) == most:
                break
            found.append(one)
    return found


def by_type(one: Settlement) -> list[tuple[str, int, int, int]]:
    """A settlement as (type, count, what the partner is entitled to, what the bank is entitled to), in rupiah."""
    return [
        ("TARIK_TUNAI", one.withdrawals, one.withdrawals_idr, 0),
        ("PEMBELIAN", one.purchases, one.purchases_idr, 0),
        ("PENYELESAIAN", one.completions, one.completions_idr, 0),
        ("PEMBATALAN", one.reversals, 0, one.reversals_idr),
        ("PENGEMBALIAN", one.refunds, 0, one.refunds_idr),
        ("KOREKSI", one.corrections, 0, one.corrections_idr),
        ("DITOLAK", one.declined, 0, 0),
    ]


def _report(one: Settlement) -> list[list[str]]:
    place = [one.link, str(one.settlement_date), one.channel]
    rows = [[*place, *map(str, line), one.state, "", ""] for line in by_type(one)]
    paid = "" if one.paid_on is None else str(one.paid_on)
    return [
        *rows,
        [*place, "NETO", str(one.taken + one.given_back), *_sides(one.net_idr), one.state, one.evidence or "", paid],
    ]


def _position(one: Position, first: date, last: date) -> list[str]:
    return [
        one.link, one.channel, str(first), str(last), *_sides(one.opening_idr)[::-1], str(one.taken_idr),
        str(one.given_back_idr), *_sides(one.paid_idr), *_sides(one.closing_idr)[::-1],
    ]  # fmt: skip


async def _payees(rows: AsyncIterator[Payee]) -> AsyncIterator[list[str]]:
    async for one in rows:
        yield [
            one.link, one.channel, one.acquirer, one.merchant, one.terminal, str(one.count), str(one.amount_idr),
            str(one.reversed), str(one.reversed_idr), *_sides(one.net_idr), *_sides(one.unpaid_idr),
        ]  # fmt: skip


def _sides(amount_idr: int) -> tuple[str, str]:
    """What the bank owes, and what is owed to the bank."""
    return str(max(amount_idr, 0)), str(max(-amount_idr, 0))
