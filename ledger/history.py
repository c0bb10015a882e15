"""The past: what a family's tranches and a control account held at an instant or at the end of a day, and what moved them.

Everything is added up from the journal. Of the months that were detached after the retention only what they add up to is at
hand: asking for a moment inside them raises HistoryGone. Reads only. Read next: ledger.days, which writes the checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ledger import days
from ledger.posting import Kind

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ledger.chart import Control
    from ledger.posting import Account


class HistoryGone(ValueError):
    """The moment asked for lies in a month whose journal was detached."""


@dataclass(frozen=True, slots=True)
class TrancheBalance:
    """What a tranche held, by phase, in rupiah."""

    tranche_id: int
    programme: int
    available_idr: int
    held_idr: int
    frozen_idr: int


@dataclass(frozen=True, slots=True)
class Movement:
    """A transfer as a family sees it: what it added to (or took from) each phase of a tranche, and what caused it."""

    id: int
    kind: Kind
    source: str
    source_id: int
    tranche_id: int
    programme: int
    corrects: int | None
    business_date: date
    posted_at: datetime
    available_idr: int
    held_idr: int
    frozen_idr: int


async def tranches_on(connection: AsyncConnection, account: Account, on: date) -> list[TrancheBalance]:
    """Every tranche that a family had been credited by the end of a business date. Raises HistoryGone."""
    await _check_at_hand(connection, on)
    return await _tranches(connection, TRANCHES_ON, account, on)


async def tranches_at(connection: AsyncConnection, account: Account, at: datetime) -> list[TrancheBalance]:
    """Every tranche as it stood at an instant, by when transfers were posted. Raises HistoryGone.

    A transfer counts from the moment its transaction began.
    """
    await _check_at_hand(connection, at.date())
    return await _tranches(connection, TRANCHES_AT, account, at)


async def movements(connection: AsyncConnection, account: Account, first: date, last: date) -> list[Movement]:
    """A family's transfers from FIRST to LAST (business dates, both included), in the order of days and posting."""
    await _check_at_hand(connection, first, inside=True)
    values = {"cell": account.cell, "account": account.id, "first": first, "last": last}
    rows = await connection.execute(MOVEMENTS, values)
    return [Movement(row[0], Kind(row[1]), *row[2:]) for row in rows]


async def control_on(connection: AsyncConnection, control: Control, on: date) -> dict[int, int]:
    """Balance of a control account at the end of a business date, by programme: the last checkpoint and what came since.

    Credits less debits. Raises HistoryGone.
    """
    await _check_at_hand(connection, on)
    values = {"low": control * 1_000, "high": control * 1_000 + 999, "on": on}
    rows = await connection.execute(CONTROL_ON, values)
    return {row.account % 1_000: int(row.balance_idr) for row in rows}


async def _check_at_hand(connection: AsyncConnection, on: date, *, inside: bool = False) -> None:
    """INSIDE: single transfers of the date are wanted, not only what they add up to."""
    through = await days.detached_through(connection)
    if through is not None and (on < through or (inside and on == through)):
        raise HistoryGone(f"the journal up to {through} is in the archive; {on} is kept in transfer_{on:%Y_%m}_kept")


async def _tranches(connection: AsyncConnection, statement: Any, account: Account, limit: Any) -> list[TrancheBalance]:  # noqa: ANN401 - text(), and a date or an instant
    values = {"cell": account.cell, "account": account.id, "limit": limit}
    return [TrancheBalance(*map(int, row)) for row in await connection.execute(statement, values)]


def _tranches_until(column: str) -> Any:  # noqa: ANN401 - text()
    kind = {"business_date": "date", "posted_at": "timestamptz"}[column]
    return text(f"""
        SELECT tranche_id, programme, sum(available_idr), sum(held_idr), sum(frozen_idr)
        FROM (SELECT tranche_id, programme, available_idr, held_idr, frozen_idr FROM tranche_opening
              WHERE cell = :cell AND account_id = :account
              UNION ALL
              SELECT tranche_id, programme, available_idr, held_idr, frozen_idr FROM tranche_move
              WHERE cell = :cell AND account_id = :account AND {column} <= CAST(:limit AS {kind})) m
        GROUP BY tranche_id, programme ORDER BY tranche_id
    """)


TRANCHES_ON = _tranches_until("business_date")
TRANCHES_AT = _tranches_until("posted_at")
MOVEMENTS = text("""
    SELECT id, kind, source, source_id, tranche_id, programme, corrects, business_date, posted_at, available_idr, held_idr,
           frozen_idr
    FROM tranche_move
    WHERE cell = :cell AND account_id = :account AND business_date BETWEEN CAST(:first AS date) AND CAST(:last AS date)
    ORDER BY business_date, posted_at, id
""")
CONTROL_ON = text("""
    WITH start AS MATERIALIZED (
        SELECT coalesce(max(business_date), '-infinity') AS day FROM closed_day
        WHERE state = 'CLOSED' AND business_date <= CAST(:on AS date)
    )
    SELECT account, sum(amount_idr) AS balance_idr
    FROM (SELECT account, balance_idr AS amount_idr FROM control_checkpoint
          WHERE business_date = (SELECT day FROM start) AND account BETWEEN :low AND :high
          UNION ALL
          SELECT account, amount_idr FROM control_move
          WHERE business_date > (SELECT day FROM start) AND business_date <= CAST(:on AS date)
            AND account BETWEEN :low AND :high) m
    GROUP BY account ORDER BY account
""")
