"""Standing instructions: take in the payroll list of an SP2D, compare, approve by a second person, credit, report.

Nothing is credited unless the list's sum (and count, where given) is the SP2D's. A list is kept in chunks of some thousand rows
(gateway.operations.si_chunk) and credited part by part (gateway.operations.crediting).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.files.packed import Page, tail, unpack
from gateway.files.si_list import open_si_list
from gateway.operations.bank import Bank, transaction
from gateway.operations.crediting import credit_waiting
from gateway.operations.result import write_streamed
from gateway.operations.si_before import make_chunks
from gateway.operations.si_chunk import SiTask, record_place
from gateway.operations.workers import Workers, each
from gateway.rules.approval import same_person
from gateway.rules.batch import SI_TRANSITIONS, SiEvent, SiState
from gateway.rules.credit import GUIDANCE, CreditReason
from gateway.rules.instruction import InstructionPolicy
from gateway.rules.transitions import TransitionRefused, move
from gateway.store import instructions, policy
from gateway.store.audit import Operation
from ledger import book
from ledger.posting import Source, fund

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.files.si_list import SiList

CHUNK = 10_000  # rows: a lane's part of it keeps its accounts locked for about a tenth of a second
RESULT_COLUMNS = ["KODE_STATUS", "KETERANGAN"]
SI, TOPUP_SUKSES = "SI", "TOPUP_SUKSES"


@dataclass(frozen=True, slots=True)
class SiSummary:
    """What an SI's list holds, beside its SP2D."""

    si: str
    rows: int
    amount_idr: int
    sp2d_amount_idr: int
    status: str


@dataclass(frozen=True, slots=True)
class SiResult:
    """What was credited. REASONS: reason -> failed rows."""

    si: str
    status: str
    credited: int
    failed: int
    credited_idr: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Sp2d:
    """The treasury's payment order: number, date, rupiah, and the number of recipients where it states one."""

    no: str
    on: date
    amount_idr: int
    count: int | None = None


async def import_instruction(
    bank: Bank,
    actor: str,
    path: Path,
    si_no: str,
    sp2d: Sp2d,
    progress: Callable[[int], None] | None = None,
    *,
    available_from: date | None = None,
) -> SiSummary:
    """Take in an SI list. A list that disagrees with its SP2D is kept as MISMATCH and can never be approved.

    AVAILABLE_FROM: the families may not spend it before, where that is later than the programme says.
    """
    if not si_no.strip() or not sp2d.no.strip():
        raise Refused("the numbers of the SI and of the SP2D are needed (--si-no, --sp2d-no)")
    if sp2d.amount_idr <= 0:
        raise Refused(f"the amount of the SP2D must be positive rupiah, not {sp2d.amount_idr}")
    listing = open_si_list(path)
    async with transaction(bank, actor) as tx:
        before = await instructions.seen_before(tx.connection, listing.sha256, si_no.strip(), sp2d.no.strip())
        if before is not None:
            raise Refused(f"{path.name}: {before}")
        values = {
            "si_no": si_no.strip(), "sp2d_no": sp2d.no.strip(), "sp2d_date": sp2d.on, "sp2d_amount_idr": sp2d.amount_idr,
            "sp2d_count": sp2d.count, "file_name": path.name, "file_sha256": listing.sha256, "header": list(listing.header),
            "available_from": available_from, "state": SiState.PROPOSED.value, "maker": actor.strip(),
            "business_date": bank.business_date,
        }  # fmt: skip
        si_id = await instructions.create(tx.connection, values)
        rows, amounts = await _store_chunks(bank, tx.connection, si_id, listing, progress)
        if rows == 0:
            raise Refused(f"{path.name} has a header and no rows")
        state, reason = _compare(rows, sum(amounts.values()), sp2d)
        await instructions.set_totals(tx.connection, si_id, rows, amounts, state, reason)
        summary = SiSummary(si_no.strip(), rows, sum(amounts.values()), sp2d.amount_idr, state.value)
        detail = asdict(summary) | {"sha256": listing.sha256, "available_from": available_from}
        await tx.record(Operation.SI_IMPORT, f"SI {si_no.strip()}", **detail)
    return summary


async def approve(bank: Bank, actor: str, si_no: str, progress: Callable[[int], None] | None = None) -> SiResult:
    """A second person approves and the families are credited. Said again after a crash, it goes on where it stopped."""
    async with transaction(bank, actor) as tx:
        si = await instructions.read(tx.connection, si_no, lock=True)
        if same_person(si.maker, actor):
            raise Refused(f"SI {si_no} was imported by {si.maker}: another person must approve it (--as NAME)")
        if si.state is SiState.MISMATCH:
            raise Refused(f"SI {si_no} cannot be approved: {si.reason}")
        after = _move(si, SiEvent.APPROVE)
        if si.state is SiState.PROPOSED:
            await _fund(bank, tx.connection, si)
        await make_chunks(bank, tx.connection, si)
        await instructions.set_state(tx.connection, si.id, after, checker=None if si.checker else actor.strip())
        await tx.record(Operation.SI_APPROVE, f"SI {si_no}", rows=si.rows, amount_idr=si.amount_idr)
    await credit_waiting(bank, actor, si, progress)
    async with transaction(bank, actor) as tx:
        si = await instructions.read(tx.connection, si_no, lock=True)
        if si.state is SiState.POSTING:
            await instructions.set_state(tx.connection, si.id, _move(si, SiEvent.FINISH))
        result = await _result(tx.connection, si_no)
        await tx.record(Operation.SI_FINISH, f"SI {si_no}", **asdict(result))
    return result


async def reject(bank: Bank, actor: str, si_no: str, reason: str) -> None:
    """A second person refuses the SI; nothing of it is credited."""
    if not reason.strip():
        raise Refused("a rejection needs a reason (--reason)")
    async with transaction(bank, actor) as tx:
        si = await instructions.read(tx.connection, si_no, lock=True)
        if same_person(si.maker, actor):
            raise Refused(f"SI {si_no} was imported by {si.maker}: another person must decide (--as NAME)")
        after = _move(si, SiEvent.REJECT)
        await instructions.set_state(tx.connection, si.id, after, checker=actor.strip(), reason=reason.strip())
        await tx.record(Operation.SI_REJECT, f"SI {si_no}", reason=reason.strip())


async def result(bank: Bank, actor: str, si_no: str, out: Path | None = None) -> SiResult:
    """What was credited, and the result file where OUT is given."""
    async with transaction(bank, actor) as tx:
        si = await instructions.read(tx.connection, si_no)
        found = await _result(tx.connection, si_no)
        if out is not None:
            await make_chunks(bank, tx.connection, si)
            await write_streamed(out, [*si.header, *RESULT_COLUMNS], _result_pages(bank, tx.connection, si))
        await tx.record(Operation.SI_RESULT, f"SI {si_no}", file=None if out is None else out.name)
    return found


async def _store_chunks(
    bank: Bank,
    connection: AsyncConnection,
    si_id: int,
    listing: SiList,
    progress: Callable[[int], None] | None,
) -> tuple[int, dict[str, int]]:
    """Judge and store the list. Returns how many rows there are, and what they add up to by programme."""
    known = await policy.programmes(connection, bank.business_date)
    rules = InstructionPolicy(policy.programme_facts(known.values()))
    task = SiTask(si_id, listing.columns, rules, bank.row.lanes)
    await instructions.add_lanes(connection, si_id, bank.row.lanes)
    rows = 0
    amounts: Counter[str] = Counter()
    async with Workers(bank, task, listing.row_hint) as workers:
        async for chunk in workers.run(each(listing.table.blocks(CHUNK))):
            if not chunk.rows:
                continue
            await instructions.add_chunk(connection, si_id, chunk.first_line, chunk.rows, chunk.record)
            for part in chunk.parts:
                await instructions.add_part(connection, si_id, part.lane, chunk.first_line, part.rows, part.staged)
            rows += chunk.rows
            amounts.update(chunk.by_programme)
            if progress is not None:
                progress(chunk.rows)
    return rows, dict(amounts)


def _compare(rows: int, amount_idr: int, sp2d: Sp2d) -> tuple[SiState, str | None]:
    """Whether the list is the SP2D's, and what is wrong where it is not."""
    if amount_idr != sp2d.amount_idr:
        return SiState.MISMATCH, f"its rows add up to Rp{amount_idr:,} and the SP2D is Rp{sp2d.amount_idr:,}"
    if sp2d.count is not None and rows != sp2d.count:
        return SiState.MISMATCH, f"it has {rows} rows and the SP2D says {sp2d.count}"
    return SiState.PROPOSED, None


async def _fund(bank: Bank, connection: AsyncConnection, si: instructions.Instruction) -> None:
    """The SP2D's money reaches the programmes' accounts at the bank."""
    amounts = await instructions.amounts_by_programme(connection, si.id)
    source = Source("si", si.id, bank.business_date)
    await book.post(connection, [fund(programme, amount, source) for programme, amount in amounts.items()])


async def _result(connection: AsyncConnection, si_no: str) -> SiResult:
    si = await instructions.read(connection, si_no)
    credited, failed, credited_idr, reasons = await instructions.outcome(connection, si.id)
    by_code: dict[str, int] = {}
    for reason, count in reasons.items():
        code = reason.split(":")[0]
        by_code[code] = by_code.get(code, 0) + count
    return SiResult(si_no, si.state.value, credited, failed, credited_idr, by_code)


async def _result_pages(bank: Bank, connection: AsyncConnection, si: instructions.Instruction) -> AsyncIterator[Page]:
    """The list's rows as they came, chunk by chunk, each with what became of it."""
    usual = TOPUP_SUKSES if si.state is SiState.POSTED else SI  # of a row that the database does not tell of
    but = usual if si.state is SiState.POSTED else None
    line = 0
    while chunk := await instructions.next_chunk(connection, si.id, line):
        line = chunk.first_line
        packed = unpack(bank.vault.open(bytes(chunk.record), **record_place(si.id, line)))
        decided = await instructions.decided_rows(connection, si.id, (packed.lines[0], packed.lines[-1]), but=but)
        tails = [tail(usual, "")] * len(packed.lines)
        if decided:
            tails = [_tail(*decided.get(one, (usual, None))) for one in packed.lines]
        yield Page(packed.records, tails)


def _tail(state: str, reason: str | None) -> str:
    explained = "" if reason is None else f"{reason} ({GUIDANCE[CreditReason(reason.split(':')[0])]})"
    return tail(state, explained)


def _move(si: instructions.Instruction, event: SiEvent) -> SiState:
    try:
        return move(f"SI {si.si_no}", SI_TRANSITIONS, si.state, event)
    except TransitionRefused as error:
        raise Refused(str(error)) from None
