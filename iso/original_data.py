"""DE90, original data elements: which message a reversal or a completion speaks of.

42 digits: MTI 4, STAN 6, transmission date and time 10, acquirer 11, forwarding institution 11. Hosts pad institutions
in different ways, so they are compared as numbers. Does not look anything up. Read next: message.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iso.errors import FormatError

if TYPE_CHECKING:
    from iso.message import Message

_FIELD = 90
_DIGITS = re.compile(r"[0-9]{42}")
_NEEDED = ((7, 10), (11, 6))
_INSTITUTION = 11
_ACQUIRER = 32
_FORWARDER = 33


@dataclass(frozen=True, slots=True)
class OriginalData:
    """The parts of DE90. Institutions are numbers; 0 where the sender left them out."""

    mti: str
    stan: str
    transmitted: str
    """DE7 of the original, MMDDhhmmss, GMT."""
    acquirer: int
    forwarder: int

    def names(self, message: Message) -> bool:
        """Whether `message` is the original: class and function, STAN and DE7 equal, institutions not in conflict.

        The origin (fourth digit of the MTI) is not compared, so a reversal finds its original through a repeat too. An
        institution that one side left out conflicts with nothing.
        """
        return (
            self.mti[:3] == message.mti[:3]
            and self.stan == message.get(11)
            and self.transmitted == message.get(7)
            and _agree(self.acquirer, institution_number(message.get(_ACQUIRER, "")))
            and _agree(self.forwarder, institution_number(message.get(_FORWARDER, "")))
        )


def read_original_data(text: str) -> OriginalData:
    """The parts of a DE90. Raises FormatError unless it is 42 digits."""
    if _DIGITS.fullmatch(text) is None:
        raise FormatError(_FIELD, "must be 42 digits")
    return OriginalData(text[:4], text[4:10], text[10:20], int(text[20:31]), int(text[31:]))


def write_original_data(original: OriginalData) -> str:
    """DE90, 42 digits, institutions filled with zeros on the left. Raises FormatError where a part does not fit."""
    text = (
        f"{original.mti:0>4}{original.stan:0>6}{original.transmitted:0>10}"
        f"{original.acquirer:0{_INSTITUTION}d}{original.forwarder:0{_INSTITUTION}d}"
    )
    if _DIGITS.fullmatch(text) is None:
        raise FormatError(_FIELD, "must be 42 digits")
    return text


def original_data_of(message: Message) -> OriginalData:
    """What a later reversal must say to name `message`. Raises FormatError for DE7 or DE11 where that is missing."""
    for number, digits in _NEEDED:
        if len(message.get(number, "")) != digits:
            raise FormatError(number, f"must be {digits} digits")
    return OriginalData(
        message.mti,
        message.fields[11],
        message.fields[7],
        institution_number(message.get(_ACQUIRER, "")),
        institution_number(message.get(_FORWARDER, "")),
    )


def institution_number(text: str) -> int:
    """An institution code (DE32, DE33, DE100) as a number, for comparing; 0 where empty or no number."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else 0


def _agree(one: int, other: int) -> bool:
    return one == other or 0 in (one, other)
