"""A switch with MACs over TCP: it brings keys in key blocks, changes them while money moves, and nobody else is served."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import capture_logs

from gateway import clock
from gateway.app import open_bank, run_service
from gateway.operations import key_watch, link_keys
from gateway.operations.refusals import write_refusals
from gateway.rules import key_turns
from gateway.terminals.links_file import DEFAULT_FILE
from gateway.terminals.security import MISSING, NOT_MADE, STALE, WRONG
from iso.codec import decode, encode
from iso.dialect import HIMBARA
from iso.framing import HIMBARA_FRAMING, Deframer
from iso.mac import mac_field, mac_input, seal
from iso.message import Message
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from tests.gateway.owner import as_owner
from tests.gateway.partner_keys import ONE, TWO, block, states
from tests.gateway.rites import assert_no_material, details, new_zmk, told
from tests.gateway.street import TIMEOUT_S, assert_proved
from tests.gateway.terminals.test_security import CASH, security
from tests.gateway.world import PIN, activate, credit, open_families, pin_block
from tests.keys.samples import components

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.app import Service
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from keys.keytypes import KeyHandle, KeyInfo
    from tests.gateway.world import Holder

PROFILE = """
mac = "required"
mac_key = "zak-himbara"
zone_master_key = "zmk"
key_overlap_s = 2
freshness_s = 900
"""
SHIPPED = DEFAULT_FILE.read_text(encoding="utf-8")
AID_IDR = 600_000
NEW_ZPK = bytes.fromhex("F1E0D3C2B5A4978691E0D3C2B5A49787")


class Peer:
    """The switch's side of one connection: it seals what it sends under KEY, and says under which of its keys an answer is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hsm = SoftwareHsm.in_memory()
        self.keys: dict[str, KeyHandle] = {}
        self._stan = 0
        self._reader, self._writer = reader, writer
        self._deframer = Deframer(HIMBARA_FRAMING)

    def has(self, name: str, key: bytes) -> None:
        """One more MAC key of the switch."""
        self.keys[name] = self.hsm.form(KeyUsage.MAC_RETAIL, name, components(key))

    def message(self, mti: str, fields: dict[int, str]) -> Message:
        """A message of now."""
        self._stan += 1
        return Message(mti, {7: f"{clock.now():%m%d%H%M%S}", 11: f"{self._stan:06d}", **fields})

    def sealed(self, message: Message, name: str | None) -> bytes:
        """Its bytes, under a key by name; None: without a MAC."""
        if name is None:
            return encode(message)
        return seal(message, lambda data: self.hsm.mac(self.keys[name], data))

    async def ask(self, data: bytes) -> tuple[Message, str | None]:
        """The answer, and under which key it is; None: it has no MAC."""
        self._writer.write(HIMBARA_FRAMING.frame(data))
        frames: list[bytes] = []
        async with asyncio.timeout(TIMEOUT_S):
            while not frames:
                got = await self._reader.read(65_536)
                assert got, "closed"
                frames = self._deframer.feed(got)
        answer = decode(frames[0])
        mac = answer.get(mac_field(answer))
        if mac is None:
            return answer, None
        code, covered = bytes.fromhex(mac), mac_input(frames[0])
        return answer, next(
            (name for name, key in self.keys.items() if self.hsm.verify_mac(key, covered, code)), "wrong"
        )

    async def network(
        self, code: str, name: str | None = None, text: str | None = None
    ) -> tuple[str, str | None, str | None]:
        """DE39, DE48 and the key of the answer to an 0800."""
        message = self.message("0800", {70: code} | ({} if text is None else {48: text}))
        answer, under = await self.ask(self.sealed(message, name))
        return answer.fields[39], answer.get(48), under

    def balance(self, pan: Pan, pin_block: bytes) -> Message:
        """A balance inquiry at an ATM."""
        fields = {
            2: pan.reveal(),
            3: "310000",
            18: "6011",
            32: "000002",
            41: "A0000001",
            49: "360",
            52: pin_block.hex().upper(),
        }
        return self.message("0200", fields)

    async def pays(self, pan: Pan, pin_block: bytes, name: str | None) -> tuple[str, str | None]:
        """DE39 of a balance inquiry, and the key of the answer."""
        answer, under = await self.ask(self.sealed(self.balance(pan, pin_block), name))
        return answer.fields[39], under


@asynccontextmanager
async def peer_of(service: Service) -> AsyncIterator[Peer]:
    """A connection of the switch."""
    reader, writer = await asyncio.open_connection(*service.iso_address)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()


@pytest.fixture
def settings(bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a bank whose one link has MACs and changes its keys."""
    monkeypatch.setattr(key_watch, "KEY_WATCH_S", 0.05)
    path = tmp_path / "links.toml"
    path.write_text(SHIPPED, encoding="utf-8")
    return bank_settings.model_copy(update={"links_file": path})


async def family_of(bank: Bank, folder: Path) -> tuple[Holder, bytes]:
    """A family with money and a PIN, and its PIN block under the link's first ZPK. From then on the link wants MACs."""
    await new_zmk(bank)
    families = await open_families(bank, folder, 1)
    await activate(bank, families)
    await credit(bank, folder, families, AID_IDR)
    assert bank.settings.links_file is not None
    bank.settings.links_file.write_text(SHIPPED.replace('mac = "off"\n', PROFILE, 1), encoding="utf-8")
    return families[0], pin_block(bank, families[0], Pin(PIN))


def counted(service: Service) -> object:
    """What the status says of messages that proved nothing."""
    (counters,) = [one["counters"] for one in service.room.status() if one["name"] == "himbara"]
    assert isinstance(counters, dict)
    return counters["unproved"]


async def until(bank: Bank, label: str, *wanted: KeyState) -> None:
    """Until the versions of a key are in these states, the oldest first."""
    async with asyncio.timeout(TIMEOUT_S):
        while list(wanted) != states(bank, label):  # noqa: ASYNC110 - the watch tells nobody
            await asyncio.sleep(0.02)


async def test_a_mac_key_from_the_first_to_the_next(settings: Settings, tmp_path: Path) -> None:
    """Without a key nothing but 0800 is served; a new key works from its first use, over a restart, the older for a while."""
    async with open_bank(settings) as bank:
        holder, pin = await family_of(bank, tmp_path)
        first, second = block(), block(TWO)
        async with run_service(bank, jobs=False) as service, peer_of(service) as peer:
            peer.has("first", ONE)
            assert ("00", None, None) == await peer.network("001")
            assert [("63", None)] * 2 == [await peer.pays(holder.pan, pin, name) for name in (None, "first")]
            assert ("00", "08D7B4", None) == await peer.network("101", None, first)
            assert ("00", "08D7B4", None) == await peer.network("101", None, first)
            assert ("63", None) == await peer.pays(holder.pan, pin, None)
            assert ("00", "first") == await peer.pays(holder.pan, pin, "first")
            assert ("63", "first") == await peer.pays(holder.pan, pin, None)
            assert ("81", None, "first") == await peer.network("101", "first", first)
            peer.has("second", TWO)
            code, value, name = await peer.network("161", "first", second)
            assert ("00", "first", str(peer.hsm.kcv(peer.keys["second"]))) == (code, name, value)
            assert ("00", "first") == await peer.pays(holder.pan, pin, "first")
        async with run_service(bank, jobs=False) as service, peer_of(service) as peer:
            for name, key in (("first", ONE), ("second", TWO)):
                peer.has(name, key)
            assert ("00", None, None) == await peer.network("001")
            peer._stan = 100
            assert ("00", "first") == await peer.pays(holder.pan, pin, "first")
            assert [("00", "second")] * 2 == [await peer.pays(holder.pan, pin, name) for name in ("second", "first")]
            await until(bank, "zak-himbara", KeyState.DEACTIVATED, KeyState.ACTIVE)
            assert [("63", "second"), ("00", "second")] == [
                await peer.pays(holder.pan, pin, name) for name in ("first", "second")
            ]
        done = [act for how, act, key, _ in await told(bank) if how == "done" and key.startswith("zak-himbara#")]
        assert ["activate", "activate", "exchange", "exchange", "retire"] == sorted(done)
        await assert_no_material(bank)
        await assert_proved(bank)


async def test_rubbish_keeps_no_honest_change_waiting(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends made-up blocks rests, also where he calls again for each; a connection that has stood for a while is served."""
    monkeypatch.setattr(key_turns, "NEW_FOR_S", 5.0)
    rubbish = block(zmk=bytes(range(32)))
    async with open_bank(settings) as bank:
        await family_of(bank, tmp_path)
        async with run_service(bank, jobs=False) as service, peer_of(service) as honest, peer_of(service) as other:
            began = asyncio.get_running_loop().time()
            for peer in (honest, other):
                assert ("00", None, None) == await peer.network("001")
            codes = [(await other.network("101", None, rubbish))[0] for _ in range(5)]
            assert ["81", "81", "81", "96", "96"] == codes
            codes = []
            for _ in range(key_turns.FAILING_MOST + 1):
                async with peer_of(service) as caller:
                    codes.append((await caller.network("101", None, rubbish))[0])
            assert ["81"] * (key_turns.FAILING_MOST - 3) + ["96"] * 4 == codes
            await asyncio.sleep(began + 5.1 - asyncio.get_running_loop().time())
            async with peer_of(service) as caller:
                assert ("96", None, None) == await caller.network("101", None, block())
            assert ("00", "08D7B4", None) == await honest.network("101", None, block())


async def test_a_pin_key_changes_while_families_pay(settings: Settings, tmp_path: Path) -> None:
    """No PIN is refused for it: under the old key until the overlap ends, under the new one from the first."""
    async with open_bank(settings) as bank:
        holder, old = await family_of(bank, tmp_path)
        async with run_service(bank, jobs=False) as service, peer_of(service) as peer:
            peer.has("mac", ONE)
            zpk = peer.hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), "zpk", components(NEW_ZPK))
            new, wrong = (peer.hsm.encipher_pin(Pin(pin), zpk, holder.pan) for pin in (PIN, "314159"))
            await peer.network("001")
            await peer.network("101", None, block())
            assert ("00", "mac") == await peer.pays(holder.pan, old, "mac")
            assert "55" == (await peer.pays(holder.pan, new, "mac"))[0]
            code, value, _ = await peer.network("101", "mac", block(NEW_ZPK, "P0", "B"))
            assert ("00", str(zpk.kcv)) == (code, value)
            codes = [(await peer.pays(holder.pan, one, "mac"))[0] for one in (old, wrong, new, old)]
            assert ["00", "55", "00", "00"] == codes
            await until(bank, "zpk-himbara", KeyState.DEACTIVATED, KeyState.ACTIVE)
            assert ["55", "00"] == [(await peer.pays(holder.pan, one, "mac"))[0] for one in (old, new)]
            assert [(3,)] == [tuple(row) for row in await as_owner(bank, "SELECT pin_tries_left FROM card")]
        await assert_proved(bank)


async def test_whoever_has_no_key_gets_nothing(settings: Settings, tmp_path: Path) -> None:
    """Changed, unsealed and old messages are refused before they are read, and move nothing; what comes again is answered."""
    async with open_bank(settings) as bank:
        holder, pin = await family_of(bank, tmp_path)
        async with run_service(bank, jobs=False) as service, peer_of(service) as peer:
            peer.has("mac", ONE)
            await peer.network("001")
            await peer.network("101", None, block())
            cash = peer.balance(holder.pan, pin)
            cash.fields |= {3: "010000", 4: "000005000000"}
            data = peer.sealed(cash, "mac")
            answer, name = await peer.ask(data)
            assert ("00", "mac") == (answer.fields[39], name)
            again, name = await peer.ask(data)
            assert (answer.fields, "mac") == (again.fields, name)
            more = data.replace(b"000005000000", b"000050000000")
            old = peer.message("0200", cash.fields | {7: "0101000000" if clock.now().month > 1 else "0701000000"})
            unknown = peer.message("0700", {})
            for one, code in (
                (more, "63"), (encode(cash), "63"), (peer.sealed(old, "mac"), "63"), (encode(unknown), "63"),
                (peer.sealed(unknown, "mac"), "12"), (data[:-16] + b"0" * 16, "63"),
            ):  # fmt: skip
                answer, name = await peer.ask(one)
                assert (code, "mac") == (answer.fields[39], name)
            for text in (block(NEW_ZPK, zmk=bytes(range(32))), block(NEW_ZPK, "M6"), "D0112P0TC00E0000"):
                assert ("81", None, "mac") == await peer.network("101", "mac", text)
            assert ("30", None, "mac") == await peer.network("101", "mac")
            reasons = {MISSING: 2, WRONG: 2, STALE: 1, "a change of keys that was refused": 3}
            assert reasons == counted(service)
        assert [(AID_IDR - 50_000,)] == [
            tuple(row) for row in await as_owner(bank, "SELECT sum(available_idr)::bigint FROM purse")
        ]
        await write_refusals(bank, every=True)
        refused = {one["reason"] for one in await details(bank) if one.get("refused") in ("VERIFY_MAC", "UNWRAP_KEY")}
        assert {
            "link himbara sent no MAC", "link himbara sent a wrong MAC", "link himbara sent a DE7 that is too old or too new",
            "link himbara sent a change of keys that was refused",
        } <= refused  # fmt: skip
        await assert_proved(bank)


async def test_what_is_not_the_partners_fault(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered 96, to be tried again: the database is away, a fault of ours, another change under way on the link."""
    async with open_bank(settings) as bank:
        await family_of(bank, tmp_path)
        change, going, go_on = link_keys.change, asyncio.Event(), asyncio.Event()

        async def slow(*words: Any) -> KeyInfo:  # noqa: ANN401 - whatever it takes
            going.set()
            await go_on.wait()
            return await change(*words)

        async with run_service(bank, jobs=False) as service, peer_of(service) as peer, peer_of(service) as other:
            for error in (SQLAlchemyError("away"), RuntimeError("a fault"), link_keys.NotNow("the keystore is full")):
                with monkeypatch.context() as patched:
                    patched.setattr(link_keys, "change", Mock(side_effect=error))
                    assert ("96", None, None) == await peer.network("101", None, block())
            with monkeypatch.context() as patched:
                patched.setattr(link_keys, "change", slow)
                first = asyncio.create_task(peer.network("101", None, block()))
                await going.wait()
                assert ("96", None, None) == await other.network("101", None, block())
                go_on.set()
                assert ("00", "08D7B4", None) == await first
            assert {} == counted(service)


def test_answers_without_a_mac_are_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches the port could fill the log: what was left out is counted in the next line, and in the link's counters."""
    at = 1_000.0
    monkeypatch.setattr("gateway.terminals.security.monotonic", lambda: at)
    guard = security(SoftwareHsm.in_memory())
    with capture_logs() as lines:
        for seconds in (0.0, 30.0, 29.9, 0.1, 59.9, 60.0):
            at += seconds
            for _ in range(3):
                assert encode(CASH) == guard.encode(CASH, HIMBARA, CASH)
    assert [("mac.not_made", "error", times) for times in (1, 9, 6)] == [
        (line["event"], line["log_level"], line["times"]) for line in lines
    ]
    assert {NOT_MADE: 18} == dict(guard.refused)
