"""What a partner link did: a record of sign-on, sign-off and cut-over, and of the profiles that were taken up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.bank import transaction
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.operations.bank import Bank


async def note_link_event(bank: Bank, link: str, event: str, times: int = 1) -> None:
    """Keep a link event in the audit chain, and how often it happened where that was more than once."""
    async with transaction(bank, f"link {link}") as tx:
        often = {"times": times} if times > 1 else {}
        await tx.record(Operation.LINK_EVENT, f"link {link}", event=event, **often)


async def note_links_taken_up(bank: Bank, profiles: Mapping[str, str], **what: list[str]) -> None:
    """Keep in the audit chain which profiles a process goes by from now on.

    PROFILES: digest of each by its link's name. WHAT: names of links by what became of them.
    """
    async with transaction(bank, "links") as tx:
        await tx.record(Operation.LINK_EVENT, "links", event="taken up", profiles=dict(profiles), **what)
