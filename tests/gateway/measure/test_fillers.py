"""Tests of gateway.measure.fillers: copies are well-formed families, real ones stand evenly among them, and the proofs hold."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.errors import GatewayError
from gateway.measure import fillers, workbench
from gateway.operations import proof
from gateway.operations.bank import reading
from gateway.rules.issuing import SHAPES, account_number

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

ACCOUNTS, REAL_MAX, AMOUNT_IDR = 200, 40, 500_000


@pytest.mark.parametrize(
    ("accounts", "step"), [(100_000, 1), (100_001, 3), (500_000, 5), (5_000_000, 51), (10_000_000, 101)]
)
def test_real_families_stand_an_odd_number_apart(accounts: int, step: int) -> None:
    """So that they fall into every cell; no more of them are real than asked for."""
    assert step == fillers.step_for(accounts, 100_000)
    assert -(-accounts // step) <= 100_000


@pytest.mark.parametrize("bank_name", SHAPES)
async def test_account_numbers_of_copies(bank_name: str, engine: AsyncEngine) -> None:
    """SQL makes the number that the rule makes."""
    number = fillers.account_number_sql(bank_name, "n").format("branch")
    statement = text(f"SELECT {number} FROM (VALUES (CAST(:n AS bigint), :b)) v (n, branch)")
    async with engine.connect() as connection:
        for account_id in (1, 17, 987_654, 10_000_000):
            template = account_number(bank_name, "0217", 5)
            found = (await connection.execute(statement, {"n": account_id, "b": template})).scalar_one()
            assert account_number(bank_name, "0217", account_id) == found


async def test_a_bank_of_copies(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many accounts as asked for, every fifth real; everything proved; used again only where it is what is wanted."""
    monkeypatch.setattr(workbench, "REAL_MAX", REAL_MAX)
    monkeypatch.setattr(fillers, "ROWS_AT_ONCE", 60)  # several spans
    chosen = workbench.bench_settings(settings, "bench")
    async with workbench.furnished_bank(chosen, ACCOUNTS, AMOUNT_IDR) as (bank, wallet):
        assert len(wallet.cards) == REAL_MAX
        await _check(bank)
    wanted = workbench.Furnished.wanted(ACCOUNTS, AMOUNT_IDR)
    workbench.bench_settings(settings, "bench", wanted)
    said: list[str] = []
    async with workbench.furnished_bank(chosen, ACCOUNTS, AMOUNT_IDR, said.append) as (_, again):
        assert {card.pan.reveal() for card in wallet.cards} == {card.pan.reveal() for card in again.cards}
        assert ["using the 200 families of an earlier run"] == said
    workbench.bench_settings(settings, "bench", workbench.Furnished.wanted(ACCOUNTS + 1, AMOUNT_IDR))
    assert not (chosen.data_dir / "pg").exists()


async def _check(bank: Bank) -> None:
    async with reading(bank) as connection:
        row = (await connection.execute(FOUND)).one()
        assert (ACCOUNTS,) * 6 == tuple(row)[:6]
        assert (ACCOUNTS * AMOUNT_IDR, 16, 5) == (row.available, row.cells, row.step)
        numbers = list(await connection.execute(NUMBERS))
        positions = list((await connection.execute(POSITIONS)).scalars())
        assert all(number == account_number(bank.row.name, number[:4], account_id) for account_id, number in numbers)
    spans = -(-ACCOUNTS // 60)  # each lies in order; where it begins is the server's choice
    assert sum(before > after for before, after in pairwise(positions)) < spans
    checks = [*await proof.prove_ledger(bank), *await proof.verify_audit(bank)]
    assert [] == [check.name for check in checks if not check.ok]


async def test_real_families_that_stand_elsewhere_are_refused(bank: Bank) -> None:
    """Copies would meet them: nothing is touched."""
    async with bank.database.engine.begin() as connection:
        await connection.execute(text("INSERT INTO account VALUES (2, 2, '1', 'ACTIVE', '', '', '', current_date)"))
    with pytest.raises(GatewayError, match="1 of the real families have ids that are not 5 apart"):
        await fillers.multiply(bank, ACCOUNTS, 5, lambda _line: None)


FOUND = text("""
    SELECT (SELECT count(*) FROM account), (SELECT count(DISTINCT pan_index) FROM card WHERE state = 'ACTIVE'),
           (SELECT count(DISTINCT nik_index) FROM family), (SELECT count(*) FROM tranche),
           (SELECT count(*) FROM transfer WHERE kind = 'CREDIT'), (SELECT count(*) FROM purse),
           (SELECT sum(available_idr) FROM purse) AS available, (SELECT count(DISTINCT cell) FROM account) AS cells,
           (SELECT min(b - a) FROM (SELECT account_id AS b, lag(account_id) OVER (ORDER BY account_id) AS a
                                    FROM card WHERE handed_over_by = 'bench') x) AS step
""")
NUMBERS = text("SELECT id, number FROM account")
POSITIONS = text("SELECT account_id FROM card ORDER BY ctid")
