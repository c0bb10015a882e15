"""Holds as stored: approved authorisations of kind HOLD that still set money aside, and the date after which they lapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

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
    """Nothing of these is held any more."""
    values = {
        "cells": [one.cell for one in released], "ids": [one.id for one in released],
        "dates": [one.business_date for one in released],
    }  # fmt: skip
    await connection.execute(CLOSE, values)


WANTED = (
    "unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[]), CAST(:dates AS date[])) AS w (cell, id, business_date)"
)
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
    UPDATE authorisation h SET reversed_idr = amount_idr, held_until = NULL,
           kept_idr = array_fill(CAST(0 AS bigint), ARRAY[cardinality(kept_idr)])
    FROM {WANTED} WHERE h.cell = w.cell AND h.id = w.id AND h.business_date = w.business_date
""")
