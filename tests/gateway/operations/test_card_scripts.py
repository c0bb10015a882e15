"""Tests of gateway.operations.card_scripts through the listener, over PostgreSQL: a chip is told, obeys, and is heard."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import text

from gateway.operations import card
from gateway.operations.bank import reading
from gateway.rules.card import CardEvent
from gateway.rules.chip import SENT_MOST
from gateway.simulator.errors import WalletError
from gateway.simulator.terminal import Asked
from gateway.store import chip_scripts
from iso import tlv
from iso.message import Message
from keys.emv_profile import profiles
from keys.keytypes import KeyState
from keys.sensitive import Pin
from tests.gateway.cage import Cage, tables
from tests.gateway.chips import chip_of, last_atcs, send, street_of, with_chip
from tests.gateway.operations.test_card_check import field_55
from tests.gateway.street import reasons

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.chip_card import ChipCard
    from gateway.simulator.exchange import Exchange
    from tests.gateway.street import Street

CHIP: dict[str, Any] = {"chip": "required", "chip_scripts": ["block", "pin"]}
WRONG, NEW = Pin("314159"), Pin("904517")
SCRIPTS = text("SELECT script, sent, sent_atc, result FROM chip_script ORDER BY wanted_at, script")
EVENTS = text("SELECT subject, detail FROM audit_event WHERE operation = 'card.script' ORDER BY stream, seq")


async def recorded(bank: Bank) -> list[tuple[Any, ...]]:
    """What is known of scripts: which, how often sent, with which counter, what came of it."""
    async with reading(bank) as connection:
        return [tuple(row) for row in await connection.execute(SCRIPTS)]


async def events(bank: Bank) -> list[str]:
    """What the audit chains tell of scripts."""
    async with reading(bank) as connection:
        return [f"{row.subject} {row.detail}" for row in await connection.execute(EVENTS)]


async def ask_by_chip(street: Street, chip: ChipCard, message: Message | None = None) -> tuple[Message, Exchange]:
    """A withdrawal, or another MESSAGE, and what it was told; the chip believes its answer."""
    message = message or with_chip(street.atm, chip)
    done = await street.atm.send(message)
    assert chip.believes(message.fields[55], field_55(done), done.code)
    return message, done


def command_of(done: Exchange) -> str:
    """CLA INS P1 P2 of the script in an answer; "" where there is none."""
    template = dict(tlv.parse(bytes.fromhex(field_55(done)))).get("72")
    return "" if template is None else dict(tlv.parse(template))["86"][:4].hex()


def reversal_of(street: Street, asked: Message, chip: ChipCard) -> Message:
    """The 0420 of a terminal that could not go on, with what the chip did."""
    message = street.atm.reversal(asked)
    return Message("0420", message.fields | {55: chip.confirm(asked.fields[55])})


async def stop(street: Street, event: CardEvent) -> None:
    """Something has happened to the first family's card."""
    await card.change_state(street.bank, "branch", street.families[0].card_id, event, "as asked")


async def test_a_blocked_card_is_told_to_stop_and_obeys(bank_settings: Settings, tmp_path: Path) -> None:
    """Refused as before, with a script behind the answer; the chip signs nothing more, and its result is kept and audited."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card, atc=299)
        await stop(street, CardEvent.BLOCK)
        asked, done = await ask_by_chip(street, chip)
        assert ("62", "841e0000") == (done.code, command_of(done))
        assert "200100012C" == chip.obey(asked.fields[55], field_55(done), "62")
        with pytest.raises(WalletError, match="blocked by its issuer"):
            with_chip(street.atm, chip)
        assert [("BLOCK_APPLICATION", 1, 300, None)] == await recorded(street.bank)
        for _ in range(2):
            assert "00" == await send(street, reversal_of(street, asked, chip))
        assert [("BLOCK_APPLICATION", 1, 300, "TAKEN")] == await recorded(street.bank)
        assert [300] == await last_atcs(street.bank)
        number = street.families[0].card_id
        assert [
            f'card {number} {{"atc":300,"script":"BLOCK_APPLICATION","sent":1}}',
            f'card {number} {{"atc":300,"result":"TAKEN","script":"BLOCK_APPLICATION"}}',
        ] == await events(street.bank)


@pytest.mark.parametrize("event", [CardEvent.REPORT_STOLEN, CardEvent.REPORT_LOST, CardEvent.CLOSE, CardEvent.REPLACE])
async def test_a_card_that_never_works_again(bank_settings: Settings, tmp_path: Path, event: CardEvent) -> None:
    """The whole card is blocked. The script goes out again with every answer until it was taken."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        if event is CardEvent.REPLACE:
            await card.replace(street.bank, "branch", street.families[0].card_id, "damaged")
        else:
            await stop(street, event)
        for _ in range(3):
            asked, done = await ask_by_chip(street, chip)
            assert "84160000" == command_of(done)
        assert "2002000003" == chip.obey(asked.fields[55], field_55(done), done.code)
        assert [("BLOCK_CARD", 3, 3, None)] == await recorded(street.bank)
        other = chip_of(street.card, atc=3)
        late = with_chip(street.atm, other)
        late.fields[55] += tlv.build([("9F5B", bytes.fromhex(chip.results))]).hex().upper()
        _, done = await ask_by_chip(street, other, late)
        assert "" == command_of(done)
        assert [("BLOCK_CARD", 3, 3, "TAKEN")] == await recorded(street.bank)


async def test_a_script_goes_out_so_often_and_no_more(bank_settings: Settings, tmp_path: Path) -> None:
    """A chip that never says anything; when the card is let go and stopped anew, it is told anew."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        await stop(street, CardEvent.BLOCK)
        told = [command_of((await ask_by_chip(street, chip))[1]) for _ in range(SENT_MOST + 2)]
        assert ["841e0000"] * SENT_MOST + [""] * 2 == told
        await stop(street, CardEvent.UNBLOCK)
        assert ("00", "") == ((done := (await ask_by_chip(street, chip))[1]).code, command_of(done))
        await stop(street, CardEvent.BLOCK)
        assert "841e0000" == command_of((await ask_by_chip(street, chip))[1])
        assert [("BLOCK_APPLICATION", 1, SENT_MOST + 4, None)] == await recorded(street.bank)
        assert SENT_MOST + 1 == len(await events(street.bank))


async def test_a_repeat_has_the_same_script(bank_settings: Settings, tmp_path: Path) -> None:
    """Made anew, the same byte for byte, also for those in flight, and counted once; another cryptogram under its key: none."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street, street.new_switch() as other:
        chip = chip_of(street.card)
        await stop(street, CardEvent.REPORT_STOLEN)
        message = with_chip(street.atm, chip)
        clients = (street.switch.client, other.client) * 3
        answers = await asyncio.gather(*(client.request(replace(message), again=True) for client in clients))
        assert [answers[0].fields] * 6 == [one.fields for one in answers]
        assert "2002000001" == chip.obey(message.fields[55], answers[0].fields[55], "43")
        swapped = Message(
            "0201", message.fields | {55: chip_of(street.card, atc=5).sign(message.fields[4], street.card.expires)}
        )
        assert ("43", "") == ((done := await street.atm.send(swapped)).code, field_55(done))
        assert [("BLOCK_CARD", 1, 1, None)] == await recorded(street.bank)
        assert ["CARD_STOLEN"] == await reasons(street.bank)


async def test_a_stopped_card_that_is_not_there(bank_settings: Settings, tmp_path: Path) -> None:
    """A wrong cryptogram, one sent before, no chip data: refused for its state as before, and told nothing."""
    async with street_of(bank_settings, tmp_path, chip="optional", chip_scripts=["block"]) as street:
        chip = chip_of(street.card, atc=50)
        used = with_chip(street.atm, chip)
        assert "00" == await send(street, used)
        await stop(street, CardEvent.REPORT_LOST)
        wrong = with_chip(street.atm, replace(chip, imk=bytes(range(16))))
        replayed = street.atm.request(Asked.CASH, street.card, 10_000)
        replayed.fields |= {22: "051", 55: used.fields[55]}
        plain = street.atm.request(Asked.CASH, street.card, 10_000)
        for message in (wrong, replayed, plain):
            done = await street.atm.send(message)
            assert ("41", "") == (done.code, field_55(done))
        assert ["APPROVED", *["CARD_LOST"] * 3] == await reasons(street.bank)
        assert ([], [51]) == (await recorded(street.bank), await last_atcs(street.bank))


@pytest.mark.parametrize("uses", [[], ["pin"]])
async def test_a_link_that_carries_no_such_script(bank_settings: Settings, tmp_path: Path, uses: list[str]) -> None:
    """A stopped card is refused as ever: nothing is verified, nothing told."""
    async with street_of(bank_settings, tmp_path, chip="required", chip_scripts=uses) as street:
        await stop(street, CardEvent.BLOCK)
        done = await street.atm.send(with_chip(street.atm, chip_of(street.card)))
        assert ("62", "", [None]) == (done.code, field_55(done), await last_atcs(street.bank))


async def test_tries_of_the_chips_own_pin_begin_anew(bank_settings: Settings, tmp_path: Path) -> None:
    """After the PIN was unlocked: behind a right PIN alone, again where the terminal says that it failed, until it was taken."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        chip.pin_tries = 0
        assert "" == command_of((await ask_by_chip(street, chip))[1])
        block = street.pinpad.block(street.card.pan, WRONG)

        def wrong() -> Message:
            message = with_chip(street.atm, chip)
            return Message("0200", message.fields | {52: block})

        for _ in range(3):
            await ask_by_chip(street, chip, wrong())
        await stop(street, CardEvent.UNLOCK_PIN)
        assert [("UNBLOCK_PIN", 0, None, None)] == await recorded(street.bank)
        assert "" == command_of((await ask_by_chip(street, chip, wrong()))[1])
        asked, done = await ask_by_chip(street, chip)
        assert ("00", "84240000") == (done.code, command_of(done))
        assert "1103000006" == replace(chip, smi=bytes(range(16))).obey(asked.fields[55], field_55(done), "00")
        failed = Message("0420", street.atm.reversal(asked).fields | {55: "95050000000010" + "9F36020006"})
        assert "00" == await send(street, failed)
        assert [("UNBLOCK_PIN", 1, 6, "FAILED")] == await recorded(street.bank)
        asked, done = await ask_by_chip(street, chip, with_chip(street.atm, chip, 990_000))
        assert ("51", "84240000") == (done.code, command_of(done))
        assert ("2003000007", 3) == (chip.obey(asked.fields[55], field_55(done), "51"), chip.pin_tries)
        last, done = await ask_by_chip(street, chip, with_chip(street.atm, chip, t9F5B=chip.results))
        assert "" == command_of(done)
        assert [("UNBLOCK_PIN", 2, 7, "TAKEN")] == await recorded(street.bank)
        assert "00" == await send(street, street.atm.reversal(last))


async def test_a_pin_that_is_changed_at_the_terminal(bank_settings: Settings, tmp_path: Path) -> None:
    """The answer tells the chip at once, each time; a refused change tells it nothing."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        for place, (typed, new, code) in enumerate(
            ((street.card.pin, Pin("111111"), "05"), (street.card.pin, NEW, "00"), (NEW, street.card.pin, "00")), 1
        ):
            message = street.atm.pin_change(street.card, typed, new)
            message.fields |= {22: "051", 55: chip.sign("0" * 12, street.card.expires)}
            asked, done = await ask_by_chip(street, chip, message)
            assert (code, "84240000" if code == "00" else "") == (done.code, command_of(done))
            if code == "00":
                assert f"200300000{place}" == chip.obey(asked.fields[55], field_55(done), code)
        assert [("UNBLOCK_PIN", 2, 3, None)] == await recorded(street.bank)


async def test_a_chip_of_another_scheme(bank_settings: Settings, tmp_path: Path) -> None:
    """The script's MAC is made by the profile by which the card signs."""
    names = ["nsiccs", "visa-cvn10", "visa-cvn18", "mchip", "mchip-cvn14"]
    async with street_of(bank_settings, tmp_path, families=5, **CHIP, chip_profile=names) as street:
        for family, one, name in zip(street.families, street.wallet.cards, names, strict=True):
            chip = replace(chip_of(one), profile=profiles()[name])
            await card.change_state(street.bank, "branch", family.card_id, CardEvent.REPORT_STOLEN, "stolen")
            asked, done = await ask_by_chip(street, chip)
            assert "2002000001" == chip.obey(asked.fields[55], field_55(done), "43")


async def test_a_script_key_that_may_not_work(bank_settings: Settings, tmp_path: Path) -> None:
    """The answer goes without: no payment is lost for a script. The version beside the card's own key is taken."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip, hsm = chip_of(street.card), street.bank.hsm
        hsm.form(hsm.info(hsm.find("imk-smi")).usage, "imk-smi", [bytes(range(16)), b"\x55" * 16])
        await stop(street, CardEvent.BLOCK)
        asked, done = await ask_by_chip(street, chip)
        assert "2001000001" == replace(chip).obey(asked.fields[55], field_55(done), "62")
        for version in (1, 2):
            hsm.set_state(hsm.version("imk-smi", version), KeyState.DEACTIVATED)
        with structlog.testing.capture_logs() as logged:
            _, done = await ask_by_chip(street, chip)
        assert ("62", "") == (done.code, command_of(done))
        assert ["BLOCK_APPLICATION"] == [one["script"] for one in logged if one["event"] == "script.not_made"]
        assert [("BLOCK_APPLICATION", 1, 1, None)] == await recorded(street.bank)
        hsm.set_state(hsm.version("imk-ac", 1), KeyState.DEACTIVATED)
        done = await street.atm.send(with_chip(street.atm, chip))
        assert ("62", "") == (done.code, field_55(done))


async def test_who_has_nothing_to_do_with_chips_pays_nothing(
    bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No question to the database for a message without chip data, nor at a link that carries no scripts."""
    asked: list[object] = []

    async def count(*words: object) -> list[object]:
        asked.append(words)
        raise AssertionError(words)

    for name in ("sent_before", "note_sent", "keep_words", "append_event"):
        monkeypatch.setattr(chip_scripts, name, count)
    async with street_of(bank_settings, tmp_path, chip="optional", chip_scripts=["block", "pin"]) as street:
        done = await street.atm.withdraw(street.card, 10_000)
        assert ["00", "00"] == [done.code, (await street.atm.reverse(done)).code]
        assert [] == asked


async def test_a_link_without_scripts_asks_nothing(
    bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a terminal of it speaks of some."""
    monkeypatch.setattr(chip_scripts, "sent_before", None)
    monkeypatch.setattr(chip_scripts, "keep_words", None)
    async with street_of(bank_settings, tmp_path, chip="required") as street:
        chip = chip_of(street.card)
        assert "00" == await send(street, with_chip(street.atm, chip, t9F5B="2001000001"))


async def test_requirement_15_nothing_of_a_script_is_kept(bank_settings: Settings, tmp_path: Path) -> None:
    """Neither its MAC nor the cryptogram it is made with stands in a table or log."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        await stop(street, CardEvent.REPORT_STOLEN)
        with structlog.testing.capture_logs() as logged:
            asked, done = await ask_by_chip(street, chip)
            chip.obey(asked.fields[55], field_55(done), "43")
            await send(street, reversal_of(street, asked, chip))
        cage = Cage(await tables(street.bank) | {"log": str(logged)})
        template = dict(tlv.parse(bytes.fromhex(field_55(done))))["72"]
        cryptogram = dict(tlv.parse(bytes.fromhex(asked.fields[55])))["9F26"]
        cage.canaries = {
            "script MAC": dict(tlv.parse(template))["86"][-8:].hex().upper(), "cryptogram": cryptogram.hex().upper(),
            "answer": field_55(done), "chip data": asked.fields[55],
        }  # fmt: skip
        assert [] == cage.escaped()
