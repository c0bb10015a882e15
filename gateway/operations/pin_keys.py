"""The versions of the PIN verification key, and the cards whose PIN hangs on each.

A card keeps the version under which its PIN was chosen. So a new version takes over card by card, as families choose new PINs,
and an older one ends only when no card needs it, or when it is lost. Refuses to know how a PIN is verified: pin_check.py.
Read next: docs/keys/ceremony.md, "A new PIN verification key".
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from gateway.errors import Refused
from gateway.operations.bank import reading
from gateway.operations.custody import PIN_LABEL, take_up_keys
from gateway.store import cards

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from keys.keytypes import KeyHandle

LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class PinKey:
    """One version of the key, by name, what it may do today, and how many cards hang on it. STATE "": the keystore lacks it."""

    key: str
    state: str
    cards: int


async def overview(bank: Bank) -> list[PinKey]:
    """Every version of the keystore, and every one that a card names, the oldest first. Reads all cards once."""
    take_up_keys(bank)
    counts = await count(bank)
    states = {key.version: str(bank.hsm.info(key).state_on(bank.business_date)) for key in bank.hsm.versions(PIN_LABEL)}
    return [
        PinKey(f"{PIN_LABEL}#{number}", states.get(number, ""), counts.get(number, 0))
        for number in sorted(states | counts)
    ]


async def count(bank: Bank) -> dict[int, int]:
    """How many cards that may still be used hang on which version: neither ended nor expired; stopped and locked ones do."""
    async with reading(bank) as connection:
        return await cards.count_by_pin_key(connection, bank.business_date)


async def newest(bank: Bank, connection: AsyncConnection) -> KeyHandle:
    """The version under which a PIN is chosen in this transaction. None is retired or destroyed before it is over."""
    await cards.let_pins_be_chosen(connection)
    take_up_keys(bank)
    return bank.keys.pin_verification


@asynccontextmanager
async def let_end(bank: Bank, key: KeyHandle) -> AsyncIterator[None]:
    """The end of a version takes place in the block, while no PIN is chosen. Raises Refused where a card hangs on it.

    PINs that are being chosen are waited for, at most 10 s. A key of another label ends as it likes.
    """
    if key.label != PIN_LABEL:
        yield
        return
    name = f"key {key.label}#{key.version}"
    async with bank.database.engine.begin() as connection:
        try:
            await cards.let_no_pin_be_chosen(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            raise Refused(f"{name}: a PIN is being chosen for too long: try again") from None
        used = (await cards.count_by_pin_key(connection, bank.business_date)).get(key.version, 0)
        if used:
            raise Refused(
                f"{name}: the PINs of {used} cards hang on it (`kks card pins`): each ends when another is chosen"
            )
        yield
