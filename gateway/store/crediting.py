"""Crediting a part of an SI at once, in SQL: stage its rows, lock their accounts, decide every row, credit, keep the outcome.

The specification is gateway.rules.credit; DECISION says the same to PostgreSQL, one reason a line in the same order of
precedence, and a test holds the two against each other. What one statement cannot see, rows of a part that depend on each
other, is named by `to_decide_singly`; the caller asks the rule for those and hands in what it said.

Accounts are locked in the order of (cell, id), as every writer does, in a statement before the one that decides: so the decision
sees whatever an earlier holder of the lock has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.rules.account import CREDITABLE
from gateway.rules.credit import CreditReason
from gateway.store.database import copy_payload
from ledger.book import CREDIT_CTES, credit_refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.instructions import Instruction


async def stage(connection: AsyncConnection, columns: Sequence[str], payload: bytes) -> None:
    """Put the rows of a part, as COPY takes them, into a table of this transaction."""
    for statement in (MAKE_STAGED, MAKE_FOUND, PLAN_BY_INDEX):
        await connection.execute(statement)
    await copy_payload(connection, "si_staged", columns, payload)


async def lock_accounts(connection: AsyncConnection, on: date) -> None:
    """Find the staged rows' accounts and lock them until the transaction ends."""
    await connection.execute(FIND, {"on": on})
    await connection.execute(PLAN_FREELY)


async def to_decide_singly(connection: AsyncConnection, on: date) -> list[Any]:
    """Rows whose account has others of the same stage or month in this part, or no comparable name yet; in order."""
    return list(await connection.execute(SINGLY, {"on": on}))


async def keep_comparable(connection: AsyncConnection, names: Mapping[tuple[int, int], str]) -> None:
    """Comparable names of accounts that had none: (cell, id) -> name."""
    values = {"cells": [key[0] for key in names], "ids": [key[1] for key in names], "names": list(names.values())}
    await connection.execute(KEEP_COMPARABLE, values)


async def credit(
    connection: AsyncConnection,
    si: Instruction,
    on: date,
    singly: Mapping[int, CreditReason | None],
    *,
    in_place: bool = False,
) -> None:
    """Decide the staged rows, credit those that have no reason not to be, and keep every row with its outcome.

    SINGLY: line -> what the rule said. IN_PLACE: the rows are in si_row already and wait (schema 0001). Raises PostingError where
    the book refuses.
    """
    values = {
        "si_id": si.id, "sp2d_no": si.sp2d_no, "available_from": si.available_from, "on": on,
        "lines": list(singly), "reasons": [reason.value if reason else "" for reason in singly.values()],
    }  # fmt: skip
    try:
        await connection.execute(CREDIT_IN_PLACE if in_place else CREDIT, values)
    except IntegrityError as error:
        raise credit_refused(error) from error


# Both tables live as long as the connection and are empty at the start of every transaction.
MAKE_STAGED = text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS si_staged (
        line int, nik_index bytea, account_number text, name text, programme text, stage text, months text[],
        amount_idr bigint, reason text) ON COMMIT DELETE ROWS
""")
MAKE_FOUND = text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS si_found (
        line int, cell smallint, account_id bigint, programme smallint, state text, region text, holder_name text,
        name text, nik_index bytea) ON COMMIT DELETE ROWS
""")
# A part is small and the tables of accounts are large: each row is looked up by index, never all accounts read.
PLAN_BY_INDEX = text("""
    SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
           set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true)
""")
PLAN_FREELY = text("SELECT set_config('enable_hashjoin', 'on', true)")
FIND = text("""
    INSERT INTO si_found
    SELECT s.line, a.cell, a.id, p.number, a.state, a.region, a.holder_name, a.holder_comparable, f.nik_index
    FROM si_staged s JOIN account a ON a.number = s.account_number JOIN family f ON f.id = a.id
    LEFT JOIN programme p ON p.code = s.programme AND p.valid_from <= :on AND (p.valid_to IS NULL OR :on <= p.valid_to)
    ORDER BY a.cell, a.id FOR NO KEY UPDATE OF a
""")
SINGLY = text("""
    WITH several AS (
        SELECT cell, account_id, programme FROM si_found GROUP BY 1, 2, 3 HAVING count(*) > 1
    ), overlapping AS (
        SELECT f.cell, f.account_id
        FROM several v JOIN si_found f USING (cell, account_id, programme) JOIN si_staged s USING (line)
        CROSS JOIN LATERAL unnest(s.stage || s.months) AS k (stage_or_month)
        GROUP BY f.cell, f.account_id, f.programme, k.stage_or_month HAVING count(*) > 1
    )
    SELECT s.line, s.nik_index, s.name, s.programme, s.stage, s.months, s.amount_idr, f.cell, f.account_id, f.state,
           f.holder_name, f.name AS holder_comparable, f.nik_index AS holder_index,
           EXISTS (SELECT FROM exclusion e WHERE e.nik_index = f.nik_index AND e.valid_from <= :on
                   AND (e.valid_to IS NULL OR :on <= e.valid_to)) AS excluded
    FROM si_found f JOIN si_staged s USING (line)
    WHERE s.reason IS NULL
      AND (f.name IS NULL OR (f.cell, f.account_id) IN (SELECT cell, account_id FROM overlapping))
    ORDER BY s.line
""")
KEEP_COMPARABLE = text("""
    UPDATE account a SET holder_comparable = n.name
    FROM unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[]), CAST(:names AS text[])) AS n (cell, id, name)
    WHERE a.cell = n.cell AND a.id = n.id
""")
_ALIVE = ", ".join(f"'{state.value}'" for state in sorted(CREDITABLE))
DECISION = f"""
    CASE
        WHEN s.reason IS NOT NULL THEN s.reason
        WHEN s.nik_index IS NULL OR s.stage IS NULL OR s.amount_idr IS NULL OR s.name IS NULL
             OR coalesce(cardinality(s.months), 0) = 0 THEN '{CreditReason.ROW_INVALID.value}'
        WHEN p.number IS NULL THEN '{CreditReason.PROGRAM_UNKNOWN.value}'
        WHEN f.line IS NULL THEN '{CreditReason.ACCOUNT_NOT_FOUND.value}'
        WHEN s.nik_index <> f.nik_index THEN '{CreditReason.NIK_MISMATCH.value}'
        WHEN s.name <> f.name OR s.name = '' THEN '{CreditReason.NAME_MISMATCH.value}'
        WHEN f.state NOT IN ({_ALIVE}) THEN '{CreditReason.ACCOUNT_NOT_ACTIVE.value}'
        WHEN EXISTS (SELECT FROM exclusion e WHERE e.nik_index = f.nik_index AND e.valid_from <= :on
                     AND (e.valid_to IS NULL OR :on <= e.valid_to)) THEN '{CreditReason.EXCLUDED.value}'
        ELSE (SELECT CASE WHEN bool_or(t.si_id = :si_id) THEN '{CreditReason.DUP_ROW.value}'
                          WHEN count(*) > 0 THEN '{CreditReason.ALREADY_PAID.value}' END
              FROM tranche t WHERE t.cell = f.cell AND t.account_id = f.account_id AND t.programme = p.number
                AND (t.stage || t.months) && (s.stage || s.months))
    END
"""
DECIDE_AND_CREDIT = f"""
    WITH decided AS MATERIALIZED (
        SELECT d.*, CASE WHEN d.refused IS NULL THEN nextval('tranche_id_seq') END AS tranche_id,
               CASE WHEN d.refused IS NULL THEN nextval('transfer_id_seq') END AS transfer_id
        FROM (
            SELECT s.line, s.nik_index, s.account_number, s.programme AS code, s.stage, s.months, s.amount_idr, f.cell,
                   f.account_id, f.region, p.number AS programme,
                   greatest(CAST(:on AS date) + CAST(p.available_after_days AS int), CAST(:available_from AS date))
                       AS available_from,
                   CASE WHEN r.line IS NOT NULL THEN nullif(r.reason, '') ELSE {DECISION} END AS refused
            FROM si_staged s LEFT JOIN si_found f ON f.line = s.line
            LEFT JOIN programme p
                ON p.code = s.programme AND p.valid_from <= :on AND (p.valid_to IS NULL OR :on <= p.valid_to)
            LEFT JOIN unnest(CAST(:lines AS int[]), CAST(:reasons AS text[])) AS r (line, reason) ON r.line = s.line
            ORDER BY f.cell, f.account_id, s.line
        ) d
    ), credited AS NOT MATERIALIZED (
        SELECT cell, account_id, tranche_id, transfer_id, programme, stage, months, CAST(:si_id AS bigint) AS si_id,
               line AS si_line, CAST(:sp2d_no AS text) AS sp2d_no, region, CAST(:on AS date) AS credited_on, available_from,
               amount_idr
        FROM decided WHERE refused IS NULL
    ), {CREDIT_CTES}
    INSERT INTO si_row (si_id, line, nik_index, account_number, programme, stage, months, amount_idr, state, reason, cell,
                        account_id, tranche_id)
    SELECT :si_id, line, CASE WHEN refused IS NOT NULL THEN nik_index END, account_number, code, stage,
           CASE WHEN refused IS NOT NULL THEN months END, amount_idr,
           CASE WHEN refused IS NULL THEN 'TOPUP_SUKSES' ELSE 'TOPUP_GAGAL' END, refused, cell, account_id, tranche_id
    FROM decided
"""
CREDIT = text(DECIDE_AND_CREDIT)
CREDIT_IN_PLACE = text(f"""{DECIDE_AND_CREDIT}
    ON CONFLICT (si_id, line) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason, cell = EXCLUDED.cell,
        account_id = EXCLUDED.account_id, tranche_id = EXCLUDED.tranche_id
""")
