"""The desk of a link: messages that are no authorisation and need no lane. One entry, `serve`; it always has an answer.

A connection hands over what it has decoded, with MAC and sign-on checked, as a task of its own, at most DESK_LIMIT at a time.
What a message lacks is answered 30, a database that is away 91, anything else that goes wrong 96; nothing is half done.
Read next: file_action.py, totals.py, administrative.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.operations.desk import RESPONSE_CODE
from gateway.store.lane_connection import DATABASE_ERRORS, unreachable
from gateway.terminals import administrative, file_action, totals
from iso.describe import summary
from iso.errors import FormatError
from keys.errors import KeysError

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.terminals.profile import Link
    from iso.message import Message

DESK_LIMIT = 4
"""So many messages of one connection are at the desk at once: each may hold a database connection, totals for seconds."""
SERVED = {"3": file_action.serve, "5": totals.serve, "6": administrative.serve}
DESK_MTIS = frozenset(
    {"0300", "0301", "0302", "0303", "0320", "0321", "0322", "0323"}
    | {"0500", "0501", "0520", "0521"}
    | {"0600", "0601", "0620", "0621"}
)
FORMAT, OVERLOAD, SYSTEM_ERROR = "30", "91", "96"

log = structlog.get_logger(__name__)


async def serve(bank: Bank, link: Link, message: Message) -> Message:
    """Do what a message of DESK_MTIS asks. Returns its answer, also where something fails."""
    try:
        fields = await SERVED[message.mti[1]](bank, link, message)
    except FormatError as error:
        log.info("message.wrong", link=link.name, field=error.field, reason=error.reason, **summary(message))
        fields = {RESPONSE_CODE: FORMAT}
    except (*DATABASE_ERRORS, KeysError) as error:
        log.error("desk.failed", link=link.name, error=type(error).__name__)  # noqa: TRY400 - may hold data
        fields = {RESPONSE_CODE: OVERLOAD if unreachable(error) else SYSTEM_ERROR}
    except Exception:  # a bug must not leave a partner without an answer
        log.exception("desk.failed", link=link.name, **summary(message))
        fields = {RESPONSE_CODE: SYSTEM_ERROR}
    answer = message.response()
    answer.fields.update(fields)
    return answer
