"""Network management (0800): sign-on and sign-off of a connection, cut-over, echo, and silence; key change is security's.

Refuses to know how messages travel (connection.py) and keys (security.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway import clock
from gateway.errors import Refused
from gateway.operations.link_key_offers import KEY_CHANGES
from gateway.terminals import mapping
from iso.errors import FormatError, FrameError, LinkError, LinkTimeout
from iso.message import Message
from iso.response_codes import APPROVED, FORMAT_ERROR, INVALID_TRANSACTION

if TYPE_CHECKING:
    from gateway.terminals.connection import Connection
    from gateway.terminals.line import Line

log = structlog.get_logger(__name__)

SIGN_ON, SIGN_OFF, CUT_OVER, ECHO = "001", "002", "201", "301"
KEPT = {SIGN_ON: "sign-on", SIGN_OFF: "sign-off", CUT_OVER: "cut-over"}
"""What is kept as a link event. A cut-over moves nothing: the books follow the business date (gateway.rules.settlement)."""


def changes_key(line: Line, request: Message) -> bool:
    """Whether a network management request brings a key, on a link that takes keys: security answers it, which takes a while."""
    return request.get(70) in KEY_CHANGES and line.link.zone_master_key is not None


def answer(connection: Connection, request: Message) -> Message:
    """Do what a network management request says, and its answer: 00, 12 for a code nobody knows, 30 without DE70."""
    line = connection.line
    code = request.get(70)
    if code is None:
        return mapping.refused(request, FORMAT_ERROR)
    if code not in KEPT and code != ECHO:
        return mapping.refused(request, INVALID_TRANSACTION)
    if code == SIGN_ON:
        connection.signed_on = True
    elif code == SIGN_OFF:
        connection.signed_on = False
    if code in KEPT:
        line.note(KEPT[code])
    return mapping.refused(request, APPROVED)


def mind_silence(connection: Connection, now: float) -> None:
    """Close a connection over which nothing came for idle_close_s; before that, ask for an echo after each echo_s."""
    line = connection.line
    link = line.link
    silent_s = now - connection.last
    if link.idle_close_s and not connection.in_flight and silent_s >= link.idle_close_s:
        line.counters.silent += 1
        log.info("link.idle", link=link.name)
        connection.close()
        return
    ready = connection.signed_on or not link.sign_on_required
    if 0 < link.asks_after_s <= silent_s and ready and not connection.echoing:
        connection.echoing = True
        line.spawn(_ask_echo(connection))


async def _ask_echo(connection: Connection) -> None:
    """Ask whether the partner is there; echo_tries times without a byte back, and the connection is closed.

    Whatever comes says that the partner is there, an answer or not.
    """
    line = connection.line
    try:
        for _ in range(line.link.echo_tries):
            heard = connection.last
            try:
                await connection.ask(ours(line, ECHO))
            except LinkTimeout:
                if connection.last == heard:
                    continue
            return
    except (LinkError, FormatError, FrameError, Refused) as error:
        log.info("link.echo.not_sent", link=line.link.name, reason=str(error))
        return
    finally:
        connection.echoing = False
    line.counters.silent += 1
    log.warning("link.silent", link=line.link.name, echoes=line.link.echo_tries)
    connection.abort()


def ours(line: Line, code: str) -> Message:
    """A network management request of our own. CODE: DE70."""
    return Message("0800", {7: f"{clock.now():%m%d%H%M%S}", 11: line.next_stan(), 70: code})
