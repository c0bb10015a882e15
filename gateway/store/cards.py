"""Cards and accounts as stored: found by id or account number, moved from state to state under a lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.account import AccountState
from gateway.rules.card import ENDED, CardState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Card:
    """A card with the account it belongs to. PAN is sealed."""

    id: int
    cell: int
    account_id: int
    pan: bytes
    pan_masked: str
    expires_on: date
    state: CardState
    pin_offset: str | None
    pin_key_version: int | None
    pin_tries_left: int
    ordered_on: date
    delivered_at: datetime | None
    handed_over_at: datetime | None
    handed_over_by: str | None
    activated_at: datetime | None
    reason: str | None
    replaces: int | None
    account_number: str
    account_state: AccountState
    holder_name: str
    birth_date: date


async def read(connection: AsyncConnection, card_id: int, *, lock: bool = False) -> Card:
    """One card. Raises NotFound."""
    row = (await connection.execute(LOCK_CARD if lock else READ_CARD, {"id": card_id})).one_or_none()
    if row is None:
        raise NotFound(f"there is no card {card_id}")
    return _card(row)


async def find_by_pan(connection: AsyncConnection, pan_index: bytes) -> Card | None:
    """The card whose number has this index, locked; None: there is none."""
    row = (await connection.execute(LOCK_BY_PAN, {"index": pan_index})).one_or_none()
    return None if row is None else _card(row)


async def of_account(connection: AsyncConnection, number: str) -> list[Card]:
    """The cards of an account, newest first. Raises NotFound for an unknown account number."""
    rows = list(await connection.execute(CARDS_OF_ACCOUNT, {"number": number}))
    if not rows:
        raise NotFound(f"there is no account {number}")
    return [_card(row) for row in rows]


async def ids_in_state(connection: AsyncConnection, state: CardState, limit: int) -> list[int]:
    """Ids of cards in a state, oldest first."""
    return list((await connection.execute(IN_STATE, {"state": state.value, "limit": limit})).scalars())


async def stopped_after(
    connection: AsyncConnection, after: int, states: Sequence[CardState], today: date, limit: int
) -> list[tuple[int, CardState, bytes]]:
    """Cards in these states that have not expired, with an id above AFTER, in its order: id, state and sealed PAN.

    None of them changes its state before the transaction ends.
    """
    values = {"after": after, "states": [one.value for one in states], "today": today, "limit": limit}
    rows = await connection.execute(STOPPED_AFTER, values)
    return [(row.id, CardState(row.state), bytes(row.pan)) for row in rows]


async def update(connection: AsyncConnection, card: Card, **changes: Any) -> None:  # noqa: ANN401 - column values
    """Change named columns of a card."""
    columns = ", ".join(f"{name} = :{name}" for name in changes)
    statement = text(f"UPDATE card SET {columns} WHERE cell = :cell AND account_id = :account_id AND id = :id")
    await connection.execute(statement, changes | {"cell": card.cell, "account_id": card.account_id, "id": card.id})


async def set_account_state(connection: AsyncConnection, cell: int, account_id: int, state: AccountState) -> None:
    """Move an account; the caller has checked the transition."""
    await connection.execute(SET_ACCOUNT, {"cell": cell, "id": account_id, "state": state.value})


async def set_mother_name(connection: AsyncConnection, family_id: int, sealed: bytes) -> None:
    """Complete a family's identity at hand-over."""
    await connection.execute(SET_MOTHER, {"id": family_id, "mother": sealed})


async def taken_pans(connection: AsyncConnection, indexes: list[bytes]) -> set[bytes]:
    """Which PAN indexes belong to a card already."""
    return {bytes(value) for value in (await connection.execute(TAKEN, {"indexes": indexes})).scalars()}


async def count_by_state(connection: AsyncConnection) -> dict[str, int]:
    """How many cards stand where."""
    return {row.state: row.cards for row in await connection.execute(COUNT_BY_STATE)}


async def count_by_pin_key(connection: AsyncConnection, today: date) -> dict[int, int]:
    """How many cards that may still be used have their PIN under which version of the PIN verification key."""
    ended = sorted(state.value for state in ENDED)
    rows = await connection.execute(COUNT_BY_PIN_KEY, {"ended": ended, "today": today})
    return {row.version: row.cards for row in rows}


async def let_pins_be_chosen(connection: AsyncConnection) -> None:
    """Until this transaction ends no version of the PIN verification key ends either. Taken before a card is locked."""
    await connection.execute(SHARE_PIN_KEYS)


async def let_no_pin_be_chosen(connection: AsyncConnection) -> None:
    """Until this transaction ends no PIN is chosen. Those that are being chosen are waited for, at most 10 s: then DBAPIError."""
    await connection.execute(PIN_KEYS_TIMEOUT)
    await connection.execute(LOCK_PIN_KEYS)


def _card(row: Any) -> Card:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in Card.__slots__}
    values |= {"state": CardState(row.state), "account_state": AccountState(row.account_state), "pan": bytes(row.pan)}
    return Card(**values)


FROM_CARD = """
    SELECT c.id, c.cell, c.account_id, c.pan, c.pan_masked, c.expires_on, c.state, c.pin_offset, c.pin_key_version,
           c.pin_tries_left, c.ordered_on, c.delivered_at, c.handed_over_at, c.handed_over_by, c.activated_at, c.reason,
           c.replaces, a.number AS account_number, a.state AS account_state, a.holder_name, f.birth_date
    FROM card c JOIN account a ON a.cell = c.cell AND a.id = c.account_id JOIN family f ON f.id = c.account_id
"""
READ_CARD = text(f"{FROM_CARD} WHERE c.id = :id")
LOCK_CARD = text(f"{FROM_CARD} WHERE c.id = :id FOR UPDATE OF c, a")
LOCK_BY_PAN = text(f"{FROM_CARD} WHERE c.pan_index = :index FOR UPDATE OF c, a")
CARDS_OF_ACCOUNT = text(f"{FROM_CARD} WHERE a.number = :number ORDER BY c.id DESC")
IN_STATE = text("SELECT id FROM card WHERE state = :state ORDER BY id LIMIT :limit")
STOPPED_AFTER = text("""
    SELECT id, state, pan FROM card
    WHERE id > :after AND state = ANY (CAST(:states AS text[])) AND expires_on >= CAST(:today AS date)
    ORDER BY id LIMIT :limit FOR SHARE
""")
SET_ACCOUNT = text("UPDATE account SET state = :state WHERE cell = :cell AND id = :id")
SET_MOTHER = text("UPDATE family SET mother_name = :mother WHERE id = :id")
TAKEN = text("SELECT pan_index FROM card WHERE pan_index = ANY (CAST(:indexes AS bytea[]))")
COUNT_BY_PIN_KEY = text("""
    SELECT pin_key_version AS version, count(*) AS cards FROM card
    WHERE pin_offset IS NOT NULL AND state <> ALL (CAST(:ended AS text[])) AND expires_on >= :today
    GROUP BY pin_key_version ORDER BY pin_key_version
""")
PIN_KEYS_LOCK = 8_583_008
PIN_KEYS_TIMEOUT = text("SET LOCAL lock_timeout = '10s'")
SHARE_PIN_KEYS = text(f"SELECT pg_advisory_xact_lock_shared({PIN_KEYS_LOCK})")
LOCK_PIN_KEYS = text(f"SELECT pg_advisory_xact_lock({PIN_KEYS_LOCK})")
COUNT_BY_STATE = text("SELECT state, count(*) AS cards FROM card GROUP BY state ORDER BY state")
