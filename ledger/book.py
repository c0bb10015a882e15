"""The book: writing transfers and what they change, in PostgreSQL. Takes a connection inside a transaction, never commits.

One SQL text posts any set of transfers (POST_CTES): the statement itself adds up what they change of tranches, and the database
carries that to the purses (sql/0002_invariant.sql). The authorisation lanes put their own tables behind it so that a group is one
statement. A tranche that would go below zero, that does not exist, or that may not be spent, fails the whole posting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ledger.chart import PURSE_BASE, Control, Phase
from ledger.posting import Kind, PostingError, Transfer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

POST_CTES = """
posted AS (
    INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, tranche_id, corrects,
                          business_date)
    SELECT * FROM unnest(CAST(:t_cell AS smallint[]), CAST(:t_account AS bigint[]), CAST(:t_id AS bigint[]),
                         CAST(:t_debit AS bigint[]), CAST(:t_credit AS bigint[]), CAST(:t_amount AS bigint[]),
                         CAST(:t_kind AS text[]), CAST(:t_source AS text[]), CAST(:t_source_id AS bigint[]),
                         CAST(:t_tranche AS bigint[]), CAST(:t_corrects AS bigint[]), CAST(:t_date AS date[]))
    RETURNING cell, account_id, tranche_id, debit, credit, amount_idr, kind, business_date
), moved AS (
    SELECT cell, account_id, tranche_id, CASE WHEN debit >= 10000 THEN debit ELSE credit END % 10000 / 10 AS programme,
           sum(CASE WHEN credit >= 10000 AND credit % 10 = 0 THEN amount_idr ELSE 0 END
             - CASE WHEN debit >= 10000 AND debit % 10 = 0 THEN amount_idr ELSE 0 END) AS available,
           sum(CASE WHEN credit >= 10000 AND credit % 10 = 1 THEN amount_idr ELSE 0 END
             - CASE WHEN debit >= 10000 AND debit % 10 = 1 THEN amount_idr ELSE 0 END) AS held,
           sum(CASE WHEN credit >= 10000 AND credit % 10 = 2 THEN amount_idr ELSE 0 END
             - CASE WHEN debit >= 10000 AND debit % 10 = 2 THEN amount_idr ELSE 0 END) AS frozen,
           sum(CASE kind WHEN 'TO_RPL' THEN amount_idr ELSE 0 END) AS returned,
           max(CASE WHEN kind IN ('WITHDRAWAL', 'PURCHASE', 'HOLD') THEN business_date END) AS used_on,
           bool_or(kind IN ('REVERSAL', 'RELEASE')) AS given_back
    FROM posted WHERE tranche_id IS NOT NULL GROUP BY 1, 2, 3, 4
), tranches AS (
    UPDATE tranche t SET available_idr = t.available_idr + m.available, held_idr = t.held_idr + m.held,
                         frozen_idr = t.frozen_idr + m.frozen, returned_idr = t.returned_idr + m.returned,
                         state = CASE WHEN m.given_back AND t.state NOT IN ('OPEN', 'BLOCKED') THEN 'OPEN' ELSE t.state END,
                         used_on = CASE WHEN t.available_idr + m.available = t.amount_idr THEN NULL
                                        ELSE coalesce(t.used_on, m.used_on) END
    FROM moved m
    WHERE t.cell = m.cell AND t.account_id = m.account_id AND t.id = m.tranche_id AND t.programme = m.programme
      AND (m.used_on IS NULL OR (t.state = 'OPEN' AND t.available_from <= m.used_on))
    RETURNING 1
)
"""
# What is credited, in one statement: the text wants a relation `credited` before it, one row a tranche, with the columns of
# NewTranche and the ids of tranche and transfer. `clock_from` begins where the money may be spent.
CREDIT_CTES = f"""
new_tranches AS (
    INSERT INTO tranche (cell, account_id, id, programme, stage, months, si_id, si_line, sp2d_no, region, credited_on,
                         available_from, clock_from, amount_idr, available_idr, state)
    SELECT cell, account_id, tranche_id, programme, stage, months, si_id, si_line, sp2d_no, region, credited_on,
           available_from, available_from, amount_idr, amount_idr, 'OPEN' FROM credited
), new_transfers AS (
    INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, tranche_id, business_date)
    SELECT cell, account_id, transfer_id, {Control.PROGRAMME_FUND * 1_000} + programme,
           account_id * {PURSE_BASE} + programme * 10 + {Phase.AVAILABLE.value}, amount_idr, '{Kind.CREDIT.value}', 'si', si_id,
           tranche_id, credited_on FROM credited
)
"""
COUNTS = "(SELECT count(*) FROM posted), (SELECT count(*) FROM moved), (SELECT count(*) FROM tranches)"
POST = text(f"WITH {POST_CTES} SELECT {COUNTS}")


@dataclass(frozen=True, slots=True)
class NewTranche:
    """A tranche to be credited: whose, which programme and stage, and the money's papers."""

    cell: int
    account_id: int
    id: int
    programme: int
    stage: str
    months: list[str]
    si_id: int
    si_line: int
    sp2d_no: str
    region: str
    credited_on: date
    available_from: date  # the clock counts from here
    amount_idr: int


async def post(connection: AsyncConnection, transfers: Sequence[Transfer]) -> list[int]:
    """Write transfers and their effects. Returns their ids.

    Raises PostingError when a purse or tranche would go below zero or does not exist; the caller rolls back.
    """
    if not transfers:
        return []
    ids = await take_ids(connection, "transfer_id_seq", len(transfers))
    arrays = post_arrays(transfers, ids)
    try:
        row = (await connection.execute(POST, arrays)).one()
    except IntegrityError as error:
        raise PostingError(f"the posting breaks a rule of the book: {_constraint(error)}") from error
    check_counts(len(transfers), tuple(row))
    return ids


def post_arrays(transfers: Sequence[Transfer], ids: Sequence[int]) -> dict[str, list[Any]]:
    """Parameters of POST_CTES for transfers with their ids. Raises PostingError for what is no transfer."""
    for t in transfers:
        if t.amount_idr <= 0:
            raise PostingError(f"a transfer must be of a positive amount, not {t.amount_idr}")
        if t.debit == t.credit:
            raise PostingError("a transfer needs two different accounts")
    return {
        "t_cell": [t.cell for t in transfers],
        "t_account": [t.account_id for t in transfers],
        "t_id": list(ids),
        "t_debit": [t.debit for t in transfers],
        "t_credit": [t.credit for t in transfers],
        "t_amount": [t.amount_idr for t in transfers],
        "t_kind": [str(t.kind) for t in transfers],
        "t_source": [t.source.name for t in transfers],
        "t_source_id": [t.source.id for t in transfers],
        "t_tranche": [t.tranche_id for t in transfers],
        "t_corrects": [t.corrects for t in transfers],
        "t_date": [t.source.business_date for t in transfers],
    }


def check_counts(transfers: int, counts: tuple[int, ...]) -> None:
    """Every transfer must have been written, and every tranche it names have moved. Raises PostingError."""
    posted, moved, tranches = counts[:3]
    if posted != transfers or tranches != moved:
        raise PostingError(
            f"posted {posted} of {transfers} transfers and moved {tranches} of {moved} tranches: one is missing or not open"
        )


async def credit(connection: AsyncConnection, tranches: Sequence[NewTranche]) -> list[int]:
    """Credit families: tranches and transfers in one statement, purses by the database. Returns transfer ids.

    The same stage of a programme cannot be credited to an account twice: PostingError.
    """
    if not tranches:
        return []
    ids = await take_ids(connection, "transfer_id_seq", len(tranches))
    arrays = {name: [getattr(one, name) for one in tranches] for name in NewTranche.__slots__}
    arrays["months"] = ["{" + ",".join(one.months) + "}" for one in tranches]  # there is no array of arrays
    try:
        await connection.execute(CREDIT, arrays | {"transfer_id": ids})
    except IntegrityError as error:
        raise credit_refused(error) from error
    return ids


def credit_refused(error: IntegrityError) -> PostingError:
    """What to say where a credit breaks a rule of the book."""
    if _constraint(error) == "tranche_once":
        return PostingError("a family would be paid the same stage of a programme twice")
    return PostingError(f"the credit breaks a rule of the book: {_constraint(error)}")


async def take_ids(connection: AsyncConnection, sequence: str, count: int) -> list[int]:
    """COUNT new ids of a sequence."""
    found = await connection.execute(TAKE_IDS, {"sequence": sequence, "count": count})
    return list(found.scalar_one() or ())


TAKE_IDS = text("""
    SELECT array_agg(nextval(CAST(CAST(:sequence AS text) AS regclass))) FROM generate_series(1, CAST(:count AS int))
""")
CREDIT = text(f"""
    WITH credited AS (
        SELECT cell, account_id, id AS tranche_id, programme, stage, CAST(months AS text[]) AS months, si_id, si_line, sp2d_no,
               region, credited_on, available_from, amount_idr, transfer_id
        FROM unnest(CAST(:cell AS smallint[]), CAST(:account_id AS bigint[]), CAST(:id AS bigint[]),
                    CAST(:programme AS smallint[]), CAST(:stage AS text[]), CAST(:months AS text[]), CAST(:si_id AS bigint[]),
                    CAST(:si_line AS int[]), CAST(:sp2d_no AS text[]), CAST(:region AS text[]), CAST(:credited_on AS date[]),
                    CAST(:available_from AS date[]), CAST(:amount_idr AS bigint[]), CAST(:transfer_id AS bigint[]))
            AS n (cell, account_id, id, programme, stage, months, si_id, si_line, sp2d_no, region, credited_on, available_from,
                  amount_idr, transfer_id)
    ), {CREDIT_CTES} SELECT 1
""")


def _constraint(error: IntegrityError) -> str:
    name = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return str(name or "unknown constraint")
