"""Uses of keys that the HSM refused: each is in the log at once and in the audit chain within moments.

The HSM tells of a refusal in the middle of somebody's work, where no transaction may be begun: so refusals are counted here, by
key, operation and reason, and written by whoever comes next (the running service each second, a command when it ends). Refuses
to know why the use was asked for.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from gateway.operations.bank import transaction
from gateway.store.audit import Operation

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from keys.toolbox import Refusal

_log = structlog.get_logger(__name__)


class Refusals:
    """Refusals that are not written yet. Bounded by what can differ: keys, operations, reasons."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def note(self, refusal: Refusal) -> None:
        """Log and count one: the HSM's hook."""
        _log.warning("key_refused", key_name=refusal.key, operation=refusal.operation.value, reason=refusal.reason)
        with self._lock:
            self._counts[refusal.key, refusal.operation.value, refusal.reason] += 1

    def take(self) -> Counter[tuple[str, str, str]]:
        """What is to be written; it is no longer here."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return taken

    def put_back(self, taken: Counter[tuple[str, str, str]]) -> None:
        """What could not be written after all."""
        with self._lock:
            self._counts.update(taken)


async def write_refusals(bank: Bank) -> int:
    """Write an audit event for each kind of refusal since the last time. Returns how many refusals they stand for."""
    taken = bank.refusals.take()
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
