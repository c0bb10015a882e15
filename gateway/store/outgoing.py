"""Outgoing messages as stored: a queue a link, of which only the head may have left. Knows no wire and no key.

A message that is SENT stays the head until it is answered for good, refused, dropped or too old; the database lets no second one
of a link be SENT. What changes a message that is on its way names its attempt, so that what comes late changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.errors import NotFound
from gateway.rules.outgoing import FOR_PEOPLE, WAITING, OutgoingState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message. CONTENT is sealed; the rest may be shown. MTI is that of its first sending."""

    id: int
    link: str
    mti: str
    stan: str
    transmitted: str
    reference: str
    content: bytes
    subject: str
    what: str
    deletes: bool
    state: OutgoingState
    attempts: int
    queued_at: datetime
    expires_at: datetime
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    next_at: datetime | None
    answer_code: str | None
    trouble: str | None
    ended_at: datetime | None
    ended_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Figures:
    """How a link's queue stands. HEAD_AGE_S: how long ago its head was queued; None: nothing waits."""

    link: str
    waiting: int
    head_age_s: int | None
    head_attempts: int
    refused: int
    expired: int


class Fill(NamedTuple):
    """Of a link's hot list: its file, if it wants one; the card up to which it was told, 0 for none; when it was told of all."""

    hot_list_file: str | None
    to: int
    at: datetime | None


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Queue a message. Where expire_s is None its link's term applies, if one is known."""
    await connection.execute(ADD, dict(values))


async def work_of(connection: AsyncConnection, link: str) -> tuple[bool, bool]:
    """Whether a link's head may be sent now, and whether something of it is too old."""
    row = (await connection.execute(WORK, {"link": link})).one()
    return bool(row.due), bool(row.expired)


async def send_head(connection: AsyncConnection, link: str) -> Outgoing | None:
    """Mark the head of a link's queue as sent once more; the caller commits before it sends. None where it is not due."""
    row = (await connection.execute(SEND_HEAD, {"link": link})).one_or_none()
    return None if row is None else _outgoing(row)


async def again(connection: AsyncConnection, sent: Outgoing, code: str | None, trouble: str, wait_s: float) -> bool:
    """It stays the head and is sent again after WAIT_S. False where it has been ended meanwhile."""
    values = {"id": sent.id, "attempts": sent.attempts, "code": code, "trouble": trouble, "wait": wait_s}
    return (await connection.execute(AGAIN, values)).rowcount == 1


async def end(
    connection: AsyncConnection, sent: Outgoing, state: OutgoingState, code: str | None, trouble: str | None, by: str
) -> bool:
    """It was answered or refused, if only in the moment it was too old. False where it has been ended or sent again meanwhile."""
    values = {
        "id": sent.id, "attempts": sent.attempts, "state": state.value, "code": code, "trouble": trouble, "by": by,
    }  # fmt: skip
    return (await connection.execute(END, values)).rowcount == 1


async def expire(connection: AsyncConnection, link: str, by: str) -> list[Outgoing]:
    """Everything of a link that is too old goes to people."""
    return [_outgoing(row) for row in await connection.execute(EXPIRE, {"link": link, "by": by})]


async def expired_links(connection: AsyncConnection) -> list[str]:
    """Links that have something too old."""
    return list((await connection.execute(EXPIRED_LINKS)).scalars())


async def lock(connection: AsyncConnection, number: int) -> Outgoing:
    """One message, locked. Raises NotFound."""
    return _one((await connection.execute(LOCK, {"id": number})).one_or_none(), number)


async def read(connection: AsyncConnection, number: int) -> Outgoing:
    """One message. Raises NotFound."""
    return _one((await connection.execute(READ, {"id": number})).one_or_none(), number)


async def newest(
    connection: AsyncConnection, limit: int, link: str | None = None, *, ended: bool = False
) -> list[Outgoing]:
    """What waits for its answer or for people, oldest first; with ENDED the newest of all kinds, newest first."""
    statement = NEWEST if ended else OPEN
    return [_outgoing(row) for row in await connection.execute(statement, {"link": link, "limit": limit})]


async def followed(connection: AsyncConnection, message: Outgoing) -> int | None:
    """A later message of the same link about the same subject, if there is one."""
    values = {"link": message.link, "subject": message.subject, "id": message.id}
    found: int | None = (await connection.execute(FOLLOWED, values)).scalar_one_or_none()
    return found


async def requeue(connection: AsyncConnection, number: int, keys: tuple[str, str, str] | None, reason: str) -> None:
    """Back in its place in the queue. KEYS: new DE11, DE7 and DE37, and it counts as never sent; None: it keeps what it had."""
    stan, transmitted, reference = keys or (None, None, None)
    values = {"id": number, "stan": stan, "transmitted": transmitted, "reference": reference, "reason": reason}
    await connection.execute(REQUEUE, values)


async def drop(connection: AsyncConnection, number: int, by: str, reason: str) -> None:
    """It is never sent again."""
    await connection.execute(DROP, {"id": number, "by": by, "reason": reason})


async def in_flight(connection: AsyncConnection, link: str, stan: str) -> Outgoing | None:
    """The message of a link that has left with this DE11 and is not answered."""
    row = (await connection.execute(IN_FLIGHT, {"link": link, "stan": stan})).one_or_none()
    return None if row is None else _outgoing(row)


async def figures(connection: AsyncConnection, link: str | None = None) -> list[Figures]:
    """How every queue stands, or one; a link that nothing waits for is not there."""
    return [Figures(*row) for row in await connection.execute(FIGURES, {"link": link})]


async def links(connection: AsyncConnection) -> dict[str, tuple[str | None, int]]:
    """The links as last read: name to the file of its hot list and the term of its messages in seconds."""
    return {row.link: (row.hot_list_file, row.expire_s) for row in await connection.execute(LINKS)}


async def keep_link(connection: AsyncConnection, name: str, hot_list_file: str | None, expire_s: int) -> None:
    """Put a link's terms in the place of those there were."""
    await connection.execute(KEEP_LINK, {"link": name, "file": hot_list_file, "expire": expire_s})


async def hot_list_links(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Who is told of stopped cards: link and the name of its file."""
    return [(row.link, row.hot_list_file) for row in await connection.execute(HOT_LIST_LINKS)]


async def lock_fill(connection: AsyncConnection, link: str) -> Fill:
    """How far a link has been told of cards stopped before, locked. Raises NotFound."""
    row = (await connection.execute(LOCK_FILL, {"link": link})).one_or_none()
    if row is None:
        raise NotFound(f"no running service has had a link {link}")
    return Fill(row.hot_list_file, row.filled_to or 0, row.filled_at)


async def keep_fill(connection: AsyncConnection, link: str, to: int, *, done: bool) -> None:
    """It has been told of cards up to this id; DONE: of all."""
    await connection.execute(KEEP_FILL, {"link": link, "to": to, "done": done})


async def told_of(connection: AsyncConnection, link: str, subjects: Sequence[str]) -> set[str]:
    """Of which of these a link's newest message says that it is on the list: it was sent, or waits for that."""
    rows = await connection.execute(TOLD_OF, {"link": link, "subjects": list(subjects)})
    return set(rows.scalars())


def _one(row: Any, number: int) -> Outgoing:  # noqa: ANN401 - a database row
    if row is None:
        raise NotFound(f"there is no outgoing message {number}")
    return _outgoing(row)


def _outgoing(row: Any) -> Outgoing:  # noqa: ANN401 - a database row
    values = {name: getattr(row, name) for name in Outgoing.__slots__}
    return Outgoing(**values | {"state": OutgoingState(row.state), "content": bytes(row.content)})


def _of(states: tuple[OutgoingState, ...]) -> str:
    return f"state IN ({', '.join(repr(state.value) for state in states)})"


COLUMNS = ", ".join(Outgoing.__slots__)
WAITS = _of(WAITING)
HEAD = f"""
    coalesce((SELECT id FROM outgoing_message WHERE link = :link AND state = 'SENT'),
             (SELECT min(id) FROM outgoing_message WHERE link = :link AND {WAITS}))
"""

DEFAULT_EXPIRE_S = 259_200
ADD = text(f"""
    INSERT INTO outgoing_message (id, link, mti, stan, transmitted, reference, content, subject, what, deletes, expires_at)
    VALUES (:id, :link, :mti, :stan, :transmitted, :reference, :content, :subject, :what, :deletes,
            now() + make_interval(secs => coalesce(CAST(:expire_s AS int),
                                                   (SELECT expire_s FROM outgoing_link WHERE link = :link), {DEFAULT_EXPIRE_S})))
""")
WORK = text(f"""
    SELECT EXISTS (SELECT FROM outgoing_message WHERE id = {HEAD} AND (next_at IS NULL OR next_at <= now())) AS due,
           EXISTS (SELECT FROM outgoing_message WHERE link = :link AND {WAITS} AND expires_at <= now()) AS expired
""")
SEND_HEAD = text(f"""
    UPDATE outgoing_message SET state = 'SENT', attempts = attempts + 1, first_sent_at = coalesce(first_sent_at, now()),
           last_sent_at = now()
    WHERE id = {HEAD} AND {WAITS} AND (next_at IS NULL OR next_at <= now()) AND expires_at > now()
    RETURNING {COLUMNS}
""")
AGAIN = text("""
    UPDATE outgoing_message SET answer_code = coalesce(:code, answer_code), trouble = :trouble,
           next_at = now() + make_interval(secs => :wait)
    WHERE id = :id AND state = 'SENT' AND attempts = :attempts
""")
END = text("""
    UPDATE outgoing_message SET state = :state, answer_code = :code, trouble = :trouble, next_at = NULL, ended_at = now(),
           ended_by = :by
    WHERE id = :id AND state IN ('SENT', 'EXPIRED') AND attempts = :attempts
""")
EXPIRE = text(f"""
    UPDATE outgoing_message SET state = 'EXPIRED', next_at = NULL, ended_at = now(), ended_by = :by
    WHERE link = :link AND {WAITS} AND expires_at <= now() RETURNING {COLUMNS}
""")
EXPIRED_LINKS = text(f"SELECT DISTINCT link FROM outgoing_message WHERE {WAITS} AND expires_at <= now() ORDER BY link")
READ = text(f"SELECT {COLUMNS} FROM outgoing_message WHERE id = :id")
LOCK = text(f"SELECT {COLUMNS} FROM outgoing_message WHERE id = :id FOR UPDATE")
OPEN = text(f"""
    SELECT {COLUMNS} FROM outgoing_message
    WHERE {_of((*WAITING, *FOR_PEOPLE))} AND (CAST(:link AS text) IS NULL OR link = :link) ORDER BY id LIMIT :limit
""")
NEWEST = text(f"""
    SELECT {COLUMNS} FROM outgoing_message WHERE CAST(:link AS text) IS NULL OR link = :link ORDER BY id DESC LIMIT :limit
""")
FOLLOWED = text(
    "SELECT id FROM outgoing_message WHERE link = :link AND subject = :subject AND id > :id ORDER BY id LIMIT 1"
)
REQUEUE = text("""
    UPDATE outgoing_message m
    SET state = 'QUEUED', stan = coalesce(:stan, stan), transmitted = coalesce(:transmitted, transmitted),
        reference = coalesce(:reference, reference), attempts = CASE WHEN CAST(:stan AS text) IS NULL THEN attempts ELSE 0 END,
        first_sent_at = CASE WHEN CAST(:stan AS text) IS NULL THEN first_sent_at END,
        last_sent_at = CASE WHEN CAST(:stan AS text) IS NULL THEN last_sent_at END,
        expires_at = now() + (expires_at - queued_at), queued_at = now(), next_at = NULL, answer_code = NULL, trouble = NULL,
        ended_at = NULL, ended_by = NULL, reason = :reason
    WHERE id = :id
""")
DROP = text("""
    UPDATE outgoing_message SET state = 'DROPPED', next_at = NULL, ended_at = now(), ended_by = :by, reason = :reason
    WHERE id = :id
""")
IN_FLIGHT = text(f"""
    SELECT {COLUMNS} FROM outgoing_message WHERE link = :link AND stan = :stan AND state = 'SENT'
""")
FIGURES = text(f"""
    SELECT c.link, c.waiting, extract(epoch FROM now() - h.queued_at)::int, coalesce(h.attempts, 0), c.refused, c.expired
    FROM (SELECT link, count(*) FILTER (WHERE {WAITS}) AS waiting, count(*) FILTER (WHERE state = 'REFUSED') AS refused,
                 count(*) FILTER (WHERE state = 'EXPIRED') AS expired
          FROM outgoing_message
          WHERE {_of((*WAITING, *FOR_PEOPLE))} AND (CAST(:link AS text) IS NULL OR link = :link) GROUP BY link) c
    LEFT JOIN outgoing_message h ON h.id = {HEAD.replace(":link", "c.link")}
    ORDER BY c.link
""")
LINKS = text("SELECT link, hot_list_file, expire_s FROM outgoing_link ORDER BY link")
KEEP_LINK = text("""
    INSERT INTO outgoing_link AS l (link, hot_list_file, expire_s) VALUES (:link, :file, :expire)
    ON CONFLICT (link) DO UPDATE SET hot_list_file = excluded.hot_list_file, expire_s = excluded.expire_s,
        filled_to = CASE WHEN l.hot_list_file = excluded.hot_list_file THEN l.filled_to END,  -- another file is empty
        filled_at = CASE WHEN l.hot_list_file = excluded.hot_list_file THEN l.filled_at END
""")
HOT_LIST_LINKS = text("SELECT link, hot_list_file FROM outgoing_link WHERE hot_list_file IS NOT NULL ORDER BY link")
LOCK_FILL = text("SELECT hot_list_file, filled_to, filled_at FROM outgoing_link WHERE link = :link FOR UPDATE")
KEEP_FILL = text("""
    UPDATE outgoing_link SET filled_to = :to, filled_at = CASE WHEN CAST(:done AS boolean) THEN now() END WHERE link = :link
""")
TOLD_OF = text("""
    SELECT n.subject
    FROM unnest(CAST(:subjects AS text[])) AS n (subject), LATERAL (
        SELECT m.deletes, m.state FROM outgoing_message m
        WHERE m.link = :link AND m.subject = n.subject AND m.mti = '0302' ORDER BY m.id DESC LIMIT 1) m
    WHERE NOT m.deletes AND m.state <> 'DROPPED'
""")
