"""The bank's desk for messages that are no authorisation and need no lane. One entry, `Desk.serve`; it never fails.

A connection hands over what it has decoded, with MAC and sign-on checked, as a task of its own. DESK_LIMIT of them are served at
once; who waits for longer than the link waits for an answer is told 91. What a message lacks is answered 30, a database that is
away 91, anything else that goes wrong 96; nothing is half done.
Read next: file_action.py, totals.py, administrative.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.operations.desk import RESPONSE_CODE
from gateway.store.lane_connection import DATABASE_ERRORS, unreachable
from gateway.terminals import administrative, file_action, totals
from iso.describe import summary
from iso.errors import FormatError
from iso.response_codes import FORMAT_ERROR, INOPERATIVE, MALFUNCTION
from keys.errors import KeysError

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.terminals.profile import Link
    from iso.message import Message

DESK_LIMIT = 3
"""So many messages of a process are at the desk at once: each holds a database connection, totals for seconds."""
SERVED = {"3": file_action.serve, "5": totals.serve, "6": administrative.serve}
DESK_MTIS = frozenset(
    {"0300", "0301", "0302", "0303", "0320", "0321", "0322", "0323"}
    | {"0500", "0501", "0520", "0521"}
    | {"0600", "0601", "0620", "0621"}
)
REJECTS = frozenset({"0610", "0630"})
"""Answers that nobody waits for, which may reject something of ours. They are not answered."""

log = structlog.get_logger(__name__)


class Desk:
    """Of one running service."""

    def __init__(self, bank: Bank, limit: int = DESK_LIMIT) -> None:
        """LIMIT: messages served at once."""
        self._bank = bank
        self._places = asyncio.Semaphore(limit)

    async def serve(self, link: Link, message: Message) -> Message | None:
        """Do what a message of DESK_MTIS or REJECTS says. Its answer, also where something fails; None: a reject gets none."""
        try:
            async with asyncio.timeout(link.answer_timeout_s):
                await self._places.acquire()
        except TimeoutError:
            log.warning("desk.full", link=link.name, mti=message.mti)
            return None if message.mti in REJECTS else _answer(message, {RESPONSE_CODE: INOPERATIVE})
        try:
            if message.mti in REJECTS:
                await _take_reject(self._bank, link, message)
                return None
            return await serve(self._bank, link, message)
        finally:
            self._places.release()


async def serve(bank: Bank, link: Link, message: Message) -> Message:
    """Do what a message of DESK_MTIS asks. Returns its answer, also where something fails."""
    try:
        fields = await SERVED[message.mti[1]](bank, link, message)
    except FormatError as error:
        log.info("message.wrong", link=link.name, field=error.field, reason=error.reason, **summary(message))
        fields = {RESPONSE_CODE: FORMAT_ERROR}
    except (*DATABASE_ERRORS, KeysError) as error:
        log.error("desk.failed", link=link.name, error=type(error).__name__)  # noqa: TRY400 - may hold data
        fields = {RESPONSE_CODE: INOPERATIVE if unreachable(error) else MALFUNCTION}
    except Exception:  # a bug must not leave a partner without an answer
        log.exception("desk.failed", link=link.name, **summary(message))
        fields = {RESPONSE_CODE: MALFUNCTION}
    return _answer(message, fields)


async def _take_reject(bank: Bank, link: Link, message: Message) -> None:
    """A reject that could not be taken is lost; the message it is of is repeated, and rejected again."""
    try:
        await administrative.unasked(bank, link, message)
    except (*DATABASE_ERRORS, KeysError) as error:
        log.error("desk.failed", link=link.name, error=type(error).__name__)  # noqa: TRY400 - may hold data


def _answer(message: Message, fields: dict[int, str]) -> Message:
    answer = message.response()
    answer.fields.update(fields)
    return answer
