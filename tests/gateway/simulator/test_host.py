"""Tests of gateway.simulator.host: our own asking side against a switch that answers by rules."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.errors import SimulatorError, WrongMac
from gateway.simulator.host import RulesHost, Seen, sensible_answer
from gateway.simulator.profile import HIMBARA_PROFILE, with_keys
from gateway.simulator.rawline import RawLine
from gateway.simulator.rules import AnswerMac, Deed, Rule, Rules
from gateway.simulator.switch import SealingClient
from iso.client import LinkClient
from iso.codec import decode
from iso.errors import LinkClosed, LinkError, LinkTimeout
from iso.framing import HIMBARA_FRAMING, FrameKind, HeaderKind, LengthFraming
from iso.message import Message
from tests.gateway.simulator.fake_issuer import TEST_KEYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CASH = Message(
    "0200", {3: "010000", 4: "000005000000", 7: "1123173005", 11: "000041", 37: "632717000041", 41: "A0000001"}
)
ECHO = Message("0800", {7: "1123173005", 11: "000042", 70: "301"})
SEALED = with_keys(replace(HIMBARA_PROFILE, mac_key="mac-himbara"), TEST_KEYS)


@asynccontextmanager
async def client_of(host: RulesHost, timeout_s: float = 10.0) -> AsyncIterator[LinkClient]:
    """A link to the host."""
    async with LinkClient("127.0.0.1", host.port, framing=host.framing, timeout_s=timeout_s) as client:
        yield client


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so; five seconds at most."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def rules(*some: Rule, asker_timeout_ms: int = 200) -> Rules:
    """A file of them."""
    return Rules(asker_timeout_ms=asker_timeout_ms, rules=some)


async def test_without_rules_it_answers_sensibly() -> None:
    """Every class of message, with its answering type and 00."""
    async with RulesHost() as host, client_of(host) as client:
        answers = [
            await client.request(Message(mti, CASH.fields | {11: f"{n:06d}"}))
            for n, mti in enumerate(
                ("0100", "0200", "0120", "0220", "0302", "0400", "0420", "0421", "0500", "0520", "0620")
            )
        ]
        assert (await client.request(ECHO)).fields[70] == "301"
    assert ["0110", "0210", "0130", "0230", "0312", "0410", "0430", "0430", "0510", "0530", "0630"] == [
        answer.mti for answer in answers
    ]
    assert {"00"} == {answer.fields[39] for answer in answers}
    assert [0, 1] == [n for n, answer in enumerate(answers) if 38 in answer.fields]
    assert [8, 9] == [n for n, answer in enumerate(answers) if answer.get(66) == "1"]
    assert (12, {"00": 12}, "0421") == (len(host.seen), dict(host.answers), host.seen[7].mti)


async def test_an_answer_by_rule() -> None:
    """Code and fields, those of the request among them; an empty one is left out."""
    rule = Rule(when={"mti": "0200"}, code="05", set={44: "${41}!", 63: "${11}", 37: "", 48: "${125}"}, first=1)
    async with RulesHost(rules(rule)) as host, client_of(host) as client:
        first, second = await client.request(CASH), await client.request(CASH)
    assert ("05", "A0000001!", "000041") == tuple(first.fields[n] for n in (39, 44, 63))
    assert {37, 38, 48} & set(first.fields) == set()
    assert ("00", "000041") == (second.fields[39], second.fields[38])
    assert {"05": 1, "00": 1} == host.answers


async def test_a_dropped_message_and_a_late_answer() -> None:
    """Both are a time-out to the asker; the late one comes after it, and matches nothing."""
    some = rules(Rule(Deed.DROP, when={"mti": "0200"}), Rule(Deed.LATE, delay_ms=900))
    async with RulesHost(some) as host, client_of(host, 0.2) as client:
        for message in (CASH, ECHO):
            with pytest.raises(LinkTimeout):
                await client.request(message)
        assert 0 == client.unmatched
        await until(lambda: client.unmatched == 1)
    assert {"drop": 1, "00": 1} == host.answers


async def test_a_delayed_answer_holds_up_nobody() -> None:
    """Another message overtakes it."""
    async with RulesHost(rules(Rule(delay_ms=80, when={"mti": "0200"}))) as host, client_of(host) as client:
        slow = asyncio.create_task(client.request(CASH))
        await asyncio.sleep(0)
        assert "00" == (await client.request(ECHO)).fields[39]
        assert not slow.done()
        assert "00" == (await slow).fields[39]


async def test_closed_connections() -> None:
    """In place of an answer, or after it; the next connection is answered."""
    some = rules(Rule(Deed.CLOSE, first=1), Rule(Deed.ANSWER_AND_CLOSE, first=1))
    async with RulesHost(some) as host:
        async with client_of(host) as client:
            with pytest.raises(LinkError, match="closed before the answer"):
                await client.request(ECHO)
            await client.connect()
            assert "00" == (await client.request(ECHO)).fields[39]
            await until(lambda: not client.connected)
            await client.connect()
            assert "00" == (await client.request(ECHO)).fields[39]
        assert 3 == host.connections


async def test_the_answer_of_somebody_else_and_garbage() -> None:
    """Neither is taken for the answer."""
    some = rules(Rule(Deed.WRONG, first=1), Rule(Deed.GARBAGE, first=1), Rule(Deed.GARBAGE, hex="58585858"))
    async with RulesHost(some) as host, client_of(host, 0.5) as client:
        for unmatched, unreadable in ((1, 0), (1, 1)):
            with pytest.raises(LinkTimeout):
                await client.request(CASH)
            assert (unmatched, unreadable) == (client.unmatched, client.unreadable)
        with pytest.raises(LinkError):
            await client.request(CASH)


async def test_what_is_no_message_is_answered_30() -> None:
    """With what could be read; bytes of no kind get an 0610, a bad length closes."""
    async with RulesHost() as host:
        line = RawLine("127.0.0.1", host.port, HIMBARA_FRAMING, timeout_s=10)
        await line.open()
        await line.send(
            HIMBARA_FRAMING.frame(b"0800" + b"8220000000000000" + b"0400000000000000" + b"112317300500004230")
        )
        await line.send(HIMBARA_FRAMING.frame(b"nonsense"))
        answers = [decode(await line.next_frame()) for _ in range(2)]
        assert [("0810", "30"), ("0610", "30")] == [(answer.mti, answer.fields[39]) for answer in answers]
        await line.send(b"XXXX")
        with pytest.raises(LinkClosed):
            await line.next_frame()
    assert (3, []) == (host.unreadable, host.seen)


async def test_it_asks_too() -> None:
    """On the connection that is there; the other side's answer comes back, or that there is none."""
    async with RulesHost() as host:
        with pytest.raises(LinkClosed, match="nobody is connected"):
            await host.ask("0800", {70: "301"})
        async with client_of(host):
            await until(lambda: host.is_connected)
            answer = await host.ask("0800", {7: "1123173005", 70: "301"})
            assert ("0810", "00") == (answer.mti, answer.fields[39])
            with pytest.raises(LinkTimeout):
                await host.ask("0200", CASH.fields, timeout_s=0.05)
            lost = asyncio.create_task(host.ask("0200", CASH.fields))
            await asyncio.sleep(0.05)
        with pytest.raises(LinkClosed):
            await lost
    assert 0 == host.unmatched


async def test_it_tells_what_it_saw() -> None:
    """Each message with its rule and answer; those who wait for a number of them get them."""
    told: list[Seen] = []
    some = rules(Rule(Deed.DROP, when={"mti": "0200"}, name="lost"))
    async with RulesHost(some, on_seen=told.append) as host, client_of(host, 0.5) as client:
        waiting = asyncio.create_task(host.wait_for(1, "0200"))
        await client.request(ECHO)
        with pytest.raises(LinkTimeout):
            await client.request(CASH)
        assert [CASH] == await waiting
        with pytest.raises(LinkTimeout, match="2 of 3 requests came"):
            await host.wait_for(3, timeout_s=0.05)
    assert [("0800", "", "00"), ("0200", "lost", "")] == [
        (one.message.mti, one.rule, "" if one.answer is None else one.answer.fields[39]) for one in told
    ]


async def test_a_cut_closes_all_connections() -> None:
    """As when a line breaks."""
    async with RulesHost() as host, client_of(host) as client:
        await client.request(ECHO)
        host.cut()
        await until(lambda: not client.connected and not host.is_connected)


async def test_a_header_comes_back_swapped() -> None:
    """TPDU of the answer: addresses in the other order."""
    framing = LengthFraming(FrameKind.BINARY2, header_kind=HeaderKind.TPDU, header=bytes.fromhex("6000010002"))
    async with RulesHost(framing=framing) as host:
        line = RawLine("127.0.0.1", host.port, framing, timeout_s=10)
        await line.open()
        await line.send(framing.frame(b"nonsense"))
        header, _ = framing.split(await line.next_frame())
        await line.close()
    assert "6000020001" == header.hex()


async def test_a_taken_port_is_one_line() -> None:
    """Host and port are named."""
    async with RulesHost() as host:
        with pytest.raises(SimulatorError, match=f"cannot listen at 127.0.0.1:{host.port}"):
            await RulesHost(port=host.port).__aenter__()


def test_a_sensible_answer_echoes() -> None:
    """What our side matches answers by."""
    answer = sensible_answer(CASH)
    assert {7, 11, 37, 41} <= set(answer.fields)


async def test_what_came_is_held_against_the_rules() -> None:
    """A line for each difference, with the rule's name; what was kept of one message is expected of the next."""
    update = Message("0302", {2: "6013010000000018", 7: "1123173005", 11: "000041", 91: "1", 101: "HOTLIST"})
    found = rules(
        Rule(Deed.DROP, "lost", {"mti": "0302"}, expect={"91": "/[12]/"}, keep={"trace": 11}),
        Rule(name="again", when={"mti": "0303"}, expect={"11": "${trace}", "101": "HOTLIST", "60": "*"}, at_least=2),
        Rule(name="echo", when={"mti": "0800"}, at_least=1),
    )
    async with RulesHost(found) as host, client_of(host, 0.1) as client:
        with pytest.raises(LinkTimeout):
            await client.request(update)
        await client.request(Message("0303", update.fields | {60: "3000"}))
        assert ([], ["again: 1 came, at least 2 were to come", "echo: 0 came, at least 1 were to come"]) == (
            host.failures, host.missing,
        )  # fmt: skip
        await client.request(Message("0303", update.fields | {11: "000042"}))
        await client.request(ECHO)
    assert [
        "again: field 11: expected 000041, got '000042'",
        "again: field 60: expected *, got nothing",
    ] == host.failures
    assert [] == host.missing


async def test_a_value_that_was_never_kept() -> None:
    """The message that should have brought it did not come."""
    found = rules(Rule(name="again", when={"mti": "0303"}, expect={"11": "${trace}"}))
    async with RulesHost(found) as host, client_of(host) as client:
        await client.request(Message("0303", {7: "1123173005", 11: "000041"}))
    assert ["again: variable trace has no value"] == host.failures


async def test_a_host_with_macs() -> None:
    """It makes them and wants them; a rule may have its answer go without, or with a wrong one."""
    found = rules(
        Rule(when={"11": "000051"}, mac=AnswerMac.WRONG),
        Rule(when={"11": "000052"}, mac=AnswerMac.NONE),
    )
    async with RulesHost(found, profile=SEALED) as host:
        client = SealingClient("127.0.0.1", host.port, SEALED, timeout_s=3.0)
        await client.connect()
        assert "00" == (await client.request(CASH)).fields[39]
        assert [] == host.failures
        for stan in ("000051", "000052"):
            with pytest.raises(WrongMac):
                await client.request(Message("0200", CASH.fields | {11: stan}))
        await client.request_unsealed(Message("0200", CASH.fields | {11: "000053"}))
        await client.request_unsealed(ECHO)
        await client.close()
    assert ["0200: has no MAC, or a wrong one"] == host.failures
