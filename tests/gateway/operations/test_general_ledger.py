"""Tests of gateway.operations.general_ledger: to the rupiah, or no file."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Refused
from gateway.operations import day, general_ledger
from gateway.operations.settlement import close_all, order_payment, pay_settlement
from tests.gateway.operations.test_settlement import LINK, two_days
from tests.gateway.owner import as_owner
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

ONE_DAY = timedelta(days=1)


async def test_the_extract_of_each_day(bank: Bank, tmp_path: Path) -> None:
    """Openings are the closings of the day before, debits are credits, every balance is known, and the file says the same."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
        await close_all(bank, "siti", first)
        await order_payment(bank, "siti", LINK, first, "TRF-1")
        await pay_settlement(bank, "budi", LINK, first)
    day_one, day_two, day_three = [await general_ledger.extract(bank, on) for on in (first, second, bank.business_date)]
    assert {
        1000: (0, 1_200_000, 0, -1_200_000),
        2002: (0, 1_200_000, 1_200_000, 0),
        3000: (0, 0, 107_000, 107_000),
        4000: (0, 0, 70_000, 70_000),
        5000: (0, 0, 30_000, 30_000),
        90020: (0, 257_000, 1_210_000, 953_000),
        90021: (0, 10_000, 50_000, 40_000),
    } == {one.account: (one.opening_idr, one.debit_idr, one.credit_idr, one.closing_idr) for one in day_one.lines}
    assert {
        1000: (-1_200_000, 0, 0, -1_200_000),
        3000: (107_000, 40_000, 0, 67_000),
        4000: (70_000, 0, 0, 70_000),
        5000: (30_000, 12_000, 34_000, 52_000),
        90020: (953_000, 9_000, 67_000, 1_011_000),
        90021: (40_000, 40_000, 0, 0),
    } == {one.account: (one.opening_idr, one.debit_idr, one.credit_idr, one.closing_idr) for one in day_two.lines}
    assert {3000: 100_000, 4000: 70_000, 5000: 30_000} == {
        one.account: one.debit_idr for one in day_three.lines if one.debit_idr
    }
    assert [(True, True), (True, True), (True, False)] == [(one.ok, one.final) for one in (day_one, day_two, day_three)]
    out = tmp_path / "gl.csv"
    assert 6 == await general_ledger.write(day_two, out)
    with out.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = list(csv.reader(file, delimiter=";"))
    assert general_ledger.HEADER == header
    assert [str(second), "1000", "treasury", "", "1200000", "0", "0", "0", "1200000", "0"] == rows[0]
    assert [
        str(second),
        "90020",
        "purses, available",
        "SEMBAKO",
        "0",
        "953000",
        "9000",
        "67000",
        "0",
        "1011000",
    ] == rows[4]
    columns = [sum(int(row[place]) for row in rows) for place in range(4, 10)]
    assert columns[::2] == columns[1::2]


async def test_a_date_that_has_not_begun(bank: Bank) -> None:
    """It is refused; an empty bank's own date is empty and adds up."""
    with pytest.raises(Refused, match="has not begun"):
        await general_ledger.extract(bank, bank.business_date + ONE_DAY)
    found = await general_ledger.extract(bank, bank.business_date)
    assert ([], True, False) == (found.lines, found.ok, found.final)


async def test_what_does_not_add_up_is_not_written(bank: Bank, tmp_path: Path) -> None:
    """A purse or a transfer changed by a rupiah, today or long before, fails its check and leaves the old file as it was."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
    out = tmp_path / "gl.csv"
    out.write_text("the old one", encoding="utf-8")
    for change, back, check in (
        ("UPDATE purse SET available_idr = available_idr + 1", "- 1", "purse accounts = the purses"),
        (
            "UPDATE transfer SET amount_idr = amount_idr + 1 WHERE kind = 'WITHDRAWAL'",
            "- 1",
            "purse accounts = the purses",
        ),
    ):
        await as_owner(bank, change)
        for on in (first, second):
            found = await general_ledger.extract(bank, on)
            assert [check] == [one.name for one in found.checks if not one.ok]
            with pytest.raises(Refused, match=f"the general ledger of {on} does not add up"):
                await general_ledger.write(found, out)
        await as_owner(bank, change.replace("+ 1", back))
    assert "the old one" == out.read_text(encoding="utf-8")
    assert (await general_ledger.extract(bank, second)).ok


async def test_a_closed_day_is_compared_with_what_its_close_wrote(bank: Bank, tmp_path: Path) -> None:
    """The extract is the same before and after the days are closed; a checkpoint that was changed is found."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
    before = [(await general_ledger.extract(bank, on)).lines for on in (first, second, bank.business_date)]
    await day.close(bank, "siti", second, ())
    after = [await general_ledger.extract(bank, on) for on in (first, second, bank.business_date)]
    assert before == [one.lines for one in after]
    assert [True] * 3 == [one.ok for one in after]
    await as_owner(bank, "UPDATE control_checkpoint SET balance_idr = balance_idr + 1 WHERE account = 3000")
    wrong = {
        on: [one.name for one in (await general_ledger.extract(bank, on)).checks if not one.ok]
        for on in (first, second)
    }
    assert {"control accounts = the proof's balances"} == set(wrong[first])
    assert "balances add up to nothing" in wrong[second]


async def test_a_detached_date_is_refused(bank: Bank) -> None:
    """What the journal no longer holds cannot be extracted."""
    await as_owner(bank, "UPDATE journal_opening SET detached_through = :on", on=bank.business_date - ONE_DAY)
    with pytest.raises(Refused, match="is no longer at hand"):
        await general_ledger.extract(bank, bank.business_date - ONE_DAY)
