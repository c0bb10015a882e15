"""Crediting an approved SI: lanes side by side, each part of a lane one transaction that also marks it as dealt with.

A run that is cut off anywhere goes on where it stopped, and no row is credited twice: the mark, the rows and the money commit
together. Rows that name one account are of one lane and dealt with in the order of the list, so what is credited does not
depend on which lane is quicker, on where a run was cut off, or on who else approves at the same moment.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.operations.bank import Bank, reading, transaction
from gateway.operations.si_chunk import STAGED_COLUMNS, part_place
from gateway.rules.account import AccountState
from gateway.rules.credit import CreditAccount, CreditReason, CreditRow, refuse_credit
from gateway.rules.names import comparable
from gateway.store import crediting, instructions, policy
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


async def credit_waiting(
    bank: Bank, actor: str, si: instructions.Instruction, progress: Callable[[int], None] | None = None
) -> None:
    """Deal with every part of an SI that is left."""
    async with reading(bank) as connection:
        left = await instructions.parts_left(connection, si.id)
        in_place = bool(await instructions.rows_taken_in_before(connection, si.id, 0, 1))
    room = asyncio.Semaphore(max(1, bank.settings.pool_size // 2))  # the pool serves others too

    async def credit_lane(lane: int, parts: Sequence[int]) -> None:
        async with room:
            for first_line in parts:
                rows = await credit_part(bank, actor, si, lane, first_line, in_place=in_place)
                if progress is not None and rows:
                    progress(rows)

    lanes = [asyncio.create_task(credit_lane(lane, parts)) for lane, parts in left.items()]
    try:
        await asyncio.gather(*lanes)
    finally:
        for one in lanes:
            one.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


async def credit_part(
    bank: Bank, actor: str, si: instructions.Instruction, lane: int, first_line: int, *, in_place: bool
) -> int:
    """Credit one part in one transaction. Returns how many rows were dealt with: 0 where somebody else has done it."""
    async with transaction(bank, actor) as tx:
        part = await instructions.take_part(tx.connection, si.id, lane, first_line)  # two approvers at once take turns
        rows = 0
        if part is not None:
            rows, staged = part
            payload = bank.vault.open_bytes(staged, **part_place(si.id, lane, first_line))
            await _credit_rows(bank, tx.connection, si, payload, in_place=in_place)
        await tx.record(Operation.SI_POST, f"SI {si.si_no}", rows=rows, lane=lane, first_line=first_line)
    return rows


async def _credit_rows(
    bank: Bank, connection: AsyncConnection, si: instructions.Instruction, payload: bytes, *, in_place: bool = False
) -> None:
    today = bank.business_date
    await crediting.stage(connection, STAGED_COLUMNS, payload)
    await crediting.lock_accounts(connection, today)
    rows = await crediting.to_decide_singly(connection, today)
    singly = await _ask_the_rule(bank, connection, si, rows) if rows else {}
    await crediting.credit(connection, si, today, singly, in_place=in_place)


async def _ask_the_rule(
    bank: Bank, connection: AsyncConnection, si: instructions.Instruction, rows: list[Any]
) -> dict[int, CreditReason | None]:
    """What the rule says of rows one statement cannot decide, one after the other. Comparable names it makes are kept."""
    known = {code: one.number for code, one in (await policy.programmes(connection, bank.business_date)).items()}
    owners = {(row.cell, row.account_id): row for row in rows}
    names = {key: comparable(row.holder_name) for key, row in owners.items() if row.holder_comparable is None}
    if names:
        await crediting.keep_comparable(connection, names)
    paid, here = await instructions.paid_stages(connection, si.id, list(owners))
    decided: dict[int, CreditReason | None] = {}
    for row in rows:
        index = None if row.nik_index is None else bytes(row.nik_index)
        wanted = CreditRow(index, row.name, row.programme, row.stage, tuple(row.months or ()), row.amount_idr)
        holder = names.get((row.cell, row.account_id), row.holder_comparable)
        account = CreditAccount(bytes(row.holder_index), holder, AccountState(row.state), row.excluded)
        in_this_si = here.setdefault(row.account_id, {})
        reason = refuse_credit(wanted, account, known, paid.get(row.account_id, {}), in_this_si)
        decided[row.line] = reason
        if reason is None:
            in_this_si.setdefault(row.programme, set()).update((row.stage, *row.months))
    return decided
