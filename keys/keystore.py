"""The keystore: one JSON file that holds every key sealed by an envelope, each bound to its own header, the whole bound together.

A header (usage, mode, state, dates, check value and so on) is bound to its key, with the file's head. A seal over all entries
binds them to each other and counts the changes. So a changed bit, a header swapped with another, an entry taken out or brought
from another keystore does not open. What it cannot see is the whole file put back to an earlier state: compare `serial` with
the last ceremony record. Each change writes the file anew, all or nothing. Refuses to know what keys are used for.
Read next: envelope.py (who seals), keyfile.py (the file itself), usages.py (what a key must look like).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from keys import keyfile
from keys.envelope import DoesNotOpen, Envelope, Raw
from keys.errors import KeyRefused, KeystoreError
from keys.keytypes import KeyInfo, KeyState, check_end, check_transition
from keys.mac import same
from keys.stored_header import header_of, info_of
from keys.usages import VERSIONS_MOST, check_header, same_person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

Result = TypeVar("Result")

FORMAT = "kks-keystore"
VERSION = 2
STORE_ID_BYTES = 16
LOOKS_MOST = 8  # at a file whose master key changes while we look
PARTS = {"head", "serial", "seal", "keys", "components"}
ROOM = 1024 * 1024
"""Bytes that no new key may take: a full keystore must still have room for other states and last days of all its keys."""
NOTHING_HELD: Mapping[KeyInfo, Any] = MappingProxyType({})


class Component(NamedTuple):
    """One custodian's component that waits for the others: for which key, which part of how many, whose, its check value.

    `purpose`: what the key is to be, as all of its custodians must have said it.
    """

    label: str
    number: int
    of: int
    custodian: str
    entered: date
    kcv: str
    purpose: str = ""


class Keystore(Generic[Raw]):
    """An open keystore. It holds the envelope, not the keys: `load` gives them.

    Each look at the file checks the seal over all of it; the seal of an entry is opened by who wants that key.
    """

    def __init__(self, path: Path, envelope: Envelope[Raw], head: dict[str, Any]) -> None:
        self.path = path
        self._envelope = envelope
        self._head = head
        self._stamp: object = None
        self._serial = 0
        self._envelope_for: Callable[[dict[str, Any]], Envelope[Raw]] | None = None
        self._opened: tuple[object, dict[str, Any]] | None = None

    @classmethod
    def create(cls, path: Path, envelope: Envelope[Raw]) -> Keystore[Raw]:
        """Write a new keystore without keys. Raises KeystoreError where PATH is there already or cannot be written."""
        head = {"format": FORMAT, "version": VERSION, "store": os.urandom(STORE_ID_BYTES).hex(), **envelope.head}
        store = cls(path, envelope, head)
        with keyfile.locked(path):
            if path.exists():
                raise KeystoreError(f"keystore {path}: is there already; it is never overwritten")
            store._write({"head": head, "serial": 0, "keys": [], "components": []})
        return store

    @classmethod
    def open(cls, path: Path, envelope_for: Callable[[dict[str, Any]], Envelope[Raw]]) -> Keystore[Raw]:
        """Open a keystore with the envelope that its head asks for.

        ENVELOPE_FOR is asked again when the file has come under another master key. Raises KeystoreError where the file is
        missing, damaged, of another format, or of another master key.
        """
        stamp = keyfile.stamp(path)  # before it is read: what is written meanwhile is a change
        document = keyfile.read(path, PARTS)
        head = document["head"]
        store = cls(path, _envelope(path, head, envelope_for), head)
        store._envelope_for = envelope_for
        store._opened = stamp, store._checked(document)
        return store

    @property
    def store_id(self) -> str:
        """What tells this keystore from every other, in hex."""
        return str(self._head["store"])

    def load(self, held: Mapping[KeyInfo, Raw | None] = NOTHING_HELD) -> list[tuple[KeyInfo, Raw | None]]:
        """Every key with its header, None for a destroyed one. HELD: those of an earlier load, which are not opened again.

        Raises KeystoreError naming the file where any one of them does not open or is not fit: then none stays open.
        """
        opened, self._opened = self._opened, None
        stamp = keyfile.stamp(self.path)  # before it is read, as above
        document = opened[1] if opened is not None and opened[0] == stamp else self._read()
        with self._all_or_none() as made:
            keys = [self._open_key(place, entry, made, held) for place, entry in enumerate(document["keys"], start=1)]
        self._stamp = stamp
        return keys

    def changed(self) -> bool:
        """Whether the file was written since the last load or change of ours."""
        return keyfile.stamp(self.path) != self._stamp

    def serial(self) -> int:
        """How many changes the file has had."""
        return int(self._read()["serial"])

    def add(self, info: KeyInfo, raw: Raw, formed_of: Sequence[Component] = ()) -> KeyInfo:
        """Keep one more key; its version is the next of its label. FORMED_OF: its components, which go in the same change.

        Raises KeyRefused for an unfit one, KeystoreError where the file is full (keyfile.FILE_MOST, some 25,000 keys), or the
        components that wait are no longer those.
        """

        def change(document: dict[str, Any]) -> KeyInfo:
            others = [entry["header"] for entry in document["keys"] if entry["header"]["label"] == info.label]
            numbered = replace(info, version=max((one["version"] for one in others), default=0) + 1)
            if numbered.version > VERSIONS_MOST:
                raise KeyRefused(f"key {info.label}: has had {VERSIONS_MOST} versions, which is all there can be")
            if any(one["usage"] != info.usage.value for one in others):
                raise KeyRefused(f"key {info.label}: is of another usage in its other versions")
            check_header(numbered)
            self._envelope.check(numbered, raw)
            header = header_of(numbered)
            document["keys"].append({"header": header, "sealed": self._envelope.seal(raw, self._bound(header))})
            if formed_of and sorted(formed_of) != sorted(_take_components(document, info.label)):
                raise KeystoreError(f"key {info.label}: its components were changed meanwhile: see which ones wait")
            return numbered

        return self._change(change, ROOM)

    def set_state(self, info: KeyInfo, state: KeyState) -> KeyInfo:
        """Move a key to another state, if its life allows it. DESTROYED takes its bytes out of the file. Gives its new header."""

        def moved(stored: KeyInfo) -> KeyInfo:
            check_transition(stored, state)
            return replace(stored, state=state)

        return self._amend(info, moved)

    def end_on(self, info: KeyInfo, last_day: date) -> KeyInfo:
        """Let a key work to the end of LAST_DAY and no longer. Gives its new header."""

        def ended(stored: KeyInfo) -> KeyInfo:
            check_end(stored, last_day)
            amended = replace(stored, active_to=last_day)
            check_header(amended)
            return amended

        return self._amend(info, ended)

    def _amend(self, info: KeyInfo, amend: Callable[[KeyInfo], KeyInfo]) -> KeyInfo:
        """Give a key another header, which it is bound to from then on. No other entry is looked at."""

        def change(document: dict[str, Any]) -> KeyInfo:
            for place, entry in enumerate(document["keys"], start=1):
                header = entry["header"]
                if (header["label"], header["version"]) == (info.label, info.version):
                    amended = amend(self._header_of(place, entry))
                    entry["header"] = header_of(amended)
                    with self._naming(place):
                        anew = self._bound(entry["header"])
                        entry["sealed"] = self._envelope.rebind(entry["sealed"], self._bound(header), anew)
                    if amended.state is KeyState.DESTROYED:
                        entry["sealed"] = self._envelope.seal_data(b"", anew)
                    return amended
            raise KeyRefused(f"key {info.name}: is not in the keystore")

        return self._change(change)

    def add_component(self, component: Component, value: bytes) -> list[tuple[Component, bytes]]:
        """Keep a custodian's component. Returns all that are there for its key, in their order.

        Where all are there, and the key was not formed as its maker was cut off, a custodian enters his own again: it is the
        one that is kept, and all are returned. Raises KeyRefused where else a part was entered before, where its custodian
        entered another, and where the parts do not fit.
        """

        def change(document: dict[str, Any]) -> list[tuple[Component, bytes]]:
            waiting = [self._open_component(place, entry) for place, entry in enumerate(document["components"], 1)]
            mine = [(other, data) for other, data in waiting if other.label == component.label]
            if len(mine) < component.of or not any(_is_again(component, value, *one) for one in mine):
                for other, data in mine:
                    _check_fits(component, value, other, data)
                header = component._asdict() | {"entered": component.entered.isoformat()}
                sealed = self._envelope.seal_data(value, self._bound(header))
                document["components"].append({"header": header, "sealed": sealed})
                mine.append((component, value))
            return sorted(mine, key=lambda one: one[0].number)

        return self._change(change, ROOM)

    def components(self) -> list[Component]:
        """The components that wait for others."""
        return [_component(entry["header"]) for entry in self._read()["components"]]

    def forget_components(self, label: str) -> int:
        """Throw away what was entered for a key. Returns how many components it were."""
        return self._change(lambda document: len(_take_components(document, label)))

    def rewrap(self, envelope: Envelope[Raw]) -> int:
        """Seal every key, and all that waits, under another master key, in one step: the file is wholly old or wholly new.

        Returns how many keys it has. The old master key may go only after the file was opened with the new one.
        """
        with keyfile.locked(self.path):
            unseen = self.changed()
            document = self._read()
            head = {name: self._head[name] for name in ("format", "version", "store")} | envelope.head
            anew = Keystore(self.path, envelope, head)
            for place, entry in enumerate(document["keys"], start=1):
                self._rewrap_key(place, entry, envelope, anew._bound(entry["header"]))
            for place, entry in enumerate(document["components"], start=1):
                _, value = self._open_component(place, entry)
                entry["sealed"] = envelope.seal_data(value, anew._bound(entry["header"]))
            anew._write(document | {"head": head, "serial": document["serial"] + 1})
            self._head, self._envelope, self._serial = head, envelope, document["serial"] + 1
            if not unseen:
                self._stamp = keyfile.stamp(self.path)
        return len(document["keys"])

    def _rewrap_key(self, place: int, entry: dict[str, Any], envelope: Envelope[Raw], bound: bytes) -> None:
        made: list[Raw] = []
        try:
            _, raw = self._open_key(place, entry, made)
            entry["sealed"] = envelope.seal_data(b"", bound) if raw is None else envelope.seal(raw, bound)
        finally:
            self._let_go(made)

    def _change(self, change: Callable[[dict[str, Any]], Result], room: int = 0) -> Result:
        """Read, change, write, with no other writer between."""
        with keyfile.locked(self.path):
            unseen = self.changed()
            document = self._read()
            result = change(document)
            document["serial"] += 1
            self._write(document, room)
            self._serial = document["serial"]
            if not unseen:
                self._stamp = keyfile.stamp(self.path)
        return result

    def _read(self) -> dict[str, Any]:
        return self._checked(keyfile.read(self.path, PARTS))

    def _checked(self, document: dict[str, Any]) -> dict[str, Any]:
        """What was read, once its seal is right: of this keystore, whole, no older than what was seen of it."""
        if document["head"] != self._head or not self._is_whole(document, self._envelope):
            document = self._follow(document)
        try:
            names = [(entry["header"]["label"], entry["header"]["version"]) for entry in document["keys"]]
        except (TypeError, KeyError):
            raise KeystoreError(f"keystore {self.path}: is damaged") from None
        if document["serial"] < self._serial:
            raise KeystoreError(f"keystore {self.path}: was put back to an earlier state while it was open")
        self._serial = document["serial"]
        if len(set(names)) < len(names):
            raise KeystoreError(f"keystore {self.path}: is damaged: a key is in it twice")
        return document

    def _follow(self, document: dict[str, Any]) -> dict[str, Any]:
        """The same keystore may have come under another master key since it was opened, and again while we look."""
        for _ in range(LOOKS_MOST):
            head = document["head"]
            if head != self._head and (self._envelope_for is None or _store_id(head) != self.store_id):
                raise KeystoreError(f"keystore {self.path}: another file was put in its place")
            if self._envelope_for is not None:
                envelope = _envelope(self.path, head, self._envelope_for)
                if self._is_whole(document, envelope):
                    self._envelope, self._head = envelope, head
                    return document
            before, document = document, keyfile.read(self.path, PARTS)
            if document == before:
                break
        raise KeystoreError(f"keystore {self.path}: the master key is another one, or the file is damaged")

    def _is_whole(self, document: dict[str, Any], envelope: Envelope[Raw]) -> bool:
        """Whether the seal over all of it opens."""
        try:
            envelope.open_data(document["seal"], self._whole(document))
        except (DoesNotOpen, TypeError, KeyError):
            return False
        return True

    def _write(self, document: dict[str, Any], room: int = 0) -> None:
        seal = self._envelope.seal_data(b"", self._whole(document))
        keyfile.write(self.path, document | {"seal": seal}, room=room)

    def _open_key(
        self, place: int, entry: dict[str, Any], made: list[Raw], held: Mapping[KeyInfo, Raw | None] = NOTHING_HELD
    ) -> tuple[KeyInfo, Raw | None]:
        """A key with its header; what was opened for it is in MADE, whatever comes of it."""
        info = self._header_of(place, entry)
        if info in held:
            return info, held[info]
        with self._naming(place):
            if info.state is KeyState.DESTROYED:
                self._envelope.open_data(entry["sealed"], self._bound(entry["header"]))
                return info, None
            raw = self._envelope.open(entry["sealed"], self._bound(entry["header"]), info)
            made.append(raw)
            self._envelope.check(info, raw)
        return info, raw

    def _header_of(self, place: int, entry: dict[str, Any]) -> KeyInfo:
        with self._naming(place):
            info = info_of(entry["header"])
            check_header(info)
        return info

    @contextmanager
    def _naming(self, place: int) -> Iterator[None]:
        """What is wrong with a key is KeystoreError that names the file and its place in it."""
        try:
            yield
        except (DoesNotOpen, ValueError, TypeError, KeyError):
            raise KeystoreError(f"keystore {self.path}: is damaged: key {place} does not open") from None
        except KeyRefused as error:
            raise KeystoreError(f"keystore {self.path}: key {place} is not fit: {error}") from None

    @contextmanager
    def _all_or_none(self) -> Iterator[list[Raw]]:
        """A list for keys that are opened: where one of them fails, none stays open."""
        made: list[Raw] = []
        try:
            yield made
        except BaseException:
            self._let_go(made)
            raise

    def _let_go(self, made: list[Raw]) -> None:
        for raw in made:
            self._envelope.let_go(raw)

    def _open_component(self, place: int, entry: dict[str, Any]) -> tuple[Component, bytes]:
        try:
            return _component(entry["header"]), self._envelope.open_data(entry["sealed"], self._bound(entry["header"]))
        except (DoesNotOpen, ValueError, TypeError, KeyError):
            raise KeystoreError(f"keystore {self.path}: is damaged: component {place} does not open") from None

    def _bound(self, header: dict[str, Any]) -> bytes:
        """What an entry is bound to: the file's head and its own header."""
        return keyfile.canonical({"head": self._head, "header": header})

    def _whole(self, document: dict[str, Any]) -> bytes:
        """What the seal over the whole file is bound to."""
        body = keyfile.canonical({name: document[name] for name in sorted(PARTS - {"seal"})})
        return hashlib.sha256(body).digest()


def _envelope(path: Path, head: Any, envelope_for: Callable[[dict[str, Any]], Envelope[Raw]]) -> Envelope[Raw]:  # noqa: ANN401 - what stands in the file
    if not isinstance(head, dict) or head.get("format") != FORMAT or head.get("version") != VERSION:
        raise KeystoreError(f"keystore {path}: is not of format {FORMAT} {VERSION}")
    try:
        return envelope_for(head)
    except KeystoreError as error:
        raise KeystoreError(f"keystore {path}: {error}") from None


def _store_id(head: Any) -> object:  # noqa: ANN401 - the same
    return head.get("store") if isinstance(head, dict) else None


def _check_fits(component: Component, value: bytes, other: Component, other_value: bytes) -> None:
    name = f"component {component.number} of {component.label}"
    if component.number == other.number:
        raise KeyRefused(f"{name}: was entered already")
    if same_person(component.custodian, other.custodian):
        raise KeyRefused(f"{name}: {other.custodian} entered component {other.number}; nobody enters two")
    if component.purpose != other.purpose:
        raise KeyRefused(f"{name}: is for another kind of key than component {other.number}: {other.purpose}")
    if component.of != other.of or len(value) != len(other_value):
        raise KeyRefused(f"{name}: the other components are {other.of} of {len(other_value)} bytes")


def _is_again(component: Component, value: bytes, other: Component, other_value: bytes) -> bool:
    """Whether it is the one that is kept, of the same custodian, on whatever day."""
    alike = component._replace(custodian=other.custodian, entered=other.entered) == other
    return alike and same_person(component.custodian, other.custodian) and same(value, other_value)


def _take_components(document: dict[str, Any], label: str) -> list[Component]:
    """Take the components of a key out of the file."""
    taken = [_component(entry["header"]) for entry in document["components"] if entry["header"]["label"] == label]
    document["components"] = [entry for entry in document["components"] if entry["header"]["label"] != label]
    return taken


def _component(header: dict[str, Any]) -> Component:
    return Component(**header | {"entered": date.fromisoformat(header["entered"])})
