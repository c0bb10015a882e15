"""Tests of gateway.operations.link_keys: a partner's block changes a key of its link, and nothing it sends does more."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.operations import ceremony, link_keys
from gateway.operations.refusals import write_refusals
from gateway.rules.key_turns import CHANGES_MOST
from keys import tr31
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyState, KeyUsage
from keys.tr31_header import Header
from tests.gateway.owner import as_owner
from tests.gateway.partner_keys import AES_KEY, ONE, TWO, ZMK, ZONE, Clock, block, refused, states, use
from tests.gateway.rites import BUDI, SECOND, SITI, ZPK, assert_no_material, new_zmk, new_zpk, told
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from keys.keytypes import KeyHandle, KeyInfo


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still."""
    return Clock(monkeypatch)


async def test_a_key_comes_is_used_and_the_one_before_ends(bank: Bank, clock: Clock) -> None:
    """Pending, the link's key from its first use on, the older one beside it for the overlap. Each step is in the record."""
    await new_zmk(bank)
    before = len(await told(bank))
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    info = await link_keys.change(bank, ZONE, block())
    assert ("zak#2", "08D7B4", KeyState.ACTIVE) == (info.name, info.kcv.value, info.state)
    assert {("zak", 2)} == bank.key_turns.pending
    await link_keys.look(bank)
    clock.move(30)
    use(bank, "zak", 2)
    assert frozenset() == bank.key_turns.pending
    clock.move(1)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.ACTIVE] == states(bank)
    clock.move(58.9)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.ACTIVE] == states(bank)
    clock.move(0.1)
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


async def test_it_waits_before_it_works(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment it may be used it is known to be pending: no message in between is answered under it."""
    await new_zmk(bank)
    set_state, known = bank.hsm.set_state, []

    def watched(key: KeyHandle, state: KeyState) -> None:
        known.append((state, bank.key_turns.is_pending(key)))
        set_state(key, state)

    monkeypatch.setattr(bank.hsm, "set_state", watched)
    await link_keys.change(bank, ZONE, block())
    assert [(KeyState.ACTIVE, True)] == known


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


async def test_the_same_block_again(bank: Bank, clock: Clock) -> None:
    """Before its first use it is the same key, as the answer may have been lost. Afterwards it is refused for good."""
    await new_zmk(bank)
    text = block()
    first, second = await asyncio.gather(*(link_keys.change(bank, ZONE, text) for _ in range(2)))
    assert first == second == await link_keys.change(bank, ZONE, text)
    assert [KeyState.ACTIVE] == states(bank)
    use(bank, "zak", 1)
    await refused(bank, text, "came before: it is zak#1")
    await link_keys.look(bank)
    await refused(bank, text, "came before: it is zak#1")
    assert "zak#2" == (await link_keys.change(bank, ZONE, block(TWO))).name
    use(bank, "zak", 2)
    for _ in range(2):
        await link_keys.look(bank)
        clock.move(60)
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


async def test_one_that_nobody_uses_is_dropped(bank: Bank, clock: Clock) -> None:
    """Destroyed after its time, and its block is worth nothing; the key before goes on."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    text = block()
    await link_keys.change(bank, ZONE, text)
    clock.move(3_599)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE] * 2 == states(bank)
    clock.move(1)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.DESTROYED] == states(bank)
    assert frozenset() == bank.key_turns.pending
    assert ("done", "destroy", "zak#2", "link himbara") == (await told(bank))[-1]
    await refused(bank, text, "came before: it is zak#2")


@pytest.mark.parametrize("used", [2, 3])
async def test_two_in_a_row(bank: Bank, clock: Clock, used: int) -> None:
    """Both wait. The older one used first: the newer waits on. The newer one first: the older is destroyed, its turn is over."""
    await new_zmk(bank)
    bank.hsm.generate(KeySpec(KeyUsage.MAC_RETAIL), "zak")
    await link_keys.change(bank, ZONE, block())
    await link_keys.change(bank, ZONE, block(TWO))
    use(bank, "zak", used)
    await link_keys.look(bank)
    assert [KeyState.ACTIVE, KeyState.ACTIVE if used == 2 else KeyState.DESTROYED, KeyState.ACTIVE] == states(bank)
    clock.move(60)
    await link_keys.look(bank)
    assert KeyState.DEACTIVATED is states(bank)[0]
    assert ({("zak", 3)} if used == 2 else set()) == bank.key_turns.pending


async def test_so_many_changes_an_hour(bank: Bank, clock: Clock) -> None:
    """Only keys that came count: no wrong block, none that came before. Nothing is written of one too many; later it goes on."""
    await new_zmk(bank)
    text = block()
    for _ in range(CHANGES_MOST):
        await refused(bank, block(zmk=bytes(range(32))), "authentic")
    await link_keys.change(bank, ZONE, text)
    for number in range(2, CHANGES_MOST + 1):
        info = await link_keys.change(bank, ZONE, block(hashlib.sha256(bytes([number])).digest()[:16]))
        assert f"zak#{number}" == info.name
    await write_refusals(bank)
    before = len(await told(bank))
    await refused(bank, block(TWO), "12 keys within an hour")
    assert "zak#1" == (await link_keys.change(bank, ZONE, text)).name
    assert "zak#13" == (await link_keys.change(bank, replace(ZONE, link="other"), block(TWO))).name
    clock.move(3_600)
    await refused(bank, block(TWO), "has the check value of zak#13")
    assert before + 4 == len(await told(bank))


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
