"""The proof: the journal, the purses and the tranches say the same, to the rupiah. Reads only.

Each check is one SQL statement that returns what disagrees; nothing returned is a check that holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from ledger.chart import Control

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of the proof and whether it holds; DETAIL says what disagrees, or how much was checked."""

    name: str
    ok: bool
    detail: str


JOURNAL_BY_PURSE = """
    SELECT cell, account_id, programme, sum(amount) FILTER (WHERE phase = 0) AS available,
           sum(amount) FILTER (WHERE phase = 1) AS held, sum(amount) FILTER (WHERE phase = 2) AS frozen
    FROM (SELECT cell, account_id, (credit % 10000) / 10 AS programme, credit % 10 AS phase, amount_idr AS amount
          FROM transfer WHERE credit >= 10000
          UNION ALL
          SELECT cell, account_id, (debit % 10000) / 10, debit % 10, -amount_idr FROM transfer WHERE debit >= 10000) j
    GROUP BY cell, account_id, programme
"""
JOURNAL_BY_TRANCHE = """
    SELECT cell, account_id, tranche_id, sum(amount) FILTER (WHERE phase = 0) AS available,
           sum(amount) FILTER (WHERE phase = 1) AS held, sum(amount) FILTER (WHERE phase = 2) AS frozen,
           sum(amount) FILTER (WHERE kind = 'CREDIT') AS credited, -sum(amount) FILTER (WHERE kind = 'TO_RPL') AS returned
    FROM (SELECT cell, account_id, tranche_id, credit % 10 AS phase, amount_idr AS amount, kind
          FROM transfer WHERE credit >= 10000
          UNION ALL
          SELECT cell, account_id, tranche_id, debit % 10, -amount_idr, kind FROM transfer WHERE debit >= 10000) j
    GROUP BY cell, account_id, tranche_id
"""
CHECKS = {
    "every purse equals its journal": f"""
        SELECT count(*), min(coalesce(p.account_id, j.account_id)) FROM purse p
        FULL JOIN ({JOURNAL_BY_PURSE}) j USING (cell, account_id, programme)
        WHERE (coalesce(p.available_idr, 0), coalesce(p.held_idr, 0), coalesce(p.frozen_idr, 0)) IS DISTINCT FROM
              (coalesce(j.available, 0)::bigint, coalesce(j.held, 0)::bigint, coalesce(j.frozen, 0)::bigint)
    """,
    "every tranche equals its journal": f"""
        SELECT count(*), min(coalesce(t.account_id, j.account_id)) FROM tranche t
        FULL JOIN ({JOURNAL_BY_TRANCHE}) j ON (t.cell, t.account_id, t.id) = (j.cell, j.account_id, j.tranche_id)
        WHERE (t.amount_idr, t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr) IS DISTINCT FROM
              (coalesce(j.credited, 0)::bigint, coalesce(j.available, 0)::bigint, coalesce(j.held, 0)::bigint,
               coalesce(j.frozen, 0)::bigint, coalesce(j.returned, 0)::bigint)
    """,
    "every purse equals its tranches": """
        SELECT count(*), min(coalesce(p.account_id, t.account_id)) FROM purse p
        FULL JOIN (SELECT cell, account_id, programme, sum(available_idr)::bigint AS available,
                          sum(held_idr)::bigint AS held, sum(frozen_idr)::bigint AS frozen
                   FROM tranche GROUP BY cell, account_id, programme) t USING (cell, account_id, programme)
        WHERE (coalesce(p.available_idr, 0), coalesce(p.held_idr, 0), coalesce(p.frozen_idr, 0)) IS DISTINCT FROM
              (coalesce(t.available, 0), coalesce(t.held, 0), coalesce(t.frozen, 0))
    """,
    "nothing is below zero": """
        SELECT (SELECT count(*) FROM purse WHERE least(available_idr, held_idr, frozen_idr) < 0)
             + (SELECT count(*) FROM tranche WHERE least(available_idr, held_idr, frozen_idr, returned_idr) < 0), NULL
    """,
    "no reversal takes back more than its transfer": """
        SELECT count(*), min(account_id) FROM (
            SELECT r.account_id, o.amount_idr, sum(r.amount_idr) AS reversed FROM transfer r
            LEFT JOIN transfer o ON (o.cell, o.account_id, o.id) = (r.cell, r.account_id, r.corrects)
            WHERE r.kind = 'REVERSAL' GROUP BY r.cell, r.account_id, r.corrects, o.amount_idr) x
        WHERE amount_idr IS NULL OR reversed > amount_idr
    """,
}


async def prove(connection: AsyncConnection) -> list[Check]:
    """Run every check of the book in one snapshot of the connection's transaction."""
    checks = []
    for name, statement in CHECKS.items():
        wrong, first = (await connection.execute(text(statement))).one()
        detail = "holds" if not wrong else f"{wrong} disagree, the first at account {first}"
        checks.append(Check(name, not wrong, detail))
    checks.append(await _closed_system(connection))
    return checks


async def control_balance(connection: AsyncConnection, control: Control) -> int:
    """Credits less debits of a control account over all programmes, in rupiah, as the journal adds up."""
    low, high = control * 1_000, control * 1_000 + 999
    found = await connection.execute(CONTROL_BALANCE, {"low": low, "high": high})
    return int(found.scalar_one())


CONTROL_BALANCE = text("""
    SELECT coalesce((SELECT sum(amount_idr) FROM transfer WHERE credit BETWEEN :low AND :high), 0)
         - coalesce((SELECT sum(amount_idr) FROM transfer WHERE debit BETWEEN :low AND :high), 0)
""")


async def _closed_system(connection: AsyncConnection) -> Check:
    """What came from the treasury less what went back = funds + purses + owed to partners + RPL."""
    balances = {control: await control_balance(connection, control) for control in Control}
    purses = await connection.execute(text("SELECT coalesce(sum(available_idr + held_idr + frozen_idr), 0) FROM purse"))
    inside = int(purses.scalar_one()) + sum(
        amount for control, amount in balances.items() if control is not Control.TREASURY
    )
    entered = -balances[Control.TREASURY]
    return Check(
        "funds entered = returned + remaining + paid out",
        entered == inside,
        f"in the bank's care Rp{entered:,}, explained Rp{inside:,}",
    )
