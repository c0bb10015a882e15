"""A terminal's own record of what it sent and what it was told: JSON lines, appended and flushed one by one.

It outlives the bank's process, so it can be laid beside the bank's ledger after a crash: nothing answered 00 may be missing
there, nothing may be there twice. Holds no card number and no PIN: trace number, time and reference tell which message it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from gateway.simulator.errors import JournalError
from gateway.simulator.exchange import AMOUNT_EXPONENT
from iso.amount import read_amount, read_replacement
from iso.original_data import read_original_data

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from gateway.simulator.exchange import Exchange
    from iso.message import Message


class Event(StrEnum):
    """What happened."""

    SENT = "SENT"
    """Written before the first byte leaves."""
    ANSWERED = "ANSWERED"
    UNANSWERED = "UNANSWERED"
    """Time-out or connection lost: the terminal does not know."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. Amounts in rupiah; `transmitted` is DE7; `code` and `approval_code` are empty but for ANSWERED."""

    event: Event
    mti: str
    stan: str
    transmitted: str
    terminal: str
    acquirer: str
    rrn: str
    processing_code: str
    amount_idr: int
    kept_idr: int = 0
    original_stan: str = ""
    original_transmitted: str = ""
    code: str = ""
    approval_code: str = ""


class TerminalJournal:
    """The open file. Several terminals of one process may share it."""

    def __init__(self, path: Path) -> None:
        """Open for appending; a last line torn by a crash of this side is cut off, for it was never finished."""
        _cut_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def sent(self, request: Message) -> None:
        """Note that `request` is about to leave."""
        self._write(_entry(Event.SENT, request))

    def ended(self, exchange: Exchange) -> None:
        """Note the answer, or that none came."""
        answer = exchange.answer
        if answer is None:
            self._write(_entry(Event.UNANSWERED, exchange.request))
        else:
            self._write(_entry(Event.ANSWERED, exchange.request, exchange.code, answer.get(38, "")))

    def close(self) -> None:
        """Close the file. Twice is allowed."""
        self._file.close()

    def _write(self, entry: Entry) -> None:
        self._file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
        self._file.flush()


def read_journal(path: Path) -> list[Entry]:
    """All whole lines of a journal, in order. Raises JournalError naming the file and the line that is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"terminal journal {path}: {getattr(error, 'strerror', None) or 'is not text'}") from None
    lines = text.split("\n")[:-1]  # what follows the last line end is empty or torn
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            parts = json.loads(line)
            entries.append(Entry(**(parts | {"event": Event(parts["event"])})))
        except (ValueError, TypeError, KeyError):
            raise JournalError(f"terminal journal {path}: line {number} is damaged") from None
    return entries


def _entry(event: Event, request: Message, code: str = "", approval_code: str = "") -> Entry:
    original, replacement = request.get(90), request.get(95)
    named = None if original is None else read_original_data(original)
    kept = 0 if replacement is None else read_replacement(replacement, AMOUNT_EXPONENT).transaction_idr
    return Entry(
        event, request.mti, request.get(11, ""), request.get(7, ""), request.get(41, "").strip(), request.get(32, ""),
        request.get(37, "").strip(), request.get(3, ""), read_amount(request.get(4, "0"), AMOUNT_EXPONENT), kept,
        "" if named is None else named.stan, "" if named is None else named.transmitted, code, approval_code,
    )  # fmt: skip


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read()
        file.truncate(whole.rfind(b"\n") + 1)
