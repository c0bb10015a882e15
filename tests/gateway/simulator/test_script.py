"""Tests of gateway.simulator.script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.simulator.card_reader import ChipWord, Entry, Shown, StripeWord
from gateway.simulator.errors import CaseError
from gateway.simulator.key_courier import NewKey, Under
from gateway.simulator.script import Action, Connection, MacWord, Slot, TypedPin, read_case
from gateway.simulator.terminal import Purse, TerminalKind

if TYPE_CHECKING:
    from pathlib import Path

FULL = """
name = "All keys"
about = "Each key once."
needs_idr = 5
needs_food_idr = 3
needs_cash_idr = 2
profile = "edc"
sign_on = false
careless = true
needs_sign_on = true
needs_mac = true
needs_fresh = true
needs_chip = true
needs_stripe = true
needs_key_change = true
once = true
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

[[step]]
action = "pin_change"
new_pin = "other"
connection = "new"
wait_ms = 1
within_ms = 500

[[step]]
action = "raw"
hex = "30303030"
expect_closed = true

[[step]]
action = "hold"
read = "fallback"
chip = "other amount"
stripe = "of the chip"
skips = 7
service_code = "601"
mac = "stale"

[[step]]
action = "key_change"
key = "mac"
under = "wrong"

[[step]]
action = "echo"
expect_silence_ms = 20
"""


def write(folder: Path, text: str) -> Path:
    """A case file."""
    path = folder / "case.toml"
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    """Words become enums, field numbers become numbers."""
    case = read_case(write(tmp_path, FULL))
    assert ("All keys", 5, False, True, True, {"amount": "000000000500"}) == (
        case.name, case.needs_idr, case.sign_on, case.careless, case.needs_sign_on, case.variables,
    )  # fmt: skip
    assert (3, 2, "edc") == (case.needs_food_idr, case.needs_cash_idr, case.profile)
    assert (True,) * 6 == (
        case.needs_mac, case.needs_fresh, case.needs_chip, case.needs_stripe, case.needs_key_change, case.once,
    )  # fmt: skip
    first, second, third, fourth, shown, changed, fifth = case.steps
    assert Shown(Entry.FALLBACK, ChipWord.OTHER_AMOUNT, StripeWord.OF_THE_CHIP, 7, "601") == shown.shown
    assert (MacWord.STALE, True) == (shown.mac, first.shown.says_nothing)
    assert (NewKey.MAC, Under.WRONG) == (changed.key, changed.under)
    assert (Action.WITHDRAW, TerminalKind.EWARONG, TypedPin.WRONG, Purse.FOOD, Slot.UNKNOWN) == (
        first.action, first.at, first.pin, first.purse, first.card,
    )  # fmt: skip
    assert ({4: "${amount}"}, {"mti": "0110", "39": "00"}, {"told": 54}, "0100", False) == (
        first.set, first.expect, first.keep, first.mti, first.send,
    )  # fmt: skip
    assert (Action.REVERSE, "one", 2, True, True) == (
        second.action, second.of, second.kept_idr, second.marked, second.send,
    )  # fmt: skip
    assert (Action.PIN_CHANGE, "other", Connection.NEW, 1, 500, True) == (
        third.action, third.new_pin, third.connection, third.wait_ms, third.within_ms, third.awaits_answer,
    )  # fmt: skip
    assert ("30303030", True, False) == (fourth.hex, fourth.expect_closed, fourth.awaits_answer)
    assert (20, False) == (fifth.expect_silence_ms, fifth.awaits_answer)


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
        ('action = "echo"\npin = "nil"', "pin must be one of right, wrong, none"),
        ('action = "echo"\nset = { mti = "0200" }', "mti is not the number of a field"),
        ('action = "echo"\nset = { 129 = "1" }', "129 is not the number of a field"),
        ('action = "echo"\nset = { 4 = 5 }', "set must be a table of texts"),
        ('action = "echo"\nset = "4"', "set must be a table of texts"),
        ('action = "echo"\nexpect = { code = "00" }', "code is not the number of a field"),
        ('action = "echo"\nkeep = { told = "x" }', "x is not the number of a field"),
        ('action = "reverse"', "reverse needs of"),
        ('action = "repeat"\nof = "zero"', "of names no earlier step"),
        ('action = "echo"\nsame_as = "zero"', "same_as names no earlier step"),
        ('action = "complete"', "complete needs of"),
        ('action = "increment"', "increment needs of"),
        ('action = "release"', "release needs of"),
        ('action = "refund"', "refund needs of"),
        ('action = "pin_change"', "new_pin must be 4 to 12 digits or one of other, same"),
        ('action = "pin_change"\nnew_pin = "123"', "new_pin must be"),
        ('action = "raw"', "raw needs hex or text"),
        ('action = "raw"\nhex = "00"\ntext = "0"', "raw needs hex or text"),
        ('action = "hear"\ntext = "0"', "hear has neither hex nor text"),
        ('action = "hear"\nmti = "0800"', "raw is sent as it is"),
        ('action = "echo"\nhex = "00"', "echo has neither hex nor text"),
        ('action = "raw"\nhex = "00"\nset = { 4 = "" }', "raw is sent as it is"),
        ('action = "raw"\nhex = "00"\nconnection = "new"', "raw is sent as it is"),
        ('action = "echo"\nconnection = "third"', "connection must be one of case, new"),
        ('action = "echo"\nexpect_closed = true\nexpect = { 39 = "00" }', "want an answer"),
        ('action = "echo"\nexpect_silence_ms = 5\nwithin_ms = 5', "want an answer"),
        ('action = "echo"\nexpect_silence_ms = 5\nexpect_closed = true', "give one of them"),
        ('action = "echo"\nwait_ms = -1', "cannot be below zero"),
        ('action = "echo"\nexpect = { 39 = "/[/" }', "39 is no regular expression"),
        (
            'action = "balance"\nchip = "good"',
            "chip must be one of right, wrong, replayed, ahead, other amount, declined, none",
        ),
        ('action = "balance"\nread = "by hand"', "read must be one of chip, stripe, fallback, typed"),
        ('action = "balance"\nstripe = "x"', "stripe must be one of right, wrong, of the chip, no value, none"),
        ('action = "balance"\nmac = "old"', "mac must be one of right, wrong, none, stale"),
        ('action = "balance"\nskips = -1', "cannot be below zero"),
        ('action = "balance"\nservice_code = "60"', "service_code must be three digits"),
        ('action = "echo"\nchip = "right"', "echo shows no card"),
        ('action = "key_change"\nkey = "zmk"', "key must be one of pin, mac, other"),
        ('action = "key_change"\nunder = "it"', "under must be one of right, wrong"),
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
