"""Answers to what no lane decides: network management, messages with an errand of their own, and what is turned down.

Each is answered, counted and told to the transaction log here. Refuses to know who may ask (connection.py) and what an errand
does (desk.py).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import structlog

from gateway.terminals import mapping
from gateway.terminals.incoming import FAILED
from gateway.terminals.transaction_log import KINDS, Told
from iso.errors import FormatError
from iso.response_codes import FORMAT_ERROR, MALFUNCTION

if TYPE_CHECKING:
    from gateway.terminals.connection import Connection
    from gateway.terminals.line import Line
    from iso.message import Message

log = structlog.get_logger(__name__)

RESPONSE_CODE = 39
UNREADABLE, WRONG, REFUSED, UNKNOWN_TYPE = "unreadable", "wrong", "refused", "unknown type"
"""What stops a message: bytes that the dialect has not, a field that is missing or wrong, what the link does not do, its type."""


def give(
    connection: Connection,
    message: Message,
    answer: Message | None,
    header: bytes | None,
    now: float,
    marks: tuple[tuple[str, float], ...] = (),
) -> None:
    """Answer what is not the lanes', count its time and tell of it. MARKS: its steps so far, each with its end."""
    stopped = None if answer is None else connection.reply(message, answer, header)
    line, ended = connection.line, monotonic()
    if answer is not None:
        line.counters.took(KINDS.get(message.mti[1], "OTHER"), ended - now)
    if line.events is not None:
        code = None if answer is None or stopped is not None else answer.get(RESPONSE_CODE)
        marks = (*marks, ("answered", ended))
        line.events.tell(Told(line.link.name, message, now, ended, code, stopped, marks=marks))


def turn_down(
    connection: Connection,
    message: Message | None,
    code: str,
    header: bytes | None,
    now: float,
    stopped: str,
    why: str = "",
) -> None:
    """Answer with a code alone what nobody has decided, count it and tell of it. STOPPED: what kept it from that, in a word."""
    unsent = connection.refuse(message, code, header)
    connection.line.counters.refused[stopped] += 1
    leave(connection, message, now, None if unsent else code, stopped, why)


def leave(
    connection: Connection, message: Message | None, now: float, code: str | None, stopped: str, why: str = ""
) -> None:
    """Tell of a message that nothing more is done with."""
    line = connection.line
    if line.events is not None:
        line.events.tell(Told(line.link.name, message, now, monotonic(), code, stopped, why))


def kept_out(line: Line) -> str:
    """Why a message is not taken now."""
    if line.draining:
        return "draining"
    return "full" if line.turns_away else "not signed on"


async def change_key(connection: Connection, message: Message, header: bytes | None, now: float) -> None:
    """A new key of the link: answered when it is kept."""
    began = monotonic()
    try:
        answer = await connection.line.security.key_change(message, connection)
        give(connection, message, answer, header, now, (("read", began), ("served", monotonic())))
    except Exception:
        log.exception("key.change.failed", link=connection.line.link.name)
        turn_down(connection, message, MALFUNCTION, header, now, FAILED)
    finally:
        connection.in_flight -= 1
        connection.line.leaves()


def send_on(connection: Connection, message: Message, header: bytes | None, now: float) -> None:
    """Have a message served that is not the lanes', beside the others."""
    connection.in_flight += 1
    connection.line.enters()
    connection.line.spawn(_run(connection, message, header, now))


async def _run(connection: Connection, message: Message, header: bytes | None, now: float) -> None:
    """Serve a message that is not the lanes'."""
    line = connection.line
    began = monotonic()
    try:
        answer = await line.errands[message.mti](line.link, message)
    except FormatError as error:
        turn_down(connection, message, FORMAT_ERROR, header, now, WRONG, str(error))
    except mapping.Declined as error:
        turn_down(connection, message, error.code, header, now, REFUSED, str(error))
    except Exception:
        log.exception("errand.failed", link=line.link.name, mti=message.mti)
        turn_down(connection, message, MALFUNCTION, header, now, FAILED)
    else:
        give(connection, message, answer, header, now, (("read", began), ("served", monotonic())))
    finally:
        connection.in_flight -= 1
        line.leaves()
