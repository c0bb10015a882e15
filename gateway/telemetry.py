"""Structured logs, one JSON object a line, to standard error. A last guard masks whatever looks like a card or identity number.

Nothing sensitive is given to the log in the first place (iso.describe masks messages); the guard is for what slips through.
What is told of every message goes through Outlet, which never waits for whoever reads the log.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import select
import stat
import sys
import termios
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import TextIO

KEPT_BYTES = 1_000_000
"""So much is kept of lines that cannot be written yet."""
PIECE_BYTES = select.PIPE_BUF  # a pipe that has any room takes so much without waiting
NO_NUMBER = -1
LONG_NUMBER = re.compile(r"(?<![0-9])([0-9]{6})[0-9]{3,}([0-9]{4})(?![0-9])")
LONG_HEX = re.compile(r"(?<![0-9A-Za-z])(?=[0-9A-Fa-f]*[A-Fa-f])[0-9A-Fa-f]{16,}(?![0-9A-Za-z])")
LONG_RUN = re.compile(r"[0-9A-Za-z]{13,}")
_RUN = b"x" * 13
_RUNS = bytes(ord("x") if chr(code) in "0123456789abcdefABCDEF" else ord(" ") for code in range(256))
NEVER_LOGGED = frozenset({"pan", "pin", "nik", "no_kk", "key", "track2", "pin_block", "mother_name", "password"})


def configure(level: str) -> None:
    """Set up logging for a process. LEVEL: debug, info, warning or error."""
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", force=True)


def mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop fields that must never be logged and mask long numbers and hex in the rest."""
    for name, value in list(event.items()):
        if name.lower() in NEVER_LOGGED:
            event[name] = "[not logged]"
        elif isinstance(value, str):
            event[name] = masked_text(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"[{len(value)} bytes]"
        elif isinstance(value, int) and not isinstance(value, bool):
            event[name] = value if abs(value) < 10**12 else masked_text(str(value))
        elif value is not None and not isinstance(value, bool | float):
            event[name] = masked_text(str(value))
    return event


def masked_text(text: str) -> str:
    """TEXT with every run of 13 or more digits and of 16 or more hex characters masked."""
    if _RUN not in text.encode("ascii", "replace").translate(
        _RUNS
    ):  # most text: found out 30 times faster than by looking
        return text
    return LONG_RUN.sub(_masked_run, text)


def _masked_run(found: re.Match[str]) -> str:
    return LONG_NUMBER.sub(r"\1***\2", LONG_HEX.sub("[hex]", found[0]))


class Outlet:
    """Lines to a file that may be a pipe or socket which nobody empties: they are kept for a while, then dropped; nobody waits.

    What others write to the same file finds room: a pipe is filled to its half at most. LOST: lines that were dropped.
    """

    def __init__(self, file: TextIO) -> None:
        """FILE: not closed. One without a number of its own is written to as it is."""
        self.lost = 0
        self._file = file
        self._kept: deque[bytes] = deque()  # pieces of whole lines
        self._bytes = 0
        self._room = 0  # half of what a pipe holds; 0: it is none
        self._poll: select.poll | None = None  # None: a file of a disk, which takes what it gets
        try:
            self._number = file.fileno()
        except (OSError, ValueError):
            self._number = NO_NUMBER
            return
        mode = os.fstat(self._number).st_mode
        if stat.S_ISFIFO(mode):
            self._room = fcntl.fcntl(self._number, fcntl.F_GETPIPE_SZ) // 2
        if not stat.S_ISREG(mode):
            self._poll = select.poll()
            self._poll.register(self._number, select.POLLOUT)

    @property
    def waiting(self) -> bool:
        """Whether something is kept that could not be written yet: say again()."""
        return bool(self._kept)

    def write(self, text: str) -> None:
        """Write TEXT, whole lines, or keep or drop it."""
        if self._number == NO_NUMBER:
            self._file.write(text)
            self._file.flush()
            return
        self._keep(text.encode())
        self.again()

    def again(self) -> None:
        """Write what is kept, as far as there is room. Where nobody reads any more it is dropped."""
        while self._kept and self._takes():
            self._put()

    def finish(self, wait_s: float) -> None:
        """Write what is kept, for good: whoever reads gets WAIT_S for each piece."""
        while self._kept and (self._poll is None or self._poll.poll(wait_s * 1_000)):
            self._put()
        self.lost += sum(piece.count(b"\n") for piece in self._kept)
        self._kept.clear()
        self._bytes = 0

    def _keep(self, data: bytes) -> None:
        """Cut into pieces of whole lines that a pipe takes at once."""
        start = 0
        while start < len(data):
            end = len(data) if self._poll is None else data.rfind(b"\n", start, start + PIECE_BYTES) + 1
            if end <= start:  # a line that is longer than any is
                end = data.find(b"\n", start) + 1 or len(data)
                self.lost += 1
            elif self._bytes + end - start > KEPT_BYTES and self._poll is not None:
                self.lost += data.count(b"\n", start)
                return
            else:
                self._kept.append(data[start:end])
                self._bytes += end - start
            start = end

    def _takes(self) -> bool:
        """Whether a piece can be written without waiting, and leaves room."""
        if self._poll is None:
            return True
        if not self._poll.poll(0):
            return False
        if not self._room:
            return True
        held = bytearray(4)
        fcntl.ioctl(self._number, termios.FIONREAD, held)
        return int.from_bytes(held, sys.byteorder) < self._room

    def _put(self) -> None:
        piece = self._kept.popleft()
        self._bytes -= len(piece)
        try:
            while piece:
                piece = piece[os.write(self._number, piece) :]
        except OSError:  # nobody reads any more: a service does not end for that
            self.lost += piece.count(b"\n")
