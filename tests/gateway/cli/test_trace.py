"""Tests of gateway.cli.trace: `kks trace`."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.cli.trace import tree_lines
from gateway.rules.trace import Level, Step, Trace
from gateway.settings import load_settings
from tests.gateway.aid_story import NTPN, live_through
from tests.gateway.owner import tamper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.gateway.cli.shell import Shell

DAY = date(2026, 11, 25)
STEAL = "UPDATE tranche SET available_idr = available_idr - 1 WHERE sp2d_no = 'SP2D-SI-1' AND available_idr > 0"


@pytest.fixture
def told(shell: Shell, tmp_path: Path) -> Shell:
    """A shell on the bank of the story."""

    async def work() -> None:
        async with open_bank(load_settings()) as bank:
            await live_through(bank, tmp_path)

    asyncio.run(work())
    return shell


def _walk(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        yield step
        yield from _walk(step["steps"])


def test_the_chain_of_an_sp2d(told: Shell) -> None:
    """The tree for people fits 110 columns and has the same steps, amounts and dates as the JSON."""
    text = told.text("trace", "sp2d:SP2D-SI-1")
    found = told.json("trace", "sp2d:SP2D-SI-1")
    steps = list(_walk(found["steps"]))
    assert (["sp2d:SP2D-SI-1"], None) == (found["asked"], found["next_after"])
    assert max(map(len, text.splitlines())) <= 110
    assert text.startswith("> sp2d:SP2D-SI-1  ")
    amounts = [line.rpartition("  Rp")[2] for line in text.splitlines() if "  Rp" in line]
    assert [step["amount_idr"] for step in steps] == [int(amount.replace(".", "")) for amount in amounts]
    for step in steps:
        assert f"{step['reference']}  {step['date'] or ''}".rstrip() in text
    levels = {"SP2D", "SI", "ROW", "TRANCHE", "TRANSFER", "SETTLEMENT", "RETURN"}
    assert levels == {step["level"] for step in steps}
    assert NTPN in text


def test_references_can_be_asked_for(told: Shell) -> None:
    """Whatever reference or cause a tree shows, one can go on from there, but for settlements and job runs."""
    steps = list(_walk(told.json("trace", "sp2d:SP2D-SI-2")["steps"]))
    subjects = {step["reference"] for step in steps} | {step["cause"] for step in steps}
    subjects -= {one for one in subjects if not one or one.startswith(("job_run:", "settlement:"))}
    for subject in subjects:
        again = list(_walk(told.json("trace", subject)["steps"]))
        assert "sp2d:SP2D-SI-2" in {step["reference"] for step in again}, subject


def test_pages_and_dates(told: Shell) -> None:
    """--rows and --after go through a long list; --date narrows; the tree says how to go on."""
    text = told.text("trace", "si:SI-1", "--rows", "2")
    assert "There are more: --after 3 goes on." == text.splitlines()[-1]
    rest = told.text("trace", "si:SI-1", "--rows", "3", "--after", "3")
    assert ("si:SI-1:3 " in text, "si:SI-1:3 " in rest, "si:SI-1:6 " in rest, "There are more" in rest) == (
        True,
        False,
        True,
        False,
    )
    transfer = next(one for one in _walk(told.json("trace", "si:SI-1")["steps"]) if one["kind"] == "WITHDRAWAL")
    words = (transfer["cause"], "--date", transfer["date"])
    assert transfer["reference"] in told.json("trace", *words)["asked"]
    assert "RRN" in told.refused("trace", "rrn:000000000000", "--date", transfer["date"])


def test_where_every_rupiah_is(told: Shell) -> None:
    """Places with their conditions, and the sum; exit 1 and one line when a rupiah is missing."""
    found = told.json("trace", "sp2d:SP2D-SI-1", "--today")
    assert (3_000_000, 3_000_000, True) == (found["amount_idr"], found["found_idr"], found["adds_up"])
    assert found["found_idr"] == sum(place["amount_idr"] for place in found["places"])
    lines = told.text("trace", "sp2d:SP2D-SI-1", "--today").splitlines()
    assert {100} == set(map(len, lines))
    places = [line.split("Rp")[0].strip() for line in lines if line.startswith("  ") and not line.startswith("    ")]
    assert [
        "not credited", "at families", "returned to kas negara", "withdrawn at ATMs", "withdrawn at agents",
        "purchased at e-Warong", "all of it",
    ] == places  # fmt: skip
    assert ["Rp3.000.000"] * 2 == [line.split()[-1] for line in (lines[0], lines[-1])]

    async def steal() -> None:
        async with open_bank(load_settings()) as bank:
            await tamper(bank, "tranche", STEAL)

    asyncio.run(steal())
    wrong = "SP2D SP2D-SI-1 does not add up: Rp3.000.000 came, Rp2.999.999 is accounted for"
    assert wrong == told.refused("trace", "sp2d:SP2D-SI-1", "--today")
    code, out, err = told.run("trace", "sp2d:SP2D-SI-1", "--today", "--json")
    assert (1, True, f"kks: {wrong}\n") == (code, '"adds_up": false' in out, err)


def test_what_cannot_be_traced(shell: Shell) -> None:
    """One clear line each; no subject at all is wrong usage."""
    assert "there is no SP2D S-1" == shell.refused("trace", "sp2d:S-1")
    assert "there is no SP2D S-1" == shell.refused("trace", "sp2d:S-1", "--today")
    assert "is not one of sp2d:..." in shell.refused("trace", "rupiah")
    assert "--today asks where the rupiah of an SP2D are" in shell.refused("trace", "si:SI-1", "--today")
    assert "--date: 'soon' is not a date" in shell.refused("trace", "rrn:1", "--date", "soon")
    assert "business date" in shell.refused("trace", "rrn:1")
    assert "between 1 and" in shell.refused("trace", "si:SI-1", "--rows", "0")
    shell.usage("trace")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_tree_fits_its_width(width: int) -> None:
    """However deep and long: amounts stand in one column on the right, what does not fit goes on below, nothing breaks out."""
    step = Step(Level.RETURN, "RETURNED", "return:1", 5, DAY, "returned " * 30)
    for number in range(6):
        step = Step(
            Level.TRANSFER, "CASH", f"transfer:{number}", 10**number, DAY, "text \x1b[2J " * 20, "", (step, step)
        )
    lines = list(tree_lines(Trace("transfer:0", DAY, frozenset({"transfer:0"}), (step,), 7), width))
    assert max(map(len, lines)) <= width
    assert all(len(line) == width for line in lines if line.rpartition("  Rp")[1])
    assert 32 == sum("> transfer:0 " in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "There are more: --after 7 goes on." == lines[-1]
