"""Tests of gateway.operations.partner_totals: two partner's days, and what a partner says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations import desk, partner_totals
from gateway.operations.bank import reading
from gateway.operations.desk import Asked
from gateway.operations.partner_totals import our_totals, reconcile
from gateway.operations.settlement import ONE_DAY, close_settlement
from gateway.rules.authorise import RequestKind
from gateway.rules.partner_totals import Totals
from tests.gateway.operations.test_settlement import two_days
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank

FIRST = Totals(debits=4, debits_idr=200_000, authorisations=2)
SECOND = Totals(
    credits=1, credits_idr=12_000, debits=3, debits_idr=41_000, debit_reversals=1, debit_reversals_idr=40_000
)


def _write(ours: Totals) -> dict[int, str]:
    return {76: str(ours.debits)}


async def _said(bank: Bank, on: date, theirs: dict[str, int], mti: str = "0500", key: str = "") -> dict[int, str]:
    asked = Asked("himbara", mti, key or repr((on, theirs, mti)), repr(theirs).encode())
    return await reconcile(bank, asked, on, theirs, _write)


async def test_totals_of_two_days(bank: Bank, tmp_path: Path) -> None:
    """Open and closed a date comes to the same; the whole and a part of it are in balance; a net below zero we owe."""
    async with open_till(bank, tmp_path) as till:
        first, second = await two_days(till)
        for _ in range(2):
            async with reading(bank) as connection:
                assert [FIRST, SECOND, Totals()] == [
                    await our_totals(connection, "himbara", on) for on in (first, second, second + ONE_DAY)
                ]
            await close_settlement(bank, "siti", "himbara", first)
            await close_settlement(bank, "siti", "himbara", second)
        assert 12_000 + 40_000 - 41_000 == SECOND.net_idr
        assert {76: "4", 66: "1", 39: "00"} == await _said(bank, first, FIRST.told())
        assert {76: "3", 66: "1", 39: "00"} == await _said(bank, second, {"net_idr": SECOND.net_idr})
        assert [] == await desk.listed(bank, 10)
        (told,) = await partner_totals.told_of(bank, first)
        assert (FIRST.told(), FIRST.told(), True) == (told.theirs, told.ours, told.in_balance)


async def test_out_of_balance_is_for_people(bank: Bank, tmp_path: Path) -> None:
    """95 and DE66 2 to a request, 00 to an advice; the difference is named; a repeat gets the answer of then."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        await till.ask(RequestKind.CASH, 50_000)
        wrong = {"debits": 2, "debits_idr": 50_000}
        assert {76: "1", 66: "2", 39: "95"} == await _said(bank, today, wrong, key="k")
        await till.ask(RequestKind.CASH, 10_000)
        assert {76: "1", 66: "2", 39: "95"} == await _said(bank, today, wrong, key="k")
        assert {39: "94"} == await _said(bank, today, {"debits": 2}, key="k")
        assert {76: "2", 66: "2", 39: "00"} == await _said(bank, today, {"debits_idr": 1}, "0520")
    waiting = await desk.listed(bank, 10)
    assert ["out of balance: debits 2 and ours 1", "out of balance: debits_idr 1 and ours 60000"] == [
        one.trouble for one in waiting
    ]
    assert [False, False] == [one.in_balance for one in await partner_totals.told_of(bank, today, "himbara")]
    assert [] == await partner_totals.told_of(bank, today, "alto")


async def test_nothing_told_and_a_date_to_come(bank: Bank) -> None:
    """Who tells nothing asks for ours, and nothing is compared; a date after the partner's next is an error."""
    today = bank.business_date
    assert {76: "0", 39: "00"} == await _said(bank, today, {})
    assert {76: "0", 66: "1", 39: "00"} == await _said(bank, today + ONE_DAY, {"debits": 0})
    assert {66: "3", 39: "30"} == await _said(bank, today + 2 * ONE_DAY, {"debits": 0})
    assert ["totals of a date to come"] == [one.trouble for one in await desk.listed(bank, 10)]
