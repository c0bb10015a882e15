"""Tests of gateway.operations.ceremony: the bank's own keys, rotated while the bank lives on them, and its master key."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.errors import GatewayError, Refused
from gateway.operations import ceremony, proof, reseal
from gateway.operations.custody import BANK_KEYS, custody_of, take_up_keys
from gateway.operations.links import note_link_event
from gateway.operations.setup import move_business_date
from gateway.rules.authorise import RequestKind
from keys.errors import KeystoreError
from keys.keytypes import KeyMode, KeySpec, KeyState, KeyUsage
from keys.master import read_master_key_file
from tests.gateway.lived_in import all_opened, columns_under, live_in, vault_under
from tests.gateway.owner import as_owner
from tests.gateway.rites import BUDI, FIRST, RATNA, SECOND, SITI, ZPK, details, new_zmk, refused, told
from tests.gateway.street import assert_proved
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

AUDIT, PIN, SEALING, INDEX = "audit", "pin-verification", "vault-sealing", "vault-index"
UNDER = "SELECT count(*) FROM audit_event WHERE stream = 'operations'"


@pytest.fixture
async def renewed(bank: Bank) -> Bank:
    """A bank whose audit, sealing and PIN verification keys are in their second version, made and activated by two."""
    for label in (AUDIT, SEALING, PIN):
        await ceremony.rotate(bank, SITI, label)
        await ceremony.activate(bank, BUDI, f"{label}#2", None)
    return bank


async def test_one_version_for_good(bank: Bank) -> None:
    """Of the index key no other comes to be, by whatever act, and the one is not ended; stopped for a while it may be."""
    await new_zmk(bank)
    label = INDEX
    spec = KeySpec(BANK_KEYS[label])
    why = f"key {label}.*: has one version for good: "
    await refused(bank, why, ceremony.rotate(bank, SITI, label))
    await refused(bank, why, ceremony.generate(bank, SITI, label, spec))
    await refused(bank, why, ceremony.enter_component(bank, SITI, label, spec, 1, 2, FIRST))
    await refused(bank, why, ceremony.import_block(bank, SITI, label, "block", "zmk", None))
    await refused(bank, why, ceremony.import_signing_key(bank, SITI, label, b"key", KeySpec(KeyUsage.SIGNATURE)))
    for act in ("retire", "compromise", "destroy"):
        await refused(bank, why, ceremony.change_state(bank, SITI, act, label))
    for act, state in (("suspend", KeyState.SUSPENDED), ("resume", KeyState.ACTIVE)):
        assert state is (await ceremony.change_state(bank, SITI, act, label)).state
    assert [1] == [key.version for key in bank.hsm.versions(label)]
    await assert_proved(bank)


@pytest.mark.parametrize("label", [AUDIT, SEALING, PIN])
async def test_own_keys_come_of_rotation_alone(bank: Bank, label: str) -> None:
    """One of another mode or length, or one that somebody knows, could stop the bank or let its record be forged."""
    await new_zmk(bank)
    why = f"key {label}: is the bank's own: its next version is made by"
    weaker = KeySpec(BANK_KEYS[label], mode=KeyMode.ENCRYPT if label == SEALING else KeyMode.VERIFY)
    await refused(bank, why, ceremony.generate(bank, SITI, label, weaker))
    await refused(bank, why, ceremony.enter_component(bank, SITI, label, KeySpec(BANK_KEYS[label]), 1, 2, SECOND))
    await refused(bank, why, ceremony.import_block(bank, SITI, label, "block", "zmk", None))
    await refused(bank, why, ceremony.import_signing_key(bank, SITI, label, b"key", KeySpec(KeyUsage.SIGNATURE)))
    assert [1] == [key.version for key in bank.hsm.versions(label)]


@pytest.mark.parametrize(
    ("act", "key", "why"),
    [
        ("suspend", "audit", "the audit chain is verified with it"),
        ("retire", "audit", "the bank works with it: rotate it, and activate the new version, first"),
        ("compromise", "audit", "the audit chain is verified with it"),
        ("destroy", "audit", "the audit chain is verified with it"),
        ("suspend", "audit#1", "the audit chain is verified with it"),
        ("compromise", "audit#1", "the audit chain is verified with it"),
        ("destroy", "audit#1", "the audit chain is verified with it"),
        ("retire", "vault-sealing", "the bank works with it: rotate it"),
        ("compromise", "vault-sealing", "the bank works with it: rotate it"),
        ("destroy", "vault-sealing#2", "the bank works with it: rotate it"),
        ("retire", "pin-verification", "the bank works with it: rotate it"),
        ("compromise", "pin-verification#2", "the bank works with it: rotate it"),
        ("destroy", "pin-verification", "the bank works with it: rotate it"),
    ],
)
async def test_what_the_bank_cannot_live_without(renewed: Bank, act: str, key: str, why: str) -> None:
    """Whoever asks: refused, recorded, and the bank goes on writing its record and sealing."""
    before = renewed.hsm.keys()
    for actor in (SITI, BUDI, RATNA):
        await refused(renewed, why, ceremony.change_state(renewed, actor, act, key))
    assert before == renewed.hsm.keys()
    await note_link_event(renewed, "himbara", "sign-on")
    assert "text" == renewed.vault.open(
        renewed.vault.seal("text", table="t", row=1, column="c"), table="t", row=1, column="c"
    )
    await assert_proved(renewed)


async def test_a_new_version_that_never_worked_may_go(renewed: Bank) -> None:
    """Made by mistake: destroyed by one person, and nothing hangs on it."""
    for label in (AUDIT, SEALING, PIN):
        await ceremony.rotate(renewed, SITI, label)
        gone = await ceremony.change_state(renewed, SITI, "destroy", f"{label}#3")
        assert (KeyState.DESTROYED, 2) == (gone.state, renewed.hsm.find(label).version)
    await assert_proved(renewed)


@pytest.mark.parametrize("label", [SEALING, PIN])
async def test_nothing_ends_where_nothing_works(bank: Bank, label: str) -> None:
    """The one version is stopped, the next not yet active: which of them is the newest does not matter."""
    await ceremony.rotate(bank, SITI, label)
    await ceremony.change_state(bank, RATNA, "suspend", f"{label}#1")
    assert 2 == bank.hsm.find(label).version
    for act in ("retire", "compromise"):
        why = f"{label}#1: no version of it may work now: rotate it, and activate"
        await refused(bank, why, ceremony.change_state(bank, RATNA, act, f"{label}#1"))
    await ceremony.activate(bank, BUDI, f"{label}#2", None)
    assert KeyState.COMPROMISED is (await ceremony.change_state(bank, RATNA, "compromise", f"{label}#1")).state


async def test_the_pin_key_has_no_last_day(bank: Bank) -> None:
    """An older version ends when no card hangs on it: by a date it would lock out families. Refused before it works."""
    await ceremony.rotate(bank, SITI, PIN)
    for days in (0, 30):
        why = "pin-verification#2: an older version ends when no card's PIN hangs on it, and not by a date"
        await refused(bank, why, ceremony.activate(bank, BUDI, "pin-verification#2", days))
    assert (KeyState.PRE_ACTIVE, 1) == (bank.hsm.info(bank.hsm.version(PIN, 2)).state, bank.hsm.find(PIN).version)
    await refused(bank, "siti made it", ceremony.activate(bank, SITI, "pin-verification#2", None))
    await ceremony.activate(bank, BUDI, "pin-verification#2", None)
    assert [None, None] == [bank.hsm.info(key).active_to for key in bank.hsm.versions(PIN)]
    infos = [bank.hsm.info(key) for key in bank.hsm.versions(PIN)]
    assert infos[0].attributes == infos[1].attributes
    assert (infos[0].usage, infos[0].mode, infos[0].bits) == (infos[1].usage, infos[1].mode, infos[1].bits)
    assert infos[0].kcv != infos[1].kcv


async def test_the_audit_key_changes_and_the_chain_holds(bank: Bank, bank_settings: Settings, tmp_path: Path) -> None:
    """What was written before, on and after the change verifies: operations and authorisations, here and in a new process."""
    async with open_till(bank, tmp_path) as till:
        await till.ask(RequestKind.CASH, 50_000)
        await ceremony.rotate(bank, SITI, AUDIT)
        await ceremony.activate(bank, BUDI, "audit#2", 3)
        assert (2, [1]) == (bank.keys.audit.version, [key.version for key in bank.keys.audit_before])
        await till.ask(RequestKind.CASH, 50_000)
        await assert_proved(bank)
        await move_business_date(bank, "ops", bank.business_date + timedelta(days=4))
        assert [2] == [key.version for key in bank.hsm.find_all(AUDIT)]
        await assert_proved(bank)
        await ceremony.change_state(bank, SITI, "retire", "audit#1")
        await ceremony.rotate(bank, BUDI, AUDIT)
        await ceremony.activate(bank, SITI, "audit#3", None)
        await till.ask(RequestKind.CASH, 50_000)
        await assert_proved(bank)
    async with open_bank(bank_settings) as again:
        assert 3 == again.keys.audit.version
        await assert_proved(again)
        await as_owner(again, "UPDATE audit_event SET actor = 'nobody' WHERE stream = 'operations' AND seq = 2")
        broken = [check.detail for check in await proof.verify_audit(again) if not check.ok]
        assert ["event 2"] == [detail[:7] for detail in broken]


async def test_one_who_has_not_looked_yet_writes_on(bank: Bank, bank_settings: Settings) -> None:
    """A process that still writes with the old version while another has the new: one chain, and both find it whole."""
    async with open_bank(bank_settings) as other:
        await ceremony.rotate(bank, SITI, AUDIT)
        await ceremony.activate(bank, BUDI, "audit#2", None)
        await ceremony.change_state(bank, RATNA, "retire", "audit#1")
        assert 1 == other.keys.audit.version
        await note_link_event(other, "himbara", "sign-on")
        await assert_proved(bank)
        assert take_up_keys(other)
        assert not take_up_keys(other)
        assert 2 == other.keys.audit.version
        await note_link_event(other, "himbara", "sign-off")
        await assert_proved(other)
        await assert_proved(bank)


async def test_the_sealing_key_changes_and_the_old_one_goes(bank: Bank, tmp_path: Path) -> None:
    """Rotated, everything sealed anew, the old version retired by one and destroyed by another; not before nothing needs it."""
    await live_in(bank, tmp_path)
    before, old = await all_opened(bank, bank.vault), bank.hsm.find(SEALING)
    await ceremony.rotate(bank, SITI, SEALING)
    assert old is bank.vault.sealing_key
    await ceremony.activate(bank, BUDI, "vault-sealing#2", None)
    assert 2 == bank.vault.sealing_key.version
    await refused(bank, "vault-sealing#1: is ACTIVE and cannot become DESTROYED", _destroy(bank, BUDI))
    await ceremony.change_state(bank, SITI, "retire", "vault-sealing#1")
    assert before == await all_opened(bank, bank.vault)
    await refused(bank, "siti ended its life; another person destroys it", _destroy(bank, SITI))
    await refused(bank, r"vault-sealing#1 still seals \d+ values \(.*card.pan 6", _destroy(bank, BUDI))
    done = await reseal.reseal(bank, RATNA)
    assert (True, len(before)) == (done.whole, done.resealed.total())
    await _destroy(bank, BUDI)
    assert KeyState.DESTROYED is bank.hsm.info(old).state
    assert before == await all_opened(bank, vault_under(bank, bank.hsm.find(SEALING)))
    assert set() == await columns_under(bank, old)
    await assert_proved(bank)


async def test_a_compromised_sealing_key(renewed: Bank) -> None:
    """Still opens what it sealed, seals nothing more, and goes by another hand."""
    renewed.hsm.find(SEALING)
    old = vault_under(renewed, renewed.hsm.version(SEALING, 1))
    sealed = old.seal("text", table="t", row=1, column="c")
    await ceremony.change_state(renewed, SITI, "compromise", "vault-sealing#1")
    assert "text" == renewed.vault.open(sealed, table="t", row=1, column="c")
    await refused(renewed, "siti ended its life", _destroy(renewed, SITI))
    await _destroy(renewed, BUDI)
    assert [("done", "compromise", "vault-sealing#1", SITI), ("done", "destroy", "vault-sealing#1", BUDI)] == [
        one for one in await told(renewed) if one[0] == "done" and one[1] in ("compromise", "destroy")
    ]


async def test_two_people_for_a_destruction(bank: Bank) -> None:
    """Nobody who ended its life destroys it; one who was refused counts for nothing; nobody does what is not on record."""
    await ceremony.generate(bank, SITI, "zpk", ZPK)
    await ceremony.activate(bank, BUDI, "zpk", None)
    await refused(bank, "zpk#1: is ACTIVE and cannot become", ceremony.change_state(bank, SITI, "destroy", "zpk"))
    await ceremony.change_state(bank, SITI, "retire", "zpk")
    await refused(bank, "is DEACTIVATED and cannot", ceremony.change_state(bank, BUDI, "retire", "zpk"))
    await refused(bank, "siti ended its life", ceremony.change_state(bank, f" {SITI}", "destroy", "zpk"))
    await ceremony.change_state(bank, BUDI, "compromise", "zpk")
    for one in (SITI, BUDI):
        await refused(bank, f"{one} ended its life", ceremony.change_state(bank, one, "destroy", "zpk"))
    assert KeyState.DESTROYED is (await ceremony.change_state(bank, RATNA, "destroy", "zpk")).state
    for act in ("resume", "suspend", "retire", "destroy", "compromise"):
        await refused(bank, "DESTROYED|ended its life", ceremony.change_state(bank, BUDI, act, "zpk"))
    await refused(bank, "DESTROYED", ceremony.activate(bank, RATNA, "zpk", None))


async def test_an_end_that_is_not_on_record(bank: Bank) -> None:
    """Ended past the ceremony: marked as compromised by one, it can be destroyed by another."""
    bank.hsm.set_state(bank.hsm.generate(ZPK, "zpk"), KeyState.DEACTIVATED)
    await refused(
        bank, "does not say who ended its life, so nobody", ceremony.change_state(bank, SITI, "destroy", "zpk")
    )
    await ceremony.change_state(bank, SITI, "compromise", "zpk")
    await ceremony.change_state(bank, BUDI, "destroy", "zpk")


async def test_another_master_key(bank: Bank, bank_settings: Settings) -> None:
    """Who has the bank open goes on: with the keys it has, with changes of its own, with those of others."""
    custody = custody_of(bank_settings)
    old = read_master_key_file(custody.place.master_key)
    async with open_bank(bank_settings) as other:
        assert 4 == await ceremony.rotate_master(bank, SITI)
        assert old != read_master_key_file(custody.place.master_key)
        await ceremony.generate(other, SITI, "zpk", ZPK)
        await ceremony.rotate_master(other, BUDI)
        await ceremony.activate(bank, BUDI, "zpk", None)
        assert take_up_keys(other)
        assert bank.hsm.keys() == other.hsm.keys()
        await assert_proved(other)
    assert {"act": "rotate-master", "number": None, "keys": 4} == (await details(bank))[1]
    assert [("begun", "rotate-master", "master key", SITI), ("done", "rotate-master", "master key", SITI)] == (
        await told(bank)
    )[:2]
    async with open_bank(bank_settings) as again:
        assert bank.hsm.keys() == again.hsm.keys()


async def test_a_bank_that_made_its_keystore_follows_too(bank: Bank, bank_settings: Settings) -> None:
    """The first process of a new bank is no worse off than those that come later."""
    async with open_bank(bank_settings) as later:
        await ceremony.rotate_master(later, SITI)
        await ceremony.generate(later, SITI, "zpk", ZPK)
    assert take_up_keys(bank)
    assert 1 == bank.hsm.find("zpk").version
    assert "zpk#1" == (await ceremony.activate(bank, BUDI, "zpk", None)).name


async def test_other_master_keys_are_not_rotated_so(bank: Bank, tmp_path: Path) -> None:
    """A passphrase has no key file, a token wants a number; a master key file that does not open is recorded as refused."""
    settings = bank.settings
    bank.settings = settings.model_copy(update={"master_passphrase_file": tmp_path / "passphrase"})
    await refused(bank, "comes of a passphrase: the next one is", ceremony.rotate_master(bank, SITI))
    options = {"module": "none", "token": "t", "pin_file": "none"}
    token = {"key_backend": "pkcs11", "key_options": options}
    bank.settings = settings.model_copy(update=token)
    await refused(bank, "goes under master key --number N", ceremony.rotate_master(bank, SITI))
    bank.settings = settings.model_copy(update={"master_key_file": tmp_path / "none"})
    await refused(bank, "none: cannot be read", ceremony.rotate_master(bank, SITI))
    bank.settings = settings
    await refused(
        bank, "does not say who made it, so nobody puts a keystore under it", ceremony.rotate_master(bank, SITI, 2)
    )
    assert 4 == await ceremony.rotate_master(bank, SITI)


async def test_a_keystore_that_cannot_be_written(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a ceremony: refused, recorded, no key."""

    def full(*_: object, **__: object) -> None:
        raise KeystoreError("keystore: cannot be written (No space left on device)")

    with monkeypatch.context() as patched:
        patched.setattr("keys.keyfile.write", full)
        await refused(bank, "No space left", ceremony.generate(bank, SITI, "zpk", ZPK))
    with pytest.raises(Refused, match="no key 'zpk'"):
        ceremony.found(bank, "zpk")
    assert "zpk#1" == (await ceremony.generate(bank, SITI, "zpk", ZPK)).name


async def test_a_keystore_put_back_to_an_earlier_state(bank: Bank, bank_settings: Settings) -> None:
    """Each act tells how many changes the keystore has had: an older copy of the file is refused, open or opened anew."""
    path = custody_of(bank_settings).place.keystore
    older = path.read_bytes()
    await ceremony.generate(bank, SITI, "zpk", ZPK)
    before = path.read_bytes()
    await ceremony.activate(bank, BUDI, "zpk", None)
    newer = path.read_bytes()
    acts = await ceremony.record_of(bank, None, None)
    assert [5, 6] == [act.detail["serial"] for act in acts if act.operation == "key.done"]
    for text in (older, before):
        path.write_bytes(text)
        with pytest.raises(
            Refused, match=r"keystore is older than the audit chain: it has had \d changes.* has seen 6"
        ):
            await _open(bank_settings)
        with pytest.raises(Refused, match="was put back to an earlier state while it was open"):
            await ceremony.activate(bank, RATNA, "zpk", None)
    path.write_bytes(newer)
    await _open(bank_settings)
    await ceremony.rotate_master(bank, SITI)
    path.write_bytes(newer)
    with pytest.raises(GatewayError, match="the master key is another one"):
        await _open(bank_settings)


async def _open(settings: Settings) -> None:
    async with open_bank(settings):
        pass


async def _destroy(bank: Bank, actor: str) -> object:
    return await ceremony.change_state(bank, actor, "destroy", "vault-sealing#1")
