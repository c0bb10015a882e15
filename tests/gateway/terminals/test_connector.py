"""Tests of gateway.terminals.connector: calling a host, signing on, echoes, and calling again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.terminals import connector as connector_module
from gateway.terminals.connector import Connector
from gateway.terminals.tls import context_of
from iso.backoff import Backoff
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

    import pytest

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


@asynccontextmanager
async def _two_hosts(first: Host, second: Host, **changes: object) -> AsyncIterator[tuple[Line, list[Partner]]]:
    """A line that calls two hosts. Yields it and the connections of the first."""
    link = a_link(**QUICK)
    async with switch_host(link, first.serve) as (calls, partners), switch_host(link, second.serve) as (other, _):
        more = {"role": "connect", "host": "127.0.0.1", "port": calls.port, "more_hosts": [f"127.0.0.1:{other.port}"]}
        yield a_line(a_link(**QUICK | more | changes)), partners


async def _ask(line: Line, times: int) -> None:
    for _ in range(times):
        request = Message("0800", ECHO.fields | {11: line.next_stan()})
        assert "00" == (await line.ask(request)).get(39)


def _asked(*hosts: Host) -> list[int]:
    """How many requests of ours each got since this was asked last."""
    found = [host.codes.count("301") for host in hosts]
    for host in hosts:
        host.codes.clear()
    return found


async def test_one_of_two_hosts_goes_and_comes_back() -> None:
    """Both are used alike; while one is away the other has everything; back again it has its share, and no more."""
    first, second = Host(), Host()
    async with _two_hosts(first, second) as (line, _):
        pass
    one, other = line.link.hosts
    async with switch_host(line.link, first.serve, port=one.port), _connecting(line) as connector:
        for _ in range(2):
            await until(lambda: connector.why is not None and line.ready)
            await _ask(line, 6)
            assert [6, 0] == _asked(first, second)
            assert f"{other}: Connect call failed" in str(connector.why)
            assert [1, 0] == [shown["signed_on"] for shown in connector.shown()]
            async with switch_host(line.link, second.serve, port=other.port):
                await until(lambda: line.signed_on == 2)
                await _ask(line, 6)
                assert ([3, 3], None, False) == (_asked(first, second), connector.why, connector.refused)


async def test_the_first_host_and_its_spare() -> None:
    """The first that is signed on has everything; the spare is signed on too, and has it at once when the first has gone."""
    first, second = Host(), Host()
    async with _two_hosts(first, second, spread="first") as (line, partners), _connecting(line):
        await until(lambda: line.signed_on == 2)
        await _ask(line, 4)
        assert [4, 0] == _asked(first, second)
        first.answers["001"] = "91"
        await partners[0].hang_up()
        await until(lambda: line.signed_on == 1)
        await _ask(line, 4)
        assert [0, 4] == _asked(first, second)
        first.answers["001"] = "00"
        await until(lambda: line.signed_on == 2)
        await _ask(line, 4)
        assert [4, 0] == _asked(first, second)


async def test_a_card_stays_with_its_host() -> None:
    """Each card's messages go to one host, cards to both; when a host goes its cards move, and come back with it."""
    first, second = Host(), Host()
    cards = [f"60130100000{number:05d}" for number in range(20)]

    async def shares() -> list[int]:
        for card in cards:
            request = Message("0800", ECHO.fields | {2: card, 11: line.next_stan()})
            assert "00" == (await line.ask(request)).get(39)
        return _asked(first, second)

    async with _two_hosts(first, second, spread="card") as (line, partners), _connecting(line):
        await until(lambda: line.signed_on == 2)
        before = await shares()
        assert (20, True) == (sum(before), min(before) > 0)
        assert before == await shares()
        first.answers["001"] = "91"
        await partners[0].hang_up()
        await until(lambda: line.signed_on == 1)
        assert [0, 20] == await shares()
        first.answers["001"] = "00"
        await until(lambda: line.signed_on == 2)
        assert before == await shares()


async def test_one_host_refuses_and_the_other_takes_us() -> None:
    """The link is ready by one; which host refuses is told."""
    refusing = Host(c001="91")
    async with _two_hosts(refusing, Host()) as (line, _), _connecting(line) as connector:
        await until(lambda: line.ready and connector.why)
        one, other = connector.shown()
        assert f"{one['address']}: sign-on refused with response code 91" == connector.why
        assert (1, 0, "sign-on refused with response code 91") == (one["wanted"], one["signed_on"], one["why"])
        assert (1, 1, None) == (other["wanted"], other["signed_on"], other["why"])


async def test_several_connections_to_each_host() -> None:
    """So many to each, all signed on and used alike."""
    first, second = Host(), Host()
    async with _two_hosts(first, second, connections=2) as (line, _), _connecting(line) as connector:
        await until(lambda: line.signed_on == 4)
        await _ask(line, 8)
        assert [4, 4] == _asked(first, second)
        assert [2, 2, 2, 2] == [shown[name] for shown in connector.shown() for name in ("wanted", "signed_on")]
        await connector.close()
        assert [["002", "002"], ["002", "002"]] == [first.codes, second.codes]


async def test_a_name_that_is_none() -> None:
    """Is one more host that cannot be called, and told as such."""
    async with _two_hosts(Host(), Host(), more_hosts=["a..example:1"]) as (line, _), _connecting(line) as connector:
        await until(lambda: line.ready and connector.why)
        assert str(connector.why).startswith("a..example:1: ")


async def test_each_host_backs_off_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failures of one that refuses us do not make the other, lost once, wait longer."""
    failures: dict[str, list[int]] = {}

    class Noted(Backoff):
        def wait_s(self, failures_in_a_row: int) -> float:
            task = asyncio.current_task()
            assert task is not None
            failures.setdefault(task.get_name(), []).append(failures_in_a_row)
            return 0.01

    monkeypatch.setattr(connector_module, "Backoff", Noted)
    async with _two_hosts(Host(), Host(c001="91")) as (line, partners), _connecting(line) as connector:
        one, other = (f"link-{line.link.name}-{shown['address']}" for shown in connector.shown())
        await until(lambda: line.ready and len(failures.get(other, ())) >= 4)
        await partners[0].hang_up()
        await until(lambda: len(partners) == 2 and line.ready)
        assert ([1], [1, 2, 3, 4]) == (failures[one], failures[other][:4])
