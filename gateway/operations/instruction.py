"""Standing instructions: take in the payroll list of an SP2D, compare, approve by a second person, credit, report.

Nothing is credited unless the list's sum (and count, where given) is the SP2D's. Crediting goes in chunks, each a transaction
that marks its rows, so a run cut off anywhere goes on where it stopped and no row is credited twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Refused
from gateway.files.si_list import open_si_list
from gateway.operations.bank import Bank, transaction
from gateway.operations.result import write_streamed
from gateway.rules.account import AccountState
from gateway.rules.approval import same_person
from gateway.rules.batch import SI_TRANSITIONS, SiEvent, SiState
from gateway.rules.credit import GUIDANCE, CreditAccount, CreditReason, CreditRow, refuse_credit
from gateway.rules.instruction import InstructionPolicy, check_instruction, parse_amount
from gateway.rules.transitions import TransitionRefused, move
from gateway.store import instructions, policy
from gateway.store.audit import Operation
from gateway.store.database import copy_rows
from ledger import book
from ledger.posting import Source, fund

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.files.si_list import RawSiRow

CHUNK = 2_000
RESULT_COLUMNS = ["KODE_STATUS", "KETERANGAN"]


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
    bank: Bank, actor: str, path: Path, si_no: str, sp2d: Sp2d, progress: Callable[[int], None] | None = None
) -> SiSummary:
    """Take in an SI list. A list that disagrees with its SP2D is kept as MISMATCH and can never be approved."""
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
            "state": SiState.PROPOSED.value, "maker": actor.strip(), "business_date": bank.business_date,
        }  # fmt: skip
        si_id = await instructions.create(tx.connection, values)
        known = await policy.programmes(tx.connection, bank.business_date)
        rules = InstructionPolicy(policy.programme_facts(known.values()))
        chunk: list[tuple[Any, ...]] = []
        for raw in listing.rows():
            chunk.append(_stored_row(bank, si_id, listing.columns, raw, rules))
            if len(chunk) == CHUNK:
                await copy_rows(tx.connection, "si_row", instructions.ROW_COLUMNS, chunk)
                _tell(progress, len(chunk))
                chunk = []
        await copy_rows(tx.connection, "si_row", instructions.ROW_COLUMNS, chunk)
        _tell(progress, len(chunk))
        summary = await _compare(tx.connection, si_id, si_no.strip(), sp2d, path.name)
        await tx.record(Operation.SI_IMPORT, f"SI {si_no.strip()}", **asdict(summary), sha256=listing.sha256)
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
        await instructions.set_state(tx.connection, si.id, after, checker=None if si.checker else actor.strip())
        await tx.record(Operation.SI_APPROVE, f"SI {si_no}", rows=si.rows, amount_idr=si.amount_idr)
    while credited := await _credit_chunk(bank, actor, si):
        _tell(progress, credited)
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
            await _write_result_file(bank, tx.connection, si, out)
        await tx.record(Operation.SI_RESULT, f"SI {si_no}", file=None if out is None else out.name)
    return found


async def _compare(connection: AsyncConnection, si_id: int, si_no: str, sp2d: Sp2d, name: str) -> SiSummary:
    rows, amount = await instructions.totals(connection, si_id)
    if rows == 0:
        raise Refused(f"{name} has a header and no rows")
    reason = None
    if amount != sp2d.amount_idr:
        reason = f"its rows add up to Rp{amount:,} and the SP2D is Rp{sp2d.amount_idr:,}"
    elif sp2d.count is not None and rows != sp2d.count:
        reason = f"it has {rows} rows and the SP2D says {sp2d.count}"
    state = SiState.PROPOSED if reason is None else SiState.MISMATCH
    await instructions.set_totals(connection, si_id, state, reason)
    return SiSummary(si_no, rows, amount, sp2d.amount_idr, state.value)


async def _fund(bank: Bank, connection: AsyncConnection, si: instructions.Instruction) -> None:
    """The SP2D's money reaches the programmes' accounts at the bank."""
    amounts = await instructions.amounts_by_programme(connection, si.id)
    source = Source("si", si.id, bank.business_date)
    await book.post(connection, [fund(programme, amount, source) for programme, amount in amounts.items()])


async def _credit_chunk(bank: Bank, actor: str, si: instructions.Instruction) -> int:
    """Credit the next rows in one transaction. Returns how many were dealt with."""
    async with transaction(bank, actor) as tx:
        await instructions.read(tx.connection, si.si_no, lock=True)  # two approvers at once take turns
        rows = await instructions.waiting_rows(tx.connection, si.id, CHUNK)
        if rows:
            await _credit_rows(bank, tx.connection, si, rows)
        await tx.record(Operation.SI_POST, f"SI {si.si_no}", rows=len(rows))
    return len(rows)


async def _credit_rows(bank: Bank, connection: AsyncConnection, si: instructions.Instruction, rows: list[Any]) -> None:
    today = bank.business_date
    known = {code: one.number for code, one in (await policy.programmes(connection, today)).items()}
    numbers = sorted({row.account_number for row in rows if row.account_number})
    accounts = await instructions.lock_accounts(connection, numbers, today)
    owners = [(one.cell, one.id) for one in accounts.values()]
    paid, here = await instructions.paid_stages(connection, si.id, owners)
    outcomes: list[tuple[int, str | None, int | None]] = []
    new: list[book.NewTranche] = []
    ids = await book.take_ids(connection, "tranche_id_seq", len(rows))
    for row, tranche_id in zip(rows, ids, strict=True):
        account = accounts.get(row.account_number)
        wanted = CreditRow(
            None if row.nik_index is None else bytes(row.nik_index), row.holder_name, row.programme, row.stage,
            tuple(row.months or ()), row.amount_idr,
        )  # fmt: skip
        reason: str | None = row.reason or refuse_credit(
            wanted, _credit_account(account), known, paid.get(account.id, {}) if account else {},
            here.get(account.id, {}) if account else {},
        )  # fmt: skip
        outcomes.append((row.line, reason, None if reason else tranche_id))
        if reason is None and account is not None:
            here.setdefault(account.id, {}).setdefault(row.programme, set()).update((row.stage, *row.months))
            new.append(
                book.NewTranche(account.cell, account.id, tranche_id, known[row.programme], row.stage, list(row.months),
                                si.id, row.line, si.sp2d_no, account.region, today, today, row.amount_idr)
            )  # fmt: skip
    await book.credit(connection, new)
    await instructions.mark_rows(connection, si.id, outcomes)


def _credit_account(row: Any) -> CreditAccount | None:  # noqa: ANN401 - a database row
    if row is None:
        return None
    return CreditAccount(bytes(row.nik_index), row.holder_name, AccountState(row.state), row.excluded)


def _stored_row(
    bank: Bank, si_id: int, columns: tuple[str, ...], raw: RawSiRow, rules: InstructionPolicy
) -> tuple[Any, ...]:
    """A row as it is kept. A row that is itself wrong keeps its amount, so that the sum is the list's, and its reason."""
    line, values = raw.line, raw.values
    found, findings = check_instruction(values, rules, numeric=raw.numeric, surplus=raw.surplus)
    kept = json.dumps({"row": [values.get(name, "") for name in columns]}, separators=(",", ":"))
    sealed = bank.vault.seal(kept, table="si_row", row=f"{si_id}:{line}", column="record")
    if found is None:
        codes = {finding.code.value for finding in findings}
        reason = CreditReason.PROGRAM_UNKNOWN if codes == {"PROGRAM_UNKNOWN"} else CreditReason.ROW_INVALID
        shown = f"{reason.value}: {', '.join(sorted(codes))}"
        amount = parse_amount(values.get("NOMINAL", ""))
        return (si_id, line, sealed, None, None, None, None, None, None, amount, "WAITING", shown)
    index = bank.vault.index(found.nik, "nik")
    return (si_id, line, sealed, index, found.account, found.name, found.programme, found.stage,
            list(found.months), found.amount_idr, "WAITING", None)  # fmt: skip


async def _result(connection: AsyncConnection, si_no: str) -> SiResult:
    si = await instructions.read(connection, si_no)
    credited, failed, credited_idr, reasons = await instructions.outcome(connection, si.id)
    by_code: dict[str, int] = {}
    for reason, count in reasons.items():
        code = reason.split(":")[0]
        by_code[code] = by_code.get(code, 0) + count
    return SiResult(si_no, si.state.value, credited, failed, credited_idr, by_code)


async def _write_result_file(bank: Bank, connection: AsyncConnection, si: instructions.Instruction, out: Path) -> int:
    stored = await instructions.result_rows(connection, si.id)
    return await write_streamed(out, [*si.header, *RESULT_COLUMNS], _result_rows(bank, si.id, stored))


async def _result_rows(bank: Bank, si_id: int, stored: AsyncIterator[Any]) -> AsyncIterator[list[str]]:
    async for row in stored:
        record = bank.vault.open(bytes(row.record), table="si_row", row=f"{si_id}:{row.line}", column="record")
        status = row.state if row.state != "WAITING" else "SI"
        explained = "" if row.reason is None else f"{row.reason} ({GUIDANCE[CreditReason(row.reason.split(':')[0])]})"
        yield [*json.loads(record)["row"], status, explained]


def _move(si: instructions.Instruction, event: SiEvent) -> SiState:
    try:
        return move(f"SI {si.si_no}", SI_TRANSITIONS, si.state, event)
    except TransitionRefused as error:
        raise Refused(str(error)) from None


def _tell(progress: Callable[[int], None] | None, rows: int) -> None:
    if progress is not None and rows:
        progress(rows)
