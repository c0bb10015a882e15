"""Tests of gateway.operations.settlement_report: the files a partner and a bank's finance department read."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.files.table import open_table
from gateway.operations import settlement_report
from gateway.operations.settlement import close_all, order_payment, pay_settlement
from gateway.operations.settlement_report import (
    PAYEE_HEADER,
    POSITION_HEADER,
    REPORT_HEADER,
    payees,
    write_payees,
    write_positions,
    write_report,
)
from tests.gateway.operations.test_settlement import LINK, two_days
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=";"))


async def test_the_report_of_a_date(bank: Bank, tmp_path: Path) -> None:
    """A line for each channel and type, the net on its side without a sign, and how it was paid; the same as a workbook."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
    await close_all(bank, "siti", second)
    await order_payment(bank, "siti", LINK, second, "TRF-2")
    await pay_settlement(bank, "budi", LINK, second)
    out = tmp_path / "report.csv"
    count = await write_report(bank, second, out)
    header, *rows = _read(out)
    assert (REPORT_HEADER, count) == (header, len(rows))
    paid = str(bank.business_date)
    told = {(row[2], row[3]): row[4:] for row in rows}
    assert ["1", "7000", "0", "PAID", "", ""] == told["ATM", "TARIK_TUNAI"]
    assert ["1", "0", "40000", "PAID", "", ""] == told["ATM", "PEMBATALAN"]
    assert ["2", "0", "33000", "PAID", "TRF-2", paid] == told["ATM", "NETO"]
    assert ["1", "25000", "0", "PAID", "", ""] == told["EWARONG", "PENYELESAIAN"]
    assert ["1", "0", "12000", "PAID", "", ""] == told["EWARONG", "PENGEMBALIAN"]
    assert ["3", "22000", "0", "PAID", "TRF-2", paid] == told["EWARONG", "NETO"]
    workbook = tmp_path / "report.xlsx"
    await write_report(bank, second, workbook, LINK)
    assert rows == [list(row.cells) for row in open_table(workbook).rows()]
    await write_report(bank, first, out)
    assert {"OPEN"} == {row[7] for row in _read(out)[1:]}
    with pytest.raises(NotFound, match="no authorisation has the settlement date"):
        await write_report(bank, second, out, "other")


async def test_positions_and_payees(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions balance line by line; payees are each agent and e-Warong with what is not paid; a wrong span is refused."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
    await close_all(bank, "siti", first)
    await close_all(bank, "siti", second)
    await order_payment(bank, "siti", LINK, first, "TRF-1", "EWARONG")
    await pay_settlement(bank, "budi", LINK, first, "EWARONG")
    out = tmp_path / "out.csv"
    assert 3 == await write_positions(bank, first, bank.business_date, out)
    header, *rows = _read(out)
    assert POSITION_HEADER == header
    for row in rows:
        before_d, before_k, taken, back, paid, got, after_d, after_k = map(int, row[4:])
        assert before_k - before_d + taken - back - paid + got == after_k - after_d
    assert ["107000", "40000", "0", "0", "0", "67000"] == rows[0][6:]
    assert ["64000", "12000", "30000", "0", "0", "22000"] == rows[2][6:]
    monkeypatch.setattr(settlement_report, "PAGE", 3)  # the list is longer than a page
    assert 4 == await write_payees(bank, first, second, out)
    header, *rows = _read(out)
    assert PAYEE_HEADER == header
    assert [LINK, "EWARONG", "000002", "TOKO1", "E1", "2", "39000", "1", "12000", "27000", "0", "0", "3000"] == rows[2]
    assert [LINK, "EWARONG", "000002", "TOKO2", "E2", "1", "25000", "0", "0", "25000", "0", "25000", "0"] == rows[3]
    assert ["AGEN1", "AGEN2"] == [one.merchant for one in await payees(bank, first, first, unpaid=True)]
    assert ["AGEN1"] == [one.merchant for one in await payees(bank, first, second, most=1)]
    assert [] == await payees(bank, first, second, "other")
    for wrong in (write_payees(bank, second, first, out), write_positions(bank, second, first, out)):
        with pytest.raises(Refused, match="a span of dates ends after it begins"):
            await wrong
