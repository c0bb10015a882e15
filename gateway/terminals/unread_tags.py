"""Tags of a link's messages that the bank does not read itself, counted by field and tag: a partner's news is seen.

Of private fields with tags and of chip data. Keeps no value, and NAMES_MOST names at most, since a partner chooses them.
Refuses to know which tags the bank reads: private_fields.py and card_data.py do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from gateway.terminals.profile import Link

log = structlog.get_logger(__name__)

NAMES_MOST = 64
OTHER = "other"
"""What is above NAMES_MOST is counted under."""


class UnreadTags:
    """Of one link. Each name is told to the log when it is seen first."""

    __slots__ = ("_counts", "_link")

    def __init__(self, link: str, counts: Counter[str]) -> None:
        """COUNTS: where they are counted on, by names like 48.PI and 55.9F33."""
        self._link = link
        self._counts = counts

    def add(self, field: int, tags: Iterable[str]) -> None:
        """Count tags of a field of one message."""
        counts = self._counts
        for tag in tags:
            name = f"{field}.{tag}"
            if name not in counts:
                if len(counts) - (OTHER in counts) >= NAMES_MOST:
                    name = OTHER
                if name not in counts:
                    log.info("tag.unread", link=self._link, tag=name)
            counts[name] += 1


def unread_tags(link: Link, counts: Counter[str]) -> UnreadTags | None:
    """Where a link's are counted; None: no tag of its messages is looked at."""
    return UnreadTags(link.name, counts) if link.tags or link.chip != "off" else None
