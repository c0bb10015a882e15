"""What a link counts while it works, for its status: messages, answers by code, what was refused, how long answers took.

In memory, since the process started; never a message, a card or an amount. Refuses to know who shows it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, fields

ANSWER_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
"""Upper ends of the buckets of answer times, in milliseconds; one more bucket holds what took longer."""


@dataclass(slots=True)
class Counters:
    """Of one link since the process started.

    RECEIVED: messages that came, readable or not. ANSWERED: answers by response code (DE39). UNMATCHED: answers nobody waited
    for. UNREADABLE: messages that broke the dialect or the header. EXPIRED: requests that grew too old before they were decided.
    ABANDONED: requests whose connection was gone before. CUT_OFF: connections closed over an unfinished message. BROKEN:
    connections closed over a length that makes no sense. PEERS_REFUSED: connections of a wrong address or certificate. FULL:
    connections above the most. HANDSHAKES_CUT_OFF and HANDSHAKES_FAILED: of TLS, that took too long, and that broke. SILENT:
    connections closed since nobody answered our echoes, or nothing came. ASKED and TIMED_OUT: requests of our own, and those
    nobody answered in time.
    UNDECIDED: requests without an honest answer, whose commit nobody knows of. UNSENT: answers whose connection was gone, or that
    could not be written. REFUSED: messages answered with a code alone before anybody decided, by what stopped them.
    UNPROVED: messages whose MAC was missing, wrong or too old, by reason, changes of keys that were refused, and messages of ours
    that no key made a MAC for. UNREAD_TAGS: tags that the bank does not read itself, by field and tag (unread_tags.py).
    """

    received: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    unmatched: int = 0
    unreadable: int = 0
    expired: int = 0
    abandoned: int = 0
    cut_off: int = 0
    broken: int = 0
    peers_refused: int = 0
    full: int = 0
    handshakes_cut_off: int = 0
    handshakes_failed: int = 0
    silent: int = 0
    asked: int = 0
    timed_out: int = 0
    undecided: int = 0
    unsent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unproved: Counter[str] = field(default_factory=Counter)
    unread_tags: Counter[str] = field(default_factory=Counter)
    times: dict[str, list[int]] = field(default_factory=dict)

    def took(self, kind: str, seconds: float) -> None:
        """Count an answer to a request of KIND that took so long."""
        buckets = self.times.get(kind)
        if buckets is None:
            buckets = self.times[kind] = [0] * (len(ANSWER_MS) + 1)
        buckets[bisect_left(ANSWER_MS, seconds * 1_000)] += 1

    def shown(self) -> dict[str, object]:
        """For the status. `answer_ms`: for each kind of request, how many were answered within so many milliseconds."""
        names = (*map(str, ANSWER_MS), "more")
        counts: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "times"}
        for name in ("answered", "refused", "unproved", "unread_tags"):
            counts[name] = dict(sorted(getattr(self, name).items()))
        counts["answer_ms"] = {
            kind: dict(zip(names, buckets, strict=True)) for kind, buckets in sorted(self.times.items())
        }
        return counts
