"""Tests of gateway.store.seldom: each statement by itself, on a lane's connection."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.rules.authorise import RequestKind
from gateway.rules.purse import Channel
from gateway.store import seldom
from gateway.store.authorisations import ANSWERED_DAYS, read_original
from gateway.store.lane_connection import LaneConnection
from gateway.store.seldom import ChangedPin, Unnamed
from tests.gateway.owner import as_owner, one_value
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_movements_of_each_account(bank: Bank, tmp_path: Path) -> None:
    """Its own, as many as are wanted, newest day first; what is older than a year is not looked for."""
    async with open_till(bank, tmp_path, families=2) as till:
        first = bank.business_date
        await till.ask(RequestKind.CASH, 100_000)
        await till.ask(RequestKind.PURCHASE, 30_000, Channel.EWARONG, card=1)
        await till.next_day()
        await till.ask(RequestKind.CASH, 50_000)
        accounts = [(one.family_id % bank.row.cells, one.family_id) for one in till.families]
    connection = await LaneConnection.open(bank.database.engine, 9)
    await connection.begin()
    mine, other = await seldom.movements(connection, accounts, 2, bank.business_date)
    assert [(1, "WITHDRAWAL", -50_000), (0, "WITHDRAWAL", -100_000)] == [
        ((one.on - first).days, one.kind, one.amount_idr) for one in mine
    ]
    assert [("PURCHASE", -30_000), ("CREDIT", 600_000)] == [(one.kind, one.amount_idr) for one in other]
    year = timedelta(days=seldom.STATEMENT_DAYS)
    assert [1, 0] == [
        len(one) for one in await seldom.movements(connection, accounts, 9, first + year + timedelta(days=1))
    ]
    await connection.close()


async def test_what_a_reversal_without_a_name_finds(bank: Bank, tmp_path: Path) -> None:
    """The newest message that has all of it, of the card and link, within the days that answers are kept."""
    async with open_till(bank, tmp_path, families=1) as till:
        await till.ask(RequestKind.CASH, 100_000)
        paid = await till.ask(RequestKind.CASH, 50_000)
        today = bank.business_date
    await as_owner(bank, "UPDATE authorisation SET stan = '000007', rrn = 'R'")
    account, card = till.families[0].family_id, till.families[0].card_id
    wanted = Unnamed(account, card, "himbara", "T1", "000007", "R")
    others = [wanted._replace(link="edc"), wanted._replace(card_id=card + 1), wanted._replace(account_id=0)]
    connection = await LaneConnection.open(bank.database.engine, 9)
    await connection.begin()
    found, *nothing = await seldom.unnamed(connection, [wanted, *others], today)
    assert [None] * 3 == nothing
    assert found is not None
    key, row = found
    original, number, channel, on, transfers = read_original(row)
    assert (paid.amount_idr, RequestKind.CASH, "ATM", today, 1) == (
        original.amount_idr, original.kind, channel, on, len(transfers)
    )  # fmt: skip
    assert number == await one_value(bank, "SELECT id FROM authorisation WHERE message_key = :key", key=key)
    late = today + timedelta(days=ANSWERED_DAYS + 1)
    assert [None] == await seldom.unnamed(connection, [wanted], late)
    await connection.close()


async def test_pins_and_birth_dates(bank: Bank, tmp_path: Path) -> None:
    """Of the families that are asked for; a card's reference value is written where the three of its numbers agree."""
    async with open_till(bank, tmp_path, families=2) as till:
        one, two = till.families
    connection = await LaneConnection.open(bank.database.engine, 9)
    await connection.begin()
    await seldom.let_pins_be_chosen(connection)
    births = await seldom.birth_dates(connection, [one.family_id, 999])
    assert {
        one.family_id: await one_value(bank, "SELECT min(birth_date) FROM family WHERE id = :id", id=one.family_id)
    } == births
    cell = two.family_id % bank.row.cells
    await seldom.keep_pins(
        connection,
        [
            ChangedPin(cell, two.family_id, two.card_id, "123456", 1),
            ChangedPin(cell, two.family_id, one.card_id, "000000", 1),
        ],
    )
    await connection.commit()
    changed = await as_owner(bank, "SELECT id FROM card WHERE pin_offset IN ('123456', '000000')")
    assert [(two.card_id,)] == [tuple(row) for row in changed]
    await connection.close()
