"""Instructions taken in before lists were kept in chunks: their rows, each sealed by itself, are made into chunks once.

Rows that wait to be credited become parts like any other's; the rows themselves stay and get their outcome in their place.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.files.packed import pack
from gateway.operations.si_chunk import lane_of, record_place, sealed_parts, waiting
from gateway.store import instructions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank

CHUNK = 10_000


async def make_chunks(bank: Bank, connection: AsyncConnection, si: instructions.Instruction) -> None:
    """Give an SI its chunks and lanes where it has none yet."""
    if await instructions.next_chunk(connection, si.id, 0) is not None:
        return
    await instructions.read(connection, si.si_no, lock=True)
    if await instructions.next_chunk(connection, si.id, 0) is not None:  # somebody else has done it meanwhile
        return
    lanes = bank.row.lanes
    await instructions.add_lanes(connection, si.id, lanes)
    line = 0
    while rows := await instructions.rows_taken_in_before(connection, si.id, line, CHUNK):
        first_line = rows[0].line
        staged: list[list[bytes]] = [[] for _ in range(lanes)]
        cells = []
        for row in rows:
            place = {"table": "si_row", "row": f"{si.id}:{row.line}", "column": "record"}
            cells.append(json.loads(bank.vault.open(bytes(row.record), **place))["row"])
            if row.state == "WAITING":
                staged[lane_of(row.account_number, lanes)].append(waiting(row))
        record = bank.vault.seal(pack([row.line for row in rows], cells), **record_place(si.id, first_line))
        await instructions.add_chunk(connection, si.id, first_line, len(rows), record)
        for part in sealed_parts(bank.vault, si.id, first_line, staged):
            await instructions.add_part(connection, si.id, part.lane, first_line, part.rows, part.staged)
        line = rows[-1].line
