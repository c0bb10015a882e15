"""What few members of a group need beside LOAD and WRITE, one statement each.

PIN changes, mini statements, holds to which something was added, reversals that do not name their original.
All run in the group's own transaction, after LOAD has locked its accounts and cards; a group without such members runs none of
them. Read next: gateway.operations.seldom, which says when.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.store.authorisations import ORIGINAL_COLUMNS, Increment, Movement, dates_of
from gateway.store.cards import PIN_KEYS_LOCK
from ledger.posting import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from typing import Any

    from gateway.store.lane_connection import LaneConnection

STATEMENT_DAYS = 366  # how far back a mini statement looks


class Unnamed(NamedTuple):
    """A message that must be found by what is in it: the card, the link, DE41, DE11 and DE37 of it."""

    account_id: int
    card_id: int
    link: str
    terminal: str
    stan: str
    rrn: str


class Repeated(NamedTuple):
    """A repeat whose first sending must be found by what is in it: as Unnamed, its type without the origin, and its content."""

    account_id: int
    card_id: int
    link: str
    terminal: str
    stan: str
    rrn: str
    kind: str
    digest: bytes


class Overtaken(NamedTuple):
    """A repeat whose reversal may have come before it: the card, the link, DE41, DE37 and the amount, in rupiah."""

    account_id: int
    card_id: int
    link: str
    terminal: str
    rrn: str
    amount_idr: int


class FirstSending(NamedTuple):
    """The authorisation that a repeat repeats. ANSWER: as it is stored."""

    id: int
    amount_idr: int
    reason: str
    response_code: str
    answer: str
    kind: str


class ChangedPin(NamedTuple):
    """A card and what it is verified by from now on."""

    cell: int
    account_id: int
    card_id: int
    offset: str
    key_version: int


async def let_pins_be_chosen(connection: LaneConnection) -> None:
    """Until the group is over no version of the PIN verification key ends. Before LOAD: it is taken before a card is locked."""
    await connection.fetch(SHARE_PIN_KEYS, {})


async def birth_dates(connection: LaneConnection, account_ids: Sequence[int]) -> dict[int, date]:
    """The holders' dates of birth, by account: no PIN may be one."""
    return dict(await connection.fetch(BIRTH_DATES, {"ids": list(account_ids)}))


async def keep_pins(connection: LaneConnection, changed: Sequence[ChangedPin]) -> None:
    """Cards are verified by another PIN from now on."""
    columns = map(list, zip(*changed, strict=True))
    await connection.fetch(KEEP_PINS, dict(zip(ChangedPin._fields, columns, strict=True)))


async def movements(
    connection: LaneConnection, accounts: Sequence[tuple[int, int]], lines: int, today: date
) -> list[list[Movement]]:
    """The last LINES movements of what can be spent, newest first, of each account given as (cell, id)."""
    found: list[list[Movement]] = [[] for _ in accounts]
    values = {
        "cells": [cell for cell, _ in accounts], "accounts": [number for _, number in accounts], "lines": lines,
        "since": today - timedelta(days=STATEMENT_DAYS), "today": today,
    }  # fmt: skip
    for place, on, kind, amount in await connection.fetch(MOVEMENTS, values):
        found[place - 1].append(Movement(on, kind, amount))
    return found


async def increments(
    connection: LaneConnection, hold_keys: Sequence[bytes], today: date
) -> list[tuple[Increment, ...]]:
    """What was added to each hold and still stands open, in the order it was added."""
    found: list[list[Increment]] = [[] for _ in hold_keys]
    values = {"keys": list(hold_keys), **_span(today)}
    for place, number, on, tranches, programmes, kept in await connection.fetch(INCREMENTS, values):
        draws = tuple(Draw(*one) for one in zip(tranches, programmes, kept, strict=True) if one[2])
        found[place - 1].append(Increment(number, on, draws, [0] * len(kept)))
    return [tuple(ones) for ones in found]


async def extend(connection: LaneConnection, holds: Sequence[tuple[int, int, date, date]]) -> None:
    """Holds that stand open, given as (cell, id, business date), do so until a date at least, which stands last."""
    columns = map(list, zip(*holds, strict=True))
    await connection.fetch(EXTEND, dict(zip(("cells", "ids", "dates", "until"), columns, strict=True)))


async def unnamed(
    connection: LaneConnection, wanted: Sequence[Unnamed], today: date
) -> list[tuple[bytes, Sequence[Any]] | None]:
    """The newest message that fits each, as its key and ORIGINAL_COLUMNS; None: there is none."""
    found: list[tuple[bytes, Sequence[Any]] | None] = [None] * len(wanted)
    columns = map(list, zip(*wanted, strict=True))
    values = dict(zip(Unnamed._fields, columns, strict=True)) | _span(today)
    for row in await connection.fetch(UNNAMED, values):
        found[row[1] - 1] = row[19], row
    return found


async def first_sendings(
    connection: LaneConnection, wanted: Sequence[Repeated], today: date
) -> list[FirstSending | None]:
    """The newest message that each repeats; None: there is none."""
    found: list[FirstSending | None] = [None] * len(wanted)
    columns = map(list, zip(*wanted, strict=True))
    values = dict(zip(Repeated._fields, columns, strict=True)) | _span(today)
    for place, *row in await connection.fetch(FIRST_SENDINGS, values):
        found[place - 1] = FirstSending(*row)
    return found


async def reversed_already(connection: LaneConnection, wanted: Sequence[Overtaken], today: date) -> list[bool]:
    """Whether a reversal has come that found nothing to reverse and is about the same, for each."""
    columns = map(list, zip(*wanted, strict=True))
    values = dict(zip(Overtaken._fields, columns, strict=True)) | _span(today)
    places = {place for (place,) in await connection.fetch(TOMBSTONES, values)}
    return [place in places for place in range(1, len(wanted) + 1)]


def _span(today: date) -> dict[str, date]:
    dates = dates_of(today)
    return {"since": dates["since"], "today": today}


SHARE_PIN_KEYS = f"SELECT pg_advisory_xact_lock_shared({PIN_KEYS_LOCK})"
BIRTH_DATES = "SELECT id, birth_date FROM family WHERE id = ANY (CAST(:ids AS bigint[]))"
KEEP_PINS = """
    UPDATE card c SET pin_offset = d.pin_offset, pin_key_version = d.version
    FROM unnest(CAST(:cell AS smallint[]), CAST(:account_id AS bigint[]), CAST(:card_id AS bigint[]), CAST(:offset AS text[]),
                CAST(:key_version AS smallint[])) AS d (cell, account_id, id, pin_offset, version)
    WHERE c.cell = d.cell AND c.account_id = d.account_id AND c.id = d.id
"""
# A payment from several tranches is one line. Held and frozen money is none that can be spent: its way on is no line.
MOVEMENTS = """
    SELECT w.place, m.business_date, m.kind, m.amount
    FROM unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[])) WITH ORDINALITY AS w (cell, account_id, place),
    LATERAL (
        SELECT x.business_date, x.kind, sum(x.amount)::bigint AS amount, max(x.posted_at) AS posted_at, max(x.id) AS id
        FROM (SELECT t.business_date, t.kind, t.source, t.source_id, t.posted_at, t.id,
                     CASE WHEN t.credit >= 10000 AND t.credit % 10 = 0 THEN t.amount_idr ELSE -t.amount_idr END AS amount
              FROM transfer t
              WHERE t.cell = w.cell AND t.account_id = w.account_id AND t.business_date BETWEEN :since AND :today
                AND ((t.credit >= 10000 AND t.credit % 10 = 0) OR (t.debit >= 10000 AND t.debit % 10 = 0))) x
        GROUP BY x.source, x.source_id, x.kind, x.business_date
        ORDER BY x.business_date DESC, max(x.posted_at) DESC, max(x.id) DESC LIMIT CAST(:lines AS int)
    ) m
    ORDER BY w.place, m.business_date DESC, m.posted_at DESC, m.id DESC
"""
INCREMENTS = """
    SELECT w.place, i.id, i.business_date, i.tranche_ids, i.programmes, i.kept_idr
    FROM unnest(CAST(:keys AS bytea[])) WITH ORDINALITY AS w (original_key, place)
    JOIN authorisation i ON i.original_key = w.original_key AND i.kind = 'HOLD' AND i.business_date BETWEEN :since AND :today
    WHERE i.held_until IS NOT NULL ORDER BY w.place, i.decided_at
"""
EXTEND = """
    UPDATE authorisation h SET held_until = greatest(h.held_until, d.until)
    FROM unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[]), CAST(:dates AS date[]), CAST(:until AS date[]))
        AS d (cell, id, business_date, until)
    WHERE h.cell = d.cell AND h.id = d.id AND h.business_date = d.business_date AND h.held_until IS NOT NULL
"""
UNNAMED = f"""
    SELECT 'ORIGINAL', w.place, o.*
    FROM unnest(CAST(:account_id AS bigint[]), CAST(:card_id AS bigint[]), CAST(:link AS text[]), CAST(:terminal AS text[]),
                CAST(:stan AS text[]), CAST(:rrn AS text[]))
        WITH ORDINALITY AS w (account_id, card_id, link, terminal, stan, rrn, place),
    LATERAL (
        SELECT {ORIGINAL_COLUMNS}, o.message_key FROM authorisation o
        WHERE o.account_id = w.account_id AND o.account_id > 0 AND o.business_date BETWEEN :since AND :today
          AND o.card_id = w.card_id AND o.link = w.link AND o.terminal = w.terminal AND o.stan = w.stan AND o.rrn = w.rrn
          AND o.kind NOT IN ('REVERSAL', 'REFUND', 'ADVICE')
        ORDER BY o.business_date DESC, o.decided_at DESC LIMIT 1) o
"""
TOMBSTONES = """
    SELECT w.place
    FROM unnest(CAST(:account_id AS bigint[]), CAST(:card_id AS bigint[]), CAST(:link AS text[]), CAST(:terminal AS text[]),
                CAST(:rrn AS text[]), CAST(:amount_idr AS bigint[]))
        WITH ORDINALITY AS w (account_id, card_id, link, terminal, rrn, amount_idr, place)
    WHERE EXISTS (
        SELECT FROM authorisation x
        WHERE x.account_id = w.account_id AND x.account_id > 0 AND x.business_date BETWEEN :since AND :today
          AND x.card_id = w.card_id AND x.link = w.link AND x.terminal = w.terminal AND x.rrn = w.rrn
          AND x.kind = 'REVERSAL' AND x.reason = 'ORIGINAL_UNKNOWN' AND x.amount_idr = w.amount_idr OFFSET 0)
"""
FIRST_SENDINGS = """
    SELECT w.place, e.id, e.amount_idr, e.reason, e.response_code, e.answer, e.kind
    FROM unnest(CAST(:account_id AS bigint[]), CAST(:card_id AS bigint[]), CAST(:link AS text[]), CAST(:terminal AS text[]),
                CAST(:stan AS text[]), CAST(:rrn AS text[]), CAST(:kind AS text[]), CAST(:digest AS bytea[]))
        WITH ORDINALITY AS w (account_id, card_id, link, terminal, stan, rrn, kind, digest, place),
    LATERAL (
        SELECT * FROM authorisation e
        WHERE e.account_id = w.account_id AND e.account_id > 0 AND e.business_date BETWEEN :since AND :today
          AND e.card_id = w.card_id AND e.link = w.link AND e.terminal = w.terminal AND e.stan = w.stan AND e.rrn = w.rrn
          AND left(e.mti, 3) = w.kind AND e.content_digest = w.digest
        ORDER BY e.business_date DESC, e.decided_at DESC LIMIT 1) e
"""
