"""A credit run killed at random points, its process and PostgreSQL both, and resumed: exactly the ledger of one that was not.

Some thousand rows by default; KKS_KILL_ROWS=1000000 for the million (or `./kks bench credit --rows 1000000 --kill 8`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.measure import lists
from gateway.operations import instruction, proof
from gateway.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import KillSize


@pytest.mark.parametrize("seed", [3])
async def test_the_ledger_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_size: KillSize, seed: int
) -> None:
    """After kills at seeded points of both the process and PostgreSQL; every row is decided once and the proofs hold."""
    monkeypatch.setattr(instruction, "CHUNK", max(kill_size.rows // 40, 100))
    settings = load_settings(data_dir=tmp_path / "var", log_level="error")
    said: list[str] = []
    figures = await lists.measure_credit(settings, kill_size.rows, said.append, kill_size.kills, seed)
    assert figures.same_ledger is True, said
    assert kill_size.kills == figures.kills, said
    bench = settings.model_copy(update={"data_dir": settings.data_dir / "bench-credit"})
    async with open_bank(bench) as bank:
        assert bank.database.embedded is not None
        broken = bench.model_copy(update={"database_url": bank.database.embedded.database_url("broken")})
        async with open_bank(broken) as other:
            assert [] == [check.name for check in await proof.prove_ledger(other) if not check.ok]
            assert [] == [check.name for check in await proof.verify_audit(other) if not check.ok]
            done = await instruction.result(other, "bench-maker", lists.SI_NO)
            assert ("POSTED", kill_size.rows, 0) == (done.status, done.credited, done.failed)
