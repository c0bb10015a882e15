"""A master key from components: each custodian enters one, in a run of their own.

Until the last has come, what the others entered stands beside the file that it will be (master.key, or master.key.next for the
one that follows), one file of mode 0600 a component: whoever can read them could as well read the master key file. They are not
in the keystore, as the first ones come before there is one, and the next must not be sealed under what they replace. Refuses to
know the keystore. Read next: master.py, rotation.py (the next master key).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from keys import kcv, keyfile
from keys.errors import KeyRefused, KeystoreError
from keys.master import (
    MASTER_BYTES,
    MasterKey,
    create_master_key_file,
    drop_unfinished,
    read_master_key_file,
    read_secret_file,
    wipe,
    write_secret_file,
)
from keys.usages import COMPONENTS_MOST, check_component, check_custodian, combine, same_person

WHAT = "master key component"


class Entered(NamedTuple):
    """What the custodians did so far: names by component, this component's check value, and the master key's once it is made.

    `keys`: how many keys were sealed under it; None where there is no keystore yet, or others are awaited. `left`: what of the
    components could not be thrown away when the key was made, or empty.
    """

    custodians: dict[int, str]
    component: str
    check_value: str | None
    keys: int | None = None
    left: str = ""


class MasterComponent(NamedTuple):
    """What one custodian enters: component NUMBER of OF, 32 bytes. SHEET: the check value on paper, to compare, or empty."""

    number: int
    of: int
    custodian: str
    value: bytes
    sheet: str = ""


class _Part(NamedTuple):
    custodian: str
    of: int
    value: bytes


def enter_master_component(master_file: Path, component: MasterComponent) -> Entered:
    """Keep a component of the first master key; the last one is not kept: it makes the master key file, and the others go.

    Raises KeyRefused where a part was entered before, its custodian entered another, or it cannot be a part; KeystoreError
    where there is a master key file already. What was refused changes nothing: it may be entered anew.
    """
    with keyfile.locked(master_file):  # or each of two last custodians would wait for the other
        if os.path.lexists(master_file):
            check = kcv.of_aes(
                read_master_key_file(master_file).reveal()
            )  # raises: then the components may be all there is
            left = drop_or_tell(master_file)  # of a run that was cut off when it had made the key
            told = f"is there already; it is never overwritten (check value {check})"
            raise KeystoreError(f"master key file {master_file}: {told}{left and '; '}{left}")
        entered, key = collect_component(master_file, component)
        if key is None:
            return entered
        create_master_key_file(master_file, key)
        return entered._replace(left=drop_or_tell(master_file))


def make_master_key(master_file: Path) -> None:
    """A random first master key, unless there is one. Raises KeystoreError where custodians have begun with components."""
    if master_file.exists() and not _files(master_file):
        return  # perhaps where nothing can be written
    with keyfile.locked(master_file):  # or a custodian could begin meanwhile
        if master_file.exists():
            read_master_key_file(master_file)
        elif waiting := master_components(master_file):
            raise KeystoreError(f"{len(waiting)} components of the master key wait for others: `kks keys init`")
        else:
            create_master_key_file(master_file)
        drop_or_tell(master_file)  # of a ceremony that was cut off; what cannot go is in nobody's way


def collect_component(base: Path, component: MasterComponent) -> tuple[Entered, MasterKey | None]:
    """Keep a component beside BASE, or give the whole key where it is the last. For whoever holds the lock.

    The others stay until drop_components. Raises KeyRefused as enter_master_component does.
    """
    _check(component)
    number, of, custodian, value, _ = component._replace(custodian=component.custodian.strip())
    check = str(kcv.of_aes(value))
    if not master_components(base):
        drop_components(base)  # of a run that was cut off while it threw them away
    parts = {at: part for at in range(1, COMPONENTS_MOST + 1) if (part := _read(base, at)) is not None}
    entered = _Part(custodian, of, value)
    for at, other in parts.items():
        _check_fits(number, entered, at, other)
    parts[number] = entered
    custodians = {at: part.custodian for at, part in sorted(parts.items())}
    if len(parts) < of:
        write_secret_file(
            _path(base, number), WHAT, json.dumps({"custodian": custodian, "of": of, "value": value.hex()})
        )
        return Entered(custodians, check, None), None
    key = MasterKey(combine([part.value for part in parts.values()]))
    return Entered(custodians, check, str(kcv.of_aes(key.reveal()))), key


def component_check(component: MasterComponent) -> str | None:
    """The check value of a component; None where it has not the length of one."""
    return str(kcv.of_aes(component.value)) if len(component.value) == MASTER_BYTES else None


def master_components(base: Path) -> list[Path]:
    """The files of the components that wait for others beside BASE. None, where throwing them away was begun and cut off."""
    found = _files(base)
    return [] if any(map(_is_wiped, found)) else found


def forget_master_components(master_file: Path) -> int:
    """Throw away what was entered of a first master key. Returns how many components it were."""
    with keyfile.locked(master_file):
        return drop_components(master_file)


def drop_components(base: Path) -> int:
    """Wipe and remove the components beside BASE, for whoever holds the lock. Returns how many it were.

    All are wiped before the first is removed: cut off anywhere, what is left says that none of them counts. What cannot be
    wiped is removed first. Raises KeystoreError at the end, when all that could be done is done.
    """
    found, lines = _files(base), []
    wiped, stuck = [], []
    for path in found:
        try:
            wipe(path)
            wiped.append(path)
        except OSError as error:
            lines.append(f"{WHAT} {path}: cannot be overwritten ({error.strerror})")
            stuck.append(path)
    for remove, paths in ((Path.unlink, stuck + wiped), (drop_unfinished, [base, *_paths(base)])):
        for path in paths:
            try:
                remove(path)
            except OSError as error:
                lines.append(f"{WHAT} {path}: cannot be thrown away ({error.strerror})")
    if lines:
        raise KeystoreError("; ".join(lines))
    return len(found)


def drop_or_tell(base: Path) -> str:
    """drop_components once the key is made, which a file that cannot go does not undo. What could not, or nothing."""
    try:
        drop_components(base)
    except KeystoreError as error:
        return str(error)
    return ""


def _files(base: Path) -> list[Path]:
    return [path for path in _paths(base) if path.is_file()]


def _paths(base: Path) -> list[Path]:
    return [_path(base, number) for number in range(1, COMPONENTS_MOST + 1)]


def _is_wiped(path: Path) -> bool:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise KeystoreError(f"{WHAT} {path}: cannot be read ({error.strerror})") from None
    return len(text) > 0 and not any(text)


def _check(component: MasterComponent) -> None:
    """Raise KeyRefused unless it can be a part at all, and is the one on its sheet."""
    check_custodian(component.custodian.strip())
    check_component("master", component.value, component.number, component.of)
    if len(component.value) != MASTER_BYTES:
        raise KeyRefused(f"a component of a master key has {MASTER_BYTES} bytes")
    check = kcv.of_aes(component.value)
    if component.sheet and not check.on_sheet(component.sheet):
        raise KeyRefused(f"component {component.number} of the master key: its check value is {check}, not as told")


def _check_fits(number: int, part: _Part, at: int, other: _Part) -> None:
    name = f"component {number} of the master key"
    if at == number:
        raise KeyRefused(f"{name}: was entered already")
    if same_person(other.custodian, part.custodian):
        raise KeyRefused(f"{name}: {other.custodian} entered component {at}; nobody enters two")
    if other.of != part.of:
        raise KeyRefused(f"{name}: the others are of {other.of}")


def _read(master_file: Path, number: int) -> _Part | None:
    path = _path(master_file, number)
    if not path.exists():
        return None
    try:
        told = json.loads(read_secret_file(path, WHAT).reveal())
        return _Part(str(told["custodian"]), int(told["of"]), bytes.fromhex(told["value"]))
    except (ValueError, KeyError, TypeError):
        raise KeystoreError(f"{WHAT} {path}: is damaged") from None


def _path(master_file: Path, number: int) -> Path:
    return master_file.with_name(f"{master_file.name}.component-{number}")
