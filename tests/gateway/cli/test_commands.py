"""The command line as a whole: every promised command is there and explains itself; wrong words are usage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli import app

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[3]
PROMISED: Mapping[str, tuple[str, ...]] = {
    "kpm": ("import",),
    "batch": ("list", "show", "approve", "reject", "result"),
    "si": ("import", "approve", "result"),
    "db": ("migrate", "status"),
    "card": ("show", "block", "unblock", "replace", "deliver", "hand-over", "pins"),
    "account": ("show", "unblock"),
    "job": ("run", "list"),
    "keys": ("list",),
    "ledger": ("proof",),
    "audit": ("verify",),
    "settlement": (
        "close",
        "list",
        "show",
        "order",
        "pay",
        "report",
        "positions",
        "payables",
        "gl",
        "verify",
    ),
}


@pytest.mark.parametrize("group", PROMISED)
def test_promised_commands(group: str) -> None:
    """Each group tells its commands; each command says what it does; --json is offered."""
    shown = CliRunner().invoke(app, [group, "--help"])
    assert 0 == shown.exit_code
    for command in PROMISED[group]:
        assert command in shown.stdout
        told = CliRunner().invoke(app, [group, command, "--help"])
        assert (0, True) == (told.exit_code, "--json" in told.stdout)


@pytest.mark.parametrize("command", ["demo", "test", "serve", "settings", "chaos", "bench", "simulate"])
def test_single_commands(command: str) -> None:
    """They explain themselves."""
    assert 0 == CliRunner().invoke(app, [command, "--help"]).exit_code


@pytest.mark.parametrize(
    "words", [["nonsense"], ["card", "nonsense"], ["settings", "--nonsense"], ["settings", "more"]]
)
def test_wrong_words_are_usage(words: list[str]) -> None:
    """Exit 2, on standard error, without a traceback."""
    done = CliRunner().invoke(app, words)
    assert (2, "") == (done.exit_code, done.stdout)
    assert "Traceback" not in done.stderr


def test_as_a_program(tmp_path: Path) -> None:
    """`python -m gateway` is the same; a wrong setting is one line and exit 1."""
    command = [sys.executable, "-m", "gateway", "settings", "--json"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (0, "") == (done.returncode, done.stderr)
    bad = environment | {"KKS_LANES": "none"}
    done = subprocess.run(command, cwd=tmp_path, env=bad, capture_output=True, text=True, check=False)  # noqa: S603
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("kks: setting KKS_LANES: ")
    assert 1 == done.stderr.count("\n")
