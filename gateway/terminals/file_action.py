"""File actions of a partner (0300, 0302, 0320, 0322 and their repeats): message to operation. Knows no socket and no database.

DE2 the card, DE91 what to do (1 add, 2 change, 3 delete), DE60 the reason in its first four characters, DE101 the file: the
link's hot list, or left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.desk import RESPONSE_CODE
from gateway.operations.file_action import FileAction, act_on_file, keep_advice
from gateway.operations.hot_list import FILE_NAME, PAN, REASON, UPDATE
from gateway.rules.hot_list import NOT_PERMITTED, FileUpdate
from gateway.terminals.desk_key import asked_of, need
from iso.errors import FormatError
from keys.errors import PanRefused
from keys.sensitive import Pan

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.terminals.profile import Link
    from iso.message import Message

CONTENT = (PAN, REASON, UPDATE, FILE_NAME)
NOT_SUPPORTED = "24"
REASON_LENGTH = 4
ECHOED = (UPDATE, FILE_NAME)


async def serve(bank: Bank, link: Link, message: Message) -> dict[int, str]:
    """The fields of the answer that are not echoed by every answer. Raises FormatError."""
    asked = asked_of(message, link, CONTENT)
    action = _action(message)
    echoed = {number: message.fields[number] for number in ECHOED if number in message.fields}
    code = ""
    if not link.file_actions:
        code = NOT_PERMITTED
    elif action is None or message.get(FILE_NAME, link.outgoing.hot_list_file).strip() != link.outgoing.hot_list_file:
        code = NOT_SUPPORTED
    if action is not None and not code:
        return echoed | await act_on_file(bank, asked, action)
    return echoed | (await keep_advice(bank, asked, code) if asked.is_advice else {RESPONSE_CODE: code})


def _action(message: Message) -> FileAction | None:
    """What is asked; None: nothing that we do."""
    try:
        pan = Pan(need(message, PAN))
    except PanRefused:
        raise FormatError(PAN, "is not a card number") from None
    update = need(message, UPDATE)
    reason = message.get(REASON, "")[:REASON_LENGTH]
    if update not in set(FileUpdate):
        return None
    return FileAction(pan, FileUpdate(update), reason if len(reason) == REASON_LENGTH and reason.isdigit() else "")
