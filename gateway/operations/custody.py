"""Where the bank's keys lie, and the vault of a worker process.

A worker opens the bank's keystore by itself, as every process of the bank does. So no key travels between processes: a worker is
told where the keystore is and asks its HSM like anyone else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys.keytypes import KeyState
from keys.master import read_master_key_file
from keys.software import SoftwareHsm
from keys.vault import Vault

SEALING_LABEL, INDEX_LABEL, AUDIT_LABEL = "vault-sealing", "vault-index", "audit"

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle


def key_files(settings: Settings) -> tuple[Path, Path]:
    """Where keystore and master key are."""
    keystore = settings.data_dir / "keys" / "keystore.json"
    return keystore, settings.master_key_file or keystore.with_name("master.key")


def vault_of(hsm: Hsm) -> Vault:
    """The bank's vault over its open HSM: every version of its sealing key, and its index key."""
    return Vault.of_labels(hsm, SEALING_LABEL, INDEX_LABEL)


def audit_keys_before(hsm: Hsm) -> list[KeyHandle]:
    """The older versions of the audit key, which still verify what they wrote."""
    newest = hsm.find(AUDIT_LABEL)
    before = [key for key in hsm.versions(AUDIT_LABEL) if key is not newest]
    return [key for key in before if hsm.info(key).state in (KeyState.ACTIVE, KeyState.DEACTIVATED)]


def open_vault(keystore: Path, master_key: Path) -> Vault:
    """The bank's vault over a keystore that is there. Raises KeysError where keystore or master key are not right."""
    hsm = SoftwareHsm.open(keystore, read_master_key_file(master_key))
    return vault_of(hsm)
