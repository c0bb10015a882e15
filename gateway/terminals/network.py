"""Network management (0800): sign-on and sign-off of a connection, cut-over, echo; key change is handed to security.

Refuses to know how messages travel (connection.py) and keys (security.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import clock
from gateway.operations.link_key_offers import KEY_CHANGES
from gateway.terminals import mapping
from iso.message import Message
from iso.response_codes import APPROVED, FORMAT_ERROR, INVALID_TRANSACTION

if TYPE_CHECKING:
    from gateway.terminals.connection import Connection
    from gateway.terminals.line import Line

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


def ours(line: Line, code: str) -> Message:
    """A network management request of our own. CODE: DE70."""
    return Message("0800", {7: f"{clock.now():%m%d%H%M%S}", 11: line.next_stan(), 70: code})
