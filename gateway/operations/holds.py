"""Holds: what has become of each, and those that nobody completed in time go back to the tranches they came from.

Works page by page like the clocks (gateway.operations.dormancy): lock accounts in the order every writer keeps, read the holds as
they are now, post, record. Run again for the same date it finds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.bank import Bank, reading, transaction
from gateway.operations.dormancy import ACTOR, PAGE, StepSummary
from gateway.store import holds
from gateway.store.audit import Operation
from ledger import book
from ledger.posting import Account, Source, release

if TYPE_CHECKING:
    from datetime import date

    from gateway.store.holds import KnownHold


async def of_account(bank: Bank, number: str) -> list[KnownHold]:
    """The holds of an account and what has become of each, newest first. Raises NotFound."""
    async with reading(bank) as connection:
        return await holds.of_account(connection, number)


async def release_lapsed(bank: Bank, on: date, run_id: int) -> StepSummary:
    """Release every hold whose last day was before a date."""
    summary = StepSummary()
    after = 0
    while True:
        async with transaction(bank, ACTOR) as tx:
            keys = await holds.lapsed(tx.connection, on, after, PAGE)
            found = await holds.lock(tx.connection, keys)
            transfers = [
                transfer
                for one in found
                for transfer in release(
                    Account(one.cell, one.account_id), one.left, Source("authorisation", one.id, on)
                )
            ]
            await book.post(tx.connection, transfers)
            await holds.close(tx.connection, found)
            amounts = [sum(draw.amount_idr for draw in one.left) for one in found]
            summary.add(amounts)
            await tx.record(
                Operation.JOB_RUN, f"run {run_id}", step="release holds", holds=[one.id for one in found],
                amount_idr=sum(amounts),
            )  # fmt: skip
        if len(keys) < PAGE:
            return summary
        after = keys[-1][1]
