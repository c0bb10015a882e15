"""Administrative messages of partners (06xx): free text for people, and rejects of what we have sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.operations import outgoing
from gateway.operations.desk import APPROVED, Asked, Done, once

if TYPE_CHECKING:
    from gateway.operations.bank import Bank, Transaction

TEXT_MAX = 1_000

_log = structlog.get_logger(__name__)


async def take_note(bank: Bank, asked: Asked, text: str, rejects: str | None, code: str | None) -> dict[int, str]:
    """Keep a message for people, once. REJECTS: DE11 of a message of ours that it names. CODE: its DE39, if any.

    TEXT: printable and masked; cut after 1,000 characters. Returns the fields of the answer that are not echoed.
    """
    sent = None if rejects is None else await outgoing.rejected(bank, asked.link, rejects, code, text)

    async def act(_tx: Transaction) -> Done:
        subject = "a message" if rejects is None else "a reject" if sent is None else f"outgoing {sent.id}"
        detail = {"text": text[:TEXT_MAX], "rejects": rejects, "code": code}
        return Done(
            APPROVED, subject, {name: value for name, value in detail.items() if value},
            trouble="the partner says something" if sent is None else f"the partner rejects outgoing message {sent.id}",
        )  # fmt: skip

    return await once(bank, asked, act)


async def note_reject(bank: Bank, link: str, stan: str, code: str | None, text: str) -> bool:
    """A reject came as an answer (0610, 0630). Whether it was of something of ours that is on its way."""
    sent = await outgoing.rejected(bank, link, stan, code, text)
    if sent is None:
        _log.warning("reject.unmatched", link=link, stan=stan, code=code)
    return sent is not None
