"""What can be traced, as it is typed: `sp2d:NO`, `authorisation:ID`, `ntpn:RECEIPT` and the like. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

ID_MAX = 2**63 - 1
VALUE_MAX = 100


class SubjectKind(StrEnum):
    """Where a trace may start. The value is what is typed before the colon."""

    SP2D = "sp2d"
    SI = "si"
    ACCOUNT = "account"
    TRANCHE = "tranche"
    TRANSFER = "transfer"
    AUTHORISATION = "authorisation"
    RRN = "rrn"
    RETURN = "return"
    EVIDENCE = "evidence"
    NTPN = "ntpn"


NUMBERED = (SubjectKind.TRANCHE, SubjectKind.TRANSFER, SubjectKind.AUTHORISATION, SubjectKind.RETURN)


class Subject(NamedTuple):
    """Where a trace starts."""

    kind: SubjectKind
    value: str

    @property
    def number(self) -> int:
        """The value of a subject that is known by its id."""
        return int(self.value)

    @property
    def split_line(self) -> tuple[str, int | None]:
        """The value of an SI without its line, and the line; None where it names none.

        >>> Subject(SubjectKind.SI, "SI-1:7").split_line
        ('SI-1', 7)
        """
        number, colon, line = self.value.rpartition(":")
        return (number, int(line)) if colon and _is_id(line) else (self.value, None)


def parse_subject(text: str) -> Subject:
    """A subject as it was typed. Raises ValueError in one line that says what may stand there.

    >>> parse_subject("tranche:17")
    Subject(kind=<SubjectKind.TRANCHE: 'tranche'>, value='17')
    """
    word, colon, value = text.partition(":")
    value = value.strip()
    kinds = {kind.value: kind for kind in SubjectKind}
    if not colon or word.strip().lower() not in kinds:
        raise ValueError(f"{text!r} is not one of {', '.join(f'{name}:...' for name in kinds)}")
    kind = kinds[word.strip().lower()]
    if not value or len(value) > VALUE_MAX or not value.isprintable():
        raise ValueError(f"{text!r}: what stands after {kind.value}: names nothing")
    if kind in NUMBERED and not _is_id(value):
        raise ValueError(f"{text!r}: {kind.value} is known by its number, and {value!r} is none")
    return Subject(kind, value.upper() if kind is SubjectKind.NTPN else value)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= ID_MAX
