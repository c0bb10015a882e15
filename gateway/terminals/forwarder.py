"""Store and forward: the head of a link's queue is sent until it is answered for good, then the next.

One task a link in each process that has the link; an advisory lock says which of them sends. A message is marked as sent, and
that is committed, before its first byte leaves: whatever happens in between, a time-out, a lost connection, the end of the
process, it is sent again as a repeat (0303, 0421) with the same DE7, DE11 and DE37, and never as if it were new.
Read next: gateway/rules/outgoing.py, gateway/operations/outgoing.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from gateway.errors import Refused
from gateway.operations import link_key_offers
from gateway.operations import outgoing as operations
from gateway.rules.outgoing import OutgoingState, Verdict, judge, wait_s
from gateway.store import outgoing
from gateway.store.lane_connection import DATABASE_ERRORS
from gateway.store.outgoing import Figures
from gateway.terminals.security import zone_of
from iso.errors import FormatError, FrameError, LinkError
from keys.errors import KeysError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.operations.bank import Bank
    from gateway.store.link_locks import LinkLocks
    from gateway.store.outgoing import Outgoing
    from gateway.terminals.profile import Link
    from iso.message import Message

    Ask = Callable[[Message, float], Awaitable[Message]]

POLL_S = 1.0
RESPONSE_CODE = 39

log = structlog.get_logger(__name__)


class Forwarder:
    """Of one link in one process. ASK sends a message and waits so many seconds for its answer; READY: whether it can."""

    def __init__(
        self, bank: Bank, link: Link, ask: Ask, ready: Callable[[], bool], locks: LinkLocks, poll_s: float = POLL_S
    ) -> None:
        """LOCKS: the one set of locks of this process. start() begins."""
        self.link = link
        self._bank = bank
        self._ask = ask
        self._ready = ready
        self._locks = locks
        self._poll_s = poll_s
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def start(self) -> None:
        """Forward until close()."""
        self._task = asyncio.create_task(self._run(), name=f"forward-{self.link.name}")

    async def close(self) -> None:
        """Stop. What is on its way may be answered within the link's drain_s; after that, whoever comes next repeats it."""
        if self._task is None:
            return
        self._closing.set()
        await asyncio.wait({self._task}, timeout=self.link.drain_s)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        self._closing.clear()

    async def figures(self) -> Figures:
        """How the link's queue stands: for the status."""
        found = await operations.figures(self._bank, self.link.name)
        return found[0] if found else Figures(self.link.name, 0, None, 0, 0, 0)

    async def step(self) -> bool:
        """Look once: expire what is too old, send the head where it is due. Whether something was sent."""
        name = self.link.name
        async with self._bank.database.engine.connect() as connection:
            due, old = await outgoing.work_of(connection, name)
        if not old and not (due and self._ready()):
            return False
        async with self._locks.held(name) as ours:
            if not ours:
                return False
            if old:
                await operations.expire(self._bank, name)
            if not self._ready():
                return False
            async with self._bank.database.engine.begin() as connection:
                sent = await outgoing.send_head(connection, name)
            if sent is None:
                return False
            await self._send(sent)
        return True

    async def _run(self) -> None:
        while not self._closing.is_set():
            try:
                if await self.step():
                    continue
            except (*DATABASE_ERRORS, KeysError) as error:
                log.warning("forwarder.waits", link=self.link.name, error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._poll_s)

    async def _send(self, sent: Outgoing) -> None:
        """Send what is marked as sent, and write what came of it."""
        zone = zone_of(self.link)
        try:
            message = operations.message_of(self._bank, sent)
            if not await link_key_offers.may_go(self._bank, zone, message):
                await operations.finish(self._bank, sent, OutgoingState.REFUSED, None, link_key_offers.GONE)
                return
            answer = await self._ask(message, self.link.answer_timeout_s)
            code = answer.get(RESPONSE_CODE)
            verdict = judge(code, repeated=sent.attempts > 1, deletes=sent.deletes)
            verdict, trouble = await link_key_offers.outcome(self._bank, zone, message, answer, verdict)
        except (
            LinkError,
            KeysError,
            Refused,
        ) as error:  # Refused: another message of ours with its DE11 waits for an answer
            await self._again(sent, None, str(error))
            return
        except DATABASE_ERRORS as error:  # of what a key's message is looked up by
            await self._again(sent, None, type(error).__name__)
            return
        except (FormatError, FrameError) as error:  # the link's dialect cannot say it; it never will
            await operations.finish(self._bank, sent, OutgoingState.REFUSED, None, f"cannot be written: {error}")
            return
        except Exception as error:  # a bug: not tried again at once
            log.exception("forwarder.failed", link=self.link.name, outgoing=sent.id)
            await self._again(sent, None, f"failed: {type(error).__name__}")
            return
        if verdict is Verdict.AGAIN:
            await self._again(sent, code, f"answered {code}" if code else "answered without DE39")
        else:
            state = OutgoingState.ANSWERED if verdict is Verdict.DONE else OutgoingState.REFUSED
            await operations.finish(self._bank, sent, state, code, trouble)

    async def _again(self, sent: Outgoing, code: str | None, trouble: str) -> None:
        wait = wait_s(sent.attempts, self.link.outgoing.retry_s)
        async with self._bank.database.engine.begin() as connection:
            await outgoing.again(connection, sent, code, trouble, wait)
        log.info("outgoing.again", link=self.link.name, outgoing=sent.id, attempts=sent.attempts, trouble=trouble)
