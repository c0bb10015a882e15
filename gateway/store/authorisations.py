"""The two statements of a group authorisation: LOAD locks and reads everything its members need, WRITE writes all of it.

Both take arrays, one entry a member. Rows of cards and accounts are locked in the order of (cell, account id), which every
other writer keeps too, so writers wait for each other and never deadlock. Both name a span of business dates, so that they
look at a few partitions and never scan. Read next: lane_connection.py, which runs them.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.rules.account import AccountState
from gateway.rules.authorise import (
    APPROVALS,
    CardView,
    DeclineReason,
    Earlier,
    Original,
    RequestKind,
    Snapshot,
    TrancheView,
)
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.rules.limits import TerminalUse, Use
from gateway.rules.purse import Channel
from gateway.store.array_text import array_text, arrays_as_text
from gateway.store.audit import FIRST_HASH, Head
from ledger.book import COUNTS, POST_CTES
from ledger.posting import Draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

APPROVED = f"reason IN ({', '.join(repr(one.value) for one in APPROVALS)})"
"""That the answer was yes, in SQL, of the row whose alias stands before it."""
ANSWERED_DAYS = 31  # how far back a message's answer, its original and its tombstone are looked for: DE7 has no year


class Wanted(NamedTuple):
    """What one member of a group needs loaded. COUNTED: its past spending, for the limits of a day or month."""

    cell: int
    pan_index: bytes
    message_key: bytes
    original_key: bytes | None
    counted: bool = False


class Increment(NamedTuple):
    """A hold that added to another, and what it still holds."""

    id: int
    business_date: date
    draws: tuple[Draw, ...]
    kept_idr: list[int]  # of each of its draws


class Movement(NamedTuple):
    """A line of a statement: what came (above zero) to what can be spent, or went. KIND: ledger.posting.Kind."""

    on: date
    kind: str
    amount_idr: int


class NewReference(NamedTuple):
    """What a card is to be verified by after a PIN change, and the version of the key it was made under."""

    offset: str
    key_version: int


class Loaded(NamedTuple):
    """What was found for one member: the rules' snapshot, and what the writing needs to know beside it."""

    snapshot: Snapshot
    account_id: int  # 0: the card is unknown
    card_id: int | None
    pin_offset: str | None
    pin_key_version: int | None  # of the PIN verification key, under which the offset was made
    earlier_code: str | None
    earlier_answer: dict[str, Any] | None
    original_id: int | None
    original_channel: str | None
    original_date: date | None
    original_transfers: Mapping[int, int]  # tranche id -> transfer id
    earlier_id: int | None = None
    increments: tuple[Increment, ...] = ()  # what follows, for the few that gateway.operations.seldom knows
    statement: tuple[Movement, ...] = ()
    new_reference: NewReference | None = None


class NewAuthorisation(NamedTuple):
    """One row of authorisation."""

    cell: int
    id: int
    account_id: int
    card_id: int | None
    link: str
    kind: str
    message_key: bytes
    content_digest: bytes
    original_key: bytes | None
    mti: str
    channel: str
    mcc: str
    terminal: str
    merchant: str
    acquirer: str
    stan: str
    transmitted: str
    rrn: str
    amount_idr: int
    reason: str
    response_code: str
    answer: str
    tranche_ids: list[int]
    programmes: list[int]
    amounts_idr: list[int]
    transfer_ids: list[int]
    business_date: date
    settlement_date: date
    limit_ids: list[int]
    limit_id: int | None
    kept_idr: list[int]
    held_until: date | None


def load_parameters(wanted: Sequence[Wanted], terminals: Iterable[str], today: date, stream: str) -> dict[str, Any]:
    """Parameters of LOAD. TERMINALS: those whose own use is counted (link:acquirer:terminal). STREAM: the lane's audit chain."""
    return {
        "stream": stream,
        "pan": array_text([one.pan_index for one in wanted]),
        "key": array_text([one.message_key for one in wanted]),
        "original": array_text([one.original_key for one in wanted]),
        "counted": array_text([one.counted for one in wanted]),
        "terminals": array_text(sorted(terminals)),
    } | dates_of(today)


def dates_of(today: date) -> dict[str, date]:
    """The dates that a group's statements name; gateway.store.lane_connection writes them out."""
    return {"since": today - timedelta(days=ANSWERED_DAYS), "today": today, "month": today.replace(day=1)}


def read_loaded(rows: Iterable[Sequence[Any]], members: int) -> tuple[Head, list[Loaded]]:
    """The head of the lane's chain, and what LOAD found for each member, in their order."""
    head = Head(0, FIRST_HASH)
    cards: list[Any] = [None] * members
    tranches: list[list[TrancheView]] = [[] for _ in range(members)]
    earlier: dict[int, Sequence[Any]] = {}
    originals: dict[int, Sequence[Any]] = {}
    tombstones: set[int] = set()
    terminals: dict[str, list[TerminalUse]] = {}
    for row in rows:
        part, place = row[0], row[1]
        if part == "CARD":
            cards[place] = row
        elif part == "TRANCHE":
            _, _, number, programme, left, state, region, _, _, _, credited_on, available_from, clock_from, used, *_ = (
                row
            )
            tranches[place].append(
                TrancheView(
                    number,
                    programme,
                    left,
                    TRANCHE_STATES[state],
                    credited_on,
                    available_from,
                    clock_from,
                    used,
                    region,
                )
            )
        elif part == "EARLIER":
            earlier[place] = row
        elif part == "ORIGINAL":
            originals[place] = row
        elif part == "TOMBSTONE":
            tombstones.add(place)
        elif part == "TERMINAL":
            terminals.setdefault(row[5], []).append(TerminalUse(row[10], row[2], row[4]))
        else:
            head = Head(row[2], row[14])
    return head, [
        _loaded(cards[place], tranches[place], earlier.get(place), originals.get(place), place in tombstones, terminals)
        for place in range(members)
    ]


def read_original(row: Sequence[Any]) -> tuple[Original, int, str, date, Mapping[int, int]]:
    """An original as ORIGINAL_COLUMNS have it: for the rules, its id, channel and date, and its transfers by tranche."""
    _, _, number, reversed_idr, amount, reason, kind, channel, findings, asked, on, _, _, expired, named = row[:15]
    ids, programmes, amounts, moves = row[15:19]
    draws = tuple(Draw(*one) for one in zip(ids, programmes, amounts, strict=True))
    original = Original(
        RequestKind(kind), DeclineReason(reason), amount, reversed_idr, draws, "settled" in findings, "returning" in findings,
        expired, kind == RequestKind.HOLD and named is not None, asked_idr=None if asked is None else int(asked),
    )  # fmt: skip
    return original, number, channel, on, dict(zip(ids, moves[: len(ids)], strict=True))


def write_parameters(new: Sequence[NewAuthorisation]) -> dict[str, Any]:
    """Parameters of WRITE for the authorisations themselves. Arrays of arrays are arrays of texts."""
    columns = zip(*new, strict=True)
    arrays: dict[str, Any] = {
        f"a_{name}": column for name, column in zip(NewAuthorisation._fields, columns, strict=True)
    }
    for name in ARRAY_COLUMNS:
        arrays[f"a_{name}"] = ["{" + ",".join(map(str, numbers)) + "}" for numbers in arrays[f"a_{name}"]]
    return arrays


def _loaded(
    card_row: Sequence[Any] | None,
    tranches: list[TrancheView],
    earlier_row: Sequence[Any] | None,
    original_row: Sequence[Any] | None,
    reversed_before: bool,  # noqa: FBT001 - a fact like the others
    terminals: Mapping[str, list[TerminalUse]],
) -> Loaded:
    """What was found for one member. This runs for every request."""
    card, account_id, card_id, offset, pin_key = None, 0, None, None, None
    uses: tuple[Use, ...] = ()
    if card_row is not None:
        _, _, account_id, card_id, tries, state, account_state, offset, version, spent, expires_on, *_ = card_row
        pin_key = int(version) if version else None
        card = CardView(CARD_STATES[state], expires_on, tries, ACCOUNT_STATES[account_state])
        uses = _uses(spent) if spent else ()
    if earlier_row is None and original_row is None:
        snapshot = Snapshot(card, tranches, None, None, reversed_before, uses, terminals)
        return Loaded(snapshot, account_id, card_id, offset, pin_key, None, None, None, None, None, NO_TRANSFERS)
    earlier = original = code = answer = earlier_id = original_id = channel = on = None
    transfers: Mapping[int, int] = NO_TRANSFERS
    if earlier_row is not None:
        earlier_id, amount, undone, reason, code, told, kind = earlier_row[2:9]
        earlier = Earlier(earlier_row[14], DeclineReason(reason), RequestKind(kind), amount, undone)
        answer = json.loads(told)
    if original_row is not None:
        original, original_id, channel, on, transfers = read_original(original_row)
    snapshot = Snapshot(card, tranches, earlier, original, reversed_before, uses, terminals)
    return Loaded(
        snapshot, account_id, card_id, offset, pin_key, code, answer, original_id, channel, on, transfers, earlier_id
    )


def _uses(text: str) -> tuple[Use, ...]:
    """Approved debits as LOAD tells them: date;channel;acquirer;terminal;programmes;amounts, a line each."""
    uses = []
    for line in text.split("\n"):
        on, channel, rest = line.split(";", 2)
        place, programmes, amounts = rest.rsplit(";", 2)  # a terminal's name may hold anything
        if not programmes:  # a completion of what was taken when it was advised
            continue
        acquirer, terminal = place.split(";", 1)
        by_programme: dict[int, int] = {}
        for programme, amount in zip(programmes.split(","), amounts.split(","), strict=True):
            by_programme[int(programme)] = by_programme.get(int(programme), 0) + int(amount)
        uses.append(Use(date.fromisoformat(on), Channel(channel), f"{acquirer}:{terminal}", by_programme))
    return tuple(uses)


NO_TRANSFERS: Mapping[int, int] = MappingProxyType({})
ARRAY_COLUMNS = ("tranche_ids", "programmes", "amounts_idr", "transfer_ids", "limit_ids", "kept_idr")
# SETTLED and RETURNING are asked for what a message names alone: few messages name another. What was asked for stands in the
# stored answer of a partial approval.
ORIGINAL_COLUMNS = f"""o.id, o.reversed_idr, o.amount_idr, o.reason, o.kind, o.channel,
           concat_ws(',', CASE WHEN o.kind <> 'HOLD' THEN (SELECT 'settled' FROM settlement s WHERE s.link = o.link
               AND s.settlement_date = o.settlement_date AND s.channel = o.channel) END,
           (SELECT 'returning' FROM tranche t WHERE t.cell = o.cell AND t.account_id = o.account_id
               AND t.id = ANY (o.tranche_ids) AND t.state IN ('FROZEN', 'AT_RPL', 'RETURNED') LIMIT 1)),
           CASE WHEN o.reason = 'PARTIALLY_APPROVED' THEN CAST(o.answer AS json) ->> 'asked' END, o.business_date, NULL, NULL,
           o.kind = 'HOLD' AND o.{APPROVED} AND o.held_until IS NULL AND coalesce(o.reversed_by, 0) = 0,
           o.original_key, o.tranche_ids, o.programmes, o.amounts_idr, o.transfer_ids"""
# Rows of seven sorts in one answer, so that a group is loaded in one round trip. Of what is found for few (an earlier answer, an
# original, a tombstone) there is no row where there is none. read_loaded() takes them apart.
LOAD = arrays_as_text(f"""
    WITH wanted AS MATERIALIZED (
        SELECT pan_index, message_key, original_key, counted, CAST(ord - 1 AS int) AS place
        FROM unnest(CAST(:pan AS bytea[]), CAST(:key AS bytea[]), CAST(:original AS bytea[]), CAST(:counted AS boolean[]))
            WITH ORDINALITY AS w (pan_index, message_key, original_key, counted, ord)
    ), cards AS MATERIALIZED (
        SELECT w.place, w.counted, c.cell, c.account_id, c.id, c.state, c.expires_on, c.pin_tries_left, c.pin_offset,
               c.pin_key_version, a.state AS account_state
        FROM wanted w JOIN card c ON c.pan_index = w.pan_index JOIN account a ON a.cell = c.cell AND a.id = c.account_id
        ORDER BY a.cell, a.id FOR NO KEY UPDATE OF c, a
    ), terminals AS (
        INSERT INTO terminal_use AS u (terminal, business_date)
        SELECT terminal, :today FROM unnest(CAST(:terminals AS text[])) AS n (terminal) ORDER BY terminal
        ON CONFLICT (terminal, business_date) DO UPDATE SET count = u.count
        RETURNING terminal, business_date, count, amount_idr
    )
    SELECT 'CARD' AS part, c.place, c.account_id AS n1, c.id AS n2, CAST(c.pin_tries_left AS bigint) AS n3, c.state AS t1,
           c.account_state AS t2, c.pin_offset AS t3, CAST(c.pin_key_version AS text) AS t4,
           CASE WHEN c.counted THEN (
               SELECT string_agg(concat_ws(';', x.business_date, x.channel, x.acquirer, x.terminal,
                                           array_to_string(x.programmes, ','), array_to_string(x.kept_idr, ',')), E'\n')
               FROM authorisation x
               WHERE x.account_id = c.account_id AND x.account_id > 0 AND x.business_date BETWEEN :month AND :today
                 AND x.{APPROVED} AND x.kind IN ('CASH', 'PURCHASE', 'HOLD', 'COMPLETION')) END AS t5,
           c.expires_on AS d1, CAST(NULL AS date) AS d2, CAST(NULL AS date) AS d3, CAST(NULL AS boolean) AS flag,
           CAST(NULL AS bytea) AS bytes, CAST(NULL AS bigint[]) AS ids, CAST(NULL AS smallint[]) AS programmes,
           CAST(NULL AS bigint[]) AS amounts, CAST(NULL AS bigint[]) AS transfers
    FROM cards c
    UNION ALL
    SELECT 'TRANCHE', c.place, t.id, t.programme, t.available_idr, t.state, t.region, NULL, NULL, NULL, t.credited_on,
           t.available_from, t.clock_from, t.used_on IS NOT NULL, NULL, NULL, NULL, NULL, NULL
    FROM cards c JOIN tranche t ON t.cell = c.cell AND t.account_id = c.account_id AND t.available_idr > 0
    UNION ALL
    SELECT 'EARLIER', w.place, e.id, e.amount_idr, e.reversed_idr, e.reason, e.response_code, e.answer, e.kind, NULL, NULL,
           NULL, NULL, NULL, e.content_digest, NULL, NULL, NULL, NULL
    FROM wanted w JOIN authorisation e ON e.message_key = w.message_key AND e.business_date BETWEEN :since AND :today
    UNION ALL
    SELECT 'ORIGINAL', w.place, {ORIGINAL_COLUMNS}
    FROM wanted w JOIN authorisation o ON o.message_key = w.original_key AND o.business_date BETWEEN :since AND :today
    UNION ALL
    SELECT 'TOMBSTONE', w.place, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL
    FROM wanted w, LATERAL (
        SELECT FROM authorisation x WHERE x.original_key = w.message_key AND x.reason = 'ORIGINAL_UNKNOWN' AND x.kind = 'REVERSAL'
           AND x.business_date BETWEEN :since AND :today OFFSET 0) x
    UNION ALL
    SELECT 'TERMINAL', 0, u.count, NULL, u.amount_idr, u.terminal, NULL, NULL, NULL, NULL, u.business_date, NULL, NULL, NULL,
           NULL, NULL, NULL, NULL, NULL
    FROM (SELECT * FROM terminals
          UNION ALL
          SELECT u.* FROM unnest(CAST(:terminals AS text[])) AS n (terminal), LATERAL (
              SELECT u.terminal, u.business_date, u.count, u.amount_idr FROM terminal_use u
              WHERE u.terminal = n.terminal AND u.business_date >= :month AND u.business_date < :today OFFSET 0) u) u
    UNION ALL
    SELECT 'CHAIN', 0, h.last_seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, h.last_hash, NULL, NULL,
           NULL, NULL
    FROM audit_chain h WHERE h.stream = :stream
""")
WRITE = arrays_as_text(f"""
    WITH {POST_CTES}, tried AS (
        UPDATE card c SET pin_tries_left = d.tries, state = d.state
        FROM unnest(CAST(:c_id AS bigint[]), CAST(:c_cell AS smallint[]), CAST(:c_account AS bigint[]),
                    CAST(:c_tries AS smallint[]), CAST(:c_state AS text[])) AS d (id, cell, account_id, tries, state)
        WHERE c.cell = d.cell AND c.account_id = d.account_id AND c.id = d.id
    ), undone AS (
        UPDATE authorisation o SET reversed_idr = o.reversed_idr + d.amount, reversed_by = d.by,
            kept_idr = CAST(d.kept AS bigint[]), held_until = CASE WHEN d.closes THEN NULL ELSE o.held_until END
        FROM unnest(CAST(:r_cell AS smallint[]), CAST(:r_id AS bigint[]), CAST(:r_date AS date[]), CAST(:r_amount AS bigint[]),
                    CAST(:r_by AS bigint[]), CAST(:r_kept AS text[]), CAST(:r_closes AS boolean[]))
             AS d (cell, id, date, amount, by, kept, closes)
        WHERE o.cell = d.cell AND o.id = d.id AND o.business_date = d.date AND o.business_date BETWEEN :since AND :today
          -- and it is still what LOAD saw of it:
          AND o.amount_idr - o.reversed_idr - d.amount = (SELECT sum(k) FROM unnest(CAST(d.kept AS bigint[])) AS u (k))
        RETURNING 1
    ), paid_out AS (
        INSERT INTO terminal_use AS u (terminal, business_date, count, amount_idr)
        SELECT * FROM unnest(CAST(:u_terminal AS text[]), CAST(:u_date AS date[]), CAST(:u_debits AS int[]),
                             CAST(:u_amount AS bigint[]))
        ON CONFLICT (terminal, business_date) DO UPDATE SET count = u.count + EXCLUDED.count,
            amount_idr = u.amount_idr + EXCLUDED.amount_idr
    ), decided AS (
        INSERT INTO authorisation (cell, id, account_id, card_id, link, kind, message_key, content_digest, original_key, mti,
            channel, mcc, terminal, merchant, acquirer, stan, transmitted, rrn, amount_idr, reason, response_code, answer,
            business_date, settlement_date, tranche_ids, programmes, amounts_idr, transfer_ids, limit_ids, limit_id, kept_idr,
            held_until)
        SELECT cell, id, account_id, card_id, link, kind, message_key, content_digest, original_key, mti,
            channel, mcc, terminal, merchant, acquirer, stan, transmitted, rrn, amount_idr, reason, response_code,
            answer, business_date, settlement_date, CAST(tranche_ids AS bigint[]), CAST(programmes AS smallint[]),
            CAST(amounts_idr AS bigint[]), CAST(transfer_ids AS bigint[]), CAST(limit_ids AS int[]), limit_id,
            CAST(kept_idr AS bigint[]), held_until
        FROM unnest(CAST(:a_cell AS smallint[]), CAST(:a_id AS bigint[]), CAST(:a_account_id AS bigint[]),
            CAST(:a_card_id AS bigint[]), CAST(:a_link AS text[]), CAST(:a_kind AS text[]), CAST(:a_message_key AS bytea[]),
            CAST(:a_content_digest AS bytea[]), CAST(:a_original_key AS bytea[]), CAST(:a_mti AS text[]),
            CAST(:a_channel AS text[]), CAST(:a_mcc AS text[]), CAST(:a_terminal AS text[]), CAST(:a_merchant AS text[]),
            CAST(:a_acquirer AS text[]), CAST(:a_stan AS text[]), CAST(:a_transmitted AS text[]), CAST(:a_rrn AS text[]),
            CAST(:a_amount_idr AS bigint[]), CAST(:a_reason AS text[]), CAST(:a_response_code AS text[]),
            CAST(:a_answer AS text[]), CAST(:a_business_date AS date[]), CAST(:a_settlement_date AS date[]),
            CAST(:a_tranche_ids AS text[]), CAST(:a_programmes AS text[]), CAST(:a_amounts_idr AS text[]),
            CAST(:a_transfer_ids AS text[]), CAST(:a_limit_ids AS text[]), CAST(:a_limit_id AS int[]),
            CAST(:a_kept_idr AS text[]), CAST(:a_held_until AS date[]))
            AS d (cell, id, account_id, card_id, link, kind, message_key, content_digest, original_key, mti, channel, mcc,
                  terminal, merchant, acquirer, stan, transmitted, rrn, amount_idr, reason, response_code, answer,
                  business_date, settlement_date, tranche_ids, programmes, amounts_idr, transfer_ids, limit_ids, limit_id,
                  kept_idr, held_until)
    ), event AS (
        INSERT INTO audit_event (stream, seq, at, actor, operation, subject, detail, hash)
        VALUES (:stream, :seq, :at, :actor, :operation, :subject, :detail, :hash)
    ), head AS (
        UPDATE audit_chain SET last_seq = :seq, last_hash = :hash WHERE stream = :stream
    )
    SELECT {COUNTS}, (SELECT count(*) FROM undone)
""")
CARD_STATES = {state.value: state for state in CardState}
ACCOUNT_STATES = {state.value: state for state in AccountState}
TRANCHE_STATES = {state.value: state for state in TrancheState}
