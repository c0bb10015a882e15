"""Reconciliation with a partner: its totals of a settlement date beside ours, kept with the verdict of the moment.

Ours are those of the settlement, closed or as it stands (gateway/store/settlement.py), but for corrections: a partner does not
know what the bank booked by mistake. Read next: gateway/rules/partner_totals.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.operations.bank import Bank, Transaction, reading
from gateway.operations.desk import Asked, Done, once
from gateway.rules.partner_totals import Balance, Totals, compare
from gateway.store import desk, settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.desk import PartnerTotal

HOLD = "HOLD"
BALANCED, FORMAT, RECONCILE_ERROR = "00", "30", "95"
ONE_DAY = timedelta(days=1)
SETTLEMENT_CODE = 66


async def reconcile(
    bank: Bank, asked: Asked, on: date, theirs: Mapping[str, int], write: Callable[[Totals], dict[int, str]]
) -> dict[int, str]:
    """Compare what a partner says of a date, once. THEIRS: by name, what it told and no more. WRITE: ours as fields.

    Returns the fields of the answer that are not echoed: ours, DE66 and DE39. Nothing told is nothing to compare: no DE66.
    """

    async def act(tx: Transaction) -> Done:
        subject = f"totals {on}"
        if on > bank.business_date + ONE_DAY:
            return Done(
                FORMAT, subject, answer={SETTLEMENT_CODE: Balance.ERROR.value}, trouble="totals of a date to come"
            )
        ours = await our_totals(tx.connection, asked.link, on)
        if not theirs:
            return Done(BALANCED, subject, answer=write(ours))
        different = compare(theirs, ours)
        verdict = Balance.OUT_OF_BALANCE if different else Balance.IN_BALANCE

        async def keep(number: int) -> None:
            await desk.keep_total(tx.connection, number, asked.link, on, theirs, ours.told(), in_balance=not different)

        said = ", ".join(f"{name} {theirs_} and ours {ours_}" for name, (theirs_, ours_) in different.items())
        return Done(
            RECONCILE_ERROR if different else BALANCED, subject, {"verdict": verdict.name},
            write(ours) | {SETTLEMENT_CODE: verdict.value}, f"out of balance: {said}" if different else None, keep,
        )  # fmt: skip

    return await once(bank, asked, act)


async def our_totals(connection: AsyncConnection, link: str, on: date) -> Totals:
    """What a link's settlement date comes to, closed or so far. Reads its authorisations where it is not closed."""
    found = await settlement.read(connection, on, on, link) or await settlement.read_open(connection, on, on, link)
    others = await desk.count_others(connection, link, on)
    return Totals(
        credits=sum(one.refunds for one in found),
        credits_idr=sum(one.refunds_idr for one in found),
        debits=sum(one.taken for one in found),
        debits_idr=sum(one.taken_idr for one in found),
        debit_reversals=sum(one.reversals for one in found),
        debit_reversals_idr=sum(one.reversals_idr for one in found),
        inquiries=sum(many for kind, many in others.items() if kind != HOLD),
        authorisations=others.get(HOLD, 0),
    )


async def told_of(bank: Bank, on: date, link: str | None = None) -> list[PartnerTotal]:
    """What partners said a date comes to, newest first."""
    async with reading(bank) as connection:
        return await desk.totals(connection, on, link)
