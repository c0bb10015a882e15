"""Twin of ledger.days: a closed day cannot be added to, is hashed as documented, and shows whoever changes it afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from ledger import book, days, proof
from ledger.chart import Control
from ledger.posting import Draw, Kind, PostingError, Source, fund, spend
from tests.ledger.history import History, new_tranche
from tests.ledger.model import DAY, FAMILIES
from tests.ledger.past import close_day, played
from tests.ledger.test_proof import tamper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

ANN = FAMILIES[0]
NEXT, LATER = DAY + timedelta(days=1), DAY + timedelta(days=2)
ROWS = text("""
    SELECT cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, tranche_id, corrects, business_date,
           posted_at
    FROM transfer WHERE business_date = CAST(:on AS date) ORDER BY cell, account_id, id
""")
INT2, INT8, TEXT, BYTES, DATE, MOMENT = 21, 20, 25, 17, 1082, 1184  # PostgreSQL's own numbers of its types
TYPES = (INT2, INT8, INT8, INT8, INT8, INT8, TEXT, TEXT, INT8, INT8, INT8, DATE, MOMENT)


def record(types: Sequence[int], values: Sequence[Any]) -> bytes:
    """PostgreSQL's binary record: how many columns, then of each its type, its length (-1: NULL) and its bytes."""
    out = struct.pack(">i", len(values))
    for kind, value in zip(types, values, strict=True):
        body = None if value is None else encoded(kind, value)
        out += struct.pack(">Ii", kind, -1 if body is None else len(body)) + (body or b"")
    return out


def encoded(kind: int, value: Any) -> bytes:  # noqa: ANN401 - a database value
    """One value in PostgreSQL's binary format."""
    if kind == INT2:
        return struct.pack(">h", value)
    if kind == INT8:
        return struct.pack(">q", value)
    if kind == DATE:
        return struct.pack(">i", (value - date(2000, 1, 1)).days)
    if kind == MOMENT:
        return struct.pack(">q", (value - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    return value.encode() if kind == TEXT else bytes(value)


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def day_hash(rows: Sequence[Any]) -> bytes:
    """The documented hash of a day's rows, in Python."""
    accounts: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)
    for row in rows:
        accounts[row[0], row[1]].append(record(TYPES, tuple(row)))
    parts: defaultdict[tuple[int, int], list[tuple[int, bytes]]] = defaultdict(list)
    for (cell, account), lines in accounts.items():
        entry = record((INT8, INT8, BYTES), (account, len(lines), sha(b"".join(lines))))
        parts[cell, account // 65536].append((len(lines), entry))
    entries = [
        record((INT2, INT8, INT8, BYTES), (cell, part, sum(n for n, _ in found), sha(b"".join(e for _, e in found))))
        for (cell, part), found in sorted(parts.items())
    ]
    return sha(b"".join(entries))


async def two_days(engine: AsyncEngine) -> int:
    """One family is credited on the first day and spends on the second. Returns the id of the withdrawal."""
    async with engine.begin() as connection:
        await book.post(connection, [fund(1, 300, Source("si", 1, DAY))])
        await book.credit(connection, [new_tranche(ANN, 1, 1, 100), new_tranche(FAMILIES[1], 2, 1, 100)])
        (spent,) = await book.post(connection, withdrawal(60, NEXT))
    return spent


def withdrawal(amount_idr: int, on: date, number: int = 2) -> list[Any]:
    """Transfers of a withdrawal of the first family."""
    return spend(
        ANN, [Draw(1, 1, amount_idr)], Kind.WITHDRAWAL, Control.ATM_SETTLEMENT, Source("authorisation", number, on)
    )


async def verdict(engine: AsyncEngine, first: date | None = None, last: date | None = None) -> days.Verdict:
    """What a verification says."""
    async with engine.connect() as connection:
        return await days.verify(connection, first, last)


async def test_a_closed_day_takes_no_transfer(engine: AsyncEngine) -> None:
    """Neither by a posting nor by a credit nor by plain SQL, on that day or before; the next day is open."""
    await two_days(engine)
    await close_day(engine, DAY)
    said = f"business date {DAY} is closed: the journal is locked up to and including {DAY}"
    with pytest.raises(PostingError, match="breaks a rule of the book: open_day"):
        async with engine.begin() as connection:
            await book.post(connection, withdrawal(1, DAY))
    with pytest.raises(PostingError, match="breaks a rule of the book: open_day") as refused:
        async with engine.begin() as connection:
            await book.credit(connection, [new_tranche(ANN, 3, 1, 5, "LATE", on=DAY)])
    assert said in str(refused.value.__cause__)
    columns = "cell, account_id, 9, debit, credit, 1, kind, source, 9, tranche_id, NULL"
    for on in (DAY, DAY - timedelta(days=20)):
        insert = f"INSERT INTO transfer SELECT {columns}, DATE '{on}' FROM transfer LIMIT 1"
        with pytest.raises(IntegrityError, match=f"business date {on} is closed"):
            async with engine.begin() as connection:
                await connection.execute(text(insert))
    mixed = [*withdrawal(1, NEXT, 7), *withdrawal(1, DAY, 8)]
    with pytest.raises(PostingError, match="open_day"):
        async with engine.begin() as connection:
            await book.post(connection, mixed)
    async with engine.begin() as connection:
        await book.post(connection, withdrawal(1, NEXT))
    async with engine.connect() as connection:
        assert [] == [check for check in await proof.prove(connection) if not check.ok]


async def test_a_snapshot_from_before_a_close_posts_nothing(engine: AsyncEngine) -> None:
    """A writer that would not see the newest close is refused."""
    await two_days(engine)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        with pytest.raises(DBAPIError, match="READ COMMITTED only"):
            await book.post(connection, withdrawal(1, NEXT))


async def test_days_are_closed_in_order_and_once(engine: AsyncEngine) -> None:
    """No day is left out, none is closed before the one before it is complete, none twice; the first is the journal's first."""
    await two_days(engine)
    with pytest.raises(IntegrityError, match=f"days are closed in order: the journal has transfers before {NEXT}"):
        await close_day(engine, NEXT)
    async with engine.begin() as connection:
        assert DAY == await days.first_to_close(connection, LATER)
        assert DAY - timedelta(days=3) == await days.first_to_close(connection, DAY - timedelta(days=3))
        await days.lock(connection, DAY, "siti")
    with pytest.raises(IntegrityError, match="days are closed in order"):
        await close_day(engine, NEXT)
    async with engine.begin() as connection:  # locked and cut off: the next close takes it up
        assert DAY == await days.first_to_close(connection, DAY)
        assert await days.last_closed(connection) is None
        first = await days.close(connection, DAY)
        assert first == await days.close(connection, DAY)
        assert NEXT == await days.first_to_close(connection, DAY)
    for wrong in (DAY, LATER):
        with pytest.raises(IntegrityError, match="days are closed in order"):
            await close_day(engine, wrong)
    assert (3, 500, "siti") == (first.transfers, first.amount_idr, first.actor)


async def test_a_closed_day_is_kept(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Nobody deletes or changes it; the service cannot make one without locking, nor write past the whole journal's triggers."""
    await two_days(engine)
    await close_day(engine, DAY)
    for one in (engine, superuser):
        for statement in ("UPDATE closed_day SET transfers = 4", "DELETE FROM closed_day", "TRUNCATE closed_day"):
            with pytest.raises(DBAPIError):
                async with one.begin() as connection:
                    await connection.execute(text(statement))
    for statement in (
        f"INSERT INTO closed_day (business_date, actor) VALUES ('{NEXT}', 'siti')",
        f"INSERT INTO transfer_{DAY:%Y_%m} SELECT * FROM transfer LIMIT 1",
        "UPDATE tranche_opening SET credited_idr = 1",
        "SELECT carry_month('2026-11-01')",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with engine.begin() as connection:
                await connection.execute(text(statement))


async def test_the_hash_is_the_documented_one(engine: AsyncEngine) -> None:
    """Computed again in Python from the rows; the chain begins with 32 zero bytes; a day without transfers has a hash too."""
    past = await played(engine, 8, 45, close_chance=0.0)
    await past.close_until(past.today + timedelta(days=2))
    assert 3 < len(past.closed)
    chain = bytes(32)
    async with engine.connect() as connection:
        for day in past.closed:
            rows = list(await connection.execute(ROWS, {"on": day.business_date}))
            expected = day_hash(rows)
            totals = (len(rows), sum(row.amount_idr for row in rows))
            assert (*totals, expected) == (day.transfers, day.amount_idr, day.day_hash)
            types = (BYTES, DATE, INT8, INT8, BYTES)
            chain = sha(record(types, (chain, day.business_date, *totals, expected)))
            assert chain == day.chain_hash
    assert (0, sha(b"")) == (past.closed[-1].transfers, past.closed[-1].day_hash)
    assert days.Verdict(len(past.closed)) == await verdict(engine)


OF_SPENT = "WHERE kind = 'WITHDRAWAL'"
COPY_OF = """
    INSERT INTO transfer SELECT cell, account_id, id + 1000, debit, credit, amount_idr, kind, source, source_id, tranche_id,
                                corrects, business_date, posted_at FROM transfer
"""


@pytest.mark.parametrize(
    ("statements", "detail"),
    [
        (f"UPDATE transfer SET amount_idr = amount_idr + 1 {OF_SPENT}", "1 transfers of Rp61, closed were 1 of Rp60"),
        (f"UPDATE transfer SET kind = 'PURCHASE' {OF_SPENT}", "with another hash"),
        (f"UPDATE transfer SET source_id = source_id + 1 {OF_SPENT}", "with another hash"),
        (f"UPDATE transfer SET posted_at = posted_at + interval '1 microsecond' {OF_SPENT}", "with another hash"),
        (f"UPDATE transfer SET corrects = 1 {OF_SPENT}", "with another hash"),
        (f"UPDATE transfer SET debit = credit, credit = debit {OF_SPENT}", "with another hash"),
        (f"UPDATE transfer SET cell = cell + 1 {OF_SPENT}", "with another hash"),
        (f"UPDATE transfer SET id = id + 1 {OF_SPENT}", "with another hash"),
        (f"DELETE FROM transfer {OF_SPENT}", "0 transfers of Rp0, closed were 1 of Rp60"),
        (f"UPDATE transfer SET business_date = business_date + 1 {OF_SPENT}", "0 transfers of Rp0, closed were 1"),
        (f"{COPY_OF} {OF_SPENT}", "2 transfers of Rp120, closed were 1 of Rp60"),
        (f"UPDATE closed_day SET transfers = 2 WHERE business_date = '{NEXT}'", "closed were 2"),
        (f"UPDATE closed_day SET chain_hash = day_hash WHERE business_date = '{NEXT}'", "does not follow"),
        (f"UPDATE closed_day SET day_hash = chain_hash WHERE business_date = '{NEXT}'", "with another hash"),
    ],
)
async def test_whoever_changes_a_closed_day_is_found(
    engine: AsyncEngine, superuser: AsyncEngine, statements: str, detail: str
) -> None:
    """Edited, deleted, inserted or moved by the superuser with triggers off: the first day that differs is named."""
    await two_days(engine)
    for on in (DAY, NEXT, LATER):
        await close_day(engine, on)
    assert days.Verdict(3) == await verdict(engine)
    await tamper(superuser, statements)
    found = await verdict(engine)
    assert (1, NEXT) == (found.days, found.first_wrong)
    assert detail in found.detail
    assert found.first_wrong == (await verdict(engine, NEXT, NEXT)).first_wrong
    assert days.Verdict(1) == await verdict(engine, DAY, DAY)


async def test_a_missing_day_and_a_rewritten_one_are_found(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """A day taken out leaves a gap. One hashed anew after a change no longer leads to the day after it."""
    await two_days(engine)
    for on in (DAY, NEXT, LATER):
        await close_day(engine, on)
    await tamper(superuser, f"UPDATE transfer SET amount_idr = 61 {OF_SPENT}")
    await tamper(superuser, f"UPDATE closed_day SET state = 'CLOSING', closed_at = NULL, transfers = NULL, amount_idr = NULL, "
                            f"day_hash = NULL, chain_hash = NULL WHERE business_date = '{NEXT}'; "
                            f"DELETE FROM control_checkpoint WHERE business_date = '{NEXT}'; "
                            f"DELETE FROM purse_checkpoint WHERE business_date = '{NEXT}'")  # fmt: skip
    async with engine.begin() as connection:
        await days.close(connection, NEXT)
    assert (LATER, "its chain hash does not follow from the day before") == await _wrong(engine)
    await tamper(superuser, f"DELETE FROM closed_day WHERE business_date = '{NEXT}'")
    assert (LATER, f"the day before it, {NEXT}, is missing") == await _wrong(engine)


async def _wrong(engine: AsyncEngine) -> tuple[date | None, str]:
    found = await verdict(engine)
    return found.first_wrong, found.detail


async def test_a_close_waits_for_whoever_is_posting(engine: AsyncEngine) -> None:
    """The day is locked only after a posting under way has committed, and has it; the next posting into it is refused."""
    await two_days(engine)
    await close_day(engine, DAY)
    async with engine.begin() as posting:
        await book.post(posting, withdrawal(5, NEXT))
        closing = asyncio.create_task(close_day(engine, NEXT))
        late = asyncio.create_task(_try_to_post(engine, NEXT))
        async with engine.begin() as other:  # another day is nobody's concern
            await book.post(other, spend(FAMILIES[1], [Draw(2, 1, 7)], Kind.PURCHASE, Control.EWARONG_PAYABLE,
                                         Source("authorisation", 9, LATER)))  # fmt: skip
        await asyncio.sleep(0.2)
        assert not closing.done()
    closed = await closing
    posted_late = await late  # asked to post while the close was waiting: in before it, or refused
    assert (2 + posted_late, 65 + posted_late) == (closed.transfers, closed.amount_idr)
    assert not await _try_to_post(engine, NEXT)
    assert days.Verdict(2) == await verdict(engine)


async def test_days_closed_in_a_storm_of_postings_lose_none(engine: AsyncEngine) -> None:
    """Writers post into a day until they are refused while it is being closed: what they were told is what was hashed."""
    async with engine.begin() as connection:
        await book.post(connection, [fund(1, 100_000, Source("si", 1, DAY))])
        await book.credit(connection, [new_tranche(one, n, 1, 9_000) for n, one in enumerate(FAMILIES, 1)])
    posted = dict.fromkeys((DAY, NEXT, LATER), 0)
    stop = asyncio.Event()

    async def write(place: int) -> None:
        for number in range(10_000):
            if stop.is_set():
                return
            for on in (DAY, NEXT, LATER):
                try:
                    async with engine.begin() as connection:
                        draws = [Draw(place + 1, 1, 1)]
                        source = Source("authorisation", number, on)
                        await book.post(
                            connection, spend(FAMILIES[place], draws, Kind.WITHDRAWAL, Control.ATM_SETTLEMENT, source)
                        )
                except PostingError as error:
                    assert "open_day" in str(error)  # noqa: PT017 - which refusal it was
                else:
                    posted[on] += 1

    writers = [asyncio.create_task(write(place)) for place in range(len(FAMILIES))]
    closed = []
    for before, on in ((None, DAY), (DAY, NEXT), (NEXT, LATER)):
        enough = 5 + (0 if before is None else posted[before])
        async with asyncio.timeout(60):
            while posted[on] < enough:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.01)
        if on != LATER:
            closed.append(await close_day(engine, on))
    stop.set()
    await asyncio.gather(*writers)
    assert (posted[DAY] + 4, posted[NEXT]) == (closed[0].transfers, closed[1].transfers)
    assert posted[LATER] > posted[NEXT] > posted[DAY] > 0
    assert days.Verdict(2) == await verdict(engine)
    async with engine.connect() as connection:
        assert [] == [check for check in await proof.prove(connection) if not check.ok]
        assert [] == [check for check in await proof.prove_since(connection, NEXT) if not check.ok]


async def test_months_are_carried_in_order(engine: AsyncEngine, superuser: AsyncEngine) -> None:
    """Only a month closed to its end, and only the one after the last; what was carried is what its transfers did."""
    async with engine.connect() as connection:
        history = History(connection, 3)
    async with engine.begin() as history.connection:
        await history.begin()
        await history.play(20)
    carry = text("SELECT carry_month(CAST(:day AS date))")
    with pytest.raises(DBAPIError, match="month 2026-11-01 is not closed to its end"):
        async with superuser.begin() as connection:
            await connection.execute(carry, {"day": DAY})
    on = DAY
    while on.month <= 12 and on.year == DAY.year:
        await close_day(engine, on)
        on += timedelta(days=1)
    with pytest.raises(DBAPIError, match="months are carried in order"):
        async with superuser.begin() as connection:
            await connection.execute(carry, {"day": date(2026, 12, 1)})
    async with superuser.begin() as connection:
        assert len(history.books.stages) == (await connection.execute(carry, {"day": DAY})).scalar_one()
        await connection.execute(text("ALTER TABLE transfer DETACH PARTITION transfer_2026_11"))
        assert 0 == (await connection.execute(carry, {"day": date(2026, 12, 9)})).scalar_one()
        assert date(2026, 12, 31) == await days.detached_through(connection)
    assert days.Verdict(0) == await verdict(engine)


async def _try_to_post(engine: AsyncEngine, on: date) -> bool:
    try:
        async with engine.begin() as connection:
            await book.post(connection, withdrawal(1, on, 11))
    except PostingError:
        return False
    return True
