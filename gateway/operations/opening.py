"""Opening accounts and ordering cards for the accepted rows of a list: one account and one card a family, never two.

Works in the list's chunks, each a transaction of its own that marks its rows, so a run cut off anywhere goes on where it stopped.
Rows are sealed and numbered ahead, by worker processes where the list is long (gateway.operations.opening_task); the transaction
looks once more who of them may be opened, and writes those by COPY.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.errors import Refused
from gateway.operations import opening_task as task
from gateway.operations.bank import Bank, reading, transaction
from gateway.operations.opening_task import CardTerms, NewAccounts, OpeningJob, OpeningTask, Seals, card_row
from gateway.operations.workers import Workers
from gateway.rules.issuing import cell_of_account, pan_for, serial_for
from gateway.store import batches, cards, copy_format, policy
from gateway.store.audit import Operation
from gateway.store.database import copy_payload
from keys.sensitive import Pan
from ledger.book import take_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

OPENING_LOCK = 8_583_003


@dataclass(frozen=True, slots=True)
class NewCard:
    """A card just ordered."""

    id: int
    account_id: int
    pan_masked: str


async def open_waiting(bank: Bank, actor: str, batch_id: int, progress: Callable[[int], None] | None = None) -> None:
    """Open every chunk of an approved list that is left."""
    async with reading(bank) as connection:
        left = await batches.chunks_to_open(connection, batch_id)
        known = await policy.programmes(connection, bank.business_date)
        named = await batches.programmes_named(connection, batch_id)
    missing = sorted(named - known.keys())
    if missing:
        raise Refused(f"list {batch_id} names {', '.join(missing)}: not in force on {bank.business_date}")
    programmes = {code: (one.number, bool(one.components)) for code, one in known.items()}
    work = OpeningTask(batch_id, bank.row.name, bank.row.cells, bank.row.card_bin, _terms(bank), programmes)
    async with Workers(bank, work, sum(left.values())) as workers:
        async for made in workers.run(_jobs(bank, batch_id, left)):
            opened = await open_chunk(bank, actor, batch_id, made)
            if progress is not None:
                progress(opened)


async def open_chunk(bank: Bank, actor: str, batch_id: int, made: NewAccounts) -> int:
    """Open the accounts of a chunk in one transaction. Returns how many: those that nobody has opened or refused meanwhile."""
    async with transaction(bank, actor) as tx:
        await tx.connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": OPENING_LOCK})
        lines = await batches.take_chunk(tx.connection, batch_id, made.first_line, bank.business_date)
        places = _places(made, lines)
        if places:
            await _write(bank, tx.connection, made, places)
            opened = [made.lines[place] for place in places], [made.account_ids[place] for place in places]
            await batches.mark_opened(tx.connection, batch_id, *opened)
        await tx.record(Operation.KPM_OPEN, f"list {batch_id}", accounts=len(places), first_line=made.first_line)
    return len(places)


async def order_cards(
    bank: Bank, connection: AsyncConnection, wanted: Sequence[tuple[int, int, int | None]]
) -> list[NewCard]:
    """Order one card for each (cell, account id, id of the card it replaces), with a new PAN no card has had."""
    pans = await _new_pans(bank, connection, [cell for cell, _, _ in wanted])
    ids = await take_ids(connection, "card_id_seq", len(wanted))
    rows = []
    ordered = []
    for (cell, account_id, replaces), card_id, (pan, index) in zip(wanted, ids, pans, strict=True):
        key = copy_format.int2(cell), copy_format.int8(account_id)
        rows.append(card_row(Seals(bank.vault), _terms(bank), key, card_id, pan, index, replaces))
        ordered.append(NewCard(card_id, account_id, str(Pan(pan))))
    await copy_payload(connection, "card", task.CARD_COLUMNS, copy_format.payload(rows))
    return ordered


async def _jobs(bank: Bank, batch_id: int, left: dict[int, int]) -> AsyncIterator[OpeningJob]:
    """The chunks to open, each with new ids. A chunk that is not opened after all leaves a gap in them."""
    for first_line, families in left.items():
        async with bank.database.engine.begin() as connection:
            record = await batches.families_of(connection, batch_id, first_line)
            if record is None:  # somebody else has opened it meanwhile
                continue
            account_ids = await take_ids(connection, "family_id_seq", families)
            card_ids = await take_ids(connection, "card_id_seq", families)
        random = bank.hsm.random_bytes(task.RANDOM_BYTES * families)
        yield OpeningJob(first_line, record, account_ids, card_ids, random)


def _places(made: NewAccounts, lines: list[int]) -> Sequence[int]:
    """Places of the rows that are opened: of a chunk that is whole, all."""
    if len(lines) == len(made.lines):
        return range(len(lines))
    kept = set(lines)
    return [place for place, line in enumerate(made.lines) if line in kept]


async def _write(bank: Bank, connection: AsyncConnection, made: NewAccounts, places: Sequence[int]) -> None:
    """Write the rows at some places of a chunk, with card numbers that no card has had."""
    await _redraw(bank, connection, made, places)
    for table, columns, rows in (
        ("account", task.ACCOUNT_COLUMNS, made.accounts), ("family", task.FAMILY_COLUMNS, made.families),
        ("enrolment", task.ENROLMENT_COLUMNS, made.enrolments), ("card", task.CARD_COLUMNS, made.cards),
    ):  # fmt: skip
        await copy_payload(connection, table, columns, copy_format.payload([rows[place] for place in places]))


async def _redraw(bank: Bank, connection: AsyncConnection, made: NewAccounts, places: Sequence[int]) -> None:
    """Give a new number to each card whose number was drawn before."""
    again = await _drawn_before(connection, [made.pan_indexes[place] for place in places])
    if not again:
        return
    numbers = [made.account_ids[places[one]] for one in again]
    cells = [cell_of_account(number, bank.row.cells) for number in numbers]
    for one, account_id, cell, (pan, index) in zip(
        again, numbers, cells, await _new_pans(bank, connection, cells), strict=True
    ):
        place = places[one]
        key = copy_format.int2(cell), copy_format.int8(account_id)
        made.cards[place] = card_row(Seals(bank.vault), _terms(bank), key, made.card_ids[place], pan, index)
        made.pan_indexes[place] = index
    await _redraw(bank, connection, made, places)  # a new one may be another's of this chunk


async def _drawn_before(connection: AsyncConnection, indexes: list[bytes]) -> list[int]:
    """Places of card numbers that a card has had, or that stand here before."""
    taken = await cards.taken_pans(connection, indexes)
    if not taken and len(set(indexes)) == len(indexes):
        return []
    seen: set[bytes] = set()
    again = []
    for place, index in enumerate(indexes):
        if index in taken or index in seen:
            again.append(place)
        seen.add(index)
    return again


async def _new_pans(bank: Bank, connection: AsyncConnection, cells: list[int]) -> list[tuple[str, bytes]]:
    """A fresh random PAN for each cell, with its index; one that a card has had already is drawn again."""
    pans: list[tuple[str, bytes]] = [_draw_pan(bank, cell) for cell in cells]
    while again := await _drawn_before(connection, [index for _, index in pans]):
        for place in again:
            pans[place] = _draw_pan(bank, cells[place])
    return pans


def _draw_pan(bank: Bank, cell: int) -> tuple[str, bytes]:
    random_number = int.from_bytes(bank.hsm.random_bytes(task.RANDOM_BYTES), "big")
    pan = pan_for(bank.row.card_bin, serial_for(random_number, cell, bank.row.cells))
    return pan, bank.vault.index(pan, "pan")


def _terms(bank: Bank) -> CardTerms:
    today = bank.business_date
    return CardTerms(today, _end_of_month(today, bank.settings.card_valid_years), bank.settings.pin_tries)


def _end_of_month(today: date, years: int) -> date:
    """Cards expire at the end of a month, as printed on them."""
    month = today.replace(year=today.year + years, day=1)
    return (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
