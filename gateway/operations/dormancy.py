"""The clocks of unused aid, carried out: warn, block, freeze, debit to RPL, return to the treasury, and unblock.

Each step takes a page of tranches, locks their accounts, asks the pure rule, and posts in one transaction. A step that is run
again for the same date finds nothing left to do. Three separate transfers (freeze, debit to RPL, return) with their own
evidence ids, as auditors test them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from gateway.errors import Refused
from gateway.operations.bank import Bank, reading, transaction
from gateway.rules.approval import same_person
from gateway.rules.dormancy import Step, TrancheClock, TrancheState, due
from gateway.store import policy, tranches
from gateway.store.audit import Operation
from ledger import book
from ledger.posting import Account, Draw, Source, freeze, return_to_treasury, to_rpl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.rules.dormancy import ClockPolicy
    from gateway.store.tranches import Tranche, TreasuryReturn

PAGE = 2_000
NTPN_LENGTH = 16
ACTOR = "jobs"


@dataclass(slots=True)
class StepSummary:
    """What a run of a clock did: how many tranches and how much money."""

    tranches: int = 0
    amount_idr: int = 0
    evidence: list[str] = field(default_factory=list)

    def add(self, amounts: list[int]) -> None:
        """Count tranches with their rupiah."""
        self.tranches += len(amounts)
        self.amount_idr += sum(amounts)


async def warn(bank: Bank, on: date, run_id: int) -> StepSummary:
    """Notices to families whose aid will be blocked (60 and 80 days by default)."""
    return await _each_page(bank, on, run_id, Step.WARN)


async def block(bank: Bank, on: date, run_id: int) -> StepSummary:
    """Block aid that was not used in time (90 days by default): it can no longer be spent, and is still the family's."""
    return await _each_page(bank, on, run_id, Step.BLOCK)


async def freeze_unused(bank: Bank, on: date, run_id: int) -> StepSummary:
    """Freeze aid past its term (after 105 days by default)."""
    return await _each_page(bank, on, run_id, Step.FREEZE)


async def debit_to_rpl(bank: Bank, on: date, run_id: int) -> StepSummary:
    """Debit frozen aid to RPL, one evidence number a programme and SP2D."""
    summary = StepSummary()
    after = tranches.FIRST_PAGE
    while True:
        async with transaction(bank, ACTOR) as tx:
            keys, after = await tranches.frozen(tx.connection, after, PAGE)
            found = [one for one in await tranches.lock(tx.connection, keys) if one.state is TrancheState.FROZEN]
            by_money: dict[tuple[int, str], list[Tranche]] = defaultdict(list)
            for one in found:
                by_money[one.programme, one.sp2d_no].append(one)
            for (programme, sp2d_no), group in sorted(by_money.items()):
                amounts = [one.frozen_idr for one in group]
                evidence = f"RPL-{on:%Y%m%d}-{run_id}-{group[0].id}"  # a run taken up again goes on with other tranches
                return_id = await tranches.create_return(
                    tx.connection, programme, sp2d_no, sum(amounts), len(group), on, evidence
                )
                source = Source("treasury_return", return_id, on)
                transfers = [
                    to_rpl(Account(one.cell, one.account_id), Draw(one.id, one.programme, one.frozen_idr), source)
                    for one in group
                ]
                await book.post(tx.connection, transfers)
                await tranches.set_state(tx.connection, group, TrancheState.AT_RPL, on, return_id)
                summary.add(amounts)
                summary.evidence.append(evidence)
            new = summary.evidence[len(summary.evidence) - len(by_money) :]
            await tx.record(Operation.JOB_RUN, f"run {run_id}", step="debit to RPL", evidence=new)
        if not keys:
            return summary


async def return_unused(bank: Bank, on: date, run_id: int) -> StepSummary:
    """Deposit what stands at RPL at kas negara, one deposit with its own evidence number for each debit."""
    summary = StepSummary()
    async with reading(bank) as connection:
        waiting = await tranches.returns(connection, "AT_RPL")
    for one in waiting:
        async with transaction(bank, ACTOR) as tx:
            locked = await tranches.lock_return(tx.connection, one.id)
            if locked.state != "AT_RPL":
                await tx.record(Operation.JOB_RUN, f"run {run_id}", step="return", already=locked.deposit_evidence)
                continue
            evidence = f"SETOR-{on:%Y%m%d}-{run_id}-{one.id}"
            source = Source("treasury_return", one.id, on)
            await book.post(tx.connection, [return_to_treasury(one.programme, one.amount_idr, source)])
            await tranches.mark_returned(tx.connection, one.id, on, evidence)
            await tx.record(
                Operation.JOB_RUN, f"run {run_id}", step="return", evidence=evidence, amount_idr=one.amount_idr
            )
        summary.tranches += one.tranches
        summary.amount_idr += one.amount_idr
        summary.evidence.append(evidence)
    return summary


async def confirm_receipt(bank: Bank, actor: str, return_id: int, ntpn: str) -> TreasuryReturn:
    """Keep the treasury's receipt number (NTPN) of a deposit. Raises Refused when it is not deposited yet, or has a receipt."""
    number = ntpn.strip().upper()
    if not (number.isalnum() and len(number) == NTPN_LENGTH):
        raise Refused(f"an NTPN has {NTPN_LENGTH} letters and digits")
    async with transaction(bank, actor) as tx:
        one = await tranches.lock_return(tx.connection, return_id)
        if one.state != "RETURNED":
            raise Refused(f"return {return_id} is {one.state}: nothing was deposited yet")
        if one.ntpn is not None and one.ntpn != number:
            raise Refused(f"return {return_id} has the receipt {one.ntpn} already")
        try:
            await tranches.set_ntpn(tx.connection, return_id, number)
        except IntegrityError:
            raise Refused(f"the receipt {number} belongs to another return") from None
        await tx.record(Operation.RETURN_RECEIPT, f"return {return_id}", ntpn=number)
        return await tranches.lock_return(tx.connection, return_id)


async def unblock(
    bank: Bank, maker: str, checker: str, reason: str, *, region_prefix: str = "", account_number: str | None = None
) -> StepSummary:
    """Open blocked aid again, of one account or of a region by the ministry's order; its clock starts anew. Two people."""
    if not checker.strip() or same_person(maker, checker):
        raise Refused("unblocking needs two different people")
    if not reason.strip():
        raise Refused("unblocking needs a reason: the number of the letter or order")
    if not region_prefix and account_number is None:
        raise Refused("unblocking needs an account number or a region")
    if region_prefix and not (region_prefix.isascii() and region_prefix.isdecimal()):
        raise Refused("a region is the first digits of its code, without dots")
    on = bank.business_date
    summary = StepSummary()
    async with transaction(bank, maker) as tx:
        keys = await tranches.blocked(tx.connection, region_prefix, account_number)
        found = [one for one in await tranches.lock(tx.connection, keys) if one.state is TrancheState.BLOCKED]
        await tranches.set_state(tx.connection, found, TrancheState.OPEN, on)
        await tranches.notice(tx.connection, [(one, "UNBLOCK", 0, one.available_idr) for one in found], on)
        summary.add([one.available_idr for one in found])
        where = account_number or f"region {region_prefix}"
        await tx.record(
            Operation.AID_UNBLOCK, where, checker=checker, reason=reason.strip(), tranches=summary.tranches,
            amount_idr=summary.amount_idr,
        )  # fmt: skip
    return summary


async def _each_page(bank: Bank, on: date, run_id: int, step: Step) -> StepSummary:
    async with reading(bank) as connection:
        policies = await policy.clock_policies(connection)
    days = _first_days(policies, step)
    summary = StepSummary()
    if days is None:
        return summary
    used_too = any(one.partly_used for one in policies)
    after = tranches.FIRST_PAGE
    while True:
        async with transaction(bank, ACTOR) as tx:
            keys, after = await tranches.candidates(
                tx.connection, before=on - timedelta(days=days), used_too=used_too, after=after, limit=PAGE
            )
            fitting = [one for one in await tranches.lock(tx.connection, keys) if _due(one, policies, on) is step]
            if fitting:
                await STEPS[step](tx.connection, fitting, on, run_id)
            summary.add([one.available_idr for one in fitting])
            await tx.record(
                Operation.JOB_RUN, f"run {run_id}", step=step.value, on=on, tranches=len(fitting),
                amount_idr=sum(one.available_idr for one in fitting),
            )  # fmt: skip
        if len(keys) < PAGE:
            return summary


async def _warn_page(connection: AsyncConnection, fitting: list[Tranche], on: date, run_id: int) -> None:
    del run_id
    await tranches.notice(connection, _notices(fitting, "WARN", on), on)


async def _block_page(connection: AsyncConnection, fitting: list[Tranche], on: date, run_id: int) -> None:
    del run_id
    await tranches.set_state(connection, fitting, TrancheState.BLOCKED, on)
    await tranches.notice(connection, _notices(fitting, "BLOCK", on), on)


async def _freeze_page(connection: AsyncConnection, fitting: list[Tranche], on: date, run_id: int) -> None:
    source = Source("job_run", run_id, on)
    transfers = [
        freeze(Account(one.cell, one.account_id), Draw(one.id, one.programme, one.available_idr), source)
        for one in fitting
    ]
    await book.post(connection, transfers)
    await tranches.set_state(connection, fitting, TrancheState.FROZEN, on)
    await tranches.notice(connection, _notices(fitting, "FREEZE", on), on)


def _notices(fitting: list[Tranche], what: str, on: date) -> list[tuple[Tranche, str, int, int]]:
    return [(one, what, (on - one.clock_from).days, one.available_idr) for one in fitting]


def _due(one: Tranche, policies: list[ClockPolicy], on: date) -> Step | None:
    if one.available_idr == 0:
        return None
    clock = TrancheClock(one.programme, one.region, one.clock_from, one.used_on is not None, one.state)
    return due(clock, policies, on)


def _first_days(policies: list[ClockPolicy], step: Step) -> int | None:
    """The fewest days after which any policy wants a step: what the page query may leave out."""
    days: list[int] = []
    for one in policies:
        if step is Step.WARN:
            days += one.warn_days
        elif step is Step.BLOCK:
            days += [] if one.block_days is None else [one.block_days]
        else:
            days += [] if one.return_days is None else [one.return_days + 1]
    return min(days, default=None)


STEPS: dict[Step, Callable[[AsyncConnection, list[Tranche], date, int], Awaitable[None]]] = {
    Step.WARN: _warn_page,
    Step.BLOCK: _block_page,
    Step.FREEZE: _freeze_page,
}
