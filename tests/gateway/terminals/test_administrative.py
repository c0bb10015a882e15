"""Tests of gateway.terminals.administrative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.operations import desk, outgoing
from gateway.rules.outgoing import OutgoingState
from gateway.store import outgoing as store
from gateway.terminals.administrative import serve, text_of, unasked
from iso.errors import FormatError
from iso.message import Message
from tests.gateway.operations.test_outgoing import put
from tests.gateway.partner import hot_link

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

KEYS = {7: "1123120000", 11: "000007"}


def test_text_of_a_message() -> None:
    """Every free text in the order of its field, printable; cards and keys that somebody put there are masked."""
    message = Message("0600", KEYS | {48: "stop\r\n", 60: "card 6013010000000018", 124: "key 0123456789ABCDEF"})
    assert "stop   card 601301***0018 key [hex]" == text_of(message)
    assert "" == text_of(Message("0600", KEYS | {2: "6013010000000018", 43: "SHOP"}))


async def test_a_text_is_kept(bank: Bank) -> None:
    """Accepted, and for people to read."""
    assert {39: "00"} == await serve(bank, hot_link(), Message("0600", KEYS | {48: "maintenance at 02:00"}))
    (kept,) = await desk.listed(bank, 10)
    assert ("0600", {"text": "maintenance at 02:00"}) == (kept.mti, kept.detail)


async def test_rejects_of_ours(bank: Bank) -> None:
    """By DE90 of an advice, by DE11 of an answer; its own DE11 names nothing of ours."""
    await put(bank)
    async with bank.database.engine.begin() as connection:
        sent = await store.send_head(connection, "himbara")
    assert sent is not None
    link = hot_link()
    own = KEYS | {11: sent.stan}
    await serve(bank, link, Message("0620", own | {48: "hello"}))
    assert OutgoingState.SENT is (await outgoing.shown(bank, 1))[0].state
    named = f"0120{sent.stan}{sent.transmitted}{'0' * 22}"
    await serve(bank, link, Message("0620", KEYS | {7: "1123120001", 39: "30", 90: named}))
    refused, _ = await outgoing.shown(bank, 1)
    assert (OutgoingState.REFUSED, "30") == (refused.state, refused.answer_code)
    assert not await unasked(bank, link, Message("0610", own | {39: "30"}))
    with pytest.raises(FormatError, match="field 90: "):
        await serve(bank, link, Message("0620", KEYS | {90: "x"}))
