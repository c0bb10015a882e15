"""Tests of gateway.measure.lists: what is measured did happen, and the yardstick leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.measure import lists
from gateway.operations import proof
from gateway.operations.bank import reading
from gateway.simulator.families import write_kpm_list
from gateway.store.embedded import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.measure.lists import ListFigures
    from gateway.settings import Settings

ROWS = 30


async def test_intake(settings: Settings) -> None:
    """Every row of the list has an account and a card and stands in the result file; the figures fit together."""
    said: list[str] = []
    figures = await lists.measure_intake(settings, ROWS, said.append)
    _assert_fit(figures)
    folder = settings.data_dir / "bench-intake"
    assert ROWS + 1 == len((folder / "kpm-result.csv").read_text(encoding="utf-8-sig").splitlines())
    assert (ROWS, ROWS) == await _counts(
        settings, "bench-intake", "SELECT count(*), count(DISTINCT account_id) FROM card"
    )
    assert f"making a list of {ROWS} families" == said[0]
    assert [] == list(folder.glob("*.copy"))


async def test_credit(settings: Settings) -> None:
    """Every row is credited and reported, and the ledger proves it."""
    _assert_fit(await lists.measure_credit(settings, ROWS, lambda _line: None))
    folder = settings.data_dir / "bench-credit"
    result = (folder / "si-result.csv").read_text(encoding="utf-8-sig").splitlines()
    assert (ROWS + 1, ROWS) == (len(result), sum("TOPUP_SUKSES" in line for line in result))
    wanted = (ROWS, ROWS * lists.AMOUNT_IDR)
    assert wanted == await _counts(
        settings, "bench-credit", "SELECT count(*), sum(available_idr) FROM purse WHERE available_idr > 0"
    )
    assert [] == list(folder.glob("*.copy"))


async def test_rows_that_were_refused_are_no_figure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list with faults opens fewer accounts than rows: an error, not a rate."""

    def faulty(path: Path, families: int, seed: int) -> None:
        write_kpm_list(path, families, seed=seed, faults={"NIK_INVALID": 2})

    monkeypatch.setattr(lists, "write_kpm_list", faulty)
    with pytest.raises(GatewayError, match=f"{ROWS - 2} of {ROWS} rows were opened"):
        await lists.measure_intake(settings, ROWS, lambda _line: None)
    assert not EmbeddedServer(settings.data_dir / "bench-intake" / "pg").is_running()


def _assert_fit(figures: ListFigures) -> None:
    assert ROWS == figures.rows
    assert figures.seconds > 0
    assert figures.copy_seconds > 0
    assert figures.ratio == pytest.approx(figures.seconds / figures.copy_seconds, rel=0.2)
    assert figures.rows_per_s == pytest.approx(ROWS / figures.seconds, rel=0.05)
    assert figures.peak_memory_mb > 10


async def _counts(settings: Settings, name: str, query: str) -> tuple[int, ...]:
    """What the measured bank says, opened again; its proofs hold and the yardstick is gone."""
    chosen = settings.model_copy(update={"data_dir": settings.data_dir / name})
    async with open_bank(chosen) as bank:
        assert [] == [check.name for check in await proof.prove_ledger(bank) if not check.ok]
        async with reading(bank) as connection:
            assert (await connection.execute(text("SELECT to_regclass('yardstick')"))).scalar() is None
            return tuple(int(value) for value in (await connection.execute(text(query))).one())
