"""Tests of gateway.terminals.line."""

from __future__ import annotations

import asyncio

import pytest

from gateway.rules.authorise import DeclineReason
from iso.errors import LinkClosed
from iso.message import Message
from keys.errors import KeyRefused
from tests.gateway.terminals.counterpart import (
    ECHO,
    SIGN_ON,
    HeldLanes,
    a_line,
    a_link,
    at_the_line,
    calling,
    cash,
    listening,
    until,
)


async def test_ready_is_signed_on() -> None:
    """A request of ours is sent only over a connection that has signed on; without a policy any connection is good."""
    line = a_line(a_link())
    request = ECHO
    async with listening(line) as address, calling(address, line.link) as first, calling(address, line.link) as second:
        await until(lambda: len(line.connections) == 2)
        assert (0, False) == (line.signed_on, line.ready)
        with pytest.raises(LinkClosed, match="link himbara is not signed on"):
            await line.ask(request)
        await second.ask(SIGN_ON)
        assert (1, True) == (line.signed_on, line.ready)
        asking = asyncio.ensure_future(line.ask(request))
        assert "301" == (await second.receive()).get(70)
        await second.send(_answer(request))
        assert "00" == (await asking).get(39)
        line.take_up(a_link(sign_on_required=False))
        assert (2, "00") == (line.signed_on, await first.ask(ECHO))


async def test_our_requests_go_round_the_connections() -> None:
    """The one whose turn was longest ago is asked next; one that has gone is not; one that is new gets no more than its turn."""
    line = a_line(a_link(sign_on_required=False))
    async with listening(line) as address, calling(address, line.link) as first, calling(address, line.link) as second:
        await until(lambda: len(line.connections) == 2)
        asking = [asyncio.ensure_future(line.ask(Message("0800", ECHO.fields | {11: f"{n:06d}"}))) for n in range(4)]
        for partner in (first, second, first, second):
            await partner.send(_answer(await partner.receive()))
        assert ["00"] * 4 == [(await one).get(39) for one in asking]
        await first.hang_up()
        await until(lambda: len(line.connections) == 1)
        last = asyncio.ensure_future(line.ask(ECHO))
        await second.send(_answer(await second.receive()))
        assert "00" == (await last).get(39)
        async with calling(address, line.link) as third:
            await until(lambda: len(line.connections) == 2)
            asking = [
                asyncio.ensure_future(line.ask(Message("0800", ECHO.fields | {11: f"{n:06d}"}))) for n in range(4)
            ]
            for partner in (third, second, third, second):
                await partner.send(_answer(await partner.receive()))
            assert ["00"] * 4 == [(await one).get(39) for one in asking]


def _answer(request: Message) -> Message:
    answer = request.response()
    answer.fields[39] = "00"
    return answer


async def test_trace_numbers_go_round() -> None:
    """000001 to 999999 and again: DE11 is never 000000."""
    line = a_line(a_link())
    assert ["000001", "000002"] == [line.next_stan() for _ in range(2)]
    line._stan = 999_998
    assert ["999999", "000001"] == [line.next_stan() for _ in range(2)]


async def test_a_new_profile_from_the_next_message_on() -> None:
    """Codes and policies change under an open connection; a request that waits is answered by the new ones."""
    lanes = HeldLanes()
    line = a_line(a_link(), lanes)
    async with at_the_line(line) as partner:
        assert "91" == await partner.ask(cash(1))
        codes = {reason.value: code for reason, code in line.link.response_codes.items()}
        line.take_up(a_link(sign_on_required=False, response_codes=codes | {"CARD_UNKNOWN": "77"}))
        await partner.send(cash(2))
        await lanes.hold(1)
        assert "77" == lanes.held[0][0].response_codes[DeclineReason.CARD_UNKNOWN]
        lanes.release()
        assert "00" == (await partner.receive()).get(39)
        with pytest.raises(KeyRefused):
            line.take_up(a_link(pin_key="another"))
        assert "himbara" == line.link.name


async def test_draining() -> None:
    """No money any more, 91; what was taken is waited for; not longer than drain_s."""
    lanes = HeldLanes()
    line = a_line(a_link(sign_on_required=False, drain_s=5.0), lanes)
    async with at_the_line(line) as partner:
        await partner.send(cash(1))
        await lanes.hold(1)
        draining = asyncio.ensure_future(line.drain())
        await asyncio.sleep(0)
        assert ("91", False, False) == (await partner.ask(cash(2)), draining.done(), line.ready)
        lanes.release()
        await draining
        assert ("00", "91") == ((await partner.receive()).get(39), await partner.ask(cash(3)))


async def test_draining_ends_in_time() -> None:
    """A lane that never answers holds nobody up."""
    lanes = HeldLanes()
    line = a_line(a_link(sign_on_required=False, drain_s=0.05), lanes)
    async with at_the_line(line) as partner:
        await partner.send(cash(1))
        await lanes.hold(1)
        async with asyncio.timeout(10):
            await line.drain()
        assert 1 == line.in_flight
