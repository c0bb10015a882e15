"""The rules of a switch host: a TOML file that says what it does with which message, and how those must be that it takes.

The first rule that fits acts. A file has `name` and a list of `[[rule]]`; docs of the keys stand at Rule and Deed. How a value
is matched: matching.py; in `set` the request's own fields can be put in, `${11}` is its DE11. Answers nothing itself. Read next:
host.py; rules/*.toml are examples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.simulator.errors import CaseError, RuleError
from gateway.simulator.matching import differences, fits, value_of
from gateway.simulator.tables import Tables
from iso.response_codes import APPROVED

if TYPE_CHECKING:
    from iso.message import Message

FOLDER = Path(__file__).with_name("rules")
_CODE_LENGTH = 2
_LATER_THAN_TIMEOUT_MS = 1_000


class Deed(StrEnum):
    """What a rule does."""

    ANSWER = "answer"
    """Answers with `code` and the fields of `set`, after `delay_ms`."""
    LATE = "late"
    """The same, a second after the asker has given up (`asker_timeout_ms` of the file) or `delay_ms` after the request."""
    DROP = "drop"
    """Does not answer."""
    CLOSE = "close"
    """Closes the connection in place of an answer, after `delay_ms`."""
    ANSWER_AND_CLOSE = "answer_and_close"
    """Answers, and closes the connection."""
    WRONG = "wrong"
    """Answers another message: its trace number is one more."""
    GARBAGE = "garbage"
    """Sends the bytes of `hex` in place of an answer; without it a frame that holds no message."""


class AnswerMac(StrEnum):
    """The MAC of an answer, where the profile has MACs."""

    RIGHT = "right"
    WRONG = "wrong"
    """Zeros."""
    NONE = "none"
    """The answer goes without."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `when`: "mti" or the number of a field -> what it must be; without it every request fits.

    Of the messages that fit, `first` takes only the first so many (0: all), `every` only each so-manieth (0: each); one it
    leaves goes on to the next rule. `expect`: what else must be so of what it takes, as in a case; `keep`: variables that later
    expectations may name, filled from its fields. `at_least`: so many must have come when the host ends. `mac`: of its answer,
    where the profile has MACs.
    """

    do: Deed = Deed.ANSWER
    name: str = ""
    when: dict[str, str] = field(default_factory=dict)
    first: int = 0
    every: int = 0
    code: str = APPROVED
    set: dict[int, str] = field(default_factory=dict)
    delay_ms: int = 0
    hex: str = ""
    expect: dict[str, str] = field(default_factory=dict)
    keep: dict[str, int] = field(default_factory=dict)
    at_least: int = 0
    mac: AnswerMac = AnswerMac.RIGHT

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name or self.do


@dataclass(frozen=True, slots=True)
class Rules:
    """A file of rules. `asker_timeout_ms`: how long the other side waits for an answer; a late one comes after that."""

    name: str = ""
    about: str = ""
    asker_timeout_ms: int = 30_000
    rules: tuple[Rule, ...] = ()

    def wait_ms(self, rule: Rule) -> int:
        """How long after the request the rule's deed is done."""
        if rule.do is Deed.LATE and not rule.delay_ms:
            return self.asker_timeout_ms + _LATER_THAN_TIMEOUT_MS
        return rule.delay_ms


class Chooser:
    """Finds the rule for each message, and counts for it which ones fitted; holds what a rule takes against what it expects."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules.rules
        self._fitted = [0] * len(rules.rules)
        self._taken = [0] * len(rules.rules)
        self._variables: dict[str, str] = {}

    @property
    def missing(self) -> list[str]:
        """Which rules took fewer messages than they say, a line each."""
        return [
            f"{rule.title}: {taken} came, at least {rule.at_least} were to come"
            for rule, taken in zip(self._rules, self._taken, strict=True)
            if taken < rule.at_least
        ]

    def differences(self, rule: Rule, request: Message) -> list[str]:
        """Where REQUEST is not as RULE, which takes it, expects; what is to be kept of it is kept."""
        try:
            found = differences(rule.expect, request, self._variables)
        except CaseError as error:
            found = [str(error)]
        self._variables |= {name: request.get(number, "") for name, number in rule.keep.items()}
        return [f"{rule.title}: {line}" for line in found]

    def choose(self, request: Message) -> Rule | None:
        """The rule that acts; None where none does, and a sensible answer is due."""
        for place, rule in enumerate(self._rules):
            if not all(fits(wanted, value_of(request, key)) for key, wanted in rule.when.items()):
                continue
            self._fitted[place] += 1
            number = self._fitted[place]
            if (not rule.first or number <= rule.first) and (not rule.every or number % rule.every == 0):
                self._taken[place] += 1
                return rule
        return None


_TABLES = Tables(RuleError)


def read_rules(path: Path) -> Rules:
    """Read one file. Raises RuleError: file, rule and key that is wrong."""
    place = f"rules {path}"
    content = _TABLES.file(place, path)
    tables = _TABLES.list_of(place, "rule", content)
    rules = tuple(_rule(f"{place}: rule {number}", table) for number, table in enumerate(tables, 1))
    found = _TABLES.make(Rules, place, content | {"rules": rules})
    if found.asker_timeout_ms < 0:
        raise RuleError(f"{place}: asker_timeout_ms cannot be below zero")
    return found


def shipped_rules() -> list[Path]:
    """The example files that come with the simulator, by name."""
    return sorted(FOLDER.glob("*.toml"))


def _rule(place: str, table: dict[str, Any]) -> Rule:
    parts = dict(table)
    if "do" in parts:
        parts["do"] = _TABLES.word(place, "do", Deed, parts["do"])
    if "mac" in parts:
        parts["mac"] = _TABLES.word(place, "mac", AnswerMac, parts["mac"])
    parts["when"] = _TABLES.matchers(place, "when", parts)
    parts["expect"] = _TABLES.matchers(place, "expect", parts)
    parts["keep"] = {name: _TABLES.number(place, text) for name, text in _TABLES.texts(place, "keep", parts).items()}
    parts["set"] = _TABLES.by_field(place, "set", parts)
    rule = _TABLES.make(Rule, place, parts)
    if min(rule.first, rule.every, rule.delay_ms, rule.at_least) < 0:
        raise RuleError(f"{place}: first, every, at_least and delay_ms cannot be below zero")
    if len(rule.code) != _CODE_LENGTH or not (rule.code.isascii() and rule.code.isalnum()):
        raise RuleError(f"{place}: code must be two letters or digits")
    if rule.hex and rule.do is not Deed.GARBAGE:
        raise RuleError(f"{place}: hex goes with garbage")
    try:
        bytes.fromhex(rule.hex)
    except ValueError:
        raise RuleError(f"{place}: hex is not hex digits, two a byte") from None
    return rule
