"""What people see of stand-in, read from its folder alone: the books may be away, and the service too. And what is removed of it.

Shows no card number: the bank's number of a card, amounts, and what was told. Read next: stand_in_folder.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.operations.bank import transaction
from gateway.operations.stand_in_entry import EntryKind
from gateway.operations.stand_in_folder import LIST, LOCK, ended_journals, folder_of, read_journal
from gateway.rules.authorise import DeclineReason
from gateway.store.audit import Operation
from gateway.store.stand_in_list import CardList
from keys.master import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.operations.stand_in_entry import Entry


@dataclass(frozen=True, slots=True)
class StandInReport:
    """How stand-in stands. RUNNING: whether a process holds the folder. WRONG: what cannot be trusted; None: nothing.

    NOT_POSTED: what was approved and is with people, as the books could not follow it.
    """

    running: bool
    list_made_at: datetime | None
    list_cards: int
    wrong: str | None
    torn_bytes: int
    entries: Sequence[Entry]

    @property
    def waiting(self) -> list[Entry]:
        """What waits to be posted."""
        return [entry for entry in self.entries if entry.posted is None]

    @property
    def not_posted(self) -> list[Entry]:
        """Approved, told, and not in the books."""
        told = [entry for entry in self.entries if entry.kind is EntryKind.APPROVED and entry.posted is not None]
        return [entry for entry in told if entry.posted != DeclineReason.APPROVED.value]


def look(folder: Path, verify: Callable[[bytes, bytes], bool]) -> StandInReport:
    """What is in a folder. VERIFY: whether data (first) has this MAC (second) of the bank."""
    made_at, cards, wrong, torn, entries = None, 0, None, 0, []
    try:
        if (folder / LIST).exists():
            found = CardList(folder / LIST, verify)
            made_at, cards = found.header.made_at, found.header.cards
            try:
                found.prove()
            finally:
                found.close()
        kept = read_journal(folder, verify)
        if kept is not None:
            entries, torn = list(kept.entries.values()), kept.torn
    except Refused as error:
        wrong = str(error)
    return StandInReport(_held(folder / LOCK), made_at, cards, wrong, torn, entries)


async def remove_ended(bank: Bank, actor: str) -> int:
    """Remove journals of this data folder that are posted, and older than messages are kept. Returns how many.

    What they hold are messages, sealed; what each did is in the audit chain for good, and so is that they were removed.
    """
    days, folder = bank.settings.message_days, folder_of(bank.settings.data_dir)
    ended = await asyncio.to_thread(ended_journals, folder, bank.audit_verify, bank.now() - timedelta(days=days))
    if ended:
        async with transaction(bank, actor) as tx:
            await tx.record(Operation.MESSAGES_REMOVE, f"after {days} days", journals=[path.name for path in ended])
        for path in ended:
            path.unlink(missing_ok=True)
        sync_folder(folder)
    return len(ended)


def _held(lock: Path) -> bool:
    """Whether some process holds a lock. It is let go at once where none does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
