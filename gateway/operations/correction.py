"""Taking back a wrong transfer: only as a new transfer in an open day, by two people, with a reason.

What can be corrected is what went into or out of a family's purse by mistake: a credit of the wrong family or amount, and a
withdrawal or purchase that was booked and did not happen. Money taken back from a family is what its tranche still has available,
and goes to the programme's account; a payment goes back to the tranches it came from, the last drawn first, as a reversal does.
The old transfer stays; the new one names it, and its correction row says why and to which day it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound, Refused
from gateway.operations.bank import Bank, Transaction, transaction
from gateway.rules.approval import same_person
from gateway.store.audit import Operation
from ledger import book
from ledger.posting import CORRECTABLE, Kind, Source, Transfer, correct

if TYPE_CHECKING:
    from datetime import date


@dataclass(frozen=True, slots=True)
class Correction:
    """What was taken back. VALUE_DATE: the business date of the wrong transfer, to which the correction belongs."""

    account: str
    transfers: list[int]
    corrects: list[int]
    amount_idr: int
    value_date: date
    business_date: date


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A wrong transfer, and what of it has not been taken back."""

    id: int
    transfer: Transfer
    left_idr: int


async def take_back(
    bank: Bank,
    maker: str,
    checker: str,
    account_number: str,
    transfer_id: int,
    reason: str,
    amount_idr: int | None = None,
) -> Correction:
    """Correct a transfer of an account, wholly (what is left of it) or by AMOUNT_IDR.

    A payment is corrected as a whole: naming any of its transfers means all that it drew. Raises NotFound; Refused where it is
    not a kind that is corrected, was taken back already, or where the tranche no longer has the money.
    """
    if not checker.strip() or same_person(maker, checker):
        raise Refused("a correction needs two different people")
    if not reason.strip():
        raise Refused("a correction needs a reason")
    async with transaction(bank, maker) as tx:
        account = (await tx.connection.execute(LOCK_ACCOUNT, {"number": account_number})).one_or_none()
        if account is None:
            raise NotFound(f"there is no account {account_number}")
        wrong = await _wrong_transfers(tx, account, transfer_id)
        if not wrong:
            raise NotFound(f"account {account_number} has no transfer {transfer_id}")
        kind, on = wrong[0].transfer.kind, wrong[0].transfer.source.business_date
        parts = _parts(transfer_id, wrong, amount_idr)
        if kind is Kind.CREDIT:
            await _check_still_there(tx, parts)
        values = {
            "cell": account.cell, "account": account.id, "transfer": transfer_id, "value_date": on, "maker": maker.strip(),
            "amount": sum(amount for _, amount in parts), "checker": checker.strip(), "reason": reason.strip(),
            "on": bank.business_date,
        }  # fmt: skip
        number = (await tx.connection.execute(ADD, values)).scalar_one()
        source = Source("correction", number, bank.business_date)
        posted = await book.post(
            tx.connection, [correct(one.transfer, one.id, amount, source) for one, amount in parts]
        )
        if kind is not Kind.CREDIT:
            await _give_back(tx, wrong, parts)
        result = Correction(
            account_number, posted, [one.id for one, _ in parts], values["amount"], on, bank.business_date
        )
        await tx.record(
            Operation.CORRECTION, f"account {account_number}", correction=number, transfers=posted, corrects=result.corrects,
            amount_idr=result.amount_idr, value_date=on, checker=checker.strip(), reason=reason.strip(),
        )  # fmt: skip
    return result


async def _wrong_transfers(tx: Transaction, account: Any, transfer_id: int) -> list[_Wrong]:  # noqa: ANN401 - a database row
    """The transfer, and the others of the same payment, in the order they were drawn."""
    values = {"cell": account.cell, "account": account.id, "id": transfer_id}
    return [
        _Wrong(
            row.id,
            Transfer(
                account.cell, account.id, row.debit, row.credit, row.amount_idr, Kind(row.kind),
                Source(row.source, row.source_id, row.business_date), row.tranche_id, row.corrects,
            ),
            row.amount_idr - int(row.taken_back_idr),
        )
        for row in await tx.connection.execute(WRONG, values)
    ]  # fmt: skip


def _parts(transfer_id: int, wrong: list[_Wrong], amount_idr: int | None) -> list[tuple[_Wrong, int]]:
    """What is taken back of each transfer, last drawn first. Raises Refused."""
    kind, left = wrong[0].transfer.kind, sum(one.left_idr for one in wrong)
    if kind not in CORRECTABLE:
        allowed = ", ".join(sorted(CORRECTABLE))
        raise Refused(f"transfer {transfer_id} is a {kind}: only {allowed} are corrected")
    if left == 0:
        raise Refused(f"transfer {transfer_id} has been taken back already")
    wanted = left if amount_idr is None else amount_idr
    if not 0 < wanted <= left:
        raise Refused(f"of transfer {transfer_id} Rp{left:,} can be taken back, not Rp{wanted:,}")
    parts = []
    for one in reversed(wrong):
        taken = min(wanted, one.left_idr)
        wanted -= taken
        if taken:
            parts.append((one, taken))
    return parts


async def _check_still_there(tx: Transaction, parts: list[tuple[_Wrong, int]]) -> None:
    """A credit is taken back from what its tranche has available: spent, held and frozen money is not there."""
    ((wrong, amount),) = parts
    transfer = wrong.transfer
    values = {"cell": transfer.cell, "account": transfer.account_id, "id": transfer.tranche_id}
    available = (await tx.connection.execute(AVAILABLE, values)).scalar_one()
    if available < amount:
        raise Refused(
            f"the tranche has Rp{available:,} available, not Rp{amount:,}: the rest was spent, held or frozen"
        )


async def _give_back(tx: Transaction, wrong: list[_Wrong], parts: list[tuple[_Wrong, int]]) -> None:
    """The authorisation knows what is still taken, so that a late reversal gives nothing back twice; its tranches can be used."""
    taken = {one.id: amount for one, amount in parts}
    first = wrong[0].transfer
    await tx.connection.execute(
        MARK_AUTHORISATION,
        {
            "cell": first.cell, "id": first.source.id, "on": first.source.business_date, "amount": sum(taken.values()),
            "kept": [one.left_idr - taken.get(one.id, 0) for one in wrong],
        },
    )  # fmt: skip
    tranches = [one.transfer.tranche_id for one, _ in parts]
    await tx.connection.execute(REOPEN, {"cell": first.cell, "account": first.account_id, "ids": tranches})


LOCK_ACCOUNT = text("SELECT cell, id FROM account WHERE number = :number FOR UPDATE")
WRONG = text("""
    WITH named AS (
        SELECT * FROM transfer WHERE cell = :cell AND account_id = :account AND id = :id
    ), wrong AS (
        SELECT t.* FROM transfer t JOIN named n USING (cell, account_id, kind, source, source_id, business_date)
        WHERE t.id = n.id OR n.source = 'authorisation'
    )
    SELECT w.*, (SELECT coalesce(sum(x.amount_idr), 0) FROM transfer x
                 WHERE x.cell = w.cell AND x.account_id = w.account_id AND x.corrects = w.id
                   AND x.kind IN ('REVERSAL', 'CORRECTION')) AS taken_back_idr
    FROM wrong w
    LEFT JOIN authorisation a ON w.source = 'authorisation'
         AND (a.cell, a.id, a.business_date) = (w.cell, w.source_id, w.business_date)
    ORDER BY array_position(a.transfer_ids, w.id), w.id
""")
AVAILABLE = text("SELECT available_idr FROM tranche WHERE cell = :cell AND account_id = :account AND id = :id")
ADD = text("""
    INSERT INTO correction (cell, account_id, transfer_id, value_date, amount_idr, maker, checker, reason, business_date)
    VALUES (:cell, :account, :transfer, :value_date, :amount, :maker, :checker, :reason, :on) RETURNING id
""")
MARK_AUTHORISATION = text("""
    UPDATE authorisation SET reversed_idr = reversed_idr + :amount, kept_idr = CAST(:kept AS bigint[])
    WHERE cell = :cell AND id = :id AND business_date = :on
""")
REOPEN = text("""
    UPDATE tranche SET state = 'OPEN'
    WHERE cell = :cell AND account_id = :account AND id = ANY(CAST(:ids AS bigint[])) AND state NOT IN ('OPEN', 'BLOCKED')
""")
