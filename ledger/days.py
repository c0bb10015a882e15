"""Closing a business date: lock it, hash its journal into the chain, write the checkpoints; and verifying what was closed.

The database refuses transfers of a locked day and keeps days in order (sql/0002_days.sql). Here is what a close computes.
Takes a connection inside a transaction, never commits. Who may close, and when, is gateway.operations.day's.

The hash of a day is built from the rows up: each transfer as PostgreSQL's binary record (every column with its type and length,
so no two rows have the same bytes), those of an account in the order of their ids into one SHA-256, the accounts' into one for
each part of a cell, the parts' into the day's. No level holds more than a few thousand entries, whatever the day's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

FIRST_HASH = bytes(32)
CLOSING, CLOSED = "CLOSING", "CLOSED"


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """A closed day as it is kept; while it is CLOSING everything after STATE and ACTOR is None."""

    business_date: date
    state: str
    actor: str
    closed_at: datetime | None
    transfers: int | None
    amount_idr: int | None
    day_hash: bytes | None
    chain_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found: how many days hold, and the first that does not, with what is wrong with it."""

    days: int
    first_wrong: date | None = None
    detail: str = ""


async def newest(connection: AsyncConnection) -> ClosedDay | None:
    """The newest day that is closed or closing."""
    row = (await connection.execute(NEWEST)).one_or_none()
    return None if row is None else ClosedDay(*row)


async def last_closed(connection: AsyncConnection) -> date | None:
    """The newest day whose close is complete: where the checkpoints stand."""
    found: date | None = (await connection.execute(LAST_CLOSED)).scalar_one()
    return found


async def closed_days(connection: AsyncConnection, limit: int) -> list[ClosedDay]:
    """The newest closed days, newest first."""
    return [ClosedDay(*row) for row in await connection.execute(NEWEST_DAYS, {"limit": limit})]


async def detached_through(connection: AsyncConnection) -> date | None:
    """The last day of the journal that is no longer at hand; None while all of it is."""
    found: date | None = (await connection.execute(DETACHED_THROUGH)).scalar_one()
    return found


async def first_to_close(connection: AsyncConnection, since: date) -> date:
    """The day to be closed next: the one being closed, the one after the last, or the first of the journal or SINCE."""
    last = await newest(connection)
    if last is not None:
        return last.business_date if last.state == CLOSING else last.business_date + timedelta(days=1)
    first: date | None = (await connection.execute(FIRST_DATE)).scalar_one_or_none()
    return since if first is None else min(first, since)


async def lock(connection: AsyncConnection, on: date, actor: str) -> None:
    """Lock a day. Waits for postings into it that are under way; those that come later are refused."""
    await connection.execute(LOCK_DAY, {"on": on, "actor": actor})


async def close(connection: AsyncConnection, on: date) -> ClosedDay:
    """Hash a locked day, chain it, write its checkpoints. A day that is closed already comes back as it is."""
    await connection.execute(SORT_MEMORY)
    row = (await connection.execute(LOCKED_DAY, {"on": on})).one()
    if row.state == CLOSED:
        return ClosedDay(*row)
    before = on - timedelta(days=1)
    transfers, amount_idr, day_hash = (await connection.execute(DAY_HASH, {"on": on})).one()
    previous = (await connection.execute(CHAIN_HASH_OF, {"on": before})).scalar_one_or_none() or FIRST_HASH
    for statement in (CONTROL_CHECKPOINT, PURSE_CHECKPOINT):
        await connection.execute(statement, {"on": on, "before": before})
    await connection.execute(TRANCHE_CHECKPOINT, {"on": on})
    values = {
        "previous": bytes(previous),
        "on": on,
        "transfers": transfers,
        "amount": amount_idr,
        "day": bytes(day_hash),
    }
    return ClosedDay(*(await connection.execute(CLOSE, values)).one())


async def verify(connection: AsyncConnection, first: date | None = None, last: date | None = None) -> Verdict:
    """Hash closed days again and follow their chain. Default: every day whose journal is at hand."""
    known = [ClosedDay(*row) for row in await connection.execute(DAYS_IN_RANGE, {"first": first, "last": last})]
    await connection.execute(SORT_MEMORY)
    held = 0
    values: dict[str, Any]
    for day in known:
        on = day.business_date
        before = (await connection.execute(BEFORE, {"on": on})).one_or_none()
        if before is not None and before.business_date != on - timedelta(days=1):
            return Verdict(held, on, f"the day before it, {on - timedelta(days=1)}, is missing")
        found = (await connection.execute(DAY_HASH, {"on": on})).one()
        said = (day.transfers, day.amount_idr, day.day_hash)
        if tuple(found) != said:
            return Verdict(held, on, _difference(day, found.transfers, found.amount_idr))
        previous = FIRST_HASH if before is None else before.chain_hash
        values = {
            "previous": previous,
            "on": on,
            "transfers": day.transfers,
            "amount": day.amount_idr,
            "day": day.day_hash,
        }
        if (await connection.execute(CHAINED, values)).scalar_one() != day.chain_hash:
            return Verdict(held, on, "its chain hash does not follow from the day before")
        held += 1
    return Verdict(held)


def _difference(day: ClosedDay, transfers: int, amount_idr: int) -> str:
    if (transfers, amount_idr) == (day.transfers, day.amount_idr):
        return f"a transfer was changed: {transfers} transfers of Rp{amount_idr:,} as closed, with another hash"
    return f"the journal has {transfers} transfers of Rp{amount_idr:,}, closed were {day.transfers} of Rp{day.amount_idr:,}"


COLUMNS = "business_date, state, actor, closed_at, transfers, amount_idr, day_hash, chain_hash"
NEWEST = text(f"SELECT {COLUMNS} FROM closed_day ORDER BY business_date DESC LIMIT 1")
NEWEST_DAYS = text(f"SELECT {COLUMNS} FROM closed_day ORDER BY business_date DESC LIMIT :limit")
LAST_CLOSED = text("SELECT max(business_date) FROM closed_day WHERE state = 'CLOSED'")
LOCKED_DAY = text(f"SELECT {COLUMNS} FROM closed_day WHERE business_date = :on FOR UPDATE")
DETACHED_THROUGH = text("SELECT detached_through FROM journal_opening")
DAYS_IN_RANGE = text(f"""
    SELECT {COLUMNS} FROM closed_day
    WHERE state = 'CLOSED' AND business_date > coalesce((SELECT detached_through FROM journal_opening), '-infinity')
      AND business_date BETWEEN coalesce(CAST(:first AS date), '-infinity') AND coalesce(CAST(:last AS date), 'infinity')
    ORDER BY business_date
""")
BEFORE = text("""
    SELECT business_date, chain_hash FROM closed_day WHERE business_date < :on ORDER BY business_date DESC LIMIT 1
""")
CHAIN_HASH_OF = text("SELECT chain_hash FROM closed_day WHERE business_date = :on")
# Ordered by the partition key with a limit: partitions after the first that has rows are not read.
FIRST_DATE = text("SELECT business_date FROM transfer ORDER BY business_date LIMIT 1")
LOCK_DAY = text("SELECT lock_day(CAST(:on AS date), :actor)")
SORT_MEMORY = text("SET LOCAL work_mem = '64MB'")
DAY_HASH = text("""
    WITH account AS (
        SELECT cell, account_id, count(*) AS transfers, sum(amount_idr) AS amount_idr,
               sha256(string_agg(record_send(ROW(cell, account_id, id, debit, credit, amount_idr, kind, source, source_id,
                                                 tranche_id, corrects, business_date, posted_at)), ''::bytea ORDER BY id)) AS hash
        FROM transfer WHERE business_date = :on GROUP BY cell, account_id
    ), part AS (
        SELECT cell, account_id / 65536 AS part, sum(transfers)::bigint AS transfers, sum(amount_idr) AS amount_idr,
               sha256(string_agg(record_send(ROW(account_id, transfers, hash)), ''::bytea ORDER BY account_id)) AS hash
        FROM account GROUP BY cell, account_id / 65536
    )
    SELECT coalesce(sum(transfers), 0)::bigint AS transfers, coalesce(sum(amount_idr), 0)::bigint AS amount_idr,
           sha256(coalesce(string_agg(record_send(ROW(cell, part, transfers, hash)), ''::bytea ORDER BY cell, part),
                           ''::bytea)) AS hash
    FROM part
""")
CHAIN_HASH = """
    sha256(record_send(ROW(CAST(:previous AS bytea), CAST(:on AS date), CAST(:transfers AS bigint), CAST(:amount AS bigint),
                           CAST(:day AS bytea))))
"""
CHAINED = text(f"SELECT {CHAIN_HASH}")
CLOSE = text(f"""
    UPDATE closed_day SET state = 'CLOSED', closed_at = clock_timestamp(), transfers = :transfers, amount_idr = :amount,
           day_hash = :day, chain_hash = {CHAIN_HASH}
    WHERE business_date = :on RETURNING {COLUMNS}
""")
CONTROL_CHECKPOINT = text("""
    INSERT INTO control_checkpoint (account, business_date, balance_idr)
    SELECT account, CAST(:on AS date), sum(amount_idr)
    FROM (SELECT account, balance_idr AS amount_idr FROM control_checkpoint WHERE business_date = :before
          UNION ALL SELECT account, amount_idr FROM control_move WHERE business_date = :on) m
    GROUP BY account
""")
PURSE_CHECKPOINT = text("""
    INSERT INTO purse_checkpoint (business_date, cell, programme, available_idr, held_idr, frozen_idr)
    SELECT CAST(:on AS date), cell, programme, sum(available_idr), sum(held_idr), sum(frozen_idr)
    FROM (SELECT cell, programme, available_idr, held_idr, frozen_idr FROM purse_checkpoint WHERE business_date = :before
          UNION ALL
          SELECT cell, programme, available_idr, held_idr, frozen_idr FROM tranche_move WHERE business_date = :on) m
    GROUP BY cell, programme
""")
TRANCHE_CHECKPOINT = text("""
    INSERT INTO tranche_checkpoint AS c (cell, account_id, tranche_id, through, credited_idr, available_idr, held_idr, frozen_idr,
                                         returned_idr)
    SELECT cell, account_id, tranche_id, CAST(:on AS date), sum(credited_idr), sum(available_idr), sum(held_idr), sum(frozen_idr),
           sum(returned_idr)
    FROM tranche_move WHERE business_date = :on GROUP BY cell, account_id, tranche_id ORDER BY cell, account_id, tranche_id
    ON CONFLICT (cell, account_id, tranche_id) DO UPDATE SET through = EXCLUDED.through,
        credited_idr = c.credited_idr + EXCLUDED.credited_idr, available_idr = c.available_idr + EXCLUDED.available_idr,
        held_idr = c.held_idr + EXCLUDED.held_idr, frozen_idr = c.frozen_idr + EXCLUDED.frozen_idr,
        returned_idr = c.returned_idr + EXCLUDED.returned_idr
""")
