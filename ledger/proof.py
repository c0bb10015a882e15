"""The proof: the journal, the purses and the tranches say the same, to the rupiah. Reads only.

Each check is one SQL statement that returns what disagrees; nothing returned is a check that holds. The whole proof adds up
the whole journal at hand, from the opening balances where months were detached. The proof since a closed day adds up only what
came after it, on the checkpoints of its close: it costs what the days since cost, and one look at every purse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from ledger import days
from ledger.chart import Control

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of the proof and whether it holds; DETAIL says what disagrees, or how much was checked."""

    name: str
    ok: bool
    detail: str


CLOSED_SYSTEM = "funds entered = returned + remaining + paid out"
PHASES = "sum(available_idr)::bigint AS available_idr, sum(held_idr)::bigint AS held_idr, sum(frozen_idr)::bigint AS frozen_idr"
TAKING_BACK = "('REVERSAL', 'CORRECTION')"
JOURNAL_BY_TRANCHE = f"""
    SELECT cell, account_id, tranche_id, {PHASES}, sum(credited_idr)::bigint AS credited_idr,
           sum(returned_idr)::bigint AS returned_idr
    FROM (SELECT cell, account_id, tranche_id, available_idr, held_idr, frozen_idr, credited_idr, returned_idr
          FROM tranche_opening
          UNION ALL
          SELECT cell, account_id, tranche_id, available_idr, held_idr, frozen_idr, credited_idr, returned_idr
          FROM tranche_move
          WHERE business_date <= coalesce(CAST(:through AS date), 'infinity')) m
    GROUP BY cell, account_id, tranche_id
"""
JOURNAL_BY_PURSE = f"""
    SELECT cell, account_id, programme, {PHASES}
    FROM (SELECT cell, account_id, programme, available_idr, held_idr, frozen_idr FROM tranche_opening
          UNION ALL SELECT cell, account_id, programme, available_idr, held_idr, frozen_idr FROM tranche_move) m
    GROUP BY cell, account_id, programme
"""
CHECKS = {
    "every purse equals its journal": f"""
        SELECT count(*), min(coalesce(p.account_id, j.account_id)) FROM purse p
        FULL JOIN ({JOURNAL_BY_PURSE}) j USING (cell, account_id, programme)
        WHERE (coalesce(p.available_idr, 0), coalesce(p.held_idr, 0), coalesce(p.frozen_idr, 0)) IS DISTINCT FROM
              (coalesce(j.available_idr, 0), coalesce(j.held_idr, 0), coalesce(j.frozen_idr, 0))
    """,
    "every tranche equals its journal": f"""
        SELECT count(*), min(coalesce(t.account_id, j.account_id)) FROM tranche t
        FULL JOIN ({JOURNAL_BY_TRANCHE}) j ON (t.cell, t.account_id, t.id) = (j.cell, j.account_id, j.tranche_id)
        WHERE (t.amount_idr, t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr) IS DISTINCT FROM
              (coalesce(j.credited_idr, 0), coalesce(j.available_idr, 0), coalesce(j.held_idr, 0),
               coalesce(j.frozen_idr, 0), coalesce(j.returned_idr, 0))
    """,
    "every purse equals its tranches": f"""
        SELECT count(*), min(coalesce(p.account_id, t.account_id)) FROM purse p
        FULL JOIN (SELECT cell, account_id, programme, {PHASES} FROM tranche GROUP BY cell, account_id, programme) t
             USING (cell, account_id, programme)
        WHERE (coalesce(p.available_idr, 0), coalesce(p.held_idr, 0), coalesce(p.frozen_idr, 0)) IS DISTINCT FROM
              (coalesce(t.available_idr, 0), coalesce(t.held_idr, 0), coalesce(t.frozen_idr, 0))
    """,
    "nothing is below zero": """
        SELECT (SELECT count(*) FROM purse WHERE least(available_idr, held_idr, frozen_idr) < 0)
             + (SELECT count(*) FROM tranche WHERE least(available_idr, held_idr, frozen_idr, returned_idr) < 0), NULL
    """,
    "no reversal takes back more than its transfer": f"""
        SELECT count(*), min(account_id) FROM (
            SELECT r.account_id, r.corrects, o.amount_idr, sum(r.amount_idr) AS reversed,
                   bool_or(r.debit <> o.credit) AS from_elsewhere FROM transfer r
            LEFT JOIN transfer o ON (o.cell, o.account_id, o.id) = (r.cell, r.account_id, r.corrects)
            WHERE r.kind IN {TAKING_BACK} GROUP BY r.cell, r.account_id, r.corrects, o.amount_idr) x
        WHERE reversed > amount_idr OR from_elsewhere
           OR (amount_idr IS NULL AND corrects > (SELECT last_id FROM journal_opening)) OR corrects IS NULL
    """,
}
CHECKPOINT_CHECKS = {
    "the checkpoints of tranches equal their journal": f"""
        SELECT count(*), min(coalesce(c.account_id, j.account_id)) FROM tranche_checkpoint c
        FULL JOIN ({JOURNAL_BY_TRANCHE}) j USING (cell, account_id, tranche_id)
        WHERE (c.credited_idr, c.available_idr, c.held_idr, c.frozen_idr, c.returned_idr) IS DISTINCT FROM
              (j.credited_idr, j.available_idr, j.held_idr, j.frozen_idr, j.returned_idr)
    """,
    "the checkpoints of purses equal those of their tranches": """
        SELECT count(*), NULL FROM (SELECT * FROM purse_checkpoint WHERE business_date = CAST(:through AS date)) p
        FULL JOIN (SELECT c.cell, t.programme, sum(c.available_idr)::bigint AS available_idr,
                          sum(c.held_idr)::bigint AS held_idr, sum(c.frozen_idr)::bigint AS frozen_idr
                   FROM tranche_checkpoint c
                   JOIN tranche t ON (t.cell, t.account_id, t.id) = (c.cell, c.account_id, c.tranche_id)
                   GROUP BY c.cell, t.programme) j USING (cell, programme)
        WHERE (p.available_idr, p.held_idr, p.frozen_idr) IS DISTINCT FROM (j.available_idr, j.held_idr, j.frozen_idr)
    """,
    "the checkpoints of control accounts equal their journal": """
        SELECT count(*), NULL FROM (SELECT * FROM control_checkpoint WHERE business_date = CAST(:through AS date)) c
        FULL JOIN (SELECT account, sum(amount_idr)::bigint AS balance_idr
                   FROM (SELECT account, amount_idr FROM control_move WHERE business_date <= CAST(:through AS date)
                         UNION ALL
                         SELECT account, balance_idr FROM control_checkpoint
                         WHERE business_date = (SELECT detached_through FROM journal_opening)) m
                   GROUP BY account) j USING (account)
        WHERE c.balance_idr IS DISTINCT FROM j.balance_idr
    """,
}
# OFFSET 0 keeps a sub-query one by one: a reversal of an earlier day's transfer is a look by key, never a scan of old months.
CHECKS_SINCE = {
    "every tranche touched equals its checkpoint and its journal since": f"""
        SELECT count(*), min(j.account_id)
        FROM (SELECT cell, account_id, tranche_id, {PHASES}, sum(credited_idr)::bigint AS credited_idr,
                     sum(returned_idr)::bigint AS returned_idr
              FROM tranche_move WHERE business_date > CAST(:since AS date) GROUP BY cell, account_id, tranche_id) j
        LEFT JOIN tranche t ON (t.cell, t.account_id, t.id) = (j.cell, j.account_id, j.tranche_id)
        LEFT JOIN tranche_checkpoint c ON (c.cell, c.account_id, c.tranche_id) = (j.cell, j.account_id, j.tranche_id)
        WHERE (t.amount_idr, t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr) IS DISTINCT FROM
              (coalesce(c.credited_idr, 0) + j.credited_idr, coalesce(c.available_idr, 0) + j.available_idr,
               coalesce(c.held_idr, 0) + j.held_idr, coalesce(c.frozen_idr, 0) + j.frozen_idr,
               coalesce(c.returned_idr, 0) + j.returned_idr)
           OR least(t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr) < 0
    """,
    "every purse touched equals its tranches": f"""
        SELECT count(*), min(j.account_id)
        FROM (SELECT DISTINCT cell, account_id, programme FROM tranche_move WHERE business_date > CAST(:since AS date)) j
        LEFT JOIN purse p USING (cell, account_id, programme)
        CROSS JOIN LATERAL (SELECT {PHASES} FROM tranche t
                            WHERE (t.cell, t.account_id, t.programme) = (j.cell, j.account_id, j.programme)) t
        WHERE (p.available_idr, p.held_idr, p.frozen_idr) IS DISTINCT FROM (t.available_idr, t.held_idr, t.frozen_idr)
    """,
    "all purses equal their checkpoints and the journal since": f"""
        SELECT count(*), NULL FROM (SELECT cell, programme, {PHASES} FROM purse GROUP BY cell, programme) p
        FULL JOIN (SELECT cell, programme, {PHASES}
                   FROM (SELECT cell, programme, available_idr, held_idr, frozen_idr FROM purse_checkpoint
                         WHERE business_date = CAST(:since AS date)
                         UNION ALL
                         SELECT cell, programme, available_idr, held_idr, frozen_idr FROM tranche_move
                         WHERE business_date > CAST(:since AS date)) m
                   GROUP BY cell, programme) j USING (cell, programme)
        WHERE (coalesce(p.available_idr, 0), coalesce(p.held_idr, 0), coalesce(p.frozen_idr, 0)) IS DISTINCT FROM
              (coalesce(j.available_idr, 0), coalesce(j.held_idr, 0), coalesce(j.frozen_idr, 0))
    """,
    "no reversal since takes back more than its transfer": f"""
        SELECT count(*), min(r.account_id)
        FROM (SELECT DISTINCT cell, account_id, corrects, debit FROM transfer
              WHERE business_date > CAST(:since AS date) AND kind IN {TAKING_BACK} OFFSET 0) r
        LEFT JOIN LATERAL (SELECT o.amount_idr, o.business_date, o.credit FROM transfer o
                           WHERE (o.cell, o.account_id, o.id) = (r.cell, r.account_id, r.corrects)
                           ORDER BY o.business_date DESC LIMIT 1) o ON true
        CROSS JOIN LATERAL (SELECT sum(x.amount_idr) AS reversed FROM transfer x
                            WHERE (x.cell, x.account_id) = (r.cell, r.account_id) AND x.corrects = r.corrects
                              AND x.kind IN {TAKING_BACK} AND x.business_date >= o.business_date) x
        WHERE x.reversed > o.amount_idr OR r.debit <> o.credit
           OR (o.amount_idr IS NULL AND r.corrects > (SELECT last_id FROM journal_opening)) OR r.corrects IS NULL
    """,
    "the checkpoints of the day close": """
        SELECT (coalesce((SELECT sum(balance_idr) FROM control_checkpoint WHERE business_date = CAST(:since AS date)), 0)
              + coalesce((SELECT sum(available_idr + held_idr + frozen_idr) FROM purse_checkpoint
                          WHERE business_date = CAST(:since AS date)), 0) <> 0)::int, NULL
    """,
}


async def prove(connection: AsyncConnection) -> list[Check]:
    """The whole proof, in one snapshot of the connection's transaction; checkpoints too where a day was ever closed."""
    checks = [await _run(connection, name, statement, {"through": None}) for name, statement in CHECKS.items()]
    closed = await days.last_closed(connection)
    if closed is not None:
        checks += [
            await _run(connection, name, statement, {"through": closed})
            for name, statement in CHECKPOINT_CHECKS.items()
        ]
    start = await days.detached_through(connection)
    checks.append(await _closed_system(connection, await control_balances(connection, start)))
    return checks


async def prove_since(connection: AsyncConnection, closed: date) -> list[Check]:
    """The proof of what came after a closed day, on its checkpoints, in one snapshot of the connection's transaction."""
    checks = [await _run(connection, name, statement, {"since": closed}) for name, statement in CHECKS_SINCE.items()]
    checks.append(await _closed_system(connection, await control_balances(connection, closed)))
    return checks


async def control_balance(connection: AsyncConnection, control: Control) -> int:
    """Credits less debits of a control account over all programmes, in rupiah, as the journal at hand adds up."""
    return (await control_balances(connection, await days.detached_through(connection)))[control]


async def control_balances(connection: AsyncConnection, since: date | None) -> dict[Control, int]:
    """Every control account: its checkpoint of SINCE and the journal after it; without SINCE the whole journal at hand."""
    rows = await connection.execute(CONTROL_BALANCES, {"since": since})
    found = {int(row.control): int(row.balance_idr) for row in rows}
    return {control: found.get(control, 0) for control in Control}


CONTROL_BALANCES = text("""
    SELECT account / 1000 AS control, sum(amount_idr) AS balance_idr
    FROM (SELECT account, balance_idr AS amount_idr FROM control_checkpoint WHERE business_date = CAST(:since AS date)
          UNION ALL
          SELECT account, amount_idr FROM control_move WHERE business_date > coalesce(CAST(:since AS date), '-infinity')) m
    GROUP BY account / 1000
""")


async def _run(connection: AsyncConnection, name: str, statement: str, values: dict[str, date | None]) -> Check:
    wanted = {key: value for key, value in values.items() if f":{key}" in statement}
    wrong, first = (await connection.execute(text(statement), wanted)).one()
    where = "" if first is None else f", the first at account {first}"
    return Check(name, not wrong, "holds" if not wrong else f"{wrong} disagree{where}")


async def _closed_system(connection: AsyncConnection, balances: dict[Control, int]) -> Check:
    """What came from the treasury less what went back = funds + purses + owed to partners + RPL."""
    purses = await connection.execute(text("SELECT coalesce(sum(available_idr + held_idr + frozen_idr), 0) FROM purse"))
    inside = int(purses.scalar_one()) + sum(
        amount for control, amount in balances.items() if control is not Control.TREASURY
    )
    entered = -balances[Control.TREASURY]
    return Check(CLOSED_SYSTEM, entered == inside, f"in the bank's care Rp{entered:,}, explained Rp{inside:,}")
