"""Nothing this room shows or raises holds a PIN, a PAN or a key."""

import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keys import usages
from keys.errors import KeysError
from keys.keytypes import KeyMode, KeyUsage
from keys.keystore import Keystore
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from keys.sensitive import Material, Pan, Pin
from keys.software import SoftwareHsm
from keys.vault import Vault
from tests.keys.samples import components

PAN = Pan("6013019753124683")
PIN, WEAK = Pin("805193"), Pin("627627")
KEY = bytes.fromhex("C1A5E7103B5D79F24E6A8C0FB3D19725")
MASTER = MasterKey(bytes(range(101, 133)))
PASSPHRASE = Passphrase("canary in a coal mine")
NIK = "1271014507908462"

SHORT = 8
SECRETS = [
    PAN.reveal(), PAN.reveal()[6:12], PIN.reveal(), WEAK.reveal(), KEY.hex(), KEY[:8].hex(), KEY[8:].hex(), repr(KEY)[2:-1],
    MASTER.reveal().hex(), repr(MASTER.reveal())[2:-1], PASSPHRASE.reveal(), NIK,
    *(part.hex() for part in components(KEY)),
]  # fmt: skip


def shown(folder: Path) -> Iterator[str]:
    """All that can be seen of an HSM at work and of everything in it going wrong."""
    path = folder / "store"
    hsm = SoftwareHsm.create(path, MASTER)
    pvk = hsm.form(KeyUsage.PIN_VERIFICATION_IBM, "pvk", components(KEY))
    zpk = hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk", mode=KeyMode.BOTH)
    vault = Vault(hsm, hsm.generate(KeyUsage.DATA_SEALING, "seal"), hsm.generate(KeyUsage.BLIND_INDEX, "index"))
    block, weak = hsm.encipher_pin(PIN, zpk, PAN), hsm.encipher_pin(WEAK, zpk, PAN)
    offset = hsm.choose_pin(block, zpk, pvk, PAN, None)
    sealed = vault.seal(NIK, table="family", row=1, column="nik")
    values = [
        PAN,
        PIN,
        WEAK,
        MASTER,
        PASSPHRASE,
        Material(KEY),
        hsm,
        pvk,
        zpk,
        hsm.keys(),
        hsm.kcv(pvk),
        vault,
        block,
        sealed,
    ]
    values += [Keystore.open(path, MASTER), Keystore.open(path, MASTER).load(), vault.index(NIK, "nik"), offset]
    for value in values:
        yield from (repr(value), str(value), f"{value}", f"{[value]}")
    yield path.read_text("ascii")
    failing: list[Callable[[], object]] = [
        lambda: Pan(PAN.reveal() + "x"),
        lambda: Pan(PAN.reveal()[:-1] + "0", luhn=True),
        lambda: Pin(PIN.reveal() + "x"),
        lambda: Pin(PIN.reveal() * 3),
        lambda: MasterKey(MASTER.reveal() + b"x"),
        lambda: hsm.choose_pin(weak, zpk, pvk, PAN, None),
        lambda: hsm.choose_pin(block[:7], zpk, pvk, PAN, None),
        lambda: hsm.change_pin(weak, block, zpk, pvk, PAN, offset, None),
        lambda: hsm.encipher_pin(PIN, pvk, PAN),
        lambda: hsm.form(KeyUsage.PIN_ENCRYPTION, "zpk", components(KEY)),
        lambda: hsm.form(KeyUsage.DATA_SEALING, "short", components(KEY)),
        lambda: hsm.form(KeyUsage.PIN_ENCRYPTION, "same", [KEY, KEY]),
        lambda: usages.combine([KEY]),
        lambda: vault.open(sealed, table="family", row=2, column="nik"),
        lambda: vault.open(sealed[:-1], table="family", row=1, column="nik"),
        lambda: vault.open(b"x" + sealed, table="family", row=1, column="nik"),
        lambda: Keystore.open(path, PASSPHRASE),
        lambda: Keystore.create(path, MASTER),
        lambda: Keystore.open(folder / "none", MASTER),
        lambda: create_master_key_file(path),
        lambda: read_master_key_file(path),
    ]
    for fails in failing:
        with pytest.raises(KeysError) as caught:
            fails()
        error = caught.value
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        yield "".join(traceback.format_exception(error))
    (folder / "garbage.key").write_bytes(MASTER.reveal().hex().encode("ascii") + b"zz")
    (folder / "garbage.key").chmod(0o600)
    with pytest.raises(KeysError) as garbage:
        read_master_key_file(folder / "garbage.key")
    yield "".join(traceback.format_exception(garbage.value))


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Every repr, text, file and traceback, looked through for every secret, letter case aside."""
    # Long random hex and addresses may hold any six digits by chance, so they are searched for the long secrets only.
    seen = [text.lower() for text in shown(tmp_path)]
    seen += [re.sub(r"0x[0-9a-f]+|[0-9a-f]{24,}", "", text) for text in seen]
    assert 200 < len(seen)
    whole = len(seen) // 2
    found = [
        (secret, text)
        for secret in SECRETS
        for text in (seen[whole:] if len(secret) <= SHORT else seen)
        if secret.lower() in text
    ]
    assert [] == found


def test_canaries_would_be_found(tmp_path: Path) -> None:
    """The search is no empty one: the masked forms it should meet are there."""
    seen = "".join(shown(tmp_path))
    assert "601301******4683" in seen
    assert "Pin(******)" in seen
    assert "KeyHandle(pvk" in seen
