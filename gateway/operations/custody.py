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
from keys.errors import KeystoreError
from keys.keytypes import KeyState, KeyUsage
from keys.master import create_master_key_file, read_passphrase_file, read_secret_file
from keys.rotation import master_key_of
from keys.software import SoftwareHsm
from keys.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

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
        """The bank's HSM over a keystore that is there, after its self test. TODAY: the business date, which keys' dates are of.

        Raises KeysError where keystore, master key or token are not right.
        """
        hsm = self._open(on_refusal, today)
        hsm.self_test()
        return hsm

    def _open(self, on_refusal: Callable[[Refusal], None] | None, today: Callable[[], date]) -> SoftwareHsm | Pkcs11Hsm:
        if self.token is not None:
            from keys.pkcs11 import Pkcs11Hsm  # noqa: PLC0415 - a bank without a token needs no PKCS#11 library

            return Pkcs11Hsm.open(self.keystore, self.open_token(), today=today, on_refusal=on_refusal)
        return SoftwareHsm.open(self.keystore, self.master, today=today, on_refusal=on_refusal)

    def create(
        self, on_refusal: Callable[[Refusal], None] | None = None, today: Callable[[], date] = clock.jakarta_today
    ) -> SoftwareHsm | Pkcs11Hsm:
        """A new keystore with the bank's own keys, which never leave it. A master key file that is not there is made."""
        try:
            self.keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Refused(f"cannot make {self.keystore.parent}: {error.strerror}") from None
        hsm: SoftwareHsm | Pkcs11Hsm
        if self.token is not None:
            from keys.pkcs11 import Pkcs11Hsm  # noqa: PLC0415 - as above

            hsm = Pkcs11Hsm.create(self.keystore, self.open_token(), today=today, on_refusal=on_refusal)
        else:
            if self.passphrase is None and not self.master_key.exists():
                create_master_key_file(self.master_key)
            hsm = SoftwareHsm.create(self.keystore, self.master(), today=today, on_refusal=on_refusal)
        for label, usage in BANK_KEYS.items():
            hsm.generate(usage, label)
        return hsm

    def master(self) -> MasterKey | Passphrase:
        """The master key of a software keystore."""
        if self.passphrase is not None:
            return read_passphrase_file(self.passphrase)
        if not self.keystore.exists():
            from keys.master import read_master_key_file  # noqa: PLC0415

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
    keystore = settings.data_dir / "keys" / "keystore.json"
    token = None
    if settings.key_backend == "pkcs11":
        if settings.pkcs11_module is None or settings.pkcs11_token is None or settings.pkcs11_pin_file is None:
            raise Refused("KKS_KEY_BACKEND=pkcs11 wants KKS_PKCS11_MODULE, KKS_PKCS11_TOKEN and KKS_PKCS11_PIN_FILE")
        token = (settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin_file)
    master_key = settings.master_key_file or keystore.with_name("master.key")
    return Custody(keystore, master_key, settings.master_passphrase_file, token)


def vault_of(hsm: Hsm) -> Vault:
    """The bank's vault over its open HSM: every version of its sealing key, and its index key."""
    return Vault.of_labels(hsm, SEALING_LABEL, INDEX_LABEL)


def audit_keys_before(hsm: Hsm) -> list[KeyHandle]:
    """The older versions of the audit key, which still verify what they wrote."""
    newest = hsm.find(AUDIT_LABEL)
    before = [key for key in hsm.versions(AUDIT_LABEL) if key is not newest]
    return [key for key in before if hsm.info(key).state in (KeyState.ACTIVE, KeyState.DEACTIVATED)]


def open_vault(custody: Custody) -> Vault:
    """The bank's vault in a worker. Raises KeysError where keystore or master key are not right."""
    return vault_of(custody.open())
