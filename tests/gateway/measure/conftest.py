"""Settings of a bank to measure on, and child processes that find this checkout."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _children_find_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements start processes of their own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def settings() -> Iterator[Settings]:
    """As a user has them: embedded server, data folder (not pytest's, which another run closes to the server's user)."""
    folder = Path(tempfile.mkdtemp(prefix="kks-test-measure-"))
    yield load_settings(data_dir=folder, log_level="error")
    shutil.rmtree(folder, ignore_errors=True)
