"""The test key of the default link, for demo and simulators: formed in the bank's keystore from two random components.

The components are also written to simulator/test-zpk.json in the data folder (mode 0600), so that a simulator can form the same
key on its side. Only the embedded database gets one by itself; a real link's key is entered by custodians (`kks keys component`).
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.terminals.links_file import read_links
from keys.errors import KeyRefused
from keys.keytypes import KeyUsage

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

COMPONENT_BYTES = 16


def test_key_path(data_dir: Path) -> Path:
    """Where the simulator finds the components."""
    return data_dir / "simulator" / "test-zpk.json"


def ensure_test_link(bank: Bank) -> Path:
    """Make the test key of the default link unless there is a key already. Returns the path of its components."""
    link = read_links(bank.settings.links_file).first
    path = test_key_path(bank.settings.data_dir)
    try:
        bank.hsm.find(link.pin_key)
    except KeyRefused:
        components = _new_components()
        bank.hsm.form(KeyUsage.PIN_ENCRYPTION, link.pin_key, components)
        _write_private(path, {"link": link.name, "acquirer": link.acquirer, "label": link.pin_key,
                              "components": [one.hex().upper() for one in components]})  # fmt: skip
    return path


def read_test_key(data_dir: Path) -> tuple[str, list[bytes]]:
    """Label and components of the test key. Raises Refused where there is none, or the file is damaged."""
    path = test_key_path(data_dir)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return str(value["label"]), [bytes.fromhex(one) for one in value["components"]]
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}: `kks demo` or `kks serve` makes it") from None
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{path}: is not a file of key components") from None


def _new_components() -> list[bytes]:
    return [secrets.token_bytes(COMPONENT_BYTES), secrets.token_bytes(COMPONENT_BYTES)]


def _write_private(path: Path, value: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
