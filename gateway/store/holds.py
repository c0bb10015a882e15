"""Holds as stored: approved authorisations of kind HOLD that still set money aside, and the date after which they lapse."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.store.authorisations import APPROVED
from ledger.posting import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Hold:
    """An open hold and what it still holds of each tranche."""

    cell: int
    id: int
    account_id: int
    business_date: date
    left: tuple[Draw, ...]


class HoldState(StrEnum):
    """What has become of a hold."""

    OPEN = "OPEN"
    COMPLETED = "COMPLETED"
    REVERSED = "REVERSED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class KnownHold:
    """A hold as people see it. LEFT_IDR: what it still sets aside, to the end of UNTIL; ADDS_TO: the hold that it adds to."""

    id: int
    business_date: date
    terminal: str
    stan: str
    amount_idr: int
    left_idr: int
    until: date | None
    state: HoldState
    adds_to: int | None


async def of_account(connection: AsyncConnection, number: str) -> list[KnownHold]:
    """The holds of an account, newest first. Raises NotFound."""
    account = (await connection.execute(ACCOUNT, {"number": number})).one_or_none()
    if account is None:
        raise NotFound(f"there is no account {number}")
    rows = await connection.execute(OF_ACCOUNT, {"account": account.id})
    return [
        KnownHold(
            row.id, row.business_date, row.terminal, row.stan, row.amount_idr, int(row.left_idr), row.held_until,
            HoldState(row.state), row.adds_to,
        )
        for row in rows
    ]  # fmt: skip


async def lapsed(connection: AsyncConnection, on: date, after_id: int, limit: int) -> list[tuple[int, int, date]]:
    """(cell, id, business date) of holds whose last day was before a date, by id, a page at a time."""
    found = await connection.execute(LAPSED, {"on": on, "after": after_id, "limit": limit})
    return [(row.cell, row.id, row.business_date) for row in found]


async def lock(connection: AsyncConnection, keys: Sequence[tuple[int, int, date]]) -> list[Hold]:
    """Lock the accounts of some holds, then read those that are still open, as they are now."""
    values = {"cells": [key[0] for key in keys], "ids": [key[1] for key in keys], "dates": [key[2] for key in keys]}
    await connection.execute(LOCK_ACCOUNTS, values)
    return [
        Hold(
            row.cell, row.id, row.account_id, row.business_date,
            tuple(
                Draw(tranche, programme, amount)
                for tranche, programme, amount in zip(row.tranche_ids, row.programmes, row.kept_idr, strict=True)
                if amount
            ),
        )
        for row in await connection.execute(READ, values)
    ]  # fmt: skip


async def close(connection: AsyncConnection, released: Sequence[Hold]) -> None:
    """Nothing of these is held any more: they lapsed, which no authorisation did (reversed_by is 0)."""
    values = {
        "cells": [one.cell for one in released], "ids": [one.id for one in released],
        "dates": [one.business_date for one in released],
    }  # fmt: skip
    await connection.execute(CLOSE, values)


WANTED = (
    "unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[]), CAST(:dates AS date[])) AS w (cell, id, business_date)"
)
ACCOUNT = text("SELECT id FROM account WHERE number = :number")
OF_ACCOUNT = text(f"""
    SELECT h.id, h.business_date, h.terminal, h.stan, h.amount_idr, h.held_until, f.id AS adds_to,
           (SELECT coalesce(sum(k), 0) FROM unnest(h.kept_idr) AS u (k)) AS left_idr,
           CASE WHEN h.held_until IS NOT NULL THEN 'OPEN' WHEN coalesce(h.reversed_by, 0) = 0 THEN 'EXPIRED'
                WHEN b.kind = 'COMPLETION' THEN 'COMPLETED' ELSE 'REVERSED' END AS state
    FROM authorisation h
    LEFT JOIN authorisation b ON b.account_id = h.account_id AND b.id = h.reversed_by
    LEFT JOIN authorisation f ON f.account_id = h.account_id AND f.message_key = h.original_key
    WHERE h.account_id = :account AND h.account_id > 0 AND h.kind = 'HOLD' AND h.{APPROVED}
    ORDER BY h.decided_at DESC
""")
LAPSED = text("""
    SELECT cell, id, business_date FROM authorisation
    WHERE held_until IS NOT NULL AND held_until < :on AND id > :after ORDER BY id LIMIT :limit
""")
LOCK_ACCOUNTS = text(f"""
    SELECT 1 FROM account a WHERE (a.cell, a.id) IN (
        SELECT h.cell, h.account_id FROM authorisation h JOIN {WANTED} USING (cell, id, business_date))
    ORDER BY a.cell, a.id FOR UPDATE
""")
READ = text(f"""
    SELECT h.cell, h.id, h.account_id, h.business_date, h.tranche_ids, h.programmes, h.kept_idr
    FROM authorisation h JOIN {WANTED} USING (cell, id, business_date) WHERE h.held_until IS NOT NULL ORDER BY h.id
""")
CLOSE = text(f"""
    UPDATE authorisation h SET reversed_idr = amount_idr, held_until = NULL, reversed_by = 0,
           kept_idr = array_fill(CAST(0 AS bigint), ARRAY[cardinality(kept_idr)])
    FROM {WANTED} WHERE h.cell = w.cell AND h.id = w.id AND h.business_date = w.business_date
""")
