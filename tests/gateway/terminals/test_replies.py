"""Tests of gateway.terminals.replies: what no lane decides is answered, counted and told, once each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.terminals import mapping
from iso.errors import FormatError, LinkClosed, LinkTimeout
from iso.message import Message
from tests.gateway.terminals.counterpart import (
    CASH,
    ECHO,
    SIGN_ON,
    Heard,
    HeldLanes,
    a_line,
    a_link,
    at_the_line,
    cash,
    until,
)

if TYPE_CHECKING:
    from gateway.terminals.profile import Link

KEYS = {7: "1123120000", 11: "000007"}


@pytest.mark.parametrize(
    ("message", "code", "stopped", "why"),
    [
        (Message("0200", {n: v for n, v in CASH.items() if n != 4}), "30", "wrong", "field 4: is missing"),
        (Message("0200", CASH | {4: "0" * 12}), "13", "refused", "amount is zero"),
        (Message("9200", KEYS), "12", "unknown type", None),
        (ECHO, "00", None, None),
        (Message("0800", KEYS), "30", None, None),
    ],
    ids=["wrong", "refused", "unknown", "echo", "network without code"],
)
async def test_what_is_answered_at_once(message: Message, code: str, stopped: str | None, why: str | None) -> None:
    """One event with the answer's code and what stopped it; refusals are counted by that."""
    heard = Heard()
    line = a_line(a_link(sign_on_required=False), events=heard)
    async with at_the_line(line) as partner:
        assert code == await partner.ask(message)
        (event,) = await heard.has(1)
    assert (code, stopped, why) == (event["code"], event.get("stopped"), event.get("why"))
    assert ({stopped: 1} if stopped else {}) == line.counters.refused


async def test_who_may_not_ask() -> None:
    """Before sign-on, above the bound and while the link drains: 91, told apart; the desk's messages too."""
    heard, lanes = Heard(), HeldLanes()

    async def errand(_link: Link, _message: Message) -> None: ...

    line = a_line(a_link(in_flight_max=1, in_flight_resume=0), lanes, events=heard, errands={"0500": errand})
    async with at_the_line(line) as partner:
        assert "91" == await partner.ask(cash(1))
        await partner.ask(SIGN_ON)
        await partner.send(cash(2))
        await lanes.hold(1)
        assert "91" == await partner.ask(cash(3))
        assert "91" == await partner.ask(Message("0500", KEYS))
        line.draining = True
        assert "91" == await partner.ask(cash(4))
        lanes.release()
        found = await heard.has(6)
    assert ["not signed on", None, "full", "full", "draining", None] == [one.get("stopped") for one in found]
    assert {"not signed on": 1, "full": 2, "draining": 1} == line.counters.refused


@pytest.mark.parametrize(
    ("result", "code", "stopped"),
    [
        (None, None, None),
        (Message("0510", KEYS | {39: "95"}), "95", None),
        (mapping.Declined("57", "not here"), "57", "refused"),
        (FormatError(74, "is missing"), "30", "wrong"),
        (RuntimeError("a bug"), "96", "failed"),
    ],
    ids=["no answer", "answer", "declined", "wrong field", "bug"],
)
async def test_errands(result: Message | Exception | None, code: str | None, stopped: str | None) -> None:
    """Beside the lanes; how long it was served stands in its event, and among the answer times where it was done."""

    async def errand(_link: Link, _message: Message) -> Message | None:
        await asyncio.sleep(0.01)
        if isinstance(result, Exception):
            raise result
        return result

    heard = Heard()
    line = a_line(a_link(sign_on_required=False), events=heard, errands={"0500": errand})
    async with at_the_line(line) as partner:
        await partner.send(Message("0500", KEYS))
        (event,) = await heard.has(1)
    assert (code, stopped, "TOTALS") == (event.get("code"), event.get("stopped"), event["kind"])
    if stopped is None:
        assert ["read", "served", "answered"] == list(event["steps"])
        assert 10 <= event["steps"]["served"] <= event["ms"]
    assert ({"TOTALS"} if code == "95" else set()) == set(line.counters.times)


async def test_an_errand_whose_caller_has_gone() -> None:
    """It is done, and nobody is told."""
    heard, let_go = Heard(), asyncio.Event()

    async def errand(_link: Link, message: Message) -> Message:
        await let_go.wait()
        return message.response()

    line = a_line(a_link(sign_on_required=False), events=heard, errands={"0500": errand})
    async with at_the_line(line) as partner:
        await partner.send(Message("0500", KEYS))
        await until(lambda: line.in_flight)
        await partner.hang_up()
        await until(lambda: not line.connections)
        let_go.set()
        (event,) = await heard.has(1)
    assert ("gone", None, 1) == (event["stopped"], event.get("code"), line.counters.unsent)


async def test_what_cannot_be_read() -> None:
    """Bytes that are no message, and an answer of which a field is broken, which gets none."""
    heard = Heard()
    line = a_line(a_link(sign_on_required=False), events=heard)
    async with at_the_line(line) as partner:
        await partner.raw(b"0004\x00\x01\x02\x03")
        assert "30" == (await partner.receive()).get(39)
        await partner.raw(b"0024" + b"0210" + b"0020000000000000" + b"ABCD")
        first, second = await heard.has(2)
    assert ("unreadable", "30") == (first["stopped"], first["code"])
    assert ("unreadable", None, "0210") == (second["stopped"], second.get("code"), second["mti"])
    assert (2, {"unreadable": 1}) == (line.counters.unreadable, line.counters.refused)


async def test_requests_of_our_own() -> None:
    """Answered, timed out, lost; an answer that comes too late is one that nobody asked for."""
    heard = Heard()
    line = a_line(a_link(sign_on_required=False), events=heard)
    asked = Message("0302", KEYS | {2: CASH[2]})
    async with at_the_line(line) as partner:
        await partner.ask(ECHO)
        asking = asyncio.ensure_future(line.ask(asked))
        await partner.receive()
        await partner.send(Message("0312", KEYS | {39: "00"}))
        await asking
        with pytest.raises(LinkTimeout):
            await line.ask(asked, 0.02)
        await partner.receive()
        await partner.send(Message("0312", KEYS | {39: "00"}))
        await heard.has(4)
        asking = asyncio.ensure_future(line.ask(asked))
        await partner.receive()
        await partner.hang_up()
        with pytest.raises(LinkClosed):
            await asking
        found = (await heard.has(5))[1:]
    assert [("00", None, True), (None, "timed out", True), (None, "unmatched", None), (None, "lost", True)] == [
        (one.get("code"), one.get("stopped"), one.get("ours")) for one in found
    ]
    assert "601301******0018" == found[0]["de2"]
