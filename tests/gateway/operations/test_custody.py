"""Tests of gateway.operations.custody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.operations.custody import custody_of, open_vault
from keys.errors import KeysError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


def test_a_worker_opens_the_same_vault(bank: Bank) -> None:
    """What the bank sealed a worker opens, and both find a NIK under the same index."""
    vault = open_vault(custody_of(bank.settings))
    sealed = bank.vault.seal("text", table="t", row=1, column="c")
    assert "text" == vault.open(sealed, table="t", row=1, column="c")
    assert bank.vault.index("1", "nik") == vault.index("1", "nik")


def test_the_master_key_may_be_elsewhere(bank: Bank, tmp_path: Path) -> None:
    """Its setting is obeyed; a keystore that is not there is an error."""
    moved = bank.settings.model_copy(update={"master_key_file": tmp_path / "other.key"})
    assert tmp_path / "other.key" == custody_of(moved).master_key
    with pytest.raises(KeysError):
        open_vault(replace(custody_of(bank.settings), keystore=tmp_path / "none.json"))
