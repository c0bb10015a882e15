"""Tests of gateway.simulator.tables; each kind of file has tests of its own keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.errors import RuleError
from gateway.simulator.tables import Tables
from gateway.simulator.terminal import TerminalKind

if TYPE_CHECKING:
    from pathlib import Path

TABLES = Tables(RuleError)


@dataclass(frozen=True)
class Thing:
    """What a table becomes."""

    name: str
    size: int = 0
    is_new: bool = False
    parts: dict[str, str] = field(default_factory=dict)


def test_a_table_becomes_a_thing() -> None:
    """Defaults where a key is missing."""
    assert Thing("a", 5) == TABLES.make(Thing, "here", {"name": "a", "size": 5})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "here: name is missing"),
        ({"name": "a", "colour": 1}, "here: colour is not known; there are is_new, name, parts, size"),
        ({"name": "a", "size": "5"}, "here: size must be of the kind int"),
        ({"name": "a", "size": True}, "here: size must be of the kind int"),
        ({"name": "a", "is_new": 1}, "here: is_new must be of the kind bool"),
    ],
)
def test_a_wrong_table_is_named_with_its_fault(parts: dict[str, object], said: str) -> None:
    """The error is the one that was asked for."""
    with pytest.raises(RuleError) as caught:
        TABLES.make(Thing, "here", parts)
    assert said == str(caught.value)


def test_matchers_and_fields() -> None:
    """By number, or mti in matchers; expressions are tried at once."""
    assert {4: "x"} == TABLES.by_field("here", "set", {"set": {"4": "x"}})
    assert {"mti": "0200", "3": "/01..../"} == TABLES.matchers(
        "here", "when", {"when": {"mti": "0200", "3": "/01..../"}}
    )
    for key, value, said in (
        ("set", {"mti": "x"}, "mti is not the number of a field"),
        ("set", {"1": "x"}, "1 is not the number of a field"),
        ("set", {"4": 5}, "set must be a table of texts, in quotes"),
    ):
        with pytest.raises(RuleError, match=said):
            TABLES.by_field("here", key, {key: value})
    with pytest.raises(RuleError, match="when: 3 is no regular expression"):
        TABLES.matchers("here", "when", {"when": {"3": "/(/"}})


def test_words() -> None:
    """The refusal tells the words there are."""
    assert TerminalKind.ATM is TABLES.word("here", "at", TerminalKind, "ATM")
    with pytest.raises(RuleError, match="here: at must be one of ATM, AGENT, EWARONG"):
        TABLES.word("here", "at", TerminalKind, "BANK")


def test_files(tmp_path: Path) -> None:
    """What is no file, no text or no TOML is one line; so is one without the tables that it must have."""
    path = tmp_path / "x.toml"
    with pytest.raises(RuleError, match="x: No such file"):
        TABLES.file("x", path)
    path.write_bytes(b"\xff")
    with pytest.raises(RuleError, match="x: "):
        TABLES.file("x", path)
    path.write_text("a =")
    with pytest.raises(RuleError, match="x: Invalid value"):
        TABLES.file("x", path)
    path.write_text("[[rule]]\na = 1\n")
    content = TABLES.file("x", path)
    assert [{"a": 1}] == TABLES.list_of("x", "rule", content)
    wrongs: tuple[dict[str, object], ...] = ({}, {"rule": []}, {"rule": 5}, {"rule": [5]})
    for wrong in wrongs:
        with pytest.raises(RuleError, match=r"x: has no \[\[rule\]\]"):
            TABLES.list_of("x", "rule", wrong)
