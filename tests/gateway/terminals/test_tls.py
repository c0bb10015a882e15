"""Tests of gateway.terminals.tls: TLS and mutual TLS over loopback, certificates bound to the link, faults of files in a line."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from asyncio.trsock import TransportSocket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.errors import SettingsError
from gateway.terminals.listener import Listener
from gateway.terminals.tls import context_of, is_named, why
from tests.gateway.terminals.certificates import Authority, Papers
from tests.gateway.terminals.counterpart import ECHO, a_line, a_link, calling, listening, until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.terminals.profile import Link


def _client(papers: Papers | None, authority: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What a partner calls with: its own certificate or none, trusting AUTHORITY."""
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = False
    if papers is not None:
        context.load_cert_chain(papers.certificate, papers.key)
    if version is not None:
        context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, version
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def _echo(link: Link, client: ssl.SSLContext | None) -> str:
    """What an echo over that link is answered; raises where nobody may speak."""
    async with listening(a_line(link), context_of(link)) as address, calling(address, link, client) as partner:
        return await partner.ask(ECHO)


async def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    """With an authority only its certificates come in, and only those of the link's names; without one any client."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    bank = ours.sign("bank", "127.0.0.1")
    switch, other = theirs.sign("switch-1", "switch.example"), theirs.sign("other")
    stranger = ours.sign("stranger")
    one_way = a_link(tls={"certificate": str(bank.certificate), "key": str(bank.key)})
    assert "00" == await _echo(one_way, _client(None, ours.path))
    mutual = a_link(tls=bank.table(authority=str(theirs.path)))
    for papers in (switch, other):
        assert "00" == await _echo(mutual, _client(papers, ours.path))
    for name in ("switch.example", "switch-1"):
        bound = a_link(tls=bank.table(authority=str(theirs.path), peer_names=["else", name]))
        assert "00" == await _echo(bound, _client(switch, ours.path))
        with pytest.raises(ConnectionError):
            await _echo(bound, _client(other, ours.path))
    for client in (_client(None, ours.path), _client(stranger, ours.path), None):
        with pytest.raises((OSError, EOFError)):
            await _echo(mutual, client)


async def test_a_refused_certificate_is_counted(tmp_path: Path) -> None:
    """The status tells of it."""
    authority = Authority(tmp_path)
    bank, other = authority.sign("bank"), authority.sign("other")
    link = a_link(tls=bank.table(peer_names=["switch"]))
    line = a_line(link)
    async with (
        listening(line, context_of(link)) as address,
        calling(address, link, _client(other, authority.path)) as partner,
    ):
        assert await partner.is_closed()
    assert (1, 0) == (line.counters.peers_refused, len(line.connections))


async def test_handshakes_are_counted_from_the_first_byte(tmp_path: Path) -> None:
    """Sockets that never shake hands take half of the room at most, are cut off in time, and leave nothing behind."""
    authority = Authority(tmp_path)
    bank = authority.sign("bank")
    tls = {"certificate": str(bank.certificate), "key": str(bank.key)}
    line = a_line(a_link(tls=tls, connections_max=7, frame_timeout_s=0.6))
    listener = Listener(line, context_of(line.link))
    address = await listener.start("127.0.0.1", 0)
    client = _client(None, authority.path)
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(calling(address, line.link)) for _ in range(9)]
        await until(lambda: line.counters.full == 5)
        assert (4, 0, 0) == (listener.handshakes, len(line.connections), line.counters.handshakes_cut_off)
        partly = silent[0]
        await partly.raw(b"\x16\x03\x01\x02\x00")  # a record's head, and no more
        assert [True] * 9 == [await one.is_closed() for one in silent]
        await until(lambda: not listener.handshakes)
        assert (4, 5) == (line.counters.handshakes_cut_off, line.counters.full)
        async with calling(address, line.link, client) as partner:
            assert "00" == await partner.ask(ECHO)
        async with calling(address, line.link) as stranger:
            await stranger.raw(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: line.counters.handshakes_failed == 1)
        waiting = await stack.enter_async_context(calling(address, line.link))
        await until(lambda: listener.handshakes == 1)
        await listener.close()
        assert await waiting.is_closed()
    assert 0 == listener.handshakes


async def test_without_a_descriptor_left_a_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand open else, and count nowhere; the next one comes in."""

    def none_left(_socket: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    authority = Authority(tmp_path)
    bank = authority.sign("bank")
    line = a_line(a_link(tls={"certificate": str(bank.certificate), "key": str(bank.key)}))
    async with listening(line, context_of(line.link)) as address:
        with monkeypatch.context() as patch:
            patch.setattr(TransportSocket, "dup", none_left)
            async with calling(address, line.link) as partner:
                assert await partner.is_closed()
        assert 1 == line.counters.handshakes_failed
        async with calling(address, line.link, _client(None, authority.path)) as partner:
            assert "00" == await partner.ask(ECHO)


async def test_connections_and_handshakes_share_the_room(tmp_path: Path) -> None:
    """What stands counts, what is on its way counts, and nothing more comes in."""
    authority = Authority(tmp_path)
    bank = authority.sign("bank")
    line = a_line(a_link(tls={"certificate": str(bank.certificate), "key": str(bank.key)}, connections_max=2))
    client = _client(None, authority.path)
    async with (
        listening(line, context_of(line.link)) as address,
        calling(address, line.link, client) as one,
        calling(address, line.link),
    ):
        assert "00" == await one.ask(ECHO)
        with pytest.raises(OSError):  # noqa: PT011 - a reset or an SSLError, as the race goes
            await asyncio.open_connection(*address, ssl=client)
        assert (1, 1) == (line.counters.full, len(line.connections))


async def test_an_address_that_is_not_allowed_gets_no_handshake(tmp_path: Path) -> None:
    """It is closed before a byte of TLS is read, and counted as refused, not as a handshake."""
    authority = Authority(tmp_path)
    bank = authority.sign("bank")
    tls = {"certificate": str(bank.certificate), "key": str(bank.key)}
    line = a_line(a_link(tls=tls, peers=["10.0.0.0/8"]))
    async with listening(line, context_of(line.link)) as address, calling(address, line.link) as partner:
        assert await partner.is_closed()
    counters = line.counters
    assert (1, 0, 0) == (counters.peers_refused, counters.handshakes_failed, counters.handshakes_cut_off)


async def test_what_comes_with_the_last_byte_of_a_handshake_is_served(tmp_path: Path) -> None:
    """A partner need not wait before it sends; many do it at once."""
    authority = Authority(tmp_path)
    bank = authority.sign("bank")
    line = a_line(a_link(tls={"certificate": str(bank.certificate), "key": str(bank.key)}))
    client = _client(None, authority.path)

    async def once(address: tuple[str, int]) -> str:
        async with calling(address, line.link, client) as partner:
            return await partner.ask(ECHO)

    async with listening(line, context_of(line.link)) as address:
        assert ["00"] * 40 == await asyncio.gather(*(once(address) for _ in range(40)))
    assert {"00": 40} == line.counters.answered


def test_why_a_handshake_failed() -> None:
    """In one line, whoever says it."""
    assert "connection reset by peer" == why(ConnectionResetError(104, "Connection reset by peer"))
    assert "the connection was closed" == why(ConnectionResetError())
    assert "took too long" == why(OSError("took too long"))


async def test_old_versions_are_refused(tmp_path: Path) -> None:
    """TLS 1.1 is not spoken; 1.2 is."""
    authority = Authority(tmp_path)
    bank = authority.sign("bank")
    link = a_link(tls={"certificate": str(bank.certificate), "key": str(bank.key)})
    assert "00" == await _echo(link, _client(None, authority.path, ssl.TLSVersion.TLSv1_2))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old = _client(None, authority.path, ssl.TLSVersion.TLSv1_1)
    with pytest.raises(OSError):  # noqa: PT011 - a reset or an SSLError, as the race goes
        await _echo(link, old)
    context = context_of(link)
    assert context is not None
    assert ssl.TLSVersion.TLSv1_2 is context.minimum_version


def test_a_calling_link_checks_names(tmp_path: Path) -> None:
    """By peer_names where the profile has some, else the host's name; never nothing."""
    papers = Authority(tmp_path).sign("bank")
    role = {"role": "connect", "host": "127.0.0.1", "port": 1}
    for tls, checked in ((papers.table(), True), (papers.table(peer_names=["switch"]), False)):
        context = context_of(a_link(tls=tls, **role))
        assert context is not None
        assert (checked, ssl.CERT_REQUIRED) == (context.check_hostname, context.verify_mode)
    context = context_of(a_link(tls={"certificate": str(papers.certificate), "key": str(papers.key)}, **role))
    assert context is not None
    assert (True, ssl.CERT_REQUIRED) == (context.check_hostname, context.verify_mode)
    assert None is context_of(a_link(**role))


def test_faults_in_files_are_one_line(tmp_path: Path) -> None:
    """What is missing, of another kind, of another key or enciphered; the line names link and file."""
    authority = Authority(tmp_path)
    good, other = authority.sign("good"), authority.sign("other")
    locked = authority.sign("locked", passphrase=b"secret")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for tls, words in (
        (good.table(certificate=str(tmp_path / "none.pem")), r"tls\.certificate: .*none\.pem: No such file"),
        (good.table(key=str(tmp_path)), r"tls\.key: .*: Is a directory"),
        (good.table(authority=str(tmp_path / "none.pem")), r"tls\.authority: .*none\.pem: No such file"),
        (good.table(key=str(other.key)), r"tls: .*good\.pem with .*other\.key: key values mismatch"),
        (good.table(certificate=str(text)), r"tls: .*text\.pem with .*good\.key: "),
        (good.table(authority=str(text)), r"tls\.authority: .*text\.pem: "),
        (locked.table(), r"tls\.key: .*locked\.key: is enciphered"),
    ):
        with pytest.raises(SettingsError, match=f"^link himbara: {words}") as error:
            context_of(a_link(tls=tls))
        assert "\n" not in str(error.value)


def test_names_of_a_certificate() -> None:
    """Alternative names and common name; no certificate has none."""
    certificate = {
        "subject": ((("commonName", "switch"),), (("organizationName", "bank"),)),
        "subjectAltName": (("DNS", "a"),),
    }
    assert [True, True, False, False] == [is_named(certificate, (name,)) for name in ("switch", "a", "bank", "b")]
    assert not is_named(None, ("a",))
    assert not is_named({}, ("a",))
