"""Tests of gateway.cli.vault: `kks vault status` and `kks vault reseal`. What they do: operations/test_reseal.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.app import open_bank, open_keystore
from gateway.settings import load_settings
from gateway.simulator.families import write_kpm_list
from keys.keytypes import KeyUsage
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.shell import Shell

SK = ("--sk-no", "SK-1", "--sk-date", "2026-11-01")


def test_a_list_is_sealed_anew(shell: Shell, tmp_path: Path) -> None:
    """Counts by key before and after; a second run has nothing to do."""
    _import(shell, tmp_path)
    assert {"vault-sealing#1": 1} == shell.json("vault", "status")["columns"]["kpm_chunk.record"]
    assert "Nothing was sealed anew." in shell.text("vault", "reseal", "--as", "siti")
    _rotate()
    told = shell.text("vault", "reseal", "--as", "siti")
    assert "kpm_chunk.record: 1 sealed anew." in told
    columns = shell.json("vault", "status")["columns"]
    assert ({"vault-sealing#2": 1}, {}) == (columns["kpm_chunk.family_record"], columns["card.pan"])
    assert "vault-sealing#2" in shell.text("vault", "status")
    nothing = {"ok": True, "resealed": {}, "left": {}, "unreadable": {}, "named": []}
    assert nothing == shell.json("vault", "reseal")


def test_what_does_not_open_is_exit_1(shell: Shell, tmp_path: Path) -> None:
    """Table and row are named, and how many are left; as JSON the same. `kks vault status` tells of no key of ours."""
    _import(shell, tmp_path)
    _rotate()
    _as_owner("UPDATE kpm_chunk SET record = 'x'")
    code, out, err = shell.run("vault", "reseal", "--as", "siti")
    assert (1, "kpm_chunk.family_record: 1 sealed anew.") == (code, out.splitlines()[0])
    assert "Does not open: kpm_chunk.record of row 1:2: sealed data is of another key" in out
    assert "kks: not under the newest key: kpm_chunk.record 1; of these do not open: 1\n" == err
    found = shell.json("vault", "reseal", code=1)
    assert (False, {"kpm_chunk.record": 1}, 1) == (found["ok"], found["left"], len(found["named"]))
    assert "no key of ours" in shell.text("vault", "status")


def _import(shell: Shell, folder: Path) -> None:
    path = folder / "list.csv"
    write_kpm_list(path, 5)
    shell.json("kpm", "import", str(path), *SK, "--as", "ani")


def _rotate() -> None:
    open_keystore(load_settings()).generate(KeyUsage.DATA_SEALING, "vault-sealing")


def _as_owner(statement: str) -> None:
    async def work() -> None:
        async with open_bank(load_settings()) as bank:
            await as_owner(bank, statement)

    asyncio.run(work())
