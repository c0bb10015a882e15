"""Twin of ledger.book, on a real PostgreSQL. Append-only is tested here because the book is what relies on it."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger import book, proof
from ledger.chart import Control, control_account
from ledger.posting import (
    Account,
    Draw,
    Kind,
    PostingError,
    Source,
    Transfer,
    freeze,
    fund,
    hold,
    release,
    reverse,
    spend,
)
from tests.ledger.effects import PurseDelta, TrancheDelta
from tests.ledger.history import History, new_tranche, source
from tests.ledger.model import DAY, FAMILIES, PROGRAMMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

ANN = FAMILIES[0]
OWED = Control.ATM_SETTLEMENT
PURSES = text("SELECT cell, account_id, programme, available_idr, held_idr, frozen_idr FROM purse ORDER BY 1, 2, 3")
TRANCHES = text("""
    SELECT cell, account_id, id, available_idr, held_idr, frozen_idr, returned_idr, used_on, state FROM tranche ORDER BY 1, 2, 3
""")
TRANSFERS = text("SELECT * FROM transfer ORDER BY id")
APPEND_AUDIT = text("""
    INSERT INTO audit_event (stream, seq, at, actor, operation, subject, detail, hash)
    VALUES ('test', 1, now(), 'siti', 'bank.setup', 'x', '{}', '')
""")


async def state(engine: AsyncEngine) -> list[Sequence[object]]:
    """All of the book."""
    async with engine.connect() as connection:
        return [tuple(row) for query in (PURSES, TRANCHES, TRANSFERS) for row in await connection.execute(query)]


async def pay_in(connection: AsyncConnection, *amounts_idr: int) -> None:
    """Fund programme 1 and credit the first family a tranche an amount: tranches 1, 2, ..."""
    await book.post(connection, [fund(1, sum(amounts_idr), source())])
    await book.credit(connection, [new_tranche(ANN, place, 1, amount) for place, amount in enumerate(amounts_idr, 1)])


async def goes_through(engine: AsyncEngine, transfers: list[Transfer]) -> bool:
    """Post in a transaction of its own. Whether the book took it."""
    try:
        async with engine.begin() as connection:
            await book.post(connection, transfers)
    except PostingError:
        return False
    return True


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_history_in_postgresql_equals_the_books_in_memory(engine: AsyncEngine, seed: int) -> None:
    """After any errands in any order, purses, tranches and control accounts are the model's, and the proof holds."""
    async with engine.begin() as connection:
        history = History(connection, seed)
        await history.begin()
        await history.play(90)
    books = history.books
    assert set(Kind) == history.told
    async with engine.connect() as connection:
        purses = {(r[0], r[1], r[2]): PurseDelta(*r[3:6]) for r in await connection.execute(PURSES)}
        tranches = {(r[0], r[1], r[2]): TrancheDelta(*r[3:7]) for r in await connection.execute(TRANCHES)}
        assert books.purses == purses
        assert books.tranches == tranches
        for control in Control:
            expected = sum(books.control(control, programme) for programme in (0, *PROGRAMMES))
            assert expected == await proof.control_balance(connection, control)
        assert [] == [check for check in await proof.prove(connection) if not check.ok]


async def test_an_overdraft_changes_nothing(engine: AsyncEngine) -> None:
    """One rupiah too much is refused by the purse's or the tranche's own check, and the whole posting with it."""
    async with engine.begin() as connection:
        await pay_in(connection, 100, 50)
    before = await state(engine)
    fine = spend(ANN, [Draw(2, 1, 10)], Kind.PURCHASE, Control.EWARONG_PAYABLE, source(2))
    too_much = spend(ANN, [Draw(1, 1, 101)], Kind.WITHDRAWAL, OWED, source(3))
    with pytest.raises(PostingError, match=r"breaks a rule of the book: tranche_available_idr_check"):
        async with engine.begin() as connection:
            await book.post(connection, [*fine, *too_much])
    assert before == await state(engine)


async def test_many_who_spend_at_once_spend_what_is_there(engine: AsyncEngine) -> None:
    """Of six that each want 30 of 100, three get it, whoever comes first; the book still proves."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)

    async def take(number: int) -> bool:
        try:
            async with engine.begin() as connection:
                await book.post(connection, spend(ANN, [Draw(1, 1, 30)], Kind.WITHDRAWAL, OWED, source(number)))
        except PostingError:
            return False
        return True

    assert 3 == sum(await asyncio.gather(*(take(number) for number in range(6))))
    async with engine.connect() as connection:
        assert 90 == await proof.control_balance(connection, OWED)
        assert all(check.ok for check in await proof.prove(connection))


async def test_more_than_there_is_cannot_be_frozen(engine: AsyncEngine) -> None:
    """A freeze takes what is there and not a rupiah more."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)
    before = await state(engine)
    with pytest.raises(PostingError, match="available_idr_check"):
        async with engine.begin() as connection:
            await book.post(connection, [freeze(ANN, Draw(1, 1, 101), source(2))])
    assert before == await state(engine)


@pytest.mark.parametrize(
    ("account", "draw"),
    [
        (Account(ANN.cell, 999), Draw(1, 1, 10)),
        (Account(ANN.cell + 1, ANN.id), Draw(1, 1, 10)),
        (ANN, Draw(1, 2, 10)),
        (ANN, Draw(77, 1, 10)),
    ],
    ids=["no such account", "another cell", "no purse of the programme", "no such tranche"],
)
async def test_a_missing_purse_or_tranche_changes_nothing(engine: AsyncEngine, account: Account, draw: Draw) -> None:
    """Money cannot be given to what does not exist, though no check constraint sees it."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)
        await book.post(connection, spend(ANN, [Draw(1, 1, 60)], Kind.WITHDRAWAL, OWED, source(2)))
    before = await state(engine)
    with pytest.raises(PostingError, match="one is missing or not open"):
        async with engine.begin() as connection:
            await book.post(connection, reverse(account, [(draw, None)], OWED, source(2)))
    assert before == await state(engine)


@pytest.mark.parametrize("tranche_state", ["BLOCKED", "FROZEN", "AT_RPL", "RETURNED"])
async def test_only_open_money_is_spent(engine: AsyncEngine, tranche_state: str) -> None:
    """A tranche that a clock blocked cannot be spent, but a reversal still finds its way back to it."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)
        await book.post(connection, debit := spend(ANN, [Draw(1, 1, 10)], Kind.WITHDRAWAL, OWED, source(2)))
        await connection.execute(text("UPDATE tranche SET state = :state"), {"state": tranche_state})
    before = await state(engine)
    for again in (debit, hold(ANN, [Draw(1, 1, 10)], source(3))):
        with pytest.raises(PostingError, match="one is missing or not open"):
            async with engine.begin() as connection:
                await book.post(connection, again)
    assert before == await state(engine)
    async with engine.begin() as connection:
        await book.post(connection, reverse(ANN, [(Draw(1, 1, 10), None)], OWED, source(4)))
        assert 100 == (await connection.execute(text("SELECT available_idr FROM purse"))).scalar_one()
        reopened = (
            "BLOCKED" if tranche_state == "BLOCKED" else "OPEN"
        )  # nothing else would ever spend or return that money
        assert reopened == (await connection.execute(text("SELECT state FROM tranche"))).scalar_one()


async def test_a_stage_is_credited_once(engine: AsyncEngine) -> None:
    """The same stage again, in the same credit or a later one, pays nobody of that credit."""
    other = FAMILIES[1]
    async with engine.begin() as connection:
        await book.post(connection, [fund(1, 1_000, source())])
        await book.credit(connection, [new_tranche(ANN, 1, 1, 100, "2026-T4")])
    before = await state(engine)
    later = [new_tranche(other, 2, 1, 100, "2026-T4"), new_tranche(ANN, 3, 1, 100, "2026-T4")]
    same = [new_tranche(other, 4, 1, 100, "2026-T4"), new_tranche(other, 5, 1, 100, "2026-T4")]
    for credits_ in (later, same):
        with pytest.raises(PostingError, match="paid the same stage of a programme twice"):
            async with engine.begin() as connection:
                await book.credit(connection, credits_)
        assert before == await state(engine)
    async with engine.begin() as connection:
        await book.credit(
            connection, [new_tranche(ANN, 6, 2, 100, "2026-T4"), new_tranche(other, 7, 1, 100, "2026-T4")]
        )


async def test_nothing_to_post_is_nothing(engine: AsyncEngine) -> None:
    """Empty lists take no ids and touch nothing."""
    async with engine.begin() as connection:
        assert [] == await book.post(connection, [])
        assert [] == await book.credit(connection, [])
    assert [] == await state(engine)


async def test_a_transfer_is_written_as_it_was_said(engine: AsyncEngine) -> None:
    """Every column of the journal is the transfer's, under the id that post() returns."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)
        (spent,) = await book.post(connection, spend(ANN, [Draw(1, 1, 60)], Kind.WITHDRAWAL, OWED, source(2)))
        back = reverse(ANN, [(Draw(1, 1, 25), spent)], OWED, Source("authorisation", 3, DAY + dt.timedelta(days=1)))
        (returned,) = await book.post(connection, back)
        row = (await connection.execute(text("SELECT * FROM transfer WHERE id = :id"), {"id": returned})).one()
    found = Transfer(
        row.cell, row.account_id, row.debit, row.credit, row.amount_idr, Kind(row.kind),
        Source(row.source, row.source_id, row.business_date), row.tranche_id, row.corrects,
    )  # fmt: skip
    assert back == [found]
    assert spent == found.corrects
    assert control_account(OWED) == found.debit


async def test_the_first_debit_stops_the_clock_until_all_of_it_is_given_back(engine: AsyncEngine) -> None:
    """used_on is the first day of use; a full reversal or release clears it, a partial one does not."""
    days = [DAY + dt.timedelta(days=place) for place in range(6)]
    part, rest = [Draw(1, 1, 30)], [Draw(1, 1, 70)]
    steps = [
        (hold(ANN, part, Source("authorisation", 1, days[0])), days[0]),
        (spend(ANN, rest, Kind.PURCHASE, OWED, Source("authorisation", 2, days[1])), days[0]),
        (release(ANN, part, Source("authorisation", 3, days[2])), days[0]),
        (reverse(ANN, [(rest[0], None)], OWED, Source("authorisation", 4, days[3])), None),
        (spend(ANN, part, Kind.WITHDRAWAL, OWED, Source("authorisation", 5, days[4])), days[4]),
        (reverse(ANN, [(Draw(1, 1, 29), None)], OWED, Source("authorisation", 6, days[5])), days[4]),
    ]
    async with engine.begin() as connection:
        await pay_in(connection, 100)
        for transfers, expected in steps:
            await book.post(connection, transfers)
            assert expected == (await connection.execute(text("SELECT used_on FROM tranche"))).scalar_one()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_tranche_that_is_not_available_yet_is_never_drawn(engine: AsyncEngine, seed: int) -> None:
    """Whatever is asked for on whatever day: a posting with a part of such a tranche moves nothing, any other goes through."""
    dice = Random(seed)
    waits = {number: dice.randint(0, 9) for number in range(1, 6)}
    left = dict.fromkeys(waits, 40)
    async with engine.begin() as connection:
        await book.post(connection, [fund(1, sum(left.values()), source())])
        await book.credit(
            connection,
            [
                replace(new_tranche(ANN, number, 1, 40), available_from=DAY + dt.timedelta(days=days))
                for number, days in waits.items()
            ],
        )
        assert [DAY + dt.timedelta(days=days) for days in waits.values()] == list(
            (await connection.execute(text("SELECT clock_from FROM tranche ORDER BY id"))).scalars()
        )
    outcomes = set()
    for number in range(60):
        day = dice.randint(0, 9)
        drawn = dice.sample(sorted(waits), dice.randint(1, 3))
        if min(left[tranche] for tranche in drawn) == 0:
            continue
        cause = Source("authorisation", number, DAY + dt.timedelta(days=day))
        draws = [Draw(tranche, 1, 1) for tranche in drawn]
        asked = hold(ANN, draws, cause) if dice.random() < 0.3 else spend(ANN, draws, Kind.WITHDRAWAL, OWED, cause)
        moved = await goes_through(engine, asked)
        assert moved == all(waits[tranche] <= day for tranche in drawn)
        left |= {tranche: left[tranche] - moved for tranche in drawn}
        outcomes.add(moved)
    assert {True, False} == outcomes
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT id, available_idr FROM tranche ORDER BY id"))
        assert left == dict(tuple(row) for row in found)


async def test_money_that_is_not_available_yet_may_be_given_back_and_frozen(engine: AsyncEngine) -> None:
    """The waiting is for spending alone: what the bank itself does with a tranche does not wait."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)
        later = {"later": DAY + dt.timedelta(days=5)}
        (spent,) = await book.post(connection, spend(ANN, [Draw(1, 1, 60)], Kind.WITHDRAWAL, OWED, source(2)))
        await connection.execute(text("UPDATE tranche SET available_from = :later, clock_from = :later"), later)
        await book.post(connection, reverse(ANN, [(Draw(1, 1, 60), spent)], OWED, source(3)))
        await book.post(connection, [freeze(ANN, Draw(1, 1, 100), source(4))])
        found = (await connection.execute(text("SELECT available_idr, frozen_idr FROM tranche"))).one()
    assert (0, 100) == tuple(found)


@pytest.mark.parametrize("table", ["transfer", "audit_event"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_journal_and_the_audit_trail_are_append_only(
    engine: AsyncEngine, superuser: AsyncEngine, table: str, change: str
) -> None:
    """The service has no right to change them, and a trigger stops whoever has every right."""
    async with engine.begin() as connection:
        await pay_in(connection, 100)
        await connection.execute(APPEND_AUDIT)
    column = "amount_idr = amount_idr + 1" if table == "transfer" else "detail = 'another'"
    statement = text(change.format(table, column))
    read = text(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
    async with engine.connect() as connection:
        before = list(await connection.execute(read))
    assert before
    for one, refusal in ((engine, f"permission denied for table {table}"), (superuser, rf"{table}\w* is append-only")):
        with pytest.raises(DBAPIError, match=refusal):
            async with one.begin() as connection:
                await connection.execute(statement)
    async with engine.connect() as connection:
        assert before == list(await connection.execute(read))


async def test_the_service_works_as_its_own_role(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Otherwise the tests of its rights would test nothing."""
    who = text("SELECT current_user::text, current_setting('is_superuser')")
    async with engine.connect() as service, superuser.connect() as owner:
        assert ("kks_app", "off") == tuple((await service.execute(who)).one())
        assert "on" == (await owner.execute(who)).one()[1]
