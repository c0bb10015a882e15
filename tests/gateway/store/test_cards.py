"""Tests of gateway.store.cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound
from gateway.operations import card as operations
from gateway.operations.bank import reading
from gateway.rules.account import AccountState
from gateway.rules.card import CardEvent, CardState
from gateway.store import cards
from tests.gateway.world import open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_cards_are_found_by_id_account_and_state(bank: Bank, tmp_path: Path) -> None:
    """One card, the cards of an account newest first, and the oldest cards of a state."""
    first, second, third = await open_families(bank, tmp_path, 3)
    await operations.change_state(bank, "officer", second.card_id, CardEvent.REPORT_LOST, "market")
    new = await operations.replace(bank, "officer", second.card_id, "lost")
    async with reading(bank) as connection:
        card = await cards.read(connection, first.card_id)
        told = (card.account_number, card.account_state, card.state, card.holder_name)
        assert (first.account_number, AccountState.ACTIVE, CardState.ORDERED, first.name) == told
        assert first.pan.reveal() not in repr(card)
        of_second = await cards.of_account(connection, second.account_number)
        assert [(new.id, second.card_id), (second.card_id, None)] == [(one.id, one.replaces) for one in of_second]
        assert [first.card_id, third.card_id] == await cards.ids_in_state(connection, CardState.ORDERED, 2)
        assert {"LOST": 1, "ORDERED": 3} == await cards.count_by_state(connection)
        used = bank.vault.index(first.pan.reveal(), "pan")
    async with bank.database.engine.connect() as connection:
        assert card == await cards.find_by_pan(connection, used)
        assert None is await cards.find_by_pan(connection, bytes(32))
    async with reading(bank) as connection:
        assert {used} == await cards.taken_pans(connection, [used, bytes(32)])
        assert set() == await cards.taken_pans(connection, [])
        with pytest.raises(NotFound, match=r"^there is no card 99$"):
            await cards.read(connection, 99)
        with pytest.raises(NotFound, match=r"^there is no account 1$"):
            await cards.of_account(connection, "1")


async def test_only_the_named_card_is_changed(bank: Bank, tmp_path: Path) -> None:
    """An update changes named columns of one card, and an account's state that of one account."""
    first, second = await open_families(bank, tmp_path, 2)
    async with bank.database.engine.begin() as connection:
        card = await cards.read(connection, first.card_id, lock=True)
        await cards.update(connection, card, pin_tries_left=1, reason="test")
        await cards.set_account_state(connection, card.cell, card.account_id, AccountState.BLOCKED)
        changed, other = [await cards.read(connection, one.card_id) for one in (first, second)]
    assert (1, "test", AccountState.BLOCKED) == (changed.pin_tries_left, changed.reason, changed.account_state)
    assert (3, None, AccountState.ACTIVE) == (other.pin_tries_left, other.reason, other.account_state)
