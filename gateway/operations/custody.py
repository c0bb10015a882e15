"""Where the bank's keys lie, and the vault of a worker process.

A worker opens the bank's keystore by itself, as every process of the bank does. So no key travels between processes: a worker is
told where the keystore is and asks its HSM like anyone else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys.master import read_master_key_file
from keys.software import SoftwareHsm
from keys.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings


def key_files(settings: Settings) -> tuple[Path, Path]:
    """Where keystore and master key are."""
    keystore = settings.data_dir / "keys" / "keystore.json"
    return keystore, settings.master_key_file or keystore.with_name("master.key")


def open_vault(keystore: Path, master_key: Path) -> Vault:
    """The bank's vault over a keystore that is there. Raises KeysError where keystore or master key are not right."""
    hsm = SoftwareHsm.open(keystore, read_master_key_file(master_key))
    return Vault(hsm, hsm.find("vault-sealing"), hsm.find("vault-index"))
