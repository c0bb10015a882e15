"""Tests of gateway.operations.ceremony: the master key that follows, by whom, and what the chain has seen of the keystore."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.operations import ceremony
from gateway.operations.bank import transaction
from gateway.operations.custody import custody_of, take_up_keys
from gateway.operations.noted_acts import token_key
from gateway.store.audit import Operation
from keys import kcv
from keys.backend import Backend
from keys.keytypes import KeyState
from keys.master import MasterKey, Passphrase, read_master_key_file, read_passphrase_file, write_passphrase_file
from keys.master_ceremony import MasterComponent
from keys.software import SoftwareBackend
from tests.gateway.rites import BUDI, FIRST, RATNA, SECOND, SITI, ZPK, assert_no_material, details, refused, told
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from keys.backend import Place

WHOLE = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))


def part(number: int, value: bytes, sheet: str = "", of: int = 2) -> MasterComponent:
    """One custodian's; whose it is the actor says."""
    return MasterComponent(number, of, "", value, sheet)


async def test_the_next_master_key_of_two_custodians(bank: Bank, bank_settings: Settings) -> None:
    """Each entry in the chain with its check value, the last with the whole and both names; who has it open follows."""
    async with open_bank(bank_settings) as other:
        first = await ceremony.enter_next_component(bank, SITI, part(1, FIRST))
        assert (None, None, str(kcv.of_aes(FIRST))) == (first.check_value, first.keys, first.component)
        await refused(bank, "nobody enters two", ceremony.enter_next_component(bank, f"{SITI} ", part(2, SECOND)))
        await refused(bank, "not as told", ceremony.enter_next_component(bank, BUDI, part(2, SECOND, "000000")))
        await refused(bank, "has 32 bytes", ceremony.enter_next_component(bank, BUDI, part(2, SECOND[:16])))
        await refused(bank, "components of the next master key wait", ceremony.rotate_master(bank, RATNA))
        last = await ceremony.enter_next_component(bank, BUDI, part(2, SECOND))
        assert (4, {1: SITI, 2: BUDI}) == (last.keys, last.custodians)
        assert MasterKey(WHOLE) == read_master_key_file(custody_of(bank_settings).place.master_key)
        assert take_up_keys(other)
    assert {("rotate-master", "master key")} == {(act, key) for _, act, key, _ in await told(bank)}
    found = await details(bank)
    assert {"act": "rotate-master", "component": 1, "of": 2, "kcv": str(kcv.of_aes(FIRST))} == found[0] == found[1]
    assert {
        "act": "rotate-master", "component": 2, "of": 2, "kcv": str(kcv.of_aes(SECOND)), "keys": 4,
        "custodians": {"1": SITI, "2": BUDI}, "formed": str(kcv.of_aes(WHOLE)),
    } == found[-1]  # fmt: skip
    await assert_no_material(bank)
    await assert_proved(bank)


async def test_components_of_a_next_master_key_are_thrown_away(bank: Bank) -> None:
    """By anybody, recorded; then a random one may come."""
    await ceremony.enter_next_component(bank, SITI, part(3, FIRST, of=3))
    assert (1, 0) == (
        await ceremony.forget_next_components(bank, BUDI), await ceremony.forget_next_components(bank, BUDI),
    )  # fmt: skip
    assert [1, 0] == [one["components"] for one in await details(bank) if "components" in one]
    assert ("done", "rotate-forget", "master key", BUDI) == (await told(bank))[-1]
    assert 4 == await ceremony.rotate_master(bank, SITI)


async def test_another_passphrase(database_url: str, bank_settings: Settings, tmp_path: Path) -> None:
    """Nothing of it is in the chain."""
    own, new = tmp_path / "own", tmp_path / "new"
    write_passphrase_file(own, Passphrase("correct horse battery"))
    write_passphrase_file(new, Passphrase("a passphrase of another year"))
    settings = bank_settings.model_copy(update={"master_passphrase_file": own, "data_dir": tmp_path / "spoken"})
    assert database_url
    async with open_bank(settings) as bank:
        await refused(bank, "it has no components", ceremony.enter_next_component(bank, SITI, part(1, FIRST)))
        assert 4 == await ceremony.rotate_passphrase(bank, SITI, new)
        assert {"act": "rotate-passphrase", "keys": 4} == (await details(bank))[-1]
        assert Passphrase("a passphrase of another year") == read_passphrase_file(own)
        await ceremony.generate(bank, SITI, "zpk", ZPK)
        none = ceremony.rotate_passphrase(bank, SITI, tmp_path / "none")
        await refused(bank, "none: cannot be read", none)
        await assert_proved(bank)
    async with open_bank(settings) as again:
        assert 5 == len(again.hsm.keys())


class Numbered(SoftwareBackend):
    """A device whose master keys have numbers, played by a file: what counts here is who."""

    def rotate_master(self, place: Place, number: int | None = None) -> int:
        """As the file does."""
        del number
        return super().rotate_master(place)


async def test_two_people_for_a_master_key_of_a_token(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who made number N does not put the keystore under it, nor who began to and was cut off; nobody where it is not told."""
    monkeypatch.setattr("keys.software.BACKEND", Numbered())
    monkeypatch.setattr(Backend, "set_up", lambda *_: None)
    await refused(bank, "master key#2: the record does not say who made it", ceremony.rotate_master(bank, SITI, 2))
    await _made(bank, SITI, 2, Operation.KEY_DONE)
    await _made(bank, BUDI, 2, Operation.KEY_FAILED)
    for actor in (SITI, " Siti "):
        await refused(
            bank, "siti made it; another person puts a keystore under it", ceremony.rotate_master(bank, actor, 2)
        )
    assert 4 == await ceremony.rotate_master(bank, BUDI, 2)
    await _made(bank, RATNA, 3, None)
    await refused(bank, "ratna made it", ceremony.rotate_master(bank, RATNA, 3))
    assert 4 == await ceremony.rotate_master(bank, SITI, 3)
    assert {"act": "rotate-master", "number": 3, "keys": 4} == (await details(bank))[-1]
    await _made(bank, RATNA, 4, Operation.KEY_DONE)
    await _made(bank, BUDI, 4, None)  # cut off: it may have done nothing, and takes nobody's place
    for actor in (RATNA, BUDI):
        await refused(bank, f"{actor} made it", ceremony.rotate_master(bank, actor, 4))
    assert 4 == await ceremony.rotate_master(bank, SITI, 4)


async def test_an_act_that_was_cut_off_is_seen_when_the_bank_is_opened(bank: Bank, bank_settings: Settings) -> None:
    """So that nobody puts the keystore back by just that change: until the next opening he could, from then on not."""
    path = custody_of(bank_settings).place.keystore
    await ceremony.generate(bank, SITI, "zpk", ZPK)
    await ceremony.activate(bank, BUDI, "zpk", None)
    before = path.read_bytes()
    bank.hsm.set_state(bank.hsm.find("zpk"), KeyState.COMPROMISED)  # as an act does whose end was never written
    async with open_bank(bank_settings) as again:
        assert ("seen", "seen", "keystore", "hsm") == (await told(again))[-1]
        acts = await ceremony.record_of(again, None, None)
        assert (6, 7) == (acts[-1].detail["seen"], acts[-1].detail["serial"])
    async with open_bank(bank_settings) as third:
        assert len(acts) == len(await told(third))
    path.write_bytes(before)
    with pytest.raises(Refused, match="it has had 6 changes, the chain has seen 7"):
        async with open_bank(bank_settings):
            pass


async def test_a_new_bank_has_nothing_to_compare(bank: Bank, bank_settings: Settings) -> None:
    """Before the first act nothing is noted of its keystore, however often it is opened."""
    async with open_bank(bank_settings) as again:
        assert [] == await told(again)
    assert [] == await told(bank)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_first_start_by_root_leaves_the_keys_to_the_service(bank_settings: Settings, tmp_path: Path) -> None:
    """The data folder is the service account's: so are the folder of keys and all that is in it, at once and after changes."""
    data = tmp_path / "of-the-service"
    data.mkdir()
    os.chown(data, 12_345, 12_346)
    settings = bank_settings.model_copy(update={"data_dir": data})
    async with open_bank(settings) as bank:
        await ceremony.generate(bank, SITI, "zpk", ZPK)
        await ceremony.enter_next_component(bank, SITI, part(1, FIRST))
    folder = custody_of(settings).place.keystore.parent
    found = {path: path.stat() for path in (folder, *folder.iterdir())}
    assert {(12_345, 12_346)} == {(one.st_uid, one.st_gid) for one in found.values()}
    assert {"keystore.json", "master.key", "master.key.next.component-1"} < {path.name for path in found}
    assert {0o600, 0o700} == {one.st_mode & 0o777 for one in found.values()}


async def _made(bank: Bank, actor: str, number: int, end: Operation | None) -> None:
    """What the record has of the officer's act."""
    for operation in (Operation.KEY_BEGUN, end):
        if operation is not None:
            async with transaction(bank, actor) as tx:
                await tx.record(operation, token_key(number), act="token-init")
