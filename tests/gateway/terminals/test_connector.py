"""Tests of gateway.terminals.connector: calling a host, signing on, echoes, and calling again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.terminals.connector import Connector
from gateway.terminals.tls import context_of
from iso.message import Message
from tests.gateway.terminals.certificates import Authority
from tests.gateway.terminals.counterpart import (
    ECHO,
    HeldLanes,
    Partner,
    a_line,
    a_link,
    cash,
    switch_host,
    until,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.terminals.line import Line
    from gateway.terminals.profile import Link

QUICK = {"reconnect_s": 0.05, "reconnect_most_s": 0.1, "answer_timeout_s": 0.5}


@asynccontextmanager
async def _connecting(line: Line, context: ssl.SSLContext | None = None) -> AsyncIterator[Connector]:
    connector = Connector(line, context)
    connector.start()
    try:
        yield connector
    finally:
        await connector.close()


class Host:
    """A host that answers network management, and remembers the codes it was sent. ANSWERS: DE39 by DE70; None: silence."""

    def __init__(self, **answers: str | None) -> None:
        self.codes: list[str] = []
        self.answers: dict[str, str | None] = dict.fromkeys(("001", "002", "301"), "00")
        self.answers.update({name.lstrip("c"): code for name, code in answers.items()})

    async def serve(self, partner: Partner) -> None:
        """Until the caller goes."""
        while True:
            message = await partner.receive()
            if message.mti[2] != "0":
                continue
            code = message.get(70, "")
            self.codes.append(code)
            said = self.answers.get(code)
            if said is not None:
                answer = message.response()
                answer.fields[39] = said
                await partner.send(answer)


async def test_sign_on_is_part_of_connecting() -> None:
    """It is ready once its sign-on is answered 00, serves what the host asks, and signs off when it goes."""
    host, noted = Host(), []

    async def note(_link: str, event: str, _times: int) -> None:
        noted.append(event)

    lanes = HeldLanes()
    async with switch_host(a_link(**QUICK), host.serve) as (link, partners):
        line = a_line(link, lanes, note=note)
        async with _connecting(line) as connector:
            assert not line.ready
            await until(lambda: line.ready)
            assert (["001"], None) == (host.codes, connector.why)
            await partners[0].send(cash(1))
            await lanes.hold(1)
            lanes.release()
            await until(lambda: line.counters.answered == {"00": 1})
            assert "00" == (await line.ask(Message("0800", ECHO.fields))).get(39)
        assert (["001", "301", "002"], ["sign-on", "sign-off"], False) == (host.codes, noted, line.ready)


async def test_a_refused_sign_on_closes_and_backs_off() -> None:
    """Each call is closed after the refusal and the next waits; when the host takes it the link is ready again."""
    host = Host(c001="91")
    async with switch_host(a_link(**QUICK), host.serve) as (link, partners):
        line = a_line(link)
        async with _connecting(line) as connector:
            await until(lambda: len(partners) >= 2 and connector.refused)
            assert ("sign-on refused with response code 91", False) == (connector.why, line.ready)
            host.answers["001"] = "00"
            await until(lambda: line.ready)
            assert (None, False, 1) == (connector.why, connector.refused, len(line.connections))
            assert 1 + host.codes.count("001") >= len(partners)


async def test_a_host_that_says_nothing() -> None:
    """A sign-on nobody answers is a failed call."""
    async with switch_host(a_link(**QUICK), Host(c001=None).serve) as (link, partners):
        line = a_line(link.model_copy(update={"answer_timeout_s": 0.05}))
        async with _connecting(line) as connector:
            await until(lambda: len(partners) >= 2)
            assert "no answer to 0800 within 0.05 s" in str(connector.why)


async def test_nobody_listens_then_somebody_does() -> None:
    """Calls go on until the host is there."""
    async with switch_host(a_link(**QUICK), Host().serve) as (link, _):
        pass
    line = a_line(link)
    async with _connecting(line) as connector:
        await until(lambda: connector.why)
        assert "Connect call failed" in str(connector.why)
        server = await asyncio.start_server(_talk(link), "127.0.0.1", link.port)
        try:
            await until(lambda: line.ready)
        finally:
            server.close()


def _talk(link: Link) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        partner = Partner(reader, writer, link)
        try:
            await Host().serve(partner)
        except ConnectionError:
            await partner.hang_up()

    return talk


async def test_a_lost_connection_is_called_again() -> None:
    """And signed on again; requests of ours find it ready again."""
    host = Host()
    async with switch_host(a_link(**QUICK), host.serve) as (link, partners):
        line = a_line(link)
        async with _connecting(line):
            await until(lambda: line.ready)
            await partners[0].hang_up()
            await until(lambda: len(partners) == 2 and line.ready)
            assert ["001", "001"] == host.codes


async def test_an_idle_link_is_asked() -> None:
    """After echo_s without a message; a host that does not answer is given up, and called again."""
    host = Host()
    async with switch_host(a_link(**QUICK, echo_s=0.1), host.serve) as (link, partners):
        line = a_line(link.model_copy(update={"answer_timeout_s": 0.2}))
        async with _connecting(line):
            await until(lambda: host.codes.count("301") >= 2)
            assert 1 == len(partners)
            host.answers["301"] = None
            before = host.codes.count("301")
            await until(lambda: len(partners) >= 2)
            assert (3, 1) == (line.counters.timed_out, line.counters.silent)
            assert 3 <= host.codes.count("301") - before


async def test_a_busy_host_keeps_its_connection() -> None:
    """An echo that is answered late, or never while other messages come, gives nobody up."""
    host = Host(c301=None)
    link = a_link(**QUICK | {"answer_timeout_s": 0.1}, echo_s=0.1)
    async with switch_host(link, host.serve) as (calling, partners):
        line = a_line(calling)
        async with _connecting(line):
            await until(lambda: line.ready)
            for number in range(1, 9):
                await partners[0].send(Message("0800", ECHO.fields | {11: f"{number:06d}"}))
                await asyncio.sleep(0.1)
            assert (1, 0) == (len(partners), line.counters.silent)
            host.answers["301"] = "00"
            await asyncio.sleep(0.5)
            assert (1, 0) == (len(partners), line.counters.silent)


async def test_a_host_that_takes_each_call_and_drops_it_is_called_slower_each_time() -> None:
    """Its sign-on is answered, and then the connection is closed: no reason to call again without a pause."""
    calls = []

    async def take_and_drop(partner: Partner) -> None:
        answer = (await partner.receive()).response()
        answer.fields[39] = "00"
        await partner.send(answer)
        calls.append(partner)
        await partner.hang_up()

    away = a_link(reconnect_s=0.05, reconnect_most_s=5.0)
    async with switch_host(away, take_and_drop) as (link, _), _connecting(a_line(link)):
        await asyncio.gather(asyncio.sleep(0.8), until(lambda: 2 <= len(calls)))
    assert 2 <= len(calls) <= 6


async def test_calling_over_tls(tmp_path: Path) -> None:
    """Both sides show certificates; a host whose certificate has another name is hung up on and the reason is told."""
    authority = Authority(tmp_path)
    bank, switch = authority.sign("bank"), authority.sign("switch", "127.0.0.1")
    server = context_of(a_link(tls=switch.table()))
    for changes, ready in (({}, True), ({"peer_names": ["switch"]}, True), ({"peer_names": ["else"]}, False)):
        calling = a_link(**QUICK, tls=bank.table(**changes))
        async with switch_host(calling, Host().serve, server) as (link, _):
            line = a_line(link)
            async with _connecting(line, context_of(link)) as connector:
                await until(lambda line=line, connector=connector: line.ready or connector.why)  # type: ignore[misc]
                assert ready is line.ready
                assert (None if ready else "its certificate has another name") == connector.why


async def test_without_a_sign_on_policy() -> None:
    """Nothing is sent on connecting or on going."""
    host = Host()
    async with switch_host(a_link(**QUICK, sign_on_required=False), host.serve) as (link, _):
        line = a_line(link)
        async with _connecting(line):
            await until(lambda: line.ready)
        assert [] == host.codes
