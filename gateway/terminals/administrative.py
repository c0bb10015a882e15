"""Administrative messages of a partner (0600, 0620 and their repeats): text for people, and rejects of what we have sent.

Whatever free text a message has is kept as one, printable, at most 1,000 characters, with long numbers masked. A message with
DE90 rejects what DE90 names; an answer (0610, 0630) that nobody waits for rejects what has its DE11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.administrative import TEXT_MAX, note_reject, take_note
from gateway.telemetry import masked_text
from gateway.terminals.desk_key import asked_of
from iso.original_data import read_original_data

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.terminals.profile import Link
    from iso.message import Message

RESPONSE_CODE, STAN, ORIGINAL = 39, 11, 90
TEXTS = (44, 46, 47, 48, *range(56, 64), 104, *range(105, 128))
CONTENT = (RESPONSE_CODE, ORIGINAL, *TEXTS)


async def serve(bank: Bank, link: Link, message: Message) -> dict[int, str]:
    """The fields of the answer that are not echoed. Raises FormatError."""
    asked = asked_of(message, link, CONTENT)
    named = message.get(ORIGINAL)
    rejects = None if named is None else read_original_data(named).stan
    return await take_note(bank, asked, text_of(message), rejects, message.get(RESPONSE_CODE))


async def unasked(bank: Bank, link: Link, message: Message) -> bool:
    """An administrative answer nobody waits for: whether it rejects something of ours that is on its way."""
    return await note_reject(bank, link.name, message.get(STAN, ""), message.get(RESPONSE_CODE), text_of(message))


def text_of(message: Message) -> str:
    """All free text of a message, for people."""
    said = " ".join(message.fields[number] for number in TEXTS if number in message.fields)
    return masked_text("".join(one if one.isprintable() else " " for one in said)[:TEXT_MAX])
