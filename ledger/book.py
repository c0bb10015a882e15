"""The book: writing transfers and what they change, in PostgreSQL. Takes a connection inside a transaction, never commits.

One SQL text posts any set of transfers (POST_CTES); the authorisation lanes put their own tables behind it so that a group
is one statement. A purse or tranche that would go below zero, or that does not exist, fails the whole posting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ledger.chart import Control, Phase, control_account, purse_account
from ledger.posting import Kind, PostingError, Transfer, effects

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
    RETURNING 1
), purses AS (
    UPDATE purse p SET available_idr = p.available_idr + d.available, held_idr = p.held_idr + d.held,
                       frozen_idr = p.frozen_idr + d.frozen
    FROM unnest(CAST(:p_cell AS smallint[]), CAST(:p_account AS bigint[]), CAST(:p_programme AS smallint[]),
                CAST(:p_available AS bigint[]), CAST(:p_held AS bigint[]), CAST(:p_frozen AS bigint[]))
         AS d (cell, account_id, programme, available, held, frozen)
    WHERE p.cell = d.cell AND p.account_id = d.account_id AND p.programme = d.programme
    RETURNING 1
), tranches AS (
    UPDATE tranche t SET available_idr = t.available_idr + d.available, held_idr = t.held_idr + d.held,
                         frozen_idr = t.frozen_idr + d.frozen, returned_idr = t.returned_idr + d.returned,
                         state = CASE WHEN d.reopens AND t.state NOT IN ('OPEN', 'BLOCKED') THEN 'OPEN' ELSE t.state END,
                         used_on = CASE WHEN t.available_idr + d.available = t.amount_idr THEN NULL
                                        ELSE coalesce(t.used_on, d.used_on) END
    FROM unnest(CAST(:l_cell AS smallint[]), CAST(:l_account AS bigint[]), CAST(:l_id AS bigint[]),
                CAST(:l_available AS bigint[]), CAST(:l_held AS bigint[]), CAST(:l_frozen AS bigint[]),
                CAST(:l_returned AS bigint[]), CAST(:l_used AS date[]), CAST(:l_state AS text[]),
                CAST(:l_reopens AS boolean[]))
         AS d (cell, account_id, id, available, held, frozen, returned, used_on, state, reopens)
    WHERE t.cell = d.cell AND t.account_id = d.account_id AND t.id = d.id AND (d.state IS NULL OR t.state = d.state)
    RETURNING 1
)
"""
COUNTS = "(SELECT count(*) FROM posted), (SELECT count(*) FROM purses), (SELECT count(*) FROM tranches)"
POST = text(f"WITH {POST_CTES} SELECT {COUNTS}")
SPENDING = frozenset({Kind.WITHDRAWAL, Kind.PURCHASE, Kind.HOLD})  # what counts as use of a tranche


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
    check_counts(arrays, tuple(row))
    return ids


def post_arrays(transfers: Sequence[Transfer], ids: Sequence[int]) -> dict[str, list[Any]]:
    """Parameters of POST_CTES for transfers with their ids."""
    total = effects(transfers)
    purses = sorted(total.purses.items())
    tranches = sorted(total.tranches.items())
    used = {(t.cell, t.account_id, t.tranche_id): t.source.business_date for t in transfers if t.kind in SPENDING}
    given_back = {(t.cell, t.account_id, t.tranche_id) for t in transfers if t.kind is Kind.REVERSAL}
    return {
        "t_cell": [t.cell for t in transfers],
        "t_account": [t.account_id for t in transfers],
        "t_id": list(ids),
        "t_debit": [t.debit for t in transfers],
        "t_credit": [t.credit for t in transfers],
        "t_amount": [t.amount_idr for t in transfers],
        "t_kind": [t.kind.value for t in transfers],
        "t_source": [t.source.name for t in transfers],
        "t_source_id": [t.source.id for t in transfers],
        "t_tranche": [t.tranche_id for t in transfers],
        "t_corrects": [t.corrects for t in transfers],
        "t_date": [t.source.business_date for t in transfers],
        "p_cell": [key[0] for key, _ in purses],
        "p_account": [key[1] for key, _ in purses],
        "p_programme": [key[2] for key, _ in purses],
        "p_available": [delta.available_idr for _, delta in purses],
        "p_held": [delta.held_idr for _, delta in purses],
        "p_frozen": [delta.frozen_idr for _, delta in purses],
        "l_cell": [key[0] for key, _ in tranches],
        "l_account": [key[1] for key, _ in tranches],
        "l_id": [key[2] for key, _ in tranches],
        "l_available": [delta.available_idr for _, delta in tranches],
        "l_held": [delta.held_idr for _, delta in tranches],
        "l_frozen": [delta.frozen_idr for _, delta in tranches],
        "l_returned": [delta.returned_idr for _, delta in tranches],
        "l_used": [used.get(key) for key, _ in tranches],
        # money given back to a closed tranche can be spent again
        "l_reopens": [key in given_back for key, _ in tranches],
        "l_state": ["OPEN" if key in used else None for key, _ in tranches],  # only open money may be spent
    }


def check_counts(arrays: dict[str, list[Any]], counts: tuple[int, ...]) -> None:
    """Every transfer, purse and tranche must have been written. Raises PostingError."""
    wanted = (len(arrays["t_id"]), len(arrays["p_cell"]), len(arrays["l_cell"]))
    if counts[:3] != wanted:
        raise PostingError(
            f"posted {counts[:3]} of {wanted} transfers, purses and tranches: one is missing or not open"
        )


async def credit(connection: AsyncConnection, tranches: Sequence[NewTranche]) -> list[int]:
    """Credit many families at once: tranches, transfers and purses by COPY and one upsert. Returns transfer ids.

    The same stage of a programme cannot be credited to an account twice: PostingError.
    """
    if not tranches:
        return []
    ids = await take_ids(connection, "transfer_id_seq", len(tranches))
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - an open connection has a driver
    try:
        await driver.copy_records_to_table(
            "tranche", columns=list(TRANCHE_COLUMNS), records=map(_tranche_row, tranches)
        )
    except Exception as error:
        if getattr(error, "constraint_name", None) == "tranche_once":
            raise PostingError("a family would be paid the same stage of a programme twice") from error
        raise
    await driver.copy_records_to_table(
        "transfer", columns=list(TRANSFER_COLUMNS), records=map(_credit_row, tranches, ids)
    )
    await connection.execute(UPSERT_PURSES, _purse_sums(tranches))
    return ids


async def take_ids(connection: AsyncConnection, sequence: str, count: int) -> list[int]:
    """COUNT new ids of a sequence."""
    found = await connection.execute(TAKE_IDS, {"sequence": sequence, "count": count})
    return list(found.scalars())


TAKE_IDS = text("SELECT nextval(CAST(:sequence AS regclass)) FROM generate_series(1, :count)")
UPSERT_PURSES = text("""
    INSERT INTO purse (cell, account_id, programme, available_idr)
    SELECT * FROM unnest(CAST(:cell AS smallint[]), CAST(:account AS bigint[]), CAST(:programme AS smallint[]),
                         CAST(:amount AS bigint[]))
    ON CONFLICT (cell, account_id, programme) DO UPDATE SET available_idr = purse.available_idr + EXCLUDED.available_idr
""")
TRANCHE_COLUMNS = ("cell", "account_id", "id", "programme", "stage", "months", "si_id", "si_line", "sp2d_no", "region",
                   "credited_on", "available_from", "clock_from", "amount_idr", "available_idr", "state")  # fmt: skip
TRANSFER_COLUMNS = ("cell", "account_id", "id", "debit", "credit", "amount_idr", "kind", "source", "source_id",
                    "tranche_id", "business_date")  # fmt: skip


def _tranche_row(new: NewTranche) -> tuple[Any, ...]:
    return (new.cell, new.account_id, new.id, new.programme, new.stage, new.months, new.si_id, new.si_line, new.sp2d_no,
            new.region, new.credited_on, new.credited_on, new.credited_on, new.amount_idr, new.amount_idr, "OPEN")  # fmt: skip


def _credit_row(new: NewTranche, transfer_id: int) -> tuple[Any, ...]:
    return (new.cell, new.account_id, transfer_id, control_account(Control.PROGRAMME_FUND, new.programme),
            purse_account(new.account_id, new.programme, Phase.AVAILABLE), new.amount_idr, Kind.CREDIT.value, "si",
            new.si_id, new.id, new.credited_on)  # fmt: skip


def _purse_sums(tranches: Sequence[NewTranche]) -> dict[str, list[int]]:
    sums: dict[tuple[int, int, int], int] = {}
    for new in tranches:
        key = (new.cell, new.account_id, new.programme)
        sums[key] = sums.get(key, 0) + new.amount_idr
    ordered = sorted(sums)
    return {
        "cell": [key[0] for key in ordered],
        "account": [key[1] for key in ordered],
        "programme": [key[2] for key in ordered],
        "amount": [sums[key] for key in ordered],
    }


def _constraint(error: IntegrityError) -> str:
    name = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return str(name or "unknown constraint")
