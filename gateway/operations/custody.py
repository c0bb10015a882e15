"""Where the bank's keys lie, how its HSM is opened, and the vault of a worker process.

The back end is a setting, the name of a module of keys/: nothing here knows which there are. A worker opens the bank's keystore
by itself, as every process of the bank does. So no key travels between processes: a worker is told where the keystore is and asks
its HSM like anyone else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway import clock
from gateway.errors import Refused
from gateway.operations.bank import BankKeys
from keys import backend as backends
from keys import keyfile
from keys.backend import Place
from keys.errors import KeysError
from keys.keytypes import KeyMode, KeyState, KeyUsage
from keys.master import belong_to, sync_folder
from keys.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from keys.backend import Backend
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.toolbox import Refusal

SEALING_LABEL, INDEX_LABEL, AUDIT_LABEL, PIN_LABEL = "vault-sealing", "vault-index", "audit", "pin-verification"

BANK_KEYS = {
    AUDIT_LABEL: KeyUsage.MAC_HMAC,
    PIN_LABEL: KeyUsage.PIN_VERIFICATION_IBM,
    SEALING_LABEL: KeyUsage.DATA_SEALING,
    INDEX_LABEL: KeyUsage.BLIND_INDEX,
}
"""The bank's own keys, by label: made with a new keystore, and used by every process of the bank."""

ENDED = (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED)
_VERIFIES = (KeyState.ACTIVE, KeyState.DEACTIVATED)


@dataclass(frozen=True, slots=True)
class Custody:
    """Where the bank's keys are, and the name of the back end that has them: no secret, so that a worker can be told."""

    backend: str
    place: Place

    def open(
        self, on_refusal: Callable[[Refusal], None] | None = None, today: Callable[[], date] = clock.jakarta_today
    ) -> Hsm:
        """The bank's HSM over a keystore that is there, after its self test. TODAY: the date by which keys begin and end.

        Raises KeysError where keystore, master key or device are not right.
        """
        hsm = self.kind.open(self.place, today, on_refusal)
        hsm.self_test()
        return hsm

    def create(self) -> None:
        """A new keystore with the bank's own keys, which never leave it.

        The keystore is there with all of them or not at all, and once, whoever else does the same just now.
        """
        keystore = self.place.keystore
        self.make_folder()
        with keyfile.locked(keystore):
            if keystore.exists():
                return
            first = keystore.with_name(f".{keystore.name}.first")
            first.unlink(missing_ok=True)  # of a start that was cut off
            hsm = self.kind.create(replace(self.place, keystore=first), clock.jakarta_today)
            for label, usage in BANK_KEYS.items():
                hsm.generate(usage, label)
            first.replace(keystore)
            sync_folder(keystore.parent)
            first.with_name(f"{first.name}.lock").unlink(missing_ok=True)

    @property
    def kind(self) -> Backend:
        """The back end. Raises KeystoreError where there is none of its name."""
        return backends.find(self.backend)

    def make_folder(self) -> None:
        """The keystore's folder, for its owner alone: made by root, it is the data folder's owner's. Raises Refused."""
        folder = self.place.keystore.parent
        new = [one for one in (folder, *folder.parents) if not one.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for one in reversed(new):
                belong_to(one.parent, one)
        except OSError as error:
            raise Refused(f"cannot make {folder}: {error.strerror}") from None


def custody_of(settings: Settings) -> Custody:
    """Where the settings say that the keys are.

    Raises Refused where there is no such back end, its options are not right, or a path leads nowhere.
    """
    keystore = _led_to(settings.data_dir / "keys" / "keystore.json", "KKS_DATA_DIR")
    master_key = _led_to(settings.master_key_file or keystore.with_name("master.key"), "KKS_MASTER_KEY_FILE")
    passphrase = settings.master_passphrase_file
    passphrase = passphrase and _led_to(passphrase, "KKS_MASTER_PASSPHRASE_FILE")
    name, options = settings.key_backend, settings.key_options
    try:
        backends.check_options(name, backends.find(name), options)
    except KeysError as error:
        raise Refused(f"KKS_KEY_BACKEND, KKS_KEY_OPTIONS: {error}") from None
    return Custody(name, Place(keystore, master_key, passphrase, options))


def _led_to(path: Path, setting: str) -> Path:
    """Where links lead: what is replaced is the file, not a link to it that leaves the old one behind."""
    try:
        found = path.resolve()
        found.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise Refused(f"{setting}: leads nowhere ({getattr(error, 'strerror', None) or 'links in a circle'})") from None
    return found


def vault_of(hsm: Hsm) -> Vault:
    """The bank's vault over its open HSM: every version of its sealing key, and its index key."""
    return Vault.of_labels(hsm, SEALING_LABEL, INDEX_LABEL)


def bank_keys(hsm: Hsm) -> BankKeys:
    """The keys the bank works with. Older versions go on: of the audit key for what it wrote, of the PIN key for its cards."""
    audit = hsm.find(AUDIT_LABEL)
    before = [key for key in hsm.versions(AUDIT_LABEL) if key is not audit and hsm.info(key).state in _VERIFIES]
    made = {key: hsm.info(key).state for key in hsm.versions(PIN_LABEL)}
    pins = {
        key.version: None if state in ENDED else key for key, state in made.items() if state is not KeyState.PRE_ACTIVE
    }
    return BankKeys(hsm.find(PIN_LABEL), audit, before, pins)


def reads_pins(hsm: Hsm, key: KeyHandle) -> bool:
    """Whether PIN blocks of a link can be read with its key, or one that comes of it: one that only enciphers is of no use."""
    info = hsm.info(key)
    if info.usage in (KeyUsage.BASE_DERIVATION, KeyUsage.INITIAL_DUKPT):
        return True
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
