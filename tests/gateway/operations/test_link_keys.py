"""Tests of gateway.operations.link_keys: a partner's block changes a key of its link, and nothing it sends does more."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import SQLAlchemyError

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import ceremony, link_keys
from gateway.operations.bank import Bank
from gateway.operations.link_keys import NotNow, Zone
from gateway.operations.refusals import write_refusals
from gateway.rules.key_turns import CHANGES_MOST, Turn
from gateway.store import link_keys as stored
from keys import tr31
from keys.errors import KeystoreError
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyState, KeyUsage
from keys.tr31_header import Header
from tests.gateway.owner import as_owner
from tests.gateway.rites import BUDI, FIRST, SECOND, SITI, ZPK, assert_no_material, new_zmk, new_zpk, told
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings import Settings
    from keys.keytypes import KeyInfo

ZMK = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
ONE = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TWO = bytes.fromhex("89B07B35A1B3F47E89B07B35A1B3F488")
AES_KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
ZONE = Zone("himbara", "zmk", "zpk", Algorithm.TDES, "zak", 60, 3_600)
NOW = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)


def block(key: bytes = ONE, usage: str = "M3", mode: str = "C", algorithm: str = "T", zmk: bytes = ZMK) -> str:
    """A key block as a partner makes it."""
    return tr31.wrap(zmk, Header("D", usage, algorithm, mode, "00", "E"), key)


def states(bank: Bank, label: str = "zak") -> list[KeyState]:
    """Of each version, the oldest first."""
    return [bank.hsm.info(key).state for key in reversed(bank.hsm.versions(label))]


@pytest.fixture
def clock(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time of the bank stands still until it is moved by seconds."""
    del bank
    moment = [NOW]
    monkeypatch.setattr(Bank, "now", lambda _: moment[0])

    def move(seconds: float) -> None:
        moment[0] += timedelta(seconds=seconds)

    return move


async def refused(bank: Bank, text: str, why: str, zone: Zone = ZONE) -> None:
    """The block is refused, in one line."""
    with pytest.raises(Refused, match=why) as caught:
        await link_keys.change(bank, zone, text)
    assert "\n" not in str(caught.value)


def use(bank: Bank, label: str, version: int) -> None:
    """Something is right under a version."""
    bank.key_turns.uses(bank.hsm.version(label, version), bank.now())


async def test_a_key_comes_is_used_and_the_one_before_ends(bank: Bank, clock: Callable[[float], None]) -> None:
    """Pending, the link's key from its first use on, the older one beside it for the overlap. Each step is in the record."""
    await new_zmk(bank)
    before = len(await told(bank))
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    info = await link_keys.change(bank, ZONE, block())
    assert ("zak#2", "08D7B4", KeyState.ACTIVE) == (info.name, info.kcv.value, info.state)
    assert {("zak", 2)} == bank.key_turns.pending
    await link_keys.look(bank)
    clock(30)
    use(bank, "zak", 2)
    assert frozenset() == bank.key_turns.pending
    clock(1)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.ACTIVE] == states(bank)
    clock(58.9)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.ACTIVE] == states(bank)
    clock(0.1)
    await link_keys.look(bank)
    await link_keys.look(bank)
    assert [KeyState.DEACTIVATED, KeyState.ACTIVE] == states(bank)
    assert [
        ("begun", "exchange", "zak", "link himbara"), ("done", "exchange", "zak#2", "link himbara"),
        ("begun", "activate", "zak#2", "link himbara"), ("done", "activate", "zak#2", "link himbara"),
        ("begun", "retire", "zak#1", "link himbara"), ("done", "retire", "zak#1", "link himbara"),
    ] == (await told(bank))[before:]  # fmt: skip
    acts = await ceremony.record_of(bank, None, None)
    assert ("08D7B4", "M3", "zmk") == tuple(acts[before + 1].detail[name] for name in ("kcv", "usage", "under"))
    assert "overlap with zak#2 is over" == acts[-1].detail["why"]
    await ceremony.change_state(bank, SITI, "destroy", "zak#1")
    assert [] == await as_owner(bank, "SELECT 1 FROM link_key WHERE over_at IS NULL")
    await assert_no_material(bank)
    await assert_proved(bank)


@pytest.mark.parametrize(
    ("usage", "mode", "algorithm", "key", "kept"),
    [
        ("M1", "C", "T", ONE, (KeyUsage.MAC_CBC, KeyMode.GENERATE_AND_VERIFY)),
        ("M3", "C", "T", ONE, (KeyUsage.MAC_RETAIL, KeyMode.GENERATE_AND_VERIFY)),
        ("M6", "C", "T", ONE, (KeyUsage.MAC_CMAC, KeyMode.GENERATE_AND_VERIFY)),
        ("M6", "C", "A", AES_KEY, (KeyUsage.MAC_CMAC, KeyMode.GENERATE_AND_VERIFY)),
        ("P0", "B", "T", ONE, (KeyUsage.PIN_ENCRYPTION, KeyMode.DECRYPT)),
        ("P0", "D", "T", ONE, (KeyUsage.PIN_ENCRYPTION, KeyMode.DECRYPT)),
    ],
)
async def test_the_first_key_of_a_link(
    bank: Bank, usage: str, mode: str, algorithm: str, key: bytes, kept: tuple[KeyUsage, KeyMode]
) -> None:
    """It needs none before it. Of its block only what the bank needs is kept, and it never leaves again."""
    await new_zmk(bank)
    info = await link_keys.change(bank, ZONE, block(key, usage, mode, algorithm))
    assert kept == (info.usage, info.mode)
    assert ("zpk#1" if usage == "P0" else "zak#1", "N") == (info.name, info.exportability.value)
    use(bank, info.label, 1)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE] == states(bank, info.label)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (block(zmk=bytes(range(32))), "not authentic"), (block()[:-1] + "0", "authentic|hex"), (block()[:-8], "length"),
        ("", "no usage"), ("D0112??TC00E0000", "no usage"), ("x" * 200, "no usage"),
        (block(usage="K1", mode="B", algorithm="A", key=bytes(range(32))), "usage K1 is not changed"),
        (block(usage="C0"), "usage C0 is not changed"), (block(mode="V"), "permits mode V"),
        (block(usage="P0", mode="E"), "permits mode E"), (block(AES_KEY, "P0", "D", "A"), "holds a key of"),
        (block(usage="M6"), "another usage in its other versions"),
        (block(bytes(8) + bytes(range(8)), "M3"), "."),
    ],
)  # fmt: skip
async def test_what_is_refused(bank: Bank, text: str, why: str) -> None:
    """Wrong ZMK, changed or cut, no key of the link, of another kind: no version is left of it, and it may come right later."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    await refused(bank, text, why)
    assert ([KeyState.ACTIVE], []) == (states(bank), states(bank, "zpk"))
    assert (frozenset(), []) == (
        bank.key_turns.pending,
        await as_owner(bank, "SELECT 1 FROM link_key WHERE over_at IS NULL"),
    )
    await refused(bank, text, why)
    assert "zak#2" == (await link_keys.change(bank, ZONE, block())).name


async def test_a_link_without_such_keys(bank: Bank) -> None:
    """A link of DUKPT terminals has no PIN key to change, one without MACs no MAC key; without its ZMK nothing comes."""
    await refused(bank, block(), "no key 'zmk'")
    await new_zmk(bank)
    await refused(bank, block(usage="P0", mode="D"), "usage P0 is not changed", replace(ZONE, pin_key=None))
    await refused(bank, block(), "usage M3 is not changed", replace(ZONE, mac_key=None))
    info = await link_keys.change(bank, replace(ZONE, pin_algorithm=Algorithm.AES), block(AES_KEY, "P0", "B", "A"))
    assert (Algorithm.AES, "zpk#1") == (info.algorithm, info.name)


async def test_the_attributes_stay(bank: Bank) -> None:
    """Padding and length have no place in a standard block: the next version has those of the one before."""
    await new_zmk(bank)
    attributes = KeyAttributes(padding=2, mac_length=4)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL, attributes=attributes), "zak")
    assert attributes == (await link_keys.change(bank, ZONE, block())).attributes


async def test_a_mac_that_no_field_holds(bank: Bank) -> None:
    """A block of ours may say that its MACs have 16 bytes: the key is destroyed, and its block never taken."""
    await new_zmk(bank)
    header = Header("D", "M6", "A", "C", "00", "E", (("10", "kks: mac_length=16"),))
    text = tr31.wrap(ZMK, header, AES_KEY)
    await refused(bank, text, "MACs of 16 bytes")
    assert [KeyState.DESTROYED] == states(bank)
    await refused(bank, text, "came before: it is zak#1")
    assert [KeyState.DESTROYED] == states(bank)


async def test_the_same_block_again(bank: Bank, clock: Callable[[float], None]) -> None:
    """Before its first use it is the same key, as the answer may have been lost. Afterwards it is refused for good."""
    await new_zmk(bank)
    text = block()
    first, second = await asyncio.gather(*(link_keys.change(bank, ZONE, text) for _ in range(2)))
    assert first == second == await link_keys.change(bank, ZONE, text)
    assert [KeyState.ACTIVE] == states(bank)
    use(bank, "zak", 1)
    await link_keys.look(bank)
    await refused(bank, text, "came before: it is zak#1")
    assert "zak#2" == (await link_keys.change(bank, ZONE, block(TWO))).name
    use(bank, "zak", 2)
    for _ in range(2):
        await link_keys.look(bank)
        clock(60)
    assert [KeyState.DEACTIVATED, KeyState.ACTIVE] == states(bank)
    await refused(bank, text, "came before: it is zak#1")


async def test_the_same_key_in_another_block(bank: Bank) -> None:
    """Known by its check value, whichever key has it: a key of another purpose is none for this one. What came is destroyed."""
    await new_zmk(bank)
    await link_keys.change(bank, ZONE, block())
    for text, label, count in ((block(), "zak", 2), (block(usage="P0", mode="D"), "zpk", 1)):
        await refused(bank, text, "has the check value of zak#1")
        assert (count, KeyState.DESTROYED) == (len(states(bank, label)), states(bank, label)[-1])
        await refused(bank, text, f"came before: it is {label}#{count}")
        assert count == len(states(bank, label))
    assert {("zak", 1)} == bank.key_turns.pending
    assert "failed" == (await told(bank))[-1][0]


async def test_one_that_nobody_uses_is_dropped(bank: Bank, clock: Callable[[float], None]) -> None:
    """Destroyed after its time, and its block is worth nothing; the key before goes on."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    text = block()
    await link_keys.change(bank, ZONE, text)
    clock(3_599)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE] * 2 == states(bank)
    clock(1)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.DESTROYED] == states(bank)
    assert frozenset() == bank.key_turns.pending
    assert ("done", "destroy", "zak#2", "link himbara") == (await told(bank))[-1]
    await refused(bank, text, "came before: it is zak#2")


@pytest.mark.parametrize("used", [2, 3])
async def test_two_in_a_row(bank: Bank, clock: Callable[[float], None], used: int) -> None:
    """Both wait. The older one used first: the newer waits on. The newer one first: the older is destroyed, its turn is over."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    await link_keys.change(bank, ZONE, block())
    await link_keys.change(bank, ZONE, block(TWO))
    use(bank, "zak", used)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.ACTIVE if used == 2 else KeyState.DESTROYED, KeyState.ACTIVE] == states(bank)
    clock(60)
    await link_keys.look(bank)
    assert KeyState.DEACTIVATED is states(bank)[0]
    assert ({("zak", 3)} if used == 2 else set()) == bank.key_turns.pending


@pytest.mark.parametrize("state", [KeyState.SUSPENDED, KeyState.COMPROMISED])
async def test_the_new_key_is_stopped_by_people(bank: Bank, clock: Callable[[float], None], state: KeyState) -> None:
    """The older one is not ended then. A suspended one that is resumed has its overlap behind it."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    await link_keys.change(bank, ZONE, block())
    use(bank, "zak", 2)
    bank.hsm.set_state(bank.hsm.version("zak", 2), state)
    clock(60)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, state] == states(bank)
    over = state is KeyState.COMPROMISED
    assert over is bool(await as_owner(bank, "SELECT 1 FROM link_key WHERE over_at IS NOT NULL"))
    if not over:
        bank.hsm.set_state(bank.hsm.version("zak", 2), KeyState.ACTIVE)
        await link_keys.look(bank)
        assert [KeyState.DEACTIVATED, KeyState.ACTIVE] == states(bank)


async def test_so_many_changes_an_hour(bank: Bank, clock: Callable[[float], None]) -> None:
    """Wrong blocks count as well; the same block again does not. Nothing is written of one too many; an hour later it goes on."""
    await new_zmk(bank)
    text = block()
    await link_keys.change(bank, ZONE, text)
    for _ in range(CHANGES_MOST - 1):
        await refused(bank, block(zmk=bytes(range(32))), "authentic")
    await write_refusals(bank)
    before = len(await told(bank))
    await refused(bank, block(TWO), "12 changes of keys within an hour")
    assert "zak#1" == (await link_keys.change(bank, ZONE, text)).name
    assert "zak#2" == (await link_keys.change(bank, replace(ZONE, link="other"), block(TWO))).name
    clock(3_600)
    await refused(bank, block(TWO), "has the check value of zak#2")
    assert before + 4 == len(await told(bank))


@pytest.mark.parametrize(
    "cut", ["before the key", "after the key", "before it works", "before the end is written", "answer"]
)
async def test_cut_off_anywhere_the_same_block_ends_it(
    bank_settings: Settings, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Killed between any two steps: after the restart nothing is made under the key, and the partner's repeat finds it."""

    class Killed(BaseException):
        """The process is gone."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    text, taken = block(), link_keys._import
    async with open_bank(bank_settings) as bank:
        await new_zmk(bank)
        bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")

        def takes(*words: object) -> object:
            taken(*words)  # type: ignore[arg-type]
            raise Killed

        with monkeypatch.context() as patched:
            if cut == "before the key":
                patched.setattr(link_keys, "_import", kill)
            elif cut == "after the key":
                patched.setattr(link_keys, "_import", takes)
            elif cut == "before it works":
                patched.setattr(link_keys, "_let_work", kill)
            elif cut == "before the end is written":
                patched.setattr(ceremony, "_shown", kill)
            if cut == "answer":
                await link_keys.change(bank, ZONE, text)
            else:
                with pytest.raises(Killed):
                    await link_keys.change(bank, ZONE, text)
    async with open_bank(bank_settings) as bank:
        assert {("zak", 2)} == bank.key_turns.pending
        await link_keys.look(bank)
        assert 1 == bank.key_turns.in_order(bank.hsm.find_all("zak"))[0].version
        assert "zak#2" == (await link_keys.change(bank, ZONE, text)).name
        assert [KeyState.ACTIVE] * 2 == states(bank)
        assert ("done", "exchange", "zak#2", "link himbara") == (await told(bank))[-1]
        use(bank, "zak", 2)
        await link_keys.look(bank)
        await refused(bank, text, "came before")
        await assert_proved(bank)


async def test_cut_off_and_never_sent_again(bank: Bank, clock: Callable[[float], None]) -> None:
    """A block whose key never came is forgotten; a key that came and never worked is destroyed when its time is over."""
    await new_zmk(bank)
    turn = Turn("zak", 1, "himbara", NOW, 60, 3_600)
    async with bank.database.engine.begin() as connection:
        await stored.begin(connection, turn, bytes(32))
    clock(3_600)
    await link_keys.look(bank)
    assert [(None,)] == await as_owner(bank, "SELECT block_digest FROM link_key WHERE over_at IS NOT NULL")
    async with bank.database.engine.begin() as connection:
        await stored.begin(connection, turn, bytes(32))
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL, state=KeyState.PRE_ACTIVE), "zak")
    await link_keys.look(bank)
    assert [KeyState.DESTROYED] == states(bank)


async def test_a_version_that_people_brought_in_is_not_the_links(bank: Bank) -> None:
    """A change that was cut off had no key yet, and people made a version of that number: the repeat does not let it work."""
    await new_zmk(bank)
    text = block()
    turn = Turn("zak", 1, "himbara", bank.now(), 60, 3_600)
    async with bank.database.engine.begin() as connection:
        await stored.begin(connection, turn, hashlib.sha256(text.encode()).digest())
    await ceremony.generate(bank, SITI, "zak", KeySpec(KeyUsage.MAC_RETAIL))
    await refused(bank, text, "zak#1 was brought in by people")
    assert [KeyState.PRE_ACTIVE] == states(bank)


async def test_a_version_that_people_bring_in_at_the_same_moment(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key gets the next number, and waits for its first use under that one."""
    await new_zmk(bank)
    taken = link_keys._import

    def after_people(*words: object) -> object:
        bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
        return taken(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(link_keys, "_import", after_people)
    assert "zak#2" == (await link_keys.change(bank, ZONE, block())).name
    assert {("zak", 2)} == bank.key_turns.pending
    await link_keys.look(bank)
    assert {("zak", 2)} == bank.key_turns.pending


async def test_the_banks_own_fault(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keystore that cannot be written, a database that is away: the partner may try again with the same block."""
    await new_zmk(bank)
    text = block()

    def full(*_: object) -> None:
        raise KeystoreError("is full")

    def away(*_: object) -> None:
        raise SQLAlchemyError("away")

    with monkeypatch.context() as patched:
        patched.setattr(bank.hsm, "import_block", full)
        with pytest.raises(NotNow, match="is full"):
            await link_keys.change(bank, ZONE, text)
    with monkeypatch.context() as patched:
        patched.setattr(stored, "begin", away)
        with pytest.raises(SQLAlchemyError):
            await link_keys.change(bank, ZONE, text)
    assert "zak#1" == (await link_keys.change(bank, ZONE, text)).name


async def test_what_cannot_be_done_is_tried_once_a_minute(
    bank: Bank, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try is in the audit chain: so a keystore that is full for a night does not fill that too."""
    await new_zmk(bank)
    await link_keys.change(bank, ZONE, block())
    before = len(await told(bank))
    clock(3_600)

    def full(*_: object) -> None:
        raise KeystoreError("is full")

    with monkeypatch.context() as patched:
        patched.setattr(bank.hsm, "set_state", full)
        with pytest.raises(Refused, match="is full"):
            await link_keys.look(bank)
        for _ in range(59):
            clock(1)
            await link_keys.look(bank)
    assert before + 2 == len(await told(bank))
    clock(1)
    await link_keys.look(bank)
    assert [KeyState.DESTROYED] == states(bank)


async def test_two_processes(bank: Bank, bank_settings: Settings, clock: Callable[[float], None]) -> None:
    """The other one knows by its next look what waits, what was used and what is over; both may see the first use."""
    del clock
    await new_zmk(bank)
    async with open_bank(bank_settings) as other:
        await link_keys.change(bank, ZONE, block())
        other.hsm.refresh()
        await link_keys.look(other)
        assert {("zak", 1)} == other.key_turns.pending == bank.key_turns.pending
        for one in (other, bank):
            use(one, "zak", 1)
        await link_keys.look(other)
        await link_keys.look(bank)
        assert frozenset() == other.key_turns.pending == bank.key_turns.pending
        (used,) = await as_owner(bank, "SELECT used_at FROM link_key")
        assert (NOW,) == tuple(used)


async def test_two_versions_of_the_zmk(bank: Bank) -> None:
    """While the ZMK changes, a block under either is taken; under one that has ended, none."""
    await new_zmk(bank)
    await new_zmk(bank, first=bytes(range(50, 82)))
    assert "zak#1" == (await link_keys.change(bank, ZONE, block())).name
    newer = bytes(one ^ other for one, other in zip(range(50, 82), SECOND, strict=True))
    assert "zak#2" == (await link_keys.change(bank, ZONE, block(TWO, zmk=newer))).name
    for version in (1, 2):
        bank.hsm.set_state(bank.hsm.version("zmk", version), KeyState.SUSPENDED)
    await refused(bank, block(bytes(range(16))), "may not do UNWRAP_KEY: it is SUSPENDED")


async def test_a_person_still_changes_it_by_ceremony(bank: Bank) -> None:
    """What came over the link is a version like any other: the next one is brought in and activated by two."""
    await new_zmk(bank)
    await new_zpk(bank)
    await link_keys.change(bank, ZONE, block(usage="P0", mode="D"))
    made: KeyInfo = await ceremony.generate(bank, SITI, "zpk", ZPK)
    await ceremony.activate(bank, BUDI, made.name, 1)
    assert [KeyState.ACTIVE] * 3 == states(bank, "zpk")
    assert {("zpk", 2)} == bank.key_turns.pending
