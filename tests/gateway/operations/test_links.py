"""Tests of gateway.operations.links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.links import note_link_event
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


async def test_a_link_event_is_kept_in_the_chain(bank: Bank) -> None:
    """Sign-on of a partner becomes one audit event that names link and event."""
    await note_link_event(bank, "himbara", "sign-on")
    (row,) = await as_owner(bank, "SELECT actor, operation, subject, detail::jsonb ->> 'event' FROM audit_event")
    assert ("link himbara", "link.event", "link himbara", "sign-on") == tuple(row)
