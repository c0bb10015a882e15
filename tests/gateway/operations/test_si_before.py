"""Tests of gateway.operations.si_before: an SI taken in, and half credited, before there were chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.app import open_bank
from gateway.operations import instruction, proof
from tests.gateway.before import AMOUNT_IDR, bank_before
from tests.gateway.lists import read_rows
from tests.gateway.owner import as_owner, one_value

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import TestServer


async def test_an_si_taken_in_before_is_credited_and_reported(server: TestServer, tmp_path: Path) -> None:
    """What was credited stays so, what waited is credited once, and the result file holds the rows as they came."""
    before = await bank_before(server, tmp_path)
    async with open_bank(before.settings) as bank:
        assert [(1, 1)] == [
            tuple(row) for row in await as_owner(bank, "SELECT cell, account_id FROM si_row WHERE line = 2")
        ]
        half = await instruction.result(bank, "maker", "SI-1", tmp_path / "half.csv")
        assert (1, 0) == (half.credited, half.failed)
        told = [row["KODE_STATUS"] for row in read_rows(tmp_path / "half.csv")]
        assert ["TOPUP_SUKSES", "SI", "SI", "SI", "SI"] == told
        done = await instruction.approve(bank, "checker", "SI-1")
        assert ("POSTED", 4, 1, 4 * AMOUNT_IDR) == (done.status, done.credited, done.failed, done.credited_idr)
        assert {"ROW_INVALID": 1} == done.reasons
        await instruction.result(bank, "maker", "SI-1", tmp_path / "out.csv")
        written = read_rows(tmp_path / "out.csv")
        assert before.rows == [list(row.values())[:-2] for row in written]
        assert ["TOPUP_SUKSES"] * 4 + ["TOPUP_GAGAL"] == [row["KODE_STATUS"] for row in written]
        assert 4 == await one_value(bank, """
            SELECT count(*) FROM si_row r JOIN tranche t ON (t.cell, t.account_id, t.id) = (r.cell, r.account_id, r.tranche_id)
            WHERE r.state = 'TOPUP_SUKSES' AND t.si_line = r.line AND t.available_from = t.clock_from
        """)  # fmt: skip
        assert [] == [f"{one.name}: {one.detail}" for one in await proof.prove_ledger(bank) if not one.ok]
