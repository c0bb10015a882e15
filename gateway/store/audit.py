"""Audit events: append and verify. Each stream is a chain: every event's HMAC covers the one before it.

Editing, deleting, reordering or inserting an event breaks the chain at that place; cutting off the end is found because the
chain's head is kept apart (and written outside the database, gateway.operations.proof). What enters a chain is text and JSON
that a database takes: everything else is shown as an escape in plain characters.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

FIRST_HASH = bytes(32)
OPERATIONS_STREAM = "operations"


class Operation(StrEnum):
    """Everything the bank does that leaves a record."""

    BANK_SETUP = "bank.setup"
    BUSINESS_DATE = "bank.business_date"
    PARTITIONS_MAKE = "partitions.make"
    MONTH_RETIRE = "month.retire"
    POLICY_LOAD = "policy.load"
    EXCLUSION_LOAD = "exclusion.load"
    KPM_IMPORT = "kpm.import"
    KPM_APPROVE = "kpm.approve"
    KPM_OPEN = "kpm.open"
    KPM_FINISH = "kpm.finish"
    KPM_REJECT = "kpm.reject"
    KPM_RESULT = "kpm.result"
    CARD_EVENT = "card.event"
    CARD_ORDER = "card.order"
    CARD_SCRIPT = "card.script"
    ACCOUNT_EVENT = "account.event"
    SI_IMPORT = "si.import"
    SI_APPROVE = "si.approve"
    SI_POST = "si.post"
    SI_FINISH = "si.finish"
    SI_REJECT = "si.reject"
    SI_RESULT = "si.result"
    AUTHORISE = "authorise"
    JOB_RUN = "job.run"
    AID_UNBLOCK = "aid.unblock"
    RETURN_RECEIPT = "return.receipt"
    LINK_EVENT = "link.event"
    OUTGOING = "outgoing"
    DESK = "desk"
    MESSAGES_REMOVE = "messages.remove"
    DAY_LOCK = "day.lock"
    DAY_CLOSE = "day.close"
    CORRECTION = "correction"
    EXCEPTION_RESOLVE = "exception.resolve"
    SETTLEMENT_CLOSE = "settlement.close"
    SETTLEMENT_ORDER = "settlement.order"
    SETTLEMENT_PAY = "settlement.pay"
    VAULT_RESEAL = "vault.reseal"
    KEY_REFUSED = "key.refused"
    KEY_BEGUN = "key.begun"
    KEY_DONE = "key.done"
    KEY_FAILED = "key.failed"
    KEY_SEEN = "key.seen"


@dataclass(frozen=True, slots=True)
class Event:
    """One audit event as stored. DETAIL is JSON text, never with a PAN, PIN, NIK or key."""

    stream: str
    seq: int
    at: datetime
    actor: str
    operation: str
    subject: str
    detail: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain."""

    seq: int
    hash: bytes


async def append(
    connection: AsyncConnection, mac: Callable[[bytes], bytes], at: datetime, actor: str, operation: Operation,
    subject: str, detail: dict[str, Any],
) -> None:  # fmt: skip
    """Add one event to the stream of operations. The chain's head is locked until the transaction ends."""
    head = await lock_head(connection, OPERATIONS_STREAM)
    event = chained(mac, head, OPERATIONS_STREAM, at, actor, operation, subject, detail)
    await connection.execute(INSERT_EVENT, event_parameters(event))
    await connection.execute(MOVE_HEAD, {"stream": event.stream, "seq": event.seq, "hash": event.hash})


def chained(
    mac: Callable[[bytes], bytes], head: Head, stream: str, at: datetime, actor: str, operation: Operation, subject: str,
    detail: dict[str, Any],
) -> Event:  # fmt: skip
    """The event that follows HEAD. Actor, subject and detail are made plain: every chain is written through here."""
    body = _json(detail)
    if any(sign in body for sign in _UNPLAIN_JSON):
        body = _json(plain(json.loads(body)))
    actor, subject, seq = plain(actor), plain(subject), head.seq + 1
    digest = mac(_canonical(head.hash, stream, seq, at, actor, operation.value, subject, body))
    return Event(stream, seq, at, actor, operation.value, subject, body, digest)


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON values
    r"""A JSON value as a database takes it (RFC 8259, 8.2): what is no Unicode scalar, and NUL, shown as six plain characters.

    Names and nested values too; a number that is not finite is its name as text. Plain once, plain for good.

    >>> plain({"reason": "t\0", "at": [float("nan")]})
    {'reason': 't\\u0000', 'at': ['nan']}
    """
    if isinstance(value, str):
        return _UNPLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def event_parameters(event: Event) -> dict[str, Any]:
    """Bound parameters of INSERT_EVENT."""
    return {name: getattr(event, name) for name in Event.__slots__}


async def lock_head(connection: AsyncConnection, stream: str) -> Head:
    """The head of a stream, locked; a new stream starts at 0."""
    row = (await connection.execute(LOCK_HEAD, {"stream": stream})).one_or_none()
    if row is None:
        await connection.execute(START_CHAIN, {"stream": stream, "hash": FIRST_HASH})
        row = (await connection.execute(LOCK_HEAD, {"stream": stream})).one()
    return Head(row.last_seq, bytes(row.last_hash))


async def heads(connection: AsyncConnection) -> dict[str, Head]:
    """Every stream's head."""
    rows = await connection.execute(HEADS)
    return {row.stream: Head(row.last_seq, bytes(row.last_hash)) for row in rows}


async def verify_stream(
    connection: AsyncConnection, verify: Callable[[bytes, bytes], bool], stream: str, head: Head
) -> tuple[int, str | None]:
    """Walk a chain from its start. Returns how many events hold, and what is wrong with the first that does not.

    VERIFY: whether an event's bytes (first) have this HMAC (second).
    """
    previous = FIRST_HASH
    seq = 0
    events = await connection.stream(EVENTS, {"stream": stream})
    async for row in events:
        if row.seq != seq + 1:
            return seq, f"event {seq + 1} is missing"
        event = _canonical(previous, stream, row.seq, row.at, row.actor, row.operation, row.subject, row.detail)
        if not verify(event, bytes(row.hash)):
            return seq, f"event {row.seq} ({row.operation} {row.subject}) was changed or moved"
        seq, previous = row.seq, bytes(row.hash)
    if (seq, previous) != (head.seq, head.hash):
        return seq, f"the chain ends at event {seq}, its head says {head.seq}"
    return seq, None


def _json(detail: dict[str, Any]) -> str:
    return json.dumps(detail, separators=(",", ":"), sort_keys=True, default=str)


def _canonical(previous: bytes, *parts: object) -> bytes:
    """Length-prefixed, so that no two different events have the same bytes."""
    texts = [previous]
    for part in parts:
        value = part.isoformat() if hasattr(part, "isoformat") else str(part)
        texts.append(value.encode())
    return b"".join(len(value).to_bytes(4, "big") + value for value in texts)


_UNPLAIN = re.compile("[\\0\ud800-\udfff]")
_UNPLAIN_JSON = (
    "\\ud",
    "\\u0000",
    "NaN",
    "Infinity",
)  # signs of it in JSON text; some are innocent, and stay as they are
ENSURE_CHAIN = "INSERT INTO audit_chain VALUES (:stream, 0, :hash) ON CONFLICT DO NOTHING"
START_CHAIN = text(ENSURE_CHAIN)
LOCK_HEAD = text("SELECT last_seq, last_hash FROM audit_chain WHERE stream = :stream FOR UPDATE")
HEADS = text("SELECT stream, last_seq, last_hash FROM audit_chain ORDER BY stream")
INSERT_EVENT = text("""
    INSERT INTO audit_event (stream, seq, at, actor, operation, subject, detail, hash)
    VALUES (:stream, :seq, :at, :actor, :operation, :subject, :detail, :hash)
""")
MOVE_HEAD = text("UPDATE audit_chain SET last_seq = :seq, last_hash = :hash WHERE stream = :stream")
EVENTS = text("""
    SELECT seq, at, actor, operation, subject, detail, hash FROM audit_event WHERE stream = :stream ORDER BY seq
""")
