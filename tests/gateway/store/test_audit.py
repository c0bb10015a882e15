"""Tests of gateway.store.audit. Tampering is tested with gateway.operations.proof."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.store import audit
from gateway.store.audit import FIRST_HASH, Head, Operation

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

AT = datetime(2026, 11, 23, 1, 2, 3, 4, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


def _mac(data: bytes) -> bytes:
    return hashlib.sha256(b"key" + data).digest()


def _verify(data: bytes, mac: bytes) -> bool:
    return _mac(data) == mac


async def test_events_are_chained_and_hold(engine: AsyncEngine) -> None:
    """Each event has the next number and covers the one before it; the head is the last one."""
    async with engine.begin() as connection:
        for number in range(3):
            detail = {"n": number, "text": "ä", "none": None}
            await audit.append(connection, _mac, AT, "siti", Operation.LINK_EVENT, f"link {number}", detail)
        heads = await audit.heads(connection)
        assert ["operations"] == list(heads)
        assert 3 == heads["operations"].seq
        assert (3, None) == await audit.verify_stream(connection, _verify, "operations", heads["operations"])
        count, wrong = await audit.verify_stream(connection, lambda *_: False, "operations", heads["operations"])
        assert (0, "event 1 (link.event link 0) was changed or moved") == (count, wrong)


async def test_streams_are_apart(engine: AsyncEngine) -> None:
    """A new stream starts at nothing; what is in one is not in another."""
    async with engine.begin() as connection:
        assert Head(0, FIRST_HASH) == await audit.lock_head(connection, "lane-0")
        await audit.append(connection, _mac, AT, "siti", Operation.LINK_EVENT, "link", {})
        heads = await audit.heads(connection)
        assert {"lane-0": 0, "operations": 1} == {name: head.seq for name, head in heads.items()}
        assert (0, None) == await audit.verify_stream(connection, _verify, "lane-0", heads["lane-0"])
        wrong = (0, "the chain ends at event 0, its head says 5")
        assert wrong == await audit.verify_stream(connection, _verify, "lane-0", Head(5, FIRST_HASH))


@given(st.lists(TEXT, min_size=3, max_size=3), st.lists(TEXT, min_size=3, max_size=3), st.integers(0, 2**40))
def test_two_different_events_have_different_macs(one: list[str], other: list[str], seq: int) -> None:
    """Actor, subject and stream cannot be shifted into each other, and the number counts."""

    def made(parts: list[str], after: int) -> bytes:
        return audit.chained(
            _mac, Head(after, FIRST_HASH), parts[0], AT, parts[1], Operation.LINK_EVENT, parts[2], {}
        ).hash

    assert (one == other) is (made(one, seq) == made(other, seq))
    assert made(one, seq) != made(one, seq + 1)


def test_an_event_is_written_as_it_was_hashed() -> None:
    """The detail is compact JSON with sorted names; every column is bound."""
    event = audit.chained(_mac, Head(7, b"h"), "s", AT, "siti", Operation.LINK_EVENT, "link", {"b": 1, "a": AT})
    assert (8, '{"a":"2026-11-23 01:02:03.000004+00:00","b":1}') == (event.seq, event.detail)
    bound = audit.event_parameters(event)
    assert {"stream", "seq", "at", "actor", "operation", "subject", "detail", "hash"} == set(bound)
    assert event.hash == bound["hash"]
