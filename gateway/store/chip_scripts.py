"""What chips were told to do (issuer scripts), a row a card and script: wanted since when, sent how often, what came of it.

Written and read by lanes inside the transaction of a group, whose LOAD has locked the cards, and by people's commands under the
card's lock. Nothing a cryptogram or key could be made of is kept. Read next: gateway.rules.chip, gateway.operations.card_scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from gateway.rules.chip import Script, ScriptResult, ScriptSent
from gateway.store import audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.audit import Event
    from gateway.store.cards import Card
    from gateway.store.lane_connection import LaneConnection


class CardKey(NamedTuple):
    """Where a card stands."""

    cell: int
    account_id: int
    card_id: int


class Sending(NamedTuple):
    """A script that goes out with an answer. ATC: the counter of the transaction it is made for."""

    cell: int
    account_id: int
    card_id: int
    script: str
    atc: int


class Word(NamedTuple):
    """What a terminal says of a script. SCRIPT: None where it does not say which."""

    cell: int
    account_id: int
    card_id: int
    script: str | None
    atc: int
    result: str


class ChipScript(NamedTuple):
    """One row, as people see it."""

    script: Script
    wanted_at: datetime
    sent: int
    sent_at: datetime | None
    result: ScriptResult | None
    told_at: datetime | None


async def sent_before(connection: LaneConnection, cards: Sequence[CardKey]) -> list[dict[Script, ScriptSent]]:
    """What each card was told, in the order of CARDS."""
    found: list[dict[Script, ScriptSent]] = [{} for _ in cards]
    columns = map(list, zip(*cards, strict=True))
    parameters = dict(zip(("cells", "accounts", "cards"), columns, strict=True))
    for place, script, count, result in await connection.fetch(SENT_BEFORE, parameters):
        found[place - 1][Script(script)] = ScriptSent(count, taken=result == ScriptResult.TAKEN)
    return found


async def note_sent(connection: LaneConnection, sendings: Sequence[Sending], at: datetime) -> list[int]:
    """Count scripts that go out, at most one a card. Returns how often each has, in their order."""
    columns = map(list, zip(*sendings, strict=True))
    names = ("cells", "accounts", "cards", "scripts", "atcs")
    rows = await connection.fetch(NOTE_SENT, dict(zip(names, columns, strict=True)) | {"at": at})
    counts = {(card, script): count for card, script, count in rows}
    return [counts[one.card_id, one.script] for one in sendings]


async def keep_words(
    connection: LaneConnection, words: Sequence[Word], at: datetime
) -> list[tuple[int, str, int, str]]:
    """Keep what terminals say of scripts as they last went out. Returns what was news: card, script, counter, result.

    That a card took a script stands, whatever is said of it later.
    """
    columns = map(list, zip(*words, strict=True))
    names = ("cells", "accounts", "cards", "scripts", "atcs", "results")
    rows = await connection.fetch(KEEP_WORDS, dict(zip(names, columns, strict=True)) | {"at": at})
    return [tuple(row) for row in rows]


async def append_event(connection: LaneConnection, event: Event) -> None:
    """Add an event to the lane's audit chain, and move the chain's head to it."""
    await connection.fetch(APPEND_EVENT, audit.event_parameters(event))


async def want(connection: AsyncConnection, card: Card, script: Script, at: datetime) -> None:
    """From now on the card is to be told: anew where it was told before."""
    await connection.execute(WANT, _row_of(card, script, at))


async def want_again(connection: AsyncConnection, card: Card, script: Script, at: datetime) -> None:
    """The same where it was told before; nothing is needed where it never was."""
    await connection.execute(WANT_AGAIN, _row_of(card, script, at))


async def of_card(connection: AsyncConnection, card: Card) -> list[ChipScript]:
    """All there is of a card, the newest wanted first."""
    rows = await connection.execute(OF_CARD, {"cell": card.cell, "account": card.account_id, "card": card.id})
    return [
        ChipScript(
            Script(row.script), row.wanted_at, row.sent, row.sent_at,
            None if row.result is None else ScriptResult(row.result), row.told_at,
        )
        for row in rows
    ]  # fmt: skip


def _row_of(card: Card, script: Script, at: datetime) -> dict[str, object]:
    return {"cell": card.cell, "account": card.account_id, "card": card.id, "script": script.value, "at": at}


SENT_BEFORE = """
    SELECT c.place, s.script, s.sent, s.result
    FROM unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[]), CAST(:cards AS bigint[]))
        WITH ORDINALITY AS c (cell, account_id, id, place)
    JOIN chip_script s ON s.cell = c.cell AND s.account_id = c.account_id AND s.card_id = c.id
"""
# What was taken and goes out again was wanted again.
NOTE_SENT = """
    INSERT INTO chip_script AS s (cell, account_id, card_id, script, wanted_at, sent, sent_at, sent_atc)
    SELECT t.cell, t.account_id, t.card_id, t.script, CAST(:at AS timestamptz), 1, CAST(:at AS timestamptz), t.atc
    FROM unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[]), CAST(:cards AS bigint[]), CAST(:scripts AS text[]),
                CAST(:atcs AS int[])) AS t (cell, account_id, card_id, script, atc)
    ON CONFLICT (cell, account_id, card_id, script) DO UPDATE
    SET sent = CASE WHEN s.result = 'TAKEN' THEN 1 ELSE s.sent + 1 END, sent_at = EXCLUDED.sent_at,
        sent_atc = EXCLUDED.sent_atc, result = NULL, told_at = NULL,
        wanted_at = CASE WHEN s.result = 'TAKEN' THEN EXCLUDED.wanted_at ELSE s.wanted_at END
    RETURNING card_id, script, sent
"""
KEEP_WORDS = """
    UPDATE chip_script s SET result = t.result, told_at = CAST(:at AS timestamptz)
    FROM unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[]), CAST(:cards AS bigint[]), CAST(:scripts AS text[]),
                CAST(:atcs AS int[]), CAST(:results AS text[])) AS t (cell, account_id, card_id, script, atc, result)
    WHERE s.cell = t.cell AND s.account_id = t.account_id AND s.card_id = t.card_id AND s.sent_atc = t.atc
      AND (t.script IS NULL OR s.script = t.script)
      AND s.result IS DISTINCT FROM 'TAKEN' AND s.result IS DISTINCT FROM t.result
    RETURNING s.card_id, s.script, s.sent_atc, s.result
"""
APPEND_EVENT = """
    WITH head AS (UPDATE audit_chain SET last_seq = :seq, last_hash = :hash WHERE stream = :stream)
    INSERT INTO audit_event (stream, seq, at, actor, operation, subject, detail, hash)
    VALUES (:stream, :seq, :at, :actor, :operation, :subject, :detail, :hash)
"""
WANT = text("""
    INSERT INTO chip_script (cell, account_id, card_id, script, wanted_at) VALUES (:cell, :account, :card, :script, :at)
    ON CONFLICT (cell, account_id, card_id, script) DO UPDATE
    SET wanted_at = EXCLUDED.wanted_at, sent = 0, sent_at = NULL, sent_atc = NULL, result = NULL, told_at = NULL
""")
WANT_AGAIN = text("""
    UPDATE chip_script SET wanted_at = :at, sent = 0, sent_at = NULL, sent_atc = NULL, result = NULL, told_at = NULL
    WHERE cell = :cell AND account_id = :account AND card_id = :card AND script = :script
""")
OF_CARD = text("""
    SELECT script, wanted_at, sent, sent_at, result, told_at FROM chip_script
    WHERE cell = :cell AND account_id = :account AND card_id = :card ORDER BY wanted_at DESC, script
""")
