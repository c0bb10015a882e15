"""The language of scripted cases: a TOML file read into a Case, and answers held against what the case expects.

A file has `name`, `about`, and a list of `[[step]]`; docs of the keys stand at Case and Step. A value that is expected is exact
text, `*` (present), `!` (absent) or `/regular expression/`; `${name}` puts a variable in. Sends nothing. Read next: cases.py.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.simulator.errors import CaseError
from gateway.simulator.terminal import Purse, TerminalKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from iso.message import Message

PRESENT, ABSENT, PATTERN = "*", "!", "/"
_MTI_KEY = "mti"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_LAST_FIELD = 128


class Action(StrEnum):
    """What a step sends."""

    SIGN_ON = "sign_on"
    SIGN_OFF = "sign_off"
    CUT_OVER = "cut_over"
    ECHO = "echo"
    WITHDRAW = "withdraw"
    PURCHASE = "purchase"
    BALANCE = "balance"
    REVERSE = "reverse"
    """Of an earlier step (`of`); `marked`: 0421 in place of 0420."""
    REPEAT = "repeat"
    """An earlier step (`of`) again; `marked`: its type says so (0201)."""


class TypedPin(StrEnum):
    """What is typed on the PIN pad."""

    RIGHT = "right"
    WRONG = "wrong"


class Slot(StrEnum):
    """Which card is in the slot."""

    OWN = "own"
    """The one card the case was given."""
    UNKNOWN = "unknown"
    """One that was never issued."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message and what must come back.

    `name`: for later steps to speak of. `at`: which terminal. `of`: name of the step to reverse or repeat. `send` set to false:
    the message is made and kept back, as one lost on its way; a later step may reverse or repeat it. `mti` and `set` change the
    message before it leaves; a field set to "" is taken out. `expect` maps "mti" or a field number to a value; `same_as` names
    the step whose answer must have come again; `keep` maps a variable's name to the field of the answer that fills it.
    """

    action: Action
    name: str = ""
    says: str = ""
    at: TerminalKind = TerminalKind.ATM
    amount_idr: int = 0
    kept_idr: int = 0
    pin: TypedPin = TypedPin.RIGHT
    purse: Purse = Purse.BY_RULE
    card: Slot = Slot.OWN
    of: str = ""
    marked: bool = False
    send: bool = True
    mti: str = ""
    set: dict[int, str] = field(default_factory=dict)
    expect: dict[str, str] = field(default_factory=dict)
    same_as: str = ""
    keep: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """A case.

    `needs_idr`: least money on the card it gets. `sign_on`: whether it starts signed on. `careless`: whether its link lets any
    character stand where digits belong. `variables`: first values of variables.
    """

    path: Path
    name: str
    steps: tuple[Step, ...]
    about: str = ""
    needs_idr: int = 0
    sign_on: bool = True
    careless: bool = False
    variables: dict[str, str] = field(default_factory=dict)


def read_case(path: Path) -> Case:
    """Read one file. Raises CaseError: file, step and key that is wrong."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaseError(f"case {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"case {path}: {error}") from None
    tables = content.pop("step", [])
    if not isinstance(tables, list) or not tables:
        raise CaseError(f"case {path}: has no [[step]]")
    content["variables"] = _texts(f"case {path}", "variables", content)
    steps = tuple(_step(path, number, table) for number, table in enumerate(tables, 1))
    _check_names(path, steps)
    return _make(Case, f"case {path}", content | {"path": path, "steps": steps})


def fill(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `${name}` replaced. Raises CaseError for a name that has no value yet."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in variables:
            raise CaseError(f"variable {name} has no value")
        return variables[name]

    return _VARIABLE.sub(value, text)


def differences(expect: Mapping[str, str], answer: Message, variables: Mapping[str, str]) -> list[str]:
    """Where `answer` is not as expected, a line each; the card number's field is never shown."""
    found = []
    for key, wanted in expect.items():
        expected = fill(wanted, variables)
        value = answer.mti if key == _MTI_KEY else answer.get(int(key))
        if not _matches(expected, value):
            what = "type" if key == _MTI_KEY else f"field {key}"
            shown = "nothing" if value is None else "another value" if key in _HIDDEN else repr(value)
            found.append(f"{what}: expected {expected if key not in _HIDDEN else 'its value'}, got {shown}")
    return found


_HIDDEN = frozenset({"2", "35", "52"})


def _matches(expected: str, value: str | None) -> bool:
    if expected == ABSENT:
        return value is None
    if value is None:
        return False
    if expected == PRESENT:
        return True
    if len(expected) > 1 and expected[0] == expected[-1] == PATTERN:
        return re.fullmatch(expected[1:-1], value) is not None
    return value.rstrip() == expected.rstrip()


def _check_names(path: Path, steps: Sequence[Step]) -> None:
    """Raise CaseError where a step speaks of one that does not stand before it, or of an answer that is never awaited."""
    made: set[str] = set()
    answered: set[str] = set()
    for number, step in enumerate(steps, 1):
        if step.of and step.of not in made:
            raise CaseError(f"case {path}: step {number}: of names no earlier step")
        if step.same_as and step.same_as not in answered:
            raise CaseError(f"case {path}: step {number}: same_as names no earlier step that is answered")
        if step.action in (Action.REVERSE, Action.REPEAT) and not step.of:
            raise CaseError(f"case {path}: step {number}: {step.action} needs of")
        made.add(step.name)
        if step.send:
            answered.add(step.name)


def _step(path: Path, number: int, table: dict[str, Any]) -> Step:
    place = f"case {path}: step {number}"
    parts = dict(table)
    for key, kind in (("action", Action), ("at", TerminalKind), ("pin", TypedPin), ("card", Slot)):
        if key in parts:
            parts[key] = _word(place, key, kind, parts[key])
    if "purse" in parts:
        if str(parts["purse"]) not in Purse.__members__:
            raise CaseError(f"{place}: purse must be one of {', '.join(Purse.__members__)}")
        parts["purse"] = Purse[parts["purse"]]
    parts["set"] = {_number(place, key): text for key, text in _texts(place, "set", parts).items()}
    parts["expect"] = {
        key if key == _MTI_KEY else str(_number(place, key)): text
        for key, text in _texts(place, "expect", parts).items()
    }
    parts["keep"] = {name: _number(place, text) for name, text in _texts(place, "keep", parts).items()}
    return _make(Step, place, parts)


_Made = TypeVar("_Made", Case, Step)
_Word = TypeVar("_Word", bound=StrEnum)


def _make(kind: type[_Made], place: str, parts: dict[str, Any]) -> _Made:
    """A Case or Step of `parts`. Raises CaseError for a key too many, too few, or of another type."""
    wanted = {one.name: one for one in fields(kind)}
    for key, value in parts.items():
        if key not in wanted:
            raise CaseError(f"{place}: {key} is not known; there are {', '.join(sorted(wanted))}")
        default = wanted[key].default
        if isinstance(default, (str, int)) and (
            not isinstance(value, type(default)) or isinstance(value, bool) is not isinstance(default, bool)
        ):
            raise CaseError(f"{place}: {key} must be of the kind {type(default).__name__}")
    for name, one in wanted.items():
        if name not in parts and one.default is MISSING and one.default_factory is MISSING:
            raise CaseError(f"{place}: {name} is missing")
    return kind(**parts)


def _word(place: str, key: str, kind: type[_Word], value: str) -> _Word:
    try:
        return kind(value)
    except ValueError:
        raise CaseError(f"{place}: {key} must be one of {', '.join(kind)}") from None


def _texts(place: str, key: str, parts: dict[str, Any]) -> dict[str, str]:
    """A table of texts. Raises CaseError."""
    table = parts.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise CaseError(f"{place}: {key} must be a table of texts, in quotes")
    return table


def _number(place: str, key: str) -> int:
    """The number of a field. Raises CaseError."""
    if key.isascii() and key.isdigit() and 1 < int(key) <= _LAST_FIELD:
        return int(key)
    raise CaseError(f"{place}: {key} is not the number of a field")
