"""What was done with keys, read from the audit chain. Refuses to know keys. Read next: gateway.operations.ceremony.

A look into the chain bears every event it has, also one from before gateway.store.audit made plain what enters it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.store.audit import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Act:
    """One audit event of a key. `operation`: key. and begun, done, failed, refused, seen; `key`: a label, or label#version."""

    seq: int
    at: datetime
    actor: str
    operation: str
    key: str
    detail: dict[str, Any]


async def acts(connection: AsyncConnection, first: date | None = None, last: date | None = None) -> list[Act]:
    """Every act from FIRST to LAST business date (both included), in order."""
    rows = await connection.execute(ACTS, {"first": first and first.isoformat(), "last": last and last.isoformat()})
    return [Act(row.seq, row.at, row.actor, row.operation, row.subject, plain(json.loads(row.detail))) for row in rows]


async def done_by(connection: AsyncConnection, key: str, acts_of: Sequence[str]) -> list[str]:
    """Everybody who has done one of these acts with a key (label#version), by name."""
    return list((await connection.execute(DONE_BY, {"key": key, "acts": list(acts_of)})).scalars())


async def begun_by(connection: AsyncConnection, key: str, acts_of: Sequence[str]) -> list[str]:
    """Everybody who began one of these acts with a key and was not refused, whether or not the record has its end; by name.

    What was cut off may have been done or not: so each of them may be the one who did it.
    """
    return list((await connection.execute(BEGUN_BY, {"key": key, "acts": list(acts_of)})).scalars())


async def last_serial(connection: AsyncConnection) -> int | None:
    """The highest serial of the keystore that the chain has seen, or None before the first act. A note has seen none."""
    return (await connection.execute(LAST_SERIAL)).scalar_one_or_none()


async def is_taken_in(connection: AsyncConnection, note: str) -> bool:
    """Whether the chain has the event of the note with this digest (gateway.operations.noted_acts)."""
    return bool((await connection.execute(TAKEN_IN, {"note": note})).scalar_one())


# An event's detail as jsonb, whatever JSON text it is: no escape of a character is left, and no number that is not finite. What
# the looks below compare is plain ASCII, so it is as it was.
_TOLD = r"""CAST(
        regexp_replace(replace(replace(detail, '\\', '//'), '\u', '/u'), '-?\y(NaN|Infinity)\y', '0', 'g') AS jsonb
    )"""
ACTS = text(
    f"""
    SELECT seq, at, actor, operation, subject, detail FROM audit_event
    WHERE stream = 'operations' AND operation LIKE 'key.%'
      AND (CAST(:first AS text) IS NULL OR {_TOLD} ->> 'business_date' >= CAST(:first AS text))
      AND (CAST(:last AS text) IS NULL OR {_TOLD} ->> 'business_date' <= CAST(:last AS text))
    ORDER BY seq
    """
)
TAKEN_IN = text(
    f"""
    SELECT EXISTS (
        SELECT FROM audit_event
        WHERE stream = 'operations' AND operation LIKE 'key.%' AND {_TOLD} ->> 'note' = :note
    )
    """
)
LAST_SERIAL = text(
    f"""
    SELECT max(CAST({_TOLD} ->> 'serial' AS bigint)) FROM audit_event
    WHERE stream = 'operations' AND operation LIKE 'key.%' AND {_TOLD} ->> 'note' IS NULL
    """
)
DONE_BY = text(
    f"""
    SELECT DISTINCT actor FROM audit_event
    WHERE stream = 'operations' AND operation LIKE 'key.%' AND operation = 'key.done' AND subject = :key
      AND {_TOLD} ->> 'act' = ANY (CAST(:acts AS text[]))
    ORDER BY actor
    """
)
BEGUN_BY = text(
    f"""
    SELECT DISTINCT actor FROM (
        SELECT actor, operation, lead(operation) OVER (PARTITION BY actor, {_TOLD} ->> 'act' ORDER BY seq) AS ended
        FROM audit_event
        WHERE stream = 'operations' AND operation LIKE 'key.%' AND subject = :key
          AND {_TOLD} ->> 'act' = ANY (CAST(:acts AS text[]))
    ) AS told
    WHERE operation = 'key.begun' AND ended IS DISTINCT FROM 'key.failed'
    ORDER BY actor
    """
)
