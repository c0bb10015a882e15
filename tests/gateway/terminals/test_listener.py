"""Tests of gateway.terminals.listener: network management, whatever bytes may come, bounds, and closing."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from gateway.app import run_service
from gateway.errors import GatewayError
from gateway.operations.bank import reading
from gateway.simulator.switch import NetworkCode
from gateway.simulator.terminal import JAKARTA, Asked
from gateway.terminals import line as line_module
from gateway.terminals import listener
from gateway.terminals.link_notes import AT_ONCE
from gateway.terminals.links_file import DEFAULT_FILE
from gateway.testlink import ensure_test_link
from iso.codec import encode
from iso.dialect import HIMBARA
from iso.message import Message
from tests.gateway.owner import as_owner
from tests.gateway.street import AID_IDR, available_idr, framed, open_street, raw_link
from tests.gateway.terminals.counterpart import a_line, a_link, at_the_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.app import Service
    from gateway.operations.bank import Bank

ECHO = Message("0800", {7: "1123120000", 11: "000042", 70: "301"})
SIGN_ON = Message("0800", {7: "1123120000", 11: "000001", 70: "001"})
CASH = {2: "6013010000000018", 3: "010000", 4: "000010000000", 7: "1123120000", 11: "000007", 18: "6011", 32: "000002",
        37: "632712000007", 41: "A0000001", 49: "360", 52: "0123456789ABCDEF"}  # fmt: skip


@pytest.fixture
async def service(bank: Bank) -> AsyncIterator[Service]:
    """A service in front of an empty bank."""
    ensure_test_link(bank)
    async with run_service(bank, jobs=False) as running:
        yield running


async def test_network_management(service: Service) -> None:
    """Sign-on, echo, cut-over and sign-off are answered 0810 with 00, echoing DE 7, 11 and 70."""
    async with raw_link(service) as link:
        for code in (NetworkCode.SIGN_ON, NetworkCode.ECHO, NetworkCode.CUT_OVER, NetworkCode.SIGN_OFF):
            request = Message("0800", {7: "1123120000", 11: "000042", 70: code.value})
            await link.send(framed(request))
            assert Message("0810", request.fields | {39: "00"}) == await link.receive()


async def test_hosts_that_are_gone_without_a_word_are_found_out(service: Service) -> None:
    """TCP itself asks a silent connection that called us, soon enough that dead ones do not fill the link."""
    async with raw_link(service) as link:
        await link.send(framed(ECHO))
        assert "00" == (await link.receive()).get(39)
        line = service.room.places[0].line
        assert line is not None
        (connection,) = line.connections
        assert connection.transport is not None
        accepted = connection.transport.get_extra_info("socket")
        assert 1 == accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in listener.SILENCE.items():
            assert value == accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


async def test_network_codes_nobody_knows(service: Service) -> None:
    """DE70 of another kind is answered 12, a missing one 30; the link stays up."""
    async with raw_link(service) as link:
        for fields, code in (({70: "999"}, "12"), ({70: "101"}, "12"), ({}, "30")):
            await link.send(framed(Message("0800", {7: "1123120000", 11: "000042", **fields})))
            assert code == (await link.receive()).get(39)
        await link.send(framed(ECHO))
        assert "00" == (await link.receive()).get(39)


async def test_nothing_financial_before_sign_on(service: Service) -> None:
    """Before sign-on and after sign-off 0200 and 0420 are answered 91; each connection signs on for itself."""
    cash = Message("0200", CASH)
    reversal = Message("0420", CASH | {90: "0200" + "000006" + "1123120000" + "00000000002" + "0" * 11})
    async with raw_link(service) as link, raw_link(service) as other:
        for one in (cash, reversal):
            await link.send(framed(one))
            assert "91" == (await link.receive()).get(39)
        await link.send(framed(SIGN_ON) + framed(cash))
        assert ["00", "14"] == [(await link.receive()).get(39) for _ in range(2)]
        await other.send(framed(cash))
        assert "91" == (await other.receive()).get(39)
        await link.send(framed(replace(SIGN_ON, fields=SIGN_ON.fields | {70: "002"})) + framed(cash))
        assert ["00", "91"] == [(await link.receive()).get(39) for _ in range(2)]


async def test_link_events_are_recorded(bank: Bank) -> None:
    """Sign-on, cut-over and sign-off leave audit events; an echo leaves none."""
    ensure_test_link(bank)
    async with run_service(bank, jobs=False) as service, raw_link(service) as link:
        for code in NetworkCode:
            await link.send(framed(Message("0800", {7: "1123120000", 11: "000042", 70: code.value})))
            await link.receive()
    async with reading(bank) as connection:
        rows = (
            await connection.execute(text("SELECT detail FROM audit_event WHERE operation = 'link.event'"))
        ).scalars()
        details = list(rows)
    assert ["cut-over", "sign-off", "sign-on"] == sorted(
        word for word in EVENTS for one in details if f'"{word}"' in str(one)
    )


async def test_sign_ons_without_end_are_counted(bank: Bank) -> None:
    """A partner may sign on as often as it likes: a few records say how often it did, and nobody waits for them."""
    ensure_test_link(bank)
    async with run_service(bank, jobs=False) as service, raw_link(service) as link:
        await link.send(framed(SIGN_ON) * 1_000)
        for _ in range(1_000):
            assert "00" == (await link.receive()).get(39)
    async with reading(bank) as connection:
        found = await connection.execute(text("SELECT detail FROM audit_event WHERE operation = 'link.event'"))
        details = [json.loads(one) if isinstance(one, str) else one for one in found.scalars()]
    signed_on = [one.get("times", 1) for one in details if one["event"] == "sign-on"]
    assert 1_000 == sum(signed_on)
    assert len(signed_on) <= AT_ONCE + 1


async def test_unknown_types_are_answered(service: Service) -> None:
    """A message type nobody serves is answered 12 with the answering type, and the link stays up."""
    async with raw_link(service) as link:
        for mti in ("0140", "0340", "0540", "0640", "0820", "9200", "0240", "1200"):
            await link.send(framed(Message(mti, CASH)))
            answer = await link.receive()
            assert (mti, "12", "000007") == (mti, answer.get(39), answer.get(11))
            assert (mti[:2], int(mti[2]) + 1) == (answer.mti[:2], int(answer.mti[2]))


async def test_an_answer_is_not_answered(service: Service) -> None:
    """Two hosts must not talk for ever: 0210 and 0810 get no answer."""
    async with raw_link(service) as link:
        for mti in ("0210", "0810", "0430"):
            await link.send(framed(Message(mti, {7: "1123120000", 11: "000007", 39: "00"})))
        await link.send(framed(ECHO))
        assert "000042" == (await link.receive()).get(11)


GARBAGE = [
    b"\x00",
    b"A",
    b"hello, is this the bank?",
    b"\xff" * 64,
    b"0200",
    b"020" + b"\x00" * 30,
    b"02007000000000000000",
    b"0200" + b"G" * 16,
    b"0800" + b"0" * 16 + b"leftover",
    encode(Message("0200", CASH), HIMBARA)[:-1],
    encode(Message("0200", CASH), HIMBARA) + b"0",
    encode(Message("0200", CASH), HIMBARA).replace(b"000010000000", b"0000100000X0"),
    b"0" * 4096,
]


async def test_garbage_is_answered_30(service: Service) -> None:
    """A frame that holds no readable message is answered 30, and the link stays up."""
    async with raw_link(service) as link:
        for payload in GARBAGE:
            await link.send(b"%04d" % len(payload) + payload + framed(ECHO))
            assert (payload, "30") == (payload, (await link.receive()).get(39))
            assert "000042" == (await link.receive()).get(11)


async def test_a_bad_amount_is_answered_with_its_trace(service: Service) -> None:
    """What could be read beside the bad field is echoed, so the terminal finds its request."""
    async with raw_link(service) as link:
        bad = framed(Message("0200", CASH)).replace(b"000010000000", b"0000100000X0")
        await link.send(bad)
        answer = await link.receive()
    assert ("0210", "30") == (answer.mti, answer.get(39))
    assert ("1123120000", "000007", "632712000007") == (answer.get(7), answer.get(11), answer.get(37))


async def test_a_broken_header_closes_the_link(service: Service) -> None:
    """Where the next message starts is not known any more: what was whole is answered, then that link is closed."""
    for header in (b"ABCD", b"0000", b"9999", b"-001", b"00 4"):
        async with raw_link(service) as link:
            await link.send(framed(ECHO) + header + b"0800")
            assert "00" == (await link.receive()).get(39)
            with pytest.raises(ConnectionError):
                await link.receive()


async def test_many_messages_in_one_segment(service: Service) -> None:
    """A hundred messages in one write are a hundred answers, in order."""
    async with raw_link(service) as link:
        numbers = [f"{number:06d}" for number in range(100)]
        await link.send(b"".join(framed(replace(ECHO, fields=ECHO.fields | {11: number})) for number in numbers))
        assert numbers == [(await link.receive()).get(11) for _ in numbers]


async def test_one_message_in_many_segments(service: Service) -> None:
    """A message sent byte by byte is one message."""
    async with raw_link(service) as link:
        for byte in framed(SIGN_ON):
            await link.send(bytes([byte]))
            await asyncio.sleep(0)
        assert "000001" == (await link.receive()).get(11)


async def test_too_many_connections(service: Service) -> None:
    """One connection over the bound is closed at once; the others go on."""
    line = service.room.places[0].line
    assert line is not None
    line.take_up(line.link.model_copy(update={"connections_max": 2}))
    async with raw_link(service) as one, raw_link(service) as two:
        for link in (one, two):
            await link.send(framed(ECHO))
            assert "00" == (await link.receive()).get(39)
        async with raw_link(service) as three:
            with pytest.raises(ConnectionError):
                await three.receive()
        await one.send(framed(ECHO))
        assert "00" == (await one.receive()).get(39)


async def test_a_partner_that_hangs_up_loses_only_its_answers(bank: Bank, tmp_path: Path) -> None:
    """A request whose connection is gone before the answer is decided all the same; its repeat gets the answer."""
    async with open_street(bank, tmp_path) as street:
        message = street.atm.request(Asked.CASH, street.card, 100_000)
        async with raw_link(street.service) as link:
            await link.send(framed(SIGN_ON))
            await link.receive()
            await link.send(framed(message))
        again = await street.atm.send(message)
        assert ("00", AID_IDR - 100_000) == (again.code, again.available_idr)
        assert AID_IDR - 100_000 == await available_idr(bank, street.families[0].family_id)


async def test_closing_answers_what_was_accepted(bank: Bank, tmp_path: Path) -> None:
    """A stop in the middle of requests: each is answered, 00 or 91, before the connection closes."""
    async with open_street(bank, tmp_path, families=6) as street:
        sent = [asyncio.ensure_future(street.atm.withdraw(card, 50_000)) for card in street.wallet.cards]
        await asyncio.sleep(0.01)
        await street.service.close()
        codes = [(await one).code for one in sent]
        assert {"00", "91"} >= set(codes)
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 50_000 if code == "00" else AID_IDR for code in codes] == left


async def test_a_port_in_use_is_one_clear_line(bank: Bank, service: Service) -> None:
    """A second service on the same port says which address is taken."""
    port = service.iso_address[1]
    bank.settings = bank.settings.model_copy(update={"iso_port": port})
    with pytest.raises(GatewayError, match=f"cannot listen for ISO 8583 on 127.0.0.1 port {port}"):
        async with run_service(bank, jobs=False):
            pass


EVENTS = ("sign-on", "sign-off", "cut-over")


@pytest.mark.parametrize(("moment", "days"), [(dt.time(11, 59, 59), 0), (dt.time(12), 1)])
async def test_the_links_cut_over_decides_the_settlement_date(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: dt.time, days: int
) -> None:
    """From the link's time on, an authorisation is settled in the partner's next day; the business date stays."""
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    links = tmp_path / "links.toml"
    links.write_text(
        text.replace("sign_on_required = true", 'sign_on_required = true\ncut_over = "12:00"'), encoding="utf-8"
    )
    today = bank.business_date
    now = dt.datetime.combine(today, moment, JAKARTA)
    monkeypatch.setattr(line_module, "clock", SimpleNamespace(now=lambda: now))
    bank.settings = bank.settings.model_copy(update={"links_file": links})
    async with open_street(bank, tmp_path) as street:
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
    found = await as_owner(bank, "SELECT business_date, settlement_date FROM authorisation")
    assert [(today, today + dt.timedelta(days=days))] == [tuple(row) for row in found]


@pytest.mark.parametrize(
    ("networks", "let_in"),
    [
        (["127.0.0.1"], True),
        (["10.0.0.0/8", "127.0.0.0/8"], True),
        (["10.0.0.0/8"], False),
        (["::1"], False),
        (["::ffff:127.0.0.1"], False),
    ],
)
async def test_only_peers_of_the_profile(networks: list[str], let_in: bool) -> None:  # noqa: FBT001 - a parameter
    """Whoever calls from another address is closed at once, counted, and never read."""
    line = a_line(a_link(peers=networks))
    async with at_the_line(line) as partner:
        if let_in:
            assert "00" == await partner.ask(ECHO)
        else:
            assert await partner.is_closed()
        assert (0 if let_in else 1, 0) == (line.counters.peers_refused, line.counters.unreadable)


@pytest.mark.parametrize(
    ("peer", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("fe80::1%eth0", True),
        ("", False),
        ("a", False),
    ],
)
def test_addresses(peer: str, inside: bool) -> None:  # noqa: FBT001 - a parameter
    """An IPv4 address dressed as IPv6 is itself; a zone is no part of an address; what is none is nowhere."""
    assert inside is listener._within(peer, a_link(peers=["10.0.0.0/8", "fe80::/10"]).peers)
