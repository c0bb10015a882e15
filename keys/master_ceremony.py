"""A master key from components: each custodian enters one, in a run of their own, before there is a keystore to keep anything in.

Until the last has come, what was entered stands beside the master key file, one file of mode 0600 a component: whoever can read
all of them could as well read the master key file that they become. Refuses to know the keystore. Read next: master.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from keys import kcv
from keys.errors import KeyRefused, KeystoreError
from keys.master import MASTER_BYTES, MasterKey, create_master_key_file, read_secret_file, write_secret_file
from keys.usages import check_component, combine

if TYPE_CHECKING:
    from pathlib import Path


class Entered(NamedTuple):
    """What the custodians did so far: their names by component, and the master key's check value once it is made."""

    custodians: dict[int, str]
    check_value: str | None


def enter_master_component(master_file: Path, number: int, of: int, custodian: str, value: bytes) -> Entered:
    """Keep component NUMBER of OF (32 bytes); the last one makes the master key file, and the components go.

    Raises KeyRefused where a part was entered before, its custodian entered another, or it cannot be a part; KeystoreError
    where there is a master key file already.
    """
    if master_file.exists():
        raise KeystoreError(f"master key file {master_file}: is there already; it is never overwritten")
    check_component("master", value, number, of)
    if len(value) != MASTER_BYTES:
        raise KeyRefused(f"a component of a master key has {MASTER_BYTES} bytes")
    parts = {at: part for at in range(1, of + 1) if (part := _read(master_file, at)) is not None}
    for at, (who, parts_of, _) in parts.items():
        if at == number:
            raise KeyRefused(f"component {number} of the master key: was entered already")
        if who.casefold() == custodian.casefold():
            raise KeyRefused(
                f"component {number} of the master key: {custodian} entered component {at}; nobody enters two"
            )
        if parts_of != of:
            raise KeyRefused(f"component {number} of the master key: the others are of {parts_of}")
    text = json.dumps({"custodian": custodian, "of": of, "value": value.hex()})
    write_secret_file(_path(master_file, number), "master key component", text)
    parts[number] = (custodian, of, value)
    custodians = {at: part[0] for at, part in sorted(parts.items())}
    if len(parts) < of:
        return Entered(custodians, None)
    key = combine([part[2] for part in parts.values()])
    create_master_key_file(master_file, MasterKey(key))
    forget_master_components(master_file)
    return Entered(custodians, str(kcv.of_aes(key)))


def forget_master_components(master_file: Path) -> int:
    """Throw away what was entered. Returns how many components it were."""
    found = [path for path in master_file.parent.glob(f"{master_file.name}.component-*") if path.is_file()]
    for path in found:
        path.unlink()
    return len(found)


def _read(master_file: Path, number: int) -> tuple[str, int, bytes] | None:
    path = _path(master_file, number)
    if not path.exists():
        return None
    try:
        told = json.loads(read_secret_file(path, "master key component").reveal())
        return str(told["custodian"]), int(told["of"]), bytes.fromhex(told["value"])
    except (ValueError, KeyError, TypeError):
        raise KeystoreError(f"master key component {path}: is damaged") from None


def _path(master_file: Path, number: int) -> Path:
    return master_file.with_name(f"{master_file.name}.component-{number}")
