"""A third back end: one file put beside the two there are, and nothing else is changed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import keys
from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import ceremony
from gateway.operations.custody import custody_of, open_vault
from tests.gateway.street import assert_proved, open_street

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings

THIRD = '''
"""A back end over a device: its keys are in it, here played by the software of this room."""

from keys.backend import Backend
from keys.errors import KeystoreError
from keys.master import MasterKey
from keys.software import SoftwareHsm


class Third(SoftwareHsm):
    """The device's commands."""


class ThirdBackend(Backend):
    """How the bank finds it."""

    options = {"host": "address of the device"}

    def create(self, place, today, on_refusal=None):
        return Third.create(place.keystore, self._master(place), today=today, on_refusal=on_refusal)

    def open(self, place, today, on_refusal=None):
        return Third.open(place.keystore, self._master(place), today=today, on_refusal=on_refusal)

    def rotate_master(self, place, number=None):
        raise KeystoreError("another master key is loaded at the device")

    def _master(self, place):
        return MasterKey(place.options["host"].encode().ljust(32, b"."))


BACKEND = ThirdBackend()
'''


async def test_a_third_back_end_is_one_file(
    bank_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A module put beside the others: keystore, ceremonies, workers and proofs are the same, and only the setting differs."""
    (tmp_path / "back_ends").mkdir()
    (tmp_path / "back_ends" / "third.py").write_text(THIRD)
    monkeypatch.setattr(keys, "__path__", [*keys.__path__, str(tmp_path / "back_ends")])
    options = {"host": "127.0.0.1:1500"}
    settings = bank_settings.model_copy(update={"key_backend": "third", "key_options": options})
    async with open_bank(settings) as bank:
        assert "Third" == type(bank.hsm).__name__
        async with open_street(bank, tmp_path, families=1) as street:
            assert "00" == (await street.atm.withdraw(street.wallet.cards[0], 100_000)).code
        await ceremony.rotate(bank, "siti", "vault-sealing")
        await ceremony.activate(bank, "budi", "vault-sealing#2", None)
        with pytest.raises(Refused, match="another master key is loaded at the device"):
            await ceremony.rotate_master(bank, "siti")
        await assert_proved(bank)
        sealed = bank.vault.seal("text", table="t", row=1, column="c")
    assert "text" == open_vault(custody_of(settings)).open(sealed, table="t", row=1, column="c")
    with pytest.raises(Refused, match=r"third: lacks the options host \(address of the device\)"):
        custody_of(settings.model_copy(update={"key_options": {}}))
