"""The exclusion list: people who may not be paid (deceased, occupation, unfit region, stopped by PPATK), with reason and period.

Both checks read it: a listed family is not opened (EXCLUDED), and not credited while its entry is in force. A file is taken in
whole or not at all; entries are kept for ever, an end date closes them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.files.columns import Layout, name_columns, named_values
from gateway.files.errors import FileRefused
from gateway.files.table import open_table
from gateway.operations.bank import Bank, transaction
from gateway.rules.kpm import parse_date
from gateway.rules.nik import judge_nik, trim
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from gateway.files.row import TableRow

LAYOUT = Layout(
    required=("NIK", "ALASAN"),
    optional=("MULAI", "SAMPAI"),
    aliases={"REASON": "ALASAN", "BERLAKU": "MULAI", "TANGGALMULAI": "MULAI", "TANGGALSELESAI": "SAMPAI"},
)
REASON_MAX = 100


@dataclass(frozen=True, slots=True)
class ExclusionSummary:
    """How many entries were added, by reason."""

    rows: int
    reasons: dict[str, int]


async def load_exclusions(bank: Bank, actor: str, path: Path) -> ExclusionSummary:
    """Add the entries of a CSV or XLSX file: NIK, ALASAN, MULAI (default: the business date), SAMPAI (default: open).

    Raises FileRefused naming the line and column that is wrong; nothing of the file is taken then.
    """
    table = open_table(path)
    names = name_columns(table, LAYOUT)
    today = bank.business_date
    entries = [_entry(bank, path, names, row, today) for row in table.rows()]
    if not entries:
        raise FileRefused(path, "has a header and no rows")
    columns = tuple(zip(*entries, strict=True))
    values = dict(zip(("indexes", "reasons", "starts", "ends"), map(list, columns), strict=True))
    async with transaction(bank, actor) as tx:
        await tx.connection.execute(ADD, values | {"by": actor.strip()})
        summary = ExclusionSummary(len(entries), dict(sorted(Counter(columns[1]).items())))
        await tx.record(
            Operation.EXCLUSION_LOAD, path.name, sha256=table.sha256, rows=summary.rows, reasons=summary.reasons
        )
    return summary


def _entry(
    bank: Bank, path: Path, names: tuple[str, ...], row: TableRow, today: date
) -> tuple[bytes, str, date, date | None]:
    values, numeric = named_values(names, row)
    number = trim(values["NIK"])
    wrong = judge_nik(number, stored_as_number="NIK" in numeric)
    if wrong is not None:
        raise FileRefused(path, f"column NIK: {wrong.value}", row.line)
    reason = " ".join(values["ALASAN"].split())
    if not 0 < len(reason) <= REASON_MAX:
        raise FileRefused(path, f"column ALASAN: a reason of 1 to {REASON_MAX} characters is needed", row.line)
    start = _date(path, "MULAI", values, row.line) or today
    end = _date(path, "SAMPAI", values, row.line)
    if end is not None and end < start:
        raise FileRefused(path, "column SAMPAI: ends before it starts", row.line)
    return bank.vault.index(number, "nik"), reason, start, end


def _date(path: Path, column: str, values: dict[str, str], line: int) -> date | None:
    written = values.get(column, "").strip()
    if not written:
        return None
    found = parse_date(written)
    if found is None:
        raise FileRefused(path, f"column {column}: is not a date like 31-12-2026", line)
    return found


ADD = text("""
    INSERT INTO exclusion (nik_index, reason, valid_from, valid_to, listed_by)
    SELECT i, r, s, e, :by FROM unnest(CAST(:indexes AS bytea[]), CAST(:reasons AS text[]), CAST(:starts AS date[]),
                                       CAST(:ends AS date[])) AS x (i, r, s, e)
""")
