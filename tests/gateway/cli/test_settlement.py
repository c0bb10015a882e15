"""Tests of gateway.cli.settlement: a partner's day from the till to the transfer, as a person types it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.settings import load_settings
from tests.gateway.operations.test_settlement import two_days
from tests.gateway.owner import as_owner
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from tests.gateway.cli.shell import Shell


def _two_days(folder: Path) -> tuple[date, date]:
    async def work() -> tuple[date, date]:
        async with open_bank(load_settings()) as bank, open_till(bank, folder) as till:
            return await two_days(till)

    return asyncio.run(work())


def _tamper(statement: str) -> None:
    async def work() -> None:
        async with open_bank(load_settings()) as bank:
            await as_owner(bank, statement)

    asyncio.run(work())


def test_a_partners_day(shell: Shell, tmp_path: Path) -> None:
    """Close, show, order, pay by another person, list, report, positions, payables, verify: what each says, and refusals."""
    first, second = _two_days(tmp_path)
    date_ = ("--date", str(first))
    assert "is not closed: `kks settlement close`" in shell.refused("settlement", "order", *date_, "--evidence", "T-1")
    opened = shell.json("settlement", "list", "--open")["settlements"]
    assert ["OPEN"] * 5 == [one["state"] for one in opened]
    assert [] == shell.json("settlement", "list")["settlements"]
    closed = shell.json("settlement", "close", *date_, "--as", "siti")["settlements"]
    assert {"ATM": 100_000, "AGENT": 70_000, "EWARONG": 30_000} == {one["channel"]: one["net_idr"] for one in closed}
    assert closed == shell.json("settlement", "close", *date_, "--link", "himbara", "--as", "budi")["settlements"]
    assert closed == shell.json("settlement", "show", *date_)["settlements"]
    shown = shell.text("settlement", "show", *date_)
    assert all(word in shown for word in ("ATM CLOSED", "withdrawals", "Rp100.000", "net"))
    assert "refunds" not in shown
    assert "refunds" in shell.text("settlement", "show")  # the day before the bank's: the second
    assert "was not ordered yet" in shell.refused("settlement", "pay", *date_, "--as", "budi")
    shell.json("settlement", "order", *date_, "--evidence", "TRF-7", "--as", "siti")
    assert "another person must pay it" in shell.refused("settlement", "pay", *date_, "--as", "siti")
    assert "TRF-7" in shell.text("settlement", "pay", *date_, "--channel", "agent", "--as", "budi")
    paid = shell.json("settlement", "pay", *date_, "--as", "budi")["settlements"]
    assert [("PAID", "budi")] * 3 == [(one["state"], one["paid_by"]) for one in paid]
    assert "is paid already" in shell.refused("settlement", "pay", *date_, "--as", "budi")
    assert "siti, budi" in shell.text("settlement", "list")
    shell.json("settlement", "close", "--as", "siti")
    positions = shell.json("settlement", "positions", "--out", str(tmp_path / "p.csv"))["positions"]
    assert [("ATM", -33_000), ("AGENT", 0), ("EWARONG", 22_000)] == [
        (one["channel"], one["closing_idr"]) for one in positions
    ]
    assert "-Rp33.000" in shell.text("settlement", "positions", "--open")
    until = shell.text("settlement", "positions", "--from", str(first), "--to", str(second))  # paid on the day after
    assert "Rp67.000" in until
    assert "Rp100.000" not in until
    payables = shell.json("settlement", "payables", "--unpaid", "--out", str(tmp_path / "y.xlsx"))
    assert (2, 2, False) == (len(payables["payables"]), payables["rows"], payables["more"])
    assert "TOKO2" in shell.text("settlement", "payables")
    assert 16 == shell.json("settlement", "report", "--out", str(tmp_path / "r.csv"))["rows"]
    assert "lines written to" in shell.text("settlement", "report", *date_, "--out", str(tmp_path / "r.xlsx"))
    assert {"p.csv", "y.xlsx", "r.csv", "r.xlsx"} <= {path.name for path in tmp_path.iterdir()}
    assert shell.json("settlement", "verify")["ok"]
    assert "ok" in shell.text("settlement", "verify", "--since", str(first))
    assert shell.json("ledger", "proof")["ok"]


def test_the_general_ledger(shell: Shell, tmp_path: Path) -> None:
    """The table, the file and the checks; exit 1, one line and no file where it does not add up."""
    first, second = _two_days(tmp_path)
    out = tmp_path / "gl.csv"
    found = shell.json("settlement", "gl", "--date", str(first), "--out", str(out))
    assert (True, True, 7, found["credit_idr"]) == (found["ok"], found["final"], found["rows"], found["debit_idr"])
    shown = shell.text("settlement", "gl", "--out", str(out))
    assert all(word in shown for word in (str(second), "ewarong payable", "purses, held", "Rp67.000 K"))
    today = shell.json("day", "show")["business_date"]
    assert "is not over: these figures will change" in shell.text(
        "settlement", "gl", "--date", today, "--out", str(out)
    )
    out.unlink()
    _tamper("UPDATE purse SET available_idr = available_idr + 1")
    line = shell.refused("settlement", "gl", "--out", str(out))
    assert line == f"the general ledger of {second} does not add up: {out} is not written"
    assert not shell.json("settlement", "gl", "--out", str(out), code=1)["ok"]
    assert not out.exists()
    shell.usage("settlement", "gl")


def test_what_was_changed_is_found(shell: Shell, tmp_path: Path) -> None:
    """`verify` says what differs in one line, exit 1; wrong dates are one line too."""
    first, _ = _two_days(tmp_path)
    shell.json("settlement", "close", "--date", str(first), "--as", "siti")
    _tamper("UPDATE settlement_payee SET amount_idr = amount_idr + 1 WHERE merchant = 'AGEN1'")
    line = shell.refused("settlement", "verify")
    assert line.startswith("every closed settlement = its authorisations does not hold: AGENT of")
    assert "merchant AGEN1 terminal A1" in line
    assert not shell.json("settlement", "verify", code=1)["ok"]
    assert "'soon' is not a date" in shell.refused("settlement", "show", "--date", "soon")
    assert "ends after it begins" in shell.refused("settlement", "list", "--from", "2026-11-02", "--to", "2026-11-01")
    assert "is not over" in shell.refused("settlement", "close", "--date", "2099-01-01", "--link", "himbara")
