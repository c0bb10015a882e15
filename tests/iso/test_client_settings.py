"""What a partner's profile says of the asking end: headers, dialect, keys, echo, and who answers the other side."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from iso.client import LinkClient
from iso.codec import decode, encode
from iso.dialect import HIMBARA, Dialect
from iso.errors import FormatError, LinkFailed, LinkTimeout
from iso.framing import FrameKind, HeaderKind, LengthFraming
from iso.message import Message
from tests.iso.hosts import LOOPBACK, PATIENT_S, QUICK_S, Host, approve, frame, hosted, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ECHO_S = 0.1
MOMENT = datetime(2026, 12, 24, 3, 15, tzinfo=UTC)
ECHO_OF_HOST = Message("0800", {7: "1224031500", 11: "000777", 70: "301"})
TPDU = LengthFraming(FrameKind.BINARY2, header_kind=HeaderKind.TPDU, header=b"\x60\x00\x03\x12\x34")
SWAPPED = b"\x60\x12\x34\x00\x03"
BASE24 = LengthFraming(FrameKind.ASCII4, header_kind=HeaderKind.STATIC, header=b"ISO026000070")


def client_of(host: Host, timeout_s: float = PATIENT_S, echo_s: float | None = None) -> LinkClient:
    """A client of that host in its framing."""
    return LinkClient(
        LOOPBACK, host.port, HIMBARA, host.framing, timeout_s=timeout_s, echo_s=echo_s, clock=lambda: MOMENT
    )


def kinds(host: Host) -> list[str]:
    """What the host heard: MTI and DE70 of each message."""
    return [f"{one.mti} {one.get(70, '')}".strip() for one in map(decode, host.received)]


async def test_a_question_carries_our_tpdu_and_an_answer_theirs_swapped() -> None:
    """Ours goes out as the profile has it; what comes with addresses goes back with them swapped."""
    async with hosted(Host(TPDU)) as host:
        asked: list[Message] = []

        def ask_first(message: Message) -> bytes:
            asked.append(message)
            if len(asked) == 1:
                return host.framed(ECHO_OF_HOST, SWAPPED)
            return host.framed(approve(asked[0]), SWAPPED)

        host.script = ask_first
        async with client_of(host) as client:
            assert await client.request(request_of(1)) == approve(request_of(1))
    ours, theirs = encode(request_of(1)), encode(approve(ECHO_OF_HOST))
    sizes = [(len(one) + 5).to_bytes(2, "big") for one in (ours, theirs)]
    assert sizes[0] + TPDU.header + ours + sizes[1] + TPDU.header + theirs == host.wire


async def test_a_static_header_goes_out_and_must_come_back() -> None:
    """BASE24's; an answer with another ends the link."""
    async with hosted(Host(BASE24)) as host, client_of(host) as client:
        assert await client.request(request_of(1)) == approve(request_of(1))
        assert host.wire[4:16] == b"ISO026000070"
        host.script = lambda request: host.framed(approve(request), b"ISO025000050")
        with pytest.raises(LinkFailed, match=r"frame: the message header is not this link's$"):
            await client.request(request_of(2))


async def test_the_dialect_is_the_links() -> None:
    """A field that the link's dialect lacks is neither sent nor read."""
    narrow = Dialect("narrow", tuple(field for field in HIMBARA.fields if field.number != 52))
    async with hosted() as host, LinkClient(LOOPBACK, host.port, narrow, timeout_s=QUICK_S) as client:
        with pytest.raises(FormatError, match=r"^field 52: "):
            await client.request(request_of(1))
        message = request_of(2)
        del message.fields[52]
        host.script = lambda request: frame(approve(request, de52="0123456789ABCDEF"))
        with pytest.raises(LinkTimeout):
            await client.request(message)
        assert client.unreadable == 1


@pytest.mark.parametrize(
    ("key_fields", "changes"),
    [
        ({"2": (37,)}, {"de11": "999999", "de7": "0101000000"}),
        ({"2": (37, 32)}, {"de11": "999999"}),
        ({"2": (11,)}, {"de41": "OTHER   "}),
        ({"4": (37,)}, {}),
    ],
)
async def test_an_answer_is_found_by_the_key_of_its_class(
    key_fields: Mapping[str, tuple[int, ...]], changes: dict[str, str]
) -> None:
    """Other fields may differ."""
    async with hosted() as host:
        host.script = lambda request: frame(approve(request, **changes))
        async with LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S, key_fields=key_fields) as client:
            assert await client.request(request_of(1)) == approve(request_of(1), **changes)


async def test_an_answer_of_another_key_is_unmatched() -> None:
    """The fields of the key count, and a key of class 4 is none of class 2."""
    async with hosted() as host:
        host.script = lambda request: frame(approve(request, de37="000000000000"))
        client = LinkClient(LOOPBACK, host.port, timeout_s=QUICK_S, key_fields={"2": (11, 37), "4": (11,)})
        async with client:
            with pytest.raises(LinkTimeout):
                await client.request(request_of(1))
            answer = await client.request(Message("0400", request_of(1).fields))
            assert (answer.mti, client.unmatched) == ("0410", 1)


def test_a_key_has_fields() -> None:
    """Nothing is found by nothing."""
    with pytest.raises(ValueError, match=r"^a key has at least one field$"):
        LinkClient(LOOPBACK, 1, key_fields={"2": ()})


async def test_an_idle_link_is_echoed() -> None:
    """DE70 301, with a trace number of its own each time; the link stays."""
    async with hosted() as host, client_of(host, echo_s=ECHO_S) as client:
        await host.heard_again()
        await host.heard_again()
        assert (client.connected, client.failure) == (True, None)
    echoes = [decode(one) for one in host.received]
    assert [Message("0800", {7: "1224031500", 11: f"00000{n}", 70: "301"}) for n in (1, 2)] == echoes


async def test_a_busy_link_is_not_echoed() -> None:
    """Whatever comes says that the host is there."""
    async with hosted() as host, client_of(host, echo_s=1.0) as client:
        loop = asyncio.get_running_loop()
        until, stan = loop.time() + 1.3, 0
        while loop.time() < until:
            stan += 1
            await client.request(request_of(stan))
            await asyncio.sleep(0.02)
        assert {"0200"} == set(kinds(host))


async def test_a_host_that_leaves_an_echo_unanswered_is_given_up() -> None:
    """The connection looks alive and is not: those who wait learn it."""
    async with hosted() as host:
        host.script = lambda _: b""
        async with client_of(host, QUICK_S, echo_s=ECHO_S) as client:
            await client.wait_closed()
            assert client.failure == "no answer to 0800 within 0.2 s (echo)"
            assert not client.connected
            with pytest.raises(LinkFailed, match=r"^not connected: no answer to 0800 "):
                await client.request(request_of(1))
    assert kinds(host) == ["0800 301"]


async def test_whatever_comes_instead_of_an_echo_says_that_the_host_lives() -> None:
    """A host that does not know echo, but asks its own, is no dead one."""
    async with hosted() as host:
        host.script = lambda message: frame(ECHO_OF_HOST) if message.is_request else b""
        async with client_of(host, QUICK_S, echo_s=ECHO_S) as client:
            while kinds(host).count("0800 301") < 2:
                await host.heard_again()
            assert client.connected


async def test_a_request_may_be_answered_later() -> None:
    """An asynchronous on_request is awaited while other messages go on."""
    later = asyncio.Event()

    async def answer_later(request: Message) -> Message:
        await later.wait()
        return approve(request)

    async with hosted() as host:
        host.script = lambda message: frame(ECHO_OF_HOST) + frame(approve(message)) if message.is_request else b""
        async with LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S, on_request=answer_later) as client:
            assert await client.request(request_of(1)) == approve(request_of(1))
            assert kinds(host) == ["0200"]
            later.set()
            await host.heard_again()
    assert decode(host.received[1]) == approve(ECHO_OF_HOST)


async def test_an_asynchronous_answer_may_be_none_or_unfit() -> None:
    """Nothing is sent, it is counted, and the link goes on."""

    async def answer(request: Message) -> Message | None:
        if request.get(11) == "000777":
            return None
        if request.get(11) == "000778":
            raise LinkTimeout("whom I asked says nothing")
        return Message("0810", {39: "too long"})

    questions = b"".join(frame(Message("0800", ECHO_OF_HOST.fields | {11: f"00077{n}"})) for n in (7, 8, 9))
    async with hosted() as host:
        host.script = lambda message: questions + frame(approve(message))
        async with LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S, on_request=answer) as client:
            await client.request(request_of(1))
            await asyncio.sleep(0)
            assert (client.unmatched, client.unreadable, client.connected) == (2, 1, True)
    assert kinds(host) == ["0200"]


async def test_no_more_than_the_bound_are_answered_at_once() -> None:
    """Who asks faster than he is answered gets no answer to the rest, and takes no memory."""
    began = 0
    later = asyncio.Event()

    async def answer_never(_: Message) -> None:
        nonlocal began
        began += 1
        await later.wait()

    async with hosted() as host:
        host.script = lambda message: frame(ECHO_OF_HOST) * 50 + frame(approve(message))
        client = LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S, max_in_flight=10, on_request=answer_never)
        async with client:
            await client.request(request_of(1))
            await asyncio.sleep(0)
            assert (began, client.unmatched) == (10, 40)


async def test_an_answer_in_the_making_ends_with_the_connection() -> None:
    """The caller has gone: nobody works for him any more."""
    ended = asyncio.Event()

    async def answer_never(_: Message) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with hosted() as host:
        host.script = lambda message: frame(ECHO_OF_HOST) + frame(approve(message))
        async with LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S, on_request=answer_never) as client:
            await client.request(request_of(1))
        assert ended.is_set()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_on_request_that_breaks_ends_the_link(*, asynchronous: bool) -> None:
    """It is told to the loop's handler of exceptions and not swallowed; those who wait learn that the link failed."""
    told: list[str] = []

    def answer(_: Message) -> Message:
        raise KeyError("bug")

    async def answer_later(_: Message) -> Message:
        raise KeyError("bug")

    asyncio.get_running_loop().set_exception_handler(lambda _, seen: told.append(repr(seen["exception"])))
    on_request = answer_later if asynchronous else answer
    async with hosted() as host:
        host.script = lambda _: frame(ECHO_OF_HOST)
        async with LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S, on_request=on_request) as client:
            with pytest.raises(LinkFailed, match="KeyError"):
                await client.request(request_of(1))
    assert told == ["KeyError('bug')"]


async def test_who_asks_and_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that nobody reads do not pile up."""
    monkeypatch.setattr("iso.client._UNREAD_MAX", 100_000)
    monkeypatch.setattr("iso.client_wire.CLOSING_S", QUICK_S)

    async def ask_for_ever(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(frame(ECHO_OF_HOST) * 1_000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(ask_for_ever, LOOPBACK, 0, limit=1_024)
    client = LinkClient(LOOPBACK, server.sockets[0].getsockname()[1], timeout_s=PATIENT_S)
    await client.connect()
    async with asyncio.timeout(4 * PATIENT_S):
        await client.wait_closed()
    assert client.failure == "the other side asks and does not read"
    server.close()
    await server.wait_closed()
