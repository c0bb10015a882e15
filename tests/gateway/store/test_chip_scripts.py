"""Tests of gateway.store.chip_scripts over PostgreSQL: what is counted, what a terminal's word changes, what is wanted anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.operations.bank import reading
from gateway.rules.chip import Script, ScriptResult, ScriptSent
from gateway.store import cards, chip_scripts
from gateway.store.chip_scripts import CardKey, Sending, Word
from tests.gateway.store.test_card_counters import lane
from tests.gateway.world import open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.store.cards import Card
    from gateway.store.chip_scripts import ChipScript

AT, LATER = datetime(2026, 11, 28, 3, tzinfo=UTC), datetime(2026, 11, 28, 4, tzinfo=UTC)
BLOCK, PIN = Script.BLOCK_CARD, Script.UNBLOCK_PIN


async def the_cards(bank: Bank, folder: Path, count: int = 1) -> list[Card]:
    """Cards, as they are stored."""
    families = await open_families(bank, folder, count)
    async with reading(bank) as connection:
        return [await cards.read(connection, one.card_id) for one in families]


def key_of(card: Card) -> CardKey:
    """Where it stands."""
    return CardKey(card.cell, card.account_id, card.id)


async def rows(bank: Bank, card: Card) -> list[ChipScript]:
    """What people see of a card."""
    async with reading(bank) as connection:
        return await chip_scripts.of_card(connection, card)


async def test_sendings_are_counted_by_card_and_script(bank: Bank, tmp_path: Path) -> None:
    """Each with the newest counter; what is read stands in the order of the question, also for cards that were told nothing."""
    one, other, third = await the_cards(bank, tmp_path, 3)
    async with lane(bank, 0) as connection:
        for atc in (7, 9):
            sendings = [Sending(*key_of(other), PIN, atc), Sending(*key_of(one), BLOCK, atc + 1)]
            assert [1 if atc == 7 else 2] * 2 == await chip_scripts.note_sent(connection, sendings, AT)
        assert [1] == await chip_scripts.note_sent(connection, [Sending(*key_of(one), PIN, 11)], LATER)
        found = await chip_scripts.sent_before(connection, [key_of(third), key_of(other), key_of(one)])
        await connection.commit()
    twice, once = ScriptSent(2, taken=False), ScriptSent(1, taken=False)
    assert [{}, {PIN: twice}, {BLOCK: twice, PIN: once}] == found
    assert [(PIN, LATER, 1, LATER, None, None), (BLOCK, AT, 2, AT, None, None)] == await rows(bank, one)


async def test_words_of_terminals(bank: Bank, tmp_path: Path) -> None:
    """Of the newest sending alone; what is no news is none; that a script was taken stands."""
    (card,) = await the_cards(bank, tmp_path)
    failed, taken, not_done = ScriptResult.FAILED, ScriptResult.TAKEN, ScriptResult.NOT_DONE
    async with lane(bank, 0) as connection:
        await chip_scripts.note_sent(connection, [Sending(*key_of(card), BLOCK, 7)], AT)
        for script, atc, result, news in (
            (BLOCK, 6, taken, False), (PIN, 7, taken, False), (BLOCK, 7, not_done, True), (BLOCK, 7, not_done, False),
            (None, 8, failed, False), (None, 7, failed, True), (BLOCK, 7, taken, True), (BLOCK, 7, failed, False),
            (None, 7, failed, False), (BLOCK, 7, taken, False),
        ):  # fmt: skip
            told = await chip_scripts.keep_words(connection, [Word(*key_of(card), script, atc, result)], LATER)
            assert ([(card.id, BLOCK, 7, result)] if news else []) == told
        assert [{BLOCK: ScriptSent(1, taken=True)}] == await chip_scripts.sent_before(connection, [key_of(card)])
        await connection.commit()
        assert [(BLOCK, AT, 1, AT, taken, LATER)] == await rows(bank, card)
        await connection.begin()
        assert [1] == await chip_scripts.note_sent(connection, [Sending(*key_of(card), BLOCK, 9)], LATER)
        await connection.commit()
    assert [(BLOCK, LATER, 1, LATER, None, None)] == await rows(bank, card)


async def test_what_is_wanted_begins_anew(bank: Bank, tmp_path: Path) -> None:
    """`want` makes the row where there is none, `want_again` does not; both forget how often it was sent and what came of it."""
    (card,) = await the_cards(bank, tmp_path)
    async with bank.database.engine.begin() as connection:
        await chip_scripts.want_again(connection, card, BLOCK, AT)
        await chip_scripts.want(connection, card, PIN, AT)
    assert [(PIN, AT, 0, None, None, None)] == await rows(bank, card)
    async with lane(bank, 0) as lane_connection:
        for script in (BLOCK, PIN):
            await chip_scripts.note_sent(lane_connection, [Sending(*key_of(card), script, 7)], AT)
            word = Word(*key_of(card), script, 7, ScriptResult.TAKEN)
            assert 1 == len(await chip_scripts.keep_words(lane_connection, [word], AT))
        await lane_connection.commit()
    async with bank.database.engine.begin() as connection:
        await chip_scripts.want_again(connection, card, BLOCK, LATER)
        await chip_scripts.want(connection, card, PIN, LATER)
    assert [(BLOCK, LATER, 0, None, None, None), (PIN, LATER, 0, None, None, None)] == await rows(bank, card)
