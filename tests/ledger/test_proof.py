"""Twin of ledger.proof: it holds on an honest book and finds each way of tampering with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ledger import book, proof
from ledger.chart import Control
from ledger.posting import Draw, Kind, fund, reverse, spend
from tests.ledger.history import History, new_tranche, source
from tests.ledger.model import FAMILIES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

ANN, BUDI = FAMILIES[:2]
PURSE, TRANCHE = "every purse equals its journal", "every tranche equals its journal"
BOTH, BELOW_ZERO = "every purse equals its tranches", "nothing is below zero"
REVERSALS, CLOSED = "no reversal takes back more than its transfer", "funds entered = returned + remaining + paid out"
OF_ANN = "WHERE account_id = 19"
REVERSE_MORE = f"""
    INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, tranche_id, corrects,
                          business_date)
    SELECT cell, account_id, 900, credit, debit, amount_idr + 1, 'REVERSAL', source, 99, tranche_id, id, business_date
    FROM transfer {OF_ANN} AND kind = 'WITHDRAWAL';
    UPDATE purse SET available_idr = available_idr + 61 {OF_ANN};
    UPDATE tranche SET available_idr = available_idr + 61 {OF_ANN}
"""


async def small_book(engine: AsyncEngine) -> None:
    """Two families of 100; the first took 60, and 20 of it came back."""
    async with engine.begin() as connection:
        await book.post(connection, [fund(1, 300, source())])
        await book.credit(connection, [new_tranche(ANN, 1, 1, 100), new_tranche(BUDI, 2, 1, 100)])
        (spent,) = await book.post(
            connection, spend(ANN, [Draw(1, 1, 60)], Kind.WITHDRAWAL, Control.ATM_SETTLEMENT, source(2))
        )
        await book.post(connection, reverse(ANN, [(Draw(1, 1, 20), spent)], Control.ATM_SETTLEMENT, source(3)))


async def failing(engine: AsyncEngine) -> dict[str, str]:
    """The checks that do not hold, with what they say."""
    async with engine.connect() as connection:
        return {check.name: check.detail for check in await proof.prove(connection) if not check.ok}


async def tamper(superuser: AsyncEngine, statements: str) -> None:
    """Run statements as the superuser."""
    async with superuser.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no triggers
        for statement in statements.split(";"):
            await connection.execute(text(statement))


async def test_an_honest_book_is_proved(engine: AsyncEngine) -> None:
    """Every check holds and says so, and the closed system says how much."""
    await small_book(engine)
    async with engine.connect() as connection:
        checks = await proof.prove(connection)
    assert [PURSE, TRANCHE, BOTH, BELOW_ZERO, REVERSALS, CLOSED] == [check.name for check in checks]
    assert ["holds"] * 5 == [check.detail for check in checks[:-1] if check.ok]
    assert checks[-1].ok
    assert "in the bank's care Rp300, explained Rp300" == checks[-1].detail


async def test_an_empty_book_is_proved(engine: AsyncEngine) -> None:
    """Nothing equals nothing."""
    assert {} == await failing(engine)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (f"UPDATE purse SET available_idr = available_idr + 1 {OF_ANN}", {PURSE, BOTH, CLOSED}),
        (f"UPDATE purse SET held_idr = 1, available_idr = available_idr - 1 {OF_ANN}", {PURSE, BOTH}),
        (f"UPDATE purse SET frozen_idr = 1, available_idr = available_idr - 1 {OF_ANN}", {PURSE, BOTH}),
        (f"UPDATE purse SET programme = 2 {OF_ANN}", {PURSE, BOTH}),
        (f"DELETE FROM purse {OF_ANN}", {PURSE, BOTH, CLOSED}),
        ("INSERT INTO purse (cell, account_id, programme, available_idr) VALUES (3, 19, 2, 5)", {PURSE, BOTH, CLOSED}),
        (f"UPDATE tranche SET available_idr = available_idr - 1 {OF_ANN}", {TRANCHE, BOTH}),
        (f"UPDATE tranche SET amount_idr = amount_idr + 1 {OF_ANN}", {TRANCHE}),
        (f"UPDATE tranche SET returned_idr = 1 {OF_ANN}", {TRANCHE}),
        (f"UPDATE tranche SET frozen_idr = 1, available_idr = available_idr - 1 {OF_ANN}", {TRANCHE, BOTH}),
        (f"UPDATE tranche SET programme = 2 {OF_ANN}", {BOTH}),
        (f"UPDATE tranche SET id = 77 {OF_ANN}", {TRANCHE}),
        (f"DELETE FROM tranche {OF_ANN}", {TRANCHE, BOTH}),
        (REVERSE_MORE, {REVERSALS}),
    ],
)
async def test_tampering_is_found(
    engine: AsyncEngine, superuser: AsyncEngine, statements: str, expected: set[str]
) -> None:
    """Each edit of a purse, tranche or reversal fails just the checks that it belongs to, and the account is named."""
    await small_book(engine)
    if statements == REVERSE_MORE:
        await tamper(superuser, "ALTER TABLE tranche DROP CONSTRAINT tranche_check")
    await tamper(superuser, statements)
    found = await failing(engine)
    assert expected == set(found)
    assert all(detail.endswith("disagree, the first at account 19") for name, detail in found.items() if name != CLOSED)


async def test_money_moved_between_families_is_found(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """The totals still agree, and each of the two families is found."""
    await small_book(engine)
    await tamper(superuser, "ALTER TABLE tranche DROP CONSTRAINT tranche_check")
    for table in ("purse", "tranche"):
        await tamper(superuser, f"UPDATE {table} SET available_idr = available_idr - 30 {OF_ANN}")
        await tamper(superuser, f"UPDATE {table} SET available_idr = available_idr + 30 WHERE account_id = 35")
    found = await failing(engine)
    assert {PURSE: "2 disagree, the first at account 19", TRANCHE: "2 disagree, the first at account 19"} == found


async def test_a_balance_below_zero_is_found(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Even if somebody took the constraint away."""
    await small_book(engine)
    await tamper(superuser, "ALTER TABLE purse DROP CONSTRAINT purse_held_idr_check")
    await tamper(superuser, f"UPDATE purse SET held_idr = -1 {OF_ANN}")
    assert {PURSE, BOTH, BELOW_ZERO, CLOSED} == set(await failing(engine))


async def test_an_edited_journal_is_found(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Somebody who switches the trigger off and edits a credit is found in the purse and the tranche."""
    await small_book(engine)
    await tamper(
        superuser,
        "ALTER TABLE transfer DISABLE TRIGGER transfer_append_only;"
        f"UPDATE transfer SET amount_idr = amount_idr + 1 {OF_ANN} AND kind = 'CREDIT'",
    )
    assert {PURSE, TRANCHE, CLOSED} == set(await failing(engine))


async def test_a_reversal_of_nothing_is_found(engine: AsyncEngine) -> None:
    """A reversal must name the transfer that it takes back; one that does not is money from nowhere."""
    await small_book(engine)
    async with engine.begin() as connection:
        await book.post(connection, reverse(ANN, [(Draw(1, 1, 20), None)], Control.ATM_SETTLEMENT, source(4)))
    assert {REVERSALS: "1 disagree, the first at account 19"} == await failing(engine)


async def test_a_long_history_is_proved_and_one_rupiah_in_it_is_not(
    engine: AsyncEngine, superuser: AsyncEngine
) -> None:
    """The proof is not blind to a small sum among many."""
    async with engine.begin() as connection:
        history = History(connection, 11)
        await history.begin()
        await history.play(60)
    assert {} == await failing(engine)
    await tamper(superuser, f"UPDATE purse SET available_idr = available_idr + 1 {OF_ANN} AND programme = 1")
    assert {PURSE, BOTH, CLOSED} == set(await failing(engine))


async def test_the_balance_of_a_control_account_spans_its_programmes(engine: AsyncEngine) -> None:
    """Funds of two programmes add up; a neighbouring control account does not run in."""
    async with engine.begin() as connection:
        await book.post(connection, [fund(1, 300, source()), fund(2, 40, source(2))])
        assert 340 == await proof.control_balance(connection, Control.PROGRAMME_FUND)
        assert -340 == await proof.control_balance(connection, Control.TREASURY)
        assert 0 == await proof.control_balance(connection, Control.ATM_SETTLEMENT)
