"""Tests of gateway.operations.ceremony: each act, who may do it, and what the record says of it."""

from __future__ import annotations

import asyncio
import hmac
import json
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import ceremony
from gateway.operations.bank import transaction
from gateway.operations.refusals import write_refusals
from gateway.operations.setup import move_business_date
from gateway.store.audit import Operation
from keys import rsa_keys
from keys.errors import KeyRefused
from keys.keytypes import Algorithm, Exportability, KeyMode, KeySpec, KeyState, KeyUsage
from tests.gateway.rites import (
    BUDI,
    FIRST,
    RATNA,
    SECOND,
    SITI,
    ZMK,
    ZPK,
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


async def test_a_key_is_made_by_one_and_activated_by_another(bank: Bank) -> None:
    """It works from then on, not before. The record says who did what, with the check value and never the key."""
    made = await ceremony.generate(bank, f" {SITI} ", "zpk", ZPK)
    handle = bank.hsm.find("zpk")
    assert (KeyState.PRE_ACTIVE, "zpk#1") == (made.state, made.name)
    assert [] == bank.hsm.find_all("zpk")
    await refused(bank, "zpk#1: siti made it or brought it in; another", ceremony.activate(bank, SITI, "zpk#1", None))
    await refused(bank, "another person activates it", ceremony.activate(bank, f"{SITI}  ", "zpk", None))
    why = f"key zpk#1: {SITI} made it or brought it in; another person activates it"
    refusal = {"act": "activate", "overlap_days": None, "kcv": made.kcv.value, "reason": why}
    assert refusal == (await details(bank))[3] == (await details(bank))[5]
    works = await ceremony.activate(bank, BUDI, "zpk", None)
    assert (replace(made, state=KeyState.ACTIVE), [handle]) == (works, bank.hsm.find_all("zpk"))
    assert [
        ("begun", "generate", "zpk", SITI),
        ("done", "generate", "zpk#1", SITI),
        ("begun", "activate", "zpk#1", SITI),
        ("failed", "activate", "zpk#1", SITI),
        ("begun", "activate", "zpk#1", SITI),
        ("failed", "activate", "zpk#1", SITI),
        ("begun", "activate", "zpk#1", BUDI),
        ("done", "activate", "zpk#1", BUDI),
    ] == await told(bank)
    kcv = made.kcv.value
    header = {
        "act": "generate", "usage": "P0", "algorithm": "T", "bits": 192, "mode": "B", "exportability": "E", "kcv": kcv,
        "kcv_method": "TDES-ECB-0",
    }  # fmt: skip
    assert [{"act": "generate"}, header] == (await details(bank))[:2]
    assert [{"act": "activate", "overlap_days": None, "kcv": kcv}] * 2 == (await details(bank))[-2:]
    await assert_proved(bank)


async def test_a_name_is_one_however_it_is_written(bank: Bank) -> None:
    """Siti, SITI and s1t.i are one person, for whoever checks as for whoever enters components."""
    await ceremony.generate(bank, "Siti", "zpk", ZPK)
    await ceremony.enter_component(bank, "Siti", "zmk", ZMK, 1, 2, FIRST)
    for name in ("SITI", "sITI", "s1t.i", "sltl"):
        await refused(bank, "Siti made it or brought it in", ceremony.activate(bank, name, "zpk", None))
        await refused(bank, "nobody enters two", ceremony.enter_component(bank, name, "zmk", ZMK, 2, 2, SECOND))
    await ceremony.activate(bank, BUDI, "zpk", None)
    await ceremony.change_state(bank, "Budi", "retire", "zpk")
    await refused(bank, "Budi ended its life", ceremony.change_state(bank, BUDI, "destroy", "zpk"))


async def test_only_a_new_key_is_activated_and_only_a_suspended_one_resumed(bank: Bank) -> None:
    """Or the maker of a key could let it work alone, by calling it resumed."""
    await ceremony.generate(bank, SITI, "zpk", ZPK)
    await refused(bank, "zpk#1: is PRE_ACTIVE: only a suspended", ceremony.change_state(bank, SITI, "resume", "zpk#1"))
    await refused(bank, "only a suspended", ceremony.change_state(bank, BUDI, "resume", "zpk#1"))
    await ceremony.activate(bank, BUDI, "zpk", None)
    await refused(bank, "zpk#1: is ACTIVE: only a new key", ceremony.activate(bank, RATNA, "zpk", None))
    await ceremony.change_state(bank, SITI, "suspend", "zpk")
    await refused(bank, "is SUSPENDED: only a new key", ceremony.activate(bank, RATNA, "zpk", None))
    await ceremony.change_state(bank, SITI, "resume", "zpk")
    assert KeyState.ACTIVE is bank.hsm.info(bank.hsm.find("zpk")).state


async def test_a_key_whose_maker_is_not_on_record_works_for_nobody(bank: Bank) -> None:
    """Made past the ceremony, or cut off before it was told: whoever activates it might be who made it."""
    bank.hsm.generate(replace(ZPK, state=KeyState.PRE_ACTIVE), "zpk")
    for actor in (SITI, BUDI):
        await refused(
            bank, "does not say who made it or brought it in, so nobody", ceremony.activate(bank, actor, "zpk", 1)
        )
    gone = await ceremony.change_state(bank, SITI, "destroy", "zpk#1")
    assert KeyState.DESTROYED is gone.state


async def test_a_key_goes_out_and_comes_in(bank: Bank) -> None:
    """In a block under a ZMK; what comes in waits for another person, as what is made here does."""
    await new_zmk(bank)
    sent = await new_zpk(bank)
    block = await ceremony.export_block(bank, SITI, "zpk", "zmk")
    taken = await ceremony.import_block(bank, BUDI, "zpk-partner", block, "zmk#1", None)
    assert (sent.kcv, KeyState.PRE_ACTIVE, "zpk-partner#1") == (taken.kcv, taken.state, taken.name)
    await refused(bank, "budi made it or brought it in", ceremony.activate(bank, BUDI, "zpk-partner", None))
    await ceremony.activate(bank, SITI, "zpk-partner", None)
    export, taking = [one for one in await details(bank) if one["act"] in ("export", "import")][1::2]
    assert {"act": "export", "under": "zmk#1", "kcv": sent.kcv.value} == export
    assert ("zmk#1", sent.kcv.value) == (taking["under"], taking["kcv"])
    assert block not in json.dumps(await details(bank))


async def test_a_block_is_passed_on(bank: Bank) -> None:
    """Under another ZMK, recorded with its header and nothing else of it; no key is kept. A block that is none is refused."""
    await new_zmk(bank)
    sent = await new_zpk(bank)
    await ceremony.generate(bank, SITI, "zmk-other", ZMK)
    await ceremony.activate(bank, BUDI, "zmk-other", None)
    block = await ceremony.export_block(bank, SITI, "zpk", "zmk")
    before = bank.hsm.keys()
    passed = await ceremony.rewrap_block(bank, BUDI, block, "zmk", "zmk-other#1")
    assert before == bank.hsm.keys()
    assert [("begun", "rewrap", "zmk#1", BUDI), ("done", "rewrap", "zmk#1", BUDI)] == (await told(bank))[-2:]
    assert {"act": "rewrap", "to": "zmk-other#1", "header": block[:16]} == (await details(bank))[-1]
    assert passed[16:] not in json.dumps(await details(bank))
    taken = await ceremony.import_block(bank, BUDI, "passed", passed, "zmk-other", None)
    assert sent.kcv == taken.kcv
    await refused(bank, "not authentic", ceremony.rewrap_block(bank, BUDI, passed, "zmk", "zmk-other"))
    await refused(bank, "may not do WRAP_KEY", ceremony.rewrap_block(bank, BUDI, block, "zmk", "zpk"))


async def test_a_block_under_another_zmk_is_refused(bank: Bank) -> None:
    """Under the wrong ZMK, changed, or of a key that may be none: recorded, and no key comes of it."""
    await new_zmk(bank)
    await new_zmk(bank, "zmk-other", FIRST[::-1])
    await new_zpk(bank)
    block = await ceremony.export_block(bank, SITI, "zpk", "zmk")
    take = ceremony.import_block
    await refused(bank, "not authentic|MAC", take(bank, SITI, "new", block, "zmk-other", None))
    flipped = block[:-1] + ("0" if block[-1] != "0" else "1")
    for text, why in ((flipped, "not authentic|MAC"), (block[:-2], "length"), ("", "."), ("\u00e9" * 40, ".")):
        await refused(bank, why, take(bank, SITI, "new", text, "zmk", None))
    await refused(bank, ".", take(bank, SITI, "new", block, "zmk", KeySpec(KeyUsage.MAC_RETAIL)))
    await refused(bank, "key label", take(bank, SITI, "no label", block, "zmk", None))
    known = bank.hsm.keys()
    assert "new" not in {info.label for info in known}
    with pytest.raises(Refused, match="no key 'none'"):
        await take(bank, SITI, "new", block, "none", None)


async def test_a_key_that_is_no_zmk_protects_nothing(bank: Bank) -> None:
    """A ZPK in its place: refused, in the ceremony's record and among the refused uses."""
    await new_zmk(bank)
    await new_zpk(bank)
    block = await ceremony.export_block(bank, SITI, "zpk", "zmk")
    assert 0 == await write_refusals(bank)
    await refused(bank, "may not do UNWRAP_KEY", ceremony.import_block(bank, SITI, "new", block, "zpk", None))
    await refused(bank, "may not do WRAP_KEY", ceremony.export_block(bank, SITI, "zpk", "zpk"))
    assert 2 == await write_refusals(bank)
    assert [("refused", "", "zpk#1", "hsm")] * 2 == (await told(bank))[-2:]


async def test_what_does_not_leave(bank: Bank) -> None:
    """A key that is not exportable, one that does not work yet, one that no longer does."""
    await new_zmk(bank)
    made = await ceremony.generate(bank, SITI, "zpk", ZPK)
    await refused(bank, "it is PRE_ACTIVE", ceremony.export_block(bank, BUDI, "zpk", "zmk"))
    await ceremony.activate(bank, BUDI, made.name, None)
    await ceremony.change_state(bank, SITI, "retire", "zpk")
    await refused(bank, "it is DEACTIVATED", ceremony.export_block(bank, BUDI, "zpk", "zmk"))
    for label in ("audit", "pin-verification", "vault-sealing", "vault-index", "zmk"):
        await refused(bank, "exportable|may not do LEAVE", ceremony.export_block(bank, SITI, label, "zmk"))


async def test_rsa_keys(bank: Bank) -> None:
    """Ours to sign, a partner's public one; activated by another person; what is no key is refused in one line."""
    der = rsa_keys.make(2048)
    spec = KeySpec(KeyUsage.SIGNATURE)
    ours = await ceremony.import_signing_key(bank, SITI, "snap", der, spec)
    theirs = await ceremony.import_signing_key(bank, SITI, "snap-partner", rsa_keys.public_pem(der).encode(), spec)
    assert (Algorithm.RSA, KeyMode.SIGN, KeyMode.VERIFY) == (ours.algorithm, ours.mode, theirs.mode)
    with pytest.raises(KeyRefused, match="PRE_ACTIVE"):
        bank.hsm.sign(bank.hsm.find("snap"), b"data")
    await refused(bank, "siti made it or brought it in", ceremony.activate(bank, SITI, "snap", None))
    for name in ("snap", "snap-partner"):
        await ceremony.activate(bank, BUDI, name, None)
    signature = bank.hsm.sign(bank.hsm.find("snap"), b"data")
    assert bank.hsm.verify_signature(bank.hsm.find("snap-partner"), b"data", signature)
    for rubbish in (b"", b"rubbish", der[:100], b"-----BEGIN CERTIFICATE-----"):
        await refused(bank, ".", ceremony.import_signing_key(bank, SITI, "snap", rubbish, spec))
    assert rsa_keys.public_pem(der) not in json.dumps(await details(bank))


async def test_partners_secrets(bank: Bank) -> None:
    """One to verify a partner, one to sign for him; activated by another person; weak ones are refused, none is written."""
    secret = b"an invented client secret"
    spec = KeySpec(KeyUsage.MAC_HMAC)
    theirs = await ceremony.import_secret(bank, SITI, "snap-partner", secret, spec)
    ours = await ceremony.import_secret(bank, SITI, "snap-ours", secret, replace(spec, mode=KeyMode.GENERATE))
    assert (KeyMode.VERIFY, KeyMode.GENERATE) == (theirs.mode, ours.mode)
    await refused(bank, "siti made it or brought it in", ceremony.activate(bank, SITI, "snap-partner", None))
    for name in ("snap-partner", "snap-ours"):
        await ceremony.activate(bank, BUDI, name, None)
    code = bank.hsm.mac(bank.hsm.find("snap-ours"), b"data")
    assert hmac.digest(secret, b"data", "sha512") == code
    assert bank.hsm.verify_mac(bank.hsm.find("snap-partner"), b"data", code)
    await refused(bank, "16 to 1024", ceremony.import_secret(bank, SITI, "snap-partner", secret[:15], spec))
    await refused(bank, "the bank's own", ceremony.import_secret(bank, SITI, "audit", secret, spec))
    written = json.dumps(await details(bank))
    assert secret.decode() not in written
    assert secret.hex() not in written


async def test_a_public_key_goes_to_a_partner(bank: Bank) -> None:
    """Recorded with its check value; what has no public half, or is at its end, is refused and recorded too."""
    made = await ceremony.generate(bank, SITI, "snap", KeySpec(KeyUsage.SIGNATURE))
    pem = await ceremony.export_public(bank, BUDI, "snap")
    assert bank.hsm.public_key(bank.hsm.find("snap")) == pem.encode()
    acts = [(one["act"], one["kcv"]) for one in await details(bank) if one.get("act") == "export-public"]
    assert [("export-public", str(made.kcv))] * 2 == acts  # its beginning and its end
    await refused(bank, "may not do SHOW_PUBLIC", ceremony.export_public(bank, BUDI, "vault-index"))
    await ceremony.activate(bank, BUDI, "snap", None)
    await ceremony.change_state(bank, SITI, "retire", "snap")
    await refused(bank, "it is DEACTIVATED", ceremony.export_public(bank, BUDI, "snap"))


async def test_rotation_with_overlap(bank: Bank) -> None:
    """The next version is of the same kind; both work until the end of the old one's last day, a business date; then one."""
    await move_business_date(bank, "ops", bank.business_date)
    await new_zpk(bank)
    second = await ceremony.rotate(bank, SITI, "zpk")
    assert ("zpk#2", KeyState.PRE_ACTIVE, 192, KeyMode.BOTH, Exportability.EXPORTABLE) == (
        second.name, second.state, second.bits, second.mode, second.exportability,
    )  # fmt: skip
    assert 1 == bank.hsm.find("zpk").version
    await ceremony.activate(bank, BUDI, "zpk#2", 2)
    last_day = bank.business_date + timedelta(days=2)
    old, new = bank.hsm.version("zpk", 1), bank.hsm.version("zpk", 2)
    assert (last_day, None) == (bank.hsm.info(old).active_to, bank.hsm.info(new).active_to)
    for days, working in ((0, [2, 1]), (1, [2, 1]), (2, [2, 1]), (3, [2]), (30, [2])):
        await move_business_date(bank, "ops", last_day + timedelta(days=days - 2))
        assert working == [key.version for key in bank.hsm.find_all("zpk")]
    assert 2 == (await details(bank))[-1]["overlap_days"]


async def test_overlaps_end_as_first_said(bank: Bank) -> None:
    """A third version does not prolong the first; it shortens what would end later; a suspended one ends too."""
    await new_zpk(bank)
    for number, days in ((2, 3), (3, 30), (4, 1)):
        await ceremony.rotate(bank, SITI, "zpk")
        if number == 4:
            await ceremony.change_state(bank, RATNA, "suspend", "zpk#2")
        await ceremony.activate(bank, BUDI, f"zpk#{number}", days)
        ends = [bank.hsm.info(key).active_to for key in reversed(bank.hsm.versions("zpk"))]
        left = [None if end is None else (end - bank.business_date).days for end in ends]
        assert {2: [3, None], 3: [3, 30, None], 4: [1, 1, 1, None]}[number] == left
    await ceremony.rotate(bank, SITI, "zpk")
    await ceremony.activate(bank, BUDI, "zpk#5", None)
    assert None is bank.hsm.info(bank.hsm.version("zpk", 4)).active_to


async def test_an_old_version_that_is_activated_late_ends_no_newer_one(bank: Bank) -> None:
    """Versions are numbered as they were made, and an overlap ends what is older."""
    for _ in range(3):
        await ceremony.generate(bank, SITI, "zpk", ZPK)
    await ceremony.activate(bank, BUDI, "zpk#3", None)
    await ceremony.activate(bank, BUDI, "zpk#2", 0)
    infos = [bank.hsm.info(key) for key in bank.hsm.versions("zpk")]
    assert [(KeyState.ACTIVE, None), (KeyState.ACTIVE, None), (KeyState.PRE_ACTIVE, None)] == [
        (info.state, info.active_to) for info in infos
    ]


async def test_an_overlap_begins_when_the_new_key_does(bank: Bank) -> None:
    """One that works from a day to come: until then, and the days of the overlap, the old one goes on."""
    await new_zpk(bank)
    first_day = bank.business_date + timedelta(days=10)
    await ceremony.generate(bank, SITI, "zpk", replace(ZPK, active_from=first_day))
    await ceremony.activate(bank, BUDI, "zpk#2", 2)
    assert first_day + timedelta(days=2) == bank.hsm.info(bank.hsm.version("zpk", 1)).active_to
    for days, working in ((0, [1]), (9, [1]), (10, [2, 1]), (12, [2, 1]), (13, [2])):
        await move_business_date(bank, "ops", first_day + timedelta(days=days - 10))
        assert working == [key.version for key in bank.hsm.find_all("zpk")]


async def test_a_key_that_would_never_work_is_not_activated(bank: Bank) -> None:
    """Its last day is over; the one before goes on. One whose first day is the last there is ends nothing before."""
    await new_zpk(bank)
    yesterday = bank.business_date - timedelta(days=1)
    await ceremony.generate(bank, SITI, "zpk", replace(ZPK, active_to=yesterday))
    await refused(bank, f"zpk#2: its last day was {yesterday}", ceremony.activate(bank, BUDI, "zpk#2", 0))
    await ceremony.generate(bank, SITI, "zpk", replace(ZPK, active_from=date.max))
    await ceremony.activate(bank, BUDI, "zpk#3", 90)
    assert [1] == [key.version for key in bank.hsm.find_all("zpk")]
    await ceremony.generate(bank, SITI, "zpk", replace(ZPK, active_to=bank.business_date))
    await ceremony.activate(bank, BUDI, "zpk#4", None)
    assert [4, 1] == [key.version for key in bank.hsm.find_all("zpk")]


@pytest.mark.parametrize(("act", "killed"), [("retire", "compromise"), ("compromise", "compromise")])
async def test_an_ending_that_was_cut_off_takes_nobodys_place(bank: Bank, act: str, killed: str) -> None:
    """Whoever ended a key's life does not destroy it after another person's attempt; nor does that other person."""
    made = await new_zpk(bank)
    await ceremony.change_state(bank, SITI, act, made.name)
    async with transaction(bank, BUDI) as tx:
        await tx.record(Operation.KEY_BEGUN, made.name, act=killed)
    for actor in (SITI, BUDI):
        await refused(bank, f"{actor} ended its life", ceremony.change_state(bank, actor, "destroy", made.name))
    await ceremony.change_state(bank, RATNA, "destroy", made.name)


async def test_what_a_partner_makes_is_not_rotated(bank: Bank) -> None:
    """His secret, of whatever length, and his public key: the next version comes from him. Our own keys are."""
    for length in (25, 64):
        label = f"secret-{length}"
        await ceremony.import_secret(bank, SITI, label, bytes(range(length)), KeySpec(KeyUsage.MAC_HMAC))
        await ceremony.activate(bank, BUDI, label, None)
        await refused(bank, f"{label}#1: the partner makes", ceremony.rotate(bank, SITI, label))
    public = rsa_keys.public_pem(rsa_keys.make(2048)).encode()
    await ceremony.import_signing_key(bank, SITI, "snap-partner", public, KeySpec(KeyUsage.SIGNATURE))
    await refused(bank, "snap-partner#1: the partner makes", ceremony.rotate(bank, SITI, "snap-partner"))
    await ceremony.generate(bank, SITI, "ours", KeySpec(KeyUsage.MAC_HMAC))
    assert "ours#2" == (await ceremony.rotate(bank, SITI, "ours")).name


@pytest.mark.parametrize("days", [-1, 91])
async def test_an_overlap_has_bounds(bank: Bank, days: int) -> None:
    """0 to 90 days; nothing is begun."""
    await ceremony.generate(bank, SITI, "zpk", ZPK)
    with pytest.raises(Refused, match="is 0 to 90 days"):
        await ceremony.activate(bank, BUDI, "zpk", days)
    assert 2 == len(await told(bank))
    await ceremony.activate(bank, BUDI, "zpk", 0 if days < 0 else 90)


async def test_two_processes_at_once(bank: Bank, bank_settings: Settings) -> None:
    """Both make a key of one label: two versions, both on record, both known to both."""
    async with open_bank(bank_settings) as other:
        made = await asyncio.gather(*[ceremony.generate(one, SITI, "zpk", ZPK) for one in (bank, other, bank, other)])
        assert [1, 2, 3, 4] == sorted(info.version for info in made)
        for one in (bank, other):
            one.hsm.refresh()
        assert bank.hsm.keys() == other.hsm.keys()
    assert 8 == len(await told(bank))
    await assert_proved(bank)


@pytest.mark.parametrize("actor", ["", "  ", "x" * 61, "si\nti"])
async def test_nobody_is_no_one(bank: Bank, actor: str) -> None:
    """Without a name that the record can hold nothing is done to any key."""
    before = bank.hsm.keys()
    for act in (
        ceremony.generate(bank, actor, "zpk", ZPK),
        ceremony.enter_component(bank, actor, "zmk", ZMK, 1, 2, FIRST),
        ceremony.rotate(bank, actor, "audit"),
        ceremony.change_state(bank, actor, "suspend", "pin-verification"),
        ceremony.rotate_master(bank, actor),
    ):
        with pytest.raises(Refused, match="a custodian's name has 1 to 60"):
            await act
    assert (before, [], []) == (bank.hsm.keys(), bank.hsm.components(), await told(bank))


@pytest.mark.parametrize(
    "key",
    [
        "none",
        "zpk#2",
        "zpk#",
        "zpk#x",
        "zpk#1#1",
        "",
        "#1",
        "zpk#-1",
        "zpk#1.0",
        "zpk# 1",
        "zpk#+1",
        "zpk#1_0",
        "zpk#\u0661",
        "zpk#01",
        "zpk#" + "1" * 5000,
    ],
)
async def test_keys_are_named_by_label_and_version(bank: Bank, key: str) -> None:
    """What is not there, or no name, is one line and begins nothing."""
    made = await ceremony.generate(bank, SITI, "zpk", ZPK)
    assert bank.hsm.version("zpk", 1) is ceremony.found(bank, "zpk") is ceremony.found(bank, made.name)
    for act in (
        ceremony.activate(bank, BUDI, key, None), ceremony.change_state(bank, BUDI, "destroy", key),
        ceremony.export_block(bank, BUDI, key, "zpk"), ceremony.import_block(bank, BUDI, "a", "", key, None),
        ceremony.rewrap_block(bank, BUDI, "", key, "zpk"), ceremony.rewrap_block(bank, BUDI, "", "zpk", key),
    ):  # fmt: skip
        with pytest.raises(Refused, match=r"there is no key|is not LABEL or LABEL#VERSION"):
            await act
    assert 2 == len(await told(bank))


@pytest.mark.parametrize("actor", ["budi\u034f", "\uff42udi", "bud\u0456", "budi  b", "'budi"])
async def test_names_that_look_like_others_are_refused(bank: Bank, actor: str) -> None:
    """A reader of the record must see two people as two, and one as one."""
    made = await ceremony.generate(bank, SITI, "zpk", ZPK)
    with pytest.raises(Refused, match="a custodian's name has"):
        await ceremony.activate(bank, actor, made.name, None)
    assert KeyState.PRE_ACTIVE is bank.hsm.info(bank.hsm.find("zpk")).state
    assert KeyState.ACTIVE is (await ceremony.activate(bank, "budi a. santoso", made.name, None)).state
