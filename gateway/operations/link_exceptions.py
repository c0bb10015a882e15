"""People and the exceptions of partner links: what is open and for how long, and its end by two of them.

An exception moves no money by itself. Whoever decides on one does what is right elsewhere first (a correction, a word with the
partner, a note to the branch) and says here what it was. Read next: gateway.rules.link_exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.operations.bank import Bank, reading, transaction
from gateway.rules.approval import same_person
from gateway.rules.link_exception import ExceptionState
from gateway.store import link_exceptions
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from gateway.store.link_exceptions import Count, StoredException


async def overview(
    bank: Bank, link: str | None = None, limit: int = 1_000, *, resolved: bool = False
) -> tuple[list[Count], list[StoredException]]:
    """Open exceptions counted by link and reason, and the oldest of them one by one. RESOLVED: with those that are over."""
    async with reading(bank) as connection:
        counted = await link_exceptions.counts(connection, link)
        return counted, await link_exceptions.find(connection, link, limit, resolved=resolved)


async def show(bank: Bank, number: int) -> StoredException:
    """One exception. Raises NotFound."""
    async with reading(bank) as connection:
        return await link_exceptions.read(connection, number)


def age_days(bank: Bank, one: StoredException) -> int:
    """Days it has been open, or was until it ended: business dates."""
    return ((one.resolved_on or bank.business_date) - one.business_date).days


async def resolve(bank: Bank, maker: str, checker: str, number: int, note: str) -> StoredException:
    """End an exception with a note of what was done. Raises NotFound; Refused for one person, no note, and what is over."""
    if not checker.strip() or same_person(maker, checker):
        raise Refused("an exception is resolved by two different people")
    if not note.strip():
        raise Refused("an exception is resolved with a note of what was done")
    async with transaction(bank, maker) as tx:
        found = await link_exceptions.read(tx.connection, number, lock=True)
        if found.state is ExceptionState.RESOLVED:
            raise Refused(f"exception {number} was resolved on {found.resolved_on}")
        names = maker.strip(), checker.strip(), note.strip()
        await link_exceptions.resolve(tx.connection, number, *names, bank.business_date)
        await tx.record(
            Operation.EXCEPTION_RESOLVE, f"exception {number}", reason=found.reason, link=found.link,
            authorisation=found.authorisation_id, amount_idr=found.amount_idr, checker=names[1], note=names[2],
        )  # fmt: skip
        return await link_exceptions.read(tx.connection, number)
