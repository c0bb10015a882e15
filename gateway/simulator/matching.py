"""Values of a message held against what a file says they must be: the same words in cases and in a host's rules.

Exact text (spaces at the end do not count), `*` (the field is there), `!` (it is not), `/regular expression/` (the whole
value), `?` before one of them (so, or not there); `${name}` puts a variable in. Knows no file. Read next: script.py (cases),
rules.py (a host's rules).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.simulator.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iso.message import Message

MTI_KEY = "mti"
_PRESENT, _ABSENT, _PATTERN, _PERHAPS = "*", "!", "/", "?"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_HIDDEN = frozenset({"2", "34", "35", "36", "45", "52", "53", "55", "125"})


def fill(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `${name}` replaced. Raises CaseError for a name that has no value yet."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in variables:
            raise CaseError(f"variable {name} has no value")
        return variables[name]

    return _VARIABLE.sub(value, text)


def value_of(message: Message, key: str) -> str | None:
    """What stands under KEY, "mti" or the number of a field; None where the field is not there."""
    return message.mti if key == MTI_KEY else message.get(int(key))


def fits(expected: str, value: str | None) -> bool:
    """Whether VALUE is as EXPECTED says."""
    if expected == _ABSENT:
        return value is None
    if value is None:
        return expected.startswith(_PERHAPS)
    expected = expected.removeprefix(_PERHAPS)
    if expected == _PRESENT:
        return True
    pattern = pattern_of(expected)
    if pattern is not None:
        return re.fullmatch(pattern, value) is not None
    return value.rstrip() == expected.rstrip()


def pattern_of(expected: str) -> str | None:
    """The regular expression between the slashes; None where EXPECTED is none."""
    expected = expected.removeprefix(_PERHAPS)
    if len(expected) > 1 and expected[0] == expected[-1] == _PATTERN:
        return expected[1:-1]
    return None


def differences(expect: Mapping[str, str], answer: Message, variables: Mapping[str, str]) -> list[str]:
    """Where `answer` is not as expected, a line each; card number, tracks, PIN and chip fields are never shown."""
    found = []
    for key, wanted in expect.items():
        expected = fill(wanted, variables)
        value = value_of(answer, key)
        if not fits(expected, value):
            what = "type" if key == MTI_KEY else f"field {key}"
            shown = "nothing" if value is None else "another value" if key in _HIDDEN else repr(value)
            found.append(f"{what}: expected {expected if key not in _HIDDEN else 'its value'}, got {shown}")
    return found
