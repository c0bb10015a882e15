"""Tests of gateway.demo: the whole story on a small list, on its own embedded PostgreSQL."""

from __future__ import annotations

import json
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.demo import MARK, describe, run_demo, start_over
from gateway.errors import Refused
from gateway.settings import load_settings
from gateway.simulator.wallet import load_wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAMILIES = 200


class Listener:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, int] = {}

    def line(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    @contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Count progress."""
        del total
        self.bars[what] = 0

        def more(done: int) -> None:
            self.bars[what] += done

        yield more


async def test_the_whole_story(tmp_path: Path) -> None:
    """Every key is filled, and credited = withdrawn + purchased + returned + remaining."""
    settings = load_settings(data_dir=tmp_path / "var", log_level="error")
    told = Listener()
    result = await run_demo(settings, FAMILIES, told)
    assert [] == result.surprises
    assert result.proof_ok
    assert FAMILIES == result.families
    assert 0 < result.rejected < result.families
    assert result.families - result.rejected == result.accounts == result.cards == result.activated
    assert result.credited_idr == sum(
        (result.withdrawn_idr, result.purchased_idr, result.returned_idr, result.remaining_idr)
    )
    assert min(result.withdrawn_idr, result.purchased_idr, result.frozen_idr, result.returned_idr, result.reversed) > 0
    assert {"00", "55", "75", "51", "14", "30", "12"} <= set(result.authorisations)
    assert min(told.bars.values()) > 0
    assert 11 == len(describe(result))
    folder = settings.data_dir
    assert 0o600 == stat.S_IMODE((folder / "demo" / "wallet.json").stat().st_mode)
    assert result.cards == len(load_wallet(folder / "demo" / "wallet.json").cards)
    assert "demo" in (folder / MARK).read_text(encoding="utf-8")
    start_over(settings)
    assert [] == list((folder / "demo").iterdir())
    assert not (folder / "keys").exists()
    json.dumps(result.authorisations)


def test_a_folder_with_another_bank_is_left_alone(tmp_path: Path) -> None:
    """Without the demo's mark a cluster is never emptied."""
    kept = tmp_path / "var" / "pg" / "data" / "PG_VERSION"
    kept.parent.mkdir(parents=True)
    kept.write_text("18\n", encoding="utf-8")
    with pytest.raises(Refused, match="did not make"):
        start_over(load_settings(data_dir=tmp_path / "var"))
    assert kept.exists()


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where the folder should be is one line."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(Refused, match="cannot use the data folder"):
        start_over(load_settings(data_dir=tmp_path / "file" / "var"))
