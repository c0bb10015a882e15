"""Tests of gateway.cli.books: settings, database, jobs, returns, proofs, policy and the business date."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from gateway.store.policy import DEFAULT_FILE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.gateway.cli.shell import Shell

POLICY = """
[[amount]]
programme = "SEMBAKO"
per = "MONTH"
amount_idr = 250_000
valid_from = 2031-01-01
"""


def test_settings_are_shown_without_secrets(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting with its value; a password is masked; a wrong one is one line."""
    monkeypatch.setenv("KKS_DATABASE_URL", "postgresql://kks:secret@db/kks")
    found = shell.json("settings")
    assert "secret" not in str(found) + shell.text("settings")
    assert {"KKS_DATABASE_URL", "KKS_DATA_DIR", "KKS_HTTP_PORT", "KKS_ISO_PORT"} <= set(found)
    monkeypatch.setenv("KKS_ISO_PORT", "70000")
    assert shell.refused("settings").startswith("setting KKS_ISO_PORT: ")


def test_the_schema(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status and migrate tell where the schema stands; without a database every command is one line."""
    status = shell.json("db", "status")
    assert {"current", "wanted", "up_to_date"} == set(status)
    assert status["up_to_date"]
    assert status == shell.json("db", "migrate")
    assert "up to date" in shell.text("db", "status")
    monkeypatch.setenv("KKS_DATABASE_URL", "postgresql://kks:secret@/kks?host=/nowhere")
    for words in (("db", "status"), ("db", "migrate"), ("job", "list"), ("serve",), ("card", "show", "1")):
        line = shell.refused(*words)
        assert "cannot reach PostgreSQL" in line
        assert "secret" not in line


def test_jobs(shell: Shell) -> None:
    """List, run by hand once, catch up; unknown jobs and bad dates are one line."""
    jobs = [one["name"] for one in shell.json("job", "list")["jobs"]]
    assert jobs
    today = shell.json("day", "show")["business_date"]
    ran = shell.json("job", "run", jobs[0], "--date", today)
    assert (jobs[0], today, "DONE") == (ran["job"], ran["business_date"], ran["state"])
    shell.run("job", "run", jobs[0], "--date", today)
    assert 1 == sum(one["job"] == jobs[0] for one in shell.json("job", "list")["runs"])
    assert jobs[0] in shell.text("job", "list")
    assert 0 <= shell.json("job", "catch-up")["runs"]
    assert "nonsense" in shell.refused("job", "run", "nonsense")
    assert "--date" in shell.refused("job", "run", jobs[0], "--date", "yesterday")
    shell.usage("job", "run")


def test_proofs(shell: Shell) -> None:
    """Ledger and audit proof of a new bank hold: `ok` and a list of checks."""
    for words in (("ledger", "proof"), ("audit", "verify")):
        found = shell.json(*words)
        assert found["ok"]
        assert {"name", "ok", "detail"} == set(found["checks"][0])
        assert "ok" in shell.text(*words)


def test_the_business_date(shell: Shell) -> None:
    """Moved by hand and back; a word that is no date is one line."""
    to = str(date.fromisoformat(shell.json("day", "show")["business_date"]) + timedelta(days=3))
    assert {"business_date": to} == shell.json("day", "move", to, "--as", "ani")
    assert to in shell.text("day", "show")
    shell.json("day", "move", "today")
    assert "the date: 'soon' is not a date" in shell.refused("day", "move", "soon")
    shell.usage("day", "move")


def test_policy(shell: Shell, tmp_path: Path) -> None:
    """A policy file adds rows; one that is missing or wrong is one line naming it."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    assert 1 == shell.json("policy", "load", str(path), "--as", "ani")["rows"]
    none = tmp_path / "none.toml"
    assert str(none) in shell.refused("policy", "load", str(none))
    path.write_text(POLICY.replace("250_000", "-1"), encoding="utf-8")
    assert str(path) in shell.refused("policy", "load", str(path))
    path.write_text("[[amount", encoding="utf-8")
    assert str(path) in shell.refused("policy", "load", str(path))
    assert DEFAULT_FILE.exists()


def test_returns(shell: Shell) -> None:
    """A new bank has none; confirming one that is not there is one line."""
    assert [] == shell.json("return", "list")["returns"]
    assert "7" in shell.refused("return", "confirm", "7", "--ntpn", "2611230000000001")
    assert "--ntpn" in shell.usage("return", "confirm", "7")
