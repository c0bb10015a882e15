"""Uses of keys that the HSM refused: each is in the log at once and in the audit chain within moments.

The HSM tells of a refusal in the middle of somebody's work, where no transaction may be begun: so refusals are counted here, by
key, operation and reason, and written by whoever comes next (the running service each second, a command when it ends). Refuses
to know why the use was asked for.
"""

from __future__ import annotations

import threading
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

import structlog

from gateway.operations.bank import transaction
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from keys.toolbox import Refusal

_log = structlog.get_logger(__name__)


PEER_EVERY_S = 60.0

Kind: TypeAlias = tuple[str, str, str]
"""Key, operation, reason."""


class Refusals:
    """Refusals that are not written yet. Bounded by what can differ: keys, operations, reasons."""

    def __init__(self) -> None:
        self._counts: Counter[Kind] = Counter()
        self._of_peers: Counter[Kind] = Counter()
        self._written: dict[Kind, float] = {}
        self._lock = threading.Lock()

    def note(self, refusal: Refusal) -> None:
        """Log and count one: the HSM's hook."""
        _log.warning("key_refused", key_name=refusal.key, operation=refusal.operation.value, reason=refusal.reason)
        with self._lock:
            self._counts[refusal.key, refusal.operation.value, refusal.reason] += 1

    def note_of_peer(self, refusal: Refusal) -> None:
        """Count one that a partner brought about: the first is written at once, what follows of its kind once a minute.

        So whoever sends rubbish fills the log of refusals no faster than that. The caller has logged it.
        """
        with self._lock:
            self._of_peers[refusal.key, refusal.operation.value, refusal.reason] += 1

    def take(self, *, every: bool = False) -> Counter[Kind]:
        """What is to be written; it is no longer here. EVERY: also what would wait for its minute."""
        now = monotonic()
        with self._lock:
            taken, self._counts = self._counts, Counter()
            for kind in list(self._of_peers):
                if every or now - self._written.get(kind, -PEER_EVERY_S) >= PEER_EVERY_S:
                    taken[kind] += self._of_peers.pop(kind)
                    self._written[kind] = now
        return taken

    def put_back(self, taken: Counter[Kind]) -> None:
        """What could not be written after all."""
        with self._lock:
            self._counts.update(taken)


async def write_refusals(bank: Bank, *, every: bool = False) -> int:
    """Write an audit event for each kind of refusal since the last time. Returns how many refusals they stand for.

    EVERY: also of those that partners brought about, which are written once a minute.
    """
    taken = bank.refusals.take(every=every)
    if not taken:
        return 0
    try:
        async with transaction(bank, "hsm") as tx:
            for (key, operation, reason), times in sorted(taken.items()):
                await tx.record(Operation.KEY_REFUSED, key, refused=operation, reason=reason, times=times)
    except BaseException:
        bank.refusals.put_back(taken)
        raise
    return taken.total()
