"""The link client against a scripted host on the loopback."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from iso.client import LinkClient, answer_network
from iso.codec import decode, encode
from iso.errors import DuplicateInFlight, FormatError, LinkClosed, LinkFailed, LinkTimeout, SignOnRefused
from iso.framing import HIMBARA_FRAMING
from iso.message import Message
from tests.iso.hosts import PATIENT_S, QUICK_S, Host, approve, frame, hosted, request_of
from tests.iso.samples import withdrawal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def host() -> AsyncIterator[tuple[Host, int]]:
    """A host that approves all, and its port."""
    async with hosted() as played:
        yield played, played.port


def client_of(host: tuple[Host, int], timeout_s: float = PATIENT_S, max_in_flight: int = 100) -> LinkClient:
    """A client of that host, without sign-on."""
    return LinkClient("127.0.0.1", host[1], timeout_s=timeout_s, max_in_flight=max_in_flight)


async def test_a_request_gets_its_answer(host: tuple[Host, int]) -> None:
    """One message there, one back."""
    async with client_of(host) as client:
        assert await client.request(withdrawal()) == approve(withdrawal())
    assert host[0].received == [encode(withdrawal())]


async def test_answers_in_any_order_find_their_requests(host: tuple[Host, int]) -> None:
    """Answers that come back reversed are told apart by the trace number."""
    requests = [request_of(stan) for stan in range(1, 21)]
    kept: list[Message] = []

    def answer_all_at_once(request: Message) -> bytes:
        kept.append(request)
        return b"" if len(kept) < len(requests) else b"".join(frame(approve(one)) for one in reversed(kept))

    host[0].script = answer_all_at_once
    async with client_of(host) as client:
        answers = await asyncio.gather(*map(client.request, requests))
        assert (answers, client.in_flight, client.unmatched) == ([approve(one) for one in requests], 0, 0)


@pytest.mark.parametrize("field", [{"de7": "1224031501"}, {"de41": "ATM00002"}])
async def test_the_same_trace_number_is_told_apart(host: tuple[Host, int], field: dict[str, str]) -> None:
    """Two requests of one trace number differ by DE7 or DE41."""
    one, other = request_of(1), request_of(1, **field)
    kept: list[Message] = []

    def answer_reversed(request: Message) -> bytes:
        kept.append(request)
        return b"".join(frame(approve(each)) for each in reversed(kept)) if len(kept) == 2 else b""

    host[0].script = answer_reversed
    async with client_of(host) as client:
        answers = await asyncio.gather(*map(client.request, (one, other)))
    assert answers == [approve(one), approve(other)]


async def test_an_answer_without_de7_and_de41_still_matches(host: tuple[Host, int]) -> None:
    """Only what both messages hold is compared."""
    host[0].script = lambda request: frame(approve(request, de7="", de41=""))
    async with client_of(host) as client:
        assert (await client.request(withdrawal())).get(39) == "00"


@pytest.mark.parametrize("changes", [{"de11": "999999"}, {"de7": "0101000000"}, {"de41": "OTHER   "}])
async def test_an_answer_to_something_else_is_unmatched(host: tuple[Host, int], changes: dict[str, str]) -> None:
    """It is counted and handed to nobody."""
    host[0].script = lambda request: frame(approve(request, **changes))
    async with client_of(host, QUICK_S) as client:
        with pytest.raises(LinkTimeout, match=r"^no answer to 0200 within 0\.2 s$"):
            await client.request(withdrawal())
        assert (client.unmatched, client.in_flight) == (1, 0)


async def test_an_answer_of_another_class_is_unmatched(host: tuple[Host, int]) -> None:
    """An 0410 does not answer an 0200."""
    host[0].script = lambda request: frame(Message("0410", approve(request).fields))
    async with client_of(host, QUICK_S) as client:
        with pytest.raises(LinkTimeout):
            await client.request(withdrawal())
        assert client.unmatched == 1


async def test_a_late_answer_is_counted(host: tuple[Host, int]) -> None:
    """After the time-out nobody takes the answer, and the link goes on."""
    played = host[0]
    late: list[Message] = []

    def withhold_the_first(request: Message) -> bytes:
        late.append(request)
        return b"" if len(late) == 1 else frame(approve(late[0])) + frame(approve(request))

    played.script = withhold_the_first
    async with client_of(host, QUICK_S) as client:
        with pytest.raises(LinkTimeout):
            await client.request(request_of(1))
        assert await client.request(request_of(2)) == approve(request_of(2))
        assert client.unmatched == 1


async def test_a_second_answer_to_one_request_is_unmatched(host: tuple[Host, int]) -> None:
    """The first answer counts."""
    host[0].script = lambda request: frame(approve(request)) + frame(approve(request, de39="05"))
    async with client_of(host) as client:
        answer = await client.request(withdrawal())
        assert (answer.get(39), client.unmatched) == ("00", 1)


async def test_a_key_that_is_in_flight_is_not_sent_again(host: tuple[Host, int]) -> None:
    """Nobody could tell the two answers apart; when the first is answered the key is free."""
    host[0].script = lambda _: b""
    async with client_of(host) as client:
        first = asyncio.create_task(client.request(withdrawal()))
        await host[0].heard.wait()
        with pytest.raises(DuplicateInFlight, match=r"^an 0200 with the same key waits for its answer$"):
            await client.request(withdrawal())
        host[0].script = lambda request: frame(approve(withdrawal())) + frame(approve(request))
        assert await client.request(request_of(2)) == approve(request_of(2))
        assert await first == approve(withdrawal())
        host[0].script = lambda request: frame(approve(request, de39="05"))
        assert (await client.request(withdrawal())).get(39) == "05"
    assert [decode(one).get(11) for one in host[0].received] == ["000123", "000002", "000123"]


async def test_copies_in_flight_get_their_answers_in_turn(host: tuple[Host, int]) -> None:
    """Where somebody tries what the other side makes of them."""
    codes = iter(["00", "94"])
    host[0].script = lambda request: frame(approve(request, de39=next(codes)))
    async with client_of(host) as client:
        answers = await asyncio.gather(*(client.request(withdrawal(), again=True) for _ in range(2)))
        assert (["00", "94"], 0) == ([one.get(39) for one in answers], client.unmatched)


async def test_an_answer_that_fits_several_is_handed_to_none(host: tuple[Host, int]) -> None:
    """Without DE7 and DE41 it may be either one's: both outcomes are unknown."""
    host[0].script = lambda request: frame(approve(request, de7="", de41="")) if request.get(41) == "ATM00002" else b""
    async with client_of(host, QUICK_S) as client:
        asked = [client.request(one) for one in (request_of(1), request_of(1, de41="ATM00002"))]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert ([type(one) for one in outcomes], client.unmatched) == ([LinkTimeout] * 2, 1)


async def test_a_lost_connection_fails_all_who_wait(host: tuple[Host, int]) -> None:
    """Nobody waits for the time-out."""
    host[0].script = lambda request: None if request.get(11) == "000003" else b""
    async with client_of(host) as client:
        outcomes = await asyncio.gather(
            *(client.request(request_of(stan)) for stan in (1, 2, 3)), return_exceptions=True
        )
        assert client.failure == "the other side closed the connection"
        assert str(outcomes[0]) == f"the connection was closed before the answer came: {client.failure}"
        assert ([type(one) for one in outcomes], client.connected) == ([LinkFailed] * 3, False)


async def test_closing_fails_who_waits(host: tuple[Host, int]) -> None:
    """A request in flight learns that its link was closed, and closing twice is allowed."""
    host[0].script = lambda _: b""
    client = client_of(host)
    await client.connect()
    waiting = asyncio.create_task(client.request(withdrawal()))
    await host[0].heard.wait()
    await client.close()
    await client.close()
    with pytest.raises(LinkClosed, match=r"^the connection was closed before the answer came$") as caught:
        await waiting
    assert (type(caught.value), client.failure) == (LinkClosed, None)


async def test_a_frame_that_makes_no_sense_closes_the_link(host: tuple[Host, int]) -> None:
    """What was whole before it still counts."""
    host[0].script = lambda request: frame(approve(request)) + b"rubbish"
    async with client_of(host) as client:
        assert await client.request(request_of(1)) == approve(request_of(1))
        with pytest.raises(LinkFailed, match=r"frame: the length header is not 4 digits$"):
            await client.request(request_of(2))


async def test_an_unreadable_answer_is_counted(host: tuple[Host, int]) -> None:
    """A message that breaks the dialect is no answer and does not close the link."""
    host[0].script = lambda request: HIMBARA_FRAMING.frame(b"0210zz") + frame(approve(request))
    async with client_of(host) as client:
        assert await client.request(withdrawal()) == approve(withdrawal())
        assert client.unreadable == 1


async def test_no_more_than_the_bound_is_in_flight(host: tuple[Host, int]) -> None:
    """Further requests wait for a place, and get it."""
    seen: list[int] = []
    client = client_of(host, max_in_flight=3)

    def count(request: Message) -> bytes:
        seen.append(client.in_flight)
        return frame(approve(request))

    host[0].script = count
    async with client:
        answers = await asyncio.gather(*(client.request(request_of(stan)) for stan in range(20)))
    assert (len(answers), max(seen)) == (20, 3)


async def test_a_request_that_cannot_be_encoded_is_not_sent(host: tuple[Host, int]) -> None:
    """The fault is the caller's, and the link stays."""
    async with client_of(host) as client:
        with pytest.raises(FormatError, match=r"^field 4: must be 12 digits$"):
            await client.request(request_of(1, de4="a lot"))
        assert await client.request(request_of(2)) == approve(request_of(2))


async def test_an_answer_cannot_be_requested(host: tuple[Host, int]) -> None:
    """Nothing answers an 0210."""
    async with client_of(host) as client:
        with pytest.raises(FormatError, match="MTI is that of an answer"):
            await client.request(Message("0210", {11: "000001"}))


async def test_sign_on_is_part_of_connecting(host: tuple[Host, int]) -> None:
    """The host sees an 0800 with DE7, DE11 and DE70 001 before anything else."""
    moment = datetime(2026, 12, 24, 3, 15, tzinfo=UTC)
    client = LinkClient("127.0.0.1", host[1], sign_on=True, timeout_s=PATIENT_S, clock=lambda: moment)
    async with client:
        assert client.connected
    assert decode(host[0].received[0]) == Message("0800", {7: "1224031500", 11: "000001", 70: "001"})


async def test_a_refused_sign_on_closes_the_connection(host: tuple[Host, int]) -> None:
    """The error tells the code."""
    host[0].script = lambda request: frame(approve(request, de39="91"))
    client = LinkClient("127.0.0.1", host[1], sign_on=True, timeout_s=PATIENT_S, clock=lambda: datetime.now(UTC))
    with pytest.raises(SignOnRefused, match="91"):
        await client.connect()
    assert not client.connected


async def test_an_unanswered_sign_on_closes_the_connection(host: tuple[Host, int]) -> None:
    """Half a link is none."""
    host[0].script = lambda _: b""
    client = LinkClient("127.0.0.1", host[1], sign_on=True, timeout_s=QUICK_S, clock=lambda: datetime.now(UTC))
    with pytest.raises(LinkTimeout):
        await client.connect()
    assert not client.connected


@pytest.mark.parametrize("asked", [{"sign_on": True}, {"echo_s": 1.0}])
def test_sign_on_and_echo_need_a_clock(asked: dict[str, Any]) -> None:
    """DE7 is not made up."""
    with pytest.raises(ValueError, match=r"^sign-on and echo need a clock for DE7$"):
        LinkClient("127.0.0.1", 1, **asked)


async def test_the_host_may_ask_too(host: tuple[Host, int]) -> None:
    """An echo of the host is answered 00 while our own request is on its way."""
    echo = Message("0800", {7: "1224031500", 11: "000777", 70: "301"})
    held: list[Message] = []

    def ask_first(message: Message) -> bytes:
        held.append(message)
        return frame(echo) if len(held) == 1 else frame(approve(held[0]))

    host[0].script = ask_first
    async with client_of(host) as client:
        assert await client.request(withdrawal()) == approve(withdrawal())
    assert decode(host[0].received[1]) == approve(echo)


async def test_a_question_that_nobody_answers_is_counted(host: tuple[Host, int]) -> None:
    """An 0200 sent to a client gets no answer, and the link goes on."""
    host[0].script = lambda request: frame(request_of(7)) + frame(approve(request))
    async with client_of(host) as client:
        await client.request(withdrawal())
        assert client.unmatched == 1
    assert host[0].received == [encode(withdrawal())]


def test_answer_network_leaves_other_requests_alone() -> None:
    """A client is no issuer: it answers no 0200."""
    assert answer_network(withdrawal()) is None


async def test_bytes_go_out_as_they_are(host: tuple[Host, int]) -> None:
    """A message may be sent in pieces, without a check."""
    async with client_of(host) as client:
        framed = frame(withdrawal())
        client.send_bytes(framed[:10])
        client.send_bytes(framed[10:])
        await host[0].heard.wait()
    assert host[0].received == [encode(withdrawal())]


async def test_a_client_that_is_not_connected_sends_nothing() -> None:
    """Both ways of sending say so."""
    client = LinkClient("127.0.0.1", 1)
    with pytest.raises(LinkClosed, match=r"^not connected$"):
        client.send_bytes(b"")
    with pytest.raises(LinkClosed, match=r"^not connected$"):
        await client.request(withdrawal())


async def test_a_host_that_is_not_there() -> None:
    """A refused connection is a closed link."""
    server = await asyncio.start_server(Host().serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(LinkFailed, match=r"^no connection: "):
        await LinkClient("127.0.0.1", port, timeout_s=PATIENT_S).connect()


async def test_connecting_again_after_a_loss(host: tuple[Host, int]) -> None:
    """The same client serves on."""
    host[0].script = lambda _: None
    client = client_of(host)
    await client.connect()
    with pytest.raises(LinkFailed):
        await client.request(request_of(1))
    with pytest.raises(LinkFailed, match=r"^not connected: the other side closed the connection$"):
        await client.request(request_of(1))
    host[0].script = lambda request: frame(approve(request))
    await client.connect()
    assert (await client.request(request_of(2)), client.failure) == (approve(request_of(2)), None)
    await client.close()


async def test_connecting_twice_is_one_connection(host: tuple[Host, int]) -> None:
    """The second call finds the link there."""
    async with client_of(host) as client:
        await client.connect()
        await client.request(withdrawal())
    assert len(host[0].writers) == 1


async def test_a_host_that_reads_nothing_cannot_hold_up_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it never read is given up after a while."""
    monkeypatch.setattr("iso.client_wire.CLOSING_S", QUICK_S)
    over = asyncio.Event()

    async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(never_read, "127.0.0.1", 0, limit=1_024)
    client = LinkClient("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=PATIENT_S)
    await client.connect()
    client.send_bytes(b"x" * 32_000_000)
    async with asyncio.timeout(PATIENT_S):
        await client.close()
    assert not client.connected
    over.set()
    server.close()
    await server.wait_closed()


def test_trace_numbers_wrap() -> None:
    """After 999999 comes 000001; 000000 is never used."""
    client = LinkClient("127.0.0.1", 1)
    client._stan = 999_998
    assert [client.next_stan() for _ in range(3)] == ["999999", "000001", "000002"]
