"""Keys that a partner changes over its link: which version waits for its first use, and until when an older one works.

A version comes, and is PENDING: what is proved under it is believed, and nothing is made under it. Its first valid use makes it
the key of the link; older versions go on for the overlap, and are then ended. One that nobody uses in time is dropped. Kept in
memory as the table link_key has it, with first uses that are not written yet. Pure: refuses to know keys, time and the database.
Read next: gateway.operations.link_keys.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

CHANGES_MOST = 12
"""Keys that a link may bring within CHANGES_WITHIN: each is in the keystore for good. What fails is bounded by Attempts."""
CHANGES_WITHIN = timedelta(hours=1)
FAILING_MOST, FAILING_WITHIN_S = 12, 3_600.0
"""Failing changes of new connections of one link; where it were more, a connection waits until it is NEW_FOR_S old."""
NEW_FOR_S = 60.0
FREE_FAILURES = 2
"""So many failures of a connection bring no pause: an honest host sends a block of before, or one too early."""
PAUSE_LEAST_S, PAUSE_DOUBLED_MOST = 1.0, 12


class Version(Protocol):
    """A handle of a key, as far as turns go."""

    @property
    def label(self) -> str:
        """The key's name."""

    @property
    def version(self) -> int:
        """Which key of that name."""


Handle = TypeVar("Handle", bound=Version)


class Due(StrEnum):
    """What is to be done of a version now, and why."""

    DROP = "nobody used it in time"
    OVERTAKEN = "a newer one was used first"
    END_OLDER = "the overlap is over"
    REFUSED = "the partner refused it"


@dataclass(frozen=True, slots=True)
class Turn:
    """One version, which came over LINK at CAME_AT and was first used at USED_AT (UTC). OVERLAP_S, PENDING_S: of the profile."""

    label: str
    version: int
    link: str
    came_at: datetime
    overlap_s: int
    pending_s: int
    used_at: datetime | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Label and version."""
        return self.label, self.version

    def due(self, now: datetime) -> Due | None:
        """What is to be done of it at NOW; None: nothing yet."""
        if self.used_at is None:
            return Due.DROP if now >= self.came_at + timedelta(seconds=self.pending_s) else None
        return Due.END_OLDER if now >= self.used_at + timedelta(seconds=self.overlap_s) else None


class Asker(Protocol):
    """A connection, as far as its changes of keys go. It can be referred to weakly."""

    @property
    def since(self) -> float:
        """When it was opened, in seconds of the clock that asks."""


class Attempts:
    """Changes of keys that failed over one link: who sends what does not open waits, and keeps nobody else waiting.

    A connection rests after each failure but the first two, twice as long each time, to an hour and some. One that is closed and
    opened again begins anew, so new ones share a bound; a connection that has stood for a while, as a switch's does, is not held
    up by it.
    """

    def __init__(self) -> None:
        self._failures: WeakKeyDictionary[Asker, tuple[int, float]] = WeakKeyDictionary()
        self._of_new: deque[float] = deque(maxlen=FAILING_MOST)

    def may_try(self, asker: Asker, now_s: float) -> bool:
        """Whether a change that ASKER brings is looked at."""
        if now_s < self._failures.get(asker, (0, now_s))[1]:
            return False
        used_up = len(self._of_new) == FAILING_MOST and now_s - self._of_new[0] < FAILING_WITHIN_S
        return not used_up or now_s - asker.since >= NEW_FOR_S

    def failed(self, asker: Asker, now_s: float) -> None:
        """One that ASKER brought was refused."""
        count = self._failures.get(asker, (0, 0.0))[0] + 1
        doubled = min(count - FREE_FAILURES - 1, PAUSE_DOUBLED_MOST)
        self._failures[asker] = count, now_s if doubled < 0 else now_s + PAUSE_LEAST_S * 2.0**doubled
        if now_s - asker.since < NEW_FOR_S:
            self._of_new.append(now_s)

    def succeeded(self, asker: Asker) -> None:
        """One was taken in: its failures are forgotten."""
        self._failures.pop(asker, None)


class KeyTurns:
    """The turns of one process that are not over. UNWRITTEN: first uses that the table has not yet, by label and version."""

    def __init__(self) -> None:
        self.pending: frozenset[tuple[str, int]] = frozenset()
        self.unwritten: dict[tuple[str, int], datetime] = {}
        self._turns: dict[tuple[str, int], Turn] = {}
        self._changed: dict[str, deque[datetime]] = {}
        self._attempts: dict[str, Attempts] = {}
        self._resting: dict[tuple[str, int], datetime] = {}

    def know(self, turns: Iterable[Turn]) -> None:
        """What the table has by now. A first use that it has not yet counts all the same."""
        found = {turn.key: turn for turn in turns}
        for key, used_at in self.unwritten.items():
            if key in found and found[key].used_at is None:
                found[key] = replace(found[key], used_at=used_at)
        self._turns = found
        self.pending = frozenset(key for key, turn in found.items() if turn.used_at is None)

    def know_one(self, turn: Turn) -> None:
        """One more."""
        self.know((self._turns | {turn.key: turn}).values())

    def forget(self, key: tuple[str, int]) -> None:
        """The turn of a version (label, version) is over."""
        self._resting.pop(key, None)
        self.know(turn for turn in self._turns.values() if turn.key != key)

    def in_order(self, keys: Sequence[Handle]) -> list[Handle]:
        """KEYS of one label with those that are pending last: the first is the one to make something under."""
        return sorted(keys, key=self.is_pending) if self.pending else list(keys)

    def is_pending(self, key: Version) -> bool:
        """Whether a version waits for its first use."""
        return (key.label, key.version) in self.pending

    def uses(self, key: Version, now: datetime) -> None:
        """Something was right under a version: where that was its first use, its turn has come."""
        name = key.label, key.version
        if name in self.pending:
            self.unwritten[name] = now
            self.know(self._turns.values())

    def first_uses(self, now: datetime) -> list[Turn]:
        """Versions whose first use is to be written."""
        self.unwritten = {key: at for key, at in self.unwritten.items() if key in self._turns}
        return [self._turns[key] for key in self.unwritten if not self._rests(key, now)]

    def rest(self, key: tuple[str, int], until: datetime) -> None:
        """What is to be done of a version could not be: it is not tried again before UNTIL."""
        self._resting[key] = until

    def _rests(self, key: tuple[str, int], now: datetime) -> bool:
        return key in self._resting and now < self._resting[key]

    def due(self, now: datetime) -> list[tuple[Turn, Due]]:
        """What is to be done at NOW."""
        used: dict[str, int] = {}
        for turn in self._turns.values():
            if turn.used_at is not None:
                used[turn.label] = max(turn.version, used.get(turn.label, 0))
        found = []
        for turn in self._turns.values():
            overtaken = turn.used_at is None and turn.version < used.get(turn.label, 0)
            what = Due.OVERTAKEN if overtaken else turn.due(now)
            found += [] if what is None or self._rests(turn.key, now) else [(turn, what)]
        return found

    def turn_of(self, key: Version) -> Turn | None:
        """The turn of a version; None: it is over, or it never had one."""
        return self._turns.get((key.label, key.version))

    def may_change(self, link: str, now: datetime) -> bool:
        """Whether one more key may come over a link."""
        changed = self._changed.get(link)
        return changed is None or len(changed) < CHANGES_MOST or now - changed[0] >= CHANGES_WITHIN

    def changed(self, link: str, now: datetime) -> None:
        """A key came over a link."""
        self._changed.setdefault(link, deque(maxlen=CHANGES_MOST)).append(now)

    def attempts(self, link: str) -> Attempts:
        """What failed over a link."""
        return self._attempts.setdefault(link, Attempts())
