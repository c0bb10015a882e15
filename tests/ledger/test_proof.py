"""Twin of ledger.proof: it holds on an honest book and finds each way of tampering with it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ledger import book, proof
from ledger.chart import Control
from ledger.posting import Draw, Kind, Source, fund, reverse, spend
from tests.ledger.history import History, new_tranche, source
from tests.ledger.model import DAY, FAMILIES
from tests.ledger.past import close_day, played

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


SINCE_TRANCHE = "every tranche touched equals its checkpoint and its journal since"
SINCE_PURSE, ALL_PURSES = (
    "every purse touched equals its tranches",
    "all purses equal their checkpoints and the journal since",
)
SINCE_REVERSAL, DAY_CLOSES = "no reversal since takes back more than its transfer", "the checkpoints of the day close"
OF_TRANCHES, OF_PURSES = (
    "the checkpoints of tranches equal their journal",
    "the checkpoints of purses equal those of their tranches",
)
OF_CONTROLS = "the checkpoints of control accounts equal their journal"
NEXT = DAY + timedelta(days=1)


async def closed_book(engine: AsyncEngine) -> None:
    """The small book, closed; the day after, the first family takes 30 more and gives 5 of the first 60 back."""
    await small_book(engine)
    await close_day(engine, DAY)
    after = Source("authorisation", 8, NEXT)
    async with engine.begin() as connection:
        await book.post(connection, spend(ANN, [Draw(1, 1, 30)], Kind.WITHDRAWAL, Control.ATM_SETTLEMENT, after))
        spent = (await connection.execute(text("SELECT min(id) FROM transfer WHERE kind = 'WITHDRAWAL'"))).scalar_one()
        await book.post(connection, reverse(ANN, [(Draw(1, 1, 5), spent)], Control.ATM_SETTLEMENT, after))


async def failing_since(engine: AsyncEngine, closed: date = DAY) -> set[str]:
    """The checks of the proof since a closed day that do not hold."""
    async with engine.connect() as connection:
        return {check.name for check in await proof.prove_since(connection, closed) if not check.ok}


@pytest.mark.parametrize("seed", [12, 13, 14])
async def test_a_history_with_closed_days_is_proved_both_ways(engine: AsyncEngine, seed: int) -> None:
    """The whole proof and the proof since any closed day hold, and say the same of the closed system."""
    past = await played(engine, seed, 40)
    assert past.closed
    assert {} == await failing(engine)
    last = past.closed[-1].business_date
    assert set() == await failing_since(engine, last)
    async with engine.connect() as connection:
        whole, since = await proof.prove(connection), await proof.prove_since(connection, last)
        assert [OF_TRANCHES, OF_PURSES, OF_CONTROLS, CLOSED] == [check.name for check in whole[-4:]]
        assert whole[-1] == since[-1]
        for control in Control:
            balances = await proof.control_balances(connection, last)
            assert await proof.control_balance(connection, control) == balances[control]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (f"UPDATE tranche SET available_idr = available_idr + 1 {OF_ANN}", {SINCE_TRANCHE, SINCE_PURSE}),
        (f"UPDATE tranche SET amount_idr = amount_idr + 1 {OF_ANN}", {SINCE_TRANCHE}),
        (f"DELETE FROM tranche {OF_ANN}", {SINCE_TRANCHE, SINCE_PURSE}),
        (f"UPDATE purse SET available_idr = available_idr + 1 {OF_ANN}", {SINCE_PURSE, ALL_PURSES, CLOSED}),
        ("UPDATE purse SET held_idr = 1, available_idr = available_idr - 1 WHERE account_id = 35", {ALL_PURSES}),
        ("DELETE FROM purse WHERE account_id = 35", {ALL_PURSES, CLOSED}),
        ("INSERT INTO purse (cell, account_id, programme, available_idr) VALUES (5, 77, 1, 5)", {ALL_PURSES, CLOSED}),
        (f"UPDATE tranche_checkpoint SET available_idr = available_idr + 1 {OF_ANN}", {SINCE_TRANCHE}),
        (f"DELETE FROM tranche_checkpoint {OF_ANN}", {SINCE_TRANCHE}),
        ("UPDATE purse_checkpoint SET available_idr = available_idr + 1", {ALL_PURSES, DAY_CLOSES}),
        ("UPDATE control_checkpoint SET balance_idr = balance_idr + 1 WHERE account = 3000", {DAY_CLOSES, CLOSED}),
        (f"UPDATE transfer SET amount_idr = 31 WHERE business_date = '{NEXT}' AND kind = 'WITHDRAWAL'",
         {SINCE_TRANCHE, ALL_PURSES, CLOSED}),
        (f"DELETE FROM transfer WHERE business_date = '{NEXT}' AND kind = 'WITHDRAWAL'",
         {SINCE_TRANCHE, ALL_PURSES, CLOSED}),
        ("UPDATE transfer SET corrects = NULL WHERE corrects IS NOT NULL", {SINCE_REVERSAL}),
        ("UPDATE transfer SET corrects = 77 WHERE corrects IS NOT NULL", {SINCE_REVERSAL}),
    ],
)  # fmt: skip
async def test_tampering_is_found_since_the_last_close(
    engine: AsyncEngine, superuser: AsyncEngine, statements: str, expected: set[str]
) -> None:
    """What was touched is held against its checkpoint, every purse against the totals; the whole proof finds it too."""
    await closed_book(engine)
    assert set() == await failing_since(engine)
    await tamper(superuser, statements)
    assert expected == await failing_since(engine)
    assert await failing(engine)


async def test_more_taken_back_than_an_earlier_day_gave_is_found(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """A reversal after the close names a transfer before it: all that was ever taken back of it counts."""
    await closed_book(engine)
    await tamper(superuser, f"UPDATE transfer SET amount_idr = 41 WHERE business_date = '{NEXT}' AND kind = 'REVERSAL'")
    assert SINCE_REVERSAL in await failing_since(engine)
    await tamper(superuser, f"UPDATE transfer SET amount_idr = 40 WHERE business_date = '{NEXT}' AND kind = 'REVERSAL'")
    assert SINCE_REVERSAL not in await failing_since(engine)


async def test_a_tranche_nobody_touched_is_found_by_the_whole_proof(
    engine: AsyncEngine, superuser: AsyncEngine
) -> None:
    """Changed past all triggers it is not seen since the close, until somebody uses it."""
    await closed_book(engine)
    await tamper(superuser, "UPDATE tranche SET available_idr = available_idr - 1 WHERE account_id = 35")
    assert set() == await failing_since(engine)
    assert {TRANCHE, BOTH} == set(await failing(engine))
    used = spend(BUDI, [Draw(2, 1, 1)], Kind.PURCHASE, Control.EWARONG_PAYABLE, Source("authorisation", 9, NEXT))
    async with engine.begin() as connection:
        await book.post(connection, used)
    assert {SINCE_TRANCHE, SINCE_PURSE} == await failing_since(engine)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE tranche_checkpoint SET held_idr = 1", {OF_TRANCHES, OF_PURSES}),
        ("UPDATE purse_checkpoint SET held_idr = 1", {OF_PURSES}),
        ("DELETE FROM control_checkpoint WHERE account = 3000", {OF_CONTROLS}),
    ],
)
async def test_the_whole_proof_proves_the_checkpoints(
    engine: AsyncEngine, superuser: AsyncEngine, statement: str, expected: set[str]
) -> None:
    """What later proofs start from is itself held against the journal."""
    await closed_book(engine)
    await tamper(superuser, statement)
    assert expected == set(await failing(engine))


async def test_the_proofs_hold_after_months_were_detached(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Both start from the opening balances; a change of those is found; a reversal may name a detached transfer."""
    past = await played(engine, 15, 40, close_chance=0.0)
    await past.close_until(date(2026, 11, 30))
    async with superuser.begin() as connection:
        await connection.execute(text("SELECT carry_month('2026-11-01')"))
        await connection.execute(text("ALTER TABLE transfer DETACH PARTITION transfer_2026_11"))
    past.history.books.steps = 300  # a month later
    await past.play(30)
    assert {"REVERSAL", "WITHDRAWAL"} <= {one.kind for one in past.journal if one.source.business_date.month == 12}
    assert {} == await failing(engine)
    assert set() == await failing_since(engine, past.closed[-1].business_date)
    await past.close_until(past.today)
    assert {} == await failing(engine)
    assert set() == await failing_since(engine, past.today)
    await tamper(superuser, "UPDATE tranche_opening SET available_idr = available_idr + 1")
    assert {PURSE, TRANCHE, OF_TRANCHES} == set(await failing(engine))


async def test_the_proof_since_a_close_leaves_old_months_alone(engine: AsyncEngine) -> None:
    """No statement scans a partition before the closed day's month; a reversal's original is looked up by its key."""
    await closed_book(engine)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT make_partitions('2026-01-01', '2026-12-01')"))
        statements = [*proof.CHECKS_SINCE.values(), proof.CONTROL_BALANCES.text]
        for statement in statements:
            literal = statement.replace("CAST(:since AS date)", f"DATE '{DAY}'")
            plan = [line for (line,) in await connection.execute(text(f"EXPLAIN {literal}"))]
            assert "FROM purse_checkpoint" in statement or any("transfer_2026_11" in line for line in plan)
            old = [line for line in plan if "transfer_2026_0" in line or "transfer_2026_10" in line]
            assert [] == [line for line in old if "Index" not in line], old
            assert not old or "corrects" in statement
