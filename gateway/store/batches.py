"""KPM lists as stored: kpm_batch, its chunks and rows, and the duplicates found among them and against families we have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.batch import BatchState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

LAST_LINE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Batch:
    """A list as it stands."""

    id: int
    sk_no: str
    sk_date: date
    file_name: str
    header: list[str]
    state: BatchState
    rows: int
    accepted: int
    rejected: int
    warnings: int
    maker: str
    checker: str | None
    reason: str | None
    business_date: date
    created_at: datetime


async def seen_before(connection: AsyncConnection, sha256: str) -> int | None:
    """Id of the list that was this very file, if any."""
    found: int | None = (await connection.execute(SEEN, {"sha256": sha256})).scalar()
    return found


async def create(connection: AsyncConnection, values: dict[str, Any]) -> int:
    """Insert a list; its counts follow."""
    return int((await connection.execute(CREATE, values)).scalar_one())


async def read(connection: AsyncConnection, batch_id: int, *, lock: bool = False) -> Batch:
    """One list. Raises NotFound."""
    row = (await connection.execute(LOCK_ONE if lock else READ_ONE, {"id": batch_id})).one_or_none()
    if row is None:
        raise NotFound(f"there is no list {batch_id}")
    return _batch(row)


async def read_all(connection: AsyncConnection) -> list[Batch]:
    """Every list, newest first."""
    return [_batch(row) for row in await connection.execute(READ_ALL)]


async def set_state(
    connection: AsyncConnection,
    batch_id: int,
    state: BatchState,
    *,
    checker: str | None = None,
    reason: str | None = None,
) -> None:
    """Move a list; the caller has checked the transition."""
    values = {"id": batch_id, "state": state.value, "checker": checker, "reason": reason}
    await connection.execute(SET_STATE, values)


async def mark_duplicates(connection: AsyncConnection, batch_id: int, on: date) -> None:
    """Reject the later of two rows with the same NIK, No KK or person, rows of families we have, and excluded NIKs."""
    await connection.execute(text("ANALYZE kpm_row"))
    await connection.execute(ROOM_TO_SORT)
    await connection.execute(DUPLICATES_IN_FILE, {"id": batch_id})
    await _mark_existing(connection, batch_id, on, 0, LAST_LINE)


async def count(connection: AsyncConnection, batch_id: int) -> dict[str, int]:
    """Bring the list's counts up to date and return how many rows have each reason code."""
    await connection.execute(COUNT, {"id": batch_id})
    rows = await connection.execute(REASONS, {"id": batch_id})
    return {row.code: row.rows for row in rows}


async def add_chunk(connection: AsyncConnection, batch_id: int, values: dict[str, Any]) -> None:
    """Store a chunk: first_line, last_line, rows, record, families, family_record."""
    await connection.execute(ADD_CHUNK, values | {"id": batch_id})


async def next_chunk(connection: AsyncConnection, batch_id: int, after_line: int) -> Any | None:  # noqa: ANN401 - a database row
    """The chunk (first_line, last_line, record) that follows the one that begins at a line."""
    return (await connection.execute(NEXT_CHUNK, {"id": batch_id, "after": after_line})).one_or_none()


async def chunks_to_open(connection: AsyncConnection, batch_id: int) -> dict[int, int]:
    """First line -> families of the chunks that are not opened yet, in order."""
    return {row.first_line: row.families for row in await connection.execute(CHUNKS_TO_OPEN, {"id": batch_id})}


async def families_of(connection: AsyncConnection, batch_id: int, first_line: int) -> bytes | None:
    """The sealed families of a chunk; None where it is opened."""
    found = (await connection.execute(FAMILIES_OF, {"id": batch_id, "first_line": first_line})).scalar_one()
    return None if found is None else bytes(found)


async def programmes_named(connection: AsyncConnection, batch_id: int) -> set[str]:
    """Codes of programmes that the accepted rows of a list name."""
    return set((await connection.execute(PROGRAMMES_NAMED, {"id": batch_id})).scalars())


async def take_chunk(connection: AsyncConnection, batch_id: int, first_line: int, on: date) -> list[int]:
    """Lines of a chunk that may be opened now; its families are given up with that. Nothing where somebody was quicker.

    A row whose family got a KKS, or was excluded, since the list was judged is rejected here and not among them.
    """
    last_line = (await connection.execute(TAKE_CHUNK, {"id": batch_id, "first_line": first_line})).scalar()
    if last_line is None:
        return []
    await connection.execute(PLAN_BY_INDEX)
    await _mark_existing(connection, batch_id, on, first_line, last_line)
    values = {"id": batch_id, "first": first_line, "last": last_line}
    return (await connection.execute(STILL_ACCEPTED, values)).scalar() or []


async def rows_taken_in_before(connection: AsyncConnection, batch_id: int, after_line: int, limit: int) -> list[Any]:
    """Rows of a list that was taken in row by row, before there were chunks."""
    values = {"id": batch_id, "after": after_line, "limit": limit}
    return list(await connection.execute(ROWS_BEFORE, values))


async def mark_opened(connection: AsyncConnection, batch_id: int, lines: list[int], accounts: list[int]) -> None:
    """Rows whose accounts are open."""
    await connection.execute(MARK_OPENED, {"id": batch_id, "lines": lines, "accounts": accounts})


async def route_existing(connection: AsyncConnection, batch_id: int, on: date) -> int:
    """A family that has a KKS gets a further programme routed to it instead of a second card. Returns how many rows."""
    return int((await connection.execute(ROUTE_EXISTING, {"id": batch_id, "on": on})).scalar_one())


async def findings(connection: AsyncConnection, batch_id: int) -> AsyncIterator[Any]:
    """Line and findings of every row that has any, in the order of the list."""
    return (await connection.stream(FINDINGS, {"id": batch_id})).__aiter__()


async def opened_numbers(connection: AsyncConnection, batch_id: int, lines: tuple[int, int]) -> dict[int, str]:
    """Line -> account number of the rows between two lines that were opened and have no finding: almost all of them."""
    values = {"id": batch_id, "first": lines[0], "last": lines[1]}
    row = (await connection.execute(OPENED_NUMBERS, values)).one()
    return dict(zip(row.lines or (), row.numbers or (), strict=True))


async def other_outcomes(connection: AsyncConnection, batch_id: int, lines: tuple[int, int]) -> dict[int, Any]:
    """Line -> row (state, account_number, findings) of the others."""
    values = {"id": batch_id, "first": lines[0], "last": lines[1]}
    return {row.line: row for row in await connection.execute(OTHER_OUTCOMES, values)}


async def _mark_existing(connection: AsyncConnection, batch_id: int, on: date, first: int, last: int) -> None:
    """Reject accepted rows whose NIK is excluded on a date, or whose family has a KKS by now. An excluded one is not routed."""
    values = {"id": batch_id, "first": first, "last": last}
    await connection.execute(EXCLUDED, values | {"on": on})
    await connection.execute(DUPLICATES_OF_FAMILIES, values)


def _batch(row: Any) -> Batch:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in Batch.__slots__}
    return Batch(**(values | {"state": BatchState(row.state)}))


BATCH = ", ".join(Batch.__slots__)
SEEN = text("SELECT id FROM kpm_batch WHERE file_sha256 = :sha256")
CREATE = text("""
    INSERT INTO kpm_batch (sk_no, sk_date, file_name, file_sha256, header, state, maker, business_date)
    VALUES (:sk_no, :sk_date, :file_name, :file_sha256, :header, :state, :maker, :business_date) RETURNING id
""")
READ_ONE = text(f"SELECT {BATCH} FROM kpm_batch WHERE id = :id")
LOCK_ONE = text(f"SELECT {BATCH} FROM kpm_batch WHERE id = :id FOR UPDATE")
READ_ALL = text(f"SELECT {BATCH} FROM kpm_batch ORDER BY id DESC")
SET_STATE = text("""
    UPDATE kpm_batch SET state = :state, checker = coalesce(:checker, checker), reason = coalesce(:reason, reason),
           decided_at = now() WHERE id = :id
""")
# Findings found in SQL have the shape of gateway.rules.findings.Finding.
# A chunk is small and there may be millions of families: each row is looked up by index, never all families read.
PLAN_BY_INDEX = text("SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)")
ROOM_TO_SORT = text("SELECT set_config('work_mem', '64MB', true)")
DUPLICATES_IN_FILE = text("""
    WITH accepted AS NOT MATERIALIZED (
        SELECT line, nik_index, kk_index, person_index FROM kpm_row WHERE batch_id = :id AND state = 'ACCEPTED'
    ), several AS (
        SELECT line, nik_index, kk_index, person_index FROM accepted
        WHERE nik_index IN (SELECT nik_index FROM accepted GROUP BY 1 HAVING count(*) > 1)
           OR kk_index IN (SELECT kk_index FROM accepted GROUP BY 1 HAVING count(*) > 1)
           OR person_index IN (SELECT person_index FROM accepted GROUP BY 1 HAVING count(*) > 1)
    ), earlier AS (
        SELECT line,
               CASE WHEN nik_index IS NOT NULL THEN lag(line) OVER (PARTITION BY nik_index ORDER BY line) END AS nik,
               CASE WHEN kk_index IS NOT NULL THEN lag(line) OVER (PARTITION BY kk_index ORDER BY line) END AS kk,
               CASE WHEN person_index IS NOT NULL THEN lag(line) OVER (PARTITION BY person_index ORDER BY line) END AS person
        FROM several
    ), found AS (
        SELECT line, jsonb_agg(jsonb_build_object('code', code, 'column', col, 'shown', '', 'severity', 'ERROR',
                     'mend', 'sama dengan baris ' || first || ' / same as line ' || first || ': keep one')) AS findings
        FROM (SELECT line, 'DUP_NIK_IN_FILE' AS code, 'NIK' AS col, nik AS first FROM earlier WHERE nik IS NOT NULL
              UNION ALL SELECT line, 'DUP_KK_IN_FILE', 'NO_KK', kk FROM earlier WHERE kk IS NOT NULL AND nik IS NULL
              UNION ALL SELECT line, 'DUP_PERSON', 'NAMA', person FROM earlier
                        WHERE person IS NOT NULL AND nik IS NULL AND kk IS NULL) x
        GROUP BY line
    )
    UPDATE kpm_row r SET state = 'REJECTED', findings = r.findings || f.findings
    FROM found f WHERE r.batch_id = :id AND r.line = f.line
""")
DUPLICATES_OF_FAMILIES = text("""
    WITH found AS (
        SELECT r.line, CASE WHEN n.id IS NOT NULL THEN 'DUP_NIK_EXISTING_KKS' WHEN k.id IS NOT NULL THEN 'DUP_KK_EXISTING_KKS'
                            ELSE 'DUP_PERSON' END AS code,
               CASE WHEN n.id IS NOT NULL THEN 'NIK' WHEN k.id IS NOT NULL THEN 'NO_KK' ELSE 'NAMA' END AS col,
               coalesce(n.id, k.id, p.id) AS family_id
        FROM kpm_row r LEFT JOIN family n ON n.nik_index = r.nik_index LEFT JOIN family k ON k.kk_index = r.kk_index
             LEFT JOIN LATERAL (SELECT id FROM family p WHERE p.person_index = r.person_index LIMIT 1) p ON true
        WHERE r.batch_id = :id AND r.line BETWEEN :first AND :last AND r.state = 'ACCEPTED'
          AND coalesce(n.id, k.id, p.id) IS NOT NULL
    )
    UPDATE kpm_row r SET state = 'REJECTED', account_id = f.family_id,
           findings = r.findings || jsonb_build_array(jsonb_build_object('code', f.code, 'column', f.col, 'shown', '',
               'severity', 'ERROR', 'mend', 'sudah punya KKS / has a KKS already: no second card is made'))
    FROM found f WHERE r.batch_id = :id AND r.line = f.line
""")
EXCLUDED = text("""
    UPDATE kpm_row r SET state = 'REJECTED',
           findings = r.findings || jsonb_build_array(jsonb_build_object('code', 'EXCLUDED', 'column', 'NIK', 'shown', '',
               'severity', 'ERROR', 'mend', 'daftar pengecualian / on the exclusion list: ' || e.reason))
    FROM exclusion e
    WHERE r.batch_id = :id AND r.line BETWEEN :first AND :last AND r.state = 'ACCEPTED' AND e.nik_index = r.nik_index
      AND e.valid_from <= :on AND (e.valid_to IS NULL OR :on <= e.valid_to)
""")
COUNT = text("""
    UPDATE kpm_batch b SET rows = c.rows, accepted = c.accepted, rejected = c.rejected, warnings = c.warnings
    FROM (SELECT count(*) AS rows, count(*) FILTER (WHERE state IN ('ACCEPTED', 'OPENED')) AS accepted,
                 count(*) FILTER (WHERE state IN ('REJECTED', 'ROUTED')) AS rejected,
                 count(*) FILTER (WHERE findings <> '[]' AND findings @> '[{"severity": "WARNING"}]'
                                  AND state IN ('ACCEPTED', 'OPENED')) AS warnings
          FROM kpm_row WHERE batch_id = :id) c
    WHERE b.id = :id
""")
REASONS = text("""
    SELECT f ->> 'code' AS code, count(DISTINCT line) AS rows
    FROM kpm_row, jsonb_array_elements(findings) f WHERE batch_id = :id AND findings <> '[]' GROUP BY 1 ORDER BY 1
""")
ADD_CHUNK = text("""
    INSERT INTO kpm_chunk (batch_id, first_line, last_line, rows, record, families, family_record)
    VALUES (:id, :first_line, :last_line, :rows, :record, :families, :family_record)
""")
NEXT_CHUNK = text("""
    SELECT first_line, last_line, record FROM kpm_chunk WHERE batch_id = :id AND first_line > :after
    ORDER BY first_line LIMIT 1
""")
CHUNKS_TO_OPEN = text("""
    SELECT first_line, families FROM kpm_chunk WHERE batch_id = :id AND family_record IS NOT NULL ORDER BY first_line
""")
FAMILIES_OF = text("SELECT family_record FROM kpm_chunk WHERE batch_id = :id AND first_line = :first_line")
PROGRAMMES_NAMED = text("""
    SELECT DISTINCT unnest(p.programmes) FROM (SELECT DISTINCT programmes FROM kpm_row
                                               WHERE batch_id = :id AND state = 'ACCEPTED') p
""")
TAKE_CHUNK = text("""
    UPDATE kpm_chunk SET family_record = NULL
    WHERE batch_id = :id AND first_line = :first_line AND family_record IS NOT NULL RETURNING last_line
""")
ROWS_BEFORE = text("""
    SELECT line, state, record, nik_index, kk_index, person_index FROM kpm_row
    WHERE batch_id = :id AND line > :after AND record IS NOT NULL ORDER BY line LIMIT :limit
""")
STILL_ACCEPTED = text("""
    SELECT array_agg(line ORDER BY line) FROM kpm_row
    WHERE batch_id = :id AND line BETWEEN :first AND :last AND state = 'ACCEPTED'
""")
MARK_OPENED = text("""
    UPDATE kpm_row r SET state = 'OPENED', account_id = o.account_id
    FROM unnest(CAST(:lines AS int[]), CAST(:accounts AS bigint[])) AS o (line, account_id)
    WHERE r.batch_id = :id AND r.line = o.line
""")
ROUTE_EXISTING = text("""
    WITH routed AS (
        SELECT r.line, r.account_id, p.number FROM kpm_row r
        JOIN programme p ON p.code = ANY (r.programmes)
        WHERE r.batch_id = :id AND r.state = 'REJECTED' AND r.account_id IS NOT NULL
          AND r.findings @> '[{"code": "DUP_NIK_EXISTING_KKS"}]'
          AND NOT EXISTS (SELECT FROM enrolment e WHERE e.family_id = r.account_id AND e.programme = p.number)
          AND NOT EXISTS (SELECT FROM exclusion x WHERE x.nik_index = r.nik_index AND x.valid_from <= :on
                          AND (x.valid_to IS NULL OR :on <= x.valid_to))
    ), enrolled AS (
        INSERT INTO enrolment (family_id, programme, batch_id, valid_from)
        SELECT DISTINCT account_id, number, CAST(:id AS bigint), CAST(:on AS date) FROM routed ON CONFLICT DO NOTHING
    ), marked AS (
        UPDATE kpm_row r SET state = 'ROUTED' WHERE r.batch_id = :id AND r.line IN (SELECT line FROM routed) RETURNING 1
    )
    SELECT count(*) FROM marked
""")
FINDINGS = text("""
    SELECT line, findings FROM kpm_row WHERE batch_id = :id AND findings <> '[]' ORDER BY line
""")
# An account of a row is looked up by its key: one a row, whatever the planner thinks of it.
OPENED_NUMBERS = text("""
    SELECT array_agg(r.line) AS lines, array_agg(a.number) AS numbers
    FROM kpm_row r JOIN account a ON a.id = r.account_id AND a.cell = r.account_id % (SELECT cells FROM bank)
    WHERE r.batch_id = :id AND r.line BETWEEN :first AND :last AND r.state = 'OPENED' AND r.findings = '[]'
""")
OTHER_OUTCOMES = text("""
    SELECT r.line, r.state, r.findings, a.number AS account_number
    FROM kpm_row r LEFT JOIN account a ON a.id = r.account_id AND a.cell = r.account_id % (SELECT cells FROM bank)
    WHERE r.batch_id = :id AND r.line BETWEEN :first AND :last AND NOT (r.state = 'OPENED' AND r.findings = '[]')
""")
