"""The bank changes the keys of a link over TCP: a switch host takes them, uses them, and money moves all the while."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway import clock
from gateway.app import open_bank, run_service
from gateway.operations import key_watch, link_keys, outgoing
from gateway.operations.link_key_offers import offer
from gateway.rules.outgoing import OutgoingState
from gateway.simulator.host import RulesHost
from gateway.simulator.host_keys import HostKeys
from gateway.simulator.rules import Deed, Rule, Rules
from gateway.terminals.links_file import DEFAULT_FILE, read_links
from gateway.terminals.security import zone_of
from iso.codec import encode
from iso.mac import mac_field, mac_input
from iso.message import Message
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from keys.sensitive import Pin
from keys.software import SoftwareHsm
from tests.gateway.owner import as_owner
from tests.gateway.partner_keys import ONE, ZMK, states
from tests.gateway.rites import BUDI, SITI, assert_no_material, new_zmk
from tests.gateway.street import TIMEOUT_S, assert_proved
from tests.gateway.world import PIN, activate, credit, open_families
from tests.keys.samples import components

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.operations.link_key_offers import Kind
    from gateway.settings import Settings
    from keys.keytypes import KeyHandle, KeyInfo
    from tests.gateway.world import Holder

PROFILE = """
role = "connect"
host = "127.0.0.1"
port = {port}
mac = "required"
mac_key = "zak-himbara"
mac_network = true
zone_master_key = "zmk"
key_overlap_s = 1
answer_timeout_s = 0.5
outgoing = {{ retry_s = 0.1 }}
"""
FIRST_ZPK = bytes.fromhex("F1E0D3C2B5A4978691E0D3C2B5A49787")
KEY_CHANGE = {"70": "161"}


@dataclass
class World:
    """A bank whose link calls a host, and a family with money."""

    bank: Bank
    host: RulesHost
    keys: HostKeys
    holder: Holder
    stan: int = 0

    async def offers(self, kind: Kind) -> KeyInfo:
        """Two people offer a key."""
        zone = zone_of(read_links(self.bank.settings.links_file).first)
        assert zone is not None
        return await offer(self.bank, SITI, BUDI, zone, kind)

    async def ended(self, number: int) -> tuple[OutgoingState, str | None]:
        """State and code of a message of the queue, once it has ended."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                stored, _ = await outgoing.shown(self.bank, number)
                if stored.ended_at is not None:
                    return stored.state, stored.answer_code
                await asyncio.sleep(0.02)

    async def pays(self) -> str:
        """DE39 of a balance inquiry of the family, with its PIN under the host's key."""
        assert self.keys.pin is not None
        self.stan += 1
        block = self.keys.hsm.encipher_pin(Pin(PIN), self.keys.pin, self.holder.pan)
        fields = {
            2: self.holder.pan.reveal(), 3: "310000", 7: f"{clock.now():%m%d%H%M%S}", 11: f"{900_000 + self.stan:06d}",
            18: "6011", 32: "000002", 41: "A0000001", 49: "360", 52: block.hex().upper(),
        }  # fmt: skip
        answer = await self.host.ask("0200", fields, TIMEOUT_S)
        assert self.is_under(answer, self.keys.mac)
        return answer.fields[39]

    def is_under(self, message: Message, key: KeyHandle | None) -> bool:
        """Whether a message of the bank has its MAC under a key."""
        assert key is not None
        number = mac_field(message)
        data = encode(Message(message.mti, message.fields | {number: "0" * 16}))
        return self.keys.hsm.verify_mac(key, mac_input(data), bytes.fromhex(message.fields[number]))

    async def until(self, label: str, *wanted: KeyState) -> None:
        """Until the versions of a key are in these states, the oldest first."""
        async with asyncio.timeout(TIMEOUT_S):
            while list(wanted) != states(self.bank, label):  # noqa: ASYNC110 - the watch tells nobody
                await asyncio.sleep(0.02)


@asynccontextmanager
async def _world(settings: Settings, folder: Path, *rules: Rule) -> AsyncIterator[World]:
    hsm = SoftwareHsm.in_memory()
    mac = hsm.form(KeyUsage.MAC_RETAIL, "mac", components(ONE))
    pin = hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), "pin", components(FIRST_ZPK))
    keys = HostKeys(hsm, hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "zmk", components(ZMK)), mac, pin)
    async with RulesHost(Rules(rules=rules), keys=keys) as host, open_bank(settings) as bank:
        await new_zmk(bank)
        bank.hsm.form(KeyUsage.MAC_RETAIL, "zak-himbara", components(ONE))
        families = await open_families(bank, folder, 1)
        await activate(bank, families)
        await credit(bank, folder, families, 600_000)
        first = bank.hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk-himbara", components(FIRST_ZPK))
        for older in bank.hsm.versions("zpk-himbara"):
            if older != first:
                bank.hsm.set_state(older, KeyState.DEACTIVATED)
        assert bank.settings.links_file is not None
        text = DEFAULT_FILE.read_text(encoding="utf-8")
        before, _, after = text.partition("[[link]]")
        profile = after.replace('mac = "off"\n', PROFILE.format(port=host.port), 1)
        bank.settings.links_file.write_text(f"{before}[[link]]{profile}", encoding="utf-8")
        async with run_service(bank, jobs=False) as service:
            async with asyncio.timeout(TIMEOUT_S):
                while not service.room.ready("himbara"):  # noqa: ASYNC110 - the link tells nobody
                    await asyncio.sleep(0.02)
            yield World(bank, host, keys, families[0])
        await assert_no_material(bank)
        await assert_proved(bank)


@pytest.fixture
def settings(bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a bank with its own file of links."""
    monkeypatch.setattr(key_watch, "KEY_WATCH_S", 0.05)
    path = tmp_path / "links.toml"
    path.write_text(DEFAULT_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    return bank_settings.model_copy(update={"links_file": path})


async def test_a_mac_key_that_the_bank_changes(settings: Settings, tmp_path: Path) -> None:
    """The host answers with its check value; from then on both make their MACs under it, and the one before ends."""
    async with _world(settings, tmp_path) as world:
        assert "00" == await world.pays()
        before = world.keys.mac
        info = await world.offers("mac")
        assert (OutgoingState.ANSWERED, "00") == await world.ended(1)
        assert world.keys.mac is not None
        assert (True, info.kcv) == (world.keys.mac != before, world.keys.hsm.kcv(world.keys.mac))
        assert ["00", "00"] == [await world.pays() for _ in range(2)]
        (change,) = [message for message in world.host.seen if message.get(70) == "161"]
        assert world.is_under(change, before)
        await world.until("zak-himbara", KeyState.DEACTIVATED, KeyState.ACTIVE)
        assert "00" == await world.pays()


async def test_a_pin_key_that_the_bank_changes(settings: Settings, tmp_path: Path) -> None:
    """PINs come under it as soon as the host has answered, and the first right one ends the wait."""
    async with _world(settings, tmp_path) as world:
        assert "00" == await world.pays()
        number = len(states(world.bank, "zpk-himbara"))
        info = await world.offers("pin")
        assert (OutgoingState.ANSWERED, "00") == await world.ended(1)
        assert {("zpk-himbara", info.version)} == world.bank.key_turns.pending
        assert world.keys.pin is not None
        assert info.kcv == world.keys.hsm.kcv(world.keys.pin)
        assert "00" == await world.pays()
        assert frozenset() == world.bank.key_turns.pending
        await world.until("zpk-himbara", *[KeyState.DEACTIVATED] * number, KeyState.ACTIVE)
        assert "00" == await world.pays()


async def test_no_answer_and_busy_then_taken(settings: Settings, tmp_path: Path) -> None:
    """The same block goes again as 0801 until it is answered; it makes one key on both sides."""
    rules = (Rule(Deed.DROP, when=KEY_CHANGE, first=1), Rule(when=KEY_CHANGE, first=1, code="96"))
    async with _world(settings, tmp_path, *rules) as world:
        await world.offers("mac")
        assert (OutgoingState.ANSWERED, "00") == await world.ended(1)
        changes = [message for message in world.host.seen if message.get(70) == "161"]
        assert ["0800", "0801", "0801"] == [message.mti for message in changes]
        assert 1 == len({tuple(message.fields[number] for number in (7, 11, 37, 48)) for message in changes})
        assert ("00", 2) == (await world.pays(), len(states(world.bank, "zak-himbara")))


async def test_a_host_that_refuses(settings: Settings, tmp_path: Path) -> None:
    """The key is dropped, people see it, nothing else stops; what people offer next is another key."""
    async with _world(settings, tmp_path, Rule(when=KEY_CHANGE, first=1, code="81")) as world:
        await world.offers("mac")
        assert (OutgoingState.REFUSED, "81") == await world.ended(1)
        assert [KeyState.ACTIVE, KeyState.DESTROYED] == states(world.bank, "zak-himbara")
        assert "00" == await world.pays()
        await outgoing.retry(world.bank, SITI, 1, "they have mended it")
        assert (OutgoingState.REFUSED, None) == await world.ended(1)
        await world.offers("mac")
        assert (OutgoingState.ANSWERED, "00") == await world.ended(3)  # 2 was the number of the one that was retried
        assert "00" == await world.pays()
        assert 1 == len(await as_owner(world.bank, "SELECT 1 FROM link_key WHERE used_at IS NOT NULL"))


async def test_a_host_that_echoes_the_request(settings: Settings, tmp_path: Path) -> None:
    """It has taken the key and tells no check value: its first MAC under it counts, and is answered under it."""
    echo = Rule(when=KEY_CHANGE, set={48: "${48}"})
    async with _world(settings, tmp_path, echo) as world:
        await world.offers("mac")
        assert (OutgoingState.ANSWERED, "00") == await world.ended(1)
        assert 1 == len(world.bank.key_turns.pending)
        assert "00" == await world.pays()
        (change,) = [message for message in world.host.seen if message.get(70) == "161"]
        assert world.keys.answer(change) is not None
        world.keys.take_up()
        assert "00" == await world.pays()
        assert frozenset() == world.bank.key_turns.pending
        await link_keys.look(world.bank)
