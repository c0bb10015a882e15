"""Tests of gateway.store.papers: a rupiah changed in a paper touched since a closed day fails the check that compares it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.operations import correction, day, dormancy, proof
from gateway.operations.bank import reading
from gateway.operations.setup import move_business_date
from gateway.store import papers
from ledger.chart import Control
from ledger.proof import control_balances
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import assert_proved, open_street
from tests.gateway.world import CHECKER, MAKER, credit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

ONE_DAY = timedelta(days=1)
SI_ROWS, SI_FUNDS, BY_TRANSFER, BY_CORRECTION = (f"{name} (" for name in (
    papers.SI_ROWS, papers.SI_FUNDS, papers.BY_TRANSFER, papers.BY_CORRECTION
))  # fmt: skip
RPL = "RPL account"
DRAWN = "authorisation SET amounts_idr[1] = amounts_idr[1]"
TWIN = "(SELECT id FROM transfer WHERE kind = 'PURCHASE')"
# What is changed, where, to what and back, and which checks since the close find it. SI-1 is of the closed day, SI-2 of now.
CHANGES: tuple[tuple[str, str, tuple[str, str], set[str]], ...] = (
    ("si_row SET amount_idr = amount_idr {}", "si_id = 2", ("+ 1", "- 1"), {SI_ROWS}),
    ("si_row SET amount_idr = amount_idr {}", "si_id = 1", ("+ 1", "- 1"), set()),
    ("tranche SET si_id = {}", "stage = '2027-T1'", ("1", "2"), {SI_ROWS}),
    ("sp2d SET amount_idr = amount_idr {}", "no = 'SP2D-SI-2'", ("- 1", "+ 1"), {SI_FUNDS}),
    ("sp2d SET amount_idr = amount_idr {}", "no = 'SP2D-SI-2'", ("+ 1", "- 1"), {SI_FUNDS}),
    ("si SET state = {}", "si_no = 'SI-2'", ("'PROPOSED'", "'POSTED'"), {SI_FUNDS}),
    (f"{DRAWN} {{}}", "kind = 'CASH' AND amount_idr = 70000", ("+ 1", "- 1"), {BY_TRANSFER}),
    (f"{DRAWN} {{}}", "kind = 'REVERSAL'", ("+ 1", "- 1"), {BY_TRANSFER}),
    ("authorisation SET transfer_ids = {}", "kind = 'PURCHASE'", ("'{}'", f"ARRAY[{TWIN}]"), {BY_TRANSFER}),
    ("authorisation SET channel = {}", "kind = 'PURCHASE'", ("'ATM'", "'EWARONG'"), {BY_TRANSFER}),
    ("authorisation SET id = id {}", "kind = 'COMPLETION'", ("+ 5000", "- 5000"), {BY_TRANSFER}),
    ("correction SET amount_idr = amount_idr {}", "true", ("+ 1", "- 1"), {BY_CORRECTION}),
    ("treasury_return SET amount_idr = amount_idr {}", "true", ("+ 1", "- 1"), {RPL}),
)  # fmt: skip


async def _after_a_close(bank: Bank, folder: Path) -> None:
    """One day with a credit and a withdrawal, closed; then another SI, payments of each kind, a correction, an RPL debit."""
    async with open_street(bank, folder, 2) as street:
        await street.atm.withdraw(street.card, 50_000)
        on = bank.business_date + 106 * ONE_DAY
        await move_business_date(bank, MAKER, on)
        await day.close(bank, MAKER, on - ONE_DAY, ())
        await credit(bank, folder, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        await street.atm.reverse(await street.atm.withdraw(street.card, 70_000), kept_idr=30_000)
        await street.shop.complete(await street.shop.hold(street.card, 20_000), 15_000)
        await street.shop.reverse(await street.shop.hold(street.card, 11_000))
        await street.shop.purchase(street.card, 9_000)
    account = street.families[1]
    wrong = await one_value(
        bank, f"SELECT id FROM transfer WHERE account_id = {account.family_id} AND source_id = 2 AND source = 'si'"
    )
    await correction.take_back(bank, MAKER, CHECKER, account.account_number, wrong, "a letter", 5_000)
    await dormancy.freeze_unused(bank, on, 1)
    await dormancy.debit_to_rpl(bank, on, 1)


async def _wrong(bank: Bank, *, whole: bool = False) -> list[str]:
    """The checks of papers that do not hold: since the last close, or of the whole."""
    closed = await proof.proven_from(bank)
    assert closed is not None
    async with reading(bank) as connection:
        rpl = (await control_balances(connection, None))[Control.RPL]
        checks = papers.check_all(connection, rpl) if whole else papers.check_since(connection, closed, rpl)
        return [one.name for one in await checks if not one.ok]


async def test_papers_touched_since_a_close_are_compared(bank: Bank, tmp_path: Path) -> None:
    """Each change fails just its check, until it is put back; what was not touched is the whole proof's."""
    await _after_a_close(bank, tmp_path)
    await assert_proved(bank)
    for change, where, (wrong, right), expected in CHANGES:
        await as_owner(bank, f"UPDATE {change.format(wrong)} WHERE {where}")
        found = await _wrong(bank)
        assert len(expected) == len(found), (change, found)
        assert all(any(name.startswith(one) for one in expected) for name in found), (change, found)
        await as_owner(bank, f"UPDATE {change.format(right)} WHERE {where}")
    await assert_proved(bank)


@pytest.mark.parametrize("whole", [False, True])
async def test_payments_that_were_booked_and_not_authorised_are_found(bank: Bank, tmp_path: Path, whole: bool) -> None:  # noqa: FBT001 - a column
    """An authorisation that is gone leaves its transfers without a paper."""
    await _after_a_close(bank, tmp_path)
    await as_owner(bank, "DELETE FROM authorisation WHERE kind = 'PURCHASE'")
    assert [papers.BY_TRANSFER if whole else f"{papers.BY_TRANSFER} (since)"] == await _wrong(bank, whole=whole)


async def test_old_months_are_left_alone(bank: Bank, tmp_path: Path) -> None:
    """The checks since a closed day read no partition before its month."""
    await _after_a_close(bank, tmp_path)
    closed = await proof.proven_from(bank)
    assert closed is not None
    async with bank.database.engine.begin() as connection:
        await connection.execute(text("SELECT make_partitions('2026-01-01', '2026-12-01')"))
        for statement in papers.SINCE.values():
            literal = statement.replace("CAST(:since AS date)", f"DATE '{closed}'")
            plan = "\n".join(line for (line,) in await connection.execute(text(f"EXPLAIN (ANALYZE) {literal}")))
            read = [line for line in plan.split("\n") if "_2026_0" in line or "_2026_10" in line]
            assert [] == [line for line in read if "never executed" not in line], plan
