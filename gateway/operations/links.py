"""What a partner link did: a record of sign-on, sign-off and cut-over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.bank import transaction
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


async def note_link_event(bank: Bank, link: str, event: str) -> None:
    """Keep a link event in the audit chain."""
    async with transaction(bank, f"link {link}") as tx:
        await tx.record(Operation.LINK_EVENT, f"link {link}", event=event)
