"""Approved KPM lists: read and judged, approved by a second person, opened, reported.

import_list is one transaction: a list is in whole, each row marked accepted or rejected with its reasons, or not at all.
Approval opens accounts in chunks (gateway.operations.opening).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Refused
from gateway.files.kpm_list import open_kpm_list
from gateway.files.packed import Page, tail, unpack
from gateway.operations.bank import Bank, reading, transaction
from gateway.operations.kpm_before import make_chunks
from gateway.operations.kpm_chunk import ROW_COLUMNS, KpmTask, record_place
from gateway.operations.opening import open_waiting
from gateway.operations.result import write_streamed
from gateway.operations.workers import Workers, each
from gateway.rules.approval import same_person
from gateway.rules.batch import BATCH_TRANSITIONS, BatchEvent, BatchState
from gateway.rules.kpm import KpmPolicy
from gateway.rules.transitions import TransitionRefused, move
from gateway.store import batches, policy
from gateway.store.audit import Operation
from gateway.store.database import copy_payload
from gateway.store.policy import programme_facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.files.kpm_list import KpmList

CHUNK = 5_000
RESULT_COLUMNS = ["NO_REKENING", "KODE_STATUS", "KETERANGAN"]


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What a list held. REASONS: reason code -> rows."""

    batch: int
    rows: int
    accepted: int
    rejected: int
    warnings: int
    reasons: dict[str, int]


async def import_list(
    bank: Bank, actor: str, path: Path, sk_no: str, sk_date: date, progress: Callable[[int], None] | None = None
) -> ImportSummary:
    """Take in an approved list. Raises Refused (or FileRefused) in one line: seen before, no such column, not a list."""
    if not sk_no.strip():
        raise Refused("the number of the SK is needed (--sk-no)")
    if sk_date > bank.business_date:
        raise Refused(f"the SK is of {sk_date}, after the business date {bank.business_date}")
    listing = open_kpm_list(path)
    async with transaction(bank, actor) as tx:
        before = await batches.seen_before(tx.connection, listing.sha256)
        if before is not None:
            raise Refused(f"{path.name} was imported before, as list {before} (same SHA-256)")
        values = {
            "sk_no": sk_no.strip(), "sk_date": sk_date, "file_name": path.name, "file_sha256": listing.sha256,
            "header": list(listing.header), "state": BatchState.PROPOSED.value, "maker": actor.strip(),
            "business_date": bank.business_date,
        }  # fmt: skip
        batch_id = await batches.create(tx.connection, values)
        await _store_chunks(bank, tx.connection, batch_id, listing, progress)
        await batches.mark_duplicates(tx.connection, batch_id, bank.business_date)
        reasons = await batches.count(tx.connection, batch_id)
        batch = await batches.read(tx.connection, batch_id)
        if batch.rows == 0:
            raise Refused(f"{path.name} has a header and no rows")
        summary = ImportSummary(batch_id, batch.rows, batch.accepted, batch.rejected, batch.warnings, reasons)
        detail = asdict(summary) | {"sha256": listing.sha256, "sk_no": sk_no.strip()}
        await tx.record(Operation.KPM_IMPORT, f"list {batch_id}", **detail)
    return summary


async def approve(
    bank: Bank, actor: str, batch_id: int, progress: Callable[[int], None] | None = None
) -> ImportSummary:
    """A second person approves: accounts are opened and cards ordered. Said again after a crash, it goes on where it stopped."""
    async with transaction(bank, actor) as tx:
        batch = await batches.read(tx.connection, batch_id, lock=True)
        if same_person(batch.maker, actor):
            raise Refused(f"list {batch_id} was imported by {batch.maker}: another person must approve it (--as NAME)")
        state = _move(batch, BatchEvent.APPROVE)
        await make_chunks(bank, tx.connection, batch_id)
        await batches.set_state(tx.connection, batch_id, state, checker=None if batch.checker else actor.strip())
        await tx.record(Operation.KPM_APPROVE, f"list {batch_id}", accepted=batch.accepted)
    await open_waiting(bank, actor, batch_id, progress)
    async with transaction(bank, actor) as tx:
        batch = await batches.read(tx.connection, batch_id, lock=True)
        if batch.state is BatchState.OPENING:
            routed = await batches.route_existing(tx.connection, batch_id, bank.business_date)
            await batches.set_state(tx.connection, batch_id, _move(batch, BatchEvent.FINISH))
            await tx.record(Operation.KPM_FINISH, f"list {batch_id}", routed=routed)
        else:
            await tx.record(Operation.KPM_FINISH, f"list {batch_id}", already=True)
        reasons = await batches.count(tx.connection, batch_id)
        batch = await batches.read(tx.connection, batch_id)
    return ImportSummary(batch_id, batch.rows, batch.accepted, batch.rejected, batch.warnings, reasons)


async def reject(bank: Bank, actor: str, batch_id: int, reason: str) -> None:
    """A second person refuses the list; nothing of it is opened."""
    if not reason.strip():
        raise Refused("a rejection needs a reason (--reason)")
    async with transaction(bank, actor) as tx:
        batch = await batches.read(tx.connection, batch_id, lock=True)
        if same_person(batch.maker, actor):
            raise Refused(f"list {batch_id} was imported by {batch.maker}: another person must decide (--as NAME)")
        state = _move(batch, BatchEvent.REJECT)
        await batches.set_state(tx.connection, batch_id, state, checker=actor.strip(), reason=reason.strip())
        await tx.record(Operation.KPM_REJECT, f"list {batch_id}", reason=reason.strip())


async def write_result_file(bank: Bank, actor: str, batch_id: int, out: Path) -> ImportSummary:
    """Write the result file for the ministry: the same rows with account number, status and explanation."""
    async with transaction(bank, actor) as tx:
        batch = await batches.read(tx.connection, batch_id)
        reasons = await batches.count(tx.connection, batch_id)
        await make_chunks(bank, tx.connection, batch_id)
        pages = _result_pages(bank, tx.connection, batch_id)
        count = await write_streamed(out, [*batch.header, *RESULT_COLUMNS], pages)
        await tx.record(Operation.KPM_RESULT, f"list {batch_id}", file=out.name, rows=count)
    return ImportSummary(batch_id, batch.rows, batch.accepted, batch.rejected, batch.warnings, reasons)


async def findings(bank: Bank, batch_id: int) -> list[tuple[int, dict[str, str]]]:
    """Every finding of a list: line, and the finding (code, column, masked value, how to mend)."""
    async with reading(bank) as connection:
        await batches.read(connection, batch_id)
        return [(row.line, one) async for row in await batches.findings(connection, batch_id) for one in row.findings]


async def _store_chunks(
    bank: Bank, connection: AsyncConnection, batch_id: int, listing: KpmList, progress: Callable[[int], None] | None
) -> None:
    known = await policy.programmes(connection, bank.business_date)
    rules = KpmPolicy(
        min_age_years=bank.settings.min_age,
        programmes=programme_facts(known.values()),
        components=frozenset(code for one in known.values() for code in one.components),
    )
    task = KpmTask(batch_id, listing.columns, rules, bank.business_date)
    async with Workers(bank, task, listing.row_hint) as workers:
        async for chunk in workers.run(each(listing.table.blocks(CHUNK))):
            if not chunk.rows:
                continue
            values = {name: getattr(chunk, name) for name in chunk.__slots__ if name != "kpm_rows"}
            await batches.add_chunk(connection, batch_id, values)
            await copy_payload(connection, "kpm_row", ROW_COLUMNS, chunk.kpm_rows)
            if progress is not None:
                progress(chunk.rows)


async def _result_pages(bank: Bank, connection: AsyncConnection, batch_id: int) -> AsyncIterator[Page]:
    """The list's rows as they came, chunk by chunk, each with account number, status and explanation."""
    line = 0
    while chunk := await batches.next_chunk(connection, batch_id, line):
        line = chunk.first_line
        packed = unpack(bank.vault.open(bytes(chunk.record), **record_place(batch_id, line)))
        span = packed.lines[0], packed.lines[-1]
        numbers = await batches.opened_numbers(connection, batch_id, span)
        others = await batches.other_outcomes(connection, batch_id, span)
        tails = [
            f";{numbers[one]};BUREKOL_SUKSES;" if one in numbers else tail(*_outcome(others[one]))
            for one in packed.lines
        ]
        yield Page(packed.records, tails)


def _outcome(row: Any) -> list[str]:  # noqa: ANN401 - a database row
    codes = "; ".join(f"{one['code']}: {one['mend']}" for one in row.findings)
    status = {"OPENED": "BUREKOL_SUKSES", "ROUTED": "BUREKOL_GAGAL", "REJECTED": "BUREKOL_GAGAL"}
    if row.state == "ROUTED":
        codes += "; programme routed to the first card"
    number = row.account_number if row.state in ("OPENED", "ROUTED") else None
    return [number or "", status.get(row.state, "BUREKOL_PROSES"), codes]


def _move(batch: batches.Batch, event: BatchEvent) -> BatchState:
    try:
        return move(f"list {batch.id}", BATCH_TRANSITIONS, batch.state, event)
    except TransitionRefused as error:
        raise Refused(str(error)) from None
