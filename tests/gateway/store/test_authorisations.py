"""Tests of gateway.store.authorisations: what a group loads, its lane's lock, and the digest that the audit chain keeps."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations.authorise import Keyed
from gateway.operations.bank import reading
from gateway.rules.authorise import DeclineReason
from gateway.rules.limits import TerminalUse
from gateway.rules.purse import Channel
from gateway.simulator.terminal import Asked
from gateway.store.authorisations import Loaded, NewAuthorisation, Wanted, write_parameters
from gateway.store.lane_connection import LaneConnection
from gateway.terminals import mapping
from tests.gateway.street import AID_IDR, open_street

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.store.audit import Head

NEW = NewAuthorisation(
    1, 7, 42, 3, "himbara", "CASH", b"k" * 16, b"d" * 16, None, "0200", "ATM", "6011", "A1", "M1", "000002", "000007",
    "1123120000", "632712000007", 50_000, "APPROVED", "00", "{}", [11], [2], [50_000], [99], date(2026, 11, 23),
    date(2026, 11, 24), [3, 4], 4, [50_000], None,
)  # fmt: skip


def test_arrays_for_the_statement() -> None:
    """One entry a member and column; arrays of arrays as PostgreSQL writes them."""
    arrays = write_parameters([NEW, NEW._replace(id=8, tranche_ids=[], amounts_idr=[1, 2])])
    assert {f"a_{name}" for name in NewAuthorisation._fields} == set(arrays)
    assert [(7, 8), ["{11}", "{}"], ["{50000}", "{1,2}"]] == [
        arrays["a_id"],
        arrays["a_tranche_ids"],
        arrays["a_amounts_idr"],
    ]


async def test_nothing_known_is_an_empty_snapshot(bank: Bank) -> None:
    """An unknown card loads as nothing, in its place."""
    wanted = [Wanted(0, b"a" * 16, b"b" * 16, None), Wanted(3, b"c" * 16, b"d" * 16, b"e" * 16)]
    _, loaded = await _load(bank, wanted)
    assert [None] * 2 == [one.snapshot.card for one in loaded]
    assert [([], None, None, False)] * 2 == [tuple(one.snapshot[1:5]) for one in loaded]
    assert [0, 0] == [one.account_id for one in loaded]


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
        head, fresh = await _load(bank, [_wanted(one) for one in keyed[:3]])
        _, (again,) = await _load(bank, [_wanted(keyed[3])])
        _, (back,) = await _load(bank, [_wanted(keyed[4])])
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
    assert bank.business_date == back.original_date
    assert head.seq in (0, 1)


async def test_what_was_spent_is_loaded_where_it_is_asked_for(bank: Bank, tmp_path: Path) -> None:
    """Approved debits of the month, as they stand after reversals; a terminal's own use beside them."""
    async with open_street(bank, tmp_path, families=1) as street:
        first = await street.atm.withdraw(street.card, 100_000)
        await street.agent.withdraw(street.card, 30_000)
        await street.atm.reverse(first, kept_idr=20_000)
        command = mapping.to_command(
            street.atm.request(Asked.CASH, street.card, 10_000), street.service.link, bank.hsm.find("zpk-himbara")
        )
        (cell,) = await _cells(bank, [0])
        keyed = Keyed(bank, command, cell)
        terminal = command.request.terminal
        _, (counted,) = await _load(bank, [_wanted(keyed)._replace(counted=True)], {terminal})
        _, (plain,) = await _load(bank, [_wanted(keyed)])
    (programme,) = {tranche.programme for tranche in plain.snapshot.tranches}
    spent = sorted((use.on, use.channel, use.amounts_idr) for use in counted.snapshot.uses)
    today = bank.business_date
    assert [(today, Channel.AGENT, {programme: 30_000}), (today, Channel.ATM, {programme: 20_000})] == spent
    assert {terminal: [TerminalUse(today, 0, 0)]} == counted.snapshot.terminal_uses
    assert (0, {}) == (len(plain.snapshot.uses), dict(plain.snapshot.terminal_uses))


async def test_one_answer_a_message_and_cell(bank: Bank, tmp_path: Path) -> None:
    """The database itself refuses a second answer under the same key."""
    async with open_street(bank, tmp_path) as street:
        await street.atm.balance(street.card)
    async with reading(bank) as connection:
        found = (await connection.execute(INDEX)).scalar_one()
    assert "UNIQUE" in found


async def _load(bank: Bank, wanted: list[Wanted], terminals: Iterable[str] = ()) -> tuple[Head, list[Loaded]]:
    """Load as a lane of its own would, and roll back."""
    connection = await LaneConnection.open(bank.database.engine, 9)
    await connection.begin()
    found = await connection.load(wanted, terminals, bank.business_date)
    await connection.close()
    return found


def _wanted(keyed: Keyed) -> Wanted:
    return Wanted(keyed.cell, keyed.pan_index, keyed.message_key, keyed.original_key)


async def _cells(bank: Bank, places: list[int]) -> list[int]:
    async with reading(bank) as connection:
        cells = list((await connection.execute(text("SELECT cell FROM account ORDER BY id"))).scalars())
    return [cells[place] for place in places]


INDEX = text("SELECT indexdef FROM pg_indexes WHERE indexname = 'authorisation_message'")
