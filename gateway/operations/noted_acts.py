"""Acts with the master key that are done while no bank is open: noted beside the keystore, and taken into the audit chain later.

Components of a first master key come before there is a keystore and a chain, and a token is set up by its security officer, who
cannot be logged in while the bank is. Such an act is noted when it begins, on disk before it has its effect, and when it has
ended. Whoever opens the bank next writes the notes into the chain, each once by its digest, and takes the file away: cut off
anywhere, none is lost and none is written twice. A note is no more believable than the folder it stands in, so it can speak of
the master key alone, with what its act has to say and never of the keystore's serial, and its event says that it was noted.
Refuses to know what a back end does. Read next: ceremony.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway import clock
from gateway.errors import Refused
from gateway.operations.custody import custody_of
from gateway.store import audit, ceremonies
from gateway.store.audit import Operation
from keys import keyfile
from keys.errors import KeysError
from keys.master import belong_to, sync_folder
from keys.master_ceremony import MasterComponent, component_check
from keys.usages import check_custodian

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.operations.custody import Custody
    from keys.master_ceremony import Entered

MASTER = "master key"
NUMBER_MOST = 9999
FILE_MOST = 1024 * 1024
REASON_MOST = 5000
SAYS = {
    "init": {"act", "component", "of", "kcv", "custodians", "formed", "left", "reason"},
    "init-forget": {"act", "components", "reason"},
    "token-init": {"act", "reason"},
}
"""What a note may say, by act."""
TYPES: dict[str, tuple[type, ...]] = {
    "act": (str,),
    "component": (int,),
    "of": (int,),
    "kcv": (str, type(None)),
    "custodians": (dict,),
    "formed": (str,),
    "left": (str,),
    "components": (int,),
    "reason": (str,),
}
OPERATIONS = (Operation.KEY_BEGUN, Operation.KEY_DONE, Operation.KEY_FAILED)


@dataclass(frozen=True, slots=True)
class Note:
    """One event that waits for its chain. AT: when, in UTC, as text; DETAIL: JSON values, never a secret."""

    at: str
    actor: str
    operation: str
    key: str
    detail: dict[str, Any] = field(hash=False)

    @property
    def line(self) -> bytes:
        """As it stands in the file."""
        return keyfile.canonical({name: getattr(self, name) for name in Note.__slots__}) + b"\n"

    @property
    def digest(self) -> str:
        """What tells it from every other."""
        return hashlib.sha256(self.line).hexdigest()


def enter_component(custody: Custody, actor: str, component: MasterComponent) -> Entered:
    """One custodian's component of the first master key. Raises Refused; what was refused may be entered anew."""
    check = component_check(component)
    named = {"component": component.number, "of": component.of, "kcv": check}
    with _noted(custody, actor, "init", MASTER, **named) as told:
        entered = custody.kind.enter_master_component(custody.place, component._replace(custodian=actor))
        if entered.check_value is not None:
            told["custodians"] = {str(number): name for number, name in entered.custodians.items()}
            told["formed"] = entered.check_value
        if entered.left:
            told["left"] = entered.left
    return entered


def forget_components(custody: Custody, actor: str) -> int:
    """Throw away the components that wait for a first master key. Returns how many it were."""
    with _noted(custody, actor, "init-forget", MASTER) as told:
        count = custody.kind.forget_master_components(custody.place)
        told["components"] = count
    return count


def set_up_token(custody: Custody, actor: str, officer_pin_file: Path, number: int) -> None:
    """Make master key NUMBER in the token, as its security officer. Another person puts a keystore under it."""
    if not 0 < number <= NUMBER_MOST:
        raise Refused(f"a master key of a token has a number of 1 to {NUMBER_MOST}")
    with _noted(custody, actor, "token-init", token_key(number)):
        custody.kind.set_up(custody.place, officer_pin_file, number)


def token_key(number: int) -> str:
    """How the record names master key NUMBER of a token."""
    return f"{MASTER}#{number}"


def notes_path(keystore: Path) -> Path:
    """Where the notes stand until a bank is opened."""
    return keystore.with_name(f"{keystore.name}.noted")


async def take_in_notes(bank: Bank) -> int:
    """Write what was noted into the audit chain. Returns how many events it were. Raises Refused where the file is damaged."""
    path = notes_path(custody_of(bank.settings).place.keystore)
    notes = _read(path)
    written = 0
    if not notes:
        return written
    async with bank.database.engine.begin() as connection:
        await audit.lock_head(connection, audit.OPERATIONS_STREAM)  # whoever opens the bank just now as well waits here
        for note in notes:
            if await ceremonies.is_taken_in(connection, note.digest):
                continue
            detail = note.detail | {"noted": note.at, "note": note.digest, "business_date": bank.business_date}
            operation = Operation(note.operation)
            await audit.append(connection, bank.audit_mac, bank.now(), note.actor, operation, note.key, detail)
            written += 1
    _take_away(path, notes)
    return written


@contextmanager
def _noted(custody: Custody, actor: str, act: str, key: str, **detail: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """An act whose beginning is noted before the block, and its end or refusal after. Gives what the end says besides."""
    actor = actor.strip()
    try:
        check_custodian(actor)
    except KeysError as error:
        raise Refused(str(error)) from None
    custody.make_folder()
    path = notes_path(custody.place.keystore)

    def note(operation: Operation, **more: Any) -> None:  # noqa: ANN401 - the same
        _add(path, Note(clock.now().isoformat(), actor, operation.value, key, {"act": act, **detail, **more}))

    note(Operation.KEY_BEGUN)
    told: dict[str, Any] = {}
    try:
        yield told
    except KeysError as error:
        note(Operation.KEY_FAILED, reason=str(error)[:REASON_MOST])
        raise Refused(str(error)) from None
    note(Operation.KEY_DONE, **told)


def _add(path: Path, note: Note) -> None:
    try:
        with keyfile.locked(path):
            _write(path, [*_read(path), note])
    except (KeysError, OSError) as error:
        raise Refused(f"{path}: cannot be written ({getattr(error, 'strerror', error)})") from None


def _take_away(path: Path, notes: list[Note]) -> None:
    """What is in the chain; what was noted meanwhile stays."""
    taken = {note.digest for note in notes}
    try:
        with keyfile.locked(path):
            left = [note for note in _read(path) if note.digest not in taken]
            if left:
                _write(path, left)
            else:
                path.unlink(missing_ok=True)
                sync_folder(path.parent)
    except (KeysError, OSError) as error:
        raise Refused(f"{path}: cannot be taken away ({getattr(error, 'strerror', error)})") from None


def _write(path: Path, notes: list[Note]) -> None:
    """All of them at once, on disk before this returns: a power cut leaves the old file or the new one. Mode 0600."""
    text = b"".join(note.line for note in notes)
    if len(text) > FILE_MOST:
        raise Refused(f"{path}: is full; open the bank, which takes in what is noted there")
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        belong_to(path.parent, file.fileno())
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def _read(path: Path) -> list[Note]:
    """What waits. Raises Refused for what was not written here."""
    if path.exists() and not path.is_file():  # a pipe would have its reader wait
        raise Refused(f"{path}: is no file; look at what it is, and move it away")
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MOST + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    try:
        notes = [Note(**json.loads(line)) for line in text.splitlines()]
        fit = len(text) <= FILE_MOST and all(_fits(note) for note in notes)
        fit = fit and b"".join(note.line for note in notes) == text
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, KeysError):
        fit = False
    if not fit:
        raise Refused(f"{path}: is damaged; look at what it says of the master key, and move it away")
    return notes


def _fits(note: Note) -> bool:
    """Whether it says what the act of a known person has to say, and nothing else. May raise what rubbish raises."""
    act, detail = note.detail["act"], note.detail
    for name in (note.actor, *detail.get("custodians", {}).values()):
        check_custodian(name)
    return (
        note.operation in OPERATIONS
        and datetime.fromisoformat(note.at).tzinfo is not None
        and re.fullmatch(f"{MASTER}#[1-9][0-9]{{0,3}}" if act == "token-init" else MASTER, note.key) is not None
        and detail.keys() <= SAYS[act]
        and all(type(value) in TYPES[name] for name, value in detail.items())
    )
