"""Tables of TOML files made into dataclasses, strictly: a key that is not known, or of another kind, is named with its place.

What the keys mean is the business of who asks: cases (script.py), a host's rules (rules.py), profiles (profile.py).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.simulator.matching import MTI_KEY, pattern_of

if TYPE_CHECKING:
    from enum import StrEnum
    from pathlib import Path

    from gateway.simulator.errors import SimulatorError

_LAST_FIELD = 128
_Made = TypeVar("_Made")
_Word = TypeVar("_Word", bound="StrEnum")


class Tables:
    """Reads tables; `error` is what is raised, with one line that begins with the place in the file."""

    def __init__(self, error: type[SimulatorError]) -> None:
        self._error = error

    def file(self, place: str, path: Path) -> dict[str, Any]:
        """The whole file as a table."""
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise self._error(f"{place}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise self._error(f"{place}: {error}") from None

    def list_of(self, place: str, key: str, content: dict[str, Any]) -> list[dict[str, Any]]:
        """Takes the tables `[[key]]` out of CONTENT; there must be one or more."""
        tables = content.pop(key, [])
        if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
            raise self._error(f"{place}: has no [[{key}]]")
        return tables

    def make(self, kind: type[_Made], place: str, parts: dict[str, Any]) -> _Made:
        """A dataclass of PARTS: no key too many, none too few, and each of the kind of its default."""
        wanted = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
        for key, value in parts.items():
            if key not in wanted:
                raise self._error(f"{place}: {key} is not known; there are {', '.join(sorted(wanted))}")
            default = wanted[key].default
            if isinstance(default, (str, int)) and (
                not isinstance(value, type(default)) or isinstance(value, bool) is not isinstance(default, bool)
            ):
                raise self._error(f"{place}: {key} must be of the kind {type(default).__name__}")
        for name, one in wanted.items():
            if name not in parts and one.default is MISSING and one.default_factory is MISSING:
                raise self._error(f"{place}: {name} is missing")
        return kind(**parts)

    def word(self, place: str, key: str, kind: type[_Word], value: object) -> _Word:
        """One of the words of KIND."""
        try:
            return kind(value)  # type: ignore[arg-type]
        except ValueError:
            raise self._error(f"{place}: {key} must be one of {', '.join(kind)}") from None

    def texts(self, place: str, key: str, parts: dict[str, Any]) -> dict[str, str]:
        """A table of texts."""
        table = parts.get(key, {})
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise self._error(f"{place}: {key} must be a table of texts, in quotes")
        return table

    def by_field(self, place: str, key: str, parts: dict[str, Any]) -> dict[int, str]:
        """A table of texts by the number of a field."""
        return {self.number(place, name): text for name, text in self.texts(place, key, parts).items()}

    def matchers(self, place: str, key: str, parts: dict[str, Any]) -> dict[str, str]:
        """A table of matchers by "mti" or the number of a field (matching.py)."""
        found = {
            name if name == MTI_KEY else str(self.number(place, name)): text
            for name, text in self.texts(place, key, parts).items()
        }
        for name, text in found.items():
            pattern = pattern_of(text)
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise self._error(f"{place}: {key}: {name} is no regular expression: {error}") from None
        return found

    def number(self, place: str, key: str) -> int:
        """The number of a field."""
        if key.isascii() and key.isdigit() and 1 < int(key) <= _LAST_FIELD:
            return int(key)
        raise self._error(f"{place}: {key} is not the number of a field")
