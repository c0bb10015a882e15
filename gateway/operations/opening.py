"""Opening accounts and ordering cards for the accepted rows of a list: one account and one card a family, never two.

Works in chunks, each a transaction of its own that marks its rows, so a run cut off anywhere goes on where it stopped. Within
a chunk everything is sealed first and written by COPY.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.operations.bank import Bank, transaction
from gateway.rules.account import AccountState
from gateway.rules.card import CardState
from gateway.rules.issuing import account_number, cell_of_account, pan_for, serial_for
from gateway.rules.names import comparable
from gateway.store import batches, cards, policy
from gateway.store.audit import Operation
from gateway.store.database import copy_rows
from keys.sensitive import Pan
from ledger.book import take_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

CHUNK = 2_000
OPENING_LOCK = 8_583_003
ACCOUNT_COLUMNS = ["cell", "id", "number", "state", "branch", "region", "holder_name", "opened_on",
                   "holder_comparable"]
FAMILY_COLUMNS = ["id", "cell", "nik", "nik_index", "no_kk", "kk_index", "mother_name", "person_index", "name",
                  "birth_place", "birth_date", "sex", "address", "rt", "rw", "phone", "dtsen_id", "batch_id", "line"]  # fmt: skip
ENROLMENT_COLUMNS = ["family_id", "programme", "components", "batch_id", "valid_from"]


@dataclass(frozen=True, slots=True)
class NewCard:
    """A card just ordered."""

    id: int
    account_id: int
    pan_masked: str


async def open_chunk(bank: Bank, actor: str, batch_id: int) -> int:
    """Open the next accounts of an approved list. Returns how many rows were dealt with; 0 means none is left."""
    async with transaction(bank, actor) as tx:
        await tx.connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": OPENING_LOCK})
        rows, looked_at = await batches.rows_to_open(tx.connection, batch_id, bank.business_date, CHUNK)
        if rows:
            ids = await take_ids(tx.connection, "family_id_seq", len(rows))
            await _write_families(bank, tx.connection, batch_id, rows, ids)
            await order_cards(bank, tx.connection, [(cell_of_account(i, bank.row.cells), i, None) for i in ids])
            await batches.mark_opened(tx.connection, batch_id, [row.line for row in rows], ids)
        await tx.record(Operation.KPM_OPEN, f"list {batch_id}", accounts=len(rows))
    return looked_at


async def order_cards(
    bank: Bank, connection: AsyncConnection, wanted: Sequence[tuple[int, int, int | None]]
) -> list[NewCard]:
    """Order one card for each (cell, account id, id of the card it replaces), with a new PAN no card has had."""
    pans = await _new_pans(bank, connection, [cell for cell, _, _ in wanted])
    ids = await take_ids(connection, "card_id_seq", len(wanted))
    today = bank.business_date
    expires = _end_of_month(today, bank.settings.card_valid_years)
    rows = []
    ordered = []
    for (cell, account_id, replaces), card_id, (pan, index) in zip(wanted, ids, pans, strict=True):
        sealed = bank.vault.seal(pan, table="card", row=card_id, column="pan")
        masked = str(Pan(pan))
        rows.append((cell, account_id, card_id, sealed, index, masked, expires, CardState.ORDERED.value,
                     bank.settings.pin_tries, today, replaces))  # fmt: skip
        ordered.append(NewCard(card_id, account_id, masked))
    await copy_rows(connection, "card", cards.CARD_COLUMNS, rows)
    return ordered


async def _write_families(
    bank: Bank, connection: AsyncConnection, batch_id: int, rows: list[Any], ids: list[int]
) -> None:
    known = await policy.programmes(connection, bank.business_date)
    accounts, families, enrolments = [], [], []
    for row, family_id in zip(rows, ids, strict=True):
        record = bank.vault.open(bytes(row.record), table="kpm_row", row=f"{batch_id}:{row.line}", column="record")
        family: dict[str, Any] = json.loads(record)["family"]
        cell = cell_of_account(family_id, bank.row.cells)
        mother = family["mother_name"]
        state = AccountState.ACTIVE if mother else AccountState.PENDING_ID
        number = account_number(bank.row.name, family["branch"], family_id)
        accounts.append((cell, family_id, number, state.value, family["branch"], family["region"], family["name"],
                         bank.business_date, comparable(family["name"])))  # fmt: skip
        families.append((
            family_id, cell, _seal(bank, family_id, "nik", family["nik"]), row.nik_index,
            _seal(bank, family_id, "no_kk", family["no_kk"]), row.kk_index,
            _seal(bank, family_id, "mother_name", mother) if mother else None, row.person_index, family["name"],
            family["birth_place"], date.fromisoformat(family["birth_date"]), family["sex"], family["address"],
            family["rt"], family["rw"], family["phone"], family["dtsen_id"], batch_id, row.line,
        ))  # fmt: skip
        for code in family["programmes"]:
            programme = known[code]
            components = family["components"] if programme.components else {}
            enrolments.append((family_id, programme.number, json.dumps(components), batch_id, bank.business_date))
    await copy_rows(connection, "account", ACCOUNT_COLUMNS, accounts)
    await copy_rows(connection, "family", FAMILY_COLUMNS, families)
    await copy_rows(connection, "enrolment", ENROLMENT_COLUMNS, enrolments)


async def _new_pans(bank: Bank, connection: AsyncConnection, cells: list[int]) -> list[tuple[str, bytes]]:
    """A fresh random PAN for each cell, with its index; one that a card has had already is drawn again."""
    pans: list[tuple[str, bytes]] = [_draw_pan(bank, cell) for cell in cells]
    while True:
        taken = await cards.taken_pans(connection, [index for _, index in pans])
        seen: set[bytes] = set()
        again = []
        for place, (_, index) in enumerate(pans):
            if index in taken or index in seen:
                again.append(place)
            seen.add(index)
        if not again:
            return pans
        for place in again:
            pans[place] = _draw_pan(bank, cells[place])


def _draw_pan(bank: Bank, cell: int) -> tuple[str, bytes]:
    random_number = int.from_bytes(bank.hsm.random_bytes(8), "big")
    pan = pan_for(bank.row.card_bin, serial_for(random_number, cell, bank.row.cells))
    return pan, bank.vault.index(pan, "pan")


def _seal(bank: Bank, family_id: int, column: str, value: str) -> bytes:
    return bank.vault.seal(value, table="family", row=family_id, column=column)


def _end_of_month(today: date, years: int) -> date:
    """Cards expire at the end of a month, as printed on them."""
    month = today.replace(year=today.year + years, day=1)
    return (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
