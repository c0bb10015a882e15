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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

CHANGES_MOST = 12
"""Changes that a link may ask for within CHANGES_WITHIN, right or wrong ones: each may leave a key in the keystore for good."""
CHANGES_WITHIN = timedelta(hours=1)


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


class KeyTurns:
    """The turns of one process that are not over. UNWRITTEN: first uses that the table has not yet, by label and version."""

    def __init__(self) -> None:
        self.pending: frozenset[tuple[str, int]] = frozenset()
        self.unwritten: dict[tuple[str, int], datetime] = {}
        self._turns: dict[tuple[str, int], Turn] = {}
        self._asked: dict[str, deque[datetime]] = {}
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

    def may_change(self, link: str, now: datetime) -> bool:
        """Whether a link may ask for one more change of a key; it is counted."""
        asked = self._asked.setdefault(link, deque(maxlen=CHANGES_MOST))
        if len(asked) == CHANGES_MOST and now - asked[0] < CHANGES_WITHIN:
            return False
        asked.append(now)
        return True
