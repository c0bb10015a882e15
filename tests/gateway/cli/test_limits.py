"""Tests of gateway.cli.limits: `kks limits`."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from gateway.cli.limits import at_most, counts, show_dry_run
from gateway.operations.limits import DryRun
from gateway.rules.replay import Outcome, RuleTally, Total
from gateway.store.limits import StoredLimit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.gateway.cli.shell import Shell

LIMIT = StoredLimit(
    1, "cash-day", "CARD", "DAY", ("ATM", "AGENT"), None, None, 500_000, 3, "x", date(2026, 1, 1), None
)  # fmt: skip
DRAFT = """
[[limit]]
name = "draft"
per = "CARD"
period = "DAY"
max_amount_idr = 300_000
reason = "a draft"
valid_from = 2017-01-01
[[limit]]
name = "later"
per = "TERMINAL"
period = "DAY"
max_count = 5
reason = "a draft"
valid_from = 2017-01-01
valid_to = 2017-01-01
"""


def test_limits_in_words() -> None:
    """What a limit counts, and its maxima."""
    assert ("each card, a day, ATM + AGENT", "Rp500.000, 3 times") == (counts(LIMIT), at_most(LIMIT))
    other = replace(
        LIMIT, per="TERMINAL", period="MONTH", channels=None, programme="PKH", terminal="200:A1", max_count=None
    )
    assert "each terminal, a month, every channel, money of PKH, at 200:A1" == counts(other)
    assert ("Rp500.000", "lifted") == (at_most(other), at_most(replace(other, max_amount_idr=None)))


def test_the_list(shell: Shell) -> None:
    """The limits that count on a date; a word that is no date is one line."""
    found = shell.json("limits", "list")["limits"]
    assert ["cash-month", "atm-transaction", "atm-day", "cash-count-day"] == [one["name"] for one in found]
    assert (["AGENT", "ATM"], 5_000_000) == (found[0]["channels"], found[0]["max_amount_idr"])
    assert "each card, a month, AGENT + ATM" in shell.text("limits", "list")
    assert [] == shell.json("limits", "list", "--on", "2016-12-31")["limits"]
    assert "--on: 'soon' is not a date" in shell.refused("limits", "list", "--on", "soon")


def test_an_authorisation_that_is_not_there(shell: Shell) -> None:
    """One line."""
    assert "there is no authorisation 7" == shell.refused("limits", "show", "7")
    shell.usage("limits", "show", "seven")


def test_a_dry_run_of_nothing(shell: Shell, tmp_path: Path) -> None:
    """Totals, each entry of the draft, and which never decided; wrong files and spans are one line."""
    path = tmp_path / "draft.toml"
    path.write_text(DRAFT, encoding="utf-8")
    found = shell.json("limits", "dry-run", str(path))
    assert {"count": 0, "amount_idr": 0} == found["approved_before"] == found["declined_after"]
    assert [(1, "draft", 0, []), (2, "later", 0, [])] == [
        (one["entry"], one["name"], one["declined"], one["examples"]) for one in found["rules"]
    ]
    assert ["draft", "later"] == found["never_decided"]
    assert "Nothing was written" in shell.text(
        "limits", "dry-run", str(path), "--from", "2026-11-01", "--to", "2026-11-23"
    )
    words = ("limits", "dry-run", str(path), "--from", "2026-11-02", "--to", "2026-11-01")
    assert "the span ends on 2026-11-01, before it starts on 2026-11-02" == shell.refused(*words)
    assert "none.toml" in shell.refused("limits", "dry-run", str(tmp_path / "none.toml"))
    assert "--from" in shell.refused("limits", "dry-run", str(path), "--from", "soon")


def test_a_dry_run_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Totals before and after, what each entry would decline, what would be approved, with examples."""
    tally = RuleTally(120, 100, 7, 3_500_000, 6, [101, 102])
    outcome = Outcome({1: tally}, Total(120, 9_000_000), Total(115, 5_500_030), Total(2, 30), Total(7, 3_500_000))
    outcome.freed, outcome.freed_examples = {4: Total(2, 30)}, [9, 10]
    rules = {1: LIMIT, 2: replace(LIMIT, name="never")}
    show_dry_run(DryRun(date(2026, 11, 1), date(2026, 11, 23), rules, {4: replace(LIMIT, name="old")}, outcome))
    lines = [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]
    for expected in (
        "Authorisations of 2026-11-01 to 2026-11-23 under the draft. Nothing was written.",
        "approved 120 Rp9.000.000 115 Rp5.500.030",
        "declined for a limit 2 Rp30 7 Rp3.500.000",
        "1 cash-day each card, a day, ATM + AGENT Rp500.000, 3 times 120 100 7 Rp3.500.000 6 101, 102",
        "2 never each card, a day, ATM + AGENT Rp500.000, 3 times 0 0 0 never in force",
        "4 old 2 Rp30",
        "Such as 9, 10.",
    ):
        assert expected in lines
