"""Tests of gateway.operations.pin_check through the listener: PINs under DUKPT, whose numbers count once, and of format 4."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.app import open_bank, run_service
from gateway.simulator.terminal import Asked, TerminalKind
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyUsage
from keys.pinblock import PinFormat
from keys.sensitive import Pin
from tests.gateway.chips import DEVICE, ask, send, street_of, tries, under_dukpt
from tests.gateway.operations.test_lane import lose_commits
from tests.gateway.street import reasons, stand_before

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings
    from iso.message import Message

WRONG = Pin("314159")


async def test_under_dukpt(bank_settings: Settings, tmp_path: Path) -> None:
    """Each PIN under its own key; a number once right never again, also behind a later one; a wrong PIN costs a try as ever."""
    async with street_of(bank_settings, tmp_path, pin_scheme="dukpt", pin_key="bdk") as street:

        def asks(counter: int, pin: str = "") -> Message:
            return under_dukpt(street, street.atm.request(Asked.CASH, street.card, 10_000), counter, pin)

        first = asks(5)
        assert "00" == await send(street, first)
        assert "00" == await send(street, replace(first))
        told = [await send(street, asks(counter)) for counter in (5, 4, 6)]
        assert ["55", "55", "00"] == told
        assert "55" == await send(street, asks(7, WRONG.reveal()))
        assert [2] == await tries(street.bank)
        assert "00" == await send(street, asks(8))
        assert ["APPROVED", *["PIN_REPLAYED"] * 2, "APPROVED", "PIN_WRONG", "APPROVED"] == await reasons(street.bank)
        assert [8] == await ask(street.bank, "SELECT counter FROM device_counter")
        assert ["bdk#1"] == await ask(street.bank, "SELECT base_key FROM device_counter")
        forged = asks(9)
        forged.fields[62] = "FFFF9876543210F00000"
        assert "55" == await send(street, forged)
        assert [8] == await ask(street.bank, "SELECT counter FROM device_counter")
        del forged.fields[62]
        forged.fields[11] = "654321"
        assert "30" == await send(street, forged)


async def test_one_terminal_on_two_lanes(bank_settings: Settings, tmp_path: Path) -> None:
    """Two cards of different lanes under one key serial number at once: one is let through."""
    async with (
        street_of(bank_settings, tmp_path, families=12, pin_scheme="dukpt", pin_key="bdk") as street,
        street.new_switch() as other,
    ):
        for counter in range(1, 6):
            cards = street.wallet.cards
            terminals = [street.terminal(TerminalKind.ATM, 50 + n, 700_000 + 1_000 * counter + n) for n in range(12)]
            messages = [
                under_dukpt(street, one.request(Asked.CASH, card, 10_000), counter)
                for one, card in zip(terminals, cards, strict=True)
            ]
            clients = [street.switch.client, other.client] * 6
            answers = await asyncio.gather(
                *(client.request(one) for client, one in zip(clients, messages, strict=True))
            )
            assert ["00", *["55"] * 11] == sorted(one.get(39, "") for one in answers)
            async with street.bank.database.engine.begin() as connection:
                await connection.execute(text("UPDATE card SET pin_tries_left = 3, state = 'ACTIVE'"))


async def test_each_terminal_counts_by_itself(bank_settings: Settings, tmp_path: Path) -> None:
    """Two terminals of the same base key do not stand in each other's way."""
    async with street_of(bank_settings, tmp_path, families=2, pin_scheme="dukpt", pin_key="bdk") as street:
        second = bytes.fromhex("FFFF9876543211000000")
        one, other = street.wallet.cards
        for counter in (9, 10):
            for card, device in ((one, DEVICE), (other, second)):
                message = under_dukpt(street, street.atm.request(Asked.CASH, card, 10_000), counter, device=device)
                assert "00" == await send(street, message)
        assert [10, 10] == await ask(street.bank, "SELECT counter FROM device_counter")


@pytest.mark.parametrize("scheme", ["zpk", "dukpt"])
async def test_a_pin_block_of_format_4(bank_settings: Settings, tmp_path: Path, scheme: str) -> None:
    """16 bytes in the profile's own field, under an AES key or one that comes of it; right, wrong, damaged and missing."""
    usage = KeyUsage.PIN_ENCRYPTION if scheme == "zpk" else KeyUsage.BASE_DERIVATION
    async with street_of(
        bank_settings, tmp_path, pin_scheme=scheme, pin_key=f"aes-{scheme}", pin_format=4, pin_block_field=126,
        keys={f"aes-{scheme}": KeySpec(usage, Algorithm.AES, mode=KeyMode.BOTH if scheme == "zpk" else None)},
    ) as street:  # fmt: skip
        key, hsm = street.bank.hsm.find(f"aes-{scheme}"), street.bank.hsm
        told = ((street.card.pin, "00"), (WRONG, "55"), (None, "55"), (street.card.pin, "00"))
        for counter, (pin, code) in enumerate(told, 1):
            ksn = bytes.fromhex(f"1234567890123456{counter:08X}")
            message = street.atm.request(Asked.CASH, street.card, 10_000)
            del message.fields[52]
            under = key if scheme == "zpk" else Dukpt(key, ksn)
            message.fields |= {62: ksn.hex(), 126: "0" * 16}
            if pin is not None:
                message.fields[126] = hsm.encipher_pin(pin, under, street.card.pan, PinFormat.ISO_4).hex().upper()
            assert code == await send(street, message)
        message = street.atm.request(Asked.CASH, street.card, 10_000)
        assert "30" == await send(street, message)
        assert ["APPROVED", "PIN_WRONG", "PIN_WRONG", "APPROVED"] == await reasons(street.bank)


async def test_requirement_13_a_repeated_ksn_is_refused_after_a_restart(
    bank_settings: Settings, tmp_path: Path
) -> None:
    """What a terminal has counted to is in the database, and moves with the authorisation alone."""
    async with street_of(bank_settings, tmp_path, pin_scheme="dukpt", pin_key="bdk") as street:
        message = under_dukpt(street, street.atm.request(Asked.CASH, street.card, 10_000), 5)
        assert "00" == await send(street, message)
        bank, families, wallet = street.bank, street.families, street.wallet
    async with open_bank(bank.settings) as again, run_service(again, jobs=False) as service:
        async with stand_before(again, service, wallet, families) as street:
            later = street.terminal(TerminalKind.ATM, 7, 900_000).request(Asked.CASH, street.card, 10_000)
            later.fields |= {52: message.fields[52], 62: message.fields[62]}
            assert "55" == await send(street, later)
        assert ["APPROVED", "PIN_REPLAYED"] == await reasons(again)


async def test_a_commit_that_never_arrived_takes_no_number(
    bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group is decided again and its own number is new to it; after a lost answer the stored one is told."""
    async with street_of(bank_settings, tmp_path, pin_scheme="dukpt", pin_key="bdk") as street:
        for counter, committed in ((1, False), (2, True)):
            with monkeypatch.context() as patch:
                lose_commits(patch, committed=committed, times=1)
                message = under_dukpt(street, street.atm.request(Asked.CASH, street.card, 10_000), counter)
                assert "00" == await send(street, message)
        assert ["APPROVED"] * 2 == await reasons(street.bank)


async def test_a_pin_change_under_dukpt(bank_settings: Settings, tmp_path: Path) -> None:
    """Both blocks are under the key of one number; afterwards the new PIN is right, and the message sent on is a replay."""
    new = "731946"
    async with street_of(bank_settings, tmp_path, pin_scheme="dukpt", pin_key="bdk") as street:
        change = under_dukpt(street, street.atm.request(Asked.CASH, street.card, 0), 1)
        under = Dukpt(street.bank.hsm.find("bdk"), bytes.fromhex(change.fields[62]))
        block = street.bank.hsm.encipher_pin(Pin(new), under, street.card.pan)
        change.fields |= {3: "900000", 125: block.hex().upper()}
        del change.fields[4]
        assert ["00", "00"] == [await send(street, replace(change)) for _ in range(2)]
        again = replace(change, fields=change.fields | {11: "777777"})
        told = [await send(street, again)]
        for counter, pin in ((2, ""), (3, new)):
            asked = under_dukpt(street, street.atm.request(Asked.CASH, street.card, 10_000), counter, pin)
            told.append(await send(street, asked))
        assert ["55", "55", "00"] == told
        assert ["APPROVED", "PIN_WRONG", "PIN_WRONG", "APPROVED"] == await reasons(street.bank)
