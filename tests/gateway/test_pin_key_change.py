"""The PIN verification key is changed by the bank's people on their command line while its service answers terminals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.files.ceremony_record import ceremony_record
from gateway.operations import ceremony, pin_check, pin_keys
from gateway.operations.custody import PIN_LABEL
from gateway.simulator.pinpad import pinpad_of
from keys.errors import KeyRefused
from keys.keytypes import KeyState
from keys.sensitive import Pin
from tests.gateway.owner import one_value
from tests.gateway.rites import BUDI, RATNA, SITI
from tests.gateway.street import assert_proved, open_street, reasons
from tests.gateway.test_zpk_change import RIGHT_CODE, TRIES, WRONG, WRONG_CODE, kks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.operations.authorise import AuthoriseCommand
    from gateway.operations.bank import Bank
    from gateway.rules.authorise import PinOutcome
    from gateway.store.authorisations import Loaded
    from tests.gateway.street import Street

FIRST, SECOND = f"{PIN_LABEL}#1", f"{PIN_LABEL}#2"
OLD, NEW = Pin("204817"), Pin("719340")
VOID_CODE = "62"


async def change_key(bank: Bank) -> None:
    """The next version is made by one and activated by another, each in a process of their own."""
    made = await kks(bank, "keys", "rotate", PIN_LABEL, by=SITI)
    assert (SECOND, "PRE_ACTIVE") == (made["key"]["key"], made["key"]["state"])
    done = await kks(bank, "keys", "activate", SECOND, by=BUDI)
    assert "ACTIVE" == done["key"]["state"]


async def at_the_branch(street: Street, *places: int, pin: Pin = NEW) -> None:
    """The families choose new PINs, in processes of the branch."""
    for place in places:
        card, held = str(street.families[place].card_id), street.wallet.cards[place]
        await kks(street.bank, "card", "reset-pin", card, "--reason", "new key", by="branch")
        block = pinpad_of(street.wallet).block(held.pan, pin)
        told = await kks(street.bank, "card", "choose-pin", card, "--pin-block", block, by="branch")
        assert "ACTIVE" == told["state"]


async def knows(bank: Bank, **states: KeyState) -> None:
    """Until the running service sees these versions in these states, for a few seconds at most."""
    for _ in range(250):
        found = {f"v{key.version}": bank.hsm.info(key).state for key in bank.hsm.versions(PIN_LABEL)}
        if states == found:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


async def codes(street: Street, pins: dict[int, Pin]) -> list[str]:
    """Balances asked by many cards at once: what each is told."""
    asked = [street.atm.balance(street.wallet.cards[place], pin) for place, pin in pins.items()]
    return [one.code for one in await asyncio.gather(*asked)]


async def tries(street: Street, place: int) -> int:
    """Wrong PINs that the card may still have."""
    return int(await one_value(street.bank, TRIES, id=street.families[place].card_id))


async def test_cards_of_both_versions_in_one_group(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each card is verified under the version its PIN was chosen under: right is right and wrong is wrong, side by side."""
    groups: list[set[int | None]] = []

    def noted(bank: Bank, commands: Sequence[AuthoriseCommand], loaded: Sequence[Loaded]) -> list[PinOutcome]:
        groups.append({one.pin_key_version for one in loaded})
        return pin_check.check_pins(bank, commands, loaded)

    monkeypatch.setattr("gateway.operations.authorise.check_pins", noted)
    async with open_street(bank, tmp_path, families=8) as street:
        await change_key(bank)
        moved = (0, 3, 5)
        await at_the_branch(street, *moved)
        mine = {place: NEW if place in moved else OLD for place in range(8)}
        other = {place: OLD if place in moved else NEW for place in range(8)}
        assert [RIGHT_CODE] * 8 == await codes(street, mine)
        half = {place: (mine if place % 2 else other)[place] for place in range(8)}
        for _ in range(2):
            assert [RIGHT_CODE if place % 2 else WRONG_CODE for place in range(8)] == await codes(street, half)
        assert [3 if place % 2 else 1 for place in range(8)] == [await tries(street, place) for place in range(8)]
        assert [RIGHT_CODE] * 8 == await codes(street, mine)
        assert [3] * 8 == [await tries(street, place) for place in range(8)]
        assert {1, 2} in groups
        shown = await pin_keys.overview(bank)
        assert [(FIRST, "ACTIVE", 5), (SECOND, "ACTIVE", 3)] == [(one.key, one.state, one.cards) for one in shown]
    await assert_proved(bank)


async def test_a_service_takes_up_the_new_version(bank: Bank, tmp_path: Path) -> None:
    """By itself within a second or two; and at once where a card has moved before it looked."""
    async with open_street(bank, tmp_path, families=2) as street:
        await kks(bank, "keys", "rotate", PIN_LABEL, by=SITI)
        await knows(bank, v1=KeyState.ACTIVE, v2=KeyState.PRE_ACTIVE)
        assert {1} == set(bank.keys.pin_versions)
        assert street.service._watch is not None
        street.service._watch.cancel()  # it is slow
        await kks(bank, "keys", "activate", SECOND, by=BUDI)
        await at_the_branch(street, 0)
        assert 1 == bank.keys.pin_verification.version
        assert [RIGHT_CODE, RIGHT_CODE] == await codes(street, {0: NEW, 1: OLD})
        assert ({1, 2}, 2) == (set(bank.keys.pin_versions), bank.keys.pin_verification.version)
        assert [WRONG_CODE] == await codes(street, {0: OLD})
        assert [2, 3] == [await tries(street, place) for place in range(2)]


async def test_a_version_that_is_lost(bank: Bank, tmp_path: Path) -> None:
    """Its cards are told to come to the branch, the same whatever PIN is tried and without a try; a new PIN mends it."""
    async with open_street(bank, tmp_path, families=3) as street:
        await change_key(bank)
        await at_the_branch(street, 2)
        assert [WRONG_CODE, RIGHT_CODE] == await codes(street, {0: WRONG, 2: NEW})
        old = bank.hsm.version(PIN_LABEL, 1)
        await kks(bank, "keys", "state", "compromise", FIRST, by=SITI)
        await knows(bank, v1=KeyState.COMPROMISED, v2=KeyState.ACTIVE)
        with pytest.raises(KeyRefused, match="may not do VERIFY_PIN: it is COMPROMISED"):
            bank.hsm.verify_pins([], old)
        answers = [await street.atm.balance(street.wallet.cards[0], pin) for pin in (OLD, WRONG, NEW, OLD, WRONG)]
        answers.append(await street.atm.withdraw(street.wallet.cards[0], 100_000))
        assert [VOID_CODE] * 6 == [one.code for one in answers]
        told = [set(one.answer.fields) for one in answers[:5] if one.answer is not None]
        assert [told[0]] * 5 == told
        assert (await street.atm.repeat(answers[0])).same_answer(answers[0])
        assert [VOID_CODE, VOID_CODE, RIGHT_CODE] == await codes(street, {0: WRONG, 1: OLD, 2: NEW})
        assert [2, 3, 3] == [await tries(street, place) for place in range(3)]
        assert {"PIN_VOID", "APPROVED"} == set((await reasons(bank))[-9:])
        await at_the_branch(street, 0)
        assert [RIGHT_CODE, VOID_CODE] == await codes(street, {0: NEW, 1: OLD})
        await at_the_branch(street, 1, pin=OLD)  # he may choose the same digits
        assert [RIGHT_CODE] * 3 == await codes(street, {0: NEW, 1: OLD, 2: NEW})
        await kks(bank, "keys", "rotate-master", by=SITI)
        await kks(bank, "keys", "state", "destroy", FIRST, by=BUDI)
        await knows(bank, v1=KeyState.DESTROYED, v2=KeyState.ACTIVE)
        assert [RIGHT_CODE] * 3 == await codes(street, {0: NEW, 1: OLD, 2: NEW})
    page = ceremony_record(await ceremony.record_of(bank, None, None))
    assert f"compromise {FIRST}: done" in page
    assert "cards 2" in page
    assert "BEGUN AND NEVER ENDED" not in page
    await assert_proved(bank)


async def test_a_version_that_is_stopped_for_a_while(bank: Bank, tmp_path: Path) -> None:
    """Nobody is sent to the branch for it: its cards have no answer (96), the others go on, and then all is as before."""
    async with open_street(bank, tmp_path, families=2) as street:
        await kks(bank, "keys", "state", "suspend", PIN_LABEL, by=RATNA)
        await knows(bank, v1=KeyState.SUSPENDED)
        assert ["96", "96"] == await codes(street, {0: OLD, 1: WRONG})
        await change_key(bank)
        await at_the_branch(street, 1)
        assert ["96", RIGHT_CODE] == await codes(street, {0: OLD, 1: NEW})
        await kks(bank, "keys", "state", "resume", FIRST, by=RATNA)
        await knows(bank, v1=KeyState.ACTIVE, v2=KeyState.ACTIVE)
        assert [RIGHT_CODE, RIGHT_CODE] == await codes(street, {0: OLD, 1: NEW})
        assert [3, 3] == [await tries(street, place) for place in range(2)]
    await assert_proved(bank)
