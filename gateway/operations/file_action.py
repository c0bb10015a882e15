"""What a partner tells of a card of ours: put it on the hot list, change it there, take it off.

It goes the way of a card's other changes, with the actor `link NAME`. What may not be done is refused and kept for people.
Read next: gateway/rules/hot_list.py, gateway/operations/desk.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.operations import card as card_operations
from gateway.operations.desk import Asked, Done, once
from gateway.rules import hot_list
from gateway.rules.card import CardState
from gateway.rules.hot_list import NOT_ON_FILE, FileUpdate
from gateway.store import cards

if TYPE_CHECKING:
    from gateway.operations.bank import Bank, Transaction
    from keys.sensitive import Pan


@dataclass(frozen=True, slots=True)
class FileAction:
    """What is asked. REASON: four digits, or empty."""

    pan: Pan
    update: FileUpdate
    reason: str


async def act_on_file(bank: Bank, asked: Asked, action: FileAction) -> dict[int, str]:
    """Do it, once. Returns the fields of the answer that are not echoed."""

    async def act(tx: Transaction) -> Done:
        card = await cards.find_by_pan(tx.connection, bank.vault.index(action.pan.reveal(), "pan"))
        said = {"update": action.update.name.lower(), "reason": action.reason}
        if card is None:
            return Done(NOT_ON_FILE, "an unknown card", said)
        mark = f"reported by link {asked.link}"
        its_own = card.state is CardState.BLOCKED and (card.reason or "").startswith(f"{mark}:")
        decision = hot_list.decide(action.update, action.reason, card.state, its_own=its_own)
        if decision.event is not None:
            reason = f"{mark}: {action.reason or 'no reason given'}"
            await card_operations.report(bank, tx, card, decision.event, reason, asked.link)
        return Done(decision.code, f"card {card.id}", said, trouble=decision.trouble)

    return await once(bank, asked, act)


async def keep_advice(bank: Bank, asked: Asked, code: str) -> dict[int, str]:
    """Keep, once, an advice of what the link does not do, and which a request would be told CODE. Returns the answer's fields."""

    async def act(_tx: Transaction) -> Done:
        return Done(code, "a file action that is not done here")

    return await once(bank, asked, act)
