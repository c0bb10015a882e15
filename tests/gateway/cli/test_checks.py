"""Tests of gateway.cli.checks: `kks test`."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli import app, checks

if TYPE_CHECKING:
    from pathlib import Path


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


def test_every_test_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With coverage those of the packages whose branches are counted; without it all others, and none is in neither."""
    ran = _programs(monkeypatch, failing="")
    monkeypatch.setattr(checks, "OLD_SERVERS", ())
    assert 0 == CliRunner().invoke(app, ["test"]).exit_code
    counted, others = (words.split() for words in ran if " -m pytest" in words)
    own = {word for word in counted if word.startswith("tests/")}
    assert {"tests/gateway/rules", "tests/ledger", "tests/iso", "tests/keys"} == own
    assert ("--cov" in counted, "--cov" in others) == (True, False)
    assert own == {word.removeprefix("--ignore=") for word in others if word.startswith("--ignore=")}
    assert [] == [word for word in others if word.startswith("tests/")]
    assert all((checks.ROOT / folder).is_dir() for folder in own)


@pytest.mark.parametrize(("processors", "workers"), [(1, ""), (2, " -n 2 "), (8, " -n 8 "), (64, " -n 8 ")])
def test_one_worker_a_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processors: int, workers: str) -> None:
    """At most 8, none beside the only processor; the tests on an old server have them too."""
    ran = _programs(monkeypatch, failing="")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(processors)))
    monkeypatch.setattr(checks, "OLD_SERVERS", (tmp_path,))
    assert 0 == CliRunner().invoke(app, ["test"]).exit_code
    tests = [words for words in ran if " -m pytest" in words]
    assert [workers in words for words in tests] == [True] * 3
    assert [" --dist worksteal " in words for words in tests] == [bool(workers)] * 3
    assert "-m database tests/ledger" in tests[2]


def test_a_number_of_workers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """KKS_TEST_WORKERS says how many; 1 is none beside pytest itself."""
    for said, words in (
        ("3", "-m pytest -n 3 --dist worksteal --cov"),
        ("64", "-m pytest -n 64 --dist worksteal --cov"),
        ("1", "-m pytest --cov"),
    ):
        ran = _programs(monkeypatch, failing="")
        monkeypatch.setenv("KKS_TEST_WORKERS", said)
        assert 0 == CliRunner().invoke(app, ["test"]).exit_code
        assert 1 == sum(words in one for one in ran), said


@pytest.mark.parametrize("said", ["", "0", "65", "-2", "two", "2.0", "٢", "9" * 5000])
def test_no_number_of_workers(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Said in one line before anything runs."""
    ran = _programs(monkeypatch, failing="")
    monkeypatch.setenv("KKS_TEST_WORKERS", said)
    done = CliRunner().invoke(app, ["test"])
    assert (1, []) == (done.exit_code, ran)
    assert f"kks: KKS_TEST_WORKERS is a number from 1 to 64, not {said!r}\n" == done.stderr


def test_arguments_go_to_pytest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After -- only pytest runs, with these arguments and its own exit code: no workers unless they ask for them."""
    monkeypatch.setenv("KKS_TEST_WORKERS", "4")
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
