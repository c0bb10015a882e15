"""A captured link as a file: a line a message, to look at, to keep as evidence, and to send again.

    2026-11-28T12:00:01.250Z > 30323030... card=3 left=2,14,52     2026-11-28T12:00:01.262Z < 30323130... card=3 left=2

Time (UTC) and direction (`>` sent, `<` received by whoever wrote the file) may be left out; what stands between is the
message in hexadecimal, with or without its length header. `#` begins a comment. What nobody but the card's owner and the bank
may know (card number, expiry, tracks, PIN blocks, chip data) is left out of the messages: `card` is the card's place in the
wallet (0: none of its cards) and `left` the fields, so that they can be put in again from the wallet. Only where it is asked
for by name are messages of the wallet's own cards written whole. Read next: replay.py.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from gateway.simulator.errors import CaptureError
from iso.codec import encode
from iso.errors import FormatError
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.simulator.profile import Profile
    from gateway.simulator.wallet import TestCard

SENSITIVE = frozenset({2, 14, 34, 35, 36, 45, 52, 53, 55, 102, 103, 125})
_MACS = frozenset({64, 128})
_MODE = 0o600
_LINE = re.compile(
    r"(?:(?P<moment>\d{4}-\d\d-\d\dT\S+)\s+)?(?:(?P<way>[<>])\s*)?(?P<data>[0-9A-Fa-f]+)"
    r"(?:\s+card=(?P<card>\d+))?(?:\s+left=(?P<left>\d+(?:,\d+)*))?"
)
_LARGEST_LINE = 20_000


class Way(StrEnum):
    """Which way a message went, seen from who wrote the file."""

    SENT = ">"
    RECEIVED = "<"


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a file.

    `card`: place in the wallet, 0 for none of it, None where nothing was left out; `left`: the fields that were.
    """

    number: int
    data: bytes
    way: Way = Way.SENT
    moment: datetime | None = None
    card: int | None = None
    left: frozenset[int] = frozenset()


class Capture:
    """The open file, mode 0600. `cards`: those of the wallet; `unmasked`: whether their messages are written whole."""

    def __init__(
        self,
        path: Path,
        profile: Profile,
        cards: Sequence[TestCard],
        *,
        clock: Callable[[], datetime],
        unmasked: bool = False,
    ) -> None:
        """Begin a new file. Raises CaptureError where it is there already, or cannot be made."""
        self._dialect = profile.dialect
        self._sensitive = SENSITIVE | profile.pin_fields
        self._places = {card.pan.reveal(): place for place, card in enumerate(cards, 1)}
        self._clock = clock
        self._unmasked = unmasked
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        except OSError as error:
            raise CaptureError(f"capture {path}: {error.strerror}") from None
        self._file = os.fdopen(handle, "w", encoding="ascii")

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._file.close()

    def sent(self, message: Message) -> None:
        """A message leaves."""
        self._write(Way.SENT, message)

    def received(self, message: Message) -> None:
        """A message came."""
        self._write(Way.RECEIVED, message)

    def _write(self, way: Way, message: Message) -> None:
        place = self._places.get(message.get(2, ""), 0)
        left = sorted(self._sensitive & set(message.fields))
        whole = not left or (self._unmasked and place > 0)
        shown = message if whole else _without(message, left)
        try:
            data = encode(shown, self._dialect).hex().upper()
        except FormatError:
            self._file.write(f"# {way} a message of type {message.mti[:4]!a} that cannot be written\n")
            return
        notes = "" if whole else f" card={place} left={','.join(map(str, left))}"
        moment = f"{self._clock():%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        self._file.write(f"{moment}Z {way} {data}{notes}\n")
        self._file.flush()


def read_capture(path: Path) -> list[Line]:
    """The messages of a file, in order. Raises CaptureError naming the line that is none; what stands in it is not shown."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise CaptureError(f"capture {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CaptureError(f"capture {path}: is not text") from None
    found = []
    for number, text in enumerate(lines, 1):
        text = text.partition("#")[0].strip()  # noqa: PLW2901 - the line without its comment
        if text:
            found.append(_line(path, number, text))
    if not found:
        raise CaptureError(f"capture {path}: holds no message")
    return found


def _line(path: Path, number: int, text: str) -> Line:
    parts = _LINE.fullmatch(text) if len(text) <= _LARGEST_LINE else None
    if parts is None or len(parts["data"]) % 2:
        raise CaptureError(f"capture {path}: line {number} is not: time, < or >, hexadecimal digits, card=, left=")
    try:
        moment = None if parts["moment"] is None else datetime.fromisoformat(parts["moment"])
        if moment is not None and moment.tzinfo is None:
            raise ValueError  # noqa: TRY301 - a time without zone is told like one that is none
    except ValueError:
        raise CaptureError(f"capture {path}: line {number}: the time is none like 2026-11-28T12:00:01.250Z") from None
    left = frozenset(int(field) for field in (parts["left"] or "").split(",") if field)
    card = None if parts["card"] is None else int(parts["card"])
    return Line(number, bytes.fromhex(parts["data"]), Way(parts["way"] or Way.SENT), moment, card, left)


def _without(message: Message, left: Sequence[int]) -> Message:
    """MESSAGE without those fields, and without the MAC that covered them."""
    gone = {*left, *_MACS}
    return Message(message.mti, {number: text for number, text in message.fields.items() if number not in gone})
