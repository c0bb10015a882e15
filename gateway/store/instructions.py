"""Standing instructions as stored: sp2d, si and its rows, and what a chunk of rows needs before it is credited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.batch import SiState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

ROW_COLUMNS = ["si_id", "line", "record", "nik_index", "account_number", "holder_name", "programme", "stage", "months",
               "amount_idr", "state", "reason"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """An SI as it stands."""

    id: int
    si_no: str
    sp2d_no: str
    sp2d_date: date
    sp2d_amount_idr: int
    sp2d_count: int | None
    file_name: str
    header: list[str]
    rows: int
    amount_idr: int
    state: SiState
    maker: str
    checker: str | None
    reason: str | None
    created_at: datetime


async def seen_before(connection: AsyncConnection, sha256: str, si_no: str, sp2d_no: str) -> str | None:
    """Why this SI cannot be taken in again: the file, the SI number or the SP2D was used before. None: it is new.

    One that disagreed with its SP2D, or was rejected, is not in the way of the right one.
    """
    row = (await connection.execute(SEEN, {"sha256": sha256, "si_no": si_no, "sp2d_no": sp2d_no})).first()
    if row is None:
        return None
    if row.file_sha256 == sha256:
        return f"this file was imported before, as SI {row.si_no} (same SHA-256)"
    if row.si_no == si_no:
        return f"SI {si_no} was imported before"
    return f"SP2D {sp2d_no} belongs to SI {row.si_no} already"


async def create(connection: AsyncConnection, values: dict[str, Any]) -> int:
    """Insert an SI and its SP2D."""
    await connection.execute(CREATE_SP2D, values)
    return int((await connection.execute(CREATE_SI, values)).scalar_one())


async def set_totals(connection: AsyncConnection, si_id: int, state: SiState, reason: str | None) -> None:
    """Write how many rows there are and what they add up to, and what was made of that."""
    await connection.execute(SET_TOTALS, {"id": si_id, "state": state.value, "reason": reason})


async def totals(connection: AsyncConnection, si_id: int) -> tuple[int, int]:
    """Rows and rupiah of an SI's list."""
    row = (await connection.execute(TOTALS, {"id": si_id})).one()
    return row.rows, int(row.amount)


async def read(connection: AsyncConnection, si_no: str, *, lock: bool = False) -> Instruction:
    """One SI by its number, the newest. Raises NotFound."""
    row = (await connection.execute(LOCK_ONE if lock else READ_ONE, {"si_no": si_no})).one_or_none()
    if row is None:
        raise NotFound(f"there is no SI {si_no}")
    return _instruction(row)


async def read_all(connection: AsyncConnection) -> list[Instruction]:
    """Every SI, newest first."""
    return [_instruction(row) for row in await connection.execute(READ_ALL)]


async def set_state(
    connection: AsyncConnection, si_id: int, state: SiState, *, checker: str | None = None, reason: str | None = None
) -> None:
    """Move an SI; the caller has checked the transition."""
    values = {"id": si_id, "state": state.value, "checker": checker, "reason": reason}
    await connection.execute(SET_STATE, values)


async def amounts_by_programme(connection: AsyncConnection, si_id: int) -> dict[int, int]:
    """What the SI's rows add up to, by programme number; 0 for rows whose programme is not known."""
    rows = await connection.execute(BY_PROGRAMME, {"id": si_id})
    return {row.programme: int(row.amount) for row in rows}


async def waiting_rows(connection: AsyncConnection, si_id: int, limit: int) -> list[Any]:
    """The next rows to credit."""
    return list(await connection.execute(WAITING, {"id": si_id, "limit": limit}))


async def lock_accounts(connection: AsyncConnection, numbers: list[str], on: date) -> dict[str, Any]:
    """The accounts that rows name, locked in the order every writer keeps, by number."""
    await connection.execute(LOCK_ACCOUNTS, {"numbers": numbers})
    rows = await connection.execute(READ_ACCOUNTS, {"numbers": numbers, "on": on})
    return {row.number: row for row in rows}


async def paid_stages(
    connection: AsyncConnection, si_id: int, accounts: list[tuple[int, int]]
) -> tuple[dict[int, dict[str, set[str]]], dict[int, dict[str, set[str]]]]:
    """Account id -> programme code -> stages and months credited before: by other SIs, and by this one."""
    values = {"cells": [cell for cell, _ in accounts], "ids": [account for _, account in accounts]}
    before: dict[int, dict[str, set[str]]] = {}
    here: dict[int, dict[str, set[str]]] = {}
    for row in await connection.execute(PAID, values):
        paid = here if row.si_id == si_id else before
        paid.setdefault(row.account_id, {}).setdefault(row.code, set()).update((row.stage, *row.months))
    return before, here


async def mark_rows(
    connection: AsyncConnection, si_id: int, outcomes: list[tuple[int, str | None, int | None]]
) -> None:
    """Write each row's outcome: (line, reason or None, tranche id or None)."""
    values = {
        "id": si_id,
        "lines": [line for line, _, _ in outcomes],
        "reasons": [reason for _, reason, _ in outcomes],
        "tranches": [tranche for _, _, tranche in outcomes],
    }
    await connection.execute(MARK_ROWS, values)


async def outcome(connection: AsyncConnection, si_id: int) -> tuple[int, int, int, dict[str, int]]:
    """Credited rows, failed rows, credited rupiah, and failed rows by reason."""
    row = (await connection.execute(OUTCOME, {"id": si_id})).one()
    reasons = {one.reason: one.rows for one in await connection.execute(FAILED_BY_REASON, {"id": si_id})}
    return row.credited, row.failed, int(row.credited_idr), reasons


async def result_rows(connection: AsyncConnection, si_id: int) -> AsyncIterator[Any]:
    """Every row for the result file, in the order of the list."""
    return (await connection.stream(RESULT, {"id": si_id})).__aiter__()


def _instruction(row: Any) -> Instruction:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in Instruction.__slots__}
    return Instruction(**(values | {"state": SiState(row.state)}))


FROM_SI = """
    SELECT s.id, s.si_no, s.sp2d_no, p.sp2d_date, p.amount_idr AS sp2d_amount_idr, s.sp2d_count, s.file_name, s.header,
           s.rows, s.amount_idr, s.state, s.maker, s.checker, s.reason, s.created_at
    FROM si s JOIN sp2d p ON p.no = s.sp2d_no
"""
SEEN = text("""
    SELECT file_sha256, si_no FROM si
    WHERE (file_sha256 = :sha256 OR si_no = :si_no OR sp2d_no = :sp2d_no) AND state NOT IN ('MISMATCH', 'REJECTED')
    ORDER BY (file_sha256 = :sha256) DESC, (si_no = :si_no) DESC LIMIT 1
""")
CREATE_SP2D = text("""
    INSERT INTO sp2d (no, sp2d_date, amount_idr) VALUES (:sp2d_no, :sp2d_date, :sp2d_amount_idr)
    ON CONFLICT (no) DO UPDATE SET sp2d_date = EXCLUDED.sp2d_date, amount_idr = EXCLUDED.amount_idr
""")
CREATE_SI = text("""
    INSERT INTO si (si_no, sp2d_no, sp2d_count, file_name, file_sha256, header, state, maker, business_date)
    VALUES (:si_no, :sp2d_no, :sp2d_count, :file_name, :file_sha256, :header, :state, :maker, :business_date) RETURNING id
""")
SET_TOTALS = text("""
    UPDATE si SET rows = t.rows, amount_idr = t.amount, state = :state, reason = :reason
    FROM (SELECT count(*) AS rows, coalesce(sum(amount_idr), 0) AS amount FROM si_row WHERE si_id = :id) t WHERE id = :id
""")
TOTALS = text("SELECT count(*) AS rows, coalesce(sum(amount_idr), 0) AS amount FROM si_row WHERE si_id = :id")
READ_ONE = text(f"{FROM_SI} WHERE s.si_no = :si_no ORDER BY s.id DESC LIMIT 1")
LOCK_ONE = text(f"{FROM_SI} WHERE s.si_no = :si_no ORDER BY s.id DESC LIMIT 1 FOR UPDATE OF s")
READ_ALL = text(f"{FROM_SI} ORDER BY s.id DESC")
SET_STATE = text("""
    UPDATE si SET state = :state, checker = coalesce(:checker, checker), reason = coalesce(:reason, reason),
           decided_at = now() WHERE id = :id
""")
BY_PROGRAMME = text("""
    SELECT coalesce(p.number, 0) AS programme, sum(r.amount_idr) AS amount
    FROM si_row r LEFT JOIN programme p ON p.code = r.programme WHERE r.si_id = :id AND r.amount_idr > 0 GROUP BY 1 ORDER BY 1
""")
WAITING = text("""
    SELECT line, nik_index, account_number, holder_name, programme, stage, months, amount_idr, reason FROM si_row
    WHERE si_id = :id AND state = 'WAITING' ORDER BY line LIMIT :limit
""")
LOCK_ACCOUNTS = text("""
    SELECT 1 FROM account WHERE number = ANY (CAST(:numbers AS text[])) ORDER BY cell, id FOR UPDATE
""")
READ_ACCOUNTS = text("""
    SELECT a.number, a.cell, a.id, a.state, a.holder_name, a.region, f.nik_index,
           EXISTS (SELECT FROM exclusion e WHERE e.nik_index = f.nik_index AND e.valid_from <= :on
                   AND (e.valid_to IS NULL OR :on <= e.valid_to)) AS excluded
    FROM account a JOIN family f ON f.id = a.id WHERE a.number = ANY (CAST(:numbers AS text[]))
""")
PAID = text("""
    SELECT t.account_id, t.si_id, p.code, t.stage, t.months FROM tranche t JOIN programme p ON p.number = t.programme
    JOIN unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[])) AS w (cell, id) ON t.cell = w.cell AND t.account_id = w.id
""")
MARK_ROWS = text("""
    UPDATE si_row r SET state = CASE WHEN o.reason IS NULL THEN 'TOPUP_SUKSES' ELSE 'TOPUP_GAGAL' END, reason = o.reason,
           tranche_id = o.tranche
    FROM unnest(CAST(:lines AS int[]), CAST(:reasons AS text[]), CAST(:tranches AS bigint[])) AS o (line, reason, tranche)
    WHERE r.si_id = :id AND r.line = o.line
""")
OUTCOME = text("""
    SELECT count(*) FILTER (WHERE state = 'TOPUP_SUKSES') AS credited, count(*) FILTER (WHERE state = 'TOPUP_GAGAL') AS failed,
           coalesce(sum(amount_idr) FILTER (WHERE state = 'TOPUP_SUKSES'), 0) AS credited_idr
    FROM si_row WHERE si_id = :id
""")
FAILED_BY_REASON = text("""
    SELECT reason, count(*) AS rows FROM si_row WHERE si_id = :id AND state = 'TOPUP_GAGAL' GROUP BY reason ORDER BY reason
""")
RESULT = text("SELECT line, record, state, reason, account_number FROM si_row WHERE si_id = :id ORDER BY line")
