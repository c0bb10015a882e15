"""Tests of gateway.cli.cards: `kks card` and `kks account`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.rules.chip import Script
from gateway.settings import load_settings
from gateway.simulator.families import write_kpm_list
from gateway.store import cards, chip_scripts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.shell import Shell

REASON = ("--reason", "as asked")


def test_the_life_of_a_card(shell: Shell, tmp_path: Path) -> None:
    """Delivered, handed over, lost and replaced; each in its order, each wrong order one line."""
    _open(shell, tmp_path)
    card = shell.json("card", "show", "1")["cards"][0]
    assert {"card", "account", "holder", "pan", "state", "expires_on", "pin_tries_left", "reason"} <= set(card)
    assert ("ORDERED", "601301******") == (card["state"], card["pan"][:12])
    assert {"ORDERED": 3} == shell.json("card", "undelivered")["cards"]
    assert "ORDERED" in shell.text("card", "undelivered")
    assert "is not possible" in shell.refused("card", "hand-over", "1", "--ktp-seen", "--kk-seen")
    assert "DELIVERED" == shell.json("card", "deliver", "1", "--branch", "0014", "--as", "branch")["state"]
    assert "KTP and KK" in shell.refused("card", "hand-over", "1")
    assert "not seen: KK" in shell.refused("card", "hand-over", "1", "--ktp-seen")
    words = ("card", "hand-over", "1", "--ktp-seen", "--kk-seen", "--mother-name", "SITI")
    assert "HANDED_OVER" in shell.text(*words)
    assert "LOST" == shell.json("card", "lost", "1", *REASON)["state"]
    new = shell.json("card", "replace", "1", *REASON)
    assert (1, True) == (new["replaces"], new["pan"] != card["pan"])
    assert "already" in shell.refused("card", "replace", "1", *REASON)
    listed = shell.json("card", "list", card["account"])["cards"]
    assert [new["card"], 1] == [one["card"] for one in listed]
    for command in ("unblock", "unlock", "reset-pin"):
        assert "is not possible" in shell.refused("card", command, "1", *REASON)
    assert "is stolen" in shell.text("card", "--help")


def test_what_a_chip_was_told(shell: Shell, tmp_path: Path) -> None:
    """Stands beside the card: which script, since when, how often, what came of it; nothing where it was told nothing."""
    _open(shell, tmp_path)
    assert [] == shell.json("card", "show", "1")["scripts"]
    assert "Told to its chip" not in shell.text("card", "show", "1")

    async def want() -> None:
        async with open_bank(load_settings()) as bank, bank.database.engine.begin() as connection:
            await chip_scripts.want(connection, await cards.read(connection, 1), Script.UNBLOCK_PIN, bank.now())

    asyncio.run(want())
    (told,) = shell.json("card", "show", "1")["scripts"]
    assert ("UNBLOCK_PIN", 0, None, None) == (told["script"], told["sent"], told["sent_at"], told["result"])
    shown = shell.text("card", "show", "1")
    assert ("Told to its chip" in shown, "UNBLOCK_PIN" in shown) == (True, True)
    assert "scripts" not in shell.json("card", "list", shell.json("card", "show", "1")["cards"][0]["account"])


def test_wrong_arguments_of_cards(shell: Shell, tmp_path: Path) -> None:
    """Unknown cards, missing reasons and bad PIN blocks."""
    _open(shell, tmp_path)
    assert "there is no card 99" in shell.refused("card", "show", "99")
    assert "there is no card 99" in shell.refused("card", "deliver", "99", "--branch", "0014")
    assert "--reason" in shell.usage("card", "block", "1")
    assert "needs a reason" in shell.refused("card", "block", "1", "--reason", " ")
    assert "--branch" in shell.usage("card", "deliver", "1")
    shell.usage("card", "show", "one")
    assert "--pin-block: is not hex" in shell.refused("card", "choose-pin", "1", "--pin-block", "xyz")
    assert "there is no account" in shell.refused("card", "list", "123")


def test_a_pin_without_its_key(shell: Shell, tmp_path: Path) -> None:
    """Where the link's PIN key was never formed, choosing a PIN is one clear line."""
    _open(shell, tmp_path)
    assert "zpk-himbara" in shell.refused("card", "choose-pin", "1", "--pin-block", "0123456789ABCDEF")


def test_pins_by_key(shell: Shell, tmp_path: Path) -> None:
    """Every version of the key, its state and its cards; a version that is lost among them."""
    _open(shell, tmp_path)
    assert [{"key": "pin-verification#1", "state": "ACTIVE", "cards": 0}] == shell.json("card", "pins")["pins"]
    shell.json("keys", "rotate", "pin-verification", "--as", "siti")
    overlap = shell.refused("keys", "activate", "pin-verification#2", "--overlap-days", "30", "--as", "budi")
    assert "key pin-verification#2: an older version ends when no card's PIN hangs on it, and not by a date" == overlap
    shell.json("keys", "activate", "pin-verification#2", "--as", "budi")
    shell.json("keys", "state", "compromise", "pin-verification#1", "--as", "siti")
    shown = [(one["key"], one["state"]) for one in shell.json("card", "pins")["pins"]]
    assert [("pin-verification#1", "COMPROMISED"), ("pin-verification#2", "ACTIVE")] == shown
    assert "pin-verification#1" in shell.text("card", "pins")


def test_accounts(shell: Shell, tmp_path: Path) -> None:
    """An account with its purses and tranches; unblocking wants two people and a reason."""
    _open(shell, tmp_path)
    number = shell.json("card", "show", "1")["cards"][0]["account"]
    found = shell.json("account", "show", number)
    assert {"number", "state", "holder", "purses", "tranches", "expiring"} <= set(found)
    assert number in shell.text("account", "show", number)
    assert "there is no account 42" in shell.refused("account", "show", "42")
    shell.refused("account", "unblock", "--account", number, "--checker", "budi", "--as", "ani")
    words = ("account", "unblock", "--account", number, *REASON, "--as", "ani", "--checker")
    shell.refused(*words, "Ani")
    shell.refused(*words, "")
    assert {"tranches": 0, "amount_idr": 0} == shell.json(*words, "budi")


def _open(shell: Shell, folder: Path) -> None:
    write_kpm_list(folder / "list.csv", 3)
    words = ("--sk-no", "SK-1", "--sk-date", "2026-11-01", "--as", "ani")
    number = str(shell.json("kpm", "import", str(folder / "list.csv"), *words)["batch"])
    shell.json("batch", "approve", number, "--as", "budi")
