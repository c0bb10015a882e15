"""What partners send that is no authorisation, as stored: file actions, totals, administrative messages, and their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.store.authorisations import APPROVED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

REPEAT_DAYS = 30  # a repeat is known for so long; DE7 has no year, so a key comes again after one
DESK_LOCK = 8_583_010


@dataclass(frozen=True, slots=True)
class Kept:
    """An earlier message with the same key: its content's digest and the fields of its answer that are not echoed."""

    digest: bytes
    answer: dict[int, str]


@dataclass(frozen=True, slots=True)
class DeskMessage:
    """A message for people. TROUBLE: why somebody must look at it; None: nobody."""

    id: int
    link: str
    mti: str
    subject: str
    detail: dict[str, Any]
    answer: dict[str, str]
    business_date: date
    received_at: datetime
    trouble: str | None
    handled_at: datetime | None
    handled_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ForPeople:
    """What of a link waits for people: open exceptions, messages of its partner, and for how long the oldest of them does."""

    link: str
    exceptions: int
    desk: int
    oldest_s: int


@dataclass(frozen=True, slots=True)
class PartnerTotal:
    """A partner's totals of a date beside ours, by name (gateway.rules.partner_totals)."""

    desk_id: int
    link: str
    settlement_date: date
    received_at: datetime
    theirs: dict[str, int]
    ours: dict[str, int]
    in_balance: bool


async def find(connection: AsyncConnection, link: str, group: str, key: str) -> Kept | None:
    """An earlier message with this key. Until the transaction ends nobody else looks for the same."""
    await connection.execute(LOCK_KEY, {"lock": DESK_LOCK, "key": f"{link} {group} {key}"})
    row = (await connection.execute(FIND, {"link": link, "class": group, "key": key})).one_or_none()
    return None if row is None else Kept(bytes(row.digest), {int(name): value for name, value in row.answer.items()})


async def keep(connection: AsyncConnection, values: Mapping[str, Any]) -> int:
    """Keep a message with its answer. Returns its number."""
    written = dict(values) | {name: json.dumps(values[name]) for name in ("answer", "detail")}
    number: int = (await connection.execute(KEEP, written)).scalar_one()
    return number


async def keep_total(
    connection: AsyncConnection, number: int, link: str, on: date, theirs: Mapping[str, int], ours: Mapping[str, int],
    *, in_balance: bool,
) -> None:  # fmt: skip
    """Keep what a partner's date comes to by both sides."""
    values = {
        "id": number, "link": link, "on": on, "theirs": json.dumps(dict(theirs)), "ours": json.dumps(dict(ours)),
        "in_balance": in_balance,
    }  # fmt: skip
    await connection.execute(KEEP_TOTAL, values)


async def newest(connection: AsyncConnection, limit: int, *, everything: bool = False) -> list[DeskMessage]:
    """What waits for people, oldest first; or all, newest first."""
    return [DeskMessage(*row) for row in await connection.execute(NEWEST if everything else WAITING, {"limit": limit})]


async def for_people(connection: AsyncConnection) -> list[ForPeople]:
    """What waits for people, by link; a link of which nothing waits is not there. By the indexes of what is open alone."""
    return [ForPeople(*row) for row in await connection.execute(FOR_PEOPLE)]


async def lock(connection: AsyncConnection, number: int) -> DeskMessage:
    """One message, locked. Raises NotFound."""
    row = (await connection.execute(LOCK, {"id": number})).one_or_none()
    if row is None:
        raise NotFound(f"there is no desk message {number}")
    return DeskMessage(*row)


async def handled(connection: AsyncConnection, number: int, by: str, reason: str) -> None:
    """A person has looked at it."""
    await connection.execute(HANDLED, {"id": number, "by": by, "reason": reason})


async def remove_ended(connection: AsyncConnection, days: int, most: int) -> tuple[int, int]:
    """Remove messages to partners and of them that ended more than DAYS ago, MOST of each. Returns how many of both."""
    row = (await connection.execute(REMOVE_ENDED, {"days": days, "most": most})).one()
    return int(row.outgoing), int(row.desk)


async def totals(connection: AsyncConnection, on: date, link: str | None = None) -> list[PartnerTotal]:
    """What partners said a date comes to, newest first."""
    return [PartnerTotal(*row) for row in await connection.execute(TOTALS, {"on": on, "link": link})]


async def count_others(connection: AsyncConnection, link: str, on: date) -> dict[str, int]:
    """How many approved authorisations of a link's date settle nothing, by kind: holds and inquiries."""
    return {row.kind: row.many for row in await connection.execute(COUNT_OTHERS, {"link": link, "on": on})}


COLUMNS = "id, link, mti, subject, detail, answer, business_date, received_at, trouble, handled_at, handled_by, reason"
LOCK_KEY = text("SELECT pg_advisory_xact_lock(:lock, hashtext(:key))")
FIND = text(f"""
    SELECT digest, answer FROM desk_message
    WHERE link = :link AND class = :class AND message_key = :key AND received_at > now() - interval '{REPEAT_DAYS} days'
    ORDER BY id DESC LIMIT 1
""")
KEEP = text("""
    INSERT INTO desk_message (link, class, message_key, digest, mti, answer, subject, detail, business_date, trouble)
    VALUES (:link, :class, :key, :digest, :mti, CAST(:answer AS jsonb), :subject, CAST(:detail AS jsonb), :business_date,
            :trouble)
    RETURNING id
""")
KEEP_TOTAL = text("""
    INSERT INTO partner_total (desk_id, link, settlement_date, theirs, ours, in_balance)
    VALUES (:id, :link, :on, CAST(:theirs AS jsonb), CAST(:ours AS jsonb), :in_balance)
""")
WAITING = text(f"""
    SELECT {COLUMNS} FROM desk_message WHERE trouble IS NOT NULL AND handled_at IS NULL ORDER BY id LIMIT :limit
""")
FOR_PEOPLE = text("""
    SELECT link, count(*) FILTER (WHERE exception), count(*) FILTER (WHERE NOT exception),
           extract(epoch FROM now() - min(since))::int
    FROM (SELECT link, true AS exception, opened_at AS since FROM link_exception WHERE state = 'OPEN'
          UNION ALL
          SELECT link, false, received_at FROM desk_message WHERE trouble IS NOT NULL AND handled_at IS NULL) x
    GROUP BY link ORDER BY link
""")
NEWEST = text(f"SELECT {COLUMNS} FROM desk_message ORDER BY id DESC LIMIT :limit")
LOCK = text(f"SELECT {COLUMNS} FROM desk_message WHERE id = :id FOR UPDATE")
HANDLED = text("UPDATE desk_message SET handled_at = now(), handled_by = :by, reason = :reason WHERE id = :id")
REMOVE_ENDED = text("SELECT outgoing, desk FROM remove_ended_messages(:days, :most)")
TOTALS = text("""
    SELECT t.desk_id, t.link, t.settlement_date, d.received_at, t.theirs, t.ours, t.in_balance
    FROM partner_total t JOIN desk_message d ON d.id = t.desk_id
    WHERE t.settlement_date = :on AND (CAST(:link AS text) IS NULL OR t.link = :link) ORDER BY t.desk_id DESC
""")
COUNT_OTHERS = text(f"""
    SELECT kind, count(*) AS many FROM authorisation
    WHERE link = :link AND settlement_date = CAST(:on AS date) AND {APPROVED}
      AND business_date BETWEEN CAST(:on AS date) - 1 AND CAST(:on AS date)
      AND kind IN ('HOLD', 'BALANCE', 'STATEMENT')
    GROUP BY kind
""")
