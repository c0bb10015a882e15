"""Tests of gateway.cli.checks: `kks test`."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from gateway.cli import app, checks

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_every_check_runs_even_after_one_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Style, types, import rules, tests and coverage; what failed is named in one line, exit 1."""
    ran = _programs(monkeypatch, failing="mypy")
    done = CliRunner().invoke(app, ["test"])
    assert 1 == done.exit_code
    assert "kks: failed: mypy\n" == done.stderr
    assert [] == [word for word in ("ruff", "mypy", "pytest", "coverage") if not any(word in one for one in ran)]


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0."""
    _programs(monkeypatch, failing="")
    done = CliRunner().invoke(app, ["test"])
    assert (0, "") == (done.exit_code, done.stderr)
    assert done.stdout.endswith("all checks passed\n")


def test_arguments_go_to_pytest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After -- only pytest runs, with these arguments and its own exit code."""
    ran = _programs(monkeypatch, failing="tests/keys")
    done = CliRunner().invoke(app, ["test", "--", "tests/keys", "-x"])
    assert (5, 1) == (done.exit_code, len(ran))
    assert ran[0].endswith("-m pytest tests/keys -x")


def test_without_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package has no tests: one line."""
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    done = CliRunner().invoke(app, ["test"])
    assert 1 == done.exit_code
    assert "kks: there are no tests in" in done.stderr


def _programs(monkeypatch: pytest.MonkeyPatch, failing: str) -> list[str]:
    """Programs are written down, not run; one that holds the word FAILING fails with 5."""
    ran: list[str] = []

    def run(command: list[str], **_options: object) -> object:
        ran.append(" ".join(command))
        return SimpleNamespace(returncode=5 if failing and failing in ran[-1] else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return ran
