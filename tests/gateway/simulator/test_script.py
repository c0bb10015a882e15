"""Tests of gateway.simulator.script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.simulator.errors import CaseError
from gateway.simulator.script import Action, Slot, TypedPin, differences, fill, read_case
from gateway.simulator.terminal import Purse, TerminalKind
from iso.message import Message

if TYPE_CHECKING:
    from pathlib import Path

FULL = """
name = "All keys"
about = "Each key once."
needs_idr = 5
sign_on = false
careless = true
variables = { amount = "000000000500" }

[[step]]
name = "one"
says = "a step"
action = "withdraw"
at = "EWARONG"
amount_idr = 50_000
pin = "wrong"
purse = "FOOD"
card = "unknown"
mti = "0100"
send = false
set = { 4 = "${amount}" }
expect = { mti = "0110", 39 = "00" }
keep = { told = "54" }

[[step]]
action = "reverse"
of = "one"
kept_idr = 2
marked = true
"""


def write(folder: Path, text: str) -> Path:
    """A case file."""
    path = folder / "case.toml"
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    """Words become enums, field numbers become numbers."""
    case = read_case(write(tmp_path, FULL))
    assert ("All keys", 5, False, True, {"amount": "000000000500"}) == (
        case.name, case.needs_idr, case.sign_on, case.careless, case.variables,
    )  # fmt: skip
    first, second = case.steps
    assert (Action.WITHDRAW, TerminalKind.EWARONG, TypedPin.WRONG, Purse.FOOD, Slot.UNKNOWN) == (
        first.action, first.at, first.pin, first.purse, first.card,
    )  # fmt: skip
    assert ({4: "${amount}"}, {"mti": "0110", "39": "00"}, {"told": 54}, "0100", False) == (
        first.set, first.expect, first.keep, first.mti, first.send,
    )  # fmt: skip
    assert (Action.REVERSE, "one", 2, True, True) == (
        second.action, second.of, second.kept_idr, second.marked, second.send,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ('action = "dance"', "action must be one of sign_on, sign_off"),
        ("", "action is missing"),
        ('action = "echo"\nfoo = 1', "foo is not known; there are action, amount_idr"),
        ('action = "withdraw"\namount_idr = "5"', "amount_idr must be of the kind int"),
        ('action = "withdraw"\namount_idr = true', "amount_idr must be of the kind int"),
        ('action = "echo"\nsend = 1', "send must be of the kind bool"),
        ('action = "echo"\nat = "SHOP"', "at must be one of ATM, AGENT, EWARONG"),
        ('action = "echo"\npurse = "98"', "purse must be one of BY_RULE, CASH, FOOD"),
        ('action = "echo"\npin = "none"', "pin must be one of right, wrong"),
        ('action = "echo"\nset = { mti = "0200" }', "mti is not the number of a field"),
        ('action = "echo"\nset = { 129 = "1" }', "129 is not the number of a field"),
        ('action = "echo"\nset = { 4 = 5 }', "set must be a table of texts"),
        ('action = "echo"\nset = "4"', "set must be a table of texts"),
        ('action = "echo"\nexpect = { code = "00" }', "code is not the number of a field"),
        ('action = "echo"\nkeep = { told = "x" }', "x is not the number of a field"),
        ('action = "reverse"', "reverse needs of"),
        ('action = "repeat"\nof = "zero"', "of names no earlier step"),
        ('action = "echo"\nsame_as = "zero"', "same_as names no earlier step"),
    ],
)
def test_wrong_step_is_named_with_its_fault(tmp_path: Path, step: str, said: str) -> None:
    """File, step and what is wrong."""
    path = write(tmp_path, f'name = "x"\n[[step]]\n{step}\n')
    with pytest.raises(CaseError, match=said) as caught:
        read_case(path)
    assert str(caught.value).startswith(f"case {path}: step 1: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name =", "Invalid value"),
        ('name = "x"', r"has no \[\[step\]\]"),
        ('name = "x"\nstep = 5', r"has no \[\[step\]\]"),
        ('[[step]]\naction = "echo"', "name is missing"),
        ('name = "x"\nfoo = 1\n[[step]]\naction = "echo"', "foo is not known"),
        ('name = "x"\nvariables = { a = 1 }\n[[step]]\naction = "echo"', "variables must be a table of texts"),
    ],
)
def test_wrong_file_is_named_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    """One line that begins with the file."""
    path = write(tmp_path, text)
    with pytest.raises(CaseError, match=said) as caught:
        read_case(path)
    assert str(caught.value).startswith(f"case {path}: ")


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    """What the system says."""
    with pytest.raises(CaseError, match="No such file"):
        read_case(tmp_path / "none.toml")


def test_answer_of_a_step_that_is_kept_back_cannot_be_compared(tmp_path: Path) -> None:
    """There will be none."""
    steps = '[[step]]\nname = "a"\naction = "echo"\nsend = false\n[[step]]\naction = "echo"\nsame_as = "a"\n'
    with pytest.raises(CaseError, match="same_as names no earlier step that is answered"):
        read_case(write(tmp_path, f'name = "x"\n{steps}'))


def test_variables_are_filled_in() -> None:
    """Several in one text; a dollar that is no variable stays."""
    assert fill("${a}${b}$", {"a": "1", "b": "2"}) == "12$"
    with pytest.raises(CaseError, match="variable c has no value"):
        fill("${c}", {"a": "1"})


@pytest.mark.parametrize(
    ("wanted", "value", "fits"),
    [
        ("00", "00", True),
        ("00", "01", False),
        ("00", None, False),
        ("A1", "A1      ", True),
        ("*", "x", True),
        ("*", None, False),
        ("!", None, True),
        ("!", "x", False),
        ("/[0-9]{2}/", "55", True),
        ("/[0-9]{2}/", "555", False),
        ("/(?!00)../", "00", False),
        ("/", "/", True),
        ("${v}", "75", True),
        ("${v}", "55", False),
    ],
)
def test_matchers(wanted: str, value: str | None, fits: bool) -> None:  # noqa: FBT001 - a column of the table above
    """Exact, present, absent, pattern, variable."""
    answer = Message("0210", {} if value is None else {39: value})
    assert fits == (not differences({"39": wanted}, answer, {"v": "75"}))


def test_differences_name_field_and_values_but_no_card_number() -> None:
    """The type is compared under mti."""
    answer = Message("0210", {2: "6013010000000018", 39: "51"})
    found = differences({"mti": "0230", "2": "6013019999999999", "39": "00", "38": "*"}, answer, {})
    expected = [
        "type: expected 0230, got '0210'",
        "field 2: expected its value, got another value",
        "field 39: expected 00, got '51'",
        "field 38: expected *, got nothing",
    ]
    assert expected == found
