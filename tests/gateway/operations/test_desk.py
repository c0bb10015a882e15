"""Tests of gateway.operations.desk: once, repeats, advices, and what people do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from gateway.errors import NotFound, Refused
from gateway.operations import desk, outgoing
from gateway.operations.desk import Asked, Done
from tests.gateway.owner import as_owner, one_value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.operations.bank import Bank, Transaction

REQUEST = Asked("himbara", "0302", "1123120000|000007", b"content")


def acting(done: Done) -> tuple[list[int], Callable[[Transaction], Awaitable[Done]]]:
    """Something to do that always ends so, and a list that grows by each time it was done."""
    times: list[int] = []

    async def act(_tx: Transaction) -> Done:
        times.append(1)
        return done

    return times, act


async def test_a_message_is_done_once(bank: Bank) -> None:
    """The first, its repeat, the same on five connections at once: one effect, one answer. Other content is 94."""
    times, act = acting(Done("57", "card 1", answer={66: "1"}))
    answers = await asyncio.gather(*(desk.once(bank, REQUEST, act) for _ in range(5)))
    repeat = Asked("himbara", "0303", REQUEST.key, REQUEST.digest)
    answers.append(await desk.once(bank, repeat, act))
    assert [{66: "1", 39: "57"}] * 6 == answers
    assert {39: "94"} == await desk.once(bank, Asked("himbara", "0302", REQUEST.key, b"other"), act)
    assert [1] == times
    assert 1 == await one_value(bank, "SELECT count(*) FROM desk_message")


async def test_other_links_classes_and_keys_are_other_messages(bank: Bank) -> None:
    """And so is the same key a year later: DE7 has no year."""
    times, act = acting(Done("00", "card 1"))
    for asked in (REQUEST, Asked("alto", "0302", REQUEST.key, b"x"), Asked("himbara", "0600", REQUEST.key, b"y"),
                  Asked("himbara", "0302", "1123120000|000008", b"z")):  # fmt: skip
        assert {39: "00"} == await desk.once(bank, asked, act)
    assert 4 == len(times)
    await as_owner(bank, "UPDATE desk_message SET received_at = received_at - interval '31 days'")
    assert {39: "00"} == await desk.once(bank, Asked("himbara", "0302", REQUEST.key, b"other"), act)


async def test_what_fails_leaves_nothing(bank: Bank) -> None:
    """The next try does it."""

    async def fail(_tx: Transaction) -> Done:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await desk.once(bank, REQUEST, fail)
    times, act = acting(Done("00", "card 1"))
    assert {39: "00"} == await desk.once(bank, REQUEST, act)
    assert [1] == times


async def test_an_advice_is_accepted_and_people_see_what_was_not_done(bank: Bank) -> None:
    """00 for the partner; the trouble in its own words, or that a request would be refused. People end it once, with a reason."""
    for number, done in enumerate(
        (Done("57", "card 1", trouble="it is lost"), Done("25", "an unknown card"), Done("00", "card 2"))
    ):
        asked = Asked("himbara", "0322", f"k{number}", b"x")
        assert {39: "00"} == await desk.once(bank, asked, acting(done)[1])
    waiting = await desk.listed(bank, 10)
    assert ["it is lost", "an advice that a request would be refused 25"] == [one.trouble for one in waiting]
    assert 3 == len(await desk.listed(bank, 10, everything=True))
    with pytest.raises(Refused, match="a reason is needed"):
        await desk.handle(bank, "siti", 1, " ")
    handled = await desk.handle(bank, "siti", 1, "spoke with them")
    assert ("siti", "spoke with them") == (handled.handled_by, handled.reason)
    for number in (1, 3):
        with pytest.raises(Refused, match=f"desk message {number} waits for nobody"):
            await desk.handle(bank, "siti", number, "again")
    with pytest.raises(NotFound, match="there is no desk message 9"):
        await desk.handle(bank, "siti", 9, "again")
    assert [2] == [one.id for one in await desk.listed(bank, 10)]


async def test_what_is_kept_beside_a_message_is_kept_with_it(bank: Bank) -> None:
    """It gets the message's number, in the same transaction, and leaves no message where it fails."""
    numbers: list[int] = []

    async def then(number: int) -> None:
        numbers.append(number)
        if len(numbers) == 1:
            raise ConnectionResetError

    act = acting(Done("00", "totals", then=then))[1]
    with pytest.raises(ConnectionResetError):
        await desk.once(bank, REQUEST, act)
    assert 0 == await one_value(bank, "SELECT count(*) FROM desk_message")
    await desk.once(bank, REQUEST, act)
    assert numbers[1:] == [one.id for one in await desk.listed(bank, 10, everything=True)]


async def test_ended_messages_are_removed_when_they_are_old(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks, with a record; never what waits, has just ended, or tells totals; nobody may ask for fewer than 90 days."""
    monkeypatch.setattr(desk, "REMOVED_AT_ONCE", 2)
    for number, done in enumerate(
        (Done("00", "done"), Done("25", "open"), Done("25", "handled"), Done("25", "just handled"))
    ):
        await desk.once(bank, Asked("himbara", "0320", str(number), b"x"), acting(done)[1])
    await desk.once(bank, Asked("himbara", "0500", "t", b"x"), acting(Done("00", "totals"))[1])
    await as_owner(bank, "INSERT INTO partner_total VALUES (5, 'himbara', '2026-01-01', '{}', '{}', true)")
    for number in (3, 4):
        await desk.handle(bank, "siti", number, "looked at")
    await as_owner(bank, "UPDATE desk_message SET received_at = now() - interval '401 days'")
    await as_owner(bank, "UPDATE desk_message SET handled_at = now() - interval '401 days' WHERE id = 3")
    await desk.once(bank, Asked("himbara", "0320", "new", b"x"), acting(Done("00", "done"))[1])
    for state in ("ANSWERED", "DROPPED", "REFUSED", "EXPIRED", "QUEUED", "SENT", "ANSWERED"):
        await as_owner(bank, OUTGOING, state=state)
    await as_owner(bank, "UPDATE outgoing_message SET ended_at = now() - interval '399 days' WHERE id = 7")
    assert (2, 2) == await desk.remove_ended(bank, "jobs")
    assert (0, 0) == await desk.remove_ended(bank, "jobs")
    assert [2, 4, 5, 6] == [one.id for one in reversed(await desk.listed(bank, 10, everything=True))]
    left = [row.state for row in await as_owner(bank, "SELECT state FROM outgoing_message ORDER BY id")]
    assert ["REFUSED", "EXPIRED", "QUEUED", "SENT", "ANSWERED"] == left
    events = "SELECT detail::jsonb ->> 'desk' FROM audit_event WHERE operation = 'messages.remove' ORDER BY seq"
    assert ["2", "0", "0"] == [row[0] for row in await as_owner(bank, events)]
    bank.settings = bank.settings.model_copy(update={"message_days": 89})
    with pytest.raises(DBAPIError, match="messages are kept for 90 days at least, not 89"):
        await desk.remove_ended(bank, "jobs")


async def test_what_overtook_an_open_message_is_kept_with_it(bank: Bank) -> None:
    """A card was to be put on a partner's list, which was refused, and is good again: the first is never sent again."""
    for state in ("REFUSED", "ANSWERED"):
        await as_owner(bank, OUTGOING, state=state)
    assert (0, 0) == await desk.remove_ended(bank, "jobs")
    with pytest.raises(Refused, match="overtaken by 2"):
        await outgoing.retry(bank, "siti", 1, "please")
    await outgoing.drop(bank, "siti", "budi", 1, "the card is good")
    await as_owner(bank, "UPDATE outgoing_message SET ended_at = now() - interval '401 days'")
    assert (2, 0) == await desk.remove_ended(bank, "jobs")


OUTGOING = """
    INSERT INTO outgoing_message (id, link, mti, stan, transmitted, reference, content, subject, what, deletes, state, attempts,
        queued_at, expires_at, first_sent_at, last_sent_at, answer_code, ended_at)
    SELECT nextval('outgoing_message_id_seq'), 'himbara', '0302', '000001', '1123120000', '632712000001', '', 'card 1', 'x',
           false, CAST(:state AS text), 1, t, t, t, t, '00', CASE WHEN :state NOT IN ('QUEUED', 'SENT') THEN t END
    FROM (SELECT now() - interval '500 days' AS t) x
"""
