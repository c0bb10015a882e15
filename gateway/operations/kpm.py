"""Approved KPM lists: read and judged, approved by a second person, opened, reported.

import_list is one transaction: a list is in whole, each row marked accepted or rejected with its reasons, or not at all.
Approval opens accounts in chunks (gateway.operations.opening).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Refused
from gateway.files.kpm_list import open_kpm_list
from gateway.operations.bank import Bank, reading, transaction
from gateway.operations.opening import open_chunk
from gateway.operations.result import write_streamed
from gateway.rules.approval import same_person
from gateway.rules.batch import BATCH_TRANSITIONS, BatchEvent, BatchState
from gateway.rules.kpm import KpmFamily, KpmPolicy, check_row
from gateway.rules.names import comparable
from gateway.rules.transitions import TransitionRefused, move
from gateway.store import batches, policy
from gateway.store.audit import Operation
from gateway.store.database import copy_rows
from gateway.store.policy import programme_facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.files.kpm_list import KpmList, RawKpmRow
    from gateway.rules.kpm import CheckedRow

CHUNK = 2_000
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
        await _copy_rows(bank, tx.connection, batch_id, listing, progress)
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
        await batches.set_state(tx.connection, batch_id, state, checker=None if batch.checker else actor.strip())
        await tx.record(Operation.KPM_APPROVE, f"list {batch_id}", accepted=batch.accepted)
    while opened := await open_chunk(bank, actor, batch_id):
        if progress is not None:
            progress(opened)
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
        rows = _result_rows(bank, batch_id, await batches.result_rows(tx.connection, batch_id))
        count = await write_streamed(out, [*batch.header, *RESULT_COLUMNS], rows)
        await tx.record(Operation.KPM_RESULT, f"list {batch_id}", file=out.name, rows=count)
    return ImportSummary(batch_id, batch.rows, batch.accepted, batch.rejected, batch.warnings, reasons)


async def findings(bank: Bank, batch_id: int) -> list[tuple[int, dict[str, str]]]:
    """Every finding of a list: line, and the finding (code, column, masked value, how to mend)."""
    async with reading(bank) as connection:
        await batches.read(connection, batch_id)
        return [
            (row.line, one) async for row in await batches.result_rows(connection, batch_id) for one in row.findings
        ]


async def _result_rows(bank: Bank, batch_id: int, stored: AsyncIterator[Any]) -> AsyncIterator[list[str]]:
    async for row in stored:
        record = bank.vault.open(bytes(row.record), table="kpm_row", row=f"{batch_id}:{row.line}", column="record")
        yield [*json.loads(record)["row"], *_outcome(row)]


async def _copy_rows(
    bank: Bank, connection: AsyncConnection, batch_id: int, listing: KpmList, progress: Callable[[int], None] | None
) -> None:
    known = await policy.programmes(connection, bank.business_date)
    rules = KpmPolicy(
        min_age_years=bank.settings.min_age,
        programmes=programme_facts(known.values()),
        components=frozenset(code for one in known.values() for code in one.components),
    )
    chunk: list[tuple[Any, ...]] = []
    for raw, checked in _checked(listing, rules, bank.business_date):
        chunk.append(_stored_row(bank, batch_id, listing.columns, raw, checked))
        if len(chunk) == CHUNK:
            await copy_rows(connection, "kpm_row", batches.ROW_COLUMNS, chunk)
            if progress is not None:
                progress(len(chunk))
            chunk = []
    await copy_rows(connection, "kpm_row", batches.ROW_COLUMNS, chunk)
    if progress is not None:
        progress(len(chunk))


def _checked(listing: KpmList, rules: KpmPolicy, on: date) -> Iterator[tuple[RawKpmRow, CheckedRow]]:
    for raw in listing.rows():
        yield raw, check_row(raw.values, on=on, policy=rules, numeric=raw.numeric, surplus=raw.surplus)


def _stored_row(
    bank: Bank, batch_id: int, columns: tuple[str, ...], raw: RawKpmRow, checked: CheckedRow
) -> tuple[Any, ...]:
    family = checked.family
    record: dict[str, Any] = {"row": [raw.values.get(name, "") for name in columns]}
    indexes: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None)
    programmes: list[str] = []
    if family is not None:
        record["family"] = _family_record(family)
        person = f"{comparable(family.name)}|{family.birth_date}|{comparable(family.mother_name)}"
        indexes = (
            bank.vault.index(family.nik, "nik"),
            bank.vault.index(family.no_kk, "no_kk"),
            bank.vault.index(person, "person") if family.mother_name else None,
        )
        programmes = list(family.programmes)
    sealed = bank.vault.seal(
        json.dumps(record, separators=(",", ":")), table="kpm_row", row=f"{batch_id}:{raw.line}", column="record"
    )
    shown = json.dumps([asdict(finding) for finding in checked.findings])
    state = "REJECTED" if family is None else "ACCEPTED"
    return (batch_id, raw.line, state, sealed, *indexes, programmes, shown)


def _family_record(family: KpmFamily) -> dict[str, Any]:
    """A family as it is sealed with its row until its account is opened."""
    record = {name: getattr(family, name) for name in KpmFamily.__slots__}
    changed = {
        "birth_date": family.birth_date.isoformat(),
        "sex": family.sex.value,
        "components": dict(family.components),
        "programmes": list(family.programmes),
    }
    return record | changed


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
