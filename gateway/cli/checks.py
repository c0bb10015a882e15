"""`kks test`: every check and test of the project, as CI runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["gateway", "iso", "keys", "ledger"]
STATIC = (
    ("ruff check", ["-m", "ruff", "check", *PACKAGES, "tests"]),
    ("ruff format", ["-m", "ruff", "format", "--check", "--quiet", *PACKAGES, "tests"]),
    ("mypy", ["-m", "mypy", "--no-error-summary"]),
    (
        "import-linter",
        ["-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())", "--no-cache"],
    ),
)
OLD_SERVER_TESTS = (
    "tests/ledger", "tests/gateway/store", "tests/gateway/operations", "tests/gateway/jobs", "tests/gateway/test_end_to_end.py",
)  # fmt: skip
WORKERS_VARIABLE = "KKS_TEST_WORKERS"
WORKERS_AT_MOST = 8  # each has a PostgreSQL of its own
WORKERS_ASKED_AT_MOST = 64
COVERED = ("gateway/rules", "ledger", "iso", "keys")
COVERED_AT_LEAST = 90
OWN_TESTS = [f"tests/{package}" for package in COVERED]
OLD_SERVERS = (
    Path("/usr/lib/postgresql/15/bin"),
    Path("/usr/lib/postgresql/16/bin"),
    Path("/usr/lib/postgresql/17/bin"),
)


def run_tests(
    arguments: Annotated[list[str] | None, typer.Argument(help="arguments of pytest, after --")] = None,
) -> None:
    """Style, types, import rules and every test, with branch coverage; after -- only pytest with these arguments.

    Tests run in as many processes as there are processors, at most 8; KKS_TEST_WORKERS says another number.
    """
    if not (ROOT / "tests").is_dir():
        output.fail(f"there are no tests in {ROOT}: `kks test` runs from a checkout")
        raise typer.Exit(1)
    if arguments:
        raise typer.Exit(_python(["-m", "pytest", *arguments]))
    workers = _workers()
    failed = [name for name, command in STATIC if not _step(name, command)]
    failed += _tested(workers)
    for server in OLD_SERVERS:
        if server.is_dir():
            name = f"pytest, PostgreSQL {server.parent.name}"
            command = ["-m", "pytest", "-q", *workers, "-m", "database", *OLD_SERVER_TESTS]
            if not _step(name, command, KKS_PG_BIN=str(server)):
                failed.append(name)
    if failed:
        output.fail(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)
    output.say("all checks passed")


def _tested(workers: list[str]) -> list[str]:
    """Run every test once. What failed, by name.

    Branches are counted while a covered package's own tests run, and only then: counting costs more than half as much again,
    and what the tests of other rooms happen to pass through is not tested by that.
    """
    failed = []
    covered = ["--cov", "--cov-report=", "--cov-branch", *OWN_TESTS]
    if not _step(f"pytest with branch coverage: {', '.join(COVERED)}", ["-m", "pytest", *workers, *covered]):
        failed.append("pytest with branch coverage")
    failed += [f"coverage of {package}" for package in COVERED if not _covered(package)]
    others = [f"--ignore={folder}" for folder in OWN_TESTS]
    if not _step("pytest, all other tests", ["-m", "pytest", *workers, *others]):
        failed.append("pytest")
    return failed


def _workers() -> list[str]:
    """Pytest's words for one process a processor, or KKS_TEST_WORKERS of them; none where that is one.

    worksteal: each takes a run of neighbours, so that what a module's tests share is made once or twice, and who is done
    early takes from the others' ends; by whole modules (loadscope) the longest of them would be waited for.
    """
    said = os.environ.get(WORKERS_VARIABLE)
    if said is None:
        count = min(len(os.sched_getaffinity(0)), WORKERS_AT_MOST)
    elif said in {str(number) for number in range(1, WORKERS_ASKED_AT_MOST + 1)}:
        count = int(said)
    else:
        output.fail(f"{WORKERS_VARIABLE} is a number from 1 to {WORKERS_ASKED_AT_MOST}, not {said!r}")
        raise typer.Exit(1)
    return ["-n", str(count), "--dist", "worksteal"] if count > 1 else []


def _covered(package: str) -> bool:
    limits = ["--skip-covered", f"--include={package}/*", f"--fail-under={COVERED_AT_LEAST}"]
    return _step(f"branch coverage of {package} at least {COVERED_AT_LEAST} %", ["-m", "coverage", "report", *limits])


def _step(name: str, command: list[str], **environment: str) -> bool:
    output.say(f"== {name}")
    return _python(command, **environment) == 0


def _python(command: list[str], **environment: str) -> int:
    sys.stdout.flush()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, env={**os.environ, **environment})  # noqa: S603
    return done.returncode
