"""Tests of gateway.cli.stand_in: `kks stand-in`, with books and service away."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.operations import lane as lane_module
from gateway.operations.stand_in_folder import JOURNAL, folder_of
from gateway.settings import load_settings
from tests.gateway.operations.test_lane import no_connections
from tests.gateway.outage import links_file, until_listed
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.shell import Shell


@pytest.fixture
def stood_in(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bank that stood in for two withdrawals and a wrong PIN; nothing is posted. Its journal."""
    monkeypatch.setenv("KKS_LINKS_FILE", str(links_file(shell.folder)))

    async def work() -> Path:
        async with open_bank(load_settings()) as bank, open_street(bank, shell.folder) as street:
            await until_listed(street)
            journal = folder_of(bank.settings.data_dir) / JOURNAL
            with monkeypatch.context() as patch:
                patch.setattr(lane_module, "RETRY_WAIT_S", 0.001)
                no_connections(patch, after=0)
                for amount in (100_000, 50_000):
                    assert "00" == (await street.atm.withdraw(street.card, amount)).code
                shutil.copy(journal, shell.folder / "copy")
            return journal

    journal = asyncio.run(work())
    shutil.copy(shell.folder / "copy", journal)
    return journal


def test_status_and_list(shell: Shell, stood_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is asked; what waits is told with its sum, without any card number; a changed file is exit 1."""
    monkeypatch.setenv("KKS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    said = shell.json("stand-in", "status")
    expected = {"links": ["himbara"], "running": False, "list_cards": 1, "journal": 2, "waiting": 2, "waiting_idr": 150_000,
                "not_posted": 0, "not_posted_idr": 0, "torn_bytes": 0, "wrong": None}  # fmt: skip
    assert expected.items() <= said.items()
    assert 0 <= said["list_age_s"] < 300
    text = shell.text("stand-in", "status")
    assert "himbara" in text
    assert "150.000" in text
    rows = shell.json("stand-in", "list")["entries"]
    assert [("APPROVED", 100_000, "waits"), ("APPROVED", 50_000, "waits")] == [
        (row["decided"], row["amount_idr"], row["books"]) for row in rows
    ]
    assert ["KIND", "FUNDS"] == [rows[0]["rules"][0], rows[0]["rules"][-1]]
    assert [1] == [row["number"] for row in shell.json("stand-in", "list", "--waiting", "--limit", "1")["entries"]]
    assert "601301" not in shell.text("stand-in", "list")
    data = bytearray(stood_in.read_bytes())
    data[20] ^= 1
    stood_in.write_bytes(data)
    assert "was changed" in shell.json("stand-in", "status", code=1)["wrong"]
    assert "was changed" in shell.refused("stand-in", "list")


def test_a_bank_that_stands_in_for_nobody(shell: Shell) -> None:
    """Off, and nothing there; a keystore is not even needed."""
    assert "off" in shell.text("stand-in", "status")
    assert [] == shell.json("stand-in", "list")["entries"]
