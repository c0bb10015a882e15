"""Cards of ours that may not be used, and those that may again: partners are told by 0302.

It is queued in the transaction that changes the card (operations/card.py), for every link that wants it. What partners tell us of
our cards is operations/file_action.py. Read next: gateway/rules/hot_list.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations import outgoing
from gateway.operations.outgoing import About
from gateway.rules import hot_list
from gateway.rules.hot_list import FileUpdate
from gateway.store import outgoing as outgoing_store
from iso.message import Message

if TYPE_CHECKING:
    from gateway.operations.bank import Bank, Transaction
    from gateway.rules.card import CardState
    from gateway.store.cards import Card

FILE_ACTION = "0302"
PAN, REASON, UPDATE, FILE_NAME = 2, 60, 91, 101


async def tell(bank: Bank, tx: Transaction, card: Card, after: CardState, but: str | None = None) -> int:
    """Queue what partners must know of a card that goes to another state. Returns how many are told. BUT: it told us itself."""
    entry = hot_list.entry(card.state, after)
    if entry is None:
        return 0
    links = [(link, file) for link, file in await outgoing_store.hot_list_links(tx.connection) if link != but]
    if not links:
        return 0
    pan = bank.vault.open(card.pan, table="card", row=card.id, column="pan")
    about = About(
        f"card {card.id}", f"hot list: {entry.update.name.lower()}, {entry.reason}", entry.update is FileUpdate.DELETE
    )
    for link, file in links:
        fields = {PAN: pan, REASON: entry.reason, UPDATE: entry.update.value, FILE_NAME: file}
        await outgoing.queue(bank, tx, link, Message(FILE_ACTION, fields), about)
    return len(links)
