"""Every sealed column of the database, and the SQL to find what is sealed under which key and to put it sealed anew in its place.

A sealed value begins with 9 bytes that name its key (keys.vault), so the data itself says what is left to do. Refuses to know
keys and what columns mean. A new sealed column is named in SEALED: tests/gateway/store/test_sealed.py finds one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

Key = tuple[int, ...]
PREFIX_BYTES = 9
FIRST = -1  # below every number a key has
ROWS = 250  # a batch of single values: a card's row is locked for some milliseconds
CHUNKS = 4  # a batch of chunks: each may be some megabytes


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed columns. KEY: its unique columns, which with a colon between are the row each value is sealed for."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    batch: int

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Its columns as they are told to people."""
        return tuple(f"{self.name}.{column}" for column in self.columns)


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A row with something to seal anew. VALUES: by column; None where that one is not."""

    key: Key
    values: tuple[bytes | None, ...]

    @property
    def place(self) -> str:
        """The row its values are sealed for."""
        return ":".join(map(str, self.key))


@dataclass(frozen=True, slots=True)
class Change:
    """A row with its values sealed anew; None where that column stays as it is."""

    row: SealedRow
    values: tuple[bytes | None, ...]


SEALED = (
    SealedTable("card", ("id",), ("pan",), ROWS),
    SealedTable("family", ("id",), ("nik", "no_kk", "mother_name"), ROWS),
    SealedTable("kpm_chunk", ("batch_id", "first_line"), ("record", "family_record"), CHUNKS),
    SealedTable("kpm_row", ("batch_id", "line"), ("record",), ROWS),  # lists taken in before there were chunks
    SealedTable("outgoing_message", ("id",), ("content",), ROWS),
    SealedTable("si_chunk", ("si_id", "first_line"), ("record",), CHUNKS),
    SealedTable("si_part", ("si_id", "lane", "first_line"), ("staged",), CHUNKS),
    SealedTable("si_row", ("si_id", "line"), ("record",), ROWS),  # as kpm_row
)


async def count_by_prefix(connection: AsyncConnection, table: SealedTable) -> dict[str, dict[bytes, int]]:
    """For each sealed column of a table, as table.column: how many values begin with which 9 bytes. Reads the table once."""
    found: dict[str, dict[bytes, int]] = {place: {} for place in table.places}
    for row in await connection.execute(_count(table)):
        found[row.place][bytes(row.prefix)] = row.values
    return found


async def not_under(
    connection: AsyncConnection, table: SealedTable, prefix: bytes, after: Key | None = None
) -> list[SealedRow]:
    """The next rows, by key, that have a value that does not begin with PREFIX; at most a batch. AFTER: the last one seen."""
    start = after or (FIRST,) * len(table.key)
    values = {f"k{at}": number for at, number in enumerate(start)} | {"prefix": prefix, "most": table.batch}
    keys = len(table.key)
    return [
        SealedRow(tuple(row[:keys]), tuple(None if one is None else bytes(one) for one in row[keys:]))
        for row in await connection.execute(_not_under(table), values)
    ]


async def put(connection: AsyncConnection, table: SealedTable, changes: Sequence[Change]) -> set[Key]:
    """Put values in the place of those they were made of, in one statement. Returns the keys of the rows where that was done.

    A row that somebody has changed since it was read, or holds locked, is left as it is: nobody is waited for, nothing is lost.
    """
    values: dict[str, Any] = {f"k{at}": [one.row.key[at] for one in changes] for at in range(len(table.key))}
    for at in range(len(table.columns)):
        values[f"old{at}"] = [one.row.values[at] for one in changes]
        values[f"new{at}"] = [one.values[at] for one in changes]
    return {tuple(row) for row in await connection.execute(_put(table), values)}


async def newest_writer(connection: AsyncConnection) -> int:
    """A number above those of all transactions that have begun to write. It is this transaction's own, which must end first."""
    return int((await connection.execute(NEWEST_WRITER)).scalar_one())


async def writers_before(connection: AsyncConnection, number: int) -> bool:
    """Whether a transaction with a number below this one is still under way."""
    return bool((await connection.execute(WRITERS_BEFORE, {"number": number})).scalar_one())


@lru_cache
def _count(table: SealedTable) -> TextClause:
    values = ", ".join(
        f"('{place}', substring(t.{column} FROM 1 FOR {PREFIX_BYTES}))"
        for place, column in zip(table.places, table.columns, strict=True)
    )
    return text(f"""
        SELECT v.place, v.prefix, count(*) AS values
        FROM {table.name} t CROSS JOIN LATERAL (VALUES {values}) v (place, prefix)
        WHERE v.prefix IS NOT NULL GROUP BY 1, 2
    """)


@lru_cache
def _not_under(table: SealedTable) -> TextClause:
    key = ", ".join(f"t.{name}" for name in table.key)
    after = ", ".join(f"CAST(:k{at} AS bigint)" for at in range(len(table.key)))
    other = [f"substring(t.{column} FROM 1 FOR {PREFIX_BYTES}) <> :prefix" for column in table.columns]
    values = ", ".join(f"CASE WHEN {one} THEN t.{column} END" for one, column in zip(other, table.columns, strict=True))
    return text(f"""
        SELECT {key}, {values} FROM {table.name} t WHERE ({key}) > ({after}) AND ({" OR ".join(other)})
        ORDER BY {key} LIMIT :most
    """)


@lru_cache
def _put(table: SealedTable) -> TextClause:
    keys = [f"k{at}" for at in range(len(table.key))]
    pairs = [(f"old{at}", f"new{at}", column) for at, column in enumerate(table.columns)]
    given = [f"CAST(:{key} AS bigint[])" for key in keys]
    given += [f"CAST(:{name} AS bytea[])" for old, new, _ in pairs for name in (old, new)]
    names = ", ".join([*keys, *(name for old, new, _ in pairs for name in (old, new))])
    same = [f"t.{name} = w.{key}" for name, key in zip(table.key, keys, strict=True)]
    same += [f"(w.{new} IS NULL OR t.{column} = w.{old})" for old, new, column in pairs]
    there = " AND ".join(same)
    return text(f"""
        WITH given AS (SELECT * FROM unnest({", ".join(given)}) AS w ({names})), free AS (
            SELECT w.* FROM given w JOIN {table.name} t ON {there} FOR UPDATE OF t SKIP LOCKED
        )
        UPDATE {table.name} t SET {", ".join(f"{column} = coalesce(w.{new}, t.{column})" for _, new, column in pairs)}
        FROM free w WHERE {there} RETURNING {", ".join(f"w.{key}" for key in keys)}
    """)


NEWEST_WRITER = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
WRITERS_BEFORE = text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) < :number")
