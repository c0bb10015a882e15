"""Tests of gateway.store.stand_in_list: what is in it, found by index, and refused where it is not what the bank wrote."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.errors import Refused
from gateway.operations import card as card_operations
from gateway.operations.bank import reading
from gateway.rules.card import CardEvent
from gateway.store import policy
from gateway.store.stand_in_list import CardList, drop, place, write
from tests.gateway.owner import as_owner
from tests.gateway.world import activate, credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from tests.gateway.world import Holder

AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
AID_IDR = 600_000


async def _list(bank: Bank, path: Path) -> CardList:
    async with reading(bank) as connection:
        rules = await policy.purse_rules(connection)
        header = await write(connection, path, bank.audit_mac, bank.row.name, bank.business_date, AT, rules)
    found = CardList(path, bank.audit_verify)
    found.prove()
    assert header == found.header
    return found


def _index(bank: Bank, holder: Holder) -> bytes:
    return bank.vault.index(holder.pan.reveal(), "pan")


async def test_every_card_that_may_be_spent_with_is_found(bank: Bank, tmp_path: Path) -> None:
    """With what the books have of it; a card that is stopped, has no PIN or no money is not in the list, nor is any PAN."""
    families = await open_families(bank, tmp_path, 12)
    await activate(bank, families[:10])
    await credit(bank, tmp_path, [*families[:9], families[10]], AID_IDR)
    await card_operations.change_state(bank, "branch", families[3].card_id, CardEvent.BLOCK, "asked")
    found = await _list(bank, tmp_path / "list")
    listed = [0, 1, 2, 4, 5, 6, 7, 8]
    assert (8, AT, bank.row.name) == (found.header.cards, found.header.made_at, found.header.bank)
    for number, holder in enumerate(families):
        card = found.find(_index(bank, holder))
        assert (card is not None) is (number in listed)
        if card is not None:
            assert (holder.card_id, holder.family_id, 3, 1) == (
                card.card_id, card.account_id, card.pin_tries_left, card.pin_key_version,
            )  # fmt: skip
            assert AID_IDR == sum(card.available_idr.values())
            assert await _stored(bank, holder.card_id) == (card.cell, card.expires_on, card.pin_offset)
    assert found.find(bytes(16)) is found.find(b"\xff" * 16) is None
    data = (tmp_path / "list").read_bytes()
    assert [] == [one.pan for one in families if one.pan.reveal().encode() in data]
    assert 0o600 == (tmp_path / "list").stat().st_mode & 0o777
    found.close()


async def test_a_changed_list_or_another_banks_is_refused(bank: Bank, tmp_path: Path) -> None:
    """A bit of it, wherever; its end; one that is none; and one that this bank did not prove."""
    families = await open_families(bank, tmp_path, 2)
    await activate(bank, families)
    await credit(bank, tmp_path, families, AID_IDR)
    path = tmp_path / "list"
    (await _list(bank, path)).close()
    whole = path.read_bytes()
    for at in (*range(0, len(whole), 7), len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Refused):
            CardList(path, bank.audit_verify).prove()
    for wrong in (whole[:-1], whole[70:], b"", b"KKSLIST\x01", bytes(4) + b"KKSLIST\x01"):
        path.write_bytes(wrong)
        with pytest.raises(Refused):
            CardList(path, bank.audit_verify).prove()
    path.write_bytes(whole)
    with pytest.raises(Refused, match="another bank"):
        CardList(path, lambda _data, _mac: False)
    with pytest.raises(Refused, match="no list"):
        CardList(tmp_path / "none", bank.audit_verify)


async def test_a_new_list_takes_the_place_of_the_one_before(bank: Bank, tmp_path: Path) -> None:
    """Whoever has the old one open goes on with it; the new one says what has changed."""
    families = await open_families(bank, tmp_path, 1)
    await activate(bank, families)
    await credit(bank, tmp_path, families, AID_IDR)
    old = await _list(bank, tmp_path / "list")
    await as_owner(bank, "UPDATE card SET pin_tries_left = 1")
    (await _list(bank, tmp_path / "new")).close()
    place(tmp_path / "new", tmp_path / "list")
    drop(tmp_path / "new")
    new = CardList(tmp_path / "list", bank.audit_verify)
    tries = [(found.find(_index(bank, families[0])) or pytest.fail("not found")).pin_tries_left for found in (old, new)]
    assert [3, 1] == tries
    assert old.header.id != new.header.id
    for one in (old, new):
        one.close()


async def _stored(bank: Bank, card_id: int) -> tuple[int, date, str]:
    async with reading(bank) as connection:
        row = (await connection.execute(STORED, {"id": card_id})).one()
        return row.cell, row.expires_on, row.pin_offset


STORED = text("SELECT cell, expires_on, pin_offset FROM card WHERE id = :id")
