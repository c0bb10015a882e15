"""Tests of gateway.operations.ceremony: components of custodians, and acts that are cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.files.ceremony_record import ceremony_record
from gateway.operations import ceremony
from keys.keytypes import Exportability, KeyMode, KeySpec, KeyState, KeyUsage
from tests.gateway.rites import (
    BUDI,
    FIRST,
    RATNA,
    SECOND,
    SITI,
    ZMK,
    ZPK,
    assert_no_material,
    details,
    new_zmk,
    new_zpk,
    refused,
    told,
)
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


async def test_components(bank: Bank) -> None:
    """Each custodian's with its check value; the last forms a key that works, in the same breath; no component is shown."""
    check, info = await ceremony.enter_component(bank, f"{SITI} ", "zmk", ZMK, 1, 2, FIRST)
    assert info is None
    ((waiting),) = bank.hsm.components()
    assert ("zmk", 1, 2, SITI, bank.business_date, check) == waiting[:6]
    other, info = await ceremony.enter_component(bank, BUDI, "zmk", ZMK, 2, 2, SECOND)
    assert info is not None
    assert ("zmk#1", KeyState.ACTIVE, []) == (info.name, info.state, bank.hsm.components())
    assert [
        ("begun", "component", "zmk", SITI),
        ("done", "component", "zmk", SITI),
        ("begun", "component", "zmk", BUDI),
        ("done", "component", "zmk", BUDI),
        ("done", "form", "zmk#1", BUDI),
    ] == await told(bank)
    assert [
        {"act": "component", "component": 1, "of": 2, "kcv": check},
        {"act": "component", "component": 2, "of": 2, "kcv": other},
    ] == (await details(bank))[0:3:2]
    formed = (await details(bank))[-1]
    assert (info.kcv.value, "K1", 256) == (formed["kcv"], formed["usage"], formed["bits"])
    await assert_no_material(bank)


@pytest.mark.parametrize(
    ("actor", "spec", "number", "of", "value", "why"),
    [
        (SITI, ZMK, 2, 2, SECOND, "siti entered component 1; nobody enters two"),
        (f" {SITI} ", ZMK, 2, 2, SECOND, "siti entered component 1; nobody enters two"),
        (BUDI, ZMK, 1, 2, SECOND, "component 1 of zmk: was entered already"),
        (BUDI, replace(ZMK, mode=KeyMode.DECRYPT), 2, 2, SECOND, "another kind of key than component 1: usage K1"),
        (BUDI, KeySpec(KeyUsage.DATA_SEALING), 2, 2, SECOND, "another kind of key than component 1: usage K1"),
        (BUDI, replace(ZMK, exportability=Exportability.EXPORTABLE), 2, 2, SECOND, "another kind of key"),
        (BUDI, ZMK, 3, 3, SECOND, "the other components are 2"),
        (BUDI, ZMK, 3, 2, SECOND, "numbered from 1"),
        (BUDI, ZMK, 2, 2, SECOND[:16], "of 32 bytes"),
        (BUDI, ZMK, 2, 2, SECOND[:10], "its length is that of no key of usage K1"),
        (BUDI, ZMK, 2, 2, b"", "its length is that of no key of usage K1"),
        (BUDI, ZMK, 2, 2, SECOND * 2, "its length is that of no key of usage K1"),
        (BUDI, ZMK, 2, 2, bytes(32), "not all of them zero"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
async def test_a_component_that_does_not_fit(
    bank: Bank, actor: str, spec: KeySpec, number: int, of: int, value: bytes, why: str
) -> None:
    """Is refused and recorded; the other one waits on, and a fitting one still makes the key."""
    await ceremony.enter_component(bank, SITI, "zmk", ZMK, 1, 2, FIRST)
    await refused(bank, why, ceremony.enter_component(bank, actor, "zmk", spec, number, of, value))
    assert [1] == [one.number for one in bank.hsm.components()]
    _, info = await ceremony.enter_component(bank, BUDI, "zmk", ZMK, 2, 2, SECOND)
    assert info is not None
    await assert_no_material(bank)


async def test_a_component_is_compared_with_its_sheet(bank: Bank) -> None:
    """A slip of the fingers is found before the other custodians have come: refused, recorded, and entered rightly after."""
    check, _ = await ceremony.enter_component(bank, SITI, "other", ZMK, 1, 2, FIRST)
    slip = FIRST[:-1] + b"\x00"
    enter = ceremony.enter_component
    await refused(bank, "its check value is .*, not as told", enter(bank, SITI, "zmk", ZMK, 1, 2, slip, check))
    assert ["other"] == [one.label for one in bank.hsm.components()]
    assert (check, None) == await enter(bank, SITI, "zmk", ZMK, 1, 2, FIRST, check)
    await refused(bank, "not as told", enter(bank, BUDI, "zmk", ZMK, 2, 2, SECOND, check))
    _, info = await enter(bank, BUDI, "zmk", ZMK, 2, 2, SECOND)
    assert info is not None
    await assert_no_material(bank)


async def test_components_that_make_no_key_are_entered_anew(bank: Bank) -> None:
    """Equal ones would leave it to one custodian: refused at the last, and nothing waits."""
    await ceremony.enter_component(bank, SITI, "zmk", ZMK, 1, 2, FIRST)
    await refused(bank, "differ from each other", ceremony.enter_component(bank, BUDI, "zmk", ZMK, 2, 2, FIRST))
    assert [] == bank.hsm.components()
    assert "zmk#1" == (await new_zmk(bank)).name


async def test_components_are_thrown_away(bank: Bank) -> None:
    """Of the one label; how many is told."""
    await ceremony.enter_component(bank, SITI, "zmk", ZMK, 1, 3, FIRST)
    await ceremony.enter_component(bank, BUDI, "zmk", ZMK, 2, 3, SECOND)
    await ceremony.enter_component(bank, SITI, "other", ZMK, 1, 2, FIRST)
    assert (2, 0) == (
        await ceremony.forget_components(bank, RATNA, "zmk"), await ceremony.forget_components(bank, RATNA, "none"),
    )  # fmt: skip
    assert ["other"] == [one.label for one in bank.hsm.components()]
    assert [2, 0] == [one["components"] for one in await details(bank) if "components" in one]


async def the_last_custodian_enters_again(bank: Bank) -> None:
    """Of a key whose components are all there: his own, nobody another; its acts are told as if nothing had been."""
    assert ([1, 2], []) == ([one.number for one in bank.hsm.components()], bank.hsm.versions("zmk"))
    last = bytes(range(100, 132))
    await refused(bank, "was entered already", ceremony.enter_component(bank, RATNA, "zmk", ZMK, 2, 2, last))
    check, info = await ceremony.enter_component(bank, SITI, "zmk", ZMK, 2, 2, last)
    assert info is not None
    assert ("zmk#1", KeyState.ACTIVE, []) == (info.name, info.state, bank.hsm.components())
    assert [
        ("begun", "component", "zmk", SITI),
        ("done", "component", "zmk", SITI),
        ("done", "form", "zmk#1", SITI),
    ] == (await told(bank))[-3:]
    assert (check, info.kcv.value) == tuple(one["kcv"] for one in (await details(bank))[-2:])


CHILD = """
    import asyncio, json, os, signal, sys
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.operations import ceremony
    from gateway.settings import load_settings
    from keys import software
    from keys.keytypes import KeySpec, KeyUsage, KeyMode, Exportability

    def deadly(called):
        def call(*words, **named):
            called(*words, **named)
            os.kill(os.getpid(), signal.SIGKILL)
        return call

    async def main(url, folder, act):
        spec = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH, exportability=Exportability.EXPORTABLE)
        async with open_bank(load_settings(database_url=url, data_dir=Path(folder), log_level="error")) as bank:
            for name in ("generate", "set_state", "enter_component"):
                setattr(bank.hsm, name, deadly(getattr(bank.hsm, name)))
            if act == "component-before":
                bank.hsm._store.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            software.rotation.rotate_master_key = deadly(software.rotation.rotate_master_key)
            entered = lambda: ceremony.enter_component(
                bank, "siti", "zmk", KeySpec(KeyUsage.KEY_BLOCK_PROTECTION), 2, 2, bytes(range(100, 132))
            )
            await {
                "generate": lambda: ceremony.generate(bank, "siti", "new", spec),
                "rotate": lambda: ceremony.rotate(bank, "siti", "zpk"),
                "activate": lambda: ceremony.activate(bank, "siti", "waiting", 1),
                "retire": lambda: ceremony.change_state(bank, "siti", "retire", "zpk"),
                "component": entered,
                "component-before": entered,
                "rotate-master": lambda: ceremony.rotate_master(bank, "siti"),
            }[act]()

    asyncio.run(main(*sys.argv[1:]))
"""


KILLED = ["generate", "rotate", "activate", "retire", "component", "component-before", "rotate-master"]
"""Acts that are cut off when the keystore has them; component-before: the last component is kept, its key not formed."""


@pytest.mark.parametrize("act", KILLED)
async def test_an_act_that_is_killed_is_seen(bank: Bank, bank_settings: Settings, act: str) -> None:
    """By -9 between keystore and last event: begun and never ended, for good; what was half done gives nobody a key alone."""
    await new_zpk(bank)
    await ceremony.generate(bank, BUDI, "waiting", ZPK)
    await ceremony.enter_component(bank, BUDI, "zmk", ZMK, 1, 2, FIRST)
    words = [
        sys.executable,
        "-c",
        textwrap.dedent(CHILD),
        str(bank_settings.database_url),
        str(bank_settings.data_dir),
        act,
    ]
    child = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)  # noqa: S603, ASYNC221 - our own script
    assert -signal.SIGKILL == child.returncode
    async with open_bank(bank_settings) as again:
        *_, begun, seen = await told(again)
        assert ("begun", act.removesuffix("-before"), SITI) == (begun[0], begun[1], begun[3])
        assert ("seen", "seen", "keystore", "hsm") == seen
        assert 1 == ceremony_record(await ceremony.record_of(again, None, None)).count("BEGUN AND NEVER ENDED")
        await assert_proved(again)
        match act:
            case "generate" | "rotate":
                name = "new#1" if act == "generate" else "zpk#2"
                for actor in (SITI, BUDI):
                    await refused(again, "does not say who made it", ceremony.activate(again, actor, name, None))
                await ceremony.change_state(again, SITI, "destroy", name)
            case "activate":
                assert 1 == len(again.hsm.find_all("waiting"))
            case "retire":
                await refused(again, "siti ended its life", ceremony.change_state(again, SITI, "destroy", "zpk"))
                await ceremony.change_state(again, BUDI, "destroy", "zpk")
            case "component":
                assert ("zmk#1", []) == (again.hsm.info(again.hsm.find("zmk")).name, again.hsm.components())
            case "component-before":
                await the_last_custodian_enters_again(again)
            case "rotate-master":
                assert len(again.hsm.keys()) == await ceremony.rotate_master(again, SITI)
        assert 1 == ceremony_record(await ceremony.record_of(again, None, None)).count("BEGUN AND NEVER ENDED")
        assert bank.hsm.refresh()
        assert again.hsm.keys() == bank.hsm.keys()
