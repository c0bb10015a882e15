"""Versions of links' keys that partners brought over their links, as stored: the block each came in, its first use, its end.

Refuses to know keys: a row has the label and version of one, and the digest of its block. Read next: gateway.rules.key_turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from gateway.rules.key_turns import Turn

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


class Came(NamedTuple):
    """What became of a block that came before: the version it was to be, and whether that still waits for its first use."""

    label: str
    version: int
    pending: bool


async def turns(connection: AsyncConnection) -> list[Turn]:
    """Every version whose turn is not over, by label and version."""
    rows = await connection.execute(TURNS)
    return [
        Turn(row.label, row.version, row.link, row.came_at, row.overlap_s, row.pending_s, row.used_at) for row in rows
    ]


async def came(connection: AsyncConnection, label: str, digest: bytes) -> Came | None:
    """The version of a key's block with this SHA-256; None: it has not come, or nothing came of it."""
    row = (await connection.execute(CAME, {"label": label, "digest": digest})).one_or_none()
    return None if row is None else Came(row.label, row.version, row.pending)


async def begin(connection: AsyncConnection, turn: Turn, digest: bytes, cut_off_at: datetime) -> bool:
    """A block comes, whose key will be this version. False: another process is just taking in another block under the number.

    What a change of before CUT_OFF_AT left there, which never ended, is written over; so is one of the same block.
    """
    values = {name: getattr(turn, name) for name in ("label", "version", "link", "came_at", "overlap_s", "pending_s")}
    return (await connection.execute(BEGIN, {**values, "digest": digest, "cut_off_at": cut_off_at})).rowcount == 1


async def uses(connection: AsyncConnection, label: str, version: int, at: datetime) -> None:
    """The first use of a version, whoever of two processes saw it first."""
    await connection.execute(USES, {"label": label, "version": version, "at": at})


async def ends(connection: AsyncConnection, label: str, version: int, at: datetime) -> None:
    """The turn of a version is over; its block is remembered."""
    await connection.execute(ENDS, {"label": label, "version": version, "at": at})


async def comes_to_nothing(connection: AsyncConnection, label: str, version: int, at: datetime) -> None:
    """No key came of a block: it may come again."""
    await connection.execute(COMES_TO_NOTHING, {"label": label, "version": version, "at": at})


TURNS = text(
    """
    SELECT label, version, link, came_at, overlap_s, pending_s, used_at FROM link_key
    WHERE over_at IS NULL ORDER BY label, version
    """
)
CAME = text(
    """
    SELECT label, version, used_at IS NULL AND over_at IS NULL AS pending FROM link_key
    WHERE block_digest = :digest AND label = :label ORDER BY came_at DESC LIMIT 1
    """
)
BEGIN = text(
    """
    INSERT INTO link_key (label, version, link, block_digest, came_at, overlap_s, pending_s)
    VALUES (:label, :version, :link, :digest, :came_at, :overlap_s, :pending_s)
    ON CONFLICT (label, version) DO UPDATE SET link = excluded.link, block_digest = excluded.block_digest,
        came_at = excluded.came_at, overlap_s = excluded.overlap_s, pending_s = excluded.pending_s, used_at = NULL, over_at = NULL
    WHERE link_key.over_at IS NOT NULL OR link_key.block_digest = excluded.block_digest OR link_key.came_at < :cut_off_at
    """
)
USES = text(
    "UPDATE link_key SET used_at = :at WHERE label = :label AND version = :version AND used_at IS NULL AND over_at IS NULL"
)
ENDS = text("UPDATE link_key SET over_at = :at WHERE label = :label AND version = :version AND over_at IS NULL")
COMES_TO_NOTHING = text(
    "UPDATE link_key SET over_at = :at, block_digest = NULL WHERE label = :label AND version = :version"
)
