"""Tests of gateway.operations.custody: where the keys are, how a new keystore comes to be, and the whole bank on a token."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway import clock
from gateway.app import open_bank, open_keystore
from gateway.errors import GatewayError, Refused
from gateway.operations.custody import BANK_KEYS, bank_keys, custody_of, open_vault, take_up_keys
from gateway.operations.setup import move_business_date
from gateway.settings import load_settings
from keys.errors import KeyRefused, KeysError, KeystoreError
from keys.keytypes import KeySpec, KeyState, KeyUsage
from keys.master import create_master_key_file, read_master_key_file, write_secret_file
from keys.master_ceremony import MasterComponent, enter_master_component
from keys.software import SoftwareHsm
from tests.gateway.rites import FIRST, SECOND
from tests.keys.softhsm import MODULE, needs_token

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.custody import Custody
    from gateway.settings import Settings
    from keys.hsm import Hsm
    from keys.keytypes import KeyInfo

ROOT = Path(__file__).resolve().parents[3]
PASSPHRASE = "correct horse battery staple"
TOKEN_OPTIONS = {"module": "module.so", "token": "bank", "pin_file": "pin"}


@pytest.fixture
def custody(tmp_path: Path) -> Custody:
    """Of a bank that was never opened."""
    return custody_of(load_settings(data_dir=tmp_path / "var"))


def elsewhere(custody: Custody, **paths: Path) -> Custody:
    """The same with other paths."""
    return replace(custody, place=replace(custody.place, **paths))  # type: ignore[arg-type]


def known(hsm: Hsm) -> list[KeyInfo]:
    """All its keys."""
    return hsm.keys()


def names(custody: Custody) -> set[str]:
    """What is in the folder of keys, locks aside."""
    return {path.name for path in custody.place.keystore.parent.iterdir() if path.suffix != ".lock"}


def test_a_worker_opens_the_same_vault(bank: Bank) -> None:
    """What the bank sealed a worker opens, and both find a NIK under the same index."""
    vault = open_vault(custody_of(bank.settings))
    sealed = bank.vault.seal("text", table="t", row=1, column="c")
    assert "text" == vault.open(sealed, table="t", row=1, column="c")
    assert bank.vault.index("1", "nik") == vault.index("1", "nik")


def test_the_master_key_may_be_elsewhere(bank: Bank, tmp_path: Path) -> None:
    """Its setting is obeyed; a keystore that is not there is an error."""
    moved = bank.settings.model_copy(update={"master_key_file": tmp_path / "other.key"})
    assert tmp_path / "other.key" == custody_of(moved).place.master_key
    with pytest.raises(KeysError):
        open_vault(elsewhere(custody_of(bank.settings), keystore=tmp_path / "none.json"))


def test_a_new_keystore(custody: Custody) -> None:
    """All of the bank's own keys, active and not to leave, in a folder that is its owner's; nothing else is left there."""
    custody.create()
    hsm = custody.open()
    found = {info.label: (info.usage, info.state, info.exportability.value) for info in known(hsm)}
    assert {label: (usage, KeyState.ACTIVE, "N") for label, usage in BANK_KEYS.items()} == found
    assert {"keystore.json", "master.key"} == names(custody)
    assert 0o700 == custody.place.keystore.parent.stat().st_mode & 0o777
    keystore, master = custody.place.keystore.read_bytes(), custody.place.master_key.read_bytes()
    custody.create()
    assert (keystore, master) == (custody.place.keystore.read_bytes(), custody.place.master_key.read_bytes())


@pytest.mark.parametrize("made", range(4))
def test_a_start_that_is_cut_off_leaves_no_half_keystore(
    custody: Custody, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    """After so many keys: there is no keystore, and the next start makes one with all of them."""
    left = [made]
    generate = SoftwareHsm.generate

    def cut(hsm: SoftwareHsm, spec: KeySpec | KeyUsage, label: str) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return generate(hsm, spec, label)

    with monkeypatch.context() as patched:
        patched.setattr(SoftwareHsm, "generate", cut)
        with pytest.raises(KeyboardInterrupt):
            custody.create()
    assert not custody.place.keystore.exists()
    custody.create()
    assert {*BANK_KEYS} == {info.label for info in known(custody.open())}
    assert {"keystore.json", "master.key"} == names(custody)


def test_two_first_starts_at_once(custody: Custody) -> None:
    """One makes the keystore and the master key, the others find them: all have the same keys."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: custody.create(), range(4)))
        found = list(pool.map(lambda _: [info.kcv for info in known(custody.open())], range(4)))
    assert [found[0]] * 4 == found
    assert len(BANK_KEYS) == len(found[0])


def test_components_of_a_master_key_are_waited_for(custody: Custody) -> None:
    """A bank whose custodians have begun does not get a random master key meanwhile."""
    custody.place.keystore.parent.mkdir(parents=True)
    enter_master_component(custody.place.master_key, MasterComponent(1, 2, "siti", FIRST))
    with pytest.raises(KeystoreError, match="1 components of the master key wait for others: `kks keys init`"):
        custody.create()
    assert (False, False) == (custody.place.master_key.exists(), custody.place.keystore.exists())
    enter_master_component(custody.place.master_key, MasterComponent(2, 2, "budi", SECOND))
    custody.create()
    assert (
        bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
        == read_master_key_file(custody.place.master_key).reveal()
    )
    assert custody.open().keys()


def test_a_passphrase(custody: Custody, tmp_path: Path) -> None:
    """In a file that its owner alone may read; no master key file is made beside it."""
    spoken = elsewhere(custody, passphrase=tmp_path / "passphrase")
    with pytest.raises(KeystoreError, match="passphrase: cannot be read"):
        spoken.create()
    assert not spoken.place.keystore.exists()
    write_secret_file(tmp_path / "passphrase", "passphrase file", PASSPHRASE)
    spoken.create()
    assert {*BANK_KEYS} == {info.label for info in known(spoken.open())}
    assert {"keystore.json"} == names(spoken)
    (tmp_path / "passphrase").chmod(0o644)
    with pytest.raises(KeystoreError, match="passphrase: mode must be 0600"):
        spoken.open()
    create_master_key_file(custody.place.master_key)
    with pytest.raises(KeystoreError, match="another kind of master key"):
        custody.open()


def test_a_master_key_that_is_there_is_used(custody: Custody, tmp_path: Path) -> None:
    """On another disk, made before: not overwritten."""
    moved = elsewhere(custody, master_key=tmp_path / "elsewhere.key")
    key = create_master_key_file(tmp_path / "elsewhere.key")
    moved.create()
    assert moved.open().keys()
    assert key == read_master_key_file(tmp_path / "elsewhere.key")
    assert {"keystore.json"} == names(moved)
    with pytest.raises(KeystoreError, match="cannot be read"):
        custody.open()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file in its place is one line."""
    (tmp_path / "var").write_text("")
    with pytest.raises(Refused, match=r"cannot make .*: Not a directory"):
        custody_of(load_settings(data_dir=tmp_path / "var")).create()


@pytest.mark.parametrize("setting", ["data_dir", "master_key_file", "master_passphrase_file"])
def test_a_path_that_leads_nowhere(tmp_path: Path, setting: str) -> None:
    """Links in a circle, a name that no file system takes: one line that names the setting."""
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    for path in (tmp_path / "one", tmp_path / ("x" * 300)):
        with pytest.raises(Refused, match=f"^KKS_{setting.upper()}: leads nowhere") as caught:
            custody_of(load_settings(**{setting: path}))
        assert "\n" not in str(caught.value)


def test_every_opening_tests_itself(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cipher that computes wrongly is seen before anything is done with it."""
    custody.create()
    monkeypatch.setattr(SoftwareHsm, "self_test", lambda _: (_ for _ in ()).throw(KeystoreError("vector")))
    with pytest.raises(KeystoreError, match="vector"):
        custody.open()


async def test_keys_begin_and_end_by_the_business_date(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jakarta's day, or the day the bank was moved to; not the day in London, which begins seven hours later."""
    today = bank.business_date
    key = bank.hsm.generate(KeySpec(KeyUsage.MAC_CMAC, active_from=today, active_to=today), "link")
    assert today == bank.hsm.info(key).created
    for days, working in ((0, True), (1, False), (0, True)):
        bank.moved_date = today + timedelta(days=days)
        assert working is ([key] == bank.hsm.find_all("link"))
    bank.moved_date = None
    monkeypatch.setattr(clock, "jakarta_today", lambda: today + timedelta(days=1))
    assert [] == bank.hsm.find_all("link")
    monkeypatch.undo()
    await move_business_date(bank, "ops", today + timedelta(days=1))
    with pytest.raises(KeyRefused, match="it is DEACTIVATED"):
        bank.hsm.mac(key, b"data")
    assert today + timedelta(days=1) == bank.hsm.info(bank.hsm.generate(KeyUsage.MAC_CMAC, "link")).created


def test_a_worker_goes_by_jakarta(custody: Custody) -> None:
    """Who has no bank open takes Jakarta's day."""
    custody.create()
    hsm = custody.open()
    assert clock.jakarta_today() == hsm.info(hsm.find("audit")).created
    day = date(2027, 1, 1)
    made = custody.open(today=lambda: day).generate(KeyUsage.MAC_CMAC, "link")
    assert 1 == made.version
    assert [day] == [info.created for info in known(custody.open()) if info.label == "link"]


def test_take_up_keys(bank: Bank, bank_settings: Settings) -> None:
    """Newest audit and sealing keys to work with; older audit keys to verify, unless they are lost or gone."""
    other = open_keystore(bank_settings)
    assert not take_up_keys(bank)
    for label, usage in (("audit", KeyUsage.MAC_HMAC), ("vault-sealing", KeyUsage.DATA_SEALING)):
        other.generate(usage, label)
    other.generate(KeySpec(KeyUsage.MAC_HMAC, state=KeyState.PRE_ACTIVE), "audit")
    assert take_up_keys(bank)
    assert (2, [1], 2, 1) == (
        bank.keys.audit.version, [key.version for key in bank.keys.audit_before], bank.vault.sealing_key.version,
        bank.keys.pin_verification.version,
    )  # fmt: skip
    for state, before in ((KeyState.DEACTIVATED, [1]), (KeyState.COMPROMISED, [])):
        other.set_state(other.version("audit", 1), state)
        assert take_up_keys(bank)
        assert before == [key.version for key in bank.keys.audit_before]
    assert bank_keys(bank.hsm) == bank.keys


def test_take_up_versions_of_the_pin_key(bank: Bank, bank_settings: Settings) -> None:
    """The newest that works, to choose PINs under; of what may be asked by number those that wait are no part."""
    other = open_keystore(bank_settings)
    first = bank.keys.pin_verification
    assert {1: first} == bank.keys.pin_versions
    waiting = other.generate(KeySpec(KeyUsage.PIN_VERIFICATION_IBM, state=KeyState.PRE_ACTIVE), "pin-verification")
    assert take_up_keys(bank)
    assert (first, {1: first}) == (bank.keys.pin_verification, bank.keys.pin_versions)
    other.set_state(waiting, KeyState.ACTIVE)
    assert take_up_keys(bank)
    second = bank.hsm.version("pin-verification", 2)
    assert (second, {1: first, 2: second}) == (bank.keys.pin_verification, bank.keys.pin_versions)
    for state, expected in (
        (KeyState.SUSPENDED, first), (KeyState.ACTIVE, first), (KeyState.DEACTIVATED, None), (KeyState.COMPROMISED, None),
        (KeyState.DESTROYED, None),
    ):  # fmt: skip
        other.set_state(other.version("pin-verification", 1), state)
        assert take_up_keys(bank)
        assert (second, {1: expected, 2: second}) == (bank.keys.pin_verification, bank.keys.pin_versions)


@pytest.mark.parametrize("missing", list(TOKEN_OPTIONS))
def test_a_token_is_wholly_named_or_refused(tmp_path: Path, missing: str) -> None:
    """Module, label and PIN file: one line names what lacks, or is not known."""
    named = {name: value for name, value in TOKEN_OPTIONS.items() if name != missing}
    for options, why in (
        (named, rf"lacks the options {missing} \("),
        (TOKEN_OPTIONS | {"slot": "1"}, "has no option slot"),
    ):
        with pytest.raises(Refused, match=f"KKS_KEY_OPTIONS: key back end pkcs11: {why}"):
            custody_of(load_settings(data_dir=tmp_path, key_backend="pkcs11", key_options=options))
    whole = custody_of(load_settings(data_dir=tmp_path, key_backend="pkcs11", key_options=TOKEN_OPTIONS))
    assert ("pkcs11", TOKEN_OPTIONS) == (whole.backend, whole.place.options)
    with pytest.raises(Refused, match="key back end software: has no option module"):
        custody_of(load_settings(data_dir=tmp_path, key_options={"module": "module.so"}))


def test_options_come_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One variable each."""
    monkeypatch.setenv("KKS_KEY_BACKEND", "pkcs11")
    for name, value in TOKEN_OPTIONS.items():
        monkeypatch.setenv(f"KKS_KEY_OPTIONS__{name.upper()}", value)
    assert TOKEN_OPTIONS == custody_of(load_settings(data_dir=tmp_path)).place.options


@pytest.mark.parametrize("name", ["payshield", "aes", "Software", "../software", ""])
def test_a_back_end_that_is_none(tmp_path: Path, name: str) -> None:
    """One line, before anything is made."""
    with pytest.raises(Refused, match="there is no key back end"):
        custody_of(load_settings(data_dir=tmp_path, key_backend=name))
    assert [] == list(tmp_path.iterdir())


async def test_a_module_or_pin_that_is_none(bank_settings: Settings, tmp_path: Path) -> None:
    """A library that does not load, a PIN file that is not there: the bank does not open, in one line, and has no keystore."""
    options = {"module": str(tmp_path / "none.so"), "token": "bank", "pin_file": str(tmp_path / "pin")}
    settings = bank_settings.model_copy(update={"key_backend": "pkcs11", "key_options": options})
    for why in ("token PIN file .*pin: cannot be read", "token bank: module does not load"):
        with pytest.raises(GatewayError, match=why) as caught:
            async with open_bank(settings):
                pass
        assert "\n" not in str(caught.value)
        assert not custody_of(settings).place.keystore.exists()
        if not (tmp_path / "pin").exists():
            write_secret_file(tmp_path / "pin", "PIN", "1234")


BANK_ON_A_TOKEN = """
    import asyncio, json, os, subprocess, sys
    from contextlib import closing
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.operations import ceremony, reseal
    from gateway.errors import Refused
    from gateway.operations.custody import custody_of, open_vault, take_up_keys
    from gateway.operations.noted_acts import notes_path, set_up_token
    from gateway.operations.refusals import write_refusals
    from gateway.settings import load_settings
    from keys.errors import KeyRefused, KeysError, KeystoreError, TokenError
    from keys.keytypes import KeySpec, KeyUsage
    from keys.pkcs11 import Pkcs11Hsm, Token, read_secret_file
    from keys.sensitive import Pin
    from tests.gateway.street import assert_proved, open_street

    async def main(url, folder, module, label):
        folder = Path(folder)
        settings = load_settings(
            database_url=url, data_dir=folder / "var", key_backend="pkcs11", iso_port=0, http_port=0, log_level="error",
            key_options={"module": module, "token": label, "pin_file": str(folder / "user.pin")},
        )
        custody, told, officer = custody_of(settings), {}, ["--officer-pin-file", str(folder / "officer.pin")]
        (folder / "user.pin").rename(folder / "away.pin")
        try:
            custody.kind.set_up(custody.place, folder / "officer.pin", 1)
        except KeysError as error:
            told["no user"] = str(error).replace(str(folder), "")
        (folder / "away.pin").rename(folder / "user.pin")
        with closing(Token(Path(module), label, read_secret_file(folder / "officer.pin", "PIN"), officer=True)) as half:
            Pkcs11Hsm.set_up_master(half)  # nothing was made before; and this was cut off
        set_up_token(custody, "ratna", folder / "officer.pin", 1)
        try:
            custody.kind.set_up(custody.place, folder / "wrong.pin", 1)
        except TokenError as error:
            told["wrong officer"] = str(error)
        try:
            set_up_token(custody, "siti", folder / "officer.pin", 1)
        except Refused as error:
            told["twice"] = str(error)
        async with open_bank(settings) as bank:
            told["back end"] = type(bank.hsm).__name__
            told["keys"] = sorted(info.name for info in bank.hsm.keys())
            async with open_street(bank, folder, families=2) as street:
                card = street.wallet.cards[0]
                told["paid"] = (await street.atm.withdraw(card, 100_000)).code
                told["wrong PIN"] = (await street.atm.withdraw(card, 100_000, Pin("314159"))).code
                await ceremony.rotate(bank, "siti", "vault-sealing")
                await ceremony.activate(bank, "budi", "vault-sealing#2", None)
                await ceremony.rotate(bank, "siti", "audit")
                await ceremony.activate(bank, "budi", "audit#2", 0)
                told["resealed"] = (await reseal.reseal(bank, "ratna")).whole
                told["after"] = (await street.shop.purchase(card, 50_000)).code
            zmk = KeySpec(KeyUsage.KEY_BLOCK_PROTECTION)
            await ceremony.enter_component(bank, "siti", "zmk", zmk, 1, 2, bytes(range(32)))
            told["command"] = subprocess.run(
                [sys.executable, "-m", "gateway", "keys", "token-init", "--number", "2", *officer, "--as", "ratna"],
                check=True, capture_output=True, text=True, env={
                    **os.environ, "KKS_DATABASE_URL": url, "KKS_DATA_DIR": str(folder / "var"), "KKS_KEY_BACKEND": "pkcs11",
                    "KKS_KEY_OPTIONS__MODULE": module, "KKS_KEY_OPTIONS__TOKEN": label,
                    "KKS_KEY_OPTIONS__PIN_FILE": str(folder / "user.pin"),
                },
            ).stdout
            told["noted"] = notes_path(custody.place.keystore).exists()
            try:
                await ceremony.rotate_master(bank, "ratna", 2)
            except Refused as error:
                told["alone"] = str(error)
            told["rewrapped"] = await ceremony.rotate_master(bank, "siti", 2)
            await ceremony.enter_component(bank, "budi", "zmk", zmk, 2, 2, bytes(range(100, 132)))
            told["head"] = json.loads(custody.place.keystore.read_text())["head"]["master"]
            try:
                bank.hsm.mac(bank.hsm.find("vault-sealing"), b"data")
            except KeyRefused:
                told["refused"] = await write_refusals(bank)
            await assert_proved(bank)
            sealed = bank.vault.seal("text", table="t", row=1, column="c")
        vault = open_vault(custody)
        told["worker"] = vault.open(sealed, table="t", row=1, column="c")
        async with open_bank(settings) as again:
            told["again"] = len(again.hsm.keys())
            acts = await ceremony.record_of(again, None, None)
            told["record"] = [[act.operation, act.key, act.actor] for act in acts if act.detail.get("act") == "token-init"]
            await assert_proved(again)
        print(json.dumps(told))

    asyncio.run(main(*sys.argv[1:]))
"""


@needs_token
def test_the_whole_bankon_a_token(database_url: str, tmp_path: Path) -> None:
    """Token set up, PINs chosen and checked, money paid, keys and master key rotated: only a setting differs."""
    told = on_a_token(BANK_ON_A_TOKEN, database_url, tmp_path)
    assert "Pkcs11Hsm" == told["back end"]
    assert sorted(f"{label}#1" for label in BANK_KEYS) == told["keys"]
    assert ["00", "55", "00"] == [told[name] for name in ("paid", "wrong PIN", "after")]
    assert (True, 13, 2, 1, "text", 14) == (
        told["resealed"], told["rewrapped"], told["head"], told["refused"], told["worker"], told["again"],
    )  # fmt: skip
    assert "CKR_PIN_INCORRECT" in str(told["wrong officer"])
    assert "token PIN file /user.pin: cannot be read (No such file or directory)" == told["no user"]
    assert "kks-master-1" in str(told["twice"])
    assert "Master key 2 is made in the token.\n" == told["command"]
    assert "key master key#2: ratna made it; another person puts a keystore under it" == told["alone"]
    assert told["noted"] is False
    assert [
        ["key.begun", "master key#1", "ratna"], ["key.done", "master key#1", "ratna"],
        ["key.begun", "master key#1", "siti"], ["key.failed", "master key#1", "siti"],
        ["key.begun", "master key#2", "ratna"], ["key.done", "master key#2", "ratna"],
    ] == told["record"]  # fmt: skip


def on_a_token(script: str, url: str, folder: Path) -> dict[str, object]:
    """Run SCRIPT in a process of its own, with a token of its own: SoftHSM reads where they are when it is loaded."""
    assert MODULE is not None
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    for name, pin in (("user", "user-pin-1234"), ("officer", "officer-pin-1234"), ("wrong", "wrong-pin-1234")):
        write_secret_file(folder / f"{name}.pin", "PIN", pin)
    environment = {
        **os.environ, "SOFTHSM2_CONF": str(conf), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    util = shutil.which("softhsm2-util")
    assert util is not None
    words = ["--init-token", "--free", "--label", "bank", "--pin", "user-pin-1234", "--so-pin", "officer-pin-1234"]
    subprocess.run([util, *words], env=environment, check=True, capture_output=True)  # noqa: S603 - the tool of the path
    child = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", textwrap.dedent(script), url, str(folder), str(MODULE), "bank"],
        env=environment, check=False, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert 0 == child.returncode, child.stderr
    found: dict[str, object] = json.loads(child.stdout.splitlines()[-1])
    return found
