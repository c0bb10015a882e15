"""Tests of gateway.store.authorisations: what a group loads, its lane's lock, and the digest that the audit chain keeps."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway.operations.authorise import Keyed
from gateway.operations.bank import reading
from gateway.rules.authorise import DeclineReason, Snapshot
from gateway.simulator.terminal import Asked
from gateway.store.audit import lock_head
from gateway.store.authorisations import NewAuthorisation, Wanted, digest, load, write_arrays
from gateway.terminals import mapping
from tests.gateway.street import AID_IDR, open_street

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.operations.bank import Bank

NEW = NewAuthorisation(
    1, 7, 42, 3, "himbara", "CASH", b"k" * 16, b"d" * 16, None, "0200", "ATM", "6011", "A1", "M1", "000002", "000007",
    "1123120000", "632712000007", 50_000, "APPROVED", "00", "{}", [11], [2], [50_000], [99], date(2026, 11, 23),
)  # fmt: skip
UNSAID = {"cell", "answer"}  # the cell stands beside the digest in the chain; the answer follows from the rest


@pytest.mark.parametrize("name", [name for name in NewAuthorisation._fields if name not in UNSAID])
def test_the_digest_holds_every_column(name: str) -> None:
    """Changing any part of an authorisation changes what the chain says of it."""
    value = getattr(NEW, name)
    other = {int: 5, str: "other", bytes: b"o" * 16, list: [1, 2], date: date(2020, 1, 1), type(None): b"o" * 16}[
        type(value)
    ]
    change: dict[str, Any] = {name: other}
    assert digest(NEW) == digest(NEW._replace())
    assert digest(NEW) != digest(NEW._replace(**change))


def test_arrays_for_the_statement() -> None:
    """One entry a member and column; arrays of arrays as PostgreSQL writes them."""
    arrays = write_arrays([NEW, NEW._replace(id=8, tranche_ids=[], amounts_idr=[1, 2])])
    assert {f"a_{name}" for name in NewAuthorisation._fields} == set(arrays)
    assert [(7, 8), ["{11}", "{}"], ["{50000}", "{1,2}"]] == [
        arrays["a_id"],
        arrays["a_tranche_ids"],
        arrays["a_amounts_idr"],
    ]


async def test_nothing_known_is_an_empty_snapshot(engine: AsyncEngine) -> None:
    """An unknown card loads as nothing, in its place."""
    async with engine.connect() as connection:
        wanted = [Wanted(0, b"a" * 16, b"b" * 16, None), Wanted(3, b"c" * 16, b"d" * 16, b"e" * 16)]
        loaded = await load(connection, wanted)
    assert [Snapshot()] * 2 == [one.snapshot for one in loaded]
    assert [0, 0] == [one.account_id for one in loaded]


async def test_one_writer_a_lane(engine: AsyncEngine) -> None:
    """A second transaction waits for the same lane until the first ends; another lane is free."""
    async with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        await lock_head(one, "lane-0")
        await lock_head(three, "lane-1")
        waiting = asyncio.ensure_future(lock_head(two, "lane-0"))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        await one.rollback()
        await asyncio.wait_for(waiting, 5)


async def test_members_load_in_their_order(bank: Bank, tmp_path: Path) -> None:
    """Card, tranches, the earlier answer and the original of each member, whatever the order of the rows."""
    async with open_street(bank, tmp_path, families=3) as street:
        paid = await street.atm.withdraw(street.card, 100_000)
        key = bank.hsm.find("zpk-himbara")
        messages = [street.atm.request(Asked.CASH, card, 10_000) for card in reversed(street.wallet.cards)]
        messages += [paid.request, street.atm.reversal(paid.request)]
        commands = [mapping.to_command(message, street.service.link, key) for message in messages]
        keyed = [
            Keyed(bank, one, cell) for one, cell in zip(commands, await _cells(bank, [2, 1, 0, 0, 0]), strict=True)
        ]
        async with bank.database.engine.connect() as connection:
            wanted = [Wanted(one.cell, one.pan_index, one.message_key, one.original_key) for one in keyed[:3]]
            fresh = await load(connection, wanted)
            (again,) = await load(connection, [_wanted(keyed[3])])
            (back,) = await load(connection, [_wanted(keyed[4])])
    families = [one.family_id for one in street.families]
    assert families[::-1] == [one.account_id for one in fresh]
    left = [AID_IDR, AID_IDR, AID_IDR - 100_000]
    assert left == [sum(tranche.available_idr for tranche in one.snapshot.tranches) for one in fresh]
    assert [None] * 3 == [one.snapshot.earlier for one in fresh]
    assert again.snapshot.earlier is not None
    assert (DeclineReason.APPROVED, "00") == (again.snapshot.earlier.reason, again.earlier_code)
    assert back.snapshot.original is not None
    assert [100_000] == [draw.amount_idr for draw in back.snapshot.original.draws]
    assert {draw.tranche_id for draw in back.snapshot.original.draws} == set(back.original_transfers)


async def test_one_answer_a_message_and_cell(bank: Bank, tmp_path: Path) -> None:
    """The database itself refuses a second answer under the same key."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.balance(street.card)
    async with reading(bank) as connection:
        found = (await connection.execute(INDEX)).scalar_one()
    assert "UNIQUE" in found


def _wanted(keyed: Keyed) -> Wanted:
    return Wanted(keyed.cell, keyed.pan_index, keyed.message_key, keyed.original_key)


async def _cells(bank: Bank, places: list[int]) -> list[int]:
    async with reading(bank) as connection:
        cells = list((await connection.execute(text("SELECT cell FROM account ORDER BY id"))).scalars())
    return [cells[place] for place in places]


INDEX = text("SELECT indexdef FROM pg_indexes WHERE indexname = 'authorisation_message'")
