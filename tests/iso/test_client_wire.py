"""A client's connection: TLS, ends in bounded time, and who wanted them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from iso.client import LinkClient
from iso.client_wire import why
from iso.errors import LinkClosed, LinkFailed, LinkTimeout
from tests.iso.certificates import Authority
from tests.iso.hosts import LOOPBACK, PATIENT_S, QUICK_S, Host, approve, hosted, request_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of this test."""
    return Authority(tmp_path)


async def test_tls_with_a_certificate_of_the_authority(authority: Authority) -> None:
    """Requests and answers go through; nothing of them is readable outside."""
    async with hosted(tls=authority.server()) as host:
        async with LinkClient(LOOPBACK, host.port, tls=authority.client(), timeout_s=PATIENT_S) as client:
            assert await client.request(request_of(1)) == approve(request_of(1))
            began = asyncio.get_running_loop().time()
        assert (client.failure, asyncio.get_running_loop().time() - began < PATIENT_S / 2) == (None, True)


async def test_tls_to_a_host_of_another_name(authority: Authority) -> None:
    """The name asked for is that of the certificate, whatever the address."""
    async with hosted(tls=authority.server("switch.example")) as host:
        tls = authority.client()
        async with LinkClient(LOOPBACK, host.port, tls=tls, tls_name="switch.example") as client:
            assert await client.request(request_of(1)) == approve(request_of(1))
        with pytest.raises(LinkFailed, match=r"^no connection: certificate refused: Hostname mismatch"):
            await LinkClient(LOOPBACK, host.port, tls=tls, tls_name="other.example").connect()


async def test_tls_with_a_certificate_of_another_authority(authority: Authority, tmp_path: Path) -> None:
    """Who signed it must be known to us."""
    async with hosted(tls=Authority(tmp_path, "stranger").server()) as host:
        with pytest.raises(LinkFailed, match=r"^no connection: certificate refused: "):
            await LinkClient(LOOPBACK, host.port, tls=authority.client()).connect()


async def test_mutual_tls(authority: Authority) -> None:
    """A host that wants a certificate of ours gets it, and ends a connection without."""
    async with hosted(tls=authority.server(clients=authority)) as host:
        shown = authority.client(authority.sign("bank.example"))
        async with LinkClient(LOOPBACK, host.port, tls=shown, timeout_s=PATIENT_S) as client:
            assert await client.request(request_of(1)) == approve(request_of(1))
            seen = host.writers[0].get_extra_info("peercert")["subjectAltName"]
            assert ("DNS", "bank.example") in seen
        with pytest.raises(LinkFailed):
            async with LinkClient(LOOPBACK, host.port, tls=authority.client(), timeout_s=PATIENT_S) as client:
                await client.request(request_of(2))
        assert client.failure is not None


async def test_tls_to_a_host_without(authority: Authority) -> None:
    """A plain host that answers rubbish, or nothing at all, is no host of ours."""
    host = Host()
    host.greeting = lambda: b"0800" * 10
    async with hosted(host):
        with pytest.raises(LinkFailed, match=r"^no connection: TLS: "):
            await LinkClient(LOOPBACK, host.port, tls=authority.client(), timeout_s=PATIENT_S).connect()


async def test_a_handshake_that_never_ends(authority: Authority) -> None:
    """A host that takes the connection and says nothing costs the time-out, no more."""
    over = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(LinkTimeout, match=r"^no connection within 0\.2 s$"):
        await LinkClient(LOOPBACK, port, tls=authority.client(), timeout_s=QUICK_S).connect()
    over.set()
    server.close()
    await server.wait_closed()


async def test_a_tls_that_is_never_ended_is_ended_by_force(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that does not take part in closing holds it up for a while only."""
    monkeypatch.setattr("iso.client_wire.CLOSING_S", QUICK_S)
    over = asyncio.Event()

    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            asyncio.get_running_loop().call_soon(transport.pause_reading)
            over_tasks.append(asyncio.ensure_future(self._end(transport)))

        async def _end(self, transport: asyncio.Transport) -> None:
            await over.wait()
            transport.abort()

    over_tasks: list[asyncio.Future[None]] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Deaf, LOOPBACK, 0, ssl=authority.server())
    client = LinkClient(LOOPBACK, server.sockets[0].getsockname()[1], tls=authority.client(), timeout_s=PATIENT_S)
    await client.connect()
    client.send_bytes(b"x" * 32_000_000)
    waiting = asyncio.create_task(client.request(request_of(1)))
    await asyncio.sleep(0)
    began = loop.time()
    await client.close()
    assert QUICK_S / 2 < loop.time() - began < PATIENT_S
    with pytest.raises(LinkClosed) as caught:
        await waiting
    assert (type(caught.value), client.failure) == (LinkClosed, None)
    over.set()
    await asyncio.gather(*over_tasks)
    server.close()
    await server.wait_closed()


async def test_nothing_is_sent_while_closing() -> None:
    """Once closing has begun there is no connection for those who ask."""
    async with hosted() as host, LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S) as client:
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        with pytest.raises(LinkClosed, match=r"^not connected$"):
            await client.request(request_of(1))
        await closing
        await client.connect()
        assert await client.request(request_of(2)) == approve(request_of(2))


async def test_a_reset_connection_has_failed() -> None:
    """The other side's RST is told in the system's words."""
    async with hosted() as host, LinkClient(LOOPBACK, host.port, timeout_s=PATIENT_S) as client:
        host.script = lambda _: b""
        waiting = asyncio.create_task(client.request(request_of(1)))
        await host.heard.wait()
        linger_no_time = struct.pack("ii", 1, 0)
        host.writers[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_no_time)
        host.writers[0].transport.abort()
        with pytest.raises(LinkFailed, match=r"Connection reset by peer$"):
            await waiting


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (ConnectionAbortedError(), "ConnectionAbortedError"),
        (ssl.SSLError(1, "[SSL] x"), "TLS: failed"),
        (ValueError("4111"), "ValueError"),
    ],
)
def test_why_a_connection_ended(error: Exception, said: str) -> None:
    """The system's words, or the kind of the error; never what stood in a message."""
    assert said == why(error)
