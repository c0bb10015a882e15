"""What the audit chain says of authorisations: each group's event names its rows and holds a digest of all that decided them.

The digest is over the very texts of the write statement, so a change of any column of any row is found by making them again. What
is kept of an original and how long a hold lasts change later and are left out; the journal proves them. Read next: audit.py.
"""

from __future__ import annotations

import hashlib
import json
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.store.array_text import array_text
from gateway.store.authorisations import NewAuthorisation, write_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

EVENTS_AT_ONCE = 50
UNDIGESTED = ("kept_idr", "held_until")
COLUMNS = tuple(name for name in NewAuthorisation._fields if name not in UNDIGESTED)
# Groups decided before version 0.2 have a digest a row, over these columns.
FIRST_COLUMNS = (
    "id", "account_id", "card_id", "link", "kind", "message_key", "content_digest", "original_key", "mti", "channel", "mcc",
    "terminal", "merchant", "acquirer", "stan", "transmitted", "rrn", "amount_idr", "reason", "response_code", "tranche_ids",
    "programmes", "amounts_idr", "transfer_ids", "business_date",
)  # fmt: skip
FIRST_DIGESTED = attrgetter(*FIRST_COLUMNS)


class Verified(NamedTuple):
    """How many authorisations are as they were decided, and what is wrong with the first that is not."""

    rows: int
    wrong: str | None


def detail_of(rows: Sequence[NewAuthorisation], parameters: Mapping[str, str], on: date) -> dict[str, Any]:
    """What the event of a group holds: its rows in order, and the digest of the texts they are written as."""
    return {"date": on, "rows": [[row.cell, row.id] for row in rows], "digest": group_digest(parameters)}


def group_digest(parameters: Mapping[str, str]) -> str:
    """Hash of a group's columns as the write statement carries them, each with its length before it."""
    whole = hashlib.sha256()
    for name in COLUMNS:
        column = parameters[f"a_{name}"].encode()
        whole.update(b"%s %d " % (name.encode(), len(column)))
        whole.update(column)
    return whole.hexdigest()


async def verify(connection: AsyncConnection, kept_since: date | None = None) -> Verified:
    """Compare every group's event with its rows, and every row with some event. Memory does not grow with the bank.

    KEPT_SINCE: months before it are detached (gateway.store.partitions); their events stand, their rows are not looked for.
    """
    values = {"since": kept_since}
    chained = 0
    batch: list[dict[str, Any]] = []
    async for (detail,) in await connection.stream(EVENTS):
        batch.append(json.loads(detail))
        if len(batch) == EVENTS_AT_ONCE:
            found, wrong = await _verify_batch(connection, batch, kept_since)
            if wrong:
                return Verified(chained, wrong)
            chained += found
            batch = []
    found, wrong = await _verify_batch(connection, batch, kept_since)
    if wrong:
        return Verified(chained, wrong)
    chained += found
    if chained != (await connection.execute(COUNT, values)).scalar_one():
        unknown = (await connection.execute(UNCHAINED, values)).scalar()
        return Verified(chained, f"authorisation {unknown} is in no chain")
    return Verified(chained, None)


async def _verify_batch(
    connection: AsyncConnection, events: Sequence[dict[str, Any]], kept_since: date | None
) -> tuple[int, str | None]:
    """How many rows some events name, and the first fault among them."""
    wanted = [one for event in events for one in event.get("rows", event.get("decided", []))]
    values = {"cells": [one[0] for one in wanted], "ids": [one[1] for one in wanted]}
    rows = {(row.cell, row.id): row for row in await connection.execute(ROWS, values)} if wanted else {}
    count = 0
    for event in events:
        if kept_since is not None and event.get("date", "") < kept_since.isoformat():
            continue
        named = event.get("rows", event.get("decided", []))
        for cell, number, *_ in named:
            if (cell, number) not in rows:
                return count, f"authorisation {number} was removed"
        group = [rows[one[0], one[1]] for one in named]
        if not _as_decided(event, group):
            numbers = ", ".join(str(one[1]) for one in named[:5])
            return count, f"authorisation {numbers} was changed" if len(
                named
            ) == 1 else f"one of authorisations {numbers} was changed"
        count += len(group)
    return count, None


def _as_decided(event: Mapping[str, Any], group: Sequence[Any]) -> bool:
    if "decided" in event:
        said = [one[2] for one in event["decided"]]
        return said == [hashlib.sha256(repr(FIRST_DIGESTED(row)).encode()).hexdigest() for row in group]
    if not group:
        return True
    new = [NewAuthorisation(*[getattr(row, name) for name in NewAuthorisation._fields]) for row in group]
    parameters = {name: array_text(list(values)) for name, values in write_parameters(new).items()}
    return bool(group_digest(parameters) == event["digest"])


EVENTS = text("SELECT detail FROM audit_event WHERE operation = 'authorise' ORDER BY stream, seq")
ROWS = text(f"""
    SELECT {", ".join(f"a.{name}" for name in NewAuthorisation._fields)}
    FROM unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[])) AS w (cell, id)
    JOIN authorisation a ON a.cell = w.cell AND a.id = w.id
""")
COUNT = text(
    "SELECT count(*) FROM authorisation WHERE CAST(:since AS date) IS NULL OR business_date >= CAST(:since AS date)"
)
UNCHAINED = text("""
    SELECT id FROM authorisation a WHERE (CAST(:since AS date) IS NULL OR business_date >= CAST(:since AS date))
      AND (cell, id) NOT IN (
          SELECT CAST(d ->> 0 AS smallint), CAST(d ->> 1 AS bigint)
          FROM audit_event e,
               json_array_elements(coalesce(CAST(e.detail AS json) -> 'rows', CAST(e.detail AS json) -> 'decided')) d
          WHERE e.operation = 'authorise')
    ORDER BY id LIMIT 1
""")
