"""Test keys of the links, for demo and simulators: formed in the bank's keystore from two random components each.

The components are also written to the data folder (mode 0600), so that a simulator can form the same keys on its side:
simulator/test-zpk.json has those of the first link's PIN key, simulator/test-keys.json those of every key of every link. Only the
embedded database gets them by itself; a real link's keys are entered by custodians (`kks keys component`).
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.terminals.links_file import read_links
from keys.errors import KeyRefused
from keys.keytypes import Algorithm, KeySpec, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.terminals.profile import Link

COMPONENT_BYTES = 16
AES_FORMAT = 4  # of a PIN block, ISO 9564-1


def test_key_path(data_dir: Path) -> Path:
    """Where the simulator finds the components of the first link's PIN key."""
    return data_dir / "simulator" / "test-zpk.json"


def test_keys_path(data_dir: Path) -> Path:
    """Where the simulator finds the components of every link's keys: a list of {link, label, kind, algorithm, components}."""
    return data_dir / "simulator" / "test-keys.json"


def ensure_test_link(bank: Bank) -> Path:
    """Make the test keys of the links unless there are keys already. Returns the path of the first PIN key's components."""
    links = read_links(bank.settings.links_file)
    folder = bank.settings.data_dir
    made = []
    for link in links.link:
        for label, kind, spec in _keys(link):
            try:
                bank.hsm.find(label)
            except KeyRefused:
                components = [secrets.token_bytes(COMPONENT_BYTES), secrets.token_bytes(COMPONENT_BYTES)]
                handle = bank.hsm.form(spec, label, components)
                written = [one.hex().upper() for one in components]
                algorithm = bank.hsm.info(handle).algorithm.value
                made.append(
                    {"link": link.name, "label": label, "kind": kind, "algorithm": algorithm, "components": written}
                )
    path = test_key_path(folder)
    if made:
        _write_private(test_keys_path(folder), [*_made_before(folder), *made])
    first = next((one for one in made if one["label"] == links.first.pin_key), None)
    if first is not None:
        _write_private(
            path,
            {
                "link": links.first.name, "acquirer": links.first.acquirer, "label": first["label"],
                "components": first["components"],
            },
        )  # fmt: skip
    return path


def _keys(link: Link) -> Iterator[tuple[str, str, KeySpec]]:
    """Label, kind and specification of each key that the link's profile names and its policies use."""
    if link.pin_scheme == "dukpt":
        yield link.pin_key, "bdk", KeySpec(KeyUsage.BASE_DERIVATION)
    else:
        yield (
            link.pin_key,
            "zpk",
            KeySpec(KeyUsage.PIN_ENCRYPTION, algorithm=Algorithm.AES if link.pin_format == AES_FORMAT else None),
        )
    if link.mac != "off" and link.mac_key is not None:
        yield link.mac_key, "mac", KeySpec(KeyUsage.MAC_RETAIL)
    if link.chip != "off":
        yield link.chip_key, "imk-ac", KeySpec(KeyUsage.ISSUER_CRYPTOGRAM)
    if link.chip_scripts:
        yield link.chip_script_key, "imk-smi", KeySpec(KeyUsage.ISSUER_SCRIPT_MAC)
    if link.stripe_value != "off":
        yield link.stripe_key, "cvk", KeySpec(KeyUsage.CARD_VERIFICATION)
    if link.zone_master_key is not None:
        yield link.zone_master_key, "zmk", KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES)


def _made_before(folder: Path) -> list[object]:
    try:
        found = json.loads(test_keys_path(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


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


def _write_private(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
