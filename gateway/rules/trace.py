"""A rupiah's chain as a tree: SP2D, SI, row, tranche, transfers, settlement and return. Pure: told what was read, it joins it.

One transfer is one step. What takes back, completes or releases stands below what it concerns, so that a withdrawal and its
reversal are read together. Names, NIK and card numbers are not among what it is told. Reading is gateway.store.trace's work.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.rules.trace_facts import (
    NOTHING_BEFORE,
    Cause,
    Correction,
    Movement,
    Opening,
    Paper,
    Return,
    Row,
    Settlement,
    TrancheFacts,
)
from ledger.chart import Phase, is_purse, purse_parts
from ledger.posting import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date

SHA_SHOWN = 12  # digits of a file's SHA-256: enough to compare by eye
PLACES = {"ATM": "ATM", "AGENT": "agent", "EWARONG": "e-Warong"}
WORDS = {
    Kind.CREDIT: "credited",
    Kind.WITHDRAWAL: "cash",
    Kind.PURCHASE: "purchase",
    Kind.REVERSAL: "reversed",
    Kind.HOLD: "held",
    Kind.RELEASE: "released",
    Kind.CAPTURE: "completed",
    Kind.FREEZE: "frozen",
    Kind.UNFREEZE: "unfrozen",
    Kind.TO_RPL: "debited to RPL",
}
WHOLE = (Kind.WITHDRAWAL, Kind.PURCHASE, Kind.HOLD, Kind.CAPTURE)  # may be one part of what a message asked for
REFUND = "REFUND"
IN_PART = "PARTIALLY_APPROVED"
CORRECTION = "correction"  # the source of a correction's transfers


class Level(StrEnum):
    """What a step of a chain is, from the treasury down."""

    SP2D = "SP2D"
    SI = "SI"
    ROW = "ROW"
    TRANCHE = "TRANCHE"
    TRANSFER = "TRANSFER"
    SETTLEMENT = "SETTLEMENT"
    RETURN = "RETURN"
    AUTHORISATION = "AUTHORISATION"  # one that moved nothing: all others stand in the text and cause of their transfers


@dataclass(frozen=True, slots=True)
class Step:
    """One step with the steps below it. REFERENCE and CAUSE are what `kks trace` takes; CAUSE brought a transfer about."""

    level: Level
    kind: str
    reference: str
    amount_idr: int
    date: date | None
    text: str
    cause: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """What was found for a subject. ASKED: references of the steps it names. NEXT_AFTER: there are more rows, after this one."""

    subject: str
    business_date: date
    asked: frozenset[str]
    steps: tuple[Step, ...]
    next_after: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """All that was read for a subject. ASKED transfers: show their chains alone; None: show every transfer."""

    papers: Sequence[Paper] = ()
    rows: Sequence[Row] = ()
    tranches: Sequence[TrancheFacts] = ()
    movements: Sequence[Movement] = ()
    settlements: Mapping[tuple[str, date, str], Settlement] = field(default_factory=dict)
    returns: Mapping[int, Return] = field(default_factory=dict)
    corrections: Mapping[int, Correction] = field(default_factory=dict)
    openings: Mapping[tuple[int, int, int], Opening] = field(default_factory=dict)
    asked: Collection[int] | None = None


def build(found: Found) -> tuple[Step, ...]:
    """The trees of what was found, one an SP2D, oldest first."""
    rows_of: dict[int, list[Step]] = defaultdict(list)
    tranches = {one.key: one for one in found.tranches}
    movements: dict[tuple[int, int, int], list[Movement]] = defaultdict(list)
    for one in found.movements:
        movements[one.cell, one.account_id, one.tranche_id].append(one)
    numbers = {paper.si_id: paper.si_no for paper in found.papers}
    for row in sorted(found.rows):
        below: tuple[Step, ...] = ()
        if row.tranche in tranches:
            below = (_tranche_step(tranches[row.tranche], movements[row.tranche], found),)
        rows_of[row.si_id].append(_row_step(row, f"si:{numbers[row.si_id]}:{row.line}", below))
    return tuple(_paper_steps(found.papers, rows_of))


def authorisation_step(number: int, on: date, cause: Cause) -> Step:
    """An authorisation that moved nothing: declined, a balance, or a reversal of what had taken nothing."""
    verdict = "moved nothing" if cause.reason == "APPROVED" else f"refused: {cause.reason}"
    text = f"{cause.kind.lower()} {_at(cause)}: {verdict}"
    return Step(Level.AUTHORISATION, cause.kind, f"authorisation:{number}", cause.asked_idr, on, text)


def disagreement(tranche: TrancheFacts, movements: Iterable[Movement], before: Opening = NOTHING_BEFORE) -> bool:
    """Whether a tranche is anything but what it was BEFORE the journal at hand and what its transfers add up to."""
    credited, *of_phases, returned = before
    phases = dict(zip(Phase, of_phases, strict=True))
    for one in movements:
        for account, amount_idr in ((one.credit, one.amount_idr), (one.debit, -one.amount_idr)):
            if is_purse(account):
                phases[purse_parts(account)[2]] += amount_idr
        credited += one.amount_idr if one.kind == Kind.CREDIT else 0
        returned += one.amount_idr if one.kind == Kind.TO_RPL else 0
    stands = tranche.amount_idr, tranche.available_idr, tranche.held_idr, tranche.frozen_idr, tranche.returned_idr
    return stands != (credited, *phases.values(), returned)


def rupiah(amount_idr: int) -> str:
    """Rupiah as Indonesia writes it.

    >>> rupiah(1500000)
    'Rp1.500.000'
    """
    return f"Rp{amount_idr:,}".replace(",", ".")


def _paper_steps(papers: Sequence[Paper], rows_of: Mapping[int, list[Step]]) -> Iterable[Step]:
    by_sp2d: dict[str, list[Paper]] = defaultdict(list)
    for paper in papers:
        by_sp2d[paper.sp2d_no].append(paper)
    for sp2d_no, same in sorted(by_sp2d.items(), key=lambda one: (one[1][0].sp2d_date, one[0])):
        below = tuple(_si_step(paper, tuple(rows_of.get(paper.si_id, ()))) for paper in sorted(same))
        first = same[0]
        yield Step(
            Level.SP2D, "SP2D", f"sp2d:{sp2d_no}", first.sp2d_amount_idr, first.sp2d_date, "from kas negara", "", below
        )


def _si_step(paper: Paper, below: tuple[Step, ...]) -> Step:
    decided = f"checked by {paper.checker}" if paper.checker else "nobody has decided yet"
    why = f" ({paper.reason})" if paper.reason else ""
    text = (
        f"{paper.state}{why}: list {paper.file_name} of {paper.rows} rows, SHA-256 {paper.file_sha256[:SHA_SHOWN]},"
        f" made by {paper.maker}, {decided}"
    )
    return Step(Level.SI, paper.state, f"si:{paper.si_no}", paper.amount_idr, paper.business_date, text, "", below)


def _row_step(row: Row, reference: str, below: tuple[Step, ...]) -> Step:
    aid = f"{row.programme or 'unknown programme'} {row.stage or ''}".strip()
    why = f" {row.reason}" if row.reason else ""
    text = f"{row.state}{why}: {aid} for account {row.account_number or 'unknown'}"
    return Step(Level.ROW, row.state, reference, row.amount_idr or 0, None, text, "", below)


def _tranche_step(tranche: TrancheFacts, movements: Sequence[Movement], found: Found) -> Step:
    parts = {
        "available": tranche.available_idr,
        "held": tranche.held_idr,
        "frozen": tranche.frozen_idr,
        "taken to RPL": tranche.returned_idr,
    }
    now = ", ".join(f"{name} {rupiah(amount)}" for name, amount in parts.items() if amount) or "nothing left"
    later = f", to be spent from {tranche.available_from}" if tranche.available_from > tranche.credited_on else ""
    text = f"{tranche.state}{later}: {now}"
    if tranche.key in found.openings:
        text += "; its older transfers are in the archive"
    if disagreement(tranche, movements, found.openings.get(tranche.key, NOTHING_BEFORE)):
        text += "; DISAGREES with the journal"
    return Step(
        Level.TRANCHE, tranche.state, f"tranche:{tranche.id}", tranche.amount_idr, tranche.credited_on, text,
        f"account:{tranche.account_number}", _chains(movements, found),
    )  # fmt: skip


def _chains(movements: Sequence[Movement], found: Found) -> tuple[Step, ...]:
    """The transfers of one tranche, each below the one it concerns; only chains with a transfer that was asked for."""
    ordered = sorted(movements, key=lambda one: (one.posted_at, one.id))  # ids are handed out ahead: they tell no time
    below: dict[int | None, list[Movement]] = defaultdict(list)
    for place, one in enumerate(ordered):
        below[_concerns(one, ordered[:place])].append(one)

    def step(one: Movement) -> Step:
        own = _transfer_step(one, found)
        return replace(own, steps=(*own.steps, *(step(child) for child in below[one.id])))

    def asked(one: Movement) -> bool:
        if found.asked is None or one.id in found.asked:
            return True
        return any(asked(child) for child in below[one.id])

    return tuple(step(one) for one in below[None] if asked(one))


def _concerns(one: Movement, earlier: Sequence[Movement]) -> int | None:
    """The earlier transfer that this one takes back, completes or releases: by its own word, or by its message's."""
    if any(other.id == one.corrects for other in earlier):
        return one.corrects
    if one.cause is None:  # a hold that lapsed: its release is the hold's own, on a later day
        named = [other.id for other in earlier if _lapsed(one) and _caused_by(other) == _caused_by(one)]
    else:
        named = [other.id for other in earlier if other.cause and other.cause.message_key == one.cause.original_key]
    return named[-1] if named else None


def _lapsed(one: Movement) -> bool:
    return one.cause is None and one.source == "authorisation" and one.kind == Kind.RELEASE


def _caused_by(one: Movement) -> tuple[str, int]:
    return one.source, one.source_id


def _transfer_step(one: Movement, found: Found) -> Step:
    word = WORDS.get(one.kind, one.kind.lower().replace("_", " "))  # type: ignore[call-overload]  # a kind is a str
    below: tuple[Step, ...] = ()
    text, cause = f"{word} by {one.source.replace('_', ' ')} {one.source_id}", f"{one.source}:{one.source_id}"
    if one.cause is not None:
        text, below = _authorised(word, one, one.cause, found)
    elif one.source == "treasury_return":
        cause = f"return:{one.source_id}"
        sent = found.returns.get(one.source_id)
        if sent is not None:
            text = f"{word}, evidence {sent.rpl_evidence}"
            below = (_return_step(sent, one.amount_idr),)
    elif one.source == CORRECTION and one.source_id in found.corrections:
        why = found.corrections[one.source_id]
        text = f"corrected for {why.value_date}: {why.reason}, made by {why.maker}, checked by {why.checker}"
    elif _lapsed(one):
        text = f"released, the hold has lapsed, authorisation:{one.source_id}"
    elif one.kind == Kind.CREDIT:
        text, cause = "credited from the programme's account", ""  # by the row above it
    return Step(Level.TRANSFER, one.kind, f"transfer:{one.id}", one.amount_idr, one.business_date, text, cause, below)


def _authorised(word: str, one: Movement, cause: Cause, found: Found) -> tuple[str, tuple[Step, ...]]:
    """What a transfer of an authorisation says, and its settlement where there is one."""
    if cause.kind == REFUND:
        word = "refunded"
    if one.kind in WHOLE and cause.asked_idr != one.amount_idr:
        approved = " approved for" if cause.reason == IN_PART else ""
        word += f",{approved} a part of {rupiah(cause.asked_idr)},"
    text = f"{word} {_at(cause)}, authorisation:{one.source_id}"
    settled = one.settled_as
    if settled is None:
        return text, ()
    settlement = found.settlements.get(settled)
    if settlement is None:
        return f"{text}; {settled[0]}'s day {settled[1]} is not settled", ()
    return text, (_settlement_step(settlement, settled, one.amount_idr),)


def _at(cause: Cause) -> str:
    """Where, with which message and card: what both the partner and the bank can look up."""
    where = f"at {PLACES.get(cause.channel, cause.channel)} {cause.acquirer}:{cause.terminal}"
    merchant = f" ({cause.merchant})" if cause.merchant else ""
    message = f"RRN {cause.rrn}" if cause.rrn else f"STAN {cause.stan}"
    card = f", card {cause.pan_masked}" if cause.pan_masked else ""
    stood_in = "" if cause.stand_in is None else f" by STAND_IN {cause.stand_in}"
    return f"{where}{merchant}, {message}, answered {cause.response_code}{stood_in}{card}"


def _settlement_step(settlement: Settlement, settled: tuple[str, date, str], amount_idr: int) -> Step:
    link, day, channel = settled
    paid = f"evidence {settlement.evidence}" if settlement.paid_on else "not yet paid"
    text = f"{link}'s day {day}, {PLACES[channel]}: {settlement.state}, {paid}"
    return Step(Level.SETTLEMENT, settlement.state, f"settlement:{settlement.id}", amount_idr, settlement.paid_on, text)


def _return_step(sent: Return, amount_idr: int) -> Step:
    if sent.returned_on is None:
        text = "at RPL, not yet at kas negara"
    else:
        receipt = f"NTPN {sent.ntpn}" if sent.ntpn else "no NTPN yet"
        text = f"returned to kas negara, evidence {sent.deposit_evidence}, {receipt}"
    if sent.amount_idr != amount_idr:
        text += f", in {rupiah(sent.amount_idr)} of {sent.tranches} tranches"
    return Step(Level.RETURN, sent.state, f"return:{sent.id}", amount_idr, sent.returned_on or sent.rpl_date, text)
