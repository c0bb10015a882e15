"""Tests of gateway.terminals.desk: over TCP, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.app import run_service
from gateway.operations import desk as operations
from gateway.operations import outgoing
from gateway.operations.outgoing import LinkTerms
from gateway.rules.outgoing import OutgoingState
from gateway.terminals import administrative, desk
from gateway.terminals.desk import DESK_MTIS, REJECTS, Desk, serve
from gateway.testlink import ensure_test_link
from iso.message import Message, response_mti
from keys.errors import KeyRefused
from tests.gateway.operations.test_outgoing import put
from tests.gateway.owner import as_owner, one_value
from tests.gateway.partner import hot_link
from tests.gateway.street import framed, open_street, raw_link

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.terminals.profile import Link

KEYS = {7: "1123120000", 11: "000007", 32: "000002", 37: "632712000007", 41: "A0000001"}
SIGN_ON = Message("0800", {7: "1123120000", 11: "000001", 70: "001"})


async def test_a_partners_day_over_tcp(bank: Bank, tmp_path: Path) -> None:
    """Cash, totals in balance and not, a repeat, a card reported lost and refused from then on, a text; each is echoed."""
    async with open_street(bank, tmp_path) as street, raw_link(street.service) as link:
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
        reported = KEYS | {2: street.card.pan.reveal(), 60: "3000", 91: "1", 101: "HOTLIST", 11: "000012"}
        requests = [
            SIGN_ON,
            Message("0500", KEYS | {76: "0000000001", 88: "0000000005000000", 97: "D0000000005000000"}),
            Message("0520", KEYS | {11: "000008", 76: "0000000002"}),
            Message("0500", KEYS | {11: "000009", 76: "0000000002"}),
            Message("0501", KEYS | {11: "000009", 76: "0000000002"}),
            Message("0800", {7: "1123120000", 11: "000010", 70: "201"}),
            Message("0302", reported),
            Message("0303", reported),
            Message("0600", KEYS | {11: "000013", 48: "good night"}),
        ]
        answers = []
        for request in requests:
            await link.send(framed(request))
            answers.append(await link.receive())
        assert ["0810", "0510", "0530", "0510", "0510", "0810", "0312", "0312", "0610"] == [one.mti for one in answers]
        assert ["00", "00", "00", "95", "95", "00", "00", "00", "00"] == [one.get(39) for one in answers]
        assert ["1", "2", "2", "2"] == [one.get(66) for one in answers[1:5]]
        assert ("0000000001", "0000000005000000", "D0000000005000000") == tuple(answers[1].get(n) for n in (76, 88, 97))
        for request, answer in zip(requests[1:], answers[1:], strict=True):
            assert [request.get(number) for number in (2, 7, 11, 32, 37, 41)] == [
                answer.get(number) for number in (2, 7, 11, 32, 37, 41)
            ]
        assert answers[6].fields == answers[7].fields
        assert "41" == (await street.atm.withdraw(street.card, 50_000)).code


async def test_nothing_before_sign_on(bank: Bank) -> None:
    """91, as for money; and nothing is done."""
    ensure_test_link(bank)
    async with run_service(bank, jobs=False) as service, raw_link(service) as link:
        for mti in sorted(DESK_MTIS):
            await link.send(framed(Message(mti, KEYS | {2: "6013010000000018", 60: "3000", 91: "1"})))
            answer = await link.receive()
            assert (response_mti(mti), "91") == (answer.mti, answer.get(39))
    assert 0 == await one_value(bank, "SELECT count(*) FROM desk_message")


async def test_a_reject_that_nobody_waits_for(bank: Bank) -> None:
    """0610 with the DE11 of something of ours ends it and is not answered; without sign-on too, as any answer."""
    ensure_test_link(bank)
    async with run_service(bank, jobs=False) as service:
        await outgoing.keep_links(bank, [LinkTerms("himbara", None, 600)])
        await put(bank)
        async with raw_link(service) as link:
            await link.send(framed(SIGN_ON))
            assert "0810" == (await link.receive()).mti
            sent = await link.receive()
            assert ("0120", "000001") == (sent.mti, sent.get(11))
            await link.send(
                framed(Message("0610", {7: sent.fields[7], 11: sent.fields[11], 39: "12", 48: "what is this"}))
            )
            await link.send(framed(Message("0610", {7: sent.fields[7], 11: "000999", 39: "12"})))
            await link.send(framed(Message("0800", {7: "1123120000", 11: "000042", 70: "301"})))
            assert "000042" == (await link.receive()).get(11)
            for _ in range(100):
                message, _said = await outgoing.shown(bank, 1)
                if message.state is OutgoingState.REFUSED:
                    break
                await asyncio.sleep(0.02)
            assert (OutgoingState.REFUSED, "12", "rejected: what is this") == (
                message.state, message.answer_code, message.trouble,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"), [(ConnectionRefusedError(), "91"), (KeyRefused("no key"), "96"), (ZeroDivisionError(), "96")]
)
async def test_what_fails_is_answered(bank: Bank, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str) -> None:
    """A database that is away 91, keys that are 96, and a bug too; a reject is not answered even then."""

    async def fail(_bank: Bank, _link: Link, _message: Message) -> dict[int, str]:
        raise error

    monkeypatch.setattr(desk, "SERVED", {"3": fail})
    answer = await serve(bank, hot_link(), Message("0303", KEYS))
    assert Message("0312", KEYS | {39: code}) == answer


async def test_a_reject_that_cannot_be_taken(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is answered, nothing raises: the message of ours will be repeated and rejected again."""

    async def fail(*_: object) -> bool:
        raise ConnectionRefusedError

    monkeypatch.setattr(administrative, "unasked", fail)
    assert {None} == {await Desk(bank).serve(hot_link(), Message(mti, KEYS)) for mti in sorted(REJECTS)}


async def test_the_desk_is_bounded(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once; who waits too long is told 91, a reject nothing; whoever comes later finds a place again."""
    go_on, inside = asyncio.Event(), []

    async def slow(_bank: Bank, _link: Link, _message: Message) -> dict[int, str]:
        inside.append(1)
        await go_on.wait()
        return {39: "00"}

    monkeypatch.setattr(desk, "SERVED", {"3": slow})
    counter, link = Desk(bank, 2), hot_link(answer_timeout_s=0.2)
    waiting = [asyncio.create_task(counter.serve(link, Message("0302", KEYS))) for _ in range(3)]
    late = await waiting[2]
    assert late is not None
    assert ("91", 2) == (late.get(39), len(inside))
    assert None is await counter.serve(link, Message("0610", KEYS))
    go_on.set()
    assert ["00", "00"] == [one.get(39) for one in await asyncio.gather(*waiting[:2]) if one is not None]
    again = await counter.serve(link, Message("0302", KEYS))
    assert again is not None
    assert "00" == again.get(39)


async def test_what_is_missing_is_answered_30(bank: Bank) -> None:
    """And kept nowhere."""
    for mti in sorted(DESK_MTIS):
        answer = await serve(bank, hot_link(), Message(mti, {7: "1123120000"}))
        assert (response_mti(mti), "30") == (answer.mti, answer.get(39))
    assert [] == await operations.listed(bank, 10, everything=True)
    assert [] == await as_owner(bank, "SELECT 1 FROM audit_event WHERE operation = 'desk'")
