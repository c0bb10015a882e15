"""Tests of gateway.operations.kpm_before: a list taken in before there were chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.operations import kpm
from tests.gateway.before import bank_before
from tests.gateway.lists import read_rows
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import TestServer

BATCH = 2


async def test_a_list_taken_in_before_is_opened_and_reported(server: TestServer, tmp_path: Path) -> None:
    """Its accepted row is opened with what was sealed then; the result file holds its rows as they came."""
    before = await bank_before(server, tmp_path)
    async with open_bank(before.settings) as bank:
        done = await kpm.approve(bank, "checker", BATCH)
        assert (1, {"NIK_INVALID": 1}) == (done.accepted, done.reasons)
        await kpm.write_result_file(bank, "maker", BATCH, tmp_path / "out.csv")
        written = read_rows(tmp_path / "out.csv")
        assert [["1271074112900099", "DEWI UTAMI"], ["12", "X"]] == [list(row.values())[:2] for row in written]
        assert ["BUREKOL_SUKSES", "BUREKOL_GAGAL"] == [row["KODE_STATUS"] for row in written]
        (row,) = await as_owner(bank, "SELECT id, nik, name, phone FROM family WHERE batch_id = 2")
        assert ("DEWI UTAMI", "") == (row.name, row.phone)
        assert "1271074112900099" == bank.vault.open(row.nik, table="family", row=row.id, column="nik")
        assert [(2, "NIK_INVALID")] == [(line - 1, one["code"]) for line, one in await kpm.findings(bank, BATCH)]
