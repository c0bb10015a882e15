"""Names of people, compared as banks and ministries write them: capitals, accents, points and titles do not matter.

Refuses to guess: a missing or other word makes another name. Read next: gateway.rules.kpm.
"""

from __future__ import annotations

import re
import unicodedata

TITLES = frozenset(
    ("H", "HJ", "HAJI", "HAJJAH", "DR", "DRS", "DRA", "IR", "TN", "NY", "BPK", "BAPAK", "IBU", "SDR", "SDRI", "ALM")
)
"""Words that stand before a name and are no part of it."""

_QUOTES = re.compile(r"['`\u00b4\u2018\u2019\u02bc\"]")
_NOT_WORD = re.compile(r"[\W_]+")
is_plain = re.compile(r"[A-Z]+(?: [A-Z]+)*").fullmatch
"""Whether a name is capitals and single spaces already, as almost every one is."""


def comparable(name: str) -> str:
    """The name in capitals, without accents, punctuation and leading titles, one space between words.

    >>> comparable("Hj. Siti  Nur'aini-Lubis")
    'SITI NURAINI LUBIS'
    """
    if is_plain(name) and name.partition(" ")[0] not in TITLES:
        return name
    text = name if name.isascii() else _without_accents(name)
    words = _NOT_WORD.sub(" ", _QUOTES.sub("", text)).upper().split()
    first = 0
    while first < len(words) - 1 and words[first] in TITLES:
        first += 1
    return " ".join(words[first:])


def tidy(text: str) -> str:
    """A text as it is kept: capitals, single spaces, nothing that does not print."""
    if is_plain(text):
        return text
    text = " ".join(text.upper().split())
    return text if text.isprintable() else " ".join("".join(filter(str.isprintable, text)).split())


def same_person_name(one: str, other: str) -> bool:
    """Whether both are the same name once made comparable. Two names without a letter are never the same."""
    made = comparable(one)
    return bool(made) and made == comparable(other)


def _without_accents(name: str) -> str:
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).upper())
    return "".join(char for char in apart if not unicodedata.combining(char))
