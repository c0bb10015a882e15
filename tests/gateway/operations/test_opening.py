"""Tests of gateway.operations.opening."""

from __future__ import annotations

import os
from datetime import date
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.operations import kpm, opening
from gateway.operations.bank import reading, transaction
from gateway.rules.issuing import cell_of_pan, pan_for
from gateway.store.audit import Operation
from tests.gateway.lists import good_rows, write_rows
from tests.gateway.owner import as_owner
from tests.gateway.world import CHECKER, MAKER, holders, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

SEALED = "SELECT id, nik, no_kk, mother_name, nik_index FROM family ORDER BY id"


async def test_what_identifies_a_family_is_sealed(bank: Bank, tmp_path: Path) -> None:
    """NIK, No KK, mother's name and PAN are stored sealed, each for its own row and column; the card's cell is in its PAN."""
    families = await open_families(bank, tmp_path, 5)
    assert len({one.pan.reveal() for one in families}) == 5
    for row, one in zip(await as_owner(bank, SEALED), families, strict=True):
        assert one.nik.encode() not in b"".join(bytes(value) for value in row[1:])
        assert bank.vault.index(one.nik, "nik") == row.nik_index
        for column in ("nik", "no_kk", "mother_name"):
            assert bank.vault.open(getattr(row, column), table="family", row=one.family_id, column=column)
        assert one.family_id % bank.row.cells == cell_of_pan(one.pan.reveal(), bank.row.cells)
        assert "601301" == one.pan.reveal()[:6]
    shown = [row[0] for row in await as_owner(bank, "SELECT pan_masked FROM card ORDER BY id")]
    assert all(
        masked.startswith("601301") and one.pan.reveal() != masked for masked, one in zip(shown, families, strict=True)
    )


async def test_a_pan_that_was_used_is_drawn_again(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a PAN of an older card nor one drawn twice in a chunk is given to a new card."""
    (family,) = await open_families(bank, tmp_path, 1)
    used = family.pan.reveal()
    first, second = pan_for("601301", 16 * 5 + 1), pan_for("601301", 16 * 6 + 1)
    drawn = iter([used, first, first, used, second])

    def draw(_bank: Bank, _cell: int) -> tuple[str, bytes]:
        pan = next(drawn)
        return pan, bank.vault.index(pan, "pan")

    monkeypatch.setattr(opening, "_draw_pan", draw)
    async with reading(bank) as connection:
        found = await opening._new_pans(bank, connection, [1, 1])
    assert [second, first] == [pan for pan, _ in found] or [first, second] == [pan for pan, _ in found]


async def test_a_card_ends_with_a_month(bank: Bank, tmp_path: Path) -> None:
    """Expiry is the last day of this month, the set number of years from now."""
    await open_families(bank, tmp_path, 1)
    today = bank.business_date
    (row,) = await as_owner(bank, "SELECT expires_on, expires_on + 1 AS next, pin_tries_left, state FROM card")
    assert (today.year + 5, today.month, 1) == (row.expires_on.year, row.expires_on.month, row.next.day)
    assert (3, "ORDERED") == (row.pin_tries_left, row.state)
    assert date(2029, 2, 28) == opening._end_of_month(date(2024, 2, 29), 5)
    assert date(2031, 12, 31) == opening._end_of_month(date(2026, 12, 31), 5)


async def test_a_number_drawn_before_is_drawn_again_for_the_chunk(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cards of a chunk whose random numbers are all the same, and those of an older card, still have numbers of their own."""
    with monkeypatch.context() as same:
        same.setattr(type(bank.hsm), "random_bytes", lambda _self, count: b"\x07" * count)
        (first,) = await open_families(bank, tmp_path, 1)
    rows = [row for row in good_rows(tmp_path, 40) if row["NIK"] != first.nik]
    draws = 0

    def random_bytes(_self: object, count: int) -> bytes:
        nonlocal draws
        draws += 1
        return b"\x07" * count if draws == 1 else os.urandom(count)

    monkeypatch.setattr(type(bank.hsm), "random_bytes", random_bytes)
    summary = await kpm.import_list(bank, MAKER, write_rows(tmp_path / "more.csv", rows), "SK-2", bank.business_date)
    await kpm.approve(bank, CHECKER, summary.batch)
    cards = await holders(bank)
    assert 40 == len({one.pan.reveal() for one in cards})
    assert [one.family_id % bank.row.cells for one in cards] == [
        cell_of_pan(one.pan.reveal(), bank.row.cells) for one in cards
    ]


async def test_what_an_account_refers_to_must_be_there(bank: Bank, tmp_path: Path) -> None:
    """A family of no list, an enrolment of no family, a card of no account: refused; and what is referred to stays."""
    await open_families(bank, tmp_path, 1)
    for statement in (
        "INSERT INTO card SELECT cell, account_id + 77, id + 77, pan, pan || '1', pan_masked, expires_on, state FROM card",
        "INSERT INTO enrolment SELECT family_id + 77, programme, components, batch_id, valid_from FROM enrolment",
        "INSERT INTO enrolment SELECT family_id, 999, components, batch_id, valid_from FROM enrolment LIMIT 1",
        "UPDATE kpm_batch SET id = DEFAULT", "DELETE FROM account", "UPDATE family SET batch_id = 77", "DELETE FROM programme",
    ):  # fmt: skip
        engine = create_async_engine(bank.database.url)
        with pytest.raises(DBAPIError) as error:
            async with engine.begin() as connection:
                await connection.execute(text(statement.replace("expires_on, state FROM", f"{CARD_REST} FROM")))
        await engine.dispose()
        assert "23503" == getattr(error.value.orig, "sqlstate", None), statement


CARD_REST = """expires_on, state, pin_offset, pin_tries_left, ordered_on, delivered_at, delivered_to, handed_over_at,
               handed_over_by, ktp_seen, kk_seen, activated_at, reason, replaces"""


async def test_one_account_has_one_live_card(bank: Bank, tmp_path: Path) -> None:
    """The database refuses a second live card of an account, whoever asks."""
    (family,) = await open_families(bank, tmp_path, 1)
    cell = family.family_id % bank.row.cells
    with pytest.raises(Exception, match="card_one_live"):
        await _order(bank, cell, family.family_id)


async def _order(bank: Bank, cell: int, account_id: int) -> None:
    async with transaction(bank, "test") as tx:
        await opening.order_cards(bank, tx.connection, [(cell, account_id, None)])
        await tx.record(Operation.CARD_ORDER, "card")
