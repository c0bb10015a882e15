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
COVERED = ("gateway/rules/*", "ledger/*", "iso/*", "keys/*")
COVERED_AT_LEAST = 90
OLD_SERVERS = (
    Path("/usr/lib/postgresql/15/bin"),
    Path("/usr/lib/postgresql/16/bin"),
    Path("/usr/lib/postgresql/17/bin"),
)


def run_tests(
    arguments: Annotated[list[str] | None, typer.Argument(help="arguments of pytest, after --")] = None,
) -> None:
    """Style, types, import rules and every test, with branch coverage; after -- only pytest with these arguments."""
    if not (ROOT / "tests").is_dir():
        output.fail(f"there are no tests in {ROOT}: `kks test` runs from a checkout")
        raise typer.Exit(1)
    if arguments:
        raise typer.Exit(_python(["-m", "pytest", *arguments]))
    failed = [name for name, command in STATIC if not _step(name, command)]
    covered = ["--cov", "--cov-report=", "--cov-branch"]
    if not _step("pytest, embedded PostgreSQL", ["-m", "pytest", *covered]):
        failed.append("pytest")
    failed += [f"coverage of {pattern}" for pattern in COVERED if not _covered(pattern)]
    for server in OLD_SERVERS:
        if server.is_dir():
            name = f"pytest, PostgreSQL {server.parent.name}"
            if not _step(name, ["-m", "pytest", "-q", "-m", "database", *OLD_SERVER_TESTS], KKS_PG_BIN=str(server)):
                failed.append(name)
    if failed:
        output.fail(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)
    output.say("all checks passed")


def _covered(pattern: str) -> bool:
    limits = ["--skip-covered", f"--include={pattern}", f"--fail-under={COVERED_AT_LEAST}"]
    return _step(f"branch coverage of {pattern} at least {COVERED_AT_LEAST} %", ["-m", "coverage", "report", *limits])


def _step(name: str, command: list[str], **environment: str) -> bool:
    output.say(f"== {name}")
    return _python(command, **environment) == 0


def _python(command: list[str], **environment: str) -> int:
    sys.stdout.flush()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, env={**os.environ, **environment})  # noqa: S603
    return done.returncode
