"""Tests of gateway.operations.pin_keys: the cards that hang on each version of the PIN verification key, and when one may end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import card, ceremony, pin_keys
from gateway.operations.custody import PIN_LABEL, take_up_keys
from gateway.operations.pin_keys import PinKey
from gateway.operations.setup import move_business_date
from gateway.rules.card import CardEvent, CardState
from gateway.store import cards
from keys.keytypes import KeyState
from tests.gateway.owner import as_owner, one_value
from tests.gateway.rites import BUDI, RATNA, SITI, details, refused
from tests.gateway.street import assert_proved
from tests.gateway.world import Holder, activate, choose_pin_again, open_families, pin_block

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.settings import Settings

FIRST, SECOND = f"{PIN_LABEL}#1", f"{PIN_LABEL}#2"
MADE_UNDER = "SELECT pin_key_version FROM card WHERE id = :id"


async def new_version(bank: Bank) -> None:
    """Made by one, activated by another."""
    made = await ceremony.rotate(bank, SITI, PIN_LABEL)
    await ceremony.activate(bank, BUDI, made.name, None)


async def version_of(bank: Bank, holder: Holder) -> int | None:
    """Of the key under which the holder's PIN was chosen, as the card keeps it."""
    found: int | None = await one_value(bank, MADE_UNDER, id=holder.card_id)
    return found


async def test_a_pin_is_chosen_under_the_newest_version(bank: Bank, tmp_path: Path) -> None:
    """The card keeps which: none before a PIN, the first, none while it is reset, then the second; so does the record."""
    first, second = await open_families(bank, tmp_path, 2)
    assert [None, None] == [await version_of(bank, one) for one in (first, second)]
    await activate(bank, [first, second])
    assert {1: 2} == await pin_keys.count(bank)
    await ceremony.rotate(bank, SITI, PIN_LABEL)
    await choose_pin_again(bank, first)
    assert [1, 1] == [await version_of(bank, one) for one in (first, second)]
    await ceremony.activate(bank, BUDI, SECOND, None)
    await card.change_state(bank, "officer", first.card_id, CardEvent.RESET_PIN, "forgotten")
    assert ([None, 1], {1: 1}) == (
        [await version_of(bank, one) for one in (first, second)], await pin_keys.count(bank),
    )  # fmt: skip
    await choose_pin_again(bank, first, reset=False)
    assert [PinKey(FIRST, "ACTIVE", 1), PinKey(SECOND, "ACTIVE", 1)] == await pin_keys.overview(bank)
    told = await as_owner(
        bank, "SELECT detail::jsonb ->> 'pin_key_version' FROM audit_event WHERE subject = 'card 1' ORDER BY seq"
    )
    assert ["1", None, "1", None, "2"] == [one[0] for one in told][-5:]
    await assert_proved(bank)


async def test_an_offset_never_lacks_its_version(bank: Bank, tmp_path: Path) -> None:
    """The database itself refuses one without the other."""
    (holder,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [holder])
    for change in ("pin_key_version = NULL", "pin_offset = NULL, state = 'BLOCKED'", "pin_key_version = 0"):
        with pytest.raises(DBAPIError, match="card_pin_key"):
            await as_owner(bank, f"UPDATE card SET {change}")


async def test_only_cards_that_may_be_used_are_counted(bank: Bank, tmp_path: Path) -> None:
    """A locked or stopped card may come back and counts; one that is lost, closed, replaced or expired never needs its PIN."""
    families = await open_families(bank, tmp_path, 6)
    await activate(bank, families)
    events = (CardEvent.BLOCK, CardEvent.REPORT_LOST, CardEvent.REPORT_STOLEN, CardEvent.CLOSE)
    for holder, event in zip(families, events, strict=False):
        await card.change_state(bank, "officer", holder.card_id, event, "test")
    await card.replace(bank, "officer", families[4].card_id, "broken")
    await as_owner(
        bank, "UPDATE card SET state = 'PIN_LOCKED', pin_tries_left = 0 WHERE id = :id", id=families[5].card_id
    )
    assert {1: 2} == await pin_keys.count(bank)
    last = await one_value(bank, "SELECT max(expires_on) FROM card")
    await move_business_date(bank, "ops", last)
    assert {1: 2} == await pin_keys.count(bank)
    await move_business_date(bank, "ops", last + timedelta(days=1))
    assert {} == await pin_keys.count(bank)
    assert [PinKey(FIRST, "ACTIVE", 0)] == await pin_keys.overview(bank)


async def test_a_version_that_the_keystore_lacks_is_shown(bank: Bank, tmp_path: Path) -> None:
    """A keystore that is not this database's: cards hang on what is not there."""
    await activate(bank, await open_families(bank, tmp_path, 1))
    await as_owner(bank, "UPDATE card SET pin_key_version = 7")
    assert [PinKey(FIRST, "ACTIVE", 0), PinKey(f"{PIN_LABEL}#7", "", 1)] == await pin_keys.overview(bank)


@pytest.mark.parametrize("act", ["retire", "destroy"])
async def test_no_version_ends_under_a_card(bank: Bank, tmp_path: Path, act: str) -> None:
    """Retired, or destroyed after it was lost, only when the last card has moved: refused until then, with the count."""
    families = await open_families(bank, tmp_path, 2)
    await activate(bank, families)
    await new_version(bank)
    actor = SITI
    if act == "destroy":
        await ceremony.change_state(bank, SITI, "compromise", FIRST)
        assert 2 == (await details(bank))[-1]["cards"]
        actor = BUDI
    for left, holder in zip((2, 1), families, strict=True):
        await refused(
            bank, f"{FIRST}: the PINs of {left} cards hang on it", ceremony.change_state(bank, actor, act, FIRST)
        )
        await choose_pin_again(bank, holder)
    ended = await ceremony.change_state(bank, actor, act, FIRST)
    assert (ceremony.STATES[act], 0) == (ended.state, (await details(bank))[-1]["cards"])
    assert {2: 2} == await pin_keys.count(bank)
    await assert_proved(bank)


async def test_a_version_does_not_end_while_a_pin_is_chosen(bank: Bank, tmp_path: Path) -> None:
    """What is being chosen under it is waited for and counted; what comes later is chosen under the newer one."""
    first, second = await open_families(bank, tmp_path, 2)
    await activate(bank, [second])
    await choose_pin_again(bank, second)
    async with bank.database.engine.begin() as choosing:
        assert 1 == (await pin_keys.newest(bank, choosing)).version
        await new_version(bank)
        await choose_pin_again(bank, second)
        assert {2: 1} == await pin_keys.count(bank)
        ending = asyncio.create_task(ceremony.change_state(bank, SITI, "retire", FIRST))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), 0.3)
        await choosing.execute(
            text("""UPDATE card SET state = 'PIN_LOCKED', pin_offset = '000000', pin_key_version = 1 WHERE id = :id"""),
            {"id": first.card_id},
        )
    with pytest.raises(Refused, match="the PINs of 1 cards hang on it"):
        await ending
    await as_owner(bank, "UPDATE card SET pin_offset = NULL, pin_key_version = NULL WHERE id = :id", id=first.card_id)
    assert KeyState.DEACTIVATED is (await ceremony.change_state(bank, SITI, "retire", FIRST)).state


async def test_a_pin_waits_for_an_end_and_sees_it(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """Another process that has not looked at its keys yet: it chooses under what works after the end, not before."""
    (holder,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [holder])
    await card.change_state(bank, "officer", holder.card_id, CardEvent.RESET_PIN, "forgotten")
    async with open_bank(bank_settings) as branch:
        await new_version(bank)
        assert 1 == branch.keys.pin_verification.version
        old = bank.hsm.version(PIN_LABEL, 1)
        async with pin_keys.let_end(bank, old):
            choosing = asyncio.create_task(choose_pin_again(branch, holder, reset=False))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(choosing), 0.3)
            bank.hsm.set_state(old, KeyState.DEACTIVATED)
        await choosing
        assert 2 == await version_of(bank, holder)


async def test_somebody_who_chooses_for_ever(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end does not wait for ever: refused and recorded; nothing else than the wait is told so."""
    await new_version(bank)
    monkeypatch.setattr(cards, "PIN_KEYS_TIMEOUT", text("SET LOCAL lock_timeout = '100ms'"))
    async with bank.database.engine.begin() as choosing:
        await pin_keys.newest(bank, choosing)
        await refused(bank, "is being chosen for too long", ceremony.change_state(bank, SITI, "retire", FIRST))
    monkeypatch.setattr(cards, "LOCK_PIN_KEYS", text("SELECT 1 / 0"))
    with pytest.raises(DBAPIError, match="division by zero"):
        await ceremony.change_state(bank, SITI, "retire", FIRST)
    assert KeyState.ACTIVE is bank.hsm.info(bank.hsm.version(PIN_LABEL, 1)).state


async def test_other_keys_end_as_they_like(bank: Bank) -> None:
    """Nothing is locked for them."""
    async with bank.database.engine.begin() as choosing:
        await pin_keys.newest(bank, choosing)
        async with pin_keys.let_end(bank, bank.hsm.find("audit")):
            pass


async def test_a_locked_card_whose_key_is_lost_is_not_unlocked(bank: Bank, tmp_path: Path) -> None:
    """Its PIN would never be right again: the officer is told to reset it, and then it goes on."""
    (holder,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [holder])
    await new_version(bank)
    await as_owner(bank, "UPDATE card SET state = 'PIN_LOCKED', pin_tries_left = 0")
    unlock = (bank, "officer", holder.card_id, CardEvent.UNLOCK_PIN, "at the branch")
    assert CardState.ACTIVE is await card.change_state(*unlock)
    await as_owner(bank, "UPDATE card SET state = 'PIN_LOCKED', pin_tries_left = 0")
    await ceremony.change_state(bank, RATNA, "compromise", FIRST)
    assert not take_up_keys(bank)
    with pytest.raises(Refused, match=f"^card 1: the key of its PIN, {FIRST}, has ended: reset the PIN$"):
        await card.change_state(*unlock)
    await choose_pin_again(bank, holder)
    assert (2, "ACTIVE") == (await version_of(bank, holder), await one_value(bank, "SELECT state FROM card"))


CHILD = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.operations import card, ceremony
    from gateway.operations.bank import Transaction
    from gateway.settings import load_settings

    def deadly(called):
        def call(*words, **named):
            called(*words, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return call

    async def dies(*words, **named):
        os.kill(os.getpid(), signal.SIGKILL)

    async def main(url, folder, act, block):
        async with open_bank(load_settings(database_url=url, data_dir=Path(folder), log_level="error")) as bank:
            if act == "choose":
                Transaction.record = dies  # the card's row is changed, and not yet committed
                await card.choose_pin(bank, "branch", 1, bytes.fromhex(block), bank.hsm.find("zpk-himbara"))
            bank.hsm.set_state = deadly(bank.hsm.set_state)
            if act == "activate":
                await ceremony.activate(bank, "budi", "pin-verification#2", None)
            await ceremony.change_state(bank, "siti", act, "pin-verification#1")

    asyncio.run(main(*sys.argv[1:]))
"""


def _killed(bank: Bank, act: str, block: str = "") -> None:
    """ACT in a process of its own, which is killed in its middle."""
    words = [sys.executable, "-c", textwrap.dedent(CHILD)]
    words += [str(bank.settings.database_url), str(bank.settings.data_dir), act, block]
    environment = {**os.environ, "PYTHONPATH": str(Path(pin_keys.__file__).parents[2])}
    child = subprocess.run(words, env=environment, check=False)  # noqa: S603 - our own script
    assert -signal.SIGKILL == child.returncode


async def test_a_pin_that_was_being_chosen(bank: Bank, tmp_path: Path) -> None:
    """Killed before its commit: neither offset nor version is kept, and nothing stands in the way of the next."""
    (holder,) = await open_families(bank, tmp_path, 1)
    block = pin_block(bank, holder, (await activate(bank, [holder])).cards[0].pin)
    await new_version(bank)
    await card.change_state(bank, "officer", holder.card_id, CardEvent.RESET_PIN, "forgotten")
    _killed(bank, "choose", block.hex())
    row = await as_owner(bank, "SELECT state, pin_offset, pin_key_version FROM card")
    assert ("HANDED_OVER", None, None) == tuple(row[0])
    assert KeyState.DEACTIVATED is (await ceremony.change_state(bank, SITI, "retire", FIRST)).state
    await choose_pin_again(bank, holder, reset=False)
    assert 2 == await version_of(bank, holder)
    await assert_proved(bank)


@pytest.mark.parametrize("act", ["activate", "retire", "compromise"])
async def test_a_ceremony_that_was_cut_off(bank: Bank, tmp_path: Path, act: str) -> None:
    """Killed between keystore and record: seen in the record, nothing stays locked, and no card lost its PIN by it."""
    (holder,) = await open_families(bank, tmp_path, 1)
    await activate(bank, [holder])
    if act == "activate":
        await ceremony.rotate(bank, SITI, PIN_LABEL)
    else:
        await new_version(bank)
        await choose_pin_again(bank, holder)
    _killed(bank, act)
    assert take_up_keys(bank)
    states = {"activate": "ACTIVE", "retire": "DEACTIVATED", "compromise": "COMPROMISED"}
    shown = await pin_keys.overview(bank)
    assert [states[act], "ACTIVE"] == [one.state for one in shown]
    *_, last = await ceremony.record_of(bank, None, None)
    assert ("key.begun", act) == (last.operation, last.detail["act"])
    assert bank.keys.pin_versions[await version_of(bank, holder) or 0] is not None
    await choose_pin_again(bank, holder)
    assert {2: 1} == await pin_keys.count(bank)
    await assert_proved(bank)
