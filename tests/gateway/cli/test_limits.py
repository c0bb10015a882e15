"""Tests of gateway.cli.limits: `kks limits`."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from gateway.cli.limits import at_most, counts
from gateway.store.limits import StoredLimit

if TYPE_CHECKING:
    from pathlib import Path

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
