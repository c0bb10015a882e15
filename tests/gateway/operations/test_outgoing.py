"""Tests of gateway.operations.outgoing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import NotFound, Refused
from gateway.operations import outgoing
from gateway.operations.bank import transaction
from gateway.operations.outgoing import About, LinkTerms
from gateway.rules.outgoing import OutgoingState
from gateway.store import outgoing as store
from gateway.store.audit import Operation
from iso.message import Message
from tests.gateway.owner import as_owner, one_value

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.store.outgoing import Outgoing

PAN = "6013010000000018"
ADVICE = Message("0120", {2: PAN, 4: "000005000000", 7: "0000000000", 11: "999999", 37: "X" * 12, 60: "1002"})


async def put(bank: Bank, subject: str = "card 1", link: str = "himbara", message: Message = ADVICE) -> int:
    """Queue a message by an operation of a test's own."""
    async with transaction(bank, "siti") as tx:
        number = await outgoing.queue(bank, tx, link, message, About(subject, "stand-in result"))
        await tx.record(Operation.CARD_EVENT, subject)
    return number


async def _sent(bank: Bank, link: str = "himbara") -> Outgoing:
    async with bank.database.engine.begin() as connection:
        sent = await store.send_head(connection, link)
    assert sent is not None
    return sent


async def _events(bank: Bank) -> list[str]:
    rows = await as_owner(
        bank, "SELECT detail::jsonb ->> 'event' AS event FROM audit_event WHERE operation = 'outgoing' ORDER BY seq"
    )
    return [row.event for row in rows]


async def test_a_message_keeps_its_keys_and_is_sealed(bank: Bank) -> None:
    """DE7, 11 and 37 are given at queueing; the card number is nowhere in the clear; it opens as it was, then as a repeat."""
    number = await put(bank)
    sent = await _sent(bank)
    assert PAN.encode() not in sent.content
    message = outgoing.message_of(bank, sent)
    kept = {2: PAN, 4: "000005000000", 60: "1002"}
    assert Message("0120", kept | {7: sent.transmitted, 11: f"{number:06d}", 37: sent.reference}) == message
    await as_owner(bank, "UPDATE outgoing_message SET next_at = NULL")
    again = await _sent(bank)
    assert Message("0121", message.fields) == outgoing.message_of(bank, again)
    assert (number, 2, OutgoingState.SENT) == (again.id, again.attempts, again.state)
    assert again == (await outgoing.shown(bank, number))[0]


async def test_nothing_is_queued_where_the_operation_fails(bank: Bank) -> None:
    """A message tells of what was done; what was rolled back is not told."""

    async def fail() -> None:
        async with transaction(bank, "siti") as tx:
            await outgoing.queue(bank, tx, "himbara", ADVICE, About("card 1", "x"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert [] == await outgoing.listed(bank, 10)


async def test_links_are_taken_up(bank: Bank) -> None:
    """Who keeps a hot list, and the term of messages; a link that is gone is told nothing. The same again records nothing."""
    terms = [LinkTerms("himbara", "HOTLIST", 600), LinkTerms("alto", None, 700)]
    await outgoing.keep_links(bank, terms)
    await outgoing.keep_links(bank, terms)
    async with bank.database.engine.connect() as connection:
        assert {"alto": (None, 700), "himbara": ("HOTLIST", 600)} == await store.links(connection)
        assert [("himbara", "HOTLIST")] == await store.hot_list_links(connection)
    assert 2 == await one_value(bank, "SELECT count(*) FROM audit_event WHERE operation = 'link.event'")
    await put(bank, link="alto")
    await put(bank, link="nobody")
    lives = "SELECT extract(epoch FROM expires_at - queued_at)::int AS s FROM outgoing_message ORDER BY id"
    assert [700, store.DEFAULT_EXPIRE_S] == [row.s for row in await as_owner(bank, lives)]
    await outgoing.keep_links(bank, terms[1:])
    async with bank.database.engine.connect() as connection:
        assert [] == await store.hot_list_links(connection)


async def test_an_answer_that_comes_too_late_changes_nothing(bank: Bank) -> None:
    """What was sent again meanwhile keeps its state, and the audit chain has the answer; what has just expired is answered."""
    await put(bank)
    first = await _sent(bank)
    await _sent(bank)
    assert not await outgoing.finish(bank, first, OutgoingState.ANSWERED, "00")
    second = (await outgoing.shown(bank, 1))[0]
    assert (OutgoingState.SENT, 2) == (second.state, second.attempts)
    await as_owner(bank, "UPDATE outgoing_message SET expires_at = now()")
    assert 1 == await outgoing.expire(bank, "himbara")
    assert 0 == await outgoing.expire(bank, "himbara")
    assert await outgoing.finish(bank, second, OutgoingState.ANSWERED, "00")
    assert OutgoingState.ANSWERED is (await outgoing.shown(bank, 1))[0].state
    assert ["late answer", "EXPIRED", "ANSWERED"] == await _events(bank)


async def test_links_nobody_serves_expire_too(bank: Bank) -> None:
    """Over all links; what has time stays."""
    for link in ("gone", "himbara", "himbara"):
        await put(bank, link=link)
    await as_owner(bank, "UPDATE outgoing_message SET expires_at = now() WHERE id < 3")
    assert 2 == await outgoing.expire_all(bank)
    assert 0 == await outgoing.expire_all(bank)
    assert ["EXPIRED", "EXPIRED", "QUEUED"] == [one.state for one in await outgoing.listed(bank, 10)]
    assert {"gone": (0, 1), "himbara": (1, 1)} == {
        one.link: (one.waiting, one.expired) for one in await outgoing.figures(bank)
    }


async def test_a_person_sends_it_again(bank: Bank) -> None:
    """What was refused gets new keys, what is too old keeps them; what waits, is done, or was overtaken is refused."""
    await put(bank, "card 1")
    with pytest.raises(Refused, match="outgoing message 1 is QUEUED"):
        await outgoing.retry(bank, "siti", 1, "please")
    refused = await _sent(bank)
    await outgoing.finish(bank, refused, OutgoingState.REFUSED, "57")
    with pytest.raises(Refused, match="a reason is needed"):
        await outgoing.retry(bank, "siti", 1, " ")
    with pytest.raises(NotFound, match="there is no outgoing message 9"):
        await outgoing.retry(bank, "siti", 9, "please")
    fresh = await outgoing.retry(bank, "siti", 1, "please")
    assert (OutgoingState.QUEUED, 0, None, None) == (
        fresh.state,
        fresh.attempts,
        fresh.answer_code,
        fresh.first_sent_at,
    )
    assert fresh.stan != refused.stan
    sent = await _sent(bank)
    await as_owner(bank, "UPDATE outgoing_message SET expires_at = now()")
    await outgoing.expire(bank, "himbara")
    old = await outgoing.retry(bank, "siti", 1, "please")
    assert (sent.stan, sent.transmitted, sent.reference, 1) == (old.stan, old.transmitted, old.reference, old.attempts)
    assert old.expires_at > bank.now()
    await as_owner(bank, "UPDATE outgoing_message SET expires_at = now()")
    await outgoing.expire(bank, "himbara")
    await put(bank, "card 2")
    later = await put(bank, "card 1")
    with pytest.raises(Refused, match=f"outgoing message 1 is overtaken by {later}, about the same card 1"):
        await outgoing.retry(bank, "siti", 1, "please")
    assert ["REFUSED", "retry", "EXPIRED", "retry", "EXPIRED"] == await _events(bank)


async def test_two_people_drop_a_message(bank: Bank) -> None:
    """By two, with a reason; then the next one is the head. It is not dropped twice."""
    await put(bank)
    await put(bank)
    await _sent(bank)
    for checker, reason, match in (
        ("", "gone", "two different people"), (" SITI", "gone", "two different people"), ("budi", "", "a reason is needed"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=match):
            await outgoing.drop(bank, "siti", checker, 1, reason)
    dropped = await outgoing.drop(bank, "siti", "budi", 1, "told by telephone")
    assert (OutgoingState.DROPPED, "siti", "told by telephone") == (dropped.state, dropped.ended_by, dropped.reason)
    with pytest.raises(Refused, match="is DROPPED already"):
        await outgoing.drop(bank, "siti", "budi", 1, "again")
    assert 2 == (await _sent(bank)).id
    detail = await one_value(bank, "SELECT detail FROM audit_event WHERE operation = 'outgoing'")
    assert '"checker":"budi"' in detail
    assert [1, 2] == sorted(one.id for one in await outgoing.listed(bank, 10, ended=True))
    assert [2] == [one.id for one in await outgoing.listed(bank, 10)]
    assert [] == await outgoing.listed(bank, 10, "alto")
