"""Tests of gateway.terminals.connection: nobody waits too long for anything, and everybody is answered or cut off."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Refused
from gateway.terminals import connection as connection_module
from gateway.terminals import mapping
from iso.codec import encode
from iso.errors import FormatError, LinkClosed, LinkTimeout
from iso.message import Message
from tests.gateway.terminals.counterpart import (
    CASH,
    ECHO,
    ORIGINAL,
    SIGN_ON,
    HeldLanes,
    Partner,
    a_line,
    a_link,
    at_the_line,
    calling,
    cash,
    listening,
    reversal,
    until,
)

if TYPE_CHECKING:
    from gateway.terminals.line import Line
    from gateway.terminals.profile import Link

ASKED = Message("0302", {7: "1123120000", 11: "000500", 41: "BANK0001", 2: CASH[2]})
ANSWER = {7: "1123120000", 11: "000500", 39: "00"}


async def test_a_message_that_never_ends_is_cut_off() -> None:
    """However slowly its bytes come; messages that do end, and the quiet between them, are no reason."""
    line = a_line(a_link(frame_timeout_s=0.3))
    async with listening(line) as address, calling(address, line.link) as slow, calling(address, line.link) as good:
        await slow.raw(b"0100")
        for _ in range(4):
            with suppress(ConnectionError):  # on a busy machine it may be cut off already
                await slow.raw(b"0")
            assert "00" == await good.ask(ECHO)
            await asyncio.sleep(0.1)
        assert await slow.is_closed()
        assert (1, 1) == (line.counters.cut_off, len(line.connections))
        assert "00" == await good.ask(ECHO)


async def test_polls_come_back_where_the_link_has_them() -> None:
    """A length of zero, before and between messages; on another link it makes no sense and ends the connection."""
    line = a_line(a_link(polls=True))
    async with listening(line) as address:
        reader, writer = await asyncio.open_connection(*address)
        echo = line.framing.frame(encode(ECHO))
        writer.write(b"0000" + echo + b"0000")
        assert b"0000" == await reader.readexactly(4)
        answer = await reader.readexactly(int(await reader.readexactly(4)))
        assert answer.startswith(b"0810")
        assert b"0000" == await reader.readexactly(4)
        writer.close()
        await writer.wait_closed()
    line = a_line(a_link())
    async with listening(line) as address, calling(address, line.link) as partner:
        await partner.raw(b"0000")
        assert await partner.is_closed()


async def test_a_silent_connection_is_closed() -> None:
    """After idle_close_s without a byte; not while a request of it waits for its outcome."""
    lanes = HeldLanes()
    line = a_line(a_link(idle_close_s=0.3, sign_on_required=False), lanes)
    async with listening(line) as address, calling(address, line.link) as idle, calling(address, line.link) as waiting:
        await waiting.send(cash(1))
        await lanes.hold(1)
        assert await idle.is_closed()
        await asyncio.sleep(0.3)
        lanes.release()
        assert "00" == (await waiting.receive()).get(39)


async def test_a_partner_that_calls_is_asked_where_the_profile_says_so() -> None:
    """Only when it has signed on; an answer keeps the connection, echo_tries without one close it."""
    link = a_link(echo_s=0.1, echo_tries=2, answer_timeout_s=0.2)
    line = a_line(link)
    async with listening(line) as address, calling(address, link) as partner, calling(address, link) as stranger:
        assert "00" == await partner.ask(SIGN_ON)
        for _ in range(2):
            asked = await partner.receive()
            assert ("0800", "301") == (asked.mti, asked.get(70))
            answer = asked.response()
            answer.fields[39] = "00"
            await partner.send(answer)
        assert ["301", "301"] == [(await partner.receive()).get(70) for _ in range(2)]
        assert await partner.is_closed()
        assert (4, 2, 1, 1) == (
            line.counters.asked, line.counters.timed_out, line.counters.silent, len(line.connections),
        )  # fmt: skip
        await stranger.send(ECHO)
        assert "0810" == (await stranger.receive()).mti


async def test_without_a_word_of_the_profile_the_echo_is_the_callers() -> None:
    """Whoever calls us asks; whom we call we ask each minute. Nobody stays for ever without a word."""
    called, calls = a_link(), a_link(role="connect", host="127.0.0.1", port=1)
    assert (0.0, 60.0, 600.0) == (called.asks_after_s, calls.asks_after_s, called.idle_close_s)
    assert 5.0 == a_link(echo_s=5).asks_after_s
    assert 0.0 == a_link(role="connect", host="127.0.0.1", port=1, echo_s=0).asks_after_s


async def test_above_the_high_watermark_91() -> None:
    """From in_flight_max on money is answered 91 on an open connection, until no more than in_flight_resume are left."""
    lanes = HeldLanes()
    line = a_line(a_link(in_flight_max=3, in_flight_resume=1, sign_on_required=False), lanes)
    async with at_the_line(line) as partner:
        await partner.send(*(cash(number) for number in range(3)))
        await lanes.hold(3)
        refused = [await partner.ask(one) for one in (cash(4), reversal())]
        assert (["91", "91"], 3) == (refused, len(lanes.held))
        assert "00" == await partner.ask(ECHO)
        lanes.release()
        assert "00" == (await partner.receive()).get(39)
        assert "91" == await partner.ask(cash(5))
        lanes.release()
        assert "00" == (await partner.receive()).get(39)
        await partner.send(cash(6))
        await lanes.hold(2)
        assert (2, {"00": 3, "91": 3}) == (line.in_flight, line.counters.answered)
        lanes.release(2)


async def test_nobody_waits_nothing_is_decided() -> None:
    """A request whose caller has gone is dropped and counted; reversals and advices are done all the same."""
    lanes = HeldLanes()
    line = a_line(a_link(sign_on_required=False), lanes)
    completion = Message("0220", reversal().fields | {3: "000000", 11: "000008", 90: "0100" + ORIGINAL[4:]})
    async with at_the_line(line) as partner:
        await partner.send(cash(1), reversal(), reversal("0400"), completion)
        await lanes.hold(4)
        await partner.hang_up()
        await until(lambda: not line.connections)
        assert [True, False, False, False] == [alive is not None for _, _, alive in lanes.held]
        lanes.release(4)
        assert (1, 0, {}) == (line.counters.abandoned, line.in_flight, line.counters.answered)


async def test_a_request_too_old_is_not_decided() -> None:
    """After answer_timeout_s the terminal has given up: its reversal comes."""
    lanes = HeldLanes()
    line = a_line(a_link(answer_timeout_s=0.05, sign_on_required=False), lanes)
    async with at_the_line(line) as partner:
        await partner.send(cash(1), reversal())
        await lanes.hold(2)
        await asyncio.sleep(0.1)
        lanes.release(2)
        assert "0430" == (await partner.receive()).mti
        assert (1, 0, 0) == (line.counters.expired, line.counters.abandoned, line.in_flight)


async def test_the_header_of_a_request_is_its_answers() -> None:
    """A TPDU comes back with its addresses swapped, on whatever answer; ours has the link's own."""
    lanes = HeldLanes()
    line = a_line(a_link(frame="binary2", header="tpdu", header_hex="6000030000", sign_on_required=False), lanes)
    sent, back = bytes.fromhex("6012345678"), bytes.fromhex("6056781234")
    async with at_the_line(line) as partner:
        for message in (ECHO, Message("0999", CASH), cash(1)):
            await partner.send(message, header=sent)
            if message.mti == "0200":
                await lanes.hold(1)
                lanes.release()
            assert back == (await partner.receive_with_header())[0]
        await partner.raw(b"\x00\x08" + sent + b"abc")
        header, reject = await partner.receive_with_header()
        assert (back, "0610", "30") == (header, reject.mti, reject.get(39))
        await partner.raw(b"\x00\x08" + b"\x99" + sent[1:] + b"abc")
        assert bytes.fromhex("6000030000") == (await partner.receive_with_header())[0]
        asking = asyncio.ensure_future(line.ask(ASKED))
        header, request = await partner.receive_with_header()
        assert ("6000030000", "0302") == (header.hex(), request.mti)
        await partner.send(Message("0312", ANSWER))
        assert "00" == (await asking).get(39)
        await partner.raw(b"\x00\x04" + sent[:4])  # a length that leaves no room for a message
        assert await partner.is_closed()


async def test_our_own_requests_find_their_answers() -> None:
    """Whatever overtakes: by type, DE11, and DE7 and DE41 where both hold them; padding is no difference."""
    line = a_line(a_link())
    async with at_the_line(line) as partner:
        assert "00" == await partner.ask(SIGN_ON)
        second = Message("0302", ASKED.fields | {11: "000501"})
        asking = [asyncio.ensure_future(line.ask(one)) for one in (ASKED, second)]
        assert ["000500", "000501"] == [(await partner.receive()).get(11) for _ in range(2)]
        await partner.send(
            Message("0312", ANSWER | {11: "000501", 39: "05"}),
            Message("0312", ANSWER | {7: "1123120001"}),  # another moment: not ours
            Message("0332", ANSWER),  # another type
            Message("0312", ANSWER | {41: "BANK0001"}),
        )
        assert ["00", "05"] == [(await one).get(39) for one in asking]
        assert (2, 2) == (line.counters.unmatched, line.counters.asked)


async def test_one_that_could_not_be_told_apart_is_refused() -> None:
    """The same type, DE11, DE7 and DE41 while the first still waits; afterwards it may be sent again."""
    line = a_line(a_link())
    async with at_the_line(line) as partner:
        await partner.ask(SIGN_ON)
        asking = asyncio.ensure_future(line.ask(ASKED))
        await partner.receive()
        with pytest.raises(Refused, match="link himbara: a 0302 with the same DE11 and DE7 waits"):
            await line.ask(Message("0302", dict(ASKED.fields)))
        await partner.send(Message("0312", ANSWER))
        await asking
        again = asyncio.ensure_future(line.ask(ASKED))
        await partner.receive()
        await partner.send(Message("0312", ANSWER))
        assert "00" == (await again).get(39)


async def test_an_answer_too_late_is_unmatched() -> None:
    """Who asked is told in time that nobody answered; what comes then is counted, and answered by nobody."""
    line = a_line(a_link())
    async with at_the_line(line) as partner:
        await partner.ask(SIGN_ON)
        with pytest.raises(LinkTimeout, match=r"link himbara: no answer to 0302 within 0.05 s"):
            await line.ask(ASKED, 0.05)
        await partner.receive()
        await partner.send(Message("0312", ANSWER))
        assert "00" == await partner.ask(ECHO)
        assert (1, 1) == (line.counters.unmatched, line.counters.timed_out)


async def test_a_lost_connection_ends_the_waiting() -> None:
    """At once, and a new request is not sent without one."""
    line = a_line(a_link())
    async with at_the_line(line) as partner:
        await partner.ask(SIGN_ON)
        (connection,) = line.connections
        asking = asyncio.ensure_future(line.ask(ASKED))
        await partner.receive()
        await partner.hang_up()
        with pytest.raises(LinkClosed, match="closed before the answer came"):
            await asking
        for ask in (line.ask, connection.ask):
            with pytest.raises(LinkClosed):
                await ask(ASKED)


async def test_what_cannot_be_written_is_not_sent() -> None:
    """A field the dialect cannot hold: the caller is told, and the connection stays."""
    line = a_line(a_link(sign_on_required=False))
    async with at_the_line(line) as partner:
        await partner.ask(ECHO)
        with pytest.raises(FormatError):
            await line.ask(Message("0302", {11: "not digits"}))
        assert "00" == await partner.ask(ECHO)


async def test_an_answer_that_cannot_be_read_gets_none() -> None:
    """Two hosts must not talk for ever."""
    line = a_line(a_link())
    async with at_the_line(line) as partner:
        await partner.raw(b"0024" + b"0210" + b"0020000000000000" + b"ABCD")
        assert "000042" == await _stan_after(partner)
        assert 1 == line.counters.unreadable


async def _stan_after(partner: Partner) -> str:
    await partner.send(ECHO)
    return (await partner.receive()).get(11, "")


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (None, None),
        (Message("0510", {7: "1123120000", 11: "000007", 39: "00"}), "00"),
        (mapping.Declined("57", "not here"), "57"),
        (FormatError(74, "is missing"), "30"),
        (RuntimeError("a bug"), "96"),
    ],
    ids=["no answer", "answer", "declined", "wrong field", "bug"],
)
async def test_errands(result: Message | Exception | None, code: str | None) -> None:
    """A message that is not the lanes' is served beside them; whatever comes of it, the connection goes on."""

    async def errand(_link: Link, _message: Message) -> Message | None:
        await asyncio.sleep(0)
        if isinstance(result, Exception):
            raise result
        return result

    line = a_line(a_link(), errands={"0500": errand})
    async with at_the_line(line) as partner:
        request = Message("0500", {7: "1123120000", 11: "000007"})
        assert "91" == await partner.ask(request)
        await partner.ask(SIGN_ON)
        await partner.send(request)
        if code is not None:
            answer = await partner.receive()
            assert ("0510", code) == (answer.mti, answer.get(39))
        assert "000042" == await _stan_after(partner)
        assert 0 == line.in_flight


async def test_rejects_that_nobody_waits_for_do_not_pile_up() -> None:
    """They have no answer that holds back who sends them: above the bound, and before sign-on, they are counted and let go."""
    let_go = asyncio.Event()
    taken: list[str] = []

    async def errand(_link: Link, message: Message) -> None:
        taken.append(message.fields[11])
        await let_go.wait()

    line = a_line(a_link(in_flight_max=2, in_flight_resume=1), errands={"0610": errand})
    reject = {7: "1123120000", 39: "30"}
    async with at_the_line(line) as partner:
        await partner.send(Message("0610", reject | {11: "000001"}))
        await partner.ask(SIGN_ON)
        await partner.send(*(Message("0610", reject | {11: f"{number:06d}"}) for number in range(2, 9)))
        after, seen = await _stan_after(partner), (list(taken), line.in_flight, line.counters.unmatched)
        let_go.set()
        assert ("000042", (["000002", "000003"], 2, 8)) == (after, seen)
        await until(lambda: line.in_flight == 0)


async def test_a_peer_that_reads_nothing_is_cut_off_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits a moment for what is still to be written, not for ever."""
    monkeypatch.setattr(connection_module, "CLOSING_S", 0.2)
    line = a_line(a_link(sign_on_required=False))
    async with listening(line) as address, calling(address, line.link) as partner:
        await partner.ask(ECHO)
        (connection,) = line.connections
        assert connection.transport is not None
        connection.transport.write(bytes(20_000_000))
        async with asyncio.timeout(5):
            await connection.end()
        assert not line.connections


async def test_proofs_come_first() -> None:
    """On a link that proves, a wrong MAC is refused before anything else of the message is looked at; answers are sealed."""
    line = a_line(a_link(sign_on_required=False))
    asked: list[str] = []

    class Strict:
        def refusal(self, message: Message, data: bytes) -> str | None:
            assert data[:4] == message.mti.encode()
            asked.append(message.mti)
            return "88" if message.get(41) == "A0000001" else None

        def encode(self, message: Message, _dialect: object, request: Message | None) -> bytes:
            return encode(Message(message.mti, message.fields | {37: "SEALED" if request else "ASKING"}))

    _make_prove(line, Strict())
    async with at_the_line(line) as partner:
        wrong = Message("0200", {7: "1123120000", 11: "000001", 41: "A0000001"})
        await partner.send(wrong)
        answer = await partner.receive()
        assert ("0210", "88", "SEALED") == (answer.mti, answer.get(39), (answer.get(37) or "").strip())
        assert "88" == await partner.ask(Message("0500", wrong.fields))
        assert "30" == await partner.ask(Message("0200", {7: "1123120000", 11: "000001"}))
        asking = asyncio.ensure_future(line.ask(ASKED, 0.1))
        assert "ASKING" == ((await partner.receive()).get(37) or "").strip()
        await partner.send(Message("0312", ANSWER | {41: "A0000001"}))
        with pytest.raises(LinkTimeout):
            await asking
        assert (["0200", "0500", "0200", "0312"], 1) == (asked, line.counters.unmatched)


def _make_prove(line: Line, security: Any) -> None:  # noqa: ANN401 - stands for LinkSecurity
    line.security, line.proves = security, True
