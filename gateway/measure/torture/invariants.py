"""What must hold of the books: after every step on the accounts that were touched, and every so often on all of them.

read() looks at some accounts in one snapshot and raises Violated where the books disagree with themselves; agree() compares them
with the model; prove() runs the bank's own proof over everything and walks the audit chains. Reads only, and only tables: no
code of the bank stands between the checker and what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from gateway.measure.torture.oracle import REMEMBERED_DAYS
from gateway.operations import day, proof, settlement
from gateway.operations.bank import reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from gateway.measure.torture.clocks import Treasury
    from gateway.measure.torture.oracle import Family, Programme
    from gateway.operations.bank import Bank


class Violated(Exception):
    """An invariant does not hold. The text says which one, where, and what stands there instead."""


class StageRow(NamedTuple):
    """A tranche as stored, with what the journal says of it and the dates of its clock."""

    account_id: int
    programme: str
    stage: str
    amount_idr: int
    available_idr: int
    held_idr: int
    frozen_idr: int
    returned_idr: int
    state: str
    used: bool
    clock_from: date
    available_from: date
    blocked_on: date | None
    frozen_on: date | None
    journal_available_idr: int
    journal_held_idr: int
    journal_frozen_idr: int
    journal_credited_idr: int
    journal_returned_idr: int
    credits: int


@dataclass(slots=True)
class Books:
    """One family's books: its stages in the order they were credited, how many transfers it has, and its cards."""

    stages: list[StageRow]
    transfers: int
    cards: dict[int, tuple[str, int]]  # id -> state, PIN tries left
    since: date
    decided: dict[
        tuple[str, str, str], tuple[str, int]
    ]  # messages since (kind, trace number, time) -> why, what is still taken


async def read(bank: Bank, accounts: Sequence[int]) -> dict[int, Books]:
    """The books of some accounts. Raises Violated where purse, tranches and journal disagree, or an amount is below zero."""
    since = bank.business_date - timedelta(days=REMEMBERED_DAYS)
    wanted = {"cells": [one % bank.row.cells for one in accounts], "ids": list(accounts)}
    async with reading(bank) as connection:
        rows = [StageRow(*row) for row in await connection.execute(STAGES, wanted)]
        purses = list(await connection.execute(PURSES, wanted))
        counts = {row.account_id: row for row in await connection.execute(COUNTS, wanted)}
        cards = list(await connection.execute(CARDS, wanted))
        decided = list(await connection.execute(DECIDED, wanted | {"since": since}))
    for row in rows:
        _check_stage(row)
    for purse in purses:
        if not purse.purse == purse.tranches == purse.journal:
            raise Violated(
                f"purse = tranches = journal: account {purse.account_id}, programme {purse.programme}: (available, held, frozen)"
                f" is {purse.purse} in the purse, {purse.tranches} in its tranches, {purse.journal} in the journal"
            )
    books = {number: Books([], 0, {}, since, {}) for number in accounts}
    for card in cards:
        books[card.account_id].cards[card.id] = card.state, card.pin_tries_left
    for row in rows:
        books[row.account_id].stages.append(row)
    for one in decided:
        books[one.account_id].decided[one.kind, one.stan, one.transmitted] = one.reason, int(one.kept)
    for number, count in counts.items():
        books[number].transfers = int(count.transfers)
        if count.wrong_reversals:
            raise Violated(
                f"a reversal returns to where it came from: account {number} has {count.wrong_reversals} that do not"
            )
    return books


def agree(family: Family, books: Books) -> str | None:
    """The first thing in which the model and the books differ; None: they are the same to the rupiah and to the tranche."""
    known = [
        (s.programme, s.name, s.amount_idr, s.available_idr, s.held_idr, s.frozen_idr, s.returned_idr, s.state, s.used,
         s.clock_from, s.available_from) for s in family.stages
    ]  # fmt: skip
    stored = [tuple(row[1:12]) for row in books.stages]
    if len(known) != len(stored):
        return f"the family was credited {len(known)} stages, the bank has {len(stored)}"
    for mine, theirs in zip(known, stored, strict=True):
        if mine != theirs:
            return f"the family's stage is {_shown(mine)}, the bank's {_shown(theirs)}"
    if family.transfers != books.transfers:
        return f"the family knows of {family.transfers} movements, the journal of {books.transfers}"
    cards = {card.id: (card.state, card.tries) for card in family.cards.values()}
    if cards != books.cards:
        return f"the family's cards are {cards}, the bank's {books.cards}"
    decided = {
        (one.said.kind, key.stan, key.transmitted): (one.told.reason, one.kept_idr())
        for key, one in family.answered.items()
        if one.on >= books.since and one.said.kind != "CORRECTION"
    }
    if decided != books.decided:
        return (
            f"terminals know of {_only(decided, books.decided)}, the bank has decided {_only(books.decided, decided)}"
        )
    return family.check()


def check_clocks(books: Mapping[int, Books], programmes: Mapping[str, Programme], today: date) -> None:
    """Nothing was blocked or frozen before its day; after the day's jobs nothing is open past it. Raises Violated."""
    for number, account in books.items():
        for row in account.stages:
            wrong = _clock_fault(row, programmes[row.programme], today)
            if wrong is not None:
                raise Violated(f"clocks: account {number}, {row.programme} {row.stage}: {wrong}")


async def check_totals(
    bank: Bank, families: Sequence[Family], treasury: Treasury, settled_idr: Mapping[str, int]
) -> None:
    """Credited = withdrawn + purchased + held + frozen + returned + remaining, against what everybody outside knows."""
    async with reading(bank) as connection:
        found = {row.kind: int(row.balance) for row in await connection.execute(CONTROLS)}
        inside = (await connection.execute(INSIDE)).one()
    stages = [stage for family in families for stage in family.stages]
    paid = {channel: sum(family.paid_idr[channel] for family in families) for channel in ("ATM", "AGENT", "EWARONG")}
    owed = {channel: amount - settled_idr.get(channel, 0) for channel, amount in paid.items()}
    credited = sum(family.credited_idr() for family in families)
    funded = sum(treasury.funded_idr.values())
    expected = {
        "treasury": treasury.returned_idr - funded, "fund": funded - credited, "paid": sum(settled_idr.values()), **owed,
        "RPL": treasury.at_rpl_idr, "remaining": sum(stage.available_idr for stage in stages),
        "held": sum(stage.held_idr for stage in stages), "frozen": sum(stage.frozen_idr for stage in stages),
    }  # fmt: skip
    stored = {"treasury": 0, "fund": 0, "ATM": 0, "AGENT": 0, "EWARONG": 0, "RPL": 0, "paid": 0} | found
    stored |= {"remaining": int(inside.available), "held": int(inside.held), "frozen": int(inside.frozen)}
    if expected != stored:
        raise Violated(f"conservation: families, terminals and treasury know {expected}, the books say {stored}")
    out = sum(paid.values()) + expected["held"] + expected["frozen"] + treasury.at_rpl_idr + treasury.returned_idr
    if credited != out + expected["remaining"]:
        raise Violated(f"conservation: credited Rp{credited:,}, explained Rp{out + expected['remaining']:,}")


async def prove(bank: Bank) -> None:
    """The bank's own proofs, whole and since the last close, its closed days and its audit chains. Raises Violated."""
    checks = [*await proof.prove_ledger(bank), *await proof.prove_ledger(bank, incremental=True)]
    checks += [*await settlement.verify(bank), *await proof.verify_audit(bank)]
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    days = await day.verify(bank)
    wrong += [] if days.first_wrong is None else [f"closed day {days.first_wrong}: {days.detail}"]
    if wrong:
        raise Violated("proof: " + "; ".join(wrong))


def _check_stage(row: StageRow) -> None:
    parts = (row.available_idr, row.held_idr, row.frozen_idr, row.returned_idr)
    place = f"account {row.account_id}, {row.programme} {row.stage}"
    if min(parts) < 0 or sum(parts) > row.amount_idr:
        raise Violated(f"components: {place}: {parts} of Rp{row.amount_idr:,}")
    journal = (row.journal_available_idr, row.journal_held_idr, row.journal_frozen_idr, row.journal_returned_idr)
    if parts != journal:
        raise Violated(f"tranche = journal: {place}: (available, held, frozen, returned) is {parts}, journal {journal}")
    if (row.credits, row.journal_credited_idr) != (1, row.amount_idr):
        raise Violated(f"no tranche is paid twice: {place}: {row.credits} credits of Rp{row.journal_credited_idr:,}")


def _clock_fault(row: StageRow, rules: Programme, today: date) -> str | None:
    days = (today - row.clock_from).days
    ticks = row.available_idr > 0 and (not row.used or rules.partly_used)
    if (
        row.state == "BLOCKED"
        and row.blocked_on is not None
        and (row.blocked_on - row.clock_from).days < rules.block_days
    ):
        return f"blocked on {row.blocked_on}, its clock runs from {row.clock_from}"
    returned = row.state in ("FROZEN", "AT_RPL", "RETURNED")
    if returned and row.frozen_on is not None and (row.frozen_on - row.clock_from).days <= rules.return_days:
        return f"frozen on {row.frozen_on}, its clock runs from {row.clock_from}"
    if ticks and row.state in ("OPEN", "BLOCKED") and days > rules.return_days:
        return f"{row.state} after {days} days, due to be frozen after {rules.return_days}"
    if ticks and row.state == "OPEN" and days >= rules.block_days:
        return f"{row.state} after {days} days, due to be blocked after {rules.block_days}"
    if row.frozen_idr > 0:
        return f"Rp{row.frozen_idr:,} still frozen after the day's debit to RPL"
    return None


def _only(mine: dict[Any, Any], theirs: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in mine.items() if theirs.get(key) != value}


def _shown(stage: tuple[Any, ...]) -> str:
    names = (
        "programme",
        "stage",
        "amount",
        "available",
        "held",
        "frozen",
        "returned",
        "state",
        "used",
        "clock",
        "from",
    )
    return ", ".join(f"{name} {value}" for name, value in zip(names, stage, strict=True))


WANTED = "(SELECT * FROM unnest(CAST(:cells AS smallint[]), CAST(:ids AS bigint[])) AS w (cell, account_id))"
SIGNED = f"""
    (SELECT cell, account_id, tranche_id, kind, credit AS account, amount_idr AS amount FROM transfer
     WHERE (cell, account_id) IN {WANTED} AND credit >= 10000
     UNION ALL
     SELECT cell, account_id, tranche_id, kind, debit, -amount_idr FROM transfer
     WHERE (cell, account_id) IN {WANTED} AND debit >= 10000)
"""
STAGES = text(f"""
    WITH journal AS (
        SELECT tranche_id, coalesce(sum(amount) FILTER (WHERE account % 10 = 0), 0)::bigint AS available,
               coalesce(sum(amount) FILTER (WHERE account % 10 = 1), 0)::bigint AS held,
               coalesce(sum(amount) FILTER (WHERE account % 10 = 2), 0)::bigint AS frozen,
               coalesce(sum(amount) FILTER (WHERE kind = 'CREDIT'), 0)::bigint AS credited,
               coalesce(-sum(amount) FILTER (WHERE kind = 'TO_RPL'), 0)::bigint AS returned,
               count(*) FILTER (WHERE kind = 'CREDIT') AS credits
        FROM {SIGNED} s GROUP BY tranche_id)
    SELECT t.account_id, p.code, t.stage, t.amount_idr, t.available_idr, t.held_idr, t.frozen_idr, t.returned_idr, t.state,
           t.used_on IS NOT NULL, t.clock_from, t.available_from, t.blocked_on, t.frozen_on,
           coalesce(j.available, 0), coalesce(j.held, 0), coalesce(j.frozen, 0), coalesce(j.credited, 0),
           coalesce(j.returned, 0), coalesce(j.credits, 0)
    FROM tranche t JOIN programme p ON p.number = t.programme LEFT JOIN journal j ON j.tranche_id = t.id
    WHERE (t.cell, t.account_id) IN {WANTED} ORDER BY t.account_id, t.credited_on, t.id
""")
PURSES = text(f"""
    WITH journal AS (
        SELECT account_id, (account % 10000 / 10)::smallint AS programme,
               coalesce(sum(amount) FILTER (WHERE account % 10 = 0), 0)::bigint AS available,
               coalesce(sum(amount) FILTER (WHERE account % 10 = 1), 0)::bigint AS held,
               coalesce(sum(amount) FILTER (WHERE account % 10 = 2), 0)::bigint AS frozen
        FROM {SIGNED} s GROUP BY 1, 2
    ), tranches AS (
        SELECT account_id, programme, sum(available_idr)::bigint AS available, sum(held_idr)::bigint AS held,
               sum(frozen_idr)::bigint AS frozen
        FROM tranche WHERE (cell, account_id) IN {WANTED} GROUP BY 1, 2)
    SELECT account_id, programme,
           ARRAY[coalesce(p.available_idr, 0), coalesce(p.held_idr, 0), coalesce(p.frozen_idr, 0)] AS purse,
           ARRAY[coalesce(t.available, 0), coalesce(t.held, 0), coalesce(t.frozen, 0)] AS tranches,
           ARRAY[coalesce(j.available, 0), coalesce(j.held, 0), coalesce(j.frozen, 0)] AS journal
    FROM (SELECT * FROM purse WHERE (cell, account_id) IN {WANTED}) p FULL JOIN tranches t USING (account_id, programme)
    FULL JOIN journal j USING (account_id, programme)
""")
COUNTS = text(f"""
    SELECT t.account_id, count(*) AS transfers,
           count(*) FILTER (
               WHERE (t.kind = 'REVERSAL' OR (t.kind = 'CORRECTION' AND t.credit >= 10000)) AND
                     (o.id IS NULL OR o.tranche_id <> t.tranche_id OR o.credit <> t.debit
                      OR o.debit / 10000 <> t.account_id)) AS wrong_reversals
    FROM transfer t LEFT JOIN transfer o ON (o.cell, o.account_id, o.id) = (t.cell, t.account_id, t.corrects)
    WHERE (t.cell, t.account_id) IN {WANTED} GROUP BY t.account_id
""")
CARDS = text(f"SELECT account_id, id, state, pin_tries_left FROM card WHERE (cell, account_id) IN {WANTED}")
DECIDED = text(f"""
    SELECT account_id, kind, stan, transmitted, reason, (SELECT coalesce(sum(k), 0) FROM unnest(kept_idr) AS u (k)) AS kept
    FROM authorisation
    WHERE (cell, account_id) IN {WANTED} AND business_date >= :since
""")
CONTROLS = text("""
    SELECT CASE account / 1000 WHEN 1 THEN 'treasury' WHEN 2 THEN 'fund' WHEN 3 THEN 'ATM' WHEN 4 THEN 'AGENT'
                WHEN 5 THEN 'EWARONG' WHEN 6 THEN 'RPL' WHEN 8 THEN 'paid' ELSE account::text END AS kind, sum(amount) AS balance
    FROM (SELECT credit AS account, amount_idr AS amount FROM transfer WHERE credit < 10000
          UNION ALL SELECT debit, -amount_idr FROM transfer WHERE debit < 10000) c
    GROUP BY 1
""")
INSIDE = text("""
    SELECT coalesce(sum(available_idr), 0) AS available, coalesce(sum(held_idr), 0) AS held,
           coalesce(sum(frozen_idr), 0) AS frozen FROM purse
""")
