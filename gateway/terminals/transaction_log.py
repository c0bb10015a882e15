"""One event in the log for each message of a partner: what it was, masked, what came of it, and how long each step took.

It is told when the message is answered, or when it is clear that it will not be, and written when the answers of the turn have
left. The fields are explained in docs/operations.md. Refuses to know how messages travel and what they mean.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway import clock
from gateway.operations.lane import STEPS
from gateway.rules.authorise import DeclineReason
from gateway.telemetry import Outlet, masked_text
from iso.describe import summary_members
from iso.response_codes import FORMAT_ERROR, INOPERATIVE, MALFUNCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.authorise import Outcome
    from gateway.operations.lane import Passage
    from gateway.rules.authorise import Request
    from gateway.settings import Settings
    from iso.message import Message

log = structlog.get_logger(__name__)

AGAIN_S = 0.05  # between two tries to write what a full pipe did not take
CLOSING_S = 1.0  # at the end, for whoever reads the log to take what is kept
WHY_MAX = 200  # characters
_BOOLEAN = ("false", "true")
_DECIDED = (
    '{"channel": "%s", "code": %s, %s, "event": "transaction", "group": %d, "kind": "%s", "lane": %d, '
    '"level": "info", "link": "%s", "ms": %.3f, "mti": "%s", "reason": "%s", "replayed": %s, '
    '"steps": {"read": %.3f, "queued": %.3f, %s"answered": %.3f}, "timestamp": "%s"}\n'
)
KINDS = {"3": "FILE_ACTION", "5": "TOTALS", "6": "ADMINISTRATIVE", "8": "NETWORK"}
"""Of messages that are not the lanes', by their class (second digit of the MTI)."""
TROUBLE_REASONS = frozenset({DeclineReason.OVERLOAD, DeclineReason.SYSTEM_ERROR})
TROUBLE_CODES = frozenset({FORMAT_ERROR, INOPERATIVE, MALFUNCTION})


class Told(NamedTuple):
    """What became of one message. Moments are seconds of the monotonic clock.

    CAME: its last byte. ENDED: its answer was made, or it was clear that there is none. CODE: DE39 of the answer, where there is
    one. STOPPED: what kept it from being decided or answered; WHY: in words, without values. MARKS: the steps of one that is not
    the lanes', each with its end. READ, PASSAGE: of the lanes' ones, when it stood in the queue (0: never) and how its group
    went. OURS: we asked.
    """

    link: str
    message: Message | None
    came: float
    ended: float
    code: str | None = None
    stopped: str | None = None
    why: str = ""
    marks: tuple[tuple[str, float], ...] = ()
    request: Request | None = None
    outcome: Outcome | None = None
    read: float = 0.0
    passage: Passage | None = None
    ours: bool = False


class Decided(NamedTuple):
    """What nearly every message is: decided by its lane at the first attempt, and answered."""

    link: str
    message: Message
    came: float
    ended: float
    request: Request
    outcome: Outcome
    read: float
    passage: Passage


class TransactionLog:
    """Of one process. Events go out by OUTLET, which never waits; what it had to drop is told when there is room again."""

    def __init__(self, outlet: Outlet, *, every: bool = True, slow_ms: int = 0) -> None:
        """EVERY: all messages; otherwise those in trouble, which an answer is that took SLOW_MS or more."""
        self._outlet = outlet
        self._every = every
        self._slow_s = slow_ms / 1_000
        self._told: list[Told | Decided] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lost_told = 0

    @property
    def lost(self) -> int:
        """Events that were dropped, since nobody read them."""
        return self._outlet.lost

    def tell(self, told: Told | Decided) -> None:
        """Have it written in this turn of the loop, behind the answers."""
        if not self._every and not self._in_trouble(told):
            return
        if not self._told:
            asyncio.get_running_loop().call_soon(self._write)
        self._told.append(told)

    def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._write()
        self._outlet.finish(CLOSING_S)

    def _in_trouble(self, told: Told | Decided) -> bool:
        if told.ended - told.came >= self._slow_s:
            return True
        if isinstance(told, Decided):
            return told.outcome.reason in TROUBLE_REASONS
        if (
            told.stopped is not None
            or told.code in TROUBLE_CODES
            or (told.passage is not None and told.passage.attempts > 1)
        ):
            return True
        outcome = told.outcome
        return outcome is not None and (outcome.stand_in is not None or outcome.reason in TROUBLE_REASONS)

    def _write(self) -> None:
        told, self._told = self._told, []
        stamp = clock.now().replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        text = "".join(lines_of(told, stamp))
        lost = self._outlet.lost
        if lost > self._lost_told and not self._outlet.waiting:
            lost, self._lost_told = lost - self._lost_told, lost
            text += f'{{"event": "transactions.lost", "level": "warning", "lost": {lost}, "timestamp": "{stamp}"}}\n'
        self._outlet.write(masked_text(text))
        if self._outlet.waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        self._timer = None
        self._outlet.again()
        if self._outlet.waiting or self._outlet.lost > self._lost_told:
            self._write()


def transaction_log(settings: Settings) -> TransactionLog | None:
    """As the settings say, to standard error; None: there is to be none."""
    if settings.transaction_log == "none" or not log.is_enabled_for(logging.INFO):
        return None
    return TransactionLog(Outlet(sys.stderr), every=settings.transaction_log == "all", slow_ms=settings.slow_ms)


def lines_of(told: Sequence[Told | Decided], stamp: str) -> list[str]:
    """Each as one line of JSON. STAMP: the moment of writing. Members of a group stand side by side, its steps are made once."""
    lines = []
    passage, group = None, ("", 0, 0)
    for one in told:
        if one.passage is not None and one.passage is not passage:
            passage, group = one.passage, _group_steps(one.passage)
        lines.append(_decided(one, group, stamp) if isinstance(one, Decided) else _line(one, group, stamp))
    return lines


def _decided(told: Decided, group: tuple[str, int, int], stamp: str) -> str:
    """What _line would make, in one go and half the time."""
    link, message, came_s, ended_s, request, outcome, read_s, passage = told
    came, read, ended, (text, formed, done) = int(came_s * 1e6), int(read_s * 1e6), int(ended_s * 1e6), group
    return _DECIDED % (
        request.channel, _quoted(outcome.response_code), summary_members(message), passage.size, request.kind, passage.lane,
        link, (ended - came) / 1_000, message.mti, outcome.reason, _BOOLEAN[outcome.replayed], (read - came) / 1_000,
        (formed - read) / 1_000, text, (ended - done) / 1_000, stamp,
    )  # fmt: skip


def _line(told: Told, group: tuple[str, int, int], stamp: str) -> str:
    """Its members in the order of their names, but the steps in theirs. What is no number or word of ours is quoted as JSON."""
    message, request, outcome, passage = told.message, told.request, told.outcome, told.passage
    parts = []
    if passage is not None and passage.attempts > 1:
        parts.append(f'"attempts": {passage.attempts}')
    if request is not None:
        parts.append('"channel": "' + request.channel + '"')
    if told.code is not None:
        parts.append('"code": ' + _quoted(told.code))
    if message is not None and (fields := summary_members(message)):
        parts.append(fields)
    parts.append('"event": "transaction"')
    if passage is not None:
        parts.append(f'"group": {passage.size}')
    if request is not None:
        parts.append('"kind": "' + request.kind + '"')
    elif message is not None and message.mti[1:2] in KINDS:
        parts.append(f'"kind": "{KINDS[message.mti[1:2]]}"')
    if passage is not None:
        parts.append(f'"lane": {passage.lane}')
    came, ended = int(told.came * 1e6), int(told.ended * 1e6)
    parts.append(f'"level": "info", "link": "{told.link}", "ms": {(ended - came) / 1_000:.3f}')
    if message is not None:
        parts.append('"mti": ' + _quoted(message.mti))
    if told.ours:
        parts.append('"ours": true')
    if outcome is not None:
        parts.append('"reason": "' + outcome.reason + '", "replayed": ' + ("true" if outcome.replayed else "false"))
    if outcome is not None and outcome.stand_in is not None:
        parts.append(f'"stand_in": {outcome.stand_in}')
    parts.append('"steps": {' + _steps(told, group, came, ended) + "}")
    if told.stopped is not None:
        parts.append(f'"stopped": "{told.stopped}"')
    parts.append(f'"timestamp": "{stamp}"')
    if told.why:
        parts.append('"why": ' + json.dumps(told.why[:WHY_MAX]))
    return "{" + ", ".join(parts) + "}\n"


def _steps(told: Told, group: tuple[str, int, int], came: int, ended: int) -> str:
    """Each with its milliseconds, one after the other. GROUP: text, begin and end of its group's; CAME, ENDED: microseconds."""
    if told.request is None:
        marks = told.marks or (("read", told.ended),)
        moments = [came, *(int(at * 1e6) for _, at in marks)]
        return _spans(tuple(name for name, _ in marks), moments)
    if not told.read:
        return _spans(("read",), [came, ended])
    read = int(told.read * 1e6)
    if told.passage is None:
        return _spans(("read", "queued"), [came, read, ended])
    text, formed, done = group
    if told.outcome is None:
        return _spans(("read", "queued", "failed"), [came, read, formed, ended])
    return (
        f'"read": {(read - came) / 1_000:.3f}, "queued": {(formed - read) / 1_000:.3f}, {text}'
        f'"answered": {(ended - done) / 1_000:.3f}'
    )


def _group_steps(passage: Passage) -> tuple[str, int, int]:
    """The steps of a group that all its members share, and when the first began and the last ended, in microseconds."""
    formed, began = int(passage.formed * 1e6), int(passage.began * 1e6)
    moments = [began, *(int(at * 1e6) for at in passage.stamps)]
    names = STEPS[: len(passage.stamps)]
    if began > formed:
        names, moments = ("failed", *names), [formed, *moments]
    text = _spans(names, moments)
    return text + ", " if text else "", formed, moments[-1]


def _spans(names: tuple[str, ...], moments: list[int]) -> str:
    """'"read": 0.120, "queued": 1.004': the time from each moment to the next, by the name of what ended then."""
    return _template(names) % tuple([(after - before) / 1_000 for before, after in pairwise(moments)])


@lru_cache(maxsize=64)
def _template(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}": %.3f' for name in names)


def _quoted(text: str) -> str:
    return f'"{text}"' if text.isascii() and text.isalnum() else json.dumps(text)
