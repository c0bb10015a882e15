"""KPM lists taken in before lists were kept in chunks: their rows, each sealed by itself, are made into chunks once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.files.packed import pack
from gateway.operations.kpm_chunk import FamilyRecord, record_place, sealed_families
from gateway.store import batches

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank

CHUNK = 5_000


async def make_chunks(bank: Bank, connection: AsyncConnection, batch_id: int) -> None:
    """Give a list its chunks where it has none yet."""
    if await batches.next_chunk(connection, batch_id, 0) is not None:
        return
    await batches.read(connection, batch_id, lock=True)
    if await batches.next_chunk(connection, batch_id, 0) is not None:  # somebody else has done it meanwhile
        return
    line = 0
    while rows := await batches.rows_taken_in_before(connection, batch_id, line, CHUNK):
        first_line, line = rows[0].line, rows[-1].line
        cells, lines, families = [], [], []
        for row in rows:
            place = {"table": "kpm_row", "row": f"{batch_id}:{row.line}", "column": "record"}
            record = json.loads(bank.vault.open(bytes(row.record), **place))
            cells.append(record["row"])
            if row.state == "ACCEPTED":
                lines.append(row.line)
                families.append(_texts(row, record["family"]))
        sealed = bank.vault.seal(pack([row.line for row in rows], cells), **record_place(batch_id, first_line))
        family_record = sealed_families(bank.vault, batch_id, first_line, lines, families)
        values = {"first_line": first_line, "last_line": line, "rows": len(rows), "record": sealed,
                  "families": len(families), "family_record": family_record}  # fmt: skip
        await batches.add_chunk(connection, batch_id, values)


def _texts(row: Any, family: dict[str, Any]) -> FamilyRecord:  # noqa: ANN401 - a database row
    """A family's record from what was sealed with a row."""
    person = bytes(row.person_index).hex() if row.person_index else ""
    return FamilyRecord(
        family["nik"], bytes(row.nik_index).hex(), family["no_kk"], bytes(row.kk_index).hex(), person, family["name"],
        family["mother_name"], family["birth_place"], family["birth_date"], family["sex"], family["address"], family["rt"],
        family["rw"], family["region"], family["phone"], family["dtsen_id"], "+".join(family["programmes"]),
        json.dumps(family["components"]), family["branch"],
    )  # fmt: skip
