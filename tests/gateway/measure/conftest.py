"""Settings of a bank to measure on, and child processes that find this checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _children_find_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements start processes of their own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """As a user has them: embedded server, data folder."""
    return load_settings(data_dir=tmp_path / "var", log_level="error")
