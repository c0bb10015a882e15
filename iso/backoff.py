"""How long to wait before a host is called again: longer each time, and not the same for all who lost it together.

Knows no connection: who calls decides what counts as a failure.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

_DOUBLINGS_MAX = 60
_CHANCE = 1_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits before the next attempt: `first_s`, doubled after each failure up to `most_s`.

    Chance takes up to the share `jitter` away from each, so that many who lost a host together do not come back together.
    """

    first_s: float = 0.5
    most_s: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Refuse waits of no length. Raises ValueError."""
        if not 0 < self.first_s <= self.most_s or not 0 <= self.jitter < 1:
            raise ValueError("a back-off has 0 < first_s <= most_s and 0 <= jitter < 1")

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, 1 or more."""
        longest_s: float = min(self.most_s, self.first_s * 2 ** min(failures - 1, _DOUBLINGS_MAX))
        return longest_s * (1 - self.jitter * secrets.randbelow(_CHANCE + 1) / _CHANCE)
