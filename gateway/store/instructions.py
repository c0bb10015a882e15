"""Standing instructions as stored: sp2d, si, its chunks and parts, and its decided rows. How a part is credited: crediting.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.batch import SiState

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


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
    available_from: date | None
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


async def set_totals(
    connection: AsyncConnection, si_id: int, rows: int, by_programme: dict[str, int], state: SiState, reason: str | None
) -> None:
    """Write how many rows there are and what they add up to, and what was made of that."""
    amounts = {code: amount for code, amount in by_programme.items() if amount}
    values = {"rows": rows, "amount": sum(amounts.values()), "by_programme": json.dumps(amounts)}
    await connection.execute(SET_TOTALS, values | {"id": si_id, "state": state.value, "reason": reason})


async def add_lanes(connection: AsyncConnection, si_id: int, lanes: int) -> None:
    """The lanes that will credit an SI."""
    await connection.execute(ADD_LANES, {"id": si_id, "lanes": lanes})


async def add_chunk(connection: AsyncConnection, si_id: int, first_line: int, rows: int, record: bytes) -> None:
    """Rows as they stood in the file, sealed."""
    values = {"id": si_id, "first_line": first_line, "rows": rows, "record": record}
    await connection.execute(ADD_CHUNK, values)


async def add_part(
    connection: AsyncConnection, si_id: int, lane: int, first_line: int, rows: int, staged: bytes
) -> None:
    """The judged rows of one lane of a chunk, sealed."""
    values = {"id": si_id, "lane": lane, "first_line": first_line, "rows": rows, "staged": staged}
    await connection.execute(ADD_PART, values)


async def next_chunk(connection: AsyncConnection, si_id: int, after_line: int) -> Any | None:  # noqa: ANN401 - a database row
    """The chunk (first_line, rows, record) that follows the one that begins at a line."""
    return (await connection.execute(NEXT_CHUNK, {"id": si_id, "after": after_line})).one_or_none()


async def parts_left(connection: AsyncConnection, si_id: int) -> dict[int, list[int]]:
    """Lane -> first lines of its parts that are not dealt with yet, in order."""
    left: dict[int, list[int]] = {}
    for row in await connection.execute(PARTS_LEFT, {"id": si_id}):
        left.setdefault(row.lane, []).append(row.first_line)
    return left


async def take_part(connection: AsyncConnection, si_id: int, lane: int, first_line: int) -> tuple[int, bytes] | None:
    """Rows and sealed content of a part, its lane locked; None where somebody else has dealt with it. Then it is marked."""
    posted: int = (await connection.execute(LOCK_LANE, {"id": si_id, "lane": lane})).scalar_one()
    if posted >= first_line:
        return None
    values = {"id": si_id, "lane": lane, "first_line": first_line}
    part = (await connection.execute(READ_PART, values)).one()
    await connection.execute(MARK_LANE, values)
    await connection.execute(EMPTY_PART, values)
    return part.rows, bytes(part.staged)


async def rows_taken_in_before(connection: AsyncConnection, si_id: int, after_line: int, limit: int) -> list[Any]:
    """Rows of an SI that was taken in row by row, before there were chunks."""
    values = {"id": si_id, "after": after_line, "limit": limit}
    return list(await connection.execute(ROWS_BEFORE, values))


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


async def outcome(connection: AsyncConnection, si_id: int) -> tuple[int, int, int, dict[str, int]]:
    """Credited rows, failed rows, credited rupiah, and failed rows by reason."""
    credited = failed = credited_idr = 0
    reasons: dict[str, int] = {}
    for row in await connection.execute(OUTCOME, {"id": si_id}):
        if row.state == "TOPUP_SUKSES":
            credited, credited_idr = credited + row.rows, credited_idr + int(row.amount)
        elif row.state == "TOPUP_GAGAL":
            failed += row.rows
            reasons[row.reason] = row.rows
    return credited, failed, credited_idr, reasons


async def decided_rows(
    connection: AsyncConnection, si_id: int, lines: tuple[int, int], *, but: str | None = None
) -> dict[int, tuple[str, str | None]]:
    """Line -> state and reason of the decided rows between two lines, those in the state BUT left out."""
    values = {"id": si_id, "first": lines[0], "last": lines[1], "but": but}
    return {row.line: (row.state, row.reason) for row in await connection.execute(DECIDED, values)}


def _instruction(row: Any) -> Instruction:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in Instruction.__slots__}
    return Instruction(**(values | {"state": SiState(row.state)}))


FROM_SI = """
    SELECT s.id, s.si_no, s.sp2d_no, p.sp2d_date, p.amount_idr AS sp2d_amount_idr, s.sp2d_count, s.file_name, s.header,
           s.rows, s.amount_idr, s.available_from, s.state, s.maker, s.checker, s.reason, s.created_at
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
    INSERT INTO si (si_no, sp2d_no, sp2d_count, file_name, file_sha256, header, available_from, state, maker, business_date)
    VALUES (:si_no, :sp2d_no, :sp2d_count, :file_name, :file_sha256, :header, :available_from, :state, :maker, :business_date)
    RETURNING id
""")
SET_TOTALS = text("""
    UPDATE si SET rows = :rows, amount_idr = :amount, by_programme = CAST(:by_programme AS jsonb), state = :state,
           reason = :reason WHERE id = :id
""")
ADD_LANES = text("INSERT INTO si_lane (si_id, lane) SELECT :id, n FROM generate_series(0, :lanes - 1) n")
ADD_CHUNK = text("""
    INSERT INTO si_chunk (si_id, first_line, rows, record) VALUES (:id, :first_line, :rows, :record)
""")
ADD_PART = text("""
    INSERT INTO si_part (si_id, lane, first_line, rows, staged) VALUES (:id, :lane, :first_line, :rows, :staged)
""")
NEXT_CHUNK = text("""
    SELECT first_line, rows, record FROM si_chunk WHERE si_id = :id AND first_line > :after ORDER BY first_line LIMIT 1
""")
PARTS_LEFT = text("""
    SELECT p.lane, p.first_line FROM si_part p JOIN si_lane l ON l.si_id = p.si_id AND l.lane = p.lane
    WHERE p.si_id = :id AND p.first_line > l.posted_line ORDER BY p.lane, p.first_line
""")
LOCK_LANE = text("SELECT posted_line FROM si_lane WHERE si_id = :id AND lane = :lane FOR UPDATE")
READ_PART = text("SELECT rows, staged FROM si_part WHERE si_id = :id AND lane = :lane AND first_line = :first_line")
MARK_LANE = text("UPDATE si_lane SET posted_line = :first_line WHERE si_id = :id AND lane = :lane")
EMPTY_PART = text("""
    UPDATE si_part SET staged = NULL WHERE si_id = :id AND lane = :lane AND first_line = :first_line
""")
ROWS_BEFORE = text("""
    SELECT line, record, nik_index, account_number, holder_name, programme, stage, months, amount_idr, state, reason
    FROM si_row WHERE si_id = :id AND line > :after AND record IS NOT NULL ORDER BY line LIMIT :limit
""")
READ_ONE = text(f"{FROM_SI} WHERE s.si_no = :si_no ORDER BY s.id DESC LIMIT 1")
LOCK_ONE = text(f"{FROM_SI} WHERE s.si_no = :si_no ORDER BY s.id DESC LIMIT 1 FOR UPDATE OF s")
READ_ALL = text(f"{FROM_SI} ORDER BY s.id DESC")
SET_STATE = text("""
    UPDATE si SET state = :state, checker = coalesce(:checker, checker), reason = coalesce(:reason, reason),
           decided_at = now() WHERE id = :id
""")
BY_PROGRAMME = text("""
    SELECT coalesce(p.number, 0) AS programme, sum(CAST(a.value AS bigint)) AS amount
    FROM si s CROSS JOIN jsonb_each_text(s.by_programme) a LEFT JOIN programme p ON p.code = a.key
    WHERE s.id = :id GROUP BY 1 ORDER BY 1
""")
PAID = text("""
    SELECT t.account_id, t.si_id, p.code, t.stage, t.months FROM tranche t JOIN programme p ON p.number = t.programme
    JOIN unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[])) AS w (cell, id) ON t.cell = w.cell AND t.account_id = w.id
""")
OUTCOME = text("""
    SELECT state, reason, count(*) AS rows, sum(amount_idr) AS amount FROM si_row WHERE si_id = :id
    GROUP BY state, reason ORDER BY reason
""")
DECIDED = text("""
    SELECT line, state, reason FROM si_row
    WHERE si_id = :id AND line BETWEEN :first AND :last AND state <> 'WAITING' AND state IS DISTINCT FROM CAST(:but AS text)
""")
