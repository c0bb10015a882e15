"""Tests of gateway.simulator.rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.simulator.errors import RuleError
from gateway.simulator.rules import AnswerMac, Chooser, Deed, Rule, Rules, read_rules, shipped_rules
from iso.message import Message

if TYPE_CHECKING:
    from pathlib import Path

CASH = Message("0200", {3: "010000", 11: "000001", 41: "A0000013"})
FULL = """
name = "All keys"
about = "Each once."
asker_timeout_ms = 500

[[rule]]
name = "one"
when = { mti = "0200", 3 = "/01..../", 70 = "!" }
first = 3
every = 2
do = "answer"
code = "05"
set = { 44 = "x" }
delay_ms = 20
expect = { 11 = "*" }
keep = { trace = "11" }
at_least = 2
mac = "none"

[[rule]]
do = "garbage"
hex = "00ff"

[[rule]]
"""


def write(folder: Path, text: str) -> Path:
    """A file of rules."""
    path = folder / "rules.toml"
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    """Words become enums; what is left out has its default."""
    rules = read_rules(write(tmp_path, FULL))
    assert ("All keys", "Each once.", 500) == (rules.name, rules.about, rules.asker_timeout_ms)
    first, second, third = rules.rules
    when = {"mti": "0200", "3": "/01..../", "70": "!"}
    assert Rule(
        Deed.ANSWER, "one", when, 3, 2, "05", {44: "x"}, 20, expect={"11": "*"}, keep={"trace": 11}, at_least=2,
        mac=AnswerMac.NONE,
    ) == first  # fmt: skip
    assert (Deed.GARBAGE, "00ff", "garbage") == (second.do, second.hex, second.title)
    assert (Rule(), "one") == (third, first.title)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('do = "dance"', "do must be one of answer, late, drop, close"),
        ("foo = 1", "foo is not known"),
        ('when = { x = "1" }', "x is not the number of a field"),
        ('when = { 4 = "/(/" }', "4 is no regular expression"),
        ('code = "1"', "code must be two letters or digits"),
        ("first = -1", "cannot be below zero"),
        ("every = -1", "cannot be below zero"),
        ("delay_ms = -1", "cannot be below zero"),
        ("at_least = -1", "cannot be below zero"),
        ('mac = "old"', "mac must be one of right, wrong, none"),
        ('expect = { 4 = "/(/" }', "expect: 4 is no regular expression"),
        ('keep = { trace = "x" }', "x is not the number of a field"),
        ('hex = "00"', "hex goes with garbage"),
        ('do = "garbage"\nhex = "0"', "hex is not hex digits"),
        ("code = 5", "code must be of the kind str"),
    ],
)
def test_a_wrong_rule_is_named_with_its_fault(tmp_path: Path, rule: str, said: str) -> None:
    """File, rule and key."""
    path = write(tmp_path, f"[[rule]]\n[[rule]]\n{rule}\n")
    with pytest.raises(RuleError, match=said) as caught:
        read_rules(path)
    assert str(caught.value).startswith(f"rules {path}: rule 2: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"has no \[\[rule\]\]"),
        ("x =", "Invalid value"),
        ("foo = 1\n[[rule]]\n", "foo is not known"),
        ("asker_timeout_ms = -1\n[[rule]]\n", "asker_timeout_ms cannot be below zero"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """One line that begins with the file."""
    path = write(tmp_path, text)
    with pytest.raises(RuleError, match=said) as caught:
        read_rules(path)
    assert str(caught.value).startswith(f"rules {path}: ")


def test_the_first_rule_that_fits_acts() -> None:
    """Order counts; nothing fits a message that no rule speaks of."""
    one, two = Rule(when={"3": "/01..../"}, code="05"), Rule(when={"mti": "0200"}, code="06")
    chooser = Chooser(Rules(rules=(one, two)))
    assert [one, two, None] == [
        chooser.choose(message) for message in (CASH, Message("0200", {3: "000000"}), Message("0800", {}))
    ]
    assert None is Chooser(Rules()).choose(CASH)


def test_first_and_every_count_what_fits() -> None:
    """What a rule leaves goes on to the next one."""
    first = Rule(first=2, code="01", when={"mti": "0200"})
    every = Rule(every=3, code="02")
    chooser = Chooser(Rules(rules=(first, every)))
    chosen = [chooser.choose(CASH) for _ in range(8)]
    assert [first, first, None, None, every, None, None, every] == chosen
    both = Chooser(Rules(rules=(Rule(first=4, every=2),)))
    assert [False, True, False, True, False, False] == [both.choose(CASH) is not None for _ in range(6)]


def test_how_long_it_waits() -> None:
    """A late answer comes after the asker's time-out, unless it says when."""
    rules = Rules(asker_timeout_ms=500)
    assert [0, 20, 1_500, 20] == [
        rules.wait_ms(rule) for rule in (Rule(), Rule(delay_ms=20), Rule(Deed.LATE), Rule(Deed.LATE, delay_ms=20))
    ]


def test_the_shipped_examples_show_every_deed() -> None:
    """They can be read, and say what they are about."""
    files = [read_rules(path) for path in shipped_rules()]
    assert all(one.name and one.about for one in files)
    assert set(Deed) == {rule.do for one in files for rule in one.rules}
