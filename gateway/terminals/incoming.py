"""A request of a partner's that waits for its outcome: answered once, counted, and told to the transaction log.

What a lane calls. Refuses to know how bytes travel (connection.py) and what the outcome means on the wire (mapping.py).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from gateway.terminals import mapping
from gateway.terminals.transaction_log import Decided, Told

if TYPE_CHECKING:
    from gateway.operations.authorise import Outcome
    from gateway.operations.lane import Passage
    from gateway.rules.authorise import Request
    from gateway.terminals.connection import Connection
    from iso.message import Message

ABANDONED, EXPIRED, UNDECIDED, FAILED = "abandoned", "expired", "undecided", "failed"
"""Why a request has no answer: its caller had gone, its time was over, nobody knows whether it was committed, a bug."""


class Incoming:
    """Called with the outcome, once: then it is answered. READ: when it stood in a lane's queue, where that is wanted."""

    __slots__ = ("_connection", "_header", "_message", "_passage", "_request", "_since", "_stopped", "read")

    def __init__(
        self, connection: Connection, message: Message, header: bytes | None, since: float, request: Request
    ) -> None:
        """SINCE: when it came, by the monotonic clock."""
        self._connection = connection
        self._message = message
        self._header = header
        self._since = since
        self._request = request
        self._passage: Passage | None = None
        self._stopped: str | None = None
        self.read = 0.0

    def __call__(self, outcome: Outcome | None) -> None:
        """Answer. None: no honest answer exists (gateway.operations.lane), or nobody waits for one."""
        connection, message = self._connection, self._message
        line = connection.line
        connection.in_flight -= 1
        line.leaves()
        if outcome is None:
            if self._stopped is None:
                self._stopped = UNDECIDED
                line.counters.undecided += 1
            self._tell(None, monotonic())
            return
        try:
            self._stopped = connection.reply(message, mapping.to_answer(message, outcome, line.link), self._header)
        except Exception:
            self._stopped = FAILED
            self._tell(outcome, monotonic())
            raise
        ended = monotonic()
        line.counters.took(self._request.kind, ended - self._since)
        if line.events is not None:
            self._tell(outcome, ended)

    def passed(self, passage: Passage) -> None:
        """How it went through its lane."""
        self._passage = passage

    def alive(self) -> bool:
        """Whether somebody still waits: asked before it is decided. Where nobody does it is counted, and no money moves."""
        line = self._connection.line
        if self._connection.transport is None:
            line.counters.abandoned += 1
            self._stopped = ABANDONED
            return False
        if monotonic() - self._since > line.link.answer_timeout_s:
            line.counters.expired += 1
            self._stopped = EXPIRED
            return False
        return True

    def _tell(self, outcome: Outcome | None, ended: float) -> None:
        line, passage, stopped = self._connection.line, self._passage, self._stopped
        if line.events is None:
            return
        link, message, request = line.link.name, self._message, self._request
        plain = outcome is not None and stopped is None and outcome.stand_in is None
        if plain and outcome is not None and passage is not None and passage.attempts == 1:
            line.events.tell(Decided(link, message, self._since, ended, request, outcome, self.read, passage))
            return
        code = outcome.response_code if outcome is not None and stopped is None else None
        line.events.tell(
            Told(
                link, message, self._since, ended, code, stopped,
                request=request, outcome=outcome, read=self.read, passage=passage,
            )
        )  # fmt: skip
