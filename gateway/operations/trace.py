"""Follow a rupiah both ways: from an SP2D to the cash machine and the treasury's receipt, and from any of these back to the SP2D.

One function, follow(). A subject is looked up, the tranches it concerns are read with their rows and papers above and their
journal below, and gateway.rules.trace joins that. Where every rupiah of an SP2D is today: gateway.operations.whereabouts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import NotFound, Refused
from gateway.operations.bank import Bank, reading
from gateway.rules.trace import Found, Step, Trace, authorisation_step, build
from gateway.rules.trace_subject import Subject, SubjectKind, parse_subject
from gateway.store import trace as store
from ledger.posting import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.rules.trace_facts import Paper, Return, Row
    from gateway.store.trace import Authorised, Key

ROWS_SHOWN = 20
ROWS_MAX = 10_000
DATED = (SubjectKind.RRN, SubjectKind.AUTHORISATION, SubjectKind.TRANSFER)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for. ON: a business date that narrows the search. At most ROWS rows (or tranches), those after AFTER."""

    subject: Subject
    on: date | None
    cells: int
    rows: int
    after: int


@dataclass(slots=True)
class _Answer:
    """What a subject comes to: papers alone, rows of an SI, or tranches; of these only the asked transfers, where some are."""

    papers: Sequence[Paper] = ()
    rows: Sequence[Row] = ()
    keys: Collection[Key] = ()
    transfers: Collection[int] | None = None
    asked: Collection[str] = ()
    lone: tuple[Step, ...] = ()
    next_after: int | None = None


async def follow(bank: Bank, subject: str, *, on: date | None = None, rows: int = ROWS_SHOWN, after: int = 0) -> Trace:
    """The chains of a subject (gateway.rules.trace_subject), both ways, in one snapshot.

    An SP2D, SI, account or return may have very many rows: ROWS of them are read, after line (or tranche) AFTER, and the trace
    says where the rest begins. Raises Refused for what is no subject, NotFound for one that is not there.
    """
    try:
        wanted = parse_subject(subject)
    except ValueError as error:
        raise Refused(str(error)) from None
    if not 1 <= rows <= ROWS_MAX:
        raise Refused(f"between 1 and {ROWS_MAX} rows are shown at once, not {rows}")
    if after < 0:
        raise Refused(f"rows are counted from 1; there is none after {after}")
    if wanted.kind is SubjectKind.RRN and on is None:
        raise Refused(f"{subject}: a retrieval reference needs its business date too (--date)")
    if on is not None and wanted.kind not in DATED:
        raise Refused(f"{subject}: a date narrows the search for rrn, authorisation and transfer alone")
    async with reading(bank) as connection:
        await store.by_index(connection)
        answer = await FINDERS[wanted.kind](connection, Question(wanted, on, bank.row.cells, rows, after))
        found = await _read(connection, answer)
    steps = (*build(found), *answer.lone)
    return Trace(subject, bank.business_date, frozenset(answer.asked), steps, answer.next_after)


async def _read(connection: AsyncConnection, answer: _Answer) -> Found:
    """Everything above and below what a subject came to."""
    rows = list(answer.rows)
    keys = {row.tranche for row in rows if row.tranche is not None} | set(answer.keys)
    tranches = await store.tranches(connection, keys) if keys else []
    if not rows:
        rows = await store.rows_of_tranches(connection, tranches)
    papers = answer.papers or await store.papers(connection, {one.si_id for one in tranches})
    movements = await store.movements(connection, tranches)
    settled = {one.settled_as for one in movements} - {None}
    sources: dict[str, set[int]] = defaultdict(set)
    for one in movements:
        sources[one.source].add(one.source_id)
    return Found(
        papers, rows, tranches, movements,
        settlements=await store.settlements(connection, [key for key in settled if key]),
        returns=await store.returns(connection, sources["treasury_return"]),
        corrections=await store.corrections(connection, sources["correction"]),
        openings=await store.openings(connection, keys),
        asked=answer.transfers,
    )  # fmt: skip


async def _sp2d(connection: AsyncConnection, question: Question) -> _Answer:
    sp2d_no = question.subject.value
    papers = await store.papers_of_sp2d(connection, sp2d_no)
    if not papers:
        raise NotFound(f"there is no SP2D {sp2d_no}")
    live = [paper for paper in papers if paper.state not in ("MISMATCH", "REJECTED")]
    answer = await _rows(connection, live[0], question) if live else _Answer()
    answer.papers, answer.asked = papers, {f"sp2d:{sp2d_no}"}
    return answer


async def _si(connection: AsyncConnection, question: Question) -> _Answer:
    """`si:NO` or `si:NO:LINE`. A number that itself ends in a colon and digits is looked for as a whole first."""
    value = question.subject.value
    papers = await store.papers_of_si(connection, value)
    if papers:
        answer = await _rows(connection, papers[0], question)
        answer.papers, answer.asked = papers, {f"si:{value}"}
        return answer
    si_no, line = question.subject.split_line
    papers = await store.papers_of_si(connection, si_no) if line else []
    if not papers or line is None:
        raise NotFound(f"there is no SI {value}")
    rows = [row for row in await store.rows_of_si(connection, papers[0].si_id, line - 1, 1) if row.line == line]
    if not rows:
        raise NotFound(f"SI {si_no} has no row {line} that was credited or refused")
    return _Answer(papers, rows, asked={f"si:{value}"})


async def _rows(connection: AsyncConnection, paper: Paper, question: Question) -> _Answer:
    rows = await store.rows_of_si(connection, paper.si_id, question.after, question.rows + 1)
    shown = rows[: question.rows]
    return _Answer(rows=shown, next_after=shown[-1].line if len(rows) > len(shown) else None)


async def _account(connection: AsyncConnection, question: Question) -> _Answer:
    number = question.subject.value
    keys = await store.keys_of_account(connection, number, question.after, question.rows + 1)
    if keys is None:
        raise NotFound(f"there is no account {number}")
    if not keys:
        later = f" after tranche {question.after}" if question.after else ""
        raise NotFound(f"account {number} was never credited{later}")
    shown = keys[: question.rows]
    return _Answer(keys=shown, asked={f"account:{number}"}, next_after=_next(keys, shown))


async def _tranche(connection: AsyncConnection, question: Question) -> _Answer:
    keys = await store.tranche_keys(connection, question.subject.number)
    if not keys:
        raise NotFound(f"there is no tranche {question.subject.number}")
    return _Answer(keys=keys, asked={f"tranche:{question.subject.number}"})


async def _transfer(connection: AsyncConnection, question: Question) -> _Answer:
    number = question.subject.number
    found = await store.transfer(connection, number, question.on)
    if found is None:
        raise NotFound(f"there is no transfer {number}" + (f" on {question.on}" if question.on else ""))
    asked = {f"transfer:{number}"}
    if found.tranche_id is not None:
        return _Answer(keys=[(found.cell, found.account_id, found.tranche_id)], transfers={number}, asked=asked)
    if found.kind == Kind.FUND:
        papers = await store.papers(connection, {found.source_id})
        return _Answer(papers, asked={f"si:{paper.si_no}" for paper in papers})
    if found.kind == Kind.RETURN:
        sent = (await store.returns(connection, {found.source_id}))[found.source_id]
        return await _of_return(connection, sent, question)
    raise Refused(f"transfer {number} ({found.kind}, {found.source} {found.source_id}) moved no family's money")


async def _authorisation(connection: AsyncConnection, question: Question) -> _Answer:
    number = question.subject.number
    found = await store.authorisation(connection, number, question.cells, question.on)
    if not found:
        raise NotFound(f"there is no authorisation {number}" + (f" on {question.on}" if question.on else ""))
    return await _of_authorisations(connection, found)


async def _rrn(connection: AsyncConnection, question: Question) -> _Answer:
    rrn, on = question.subject.value, question.on
    assert on is not None  # noqa: S101 - follow() has asked for it
    found = await store.authorisations_of_rrn(connection, rrn, on)
    if not found:
        raise NotFound(f"there is no authorisation with RRN {rrn} on {on}")
    return await _of_authorisations(connection, found)


async def _of_authorisations(connection: AsyncConnection, found: Sequence[Authorised]) -> _Answer:
    keys: set[Key] = set()
    for one in found:
        keys |= set(await store.keys_of_authorisation(connection, one)) if one.transfer_ids else set()
    transfers = {number for one in found for number in one.transfer_ids}
    lone = tuple(authorisation_step(one.id, one.business_date, one.cause) for one in found if not one.transfer_ids)
    asked = {f"transfer:{number}" for number in transfers} | {step.reference for step in lone}
    return _Answer(keys=sorted(keys), transfers=transfers, asked=asked, lone=lone)


async def _return(connection: AsyncConnection, question: Question) -> _Answer:
    number = question.subject.number
    found = await store.returns(connection, {number})
    if not found:
        raise NotFound(f"there is no return {number}")
    return await _of_return(connection, found[number], question)


async def _receipt(connection: AsyncConnection, question: Question) -> _Answer:
    kind, value = question.subject.kind, question.subject.value
    found = await store.return_named(connection, kind.value, value)
    if found is None:
        raise NotFound(f"there is no return with {'NTPN' if kind is SubjectKind.NTPN else 'evidence'} {value}")
    return await _of_return(connection, found, question)


async def _of_return(connection: AsyncConnection, sent: Return, question: Question) -> _Answer:
    keys, transfers = await store.debits_of_return(connection, sent, question.after, question.rows + 1)
    shown = keys[: question.rows]
    debits = set(transfers[: question.rows])
    return _Answer(keys=shown, transfers=debits, asked={f"return:{sent.id}"}, next_after=_next(keys, shown))


def _next(keys: Sequence[Key], shown: Sequence[Key]) -> int | None:
    """The tranche after which the rest is asked for; None where all are shown."""
    return shown[-1][2] if len(keys) > len(shown) else None


FINDERS: dict[SubjectKind, Callable[[AsyncConnection, Question], Awaitable[_Answer]]] = {
    SubjectKind.SP2D: _sp2d,
    SubjectKind.SI: _si,
    SubjectKind.ACCOUNT: _account,
    SubjectKind.TRANCHE: _tranche,
    SubjectKind.TRANSFER: _transfer,
    SubjectKind.AUTHORISATION: _authorisation,
    SubjectKind.RRN: _rrn,
    SubjectKind.RETURN: _return,
    SubjectKind.EVIDENCE: _receipt,
    SubjectKind.NTPN: _receipt,
}
