"""Where the bank's keys lie, how its HSM is opened, and the vault of a worker process.

The back end is a setting: keys in this process (software), or in a PKCS#11 token. A worker opens the bank's keystore by itself,
as every process of the bank does. So no key travels between processes: a worker is told where the keystore is and asks its HSM
like anyone else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import clock
from gateway.errors import Refused
from gateway.operations.bank import BankKeys
from keys import keyfile
from keys.errors import KeystoreError
from keys.keytypes import KeyMode, KeyState, KeyUsage
from keys.master import (
    create_master_key_file,
    read_master_key_file,
    read_passphrase_file,
    read_secret_file,
    sync_folder,
)
from keys.master_ceremony import master_components
from keys.rotation import master_key_of
from keys.software import SoftwareHsm
from keys.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.master import MasterKey, Passphrase
    from keys.pkcs11 import Pkcs11Hsm
    from keys.token import Token
    from keys.toolbox import Refusal

SEALING_LABEL, INDEX_LABEL, AUDIT_LABEL, PIN_LABEL = "vault-sealing", "vault-index", "audit", "pin-verification"

BANK_KEYS = {
    AUDIT_LABEL: KeyUsage.MAC_HMAC,
    PIN_LABEL: KeyUsage.PIN_VERIFICATION_IBM,
    SEALING_LABEL: KeyUsage.DATA_SEALING,
    INDEX_LABEL: KeyUsage.BLIND_INDEX,
}
"""The bank's own keys, by label: made with a new keystore, and used by every process of the bank."""

_VERIFIES = (KeyState.ACTIVE, KeyState.DEACTIVATED)


@dataclass(frozen=True, slots=True)
class Custody:
    """Where keystore and master key are: paths and names, no secret, so that a worker can be told. TOKEN: module, label, PIN."""

    keystore: Path
    master_key: Path
    passphrase: Path | None
    token: tuple[Path, str, Path] | None

    def open(
        self, on_refusal: Callable[[Refusal], None] | None = None, today: Callable[[], date] = clock.jakarta_today
    ) -> SoftwareHsm | Pkcs11Hsm:
        """The bank's HSM over a keystore that is there, after its self test. TODAY: the date by which keys begin and end.

        Raises KeysError where keystore, master key or token are not right.
        """
        hsm: SoftwareHsm | Pkcs11Hsm
        if self.token is not None:
            from keys.pkcs11 import Pkcs11Hsm  # noqa: PLC0415 - loaded only where there is a token

            hsm = Pkcs11Hsm.open(self.keystore, self.open_token(), today=today, on_refusal=on_refusal)
        else:
            hsm = SoftwareHsm.open(self.keystore, self.master, today=today, on_refusal=on_refusal)
        hsm.self_test()
        return hsm

    def create(self) -> None:
        """A new keystore with the bank's own keys, which never leave it. A master key file that is not there is made.

        The keystore is there with all of them or not at all, and once, whoever else does the same just now.
        """
        try:
            self.keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Refused(f"cannot make {self.keystore.parent}: {error.strerror}") from None
        with keyfile.locked(self.keystore):
            if self.keystore.exists():
                return
            first = self.keystore.with_name(f".{self.keystore.name}.first")
            first.unlink(missing_ok=True)  # of a start that was cut off
            hsm = self._new(first)
            for label, usage in BANK_KEYS.items():
                hsm.generate(usage, label)
            first.replace(self.keystore)
            sync_folder(self.keystore.parent)
            first.with_name(f"{first.name}.lock").unlink(missing_ok=True)

    def _new(self, keystore: Path) -> SoftwareHsm | Pkcs11Hsm:
        """Over an empty keystore."""
        if self.token is not None:
            from keys.pkcs11 import Pkcs11Hsm  # noqa: PLC0415 - as above

            return Pkcs11Hsm.create(keystore, self.open_token(), today=clock.jakarta_today)
        if self.passphrase is None and not self.master_key.exists():
            if waiting := master_components(self.master_key):
                raise Refused(f"{len(waiting)} components of the master key wait for others: `kks keys init`")
            create_master_key_file(self.master_key)
        return SoftwareHsm.create(keystore, self.master(), today=clock.jakarta_today)

    def master(self) -> MasterKey | Passphrase:
        """The master key of a software keystore."""
        if self.passphrase is not None:
            return read_passphrase_file(self.passphrase)
        if not self.keystore.exists():
            return read_master_key_file(self.master_key)
        return master_key_of(self.keystore, self.master_key)

    def set_up_token(self, officer_pin_file: Path, number: int) -> None:
        """Make master key NUMBER as the token's security officer, then what else the token needs as its user."""
        from keys.pkcs11 import Pkcs11Hsm  # noqa: PLC0415 - as above
        from keys.token import Token  # noqa: PLC0415 - as above

        if self.token is None:
            raise KeystoreError("this bank's keys are in no token (KKS_KEY_BACKEND)")
        module, label, _ = self.token
        officer = Token(module, label, read_secret_file(officer_pin_file, "officer PIN file"), officer=True)
        try:
            Pkcs11Hsm.set_up_master(officer, number)
        finally:
            officer.close()
        user = self.open_token()
        try:
            Pkcs11Hsm.set_up(user)
        finally:
            user.close()

    def open_token(self) -> Token:
        """The token of a PKCS#11 keystore, logged in."""
        from keys.token import Token  # noqa: PLC0415 - as above

        if self.token is None:
            raise KeystoreError("this bank's keys are in no token (KKS_KEY_BACKEND)")
        module, label, pin_file = self.token
        return Token(module, label, read_secret_file(pin_file, "token PIN file"))


def custody_of(settings: Settings) -> Custody:
    """Where the settings say that the keys are. Raises Refused where a token is asked for and not wholly named."""
    # Where links lead: what is replaced is the file, not a link to it that leaves the old one behind.
    keystore = (settings.data_dir / "keys" / "keystore.json").resolve()
    token = None
    if settings.key_backend == "pkcs11":
        if settings.pkcs11_module is None or settings.pkcs11_token is None or settings.pkcs11_pin_file is None:
            raise Refused("KKS_KEY_BACKEND=pkcs11 wants KKS_PKCS11_MODULE, KKS_PKCS11_TOKEN and KKS_PKCS11_PIN_FILE")
        token = (settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin_file)
    master_key = (settings.master_key_file or keystore.with_name("master.key")).resolve()
    return Custody(keystore, master_key, settings.master_passphrase_file, token)


def vault_of(hsm: Hsm) -> Vault:
    """The bank's vault over its open HSM: every version of its sealing key, and its index key."""
    return Vault.of_labels(hsm, SEALING_LABEL, INDEX_LABEL)


def bank_keys(hsm: Hsm) -> BankKeys:
    """The keys the bank works with; older versions of the audit key still verify what they wrote."""
    audit = hsm.find(AUDIT_LABEL)
    before = [key for key in hsm.versions(AUDIT_LABEL) if key is not audit and hsm.info(key).state in _VERIFIES]
    return BankKeys(hsm.find(PIN_LABEL), audit, before)


def reads_pins(hsm: Hsm, key: KeyHandle) -> bool:
    """Whether PIN blocks of a link can be read with its key: one that only enciphers is of no use there."""
    info = hsm.info(key)
    return info.usage is KeyUsage.PIN_ENCRYPTION and info.mode in (KeyMode.DECRYPT, KeyMode.BOTH)


def pin_keys(hsm: Hsm, label: str) -> list[KeyHandle]:
    """The versions of a link's key that read its PIN blocks today, newest first. Where there is none, the one to be refused."""
    working = hsm.find_all(label)
    return [key for key in working if reads_pins(hsm, key)] or working[:1] or [hsm.find(label)]


def take_up_keys(bank: Bank) -> bool:
    """Let an open bank work with what has become of its keys, here or elsewhere. Whether another process changed some."""
    changed = bank.hsm.refresh()
    bank.keys, bank.vault = bank_keys(bank.hsm), vault_of(bank.hsm)
    return changed


def open_vault(custody: Custody, on_refusal: Callable[[Refusal], None] | None = None) -> Vault:
    """The bank's vault in a worker. Raises KeysError where keystore or master key are not right."""
    return vault_of(custody.open(on_refusal))
