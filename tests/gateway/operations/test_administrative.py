"""Tests of gateway.operations.administrative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations import desk, outgoing
from gateway.operations.administrative import TEXT_MAX, note_reject, take_note
from gateway.operations.desk import Asked
from gateway.rules.outgoing import OutgoingState
from gateway.store import outgoing as store
from tests.gateway.operations.test_outgoing import put

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


def _asked(mti: str, key: str = "k") -> Asked:
    return Asked("himbara", mti, key, b"x")


async def _on_its_way(bank: Bank) -> str:
    """DE11 of a message that waits for its answer."""
    await put(bank)
    async with bank.database.engine.begin() as connection:
        sent = await store.send_head(connection, "himbara")
    assert sent is not None
    return sent.stan


async def test_a_text_is_for_people(bank: Bank) -> None:
    """Kept once, cut at its bound, accepted."""
    assert {39: "00"} == await take_note(bank, _asked("0600"), "x" * 2_000, None, None)
    assert {39: "00"} == await take_note(bank, _asked("0601"), "x" * 2_000, None, None)
    (kept,) = await desk.listed(bank, 10)
    assert ({"text": "x" * TEXT_MAX}, "the partner says something") == (kept.detail, kept.trouble)


async def test_a_reject_ends_what_it_names(bank: Bank) -> None:
    """As an advice with DE90 and as an answer; what names nothing of ours is kept, or logged."""
    stan = await _on_its_way(bank)
    assert {39: "00"} == await take_note(bank, _asked("0620"), "field 60", stan, "30")
    message, _ = await outgoing.shown(bank, 1)
    assert (OutgoingState.REFUSED, "30", "rejected: field 60") == (message.state, message.answer_code, message.trouble)
    assert {39: "00"} == await take_note(bank, _asked("0620", "other"), "", "123456", None)
    assert ["the partner rejects outgoing message 1", "the partner says something"] == [
        one.trouble for one in await desk.listed(bank, 10)
    ]
    assert ["outgoing 1", "a reject"] == [one.subject for one in await desk.listed(bank, 10)]
    stan = await _on_its_way(bank)
    assert not await note_reject(bank, "alto", stan, "30", "")
    assert await note_reject(bank, "himbara", stan, "30", "")
    assert not await note_reject(bank, "himbara", stan, "30", "")
    assert OutgoingState.REFUSED is (await outgoing.shown(bank, 2))[0].state
