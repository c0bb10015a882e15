"""`kks trace`: the chain of a rupiah as a tree, and where every rupiah of an SP2D is today."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import Json, parse_date, refuse, with_bank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.operations.whereabouts import Whereabouts
    from gateway.rules.trace import Step, Trace

WIDTH = 110  # of a file or pipe; on a terminal its own, within the bounds
WIDTHS = (80, 130)
TEXT_MIN = 24  # columns of text that a deep step keeps at least


def trace(
    subject: Annotated[
        str,
        typer.Argument(
            help="sp2d:NO, si:NO, si:NO:LINE, account:NUMBER, tranche:ID, transfer:ID, authorisation:ID, rrn:RRN (with --date), "
            "return:ID, evidence:NUMBER (debit to RPL, deposit), ntpn:RECEIPT"
        ),
    ],
    on: Annotated[str, typer.Option("--date", help="business date of an rrn, authorisation or transfer")] = "",
    rows: Annotated[int, typer.Option("--rows", help="rows or tranches shown at most")] = 20,
    after: Annotated[int, typer.Option("--after", help="show those after this line (sp2d, si) or tranche")] = 0,
    *,
    today: Annotated[
        bool, typer.Option("--today", help="sp2d: where is every rupiah of it now; exit 1 if one is missing")
    ] = False,
    json: Json = False,
) -> None:
    """Follow a rupiah both ways: SP2D, SI, row, tranche, withdrawal or purchase, settlement, return to kas negara."""
    if today:
        _whereabouts(subject, json=json)
        return
    from gateway.operations.trace import follow

    found = with_bank(
        lambda bank: follow(bank, subject, on=parse_date(on, "--date") if on else None, rows=rows, after=after)
    )
    if json:
        output.as_json(asdict(found) | {"asked": sorted(found.asked)})
        return
    for line in tree_lines(found, _width()):
        output.say(line)


def tree_lines(found: Trace, width: int = WIDTH) -> Iterator[str]:
    """A trace as lines of at most WIDTH columns: reference, date, text, and rupiah on the right; > marks what was asked for."""
    for step in found.steps:
        yield from _step_lines(step, found.asked, "", "", width)
    if found.next_after is not None:
        yield f"There are more: --after {found.next_after} goes on."


def _width() -> int:
    return min(max(output.out.width, WIDTHS[0]), WIDTHS[1]) if output.out.is_terminal else WIDTH


def _step_lines(step: Step, asked: frozenset[str], first: str, rest: str, width: int) -> Iterator[str]:
    amount = output.rupiah(step.amount_idr)
    mark = "> " if step.reference in asked else ""
    dated = f"{step.date} " if step.date else ""
    said = f"{mark}{step.reference}  {dated}{step.text}"
    room = max(width - len(first) - len(amount) - 2, TEXT_MIN)
    lines = textwrap.wrap("".join(c if c.isprintable() else "?" for c in said), room, break_on_hyphens=False)
    yield f"{first}{lines[0]:<{room}}  {amount}"
    for line in lines[1:]:
        yield f"{rest}{'│ ' if step.steps else '  '}{line}"
    for place, one in enumerate(step.steps, 1):
        last = place == len(step.steps)
        yield from _step_lines(one, asked, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), width)


def _whereabouts(subject: str, *, json: bool) -> None:
    from gateway.operations.whereabouts import whereabouts

    word, colon, sp2d_no = subject.partition(":")
    if word.lower() != "sp2d" or not colon:
        refuse(f"--today asks where the rupiah of an SP2D are: sp2d:NO, not {subject!r}")
    found = with_bank(lambda bank: whereabouts(bank, sp2d_no.strip()))
    if json:
        output.as_json(asdict(found) | {"found_idr": found.found_idr, "adds_up": found.adds_up})
    else:
        for left, amount_idr in _places(found):
            amount = output.rupiah(amount_idr) if amount_idr >= 0 else f"-{output.rupiah(-amount_idr)}"
            output.say(f"{left:<78}{amount:>22}")
    if not found.adds_up:
        refuse(
            f"SP2D {sp2d_no} does not add up: {output.rupiah(found.amount_idr)} came, "
            f"{output.rupiah(found.found_idr)} is accounted for"
        )


def _places(found: Whereabouts) -> Iterator[tuple[str, int]]:
    """What is where, a line each: the SP2D, each place with its conditions, and the sum."""
    si = f", SI {found.si_no} ({found.state})" if found.si_no else ""
    yield f"SP2D {found.sp2d_no} of {found.sp2d_date}{si}, on {found.business_date}", found.amount_idr
    for where in dict.fromkeys(place.where for place in found.places):
        yield f"  {where}", found.total_idr(where)
        for place in found.places:
            if place.where is where:
                yield f"    {place.condition}", place.amount_idr
    yield "  all of it" if found.adds_up else "  ACCOUNTED FOR", found.found_idr
