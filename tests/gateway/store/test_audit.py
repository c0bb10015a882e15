"""Tests of gateway.store.audit. Tampering is tested with gateway.operations.proof."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

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


async def test_whatever_enters_the_chain_can_be_looked_into(engine: AsyncEngine) -> None:
    """A name of a file that is no UTF-8, NUL, what is no number: plain characters, in names and in what is nested; proved."""
    folder = b"/mnt/nix\xff".decode("utf-8", "surrogateescape")
    detail = {
        "reason": f"{folder}: no", "deep": [{"n\0": ("a\0", float("nan"), -float("inf"))}], "smile": "\U0001f600",
        "told": r"\udcff",
    }  # fmt: skip
    async with engine.begin() as connection:
        await audit.append(connection, _mac, AT, f"s{folder}", Operation.LINK_EVENT, "l\0", detail)
        found = (await connection.execute(text("SELECT actor, subject, detail::jsonb AS told FROM audit_event"))).one()
        assert (r"s/mnt/nix\udcff", r"l\u0000") == (found.actor, found.subject)
        assert {
            "reason": r"/mnt/nix\udcff: no", "deep": [{r"n\u0000": [r"a\u0000", "nan", "-inf"]}], "smile": "\U0001f600",
            "told": r"\udcff",
        } == found.told  # fmt: skip
        heads = await audit.heads(connection)
        assert (1, None) == await audit.verify_stream(connection, _verify, "operations", heads["operations"])


ANY_TEXT = st.text(st.characters(), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(ANY_TEXT, VALUES, max_size=4))
def test_no_detail_holds_what_a_database_does_not_take(detail: dict[str, object]) -> None:
    """JSON of Unicode scalars without NUL, its numbers finite; cleaned once, it stays as it is."""
    event = audit.chained(_mac, Head(0, FIRST_HASH), "s", AT, "siti", Operation.LINK_EVENT, "link", detail)

    def refuse(name: str) -> None:
        raise ValueError(name)

    found = json.loads(event.detail, parse_constant=refuse)
    assert b"\0" not in json.dumps(found, ensure_ascii=False).encode()
    assert r"\u0000" not in event.detail.replace(r"\\", "")
    assert found == audit.plain(found)
