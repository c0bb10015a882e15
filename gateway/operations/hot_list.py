"""Cards of ours that may not be used, and those that may again: partners are told by 0302.

It is queued in the transaction that changes the card (operations/card.py), for every link that wants it; a link that has just
begun to want it is filled with the cards that are stopped already. What partners tell us of our cards is
operations/file_action.py. Read next: gateway/rules/hot_list.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import Refused
from gateway.operations import outgoing
from gateway.operations.bank import Bank, Transaction, transaction
from gateway.operations.outgoing import About
from gateway.rules import hot_list
from gateway.rules.hot_list import Entry, FileUpdate
from gateway.store import cards
from gateway.store import outgoing as outgoing_store
from gateway.store.audit import Operation
from iso.message import Message

if TYPE_CHECKING:
    from gateway.rules.card import CardState
    from gateway.store.cards import Card

FILE_ACTION = "0302"
CHUNK = 500  # cards in one transaction
PAN, REASON, UPDATE, FILE_NAME = 2, 60, 91, 101


class Target(NamedTuple):
    """A link, and the name of its file (DE101)."""

    link: str
    file: str


class Filled(NamedTuple):
    """What a run of fill() queued. DONE: there is no more; else the next run goes on."""

    link: str
    told: int
    done: bool


async def tell(bank: Bank, tx: Transaction, card: Card, after: CardState, but: str | None = None) -> int:
    """Queue what partners must know of a card that goes to another state. Returns how many are told. BUT: it told us itself."""
    entry = hot_list.entry(card.state, after)
    if entry is None:
        return 0
    links = [(link, file) for link, file in await outgoing_store.hot_list_links(tx.connection) if link != but]
    if not links:
        return 0
    for link, file in links:
        await _queue(bank, tx, Target(link, file), card.id, card.pan, entry)
    return len(links)


async def fill(bank: Bank, actor: str, link: str, most: int) -> Filled:
    """Queue a 0302 for each card that is stopped today and of which LINK is not told: MOST of them, in chunks.

    Goes on where an earlier run stopped, of itself or by a crash; each file is filled once. Raises NotFound; Refused where the
    link wants no cards, or has been told of all.
    """
    if most < 1:
        raise Refused("at least one card is asked for")
    told = 0
    while True:
        async with transaction(bank, actor) as tx:
            before = await outgoing_store.lock_fill(tx.connection, link)
            if before.hot_list_file is None:
                raise Refused(f"link {link} is told of no cards: outgoing.hot_list of its profile")
            if before.at is not None:
                raise Refused(f"link {link} was told of all stopped cards on {before.at:%Y-%m-%d %H:%M} UTC")
            limit = min(CHUNK, most - told)
            found = await cards.stopped_after(
                tx.connection, before.to, list(hot_list.REASONS), bank.business_date, limit
            )
            known = await outgoing_store.told_of(tx.connection, link, [f"card {number}" for number, *_ in found])
            new = [one for one in found if f"card {one[0]}" not in known]
            for number, state, pan in new:
                entry = Entry(FileUpdate.ADD, hot_list.REASONS[state])
                await _queue(bank, tx, Target(link, before.hot_list_file), number, pan, entry)
            to, done = found[-1][0] if found else before.to, len(found) < limit
            await outgoing_store.keep_fill(tx.connection, link, to, done=done)
            await tx.record(
                Operation.OUTGOING, f"link {link}", event="fill", told=len(new), known=len(known), to_card=to, done=done
            )
        told += len(new)
        if done or told >= most:
            return Filled(link, told, done)


async def _queue(bank: Bank, tx: Transaction, target: Target, number: int, sealed_pan: bytes, entry: Entry) -> None:
    pan = bank.vault.open(sealed_pan, table="card", row=number, column="pan")
    about = About(
        f"card {number}", f"hot list: {entry.update.name.lower()}, {entry.reason}", entry.update is FileUpdate.DELETE
    )
    fields = {PAN: pan, REASON: entry.reason, UPDATE: entry.update.value, FILE_NAME: target.file}
    await outgoing.queue(bank, tx, target.link, Message(FILE_ACTION, fields), about)
