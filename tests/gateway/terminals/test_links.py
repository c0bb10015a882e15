"""Tests of gateway.terminals.links: several links in a process, changed while they work, one not disturbing the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import run_service
from gateway.errors import GatewayError, NotFound, Refused, SettingsError
from gateway.terminals import links as links_module
from gateway.terminals.links_file import DEFAULT_FILE
from gateway.testlink import ensure_test_link
from iso.errors import LinkClosed
from iso.message import Message
from keys.errors import TokenError
from keys.keytypes import KeyUsage
from tests.gateway.owner import as_owner
from tests.gateway.street import open_street
from tests.gateway.terminals.certificates import Authority
from tests.gateway.terminals.counterpart import ECHO, SIGN_ON, a_link, calling, cash, switch_host, until
from tests.gateway.terminals.test_connector import Host

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.app import Service
    from gateway.operations.bank import Bank
    from gateway.terminals.links import Place

SHIPPED = DEFAULT_FILE.read_text(encoding="utf-8").replace("[response_codes]", "[link.response_codes]")
HIMBARA = SHIPPED.partition("[[link]]")[2].partition("[[link]]")[0]
NAME = 'name = "himbara"'


def _link(name: str = "himbara", *lines: str, **changed: str) -> str:
    """The shipped link as TOML under another name, with more lines and some settings' values changed."""
    text = HIMBARA.replace(NAME, "\n".join((f'name = "{name}"', *lines)))
    for setting, value in changed.items():
        before = next(line for line in text.splitlines() if line.startswith(f"{setting} ="))
        text = text.replace(before, f"{setting} = {value}")
    return "[[link]]" + text


class Desk:
    """A links file in a folder, and the bank that goes by it."""

    def __init__(self, bank: Bank, folder: Path) -> None:
        self.path = folder / "links.toml"
        self.bank = bank
        self._written = 0

    def write(self, *links: str) -> None:
        """Replace the file; its time differs from that of the one before."""
        self.path.write_text("\n".join(links), encoding="utf-8")
        self._written += 1
        os.utime(self.path, (1_800_000_000 + self._written,) * 2)
        self.bank.settings = self.bank.settings.model_copy(update={"links_file": self.path})


@pytest.fixture
def desk(bank: Bank, tmp_path: Path) -> Desk:
    """A bank with the key of the shipped link, and a file of its own."""
    ensure_test_link(bank)
    return Desk(bank, tmp_path)


def _place(service: Service, name: str) -> Place:
    return next(place for place in service.room.places if place.link.name == name)


def _states(service: Service) -> dict[str, str]:
    return {place.link.name: place.state for place in service.room.places}


async def _events(bank: Bank) -> list[dict[str, Any]]:
    rows = await as_owner(
        bank, "SELECT detail FROM audit_event WHERE operation = 'link.event' AND subject = 'links' ORDER BY seq"
    )
    return [json.loads(str(row[0])) for row in rows]


async def test_several_links_each_on_its_port(bank: Bank, desk: Desk) -> None:
    """Two profiles side by side: signed on apart, told apart in the status, recorded as taken up."""
    desk.write(_link(), _link("second", "port_offset = 1", acquirer='"000009"', sign_on_required="false"))
    async with run_service(bank, jobs=False) as service:
        first, second = service.room.places
        assert first.address != second.address
        async with calling(first.address, first.link) as one, calling(second.address, second.link) as two:
            assert ("91", "14") == (await one.ask(cash(1)), await two.ask(cash(1)))
            assert "00" == await one.ask(SIGN_ON)
            shown = service.room.status()
        assert [("himbara", 1, 1), ("second", 1, 1)] == [
            (at["name"], at["connections"], at["signed_on"]) for at in shown
        ]
        assert ["listening", "listening"] == [at["state"] for at in shown]
        counters: Any = shown[1]["counters"]
        assert (1, {"14": 1}) == (counters["received"], counters["answered"])
        assert 1 == sum(counters["answer_ms"]["CASH"].values())
    (event,) = await _events(bank)
    assert ("taken up", ["himbara", "second"], {"himbara", "second"}) == (
        event["event"],
        event["opened"],
        set(event["profiles"]),
    )


async def test_ports_beside_the_setting(bank: Bank, desk: Desk) -> None:
    """A link's own port, else KKS_ISO_PORT plus port_offset."""
    ports = await _free_ports()
    desk.write(_link(), _link("beside", "port_offset = 1"), _link("own", f"port = {ports[2]}"))
    bank.settings = bank.settings.model_copy(update={"iso_port": ports[0]})
    async with run_service(bank, jobs=False) as service:
        assert [ports[0], ports[0] + 1, ports[2]] == [place.address[1] for place in service.room.places]


async def _free_ports() -> Sequence[int]:
    """A free port, the one after it, and another."""
    for _ in range(50):
        servers = [await asyncio.start_server(_nothing, "127.0.0.1", 0)]
        port = servers[0].sockets[0].getsockname()[1]
        try:
            servers.append(await asyncio.start_server(_nothing, "127.0.0.1", port + 1))
            servers.append(await asyncio.start_server(_nothing, "127.0.0.1", 0))
            return port, port + 1, servers[2].sockets[0].getsockname()[1]
        except (OSError, OverflowError):
            continue
        finally:
            for server in servers:
                server.close()
                await server.wait_closed()
    raise AssertionError("no two free ports in a row")


async def _nothing(_reader: object, _writer: object) -> None:
    pass


async def test_a_link_without_keys_stays_closed(bank: Bank, desk: Desk) -> None:
    """The others work, the status says why, and it opens by itself once the key is there."""
    desk.write(_link(), _link("second", "port_offset = 1", pin_key='"zpk-second"'))
    async with run_service(bank, jobs=False) as service:
        assert {"himbara": "listening", "second": "no keys"} == _states(service)
        shown = service.room.status()[1]
        assert "link second wants the key zpk-second, which the keystore lacks: `kks keys component`" == shown["why"]
        with pytest.raises(LinkClosed, match="link second is not open: link second wants"):
            await service.room.ask("second", ECHO)
        bank.hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk-second")
        await service.room.look()
        assert {"himbara": "listening", "second": "listening"} == _states(service)
        second = _place(service, "second")
        async with calling(second.address, second.link) as partner:
            assert "00" == await partner.ask(ECHO)


async def test_no_link_with_keys_no_service(bank: Bank, desk: Desk) -> None:
    """One line names what each lacks."""
    desk.write(_link(pin_key='"a"'), _link("second", "port_offset = 1", pin_key='"b"'))
    with pytest.raises(Refused, match=r"link himbara wants the key a, .*; link second wants the key b, "):
        async with run_service(bank, jobs=False):
            pass


async def test_what_changed_and_what_did_not(bank: Bank, desk: Desk) -> None:
    """Codes change under an open connection; another link is not touched; each take-up is recorded with its digests."""
    desk.write(_link(), _link("second", "port_offset = 1"))
    async with run_service(bank, jobs=False) as service:
        first, second = service.room.places
        async with calling(first.address, first.link) as one, calling(second.address, second.link) as two:
            assert ["00", "14"] == [await one.ask(SIGN_ON), await one.ask(cash(1))]
            await two.ask(SIGN_ON)
            desk.write(_link(CARD_UNKNOWN='"56"'), _link("second", "port_offset = 1"))
            await service.room.look()
            assert ["56", "14"] == [await one.ask(cash(2)), await two.ask(cash(2))]
            assert second is _place(service, "second")
            assert first.line is _place(service, "himbara").line
            await service.room.look()
    started, changed = await _events(bank)
    assert ([], ["himbara"], []) == (changed["opened"], changed["changed"], changed["closed"])
    assert started["profiles"]["second"] == changed["profiles"]["second"]
    assert started["profiles"]["himbara"] != changed["profiles"]["himbara"]


async def test_another_wire_is_opened_anew(bank: Bank, desk: Desk) -> None:
    """On the same port with the new frame; the old connections are closed, after their answers."""
    desk.write(_link())
    async with run_service(bank, jobs=False) as service:
        (before,) = service.room.places
        async with calling(before.address, before.link) as old:
            await old.ask(SIGN_ON)
            desk.write(_link(frame='"binary2"'))
            await service.room.look()
            (after,) = service.room.places
            assert (before.address, "listening") == (after.address, after.state)
            assert await old.is_closed()
            async with calling(after.address, after.link) as new:
                assert "91" == await new.ask(cash(1))
                assert "00" == await new.ask(SIGN_ON)


async def test_links_come_and_go(bank: Bank, desk: Desk) -> None:
    """A new one is opened, one that is gone from the file is drained and closed, the rest goes on."""
    desk.write(_link(), _link("second", "port_offset = 1"))
    async with run_service(bank, jobs=False) as service:
        first, second = service.room.places
        async with calling(first.address, first.link) as one, calling(second.address, second.link) as two:
            await one.ask(SIGN_ON)
            await two.ask(SIGN_ON)
            desk.write(_link(), _link("third", "port_offset = 2"))
            await service.room.look()
            assert await two.is_closed()
            assert {"himbara": "listening", "third": "listening"} == _states(service)
            assert "14" == await one.ask(cash(1))
            with pytest.raises(NotFound, match="there is no link second"):
                await service.room.ask("second", ECHO)
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(*second.address)
    assert (["third"], ["second"]) == ((event := (await _events(bank))[1])["opened"], event["closed"])


async def test_a_wrong_file_changes_nothing(bank: Bank, desk: Desk, tmp_path: Path) -> None:
    """Refused as a whole, the reason in the status; the links of before go on, and a right one is taken up again."""
    desk.write(_link())
    async with run_service(bank, jobs=False) as service:
        (first,) = service.room.places
        async with calling(first.address, first.link) as one:
            await one.ask(SIGN_ON)
            for wrong, words in (
                (_link(CARD_UNKNOWN='"toolong"'), "a response code has two letters or digits"),
                ("[[link", "at the end of an array declaration"),
                (_link() + _link(), "two links are named himbara"),
                (_tls(tmp_path), "none.pem: No such file"),
            ):
                desk.write(wrong)
                await service.room.look()
                assert service.room.refused is not None
                assert words in service.room.refused
                assert "refused" == service.links_status()["links_file"]["state"]  # type: ignore[index]
                assert ("14", first) == (await one.ask(cash(1)), service.room.places[0])
            desk.path.unlink()
            await service.room.look()
            assert "No such file" in str(service.room.refused)
            desk.write(_link(CARD_UNKNOWN='"56"'))
            await service.room.look()
            assert (None, "56") == (service.room.refused, await one.ask(cash(2)))
    assert 2 == len(await _events(bank))


def _tls(folder: Path) -> str:
    return _link() + f'[link.tls]\ncertificate = "{folder}/none.pem"\nkey = "{folder}/none.key"\n'


async def test_a_key_that_is_not_there_closes_nothing(bank: Bank, desk: Desk) -> None:
    """A file that names one for a link that works is refused; once the key is there it is taken up by itself."""
    desk.write(_link())
    async with run_service(bank, jobs=False) as service:
        (first,) = service.room.places
        async with calling(first.address, first.link) as one:
            await one.ask(SIGN_ON)
            desk.write(_link(pin_key='"zpk-new"', CARD_UNKNOWN='"56"'))
            await service.room.look()
            assert "link himbara wants the key zpk-new, which the keystore lacks" in str(service.room.refused)
            assert "14" == await one.ask(cash(1))
            bank.hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk-new")
            await service.room.look()
            assert (None, "56") == (service.room.refused, await one.ask(cash(2)))


async def test_the_shipped_terminals(bank: Bank) -> None:
    """The second shipped link: binary behind a TPDU, no sign-on, an echo and an unknown card are answered with its header."""
    ensure_test_link(bank)
    async with run_service(bank, jobs=False) as service:
        edc = _place(service, "edc")
        async with calling(edc.address, edc.link) as terminal:
            await terminal.send(ECHO, header=bytes.fromhex("6000010203"))
            header, answer = await terminal.receive_with_header()
            assert ("6002030001", "0810", "00") == (header.hex(), answer.mti, answer.get(39))
            withdrawal = Message(
                "0200", cash(1).fields | {62: "FFFF9876543210E00001"}
            )  # a PIN under DUKPT has its number
            await terminal.send(withdrawal, header=bytes.fromhex("6000010203"))
            header, answer = await terminal.receive_with_header()
            assert ("6002030001", "0210", "14") == (header.hex(), answer.mti, answer.get(39))


async def test_a_link_of_trials_is_there_with_its_keys_alone(bank: Bank, desk: Desk) -> None:
    """Without them nobody misses it: it is neither opened nor told of. Alone in a file it is no link to serve."""
    both = _link("one"), _link("two", "trial = true", "port_offset = 1", pin_key='"zpk-two"')
    desk.write(*both)
    async with run_service(bank, jobs=False) as service:
        assert {"one": "listening"} == _states(service)
    bank.hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk-two")
    async with run_service(bank, jobs=False) as service:
        assert {"one": "listening", "two": "listening"} == _states(service)
    desk.write(_link("two", "trial = true", pin_key='"zpk-three"'))
    with pytest.raises(Refused, match="the keystore has the keys of no link"):
        async with run_service(bank, jobs=False):
            pass


async def test_a_renewed_certificate_is_taken_up(bank: Bank, desk: Desk, tmp_path: Path) -> None:
    """The profile's digest covers the files of its TLS: SIGHUP after renewing them opens the link with the new ones."""
    papers = Authority(tmp_path).sign("bank")
    text = _link() + f'[link.tls]\ncertificate = "{papers.certificate}"\nkey = "{papers.key}"\n'
    desk.write(text)
    async with run_service(bank, jobs=False) as service:
        (before,) = service.room.places
        await service.room.look()
        assert before is service.room.places[0]
        renewed = Authority(tmp_path).sign("bank")
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.room.wake)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: service.room.places[0].digest != before.digest and service.room.places[0].line is not None)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        address = service.room.places[0].address
        assert before.address == address
        trusting = ssl.create_default_context(cafile=str(renewed.authority))
        trusting.check_hostname = False
        async with calling(address, before.link, trusting) as partner:
            assert "00" == await partner.ask(ECHO)


async def test_the_file_is_looked_at(bank: Bank, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, each few seconds."""
    monkeypatch.setattr(links_module, "LOOK_S", 0.05)
    desk.write(_link())
    async with run_service(bank, jobs=False) as service:
        desk.write(_link(), _link("second", "port_offset = 1"))
        await until(lambda: len(service.room.places) == 2)


async def test_a_file_that_is_still_written(bank: Bank, desk: Desk) -> None:
    """Half of it names fewer links: nothing is closed before the writer has ended."""
    whole = "\n".join((_link(), _link("second", "port_offset = 1")))
    desk.write(whole)
    async with run_service(bank, jobs=False) as service:
        _, second = service.room.places
        desk.write(_link())
        looking = asyncio.ensure_future(service.room.look())
        await asyncio.sleep(0.02)
        desk.write(whole)
        await looking
        assert second is _place(service, "second")
        assert "listening" == second.state


async def test_keys_that_are_away(bank: Bank, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the token cannot be asked nothing is taken up and the watch goes on; afterwards it is."""
    monkeypatch.setattr(links_module, "LOOK_S", 0.02)
    desk.write(_link(), _link("second", "port_offset = 1", pin_key='"none"'))
    async with run_service(bank, jobs=False) as service:
        with monkeypatch.context() as patch:

            def away(*_: object) -> str:
                raise TokenError("token kks: CKR_DEVICE_REMOVED")

            patch.setattr(links_module, "lacking", away)
            desk.write(_link(CARD_UNKNOWN='"56"'))
            await until(lambda: service.room.refused == "token kks: CKR_DEVICE_REMOVED")
            assert 2 == len(service.room.places)
        await until(lambda: service.room.refused is None)
        assert ["himbara"] == [place.link.name for place in service.room.places]


async def test_a_port_that_is_taken_later(bank: Bank, desk: Desk) -> None:
    """Of the first link it is an error at start, of any other a state, until the port is free."""
    desk.write(_link())
    async with run_service(bank, jobs=False) as service:
        taken = await asyncio.start_server(_nothing, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        desk.write(_link(), _link("second", f"port = {port}"))
        await service.room.look()
        shown = service.room.status()[1]
        assert ("refused", True) == (shown["state"], f"on 127.0.0.1 port {port}: " in str(shown["why"]))
        async with run_service(bank, jobs=False) as other:
            assert {"himbara": "listening", "second": "refused"} == _states(other)
        desk.write(_link("second", f"port = {port}"), _link())
        with pytest.raises(GatewayError, match=f"^cannot listen for ISO 8583 on 127.0.0.1 port {port}: "):
            async with run_service(bank, jobs=False):
                pass
        desk.write(_link(), _link("second", f"port = {port}"))
        taken.close()
        await taken.wait_closed()
        await service.room.look()
        assert {"himbara": "listening", "second": "listening"} == _states(service)


async def test_a_link_that_calls(bank: Bank, desk: Desk) -> None:
    """States from calling to signed on; our own request reaches the host; it signs off when the service ends."""
    host = Host(c001="05")
    async with switch_host(a_link(), host.serve) as (link, _):
        lines = 'role = "connect"', 'host = "127.0.0.1"', f"port = {link.port}", "reconnect_s = 0.05"
        desk.write(_link(), _link("switch", *lines, "reconnect_most_s = 0.1"))
        async with run_service(bank, jobs=False) as service:
            await until(lambda: _states(service)["switch"] == "refused")
            assert "sign-on refused with response code 05" == service.room.status()[1]["why"]
            assert not service.room.ready("switch")
            host.answers["001"] = "00"
            await until(lambda: service.room.ready("switch"))
            assert {"himbara": "listening", "switch": "signed on"} == _states(service)
            assert f"127.0.0.1:{link.port}" == service.room.status()[1]["address"]
            assert "00" == (await service.room.ask("switch", Message("0800", ECHO.fields))).get(39)
            assert not service.room.ready("nobody")
        assert "002" == host.codes[-1]


async def test_another_host_is_called_too(bank: Bank, desk: Desk) -> None:
    """The link is opened anew, signed off where it was; the status says which host is up."""
    one, two = Host(), Host()
    async with switch_host(a_link(), one.serve) as (first, _), switch_host(a_link(), two.serve) as (second, _):
        lines = 'role = "connect"', 'host = "127.0.0.1"', f"port = {first.port}"
        desk.write(_link(), _link("switch", *lines))
        async with run_service(bank, jobs=False) as service:
            await until(lambda: service.room.ready("switch"))
            assert "hosts" not in service.room.status()[0]
            desk.write(_link(), _link("switch", *lines, f'more_hosts = ["127.0.0.1:{second.port}"]'))
            await service.room.look()
            await until(lambda: "002" in one.codes and service.room.status()[1]["signed_on"] == 2)
            up = {"wanted": 1, "signed_on": 1, "why": None}
            hosts = [{"address": f"127.0.0.1:{link.port}"} | up for link in (first, second)]
            assert hosts == service.room.status()[1]["hosts"]


async def test_a_wrong_file_at_start(bank: Bank, desk: Desk) -> None:
    """Nothing is opened."""
    desk.write(_link(), _link())
    with pytest.raises(SettingsError, match="two links are named himbara"):
        async with run_service(bank, jobs=False):
            pass


async def test_draining_is_shown(bank: Bank, tmp_path: Path) -> None:
    """While a service stops its links say so, and money is answered 91."""
    async with open_street(bank, tmp_path) as street:
        (place, *_) = street.service.room.places
        await street.service.room.drain()
        assert "draining" == place.state
        assert "91" == (await street.atm.withdraw(street.card, 50_000)).code
        assert "00" == (await street.switch.client.request(ECHO)).get(39)
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(*place.address)
