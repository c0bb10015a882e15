"""The two statements of a group authorisation: LOAD locks and reads everything its members need, WRITE writes all of it.

Both take arrays, one entry a member. Rows of cards and accounts are locked in the order of (cell, account id), which every
other writer keeps too, so writers wait for each other and never deadlock. gateway.operations.lane runs them.
"""

from __future__ import annotations

import hashlib
import json
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.rules.account import AccountState
from gateway.rules.authorise import CardView, DeclineReason, Earlier, Original, Snapshot, TrancheView
from gateway.rules.card import CardState
from gateway.rules.dormancy import TrancheState
from gateway.store.array_text import arrays_as_text
from ledger.book import COUNTS, POST_CTES
from ledger.posting import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection


class Wanted(NamedTuple):
    """What one member of a group needs loaded."""

    cell: int
    pan_index: bytes
    message_key: bytes
    original_key: bytes | None


class Loaded(NamedTuple):
    """What was found for one member: the rules' snapshot, and what the writing needs to know beside it."""

    snapshot: Snapshot
    account_id: int  # 0: the card is unknown
    card_id: int | None
    pin_offset: str | None
    earlier_id: int | None
    earlier_code: str | None
    earlier_answer: dict[str, Any] | None
    original_id: int | None
    original_kind: str | None
    original_channel: str | None
    original_transfers: dict[int, int]  # tranche id -> transfer id


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


async def load(connection: AsyncConnection, wanted: Sequence[Wanted]) -> list[Loaded]:
    """Lock and read what the members need, in their order."""
    rows = await connection.execute(
        LOAD,
        {
            "ord": list(range(len(wanted))),
            "cell": [one.cell for one in wanted],
            "pan": [one.pan_index for one in wanted],
            "key": [one.message_key for one in wanted],
            "original": [one.original_key for one in wanted],
        },
    )
    loaded: list[Any] = [None] * len(wanted)
    for row in rows:
        place, found = _loaded(row)
        loaded[place] = found
    return loaded


def write_arrays(new: Sequence[NewAuthorisation]) -> dict[str, Any]:
    """Parameters of WRITE for the authorisations themselves. Arrays of arrays are arrays of texts."""
    columns = zip(*new, strict=True)
    arrays: dict[str, Any] = {
        f"a_{name}": column for name, column in zip(NewAuthorisation._fields, columns, strict=True)
    }
    for name in ARRAY_COLUMNS:
        arrays[f"a_{name}"] = ["{" + ",".join(map(str, numbers)) + "}" for numbers in arrays[f"a_{name}"]]
    return arrays


def digest(new: Any) -> str:  # noqa: ANN401 - a NewAuthorisation or a row with the same names
    """What the audit chain keeps of an authorisation: a hash of everything that decided it and came of it.

    The text of a tuple of numbers, texts, bytes, dates and lists is different for different values, and the same in any process.
    """
    return hashlib.sha256(repr(DIGESTED(new)).encode()).hexdigest()


ARRAY_COLUMNS = ("tranche_ids", "programmes", "amounts_idr", "transfer_ids")
DIGESTED = attrgetter(*(name for name in NewAuthorisation._fields if name not in ("cell", "answer")))
LOAD = text("""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:ord AS int[]), CAST(:cell AS smallint[]), CAST(:pan AS bytea[]), CAST(:key AS bytea[]),
                             CAST(:original AS bytea[])) AS w (ord, cell, pan_index, message_key, original_key)
    ), cards AS MATERIALIZED (
        SELECT w.ord, c.cell, c.account_id, c.id, c.state, c.expires_on, c.pin_tries_left, c.pin_offset,
               a.state AS account_state
        FROM wanted w JOIN card c ON c.pan_index = w.pan_index JOIN account a ON a.cell = c.cell AND a.id = c.account_id
        ORDER BY a.cell, a.id FOR UPDATE OF c, a
    )
    SELECT w.ord, c.account_id, c.id AS card_id, c.state, c.expires_on, c.pin_tries_left, c.pin_offset, c.account_state,
           t.ids, t.programmes, t.amounts, t.states, t.dates,
           e.id AS earlier_id, e.content_digest AS earlier_digest, e.reason AS earlier_reason,
           e.response_code AS earlier_code, e.answer AS earlier_answer,
           o.id AS original_id, o.reason AS original_reason, o.kind AS original_kind, o.channel AS original_channel,
           o.amount_idr AS original_amount, o.reversed_idr, o.tranche_ids, o.programmes AS original_programmes,
           o.amounts_idr, o.transfer_ids,
           EXISTS (SELECT FROM authorisation x WHERE x.cell = w.cell AND x.original_key = w.message_key
                   AND x.reason = 'ORIGINAL_UNKNOWN') AS reversed_before
    FROM wanted w
    LEFT JOIN cards c ON c.ord = w.ord
    LEFT JOIN LATERAL (
        SELECT array_agg(id) AS ids, array_agg(programme) AS programmes, array_agg(available_idr) AS amounts,
               array_agg(state) AS states, array_agg(credited_on) AS dates
        FROM tranche t WHERE t.cell = c.cell AND t.account_id = c.account_id AND t.available_idr > 0) t ON true
    LEFT JOIN authorisation e ON e.cell = w.cell AND e.message_key = w.message_key
    LEFT JOIN authorisation o ON o.cell = w.cell AND o.message_key = w.original_key
""")
WRITE = text(
    arrays_as_text(f"""
    WITH {POST_CTES}, tried AS (
        UPDATE card c SET pin_tries_left = d.tries, state = d.state
        FROM unnest(CAST(:c_id AS bigint[]), CAST(:c_cell AS smallint[]), CAST(:c_account AS bigint[]),
                    CAST(:c_tries AS smallint[]), CAST(:c_state AS text[])) AS d (id, cell, account_id, tries, state)
        WHERE c.cell = d.cell AND c.account_id = d.account_id AND c.id = d.id
    ), reversed AS (
        UPDATE authorisation o SET reversed_idr = o.reversed_idr + d.amount, reversed_by = d.by
        FROM unnest(CAST(:r_cell AS smallint[]), CAST(:r_id AS bigint[]), CAST(:r_amount AS bigint[]),
                    CAST(:r_by AS bigint[])) AS d (cell, id, amount, by)
        WHERE o.cell = d.cell AND o.id = d.id
    ), decided AS (
        INSERT INTO authorisation (cell, id, account_id, card_id, link, kind, message_key, content_digest, original_key, mti,
            channel, mcc, terminal, merchant, acquirer, stan, transmitted, rrn, amount_idr, reason, response_code, answer,
            business_date, settlement_date, tranche_ids, programmes, amounts_idr, transfer_ids)
        SELECT cell, id, account_id, card_id, link, kind, message_key, content_digest, original_key, mti,
            channel, mcc, terminal, merchant, acquirer, stan, transmitted, rrn, amount_idr, reason, response_code,
            answer, business_date, business_date, CAST(tranche_ids AS bigint[]), CAST(programmes AS smallint[]),
            CAST(amounts_idr AS bigint[]), CAST(transfer_ids AS bigint[])
        FROM unnest(CAST(:a_cell AS smallint[]), CAST(:a_id AS bigint[]), CAST(:a_account_id AS bigint[]),
            CAST(:a_card_id AS bigint[]), CAST(:a_link AS text[]), CAST(:a_kind AS text[]), CAST(:a_message_key AS bytea[]),
            CAST(:a_content_digest AS bytea[]), CAST(:a_original_key AS bytea[]), CAST(:a_mti AS text[]),
            CAST(:a_channel AS text[]), CAST(:a_mcc AS text[]), CAST(:a_terminal AS text[]), CAST(:a_merchant AS text[]),
            CAST(:a_acquirer AS text[]), CAST(:a_stan AS text[]), CAST(:a_transmitted AS text[]), CAST(:a_rrn AS text[]),
            CAST(:a_amount_idr AS bigint[]), CAST(:a_reason AS text[]), CAST(:a_response_code AS text[]),
            CAST(:a_answer AS text[]), CAST(:a_business_date AS date[]), CAST(:a_tranche_ids AS text[]),
            CAST(:a_programmes AS text[]), CAST(:a_amounts_idr AS text[]), CAST(:a_transfer_ids AS text[]))
            AS d (cell, id, account_id, card_id, link, kind, message_key, content_digest, original_key, mti, channel, mcc,
                  terminal, merchant, acquirer, stan, transmitted, rrn, amount_idr, reason, response_code, answer,
                  business_date, tranche_ids, programmes, amounts_idr, transfer_ids)
    ), event AS (
        INSERT INTO audit_event (stream, seq, at, actor, operation, subject, detail, hash)
        VALUES (:stream, :seq, :at, :actor, :operation, :subject, :detail, :hash)
    ), head AS (
        UPDATE audit_chain SET last_seq = :seq, last_hash = :hash WHERE stream = :stream
    )
    SELECT {COUNTS}
""")
)


def _loaded(row: Any) -> tuple[int, Loaded]:  # noqa: ANN401 - a database row
    """A member's place in the group, and what was found for it. The row is taken apart at once: this runs for every request."""
    (
        place, account_id, card_id, state, expires_on, tries, offset, account_state, ids, programmes, amounts, states, dates,
        earlier_id, earlier_digest, earlier_reason, earlier_code, earlier_answer, original_id, original_reason,
        original_kind, original_channel, original_amount, reversed_idr, drawn_ids, drawn_programmes, drawn_amounts,
        transfer_ids, reversed_before,
    ) = row  # fmt: skip
    card = None
    if card_id is not None:
        card = CardView(CARD_STATES[state], expires_on, tries, ACCOUNT_STATES[account_state])
    tranches: tuple[TrancheView, ...] = ()
    if ids:
        columns = zip(ids, programmes, amounts, states, dates, strict=True)
        tranches = tuple([TrancheView(i, p, a, TRANCHE_STATES[s], d) for i, p, a, s, d in columns])
    earlier = original = None
    transfers: dict[int, int] = {}
    if earlier_id is not None:
        earlier = Earlier(earlier_digest, DeclineReason(earlier_reason))
        earlier_answer = json.loads(earlier_answer)
    if original_id is not None:
        draws = tuple(Draw(*one) for one in zip(drawn_ids, drawn_programmes, drawn_amounts, strict=True))
        original = Original(DeclineReason(original_reason), original_amount, reversed_idr, draws)
        transfers = dict(zip(drawn_ids, transfer_ids, strict=True))
    found = Snapshot(card, tranches, earlier, original, reversed_before)
    return place, Loaded(
        found, account_id or 0, card_id, offset, earlier_id, earlier_code, earlier_answer, original_id, original_kind,
        original_channel, transfers,
    )  # fmt: skip


CARD_STATES = {state.value: state for state in CardState}
ACCOUNT_STATES = {state.value: state for state in AccountState}
TRANCHE_STATES = {state.value: state for state in TrancheState}
