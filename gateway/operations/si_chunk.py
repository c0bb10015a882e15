"""One chunk of an SI's list: judged row by row, indexed, packed and sealed, ready to be stored. Runs here or in a worker process.

What is stored of a chunk is two things: the rows as they stood in the file, for the result file; and, for each lane, the judged
rows as COPY takes them, for crediting. Both are sealed for their SI and line. Refuses to know the database's connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zlib import crc32

from gateway.files.columns import named_values
from gateway.files.packed import pack
from gateway.rules.credit import CreditReason
from gateway.rules.instruction import check_instruction, parse_amount
from gateway.rules.names import comparable
from gateway.store import copy_format as field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.files.blocks import Block
    from gateway.rules.findings import Finding
    from gateway.rules.instruction import Instruction, InstructionPolicy
    from keys.vault import Vault

STAGED_COLUMNS = ("line", "nik_index", "account_number", "name", "programme", "stage", "months", "amount_idr", "reason")
_START = field.row_start(len(STAGED_COLUMNS))


@dataclass(frozen=True, slots=True)
class SiPart:
    """The judged rows of one lane, sealed."""

    lane: int
    rows: int
    staged: bytes


@dataclass(frozen=True, slots=True)
class SiChunk:
    """A chunk as it is stored, and what its rows add up to (BY_PROGRAMME: "" where the row's programme is not known)."""

    first_line: int
    rows: int
    amount_idr: int
    by_programme: dict[str, int]
    record: bytes
    parts: list[SiPart]


@dataclass(frozen=True, slots=True)
class SiTask:
    """What is done with each block of an SI's list."""

    si_id: int
    columns: tuple[str, ...]
    rules: InstructionPolicy
    lanes: int

    def __call__(self, vault: Vault, job: Block) -> SiChunk:
        """Judge, index, pack and seal."""
        lines: list[int] = []
        cells: list[tuple[str, ...]] = []
        staged: list[list[bytes]] = [[] for _ in range(self.lanes)]
        amounts: dict[str, int] = {}
        find = vault.indexer("nik")
        for row in job.rows():
            values, numeric = named_values(self.columns, row)
            found, findings = check_instruction(values, self.rules, numeric=numeric, surplus=row.surplus)
            lines.append(row.line)
            cells.append(row.cells)
            if found is None:
                amount_idr = parse_amount(values.get("NOMINAL", ""))
                staged[0].append(_refused(row.line, amount_idr, refusal(findings)))
                amounts[""] = amounts.get("", 0) + (amount_idr or 0)
                continue
            lane = lane_of(found.account, self.lanes)
            staged[lane].append(_judged(row.line, find(found.nik), found))
            amounts[found.programme] = amounts.get(found.programme, 0) + found.amount_idr
        record = vault.seal(pack(lines, cells), **record_place(self.si_id, job.first_line))
        parts = sealed_parts(vault, self.si_id, job.first_line, staged)
        return SiChunk(job.first_line, len(lines), sum(amounts.values()), amounts, record, parts)


def sealed_parts(vault: Vault, si_id: int, first_line: int, staged: list[list[bytes]]) -> list[SiPart]:
    """For each lane that has any, its rows as COPY takes them."""
    return [
        SiPart(lane, len(rows), vault.seal_bytes(field.payload(rows), **part_place(si_id, lane, first_line)))
        for lane, rows in enumerate(staged)
        if rows
    ]


def lane_of(account_number: str | None, lanes: int) -> int:
    """The lane that credits an account: all rows that name the same one are of one lane, so lanes never share an account."""
    return crc32(account_number.encode()) % lanes if account_number else 0


def refusal(findings: Iterable[Finding]) -> str:
    """What is told of a row that is itself wrong."""
    codes = {finding.code.value for finding in findings}
    reason = CreditReason.PROGRAM_UNKNOWN if codes == {"PROGRAM_UNKNOWN"} else CreditReason.ROW_INVALID
    return f"{reason.value}: {', '.join(sorted(codes))}"


def record_place(si_id: int, first_line: int) -> dict[str, Any]:
    """What a chunk's rows are sealed for."""
    return {"table": "si_chunk", "row": f"{si_id}:{first_line}", "column": "record"}


def part_place(si_id: int, lane: int, first_line: int) -> dict[str, Any]:
    """What a lane's judged rows are sealed for."""
    return {"table": "si_part", "row": f"{si_id}:{lane}:{first_line}", "column": "staged"}


def waiting(row: Any) -> bytes:  # noqa: ANN401 - a database row
    """A row of an SI taken in row by row before, as COPY takes it."""
    months = field.NULL if row.months is None else field.text_array(tuple(row.months))
    name = None if row.holder_name is None else comparable(row.holder_name)
    return b"".join((
        _START, field.int4(row.line), field.raw_or_null(row.nik_index), field.text_or_null(row.account_number),
        field.text_or_null(name), field.text_or_null(row.programme), field.text_or_null(row.stage), months,
        field.int8_or_null(row.amount_idr), field.text_or_null(row.reason),
    ))  # fmt: skip


def _judged(line: int, index: bytes, found: Instruction) -> bytes:
    payment = _payment(found.programme, found.stage, found.months, found.amount_idr)
    return b"".join((
        _START, field.int4(line), field.raw(index), field.text(found.account), field.text(comparable(found.name)), payment
    ))  # fmt: skip


@lru_cache(maxsize=4_096)
def _payment(programme: str, stage: str, months: tuple[str, ...], amount_idr: int) -> bytes:
    """The rest of a row that is right, the same for most rows."""
    return b"".join((
        field.text(programme), field.text(stage), field.text_array(months), field.int8(amount_idr), field.NULL
    ))  # fmt: skip


def _refused(line: int, amount_idr: int | None, reason: str) -> bytes:
    return b"".join((
        _START, field.int4(line), field.NULL * 6, field.int8_or_null(amount_idr), field.text(reason)
    ))  # fmt: skip
