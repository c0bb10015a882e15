"""A shell on a fresh database, and logging as it was before each command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.gateway.cli.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands set logging up for their process; tests share one."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """`kks` on a fresh migrated database."""
    monkeypatch.setenv("KKS_DATABASE_URL", database_url)
    monkeypatch.setenv("KKS_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("KKS_LOG_LEVEL", "error")
    monkeypatch.setenv("KKS_ISO_PORT", "0")
    monkeypatch.setenv("KKS_HTTP_PORT", "0")
    return Shell(tmp_path)
