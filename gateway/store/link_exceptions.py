"""Exceptions of partner links as stored: opened with the group that decided their message, ended by two people or by themselves.

OPEN and SETTLE are a lane's, in the group's own transaction, and run only where a group has something for them. Read next:
gateway.rules.link_exception (which messages), gateway.operations.link_exceptions (people).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.link_exception import ExceptionState
from gateway.store.authorisations import ANSWERED_DAYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.lane_connection import LaneConnection


class NewException(NamedTuple):
    """One row of link_exception, as it is opened."""

    reason: str
    link: str
    business_date: date
    cell: int
    account_id: int
    card_id: int | None
    authorisation_id: int | None
    original_id: int | None
    message_key: bytes
    content_digest: bytes
    original_key: bytes | None
    mti: str
    kind: str
    channel: str
    acquirer: str
    terminal: str
    stan: str
    transmitted: str
    rrn: str
    amount_idr: int
    taken_idr: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class StoredException:
    """An exception as people see it. ACCOUNT: the family's account number; None: the card is unknown.

    SETTLED_BY: the authorisation by which it was over without people; MAKER, CHECKER and NOTE where people decided.
    """

    id: int
    reason: str
    link: str
    business_date: date
    opened_at: datetime
    account: str | None
    card_id: int | None
    authorisation_id: int | None
    original_id: int | None
    mti: str
    kind: str
    channel: str
    acquirer: str
    terminal: str
    stan: str
    transmitted: str
    rrn: str | None
    amount_idr: int
    taken_idr: int | None
    detail: str
    state: ExceptionState
    maker: str | None
    checker: str | None
    note: str | None
    settled_by: int | None
    resolved_on: date | None


class Count(NamedTuple):
    """Open exceptions of one link and reason: how many, since when, and what their messages say in rupiah."""

    link: str
    reason: str
    messages: int
    oldest: date
    amount_idr: int


async def find(
    connection: AsyncConnection, link: str | None, limit: int, *, resolved: bool = False
) -> list[StoredException]:
    """Exceptions that are open, the oldest first. RESOLVED: those that are over too."""
    found = await connection.execute(LIST, {"link": link, "limit": limit, "resolved": resolved})
    return [_stored(row) for row in found]


async def read(connection: AsyncConnection, number: int, *, lock: bool = False) -> StoredException:
    """One exception. Raises NotFound."""
    row = (await connection.execute(LOCK if lock else READ, {"id": number})).one_or_none()
    if row is None:
        raise NotFound(f"there is no exception {number}")
    return _stored(row)


async def counts(connection: AsyncConnection, link: str | None = None) -> list[Count]:
    """How many are open, by link and reason."""
    return [Count(*row) for row in await connection.execute(COUNTS, {"link": link})]


async def resolve(connection: AsyncConnection, number: int, maker: str, checker: str, note: str, on: date) -> None:
    """Two people have decided; the caller has checked that it is open."""
    values = {"id": number, "maker": maker, "checker": checker, "note": note, "on": on}
    await connection.execute(RESOLVE, values)


async def keep(
    connection: LaneConnection,
    new: Sequence[NewException],
    settling: Sequence[tuple[bytes | None, bytes | None, int, date]],
) -> None:
    """A lane opens exceptions for people, and ends those that are over by themselves: (key that came, original, by, date)."""
    if new:
        columns = map(list, zip(*new, strict=True))
        await connection.fetch(OPEN, dict(zip(NewException._fields, columns, strict=True)))
    if settling:
        keys, originals, by, on = map(list, zip(*settling, strict=True))
        await connection.fetch(SETTLE, {"keys": keys, "originals": originals, "by": by, "on": on})


def _stored(row: Any) -> StoredException:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in StoredException.__slots__}
    return StoredException(**(values | {"state": ExceptionState(row.state)}))


TYPES = {
    "business_date": "date", "cell": "smallint", "account_id": "bigint", "card_id": "bigint", "authorisation_id": "bigint",
    "original_id": "bigint", "message_key": "bytea", "content_digest": "bytea", "original_key": "bytea",
    "amount_idr": "bigint", "taken_idr": "bigint",
}  # fmt: skip
NAMES = ", ".join(NewException._fields)
# The same message again opens no second one: it may come for ever from a queue that does not like its answer.
OPEN = f"""
    INSERT INTO link_exception ({NAMES})
    SELECT {NAMES} FROM unnest({", ".join(f"CAST(:{name} AS {TYPES.get(name, 'text')}[])" for name in NewException._fields)})
        AS n ({NAMES})
    WHERE NOT EXISTS (
        SELECT FROM link_exception x WHERE x.message_key = n.message_key AND x.content_digest = n.content_digest
           AND x.reason = n.reason AND x.business_date >= n.business_date - {ANSWERED_DAYS})
"""
SETTLE = """
    UPDATE link_exception x SET state = 'RESOLVED', settled_by = s.by, resolved_on = s.day
    FROM unnest(CAST(:keys AS bytea[]), CAST(:originals AS bytea[]), CAST(:by AS bigint[]), CAST(:on AS date[]))
        AS s (key, original, by, day)
    WHERE x.state = 'OPEN' AND ((x.original_key = s.key AND x.reason = 'ORIGINAL_UNKNOWN') OR x.message_key = s.original)
"""
FROM_EXCEPTION = """
    SELECT x.*, a.number AS account FROM link_exception x
    LEFT JOIN account a ON x.account_id > 0 AND a.cell = x.cell AND a.id = x.account_id
"""
LIST = text(f"""
    {FROM_EXCEPTION} WHERE (x.state = 'OPEN' OR CAST(:resolved AS boolean)) AND (CAST(:link AS text) IS NULL OR x.link = :link)
    ORDER BY x.business_date, x.id LIMIT :limit
""")
READ = text(f"{FROM_EXCEPTION} WHERE x.id = :id")
LOCK = text(f"{FROM_EXCEPTION} WHERE x.id = :id FOR UPDATE OF x")
COUNTS = text("""
    SELECT link, reason, count(*), min(business_date), sum(amount_idr)::bigint FROM link_exception
    WHERE state = 'OPEN' AND (CAST(:link AS text) IS NULL OR link = :link) GROUP BY link, reason ORDER BY link, reason
""")
RESOLVE = text("""
    UPDATE link_exception SET state = 'RESOLVED', maker = :maker, checker = :checker, note = :note, resolved_on = :on
    WHERE id = :id
""")
