"""Tests of gateway.cli.output: lines for people, JSON for programs."""

from __future__ import annotations

import doctest
import json
from datetime import date
from typing import TYPE_CHECKING

from gateway.cli import output

if TYPE_CHECKING:
    import pytest


def test_examples_in_docstrings() -> None:
    """The examples hold."""
    result = doctest.testmod(output)
    assert 0 == result.failed < result.attempted


def test_json_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, dates as text."""
    output.say("[bold]a line[/bold]")
    output.as_json({"on": date(2026, 11, 23), "amount_idr": 10**15})
    lines = capsys.readouterr().out.splitlines()
    assert "[bold]a line[/bold]" == lines[0]
    assert {"on": "2026-11-23", "amount_idr": 10**15} == json.loads(lines[-1])


def test_a_refusal_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """However long, it is one line."""
    output.fail("x" * 500)
    seen = capsys.readouterr()
    assert ("", f"kks: {'x' * 500}\n") == (seen.out, seen.err)


def test_tables_show_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """None is empty, markup is text."""
    output.table("Title", ["name", "rows"], [("one", 1), ("two", None)], numbers=["rows"])
    shown = capsys.readouterr().out
    assert [] == [word for word in ("Title", "name", "rows", "one", "two", "1") if word not in shown]
    assert "None" not in shown


def test_no_progress_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe or with --json nothing is drawn."""
    for quiet in (True, False):
        with output.progress("reading", 10, quiet=quiet) as done:
            done(5)
    assert ("", "") == tuple(capsys.readouterr())
