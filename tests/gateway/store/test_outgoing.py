"""Tests of gateway.store.outgoing: what is the head, and what the database lets nobody do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from gateway.store import outgoing
from tests.gateway.operations.test_outgoing import put
from tests.gateway.owner import as_owner

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

SENT = "UPDATE outgoing_message SET state = 'SENT', attempts = 1, first_sent_at = now(), last_sent_at = now()"


async def test_the_head_is_what_has_left_else_the_first(bank: Bank) -> None:
    """What was queued before and committed later does not overtake the one on its way; links do not wait for each other."""
    for link in ("himbara", "himbara", "alto", "himbara"):
        await put(bank, link=link)
    await as_owner(bank, f"{SENT} WHERE id = 2")
    async with bank.database.engine.begin() as connection:
        sent = await outgoing.send_head(connection, "himbara")
        other = await outgoing.send_head(connection, "alto")
        assert None is await outgoing.send_head(connection, "nobody")
    assert sent is not None
    assert other is not None
    assert [(2, 2), (3, 1)] == [(sent.id, sent.attempts), (other.id, other.attempts)]


async def test_the_head_waits_for_its_time(bank: Bank) -> None:
    """While it waits nothing of its link is due; what is late to answer names its attempt."""
    await put(bank)
    await put(bank)
    async with bank.database.engine.begin() as connection:
        sent = await outgoing.send_head(connection, "himbara")
        assert sent is not None
        assert await outgoing.again(connection, sent, None, "no answer", 60)
        assert (False, False) == await outgoing.work_of(connection, "himbara")
        assert None is await outgoing.send_head(connection, "himbara")
        (figures,) = await outgoing.figures(connection)
        assert ("himbara", 2, 1) == (figures.link, figures.waiting, figures.head_attempts)
    await as_owner(bank, "UPDATE outgoing_message SET next_at = now()")
    async with bank.database.engine.begin() as connection:
        assert (True, False) == await outgoing.work_of(connection, "himbara")
        assert None is not await outgoing.send_head(connection, "himbara")
        assert not await outgoing.again(connection, sent, None, "late", 60)


async def test_only_one_message_of_a_link_is_on_its_way(bank: Bank) -> None:
    """Whatever the program does, the database refuses a second."""
    await put(bank)
    await put(bank)
    with pytest.raises(IntegrityError, match="outgoing_in_flight"):
        await as_owner(bank, SENT)


async def test_a_long_queue_is_read_by_index(bank: Bank) -> None:
    """The head of twenty thousand is found without reading them."""
    await put(bank)
    columns = "link, mti, stan, transmitted, reference, content, subject, what, deletes, expires_at"
    copies = f"SELECT n, {columns} FROM outgoing_message, generate_series(10, 20000) n"
    await as_owner(bank, f"INSERT INTO outgoing_message (id, {columns}) {copies}")
    await as_owner(bank, "ANALYZE outgoing_message")
    for statement in (outgoing.WORK, outgoing.SEND_HEAD):
        plan = await as_owner(bank, f"EXPLAIN {statement.text}", link="himbara")
        assert not [row[0] for row in plan if "Seq Scan" in row[0]]
