"""Settling with partners: close a partner's day, pay what it comes to, say what is owed, and prove it.

A settlement date is closed when the bank's business date is past it. From then on nothing can be added to it: a late reversal
belongs to the date on which it comes. Paying needs two people; the transfer takes what is owed from the control account of the
channel (ledger.chart) to PARTNER_PAID. Read next: gateway/store/settlement.py, docs/money/settlement.md.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.errors import NotFound, Refused
from gateway.operations.bank import Bank, reading, transaction
from gateway.rules.approval import same_person
from gateway.store import settlement, settlement_proof
from gateway.store.audit import Operation
from ledger import book
from ledger.chart import Control
from ledger.posting import Source, settle
from ledger.proof import Check, control_balance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.settlement import Position, Settlement

ACTOR = "jobs"
EVIDENCE_MAX = 60
ONE_DAY = timedelta(days=1)
PAGE = timedelta(days=30)


async def close_settlement(bank: Bank, actor: str, link: str, on: date) -> list[Settlement]:
    """Fix what a link's settlement date comes to, by channel. Said again, it gives what was fixed. Raises Refused too early."""
    if on >= bank.business_date:
        raise Refused(f"settlement date {on} is not over: the business date is {bank.business_date}")
    async with bank.database.engine.begin() as connection:  # a group that began before midnight may still be on its way
        await settlement.let_lanes_pass(connection, bank.row.lanes)
    async with transaction(bank, actor) as tx:
        already = await settlement.read(tx.connection, on, on, link)
        found = already or await settlement.close(tx.connection, link, on, actor.strip())
        if not found:
            raise NotFound(f"link {link} has nothing to settle for {on}")
        said = {one.channel: one.net_idr for one in found}
        await tx.record(
            Operation.SETTLEMENT_CLOSE, f"settlement {link} {on}", net_idr=said, again=bool(already), business_date=on
        )
    return found


async def close_all(bank: Bank, actor: str, on: date) -> list[Settlement]:
    """Close a settlement date for every link that has authorisations of it."""
    async with reading(bank) as connection:
        links = await settlement.links_seen(connection, on)
    closed: list[Settlement] = []
    for link in links:
        with suppress(NotFound):  # inquiries and holds alone settle nothing
            closed += await close_settlement(bank, actor, link, on)
    return closed


async def order_payment(
    bank: Bank, actor: str, link: str, on: date, evidence: str, channel: str | None = None
) -> list[Settlement]:
    """The first of two people: a payment of closed settlements is ordered, under the number of its transfer order.

    Nothing is posted. Until a second person pays, an order may be given again with another number.
    """
    number = evidence.strip()
    if not number or len(number) > EVIDENCE_MAX or not number.isprintable():
        raise Refused(f"a payment needs the number of its transfer order, 1 to {EVIDENCE_MAX} characters")
    async with transaction(bank, actor) as tx:
        unpaid = _unpaid(await settlement.lock(tx.connection, link, on, channel), link, on)
        await settlement.order(tx.connection, _ids(unpaid), actor.strip(), number)
        said = {one.channel: one.net_idr for one in unpaid}
        await tx.record(Operation.SETTLEMENT_ORDER, f"settlement {link} {on}", evidence=number, net_idr=said)
        return await settlement.lock(tx.connection, link, on, channel)


async def pay_settlement(bank: Bank, actor: str, link: str, on: date, channel: str | None = None) -> list[Settlement]:
    """The second of two people: what was ordered is posted, one transfer a settlement. A net below zero goes the other way.

    Raises Refused where a settlement is not what its authorisations say, was not ordered, or was ordered by the same person.
    """
    async with transaction(bank, actor) as tx:
        unpaid = _unpaid(await settlement.lock(tx.connection, link, on, channel), link, on)
        for one in unpaid:
            if one.ordered_by is None:
                raise Refused(f"the payment of {one.channel} of {on} was not ordered yet: `kks settlement order`")
            if same_person(one.ordered_by, actor):
                raise Refused(f"the payment was ordered by {one.ordered_by}: another person must pay it (--as NAME)")
        wrong = await settlement.differences(tx.connection, on, on, link)
        if wrong:
            raise Refused(f"{wrong[0]} is not what its authorisations say: nothing is paid")
        today = bank.business_date
        await book.post(
            tx.connection,
            [
                settle(settlement.OWED[one.channel], one.net_idr, Source("settlement", one.id or 0, today))
                for one in unpaid
                if one.net_idr
            ],
        )
        await settlement.mark_paid(tx.connection, _ids(unpaid), actor.strip(), today)
        said = {one.channel: [one.id, one.net_idr, one.evidence, one.ordered_by] for one in unpaid}
        await tx.record(Operation.SETTLEMENT_PAY, f"settlement {link} {on}", paid=said)
        return await settlement.lock(tx.connection, link, on, channel)


async def only_link(bank: Bank, on: date, link: str | None) -> str:
    """LINK, or the only link with closed settlements of a date. Raises NotFound or Refused where it is not one."""
    if link is not None:
        return link
    async with reading(bank) as connection:
        names = sorted({one.link for one in await settlement.read(connection, on, on)})
    if not names:
        raise NotFound(f"settlement date {on} is not closed: `kks settlement close`")
    if len(names) > 1:
        raise Refused(f"several links have settlements of {on}: --link {', '.join(names)}")
    return names[0]


async def settlements(
    bank: Bank, first: date, last: date, link: str | None = None, *, also_open: bool = False
) -> list[Settlement]:
    """Settlements of a span of dates. ALSO_OPEN: and what dates that are not closed come to so far (reads them)."""
    check_span(first, last)
    async with reading(bank) as connection:
        found = await settlement.read(connection, first, last, link)
        if also_open:
            found += await settlement.read_open(connection, first, last, link)
            found.sort(key=lambda one: (one.link, one.settlement_date))
    return found


async def settlement_of(bank: Bank, on: date, link: str | None = None) -> list[Settlement]:
    """One settlement date, closed or so far. Raises NotFound where nothing was authorised."""
    found = await settlements(bank, on, on, link, also_open=True)
    if not found:
        raise NotFound(f"no authorisation has the settlement date {on}" + (f" on link {link}" if link else ""))
    return found


async def positions(bank: Bank, first: date, last: date, *, also_open: bool = False) -> list[Position]:
    """Every partner's account by channel over a span of settlement dates. ALSO_OPEN: reads the dates not closed as well."""
    check_span(first, last)
    async with reading(bank) as connection:
        found = await settlement.positions(connection, first, last)
        if not also_open:
            return found
        so_far: dict[tuple[str, str], int] = {}
        for one in await settlement.read_open(connection, first, last):
            so_far[one.link, one.channel] = so_far.get((one.link, one.channel), 0) + one.net_idr
    known = [replace(one, open_idr=so_far.pop((one.link, one.channel), 0)) for one in found]
    new = [settlement.Position(*key, 0, 0, 0, 0, 0, 0, amount) for key, amount in sorted(so_far.items())]
    return known + new


async def verify(bank: Bank, since: date | None = None) -> list[Check]:
    """The settlement checks of the proof, alone."""
    async with reading(bank) as connection:
        return await settlement_checks(connection, since)


async def settlement_checks(connection: AsyncConnection, since: date | None = None) -> list[Check]:
    """What is owed is what was authorised and not settled; closed settlements stand; what was paid is in the journal, once.

    SINCE: look at business dates from this one on only (where earlier ones were proved before, or are detached).
    """
    checks = await (_owed(connection) if since is None else _owed_since(connection, since))
    checks.append(await _closed(connection, since))
    wrong, first = await settlement_proof.not_paid_once(connection, since)
    detail = "holds" if not wrong else f"{wrong} disagree, the first: settlement {first}"
    checks.append(Check("every paid settlement has exactly one transfer of its net", not wrong, detail))
    if since is None:
        booked = await control_balance(connection, Control.PARTNER_PAID)
        said = sum((await settlement_proof.settled_idr(connection)).values())
        checks.append(_equal("paid to partners = settlements that are paid", booked, said))
    return checks


async def _owed(connection: AsyncConnection) -> list[Check]:
    """Each channel's account against its authorisations and what was paid."""
    taken, settled = await settlement_proof.taken_idr(connection), await settlement_proof.settled_idr(connection)
    return [
        _equal(
            f"{NAMES[channel]} = approved less reversed less settled", await control_balance(connection, control),
            taken[channel] - settled[channel],
        )
        for channel, control in settlement.OWED.items()
    ]  # fmt: skip


async def _owed_since(connection: AsyncConnection, since: date) -> list[Check]:
    """The same of what happened since a business date, payments aside."""
    booked = await settlement_proof.booked_since(connection, since)
    said = await settlement_proof.authorised_since(connection, since)
    return [
        _equal(f"{NAMES[channel]} since {since} = approved less reversed", booked[channel], said[channel])
        for channel in settlement.OWED
    ]


async def _closed(connection: AsyncConnection, since: date | None) -> Check:
    """Closed settlements are added up again, a month at a time; since a date: those that have business dates from then on."""
    name = "every closed settlement = its authorisations"
    dates = await settlement.span(connection)
    if dates is None:
        return Check(name, ok=True, detail="none is closed")
    first, last = dates
    if since is not None:
        first = max(first, since - ONE_DAY)
    if first > last:
        return Check(name, ok=True, detail=f"none is closed since {since}")
    day = first
    while day <= last:
        end = min(last, day + PAGE)
        wrong = await settlement.differences(connection, day, end)
        if wrong:
            return Check(name, ok=False, detail=f"{wrong[0]} is not what its authorisations say")
        day = end + ONE_DAY
    return Check(name, ok=True, detail=f"{first} to {last} added up again")


def _equal(name: str, booked: int, said: int) -> Check:
    return Check(name, booked == said, f"booked Rp{booked:,}, papers say Rp{said:,}")


def _unpaid(found: Sequence[Settlement], link: str, on: date) -> list[Settlement]:
    """Those that are closed and not paid. Raises NotFound or Refused where there are none."""
    if not found:
        raise NotFound(f"link {link} has no closed settlement of {on}: `kks settlement close`")
    unpaid = [one for one in found if one.state == "CLOSED"]
    if not unpaid:
        raise Refused(f"settlement {on} of link {link} is paid already")
    return unpaid


def _ids(found: Sequence[Settlement]) -> list[int]:
    return [one.id for one in found if one.id is not None]


def check_span(first: date, last: date) -> None:
    """Refuse a span of dates that ends before it begins."""
    if last < first:
        raise Refused(f"a span of dates ends after it begins, not {first} to {last}")


NAMES = {"ATM": "ATM settlement", "AGENT": "agents' payable", "EWARONG": "e-Warong payable"}
