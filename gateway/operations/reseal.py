"""Sealing anew, under the newest sealing key, everything in the database that is sealed under an older one.

Goes through each table of gateway.store.sealed by key, a bounded batch a transaction. The data itself says what is left: a run
that is killed loses nothing and the next goes on; two at once share the work. Blind indexes stay: they are made with the
index key, which is another key and is not rotated. Read next: docs/keys/vault.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.operations.bank import Bank, reading, transaction
from gateway.operations.custody import SEALING_LABEL
from gateway.store import sealed
from gateway.store.audit import Operation
from keys.errors import KeyRefused, VaultError
from keys.keytypes import KeyUsage
from keys.vault import VERSION, key_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.store.sealed import Change, Key, SealedRow, SealedTable
    from keys.keytypes import KeyHandle

NAMED_MOST = 20  # of the values that do not open; all are counted
PASSES_MOST = 5  # over a table, while others hold or change its rows
WRITERS_WAIT_S = 10.0
WRITERS_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that does not open, and why. Never the value."""

    place: str
    row: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place} of row {self.row}: {self.reason}"


@dataclass(slots=True)
class Resealed:
    """What a run did, by column: sealed anew; still not under the newest key; of those, not to be opened at all."""

    resealed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    named: list[Unreadable] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is left."""
        return not self.left.total()


@dataclass(slots=True)
class _Seen(Resealed):
    """What one pass over a table did. BARRED: how values begin whose key may not be used now; it is asked once, not for each."""

    barred: set[bytes] = field(default_factory=set)


async def reseal(bank: Bank, actor: str, progress: Callable[[int], None] | None = None) -> Resealed:
    """Seal anew what is sealed under an older version of the sealing key. PROGRESS hears how many rows more are done.

    What does not open is counted and named, stays as it is, and does not stop the run. What is under a key that may not be used
    now (SUSPENDED), or in use by somebody for too long, is left without a name. Values under the newest key are not opened.
    """
    bank.vault.refresh()
    done = Resealed()
    for table in sealed.SEALED:
        if (await _old(bank, table)).total():
            await _reseal_table(bank, table, done, progress)
            done.left.update(await _old(bank, table))
    async with transaction(bank, actor) as tx:
        await tx.record(
            Operation.VAULT_RESEAL, str(bank.vault.sealing_key.label), version=bank.vault.sealing_key.version,
            resealed=dict(done.resealed), left=dict(done.left), unreadable=dict(done.unreadable),
        )  # fmt: skip
    return done


async def rows_to_do(bank: Bank) -> int:
    """About how many rows a run has to do: values that are not under the newest key, the most of any column of a table."""
    bank.vault.refresh()
    counts = [await _old(bank, table) for table in sealed.SEALED]
    return sum(max(count.values(), default=0) for count in counts)


async def has_older_keys(bank: Bank) -> bool:
    """Whether the sealing key has more than one version: with one, nothing can be old."""
    bank.vault.refresh()
    return len(bank.hsm.versions(SEALING_LABEL)) > 1


async def count_under(bank: Bank, key: KeyHandle) -> dict[str, int]:
    """How many values are sealed under one version of a sealing key, by table.column; 0 where there is none."""
    prefix = VERSION + key_id(key)
    return {place: found.get(prefix, 0) for place, found in (await _count(bank)).items()}


async def count_by_key(bank: Bank) -> dict[str, dict[str, int]]:
    """For each sealed column, as table.column: how many values are sealed under which key, by its name; "" for one we lack."""
    bank.vault.refresh()
    names = {VERSION + key_id(key): f"{key.label}#{key.version}" for key in bank.hsm.versions(SEALING_LABEL)}
    counts: dict[str, dict[str, int]] = {}
    for place, found in (await _count(bank)).items():
        told = counts.setdefault(place, {})
        for prefix, count in found.items():
            name = names.get(prefix, "")
            told[name] = told.get(name, 0) + count
    return counts


async def refuse_if_used(bank: Bank, key: KeyHandle) -> None:
    """Raise Refused, naming the counts, unless a key can be destroyed without losing anything that is sealed in the database.

    The newest sealing key can never be. What transactions have written that were under way is waited for, at most 10 s. A key of
    another usage seals nothing here. The key must be out of use before (DEACTIVATED or COMPROMISED) in every process that seals.
    """
    if key.usage is not KeyUsage.DATA_SEALING:
        return
    name = f"key {key.label}#{key.version}"
    bank.vault.refresh()
    if key_id(key) == key_id(bank.vault.sealing_key):
        raise Refused(f"{name} is what the bank seals with: make a new version first")
    await _let_writers_end(bank, name)
    used = {place: count for place, count in (await count_under(bank, key)).items() if count}
    if used:
        told = ", ".join(f"{place} {count}" for place, count in used.items())
        raise Refused(f"{name} still seals {sum(used.values())} values ({told}): `kks vault reseal` first")


async def _reseal_table(bank: Bank, table: SealedTable, done: Resealed, progress: Callable[[int], None] | None) -> None:
    for _ in range(PASSES_MOST):
        seen = _Seen()
        missed = await _pass(bank, table, seen, progress)
        done.resealed.update(seen.resealed)
        if not missed:
            break
    done.unreadable.update(seen.unreadable)
    done.named += seen.named[: NAMED_MOST - len(done.named)]


async def _pass(bank: Bank, table: SealedTable, seen: _Seen, progress: Callable[[int], None] | None) -> int:
    """Once through a table by key. Returns how many rows were changed or held by others meanwhile."""
    after: Key | None = None
    missed = 0
    while True:
        async with bank.database.engine.begin() as connection:
            rows = await sealed.not_under(connection, table, bank.vault.current, after)
            changes = [change for row in rows if (change := _sealed_anew(bank, table, row, seen)) is not None]
            put = await sealed.put(connection, table, changes) if changes else set()
        for change in changes:
            if change.row.key in put:
                seen.resealed.update(
                    place for place, new in zip(table.places, change.values, strict=True) if new is not None
                )
        missed += len(changes) - len(put)
        if progress is not None:
            progress(len(put))
        if len(rows) < table.batch:
            return missed
        after = rows[-1].key


def _sealed_anew(bank: Bank, table: SealedTable, row: SealedRow, seen: _Seen) -> Change | None:
    """A row's values under the newest key; None where none of them opens."""
    values: list[bytes | None] = []
    for column, place, old in zip(table.columns, table.places, row.values, strict=True):
        new = None
        if old is not None and old[: sealed.PREFIX_BYTES] not in seen.barred:
            try:
                new = bank.vault.reseal(old, table=table.name, row=row.place, column=column)
            except VaultError as error:
                seen.unreadable[place] += 1
                if len(seen.named) < NAMED_MOST:
                    seen.named.append(Unreadable(place, row.place, str(error)))
            except KeyRefused:
                seen.barred.add(old[: sealed.PREFIX_BYTES])
        values.append(new)
    return sealed.Change(row, tuple(values)) if any(value is not None for value in values) else None


async def _count(bank: Bank) -> dict[str, dict[bytes, int]]:
    """For each sealed column: how many values begin with which 9 bytes (version and key id)."""
    found: dict[str, dict[bytes, int]] = {}
    for table in sealed.SEALED:
        async with reading(bank) as connection:
            found |= await sealed.count_by_prefix(connection, table)
    return found


async def _old(bank: Bank, table: SealedTable) -> Counter[str]:
    """How many values of each column are not under the newest key."""
    async with reading(bank) as connection:
        counts = await sealed.count_by_prefix(connection, table)
    current = bank.vault.current
    old = {place: sum(n for prefix, n in found.items() if prefix != current) for place, found in counts.items()}
    return Counter({place: count for place, count in old.items() if count})


async def _let_writers_end(bank: Bank, name: str) -> None:
    """Until what was being written has been written, or given up: it can be counted only then."""
    engine = bank.database.engine
    async with engine.begin() as connection:
        newest = await sealed.newest_writer(connection)
    for _ in range(round(WRITERS_WAIT_S / WRITERS_LOOK_S)):
        async with engine.connect() as connection:
            if not await sealed.writers_before(connection, newest):
                return
        await asyncio.sleep(WRITERS_LOOK_S)
    raise Refused(
        f"{name}: somebody has been writing for {WRITERS_WAIT_S:.0f} seconds, and it may be under this key: try again"
    )
