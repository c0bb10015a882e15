"""Tests of gateway.simulator.wallet."""

from __future__ import annotations

import json
import random
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from gateway.simulator.errors import WalletError
from gateway.simulator.wallet import Wallet, load_wallet, strangers
from keys.luhn import is_valid
from tests.gateway.simulator.fake_issuer import COMPONENTS, make_wallet

if TYPE_CHECKING:
    from pathlib import Path


def test_saved_wallet_is_loaded_as_it_was(tmp_path: Path) -> None:
    """Cards, label and components come back."""
    wallet = make_wallet(3)
    wallet.save(tmp_path / "wallet.json")
    assert wallet == load_wallet(tmp_path / "wallet.json")


def test_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, also where an older file was open to others; nothing else is left in the folder."""
    path = tmp_path / "wallet.json"
    path.write_text("{}")
    path.chmod(0o644)
    make_wallet(1).save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path] == list(tmp_path.iterdir())


def test_nothing_secret_is_shown() -> None:
    """Neither repr nor str of a wallet or card holds a PAN, a PIN or a key."""
    wallet = make_wallet(2)
    shown = f"{wallet!r} {wallet} {wallet.cards[0]!r} {wallet.cards[0]}"
    for secret in (wallet.cards[0].pan.reveal(), "271828", COMPONENTS[0].hex(), repr(COMPONENTS[0])):
        assert secret not in shown
    assert "601301******" in shown


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    """The file is named, and who makes it."""
    with pytest.raises(WalletError, match=r"wallet .*none\.json: No such file.*kks demo") as caught:
        load_wallet(tmp_path / "none.json")
    assert "\n" not in str(caught.value)


def test_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """Saving says what the system said."""
    with pytest.raises(WalletError, match="No such file"):
        make_wallet(1).save(tmp_path / "none" / "wallet.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "is not a wallet of version 1"),
        ({"cards": 5}, "holds no list of cards"),
        ({"cards": [{}]}, "card 1: pan is missing"),
        ({"cards": ["x"]}, "card 1: is not as"),
        ({"zpk_components": ["zz"]}, "is not hexadecimal"),
        ({"zpk_components": 7}, "is not hexadecimal"),
        ({"zpk_components": ["00" * 16]}, "two or more components"),
        ({"zpk_components": ["00" * 16, "00" * 24]}, "two or more components"),
        ({"zpk_components": ["00" * 8, "00" * 8]}, "two or more components"),
    ],
)
def test_damaged_content_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """Each fault has its own line, which names the file."""
    path = tmp_path / "wallet.json"
    make_wallet(1).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WalletError, match=said) as caught:
        load_wallet(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("pan", "6013010000000011"), ("pan", "601301"), ("pin", "12"), ("pin", "abcdef"), ("expires", "11/31")],
)
def test_bad_card_is_named_by_its_place(tmp_path: Path, key: str, value: str) -> None:
    """The value itself is not in the message."""
    path = tmp_path / "wallet.json"
    make_wallet(2).save(path)
    content = json.loads(path.read_text())
    content["cards"][1][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(WalletError, match="card 2: ") as caught:
        load_wallet(path)
    assert value not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_other_files_are_no_wallets(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, the error is a WalletError."""
    path = tmp_path / "wallet.json"
    path.write_text(text)
    with pytest.raises(WalletError):
        load_wallet(path)


def test_strangers_are_valid_and_never_issued() -> None:
    """They have the wallet's BIN and a right check digit; the same seed makes the same ones."""
    wallet = make_wallet(5)
    made = [card.pan.reveal() for card in islice(strangers(wallet.cards, random.Random(3)), 20)]
    again = [card.pan.reveal() for card in islice(strangers(wallet.cards, random.Random(3)), 20)]
    assert again == made
    assert all(is_valid(pan) and pan.startswith("601301") for pan in made)
    assert not set(made) & {card.pan.reveal() for card in wallet.cards}


def test_strangers_need_no_wallet() -> None:
    """An empty wallet has strangers too."""
    assert is_valid(next(strangers(Wallet(()).cards, random.Random(1))).pan.reveal())
