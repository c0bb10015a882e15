"""The folder of stand-in: list of cards and journal as one, on disk and in memory, of the one process that holds its lock.

A journal belongs to one list: what was stood in for counts against the list until a newer one takes its place, and a list takes
the place of another only when nothing waits to be posted. So no rupiah is counted twice, and none is forgotten. Decides nothing
(gateway.rules.stand_in), posts nothing (stand_in.py).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import Refused
from gateway.operations.stand_in_entry import Entry, EntryKind, read_entry
from gateway.rules.stand_in import Since
from gateway.store import stand_in_journal as journals
from gateway.store import stand_in_list as lists
from keys.errors import KeysError
from keys.master import belong_to, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LIST, NEW_LIST, JOURNAL, NEW_JOURNAL, LOCK = "cards.list", ".cards.list.new", "journal", ".journal.begun", "lock"
_PUT_ASIDE, _PUT_ASIDE_AT = re.compile(r"journal\.(\d{8}T\d{6})", re.ASCII), "%Y%m%dT%H%M%S"
MARKS_AT_ONCE = 1_000
NUMBERS = 100_000
"""Approval codes of stand-in: S and five digits."""


class Kept(NamedTuple):
    """What a journal says, read by whoever looks at it. ENTRIES by number; LIST: the list it belongs to; TORN: bytes cut off."""

    list: str
    first: int
    entries: dict[int, Entry]
    read: journals.Read

    @property
    def torn(self) -> int:
        """Bytes at its end that are no part."""
        return self.read.torn


def folder_of(data_dir: Path) -> Path:
    """Where stand-in keeps its files."""
    return data_dir / "stand-in"


def read_journal(folder: Path, verify: Callable[[bytes, bytes], bool], name: str = JOURNAL) -> Kept | None:
    """The journal of a folder; None where there is none. NAME: of one that was put aside. Raises Refused where it was changed."""
    found = journals.read(folder / name, verify)
    if found is None:
        return None
    entries: dict[int, Entry] = {}
    for part in found.parts:
        for said in part.get("decided", ()):
            entries[said["seq"]] = read_entry(said)
        for seq, reason in part.get("posted", ()):
            entries[seq].posted = reason
    return Kept(found.head["list"], found.head["first"], entries, found)


def ended_journals(folder: Path, verify: Callable[[bytes, bytes], bool], before: datetime) -> list[Path]:
    """Journals put aside before a time (UTC) of which everything is posted, the oldest first.

    One that has something unposted, or cannot be trusted, is for people, however old it is.
    """
    found = []
    for path in sorted(folder.glob(f"{JOURNAL}.*")):
        name = _PUT_ASIDE.fullmatch(path.name)
        if name is None:
            continue
        with suppress(Refused, KeyError, ValueError, TypeError):
            if datetime.strptime(name[1], _PUT_ASIDE_AT).replace(tzinfo=UTC) >= before:
                continue
            kept = read_journal(folder, verify, path.name)
            if kept is not None and not kept.torn and all(entry.posted for entry in kept.entries.values()):
                found.append(path)
    return found


class StandInFolder:
    """List and journal of one process. CARDS: the list in use; None: nothing can be stood in for, WHY says why.

    BROKEN: the journal cannot be trusted or written: nothing is stood in for until the process is started again.
    """

    def __init__(
        self, path: Path, lanes: int, mac: Callable[[bytes], bytes], verify: Callable[[bytes, bytes], bool]
    ) -> None:
        """Nothing is opened yet."""
        self.path = path
        self.cards: lists.CardList | None = None
        self.why = "not opened"
        self.broken = False
        self.entries: dict[bytes, Entry] = {}
        self._mac, self._verify = mac, verify
        self._lock: int | None = None
        self._journal: journals.Journal | None = None
        self._since: dict[bytes, Since] = {}
        self._owed: list[deque[Entry]] = [deque() for _ in range(lanes)]
        self._unmarked: list[tuple[int, str]] = []
        self._count = self._first = 0

    @property
    def holds_lock(self) -> bool:
        """Whether this is the process of the folder that stands in."""
        return self._lock is not None

    @property
    def count(self) -> int:
        """How many entries the journal has."""
        return self._count

    def take(self) -> bool:
        """Become the process of this folder, and read what is in it. Whether it is. Raises OSError."""
        if self._lock is not None:
            return True
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        belong_to(self.path.parent, self.path)
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            self.why = "another process of this data folder stands in"
            return False
        self._lock = descriptor
        self._read()
        return True

    def owed(self, lane: int) -> deque[Entry]:
        """What of a lane waits to be posted, the oldest first."""
        return self._owed[lane]

    @property
    def waiting(self) -> int:
        """How many entries wait to be posted, of all lanes."""
        return sum(map(len, self._owed))

    def since(self, pan_index: bytes) -> Since:
        """What was stood in for of a card since the list was made."""
        return self._since.get(pan_index) or Since()

    def approval(self, seq: int) -> str:
        """The approval code of an entry."""
        return f"S{(self._first + seq) % NUMBERS:05d}"

    async def append(self, entries: Sequence[Entry]) -> None:
        """Make entries last, one wait for the disk for all; they count from then on.

        Raises JournalBroken, after which nothing is stood in for any more, and KeysError, after which nothing has happened.
        """
        assert self._journal is not None  # noqa: S101 - with a list in use there is a journal
        data = self._journal.prepare({"decided": [entry.written() for entry in entries]})
        try:
            await asyncio.to_thread(self._journal.put, data)
        except journals.JournalBroken as error:
            self._break(f"the journal cannot be written ({error})")
            raise
        for entry in entries:
            self._count_in(entry)

    def mark_posted(self, posted: Sequence[tuple[Entry, str]]) -> None:
        """Entries are in the books, or with people: REASON says which. What the disk refuses is kept for write_marks()."""
        for entry, reason in posted:
            entry.posted, entry.stuck = reason, None
            self._unmarked.append((entry.seq, reason))
        self.write_marks()
        for lane in self._owed:
            while lane and lane[0].posted is not None:
                lane.popleft()
            if any(entry.posted is not None for entry in lane):  # one before it is stuck
                left = [entry for entry in lane if entry.posted is None]
                lane.clear()
                lane.extend(left)

    def write_marks(self) -> None:
        """Write down what is posted and not marked yet. After a kill without its mark it is posted again, and found posted."""
        with suppress(journals.JournalBroken, KeysError):
            while self._unmarked and self._journal is not None:
                self._journal.append({"posted": self._unmarked[:MARKS_AT_ONCE]})
                del self._unmarked[:MARKS_AT_ONCE]

    def install(self, cards: lists.CardList, count_before: int, at: datetime) -> bool:
        """Take up a list that was written beside the one in use, with a new journal. COUNT_BEFORE: entries before its snapshot.

        False: something was stood in for since, or waits, which the new list does not know of: it is dropped. Raises KeysError
        and OSError. What needs room on the disk comes first, so that one that is full changes nothing.
        """
        new = self.path / NEW_LIST
        self.write_marks()
        if self.waiting or self._unmarked or self._count != count_before or self.broken:
            cards.close()
            lists.drop(new)
            return False
        first = int(at.timestamp()) % NUMBERS
        journal = journals.Journal.create(
            self.path / NEW_JOURNAL, self._mac, {"list": cards.header.id, "first": first, "opened_at": at.isoformat()}
        )
        try:
            self._put_in_place(new, at)
        except OSError as error:  # which journal stands where is not known: nothing is to go into the one of before
            journal.close()
            self._break(f"the journal cannot be put in place ({error.strerror})")
            raise
        self._let_go()
        self._journal, self._first, self._count = journal, first, 0
        self.entries, self._since = {}, {}
        self.cards, self.why = cards, ""
        return True

    def close(self) -> None:
        """Let go of everything, the lock last."""
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read(self) -> None:
        """What a process before has left: what waits is posted; it is gone on with where list and journal belong together."""
        lists.drop(self.path / NEW_LIST)
        try:
            kept = read_journal(self.path, self._verify)
        except (Refused, KeyError, ValueError, TypeError) as error:
            self._break(str(error))
            return
        if kept is None:
            self.why = "no list of cards yet"
            return
        self._journal, self._first = journals.Journal.resume(self.path / JOURNAL, self._mac, kept.read), kept.first
        for entry in kept.entries.values():
            self._count_in(entry)
        try:
            cards = lists.CardList(self.path / LIST, self._verify)
            cards.prove()
        except Refused as error:
            self.why = str(error)
            return
        if cards.header.id != kept.list:
            cards.close()
            self.why = "the list of cards is not the one that the journal counts against"
            return
        self.cards, self.why = cards, ""

    def _put_in_place(self, new_list: Path, at: datetime) -> None:
        """A list and its journal where the ones of before are; all that was in these is posted."""
        if self._count:
            (self.path / JOURNAL).replace(self.path / f"{JOURNAL}.{at:{_PUT_ASIDE_AT}}")
        lists.place(new_list, self.path / LIST)
        (self.path / NEW_JOURNAL).replace(self.path / JOURNAL)
        sync_folder(self.path)

    def _count_in(self, entry: Entry) -> None:
        self._count = max(self._count, entry.seq + 1)
        self.entries[entry.key] = entry
        since = self._since.setdefault(entry.pan_index, Since())
        if entry.kind is EntryKind.APPROVED:
            since.given_idr += entry.amount_idr
        elif entry.kind is EntryKind.PIN_WRONG:
            since.wrong_pins += 1
        elif entry.original_key is not None and entry.original_key in self.entries:
            original = self.entries[entry.original_key]
            since.given_idr -= original.kept_idr - entry.kept_idr
            original.kept_idr = entry.kept_idr
        if entry.posted is None:
            self._owed[entry.cell % len(self._owed)].append(entry)

    def _break(self, why: str) -> None:
        self.broken, self.why = True, why
        if self.cards is not None:
            self.cards.close()
            self.cards = None

    def _let_go(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self.cards is not None:
            self.cards.close()
            self.cards = None


def status(folder: StandInFolder, now: datetime) -> dict[str, Any]:
    """How a folder stands, without cards and amounts."""
    header = None if folder.cards is None else folder.cards.header
    return {
        "stands_in": folder.cards is not None and folder.holds_lock,
        "why": folder.why or None,
        "cards": None if header is None else header.cards,
        "list_age_s": None if header is None else round((now - header.made_at).total_seconds()),
        "journal": folder.count,
        "waiting": folder.waiting,
    }
