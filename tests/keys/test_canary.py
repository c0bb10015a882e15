"""Nothing this room shows, raises, logs or writes holds a PIN, a PAN, a key, a component or a passphrase: in either back end.

The test of the line itself, over the same room, is test_requirement_03 here.
"""

import hashlib
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PyKCS11 import LowLevel

from keys import emv, pkcs11, tdes, usages
from keys import token_objects as objects
from keys.cvv import CardValue
from keys.emv_profile import profiles
from keys.envelope import MasterEnvelope
from keys.errors import KeysError
from keys.hsm import Dukpt, PinToVerify
from keys.keystore import Component, Keystore
from keys.keytypes import Exportability, KeyHandle, KeyMode, KeySpec, KeyState, KeyUsage
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from keys.pinblock import PinFormat
from keys.pkcs11 import Pkcs11Hsm, TokenEnvelope
from keys.sensitive import Material, Pan, Pin
from keys.software import SoftwareHsm
from keys.token import Object, Token
from keys.token_workshop import TokenKey
from keys.vault import Vault
from tests.keys import softhsm
from tests.keys.at_work import COMMAND, TAGS
from tests.keys.samples import TODAY, rsa_private

if TYPE_CHECKING:
    from keys.toolbox import Refusal

PAN = Pan("6013019753124683")
# Twelve digits: six stand by chance in a number or a hex text now and then.
PIN, WEAK = Pin("805193274610"), Pin("627627627627")
KEY = bytes.fromhex("C1A5E7103B5D79F24E6A8C0FB3D19725")
KBPK = bytes.fromhex("9D27F3186CB44E0AA35BD8E2710F964C35C8F1027EA96D4BB01D58E3F627948A")
PARTS = [bytes.fromhex("7E13A9D5406BC8F23D915EA70BC4F682"), bytes.fromhex("D35F08B17AC62E94E1487D3B60F5A91C")]
MASTER = MasterKey(bytes(range(101, 133)))
PASSPHRASE = Passphrase("canary in a coal mine")
NIK = "1271014507908462"
NSICCS = profiles()["nsiccs"]


def components(key: bytes) -> list[bytes]:
    """Two components that form KEY, of bytes that stand nowhere else."""
    mask = hashlib.shake_256(b"canary").digest(len(key))
    return [mask, bytes(one ^ other for one, other in zip(mask, key, strict=True))]


def card_keys() -> list[bytes]:
    """The card's own key and that of the transaction of TAGS, with which its cryptogram is verified: both come of KEY."""
    card = tdes.encipherer(KEY)(NSICCS.master_data(PAN))
    return [card, tdes.encipherer(card)(emv.session_data(NSICCS.read(TAGS).r or b""))]


SHORT = 8
_KEYS = [
    KEY, KBPK, MASTER.reveal(), rsa_private()[-48:], *card_keys(), *PARTS, *components(KEY), *components(KBPK),
]  # fmt: skip
SECRETS = [
    PAN.reveal(), PAN.reveal()[4:14], PIN.reveal(), WEAK.reveal(), PASSPHRASE.reveal(), NIK,
    softhsm.USER.reveal(), softhsm.OFFICER.reveal(),
    *(key.hex() for key in _KEYS), *(key[at : at + 8].hex() for key in _KEYS for at in range(0, len(key), 8)),
    *(repr(key)[2:-1] for key in _KEYS),
]  # fmt: skip


class Room:
    """An HSM at work over a keystore, with everything in it that could leak."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder, self.path, self.backend = folder, folder / "store", backend
        self.refusals: list[Refusal] = []
        self.token = softhsm.shared_token() if backend == "pkcs11" else None
        self.hsm = self._created()
        hsm = self.hsm
        long = replace(usages.USAGES[KeyUsage.PIN_VERIFICATION_IBM].attributes, check_length=len(PIN.reveal()))
        self.pvk = hsm.form(KeySpec(KeyUsage.PIN_VERIFICATION_IBM, attributes=long), "pvk", components(KEY))
        leaves = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH, exportability=Exportability.EXPORTABLE)
        self.zpk = hsm.form(leaves, "zpk", components(KEY))
        self.kbpk = hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "kbpk", components(KBPK))
        self.bdk = hsm.form(KeyUsage.BASE_DERIVATION, "bdk", components(KEY))
        self.cvk = hsm.form(KeyUsage.CARD_VERIFICATION, "cvk", components(KEY))
        self.imk = hsm.form(KeyUsage.ISSUER_CRYPTOGRAM, "imk", components(KEY))
        self.script = hsm.form(KeyUsage.ISSUER_SCRIPT_MAC, "smi", components(KEY))
        self.mak = hsm.form(KeyUsage.MAC_RETAIL, "mak", components(KEY))
        self.sign = hsm.import_signing_key("snap", rsa_private())
        self.vault = Vault(
            hsm, [hsm.generate(KeyUsage.DATA_SEALING, "seal")], hsm.generate(KeyUsage.BLIND_INDEX, "index")
        )
        self.waiting = Component("zmk", 1, 3, "siti", TODAY, "")
        hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, self.waiting, PARTS[0])
        self.block, self.weak = hsm.encipher_pin(PIN, self.zpk, PAN), hsm.encipher_pin(WEAK, self.zpk, PAN)
        self.offset = hsm.choose_pin(self.block, self.zpk, self.pvk, PAN, None)
        self.sealed = self.vault.seal(NIK, table="family", row=1, column="nik")
        self.exported = hsm.export_block(self.zpk, self.kbpk)

    def _created(self) -> SoftwareHsm | Pkcs11Hsm:
        if self.token is None:
            return SoftwareHsm.create(self.path, MASTER, today=lambda: TODAY, on_refusal=self.refusals.append)
        return Pkcs11Hsm.create(self.path, self.token, today=lambda: TODAY, on_refusal=self.refusals.append)

    def asked(self, block: bytes, key: KeyHandle | Dukpt | None = None) -> PinToVerify:
        """A PIN block of the card."""
        return PinToVerify(block, key or self.zpk, PAN, self.offset)

    def kept(self) -> list[object]:
        """The keystore as the back end has it open, and the first key of it as it lies in memory."""
        if self.token is None:
            software = Keystore.open(self.path, lambda head: MasterEnvelope.for_head(MASTER, head))
            return [software, vars(software), *software.load()[0], MasterEnvelope(MASTER)]
        token = self.token
        store = Keystore.open(self.path, lambda head: TokenEnvelope.for_head(token, head))
        envelope = TokenEnvelope(token, 1)
        return [
            store,
            vars(store),
            *store.load()[0],
            *store.load()[1],
            envelope,
            vars(envelope),
            token,
            vars(token),
            *self.held(),
        ]

    def held(self) -> list[Object]:
        """The token's objects that stand for the keys here."""
        raw = [known.raw for known in self.hsm._tools._known.values()]
        return [one for key in raw if isinstance(key, TokenKey) for one in (key.main, key.companion) if one is not None]

    def values(self) -> list[object]:
        """Whatever somebody may print or log."""
        hsm = self.hsm
        return [
            PAN, PIN, WEAK, MASTER, PASSPHRASE, Material(KEY), hsm, vars(hsm), self.pvk, self.zpk, hsm.keys(),
            hsm.kcv(self.pvk), self.vault, vars(self.vault), self.block, self.sealed, self.offset, self.exported,
            self.asked(self.block), hsm.random_pin(self.zpk, self.pvk, PAN), Dukpt(self.bdk, bytes(10)),
            hsm.components(), self.waiting, *self.kept(), softhsm.USER, softhsm.OFFICER,
            self.vault.index(NIK, "nik"), hsm.sign(self.sign, NIK.encode()), hsm.mac(Dukpt(self.bdk, KSN), b"data"),
            hsm.card_value(CardValue.CVV2, self.cvk, PAN, "2912"), self.refusals, vars(hsm._tools), hsm._tools.infos(),
            hsm.verify_cryptogram(NSICCS, self.imk, PAN, "00", TAGS, b"00"), hsm.mac(self.mak, PAN.reveal().encode()),
            hsm.script_mac(NSICCS, self.script, PAN, "00", TAGS, COMMAND),
        ]  # fmt: skip

    def failing(self) -> list[Callable[[], object]]:
        """Everything going wrong that may go wrong with a secret at hand."""
        own = self._failing_in_software() if self.token is None else self._failing_in_a_token(self.token)
        return [*self._failing_values(), *self._failing_uses(), *self._failing_keys(), *own]

    def _failing_values(self) -> list[Callable[[], object]]:
        return [
            lambda: Pan(PAN.reveal() + "x"),
            lambda: Pan(PAN.reveal()[:-1] + "0", luhn=True),
            lambda: Pin(PIN.reveal() + "x"),
            lambda: Pin(PIN.reveal() * 3),
            lambda: MasterKey(MASTER.reveal() + b"x"),
            lambda: Passphrase(PASSPHRASE.reveal()[:8]),
            lambda: Passphrase(PASSPHRASE.reveal() + "\udc80"),
            lambda: usages.combine([KEY]),
            lambda: usages.check_key(replace(self.hsm.info(self.zpk), bits=192), Material(KEY)),
            lambda: usages.check_key(self.hsm.info(self.zpk), Material(KEY[::-1])),
            lambda: create_master_key_file(self.path),
            lambda: read_master_key_file(self.path),
            *(lambda text=text: read_master_key_file(_file(self.folder, text)) for text in _damaged_master_keys()),
        ]

    def _failing_uses(self) -> list[Callable[[], object]]:
        hsm, vault, tags = self.hsm, self.vault, {**TAGS, "9F36": b""}
        return [
            lambda: hsm.choose_pin(self.weak, self.zpk, self.pvk, PAN, None),
            lambda: hsm.choose_pin(self.block[:7], self.zpk, self.pvk, PAN, None),
            lambda: hsm.change_pin(self.asked(self.weak), self.block, self.pvk, None),
            lambda: hsm.change_pin(self.asked(self.block), self.weak, self.pvk, None),
            lambda: hsm.encipher_pin(PIN, self.pvk, PAN),
            lambda: hsm.encipher_pin(PIN, self.zpk, PAN, PinFormat.ISO_4),
            lambda: hsm.encipher_pin(PIN, Dukpt(self.bdk, b"x"), PAN),
            lambda: hsm.verify_pin(self.asked(self.block, self.pvk), self.pvk),
            lambda: hsm.translate_pin(self.weak[::-1], self.zpk, self.zpk, PAN, (PinFormat.ISO_0, PinFormat.ISO_3)),
            lambda: hsm.translate_pin(self.weak, self.zpk, self.zpk, PAN, (PinFormat.ISO_0, PinFormat.ISO_1)),
            lambda: hsm.card_value(CardValue.CVV1, self.cvk, PAN, "2913", "201"),
            lambda: hsm.card_value(CardValue.CVV2, self.pvk, PAN, "2912"),
            lambda: hsm.verify_cryptogram(NSICCS, self.imk, PAN, "00", tags, b"00"),
            lambda: hsm.verify_cryptogram(NSICCS, self.imk, PAN, "00", TAGS, PIN.reveal().encode()),
            lambda: hsm.verify_cryptogram(NSICCS, self.script, PAN, "00", TAGS, b"00"),
            lambda: hsm.script_mac(NSICCS, self.imk, PAN, "00", TAGS, COMMAND + KEY),
            lambda: hsm.mac(self.zpk, PAN.reveal().encode()),
            lambda: hsm.blind_index(self.mak, NIK.encode()),
            lambda: vault.open(self.sealed, table="family", row=2, column="nik"),
            lambda: vault.open(self.sealed[:-1], table="family", row=1, column="nik"),
            lambda: vault.open(b"x" + self.sealed, table="family", row=1, column="nik"),
        ]

    def _failing_keys(self) -> list[Callable[[], object]]:
        hsm, part = self.hsm, self.waiting._replace
        return [
            lambda: hsm.form(KeyUsage.DATA_SEALING, "short", components(KEY)),
            lambda: hsm.form(KeyUsage.MAC_HMAC, "pvk", [KBPK, KBPK[::-1]]),
            lambda: hsm.form(KeyUsage.PIN_ENCRYPTION, "same", [KEY, KEY]),
            lambda: hsm.form(KeyUsage.PIN_ENCRYPTION, "bad label", components(KEY)),
            lambda: hsm.form(KeyUsage.PIN_ENCRYPTION, "weak", [KEY, KEY[:8] + KEY[:8]]),
            lambda: hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(), PARTS[1]),
            lambda: hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(number=2), PARTS[1]),
            lambda: hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(number=2, custodian="x"), KBPK),
            lambda: hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(number=9), PARTS[1]),
            lambda: hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(number=2), PARTS[1][:7]),
            lambda: hsm.import_block(
                "came", self.exported[:-1] + ("1" if self.exported[-1] == "0" else "0"), self.kbpk
            ),
            lambda: hsm.import_block("came", self.exported + KEY.hex(), self.kbpk),
            lambda: hsm.import_block("came", self.exported, self.zpk),
            lambda: hsm.import_block("came", self.exported, self.kbpk, KeySpec(KeyUsage.MAC_CMAC)),
            lambda: hsm.export_block(self.pvk, self.kbpk),
            lambda: hsm.import_signing_key("snap", rsa_private()[:-1]),
            lambda: hsm.import_signing_key("snap", b"-----BEGIN PRIVATE KEY-----\n" + KEY.hex().encode()),
            lambda: hsm.import_signing_key("snap", rsa_private(), KeySpec(KeyUsage.MAC_HMAC)),
            lambda: hsm.set_state(self.zpk, KeyState.DESTROYED),
            lambda: hsm.find(PAN.masked),
        ]

    def _failing_in_software(self) -> list[Callable[[], object]]:
        return [
            lambda: SoftwareHsm.open(self.path, PASSPHRASE),
            lambda: SoftwareHsm.open(self.path, MasterKey(MASTER.reveal()[::-1])),
            lambda: SoftwareHsm.create(self.path, MASTER),
            lambda: SoftwareHsm.open(self.folder / "none", MASTER),
        ]

    def _failing_in_a_token(self, token: Token) -> list[Callable[[], object]]:
        """The token is asked for its secrets too: by whoever is logged in to it as its user."""
        module, header = softhsm.module(), token.must_find(pkcs11.HEADER)
        return [
            lambda: Token(module, softhsm.OTHER_LABEL, PASSPHRASE),
            lambda: Token(module, softhsm.LABEL, PASSPHRASE),
            lambda: Token(module, PAN.masked, softhsm.USER),
            lambda: Token(self.path, softhsm.LABEL, softhsm.USER),
            lambda: Pkcs11Hsm.create(self.path, token),
            lambda: Pkcs11Hsm.create(self.folder / "none", token, master=9),
            lambda: Pkcs11Hsm.open(self.folder / "none", token),
            lambda: SoftwareHsm.open(self.path, MASTER),
            lambda: pkcs11.rewrap(self.path, token, 9),
            lambda: token.decrypt(header, KEY, objects.AES_ECB),
            *(lambda one=one: token.wrap(header, one, objects.KEY_WRAP) for one in self.held()),
        ]


KSN = bytes.fromhex("FFFF9876543210E00003")


def _damaged_master_keys() -> list[bytes]:
    """A key file that somebody edited: the rest of the key is still in it."""
    text = MASTER.reveal().hex().encode("ascii")
    return [text + b"zz", text[:-2], b"\xff" + text, text + b"\xff", MASTER.reveal(), PASSPHRASE.reveal().encode()]


def _file(folder: Path, text: bytes) -> Path:
    path = folder / "damaged.key"
    path.write_bytes(text)
    path.chmod(0o600)
    return path


def shown_by(error: BaseException) -> Iterator[str]:
    """All that can be seen of an error: its text, what it carries, how it is logged, and of what it came, hidden or not."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield "".join(traceback.format_exception(error))
    for beneath in (error.__cause__, error.__context__):
        if beneath is not None:
            yield from shown_by(beneath)


def shown(folder: Path, backend: str) -> Iterator[str]:
    """All that can be seen of an HSM at work and of everything in it going wrong."""
    room = Room(folder, backend)
    for fails in room.failing():
        with pytest.raises(KeysError) as caught:
            fails()
        yield from shown_by(caught.value)
    for value in room.values():
        yield from (repr(value), str(value), f"{value}", f"{[value]}", "%s" % (value,))  # noqa: UP031 - as loggers do
    (folder / "damaged.key").unlink()
    for path in sorted(folder.iterdir()):
        yield path.name
        yield path.read_text("ascii")


def test_requirement_03_no_secret_is_shown(
    lasting: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Canary PIN, PAN and keys stand in no log, exception, repr, traceback, refusal, output or file of keys/.

    Every one of them is looked through for every secret, letter case aside, in both back ends. Audit, metrics and the database
    are the bank's: tests/gateway/test_canary.py.
    """
    caplog.set_level(logging.DEBUG)
    # Long random hex and addresses may hold any six digits by chance, so they are searched for the long secrets only.
    seen = [text.lower() for text in shown(tmp_path, lasting)]
    seen += [caplog.text.lower(), *(text.lower() for text in capfd.readouterr())]
    whole = len(seen)
    assert 400 < whole
    seen += [re.sub(r"0x[0-9a-f]+|[0-9a-f]{24,}|\\x[0-9a-f]{2}[!-~]*", "", text) for text in seen]
    found = [
        (secret, text)
        for secret in SECRETS
        for text in (seen[whole:] if len(secret) <= SHORT else seen)
        if secret.lower() in text
    ]
    assert [] == found


@softhsm.needs_token
def test_requirement_03_a_token_keeps_and_tells_nothing_of_the_banks_keys(tmp_path: Path) -> None:
    """What was formed, taken in or made lives while the token is open: its user reads no value, and its files hold none."""
    room = Room(tmp_path, "pkcs11")
    assert room.token is not None
    assert 10 < len(room.held())
    values = [value for one in room.held() for value in room.token.attributes(one, HIDDEN)]
    assert {None} == set(values)
    folder = Path(os.environ["SOFTHSM2_CONF"]).parent / "tokens"
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert 4 < len(files)
    secrets = [piece for key in _KEYS for at in range(0, len(key) - 7, 8) for piece in _written(key[at : at + 8])]
    secrets += [piece for one in (PIN, PAN, PASSPHRASE, softhsm.USER) for piece in _written(one.reveal().encode())]
    assert [] == [secret for secret in secrets for content in files if secret in content]
    assert any(softhsm.LABEL.encode() in content for content in files)


HIDDEN = [LowLevel.CKA_VALUE, LowLevel.CKA_PRIVATE_EXPONENT, LowLevel.CKA_PRIME_1, LowLevel.CKA_PRIME_2]


def _written(secret: bytes) -> tuple[bytes, ...]:
    return secret, secret.hex().encode(), secret.hex().upper().encode()


def test_canaries_would_be_found(lasting: str, tmp_path: Path) -> None:
    """The search is no empty one: the masked forms it should meet are there, and a secret in an error is met."""
    seen = "".join(shown(tmp_path, lasting))
    expected = ["601301******4683", "Pin(******)", "Material(******)", "KeyHandle(pvk#1", "siti", "kks-keystore"]
    if lasting == "pkcs11":
        expected += ["TokenKey(", "CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_PIN_INCORRECT"]
    assert [] == [one for one in expected if one not in seen]
    error = KeysError("no more is said")
    error.__context__ = ValueError(KEY.hex())
    assert KEY.hex() in "".join(shown_by(error))


def test_nothing_is_written_beside_the_keystore(lasting: str, tmp_path: Path) -> None:
    """No scratch file, no dump: the keystore and its lock."""
    Room(tmp_path, lasting)
    assert ["store", "store.lock"] == sorted(path.name for path in tmp_path.iterdir())
