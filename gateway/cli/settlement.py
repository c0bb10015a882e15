"""`kks settlement`: close partners' days, order and pay what they come to, positions, payables, general ledger, verify."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, parse_date, who, with_bank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.bank import Bank
    from gateway.operations.general_ledger import Extract
    from gateway.store.settlement import Payee, Position, Settlement
    from ledger.proof import Check

settlement = typer.Typer(help="What partners are owed: close, pay, report, general ledger.", no_args_is_help=True)

OnDate = Annotated[
    str, typer.Option("--date", help="settlement date, as 2026-11-23; default: the day before the bank's")
]
From = Annotated[str, typer.Option("--from", help="first date; default: 30 days before the last")]
To = Annotated[str, typer.Option("--to", help="last date; default: the bank's business date")]
LinkName = Annotated[str, typer.Option("--link", help="one partner link; default: every link, or the only one")]
ChannelName = Annotated[str, typer.Option("--channel", help="ATM, AGENT or EWARONG; default: all")]
AlsoOpen = Annotated[bool, typer.Option("--open", help="also dates that are not closed (reads their authorisations)")]
Unpaid = Annotated[bool, typer.Option("--unpaid", help="only what is not paid yet")]
Out = Annotated[Path, typer.Option("--out", help="file to write: .csv or .xlsx")]
OutIfAny = Annotated[Path | None, typer.Option("--out", help="also write a file: .csv or .xlsx")]
TYPES = (("withdrawals", False), ("purchases", False), ("completions", False), ("reversals", True), ("refunds", True),
         ("corrections", True), ("declined", False))  # fmt: skip
"""Types of a settlement, and whether they take from what is owed."""
DAYS_SHOWN = 30
PAYEES_SHOWN = 50


@settlement.command("close")
def close(on: OnDate = "", link: LinkName = "", *, by: As = "", json: Json = False) -> None:
    """Fix what a settlement date comes to. A date that is closed stays as it is."""
    from gateway.operations import settlement as operations

    async def work(bank: Bank) -> list[Settlement]:
        day = _day(bank, on)
        if link:
            return await operations.close_settlement(bank, who(by), link, day)
        return await operations.close_all(bank, who(by), day)

    _show(with_bank(work), "Closed settlements", json=json)


@settlement.command("list")
def show_list(
    first: From = "", last: To = "", link: LinkName = "", *, also_open: AlsoOpen = False, json: Json = False
) -> None:
    """Settlements of a span of dates."""
    from gateway.operations import settlement as operations

    async def work(bank: Bank) -> list[Settlement]:
        return await operations.settlements(bank, *_span(bank, first, last), link or None, also_open=also_open)

    _show(with_bank(work), "Settlements", json=json)


@settlement.command("show")
def show(on: OnDate = "", link: LinkName = "", *, json: Json = False) -> None:
    """One settlement date by type; a date that is not closed as it stands now."""
    from gateway.operations import settlement as operations

    found = with_bank(lambda bank: operations.settlement_of(bank, _day(bank, on), link or None))
    if json:
        output.as_json({"settlements": [asdict(one) for one in found]})
        return
    for name in sorted({one.link for one in found}):
        _show_types([one for one in found if one.link == name])


@settlement.command("order")
def order(
    evidence: Annotated[str, typer.Option("--evidence", help="number of the transfer order")],
    on: OnDate = "",
    link: LinkName = "",
    channel: ChannelName = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Order the payment of a closed date. Another person pays it: `kks settlement pay`."""
    from gateway.operations import settlement as operations

    async def work(bank: Bank) -> list[Settlement]:
        day = _day(bank, on)
        name = await operations.only_link(bank, day, link or None)
        return await operations.order_payment(bank, who(by), name, day, evidence, channel.upper() or None)

    _show(with_bank(work), "Ordered payments: another person pays them (`kks settlement pay`)", json=json)


@settlement.command("pay")
def pay(on: OnDate = "", link: LinkName = "", channel: ChannelName = "", *, by: As = "", json: Json = False) -> None:
    """Post the payment another person has ordered."""
    from gateway.operations import settlement as operations

    async def work(bank: Bank) -> list[Settlement]:
        day = _day(bank, on)
        name = await operations.only_link(bank, day, link or None)
        return await operations.pay_settlement(bank, who(by), name, day, channel.upper() or None)

    _show(with_bank(work), "Paid settlements", json=json)


@settlement.command("report")
def report(out: Out, on: OnDate = "", link: LinkName = "", *, json: Json = False) -> None:
    """Write the settlement report of a date, by link, channel and type."""
    from gateway.operations import settlement_report

    _wrote(
        with_bank(lambda bank: settlement_report.write_report(bank, _day(bank, on), out, link or None)), out, json=json
    )


@settlement.command("positions")
def positions(
    first: From = "", last: To = "", out: OutIfAny = None, *, also_open: AlsoOpen = False, json: Json = False
) -> None:
    """Each partner's account over a span of dates: what was owed before, came in, was paid, is owed."""
    from gateway.operations import settlement as operations
    from gateway.operations import settlement_report

    async def work(bank: Bank) -> list[Position]:
        span = _span(bank, first, last)
        if out is not None:
            await settlement_report.write_positions(bank, *span, out)
        return await operations.positions(bank, *span, also_open=also_open)

    found = with_bank(work)
    if json:
        output.as_json({"positions": [asdict(one) for one in found]})
        return
    columns = ["link", "channel", "owed before", "taken", "given back", "paid", "owed after", "not closed yet"]
    rows = [
        (one.link, one.channel, *map(_signed, (one.opening_idr, one.taken_idr, one.given_back_idr, one.paid_idr,
                                               one.closing_idr)), "" if one.open_idr is None else _signed(one.open_idr))
        for one in found
    ]  # fmt: skip
    output.table("Counterparty positions (below zero: the partner owes the bank)", columns, rows, numbers=columns[2:])


@settlement.command("payables")
def payables(
    first: From = "",
    last: To = "",
    link: LinkName = "",
    out: OutIfAny = None,
    *,
    unpaid: Unpaid = False,
    json: Json = False,
) -> None:
    """What each agent and e-Warong is owed over a span of closed dates."""
    from gateway.operations import settlement_report

    async def work(bank: Bank) -> tuple[list[Payee], int | None]:
        span = _span(bank, first, last)
        written = None
        if out is not None:
            written = await settlement_report.write_payees(bank, *span, out, link or None, unpaid=unpaid)
        return await settlement_report.payees(bank, *span, link or None, unpaid=unpaid, most=PAYEES_SHOWN + 1), written

    found, written = with_bank(work)
    shown = found[:PAYEES_SHOWN]
    if json:
        output.as_json({"payables": [asdict(one) for one in shown], "more": len(found) > PAYEES_SHOWN, "rows": written})
        return
    columns = ["link", "channel", "merchant", "terminal", "count", "amount", "reversed", "given back", "net", "unpaid"]
    rows = [
        (one.link, one.channel, one.merchant, one.terminal, output.number(one.count), _amount(one.amount_idr),
         output.number(one.reversed), _amount(one.reversed_idr), _signed(one.net_idr), _signed(one.unpaid_idr))
        for one in shown
    ]  # fmt: skip
    output.table("Agents and e-Warong", columns, rows, numbers=columns[4:])
    if len(found) > PAYEES_SHOWN:
        output.say(f"The first {PAYEES_SHOWN}; the whole list: --out FILE")


@settlement.command("gl")
def gl(
    out: Out,
    on: Annotated[str, typer.Option("--date", help="business date; default: the day before the bank's")] = "",
    *,
    json: Json = False,
) -> None:
    """Write the general ledger of a business date. Exit 1 and no file where it does not add up to the proof."""
    from gateway.operations import general_ledger

    async def work(bank: Bank) -> tuple[Extract, int]:
        found = await general_ledger.extract(bank, _day(bank, on))
        return found, await general_ledger.write(found, out) if found.ok else 0

    found, rows = with_bank(work)
    if json:
        output.as_json({
            "date": found.on, "final": found.final, "rows": rows, "debit_idr": found.debit_idr,
            "credit_idr": found.credit_idr, "ok": found.ok, "checks": [_values(check) for check in found.checks],
        })  # fmt: skip
    else:
        columns = ["account", "name", "programme", "opening", "debits", "credits", "closing"]
        lines: list[Sequence[object]] = [
            (one.account, general_ledger.name_of(one), found.programme_of(one), _side(one.opening_idr),
             _amount(one.debit_idr), _amount(one.credit_idr), _side(one.closing_idr))
            for one in found.lines
        ]  # fmt: skip
        lines.append(("", "total", "", "", _amount(found.debit_idr), _amount(found.credit_idr), ""))
        output.table(f"General ledger of {found.on} (D: debit, K: credit balance)", columns, lines, numbers=columns[3:])
        _checks("Checks", found.checks)
        if not found.final:
            output.say(f"Business date {found.on} is not over: these figures will change.")
    if not found.ok:
        output.fail(f"the general ledger of {found.on} does not add up: {out} is not written")
        raise typer.Exit(1)


@settlement.command("verify")
def verify(
    since: Annotated[str, typer.Option("--since", help="only business dates from this one on")] = "",
    *,
    json: Json = False,
) -> None:
    """Add up every closed settlement again and compare what is owed and paid with the journal. Exit 1 where anything differs."""
    from gateway.operations import settlement as operations

    async def work(bank: Bank) -> list[Check]:
        return await operations.verify(bank, parse_date(since, "--since") if since else None)

    checks = with_bank(work)
    wrong = next((check for check in checks if not check.ok), None)
    if json:
        output.as_json({"ok": wrong is None, "checks": [_values(check) for check in checks]})
    else:
        _checks("Settlement", checks)
    if wrong is not None:
        output.fail(f"{wrong.name} does not hold: {wrong.detail}")
        raise typer.Exit(1)


def _day(bank: Bank, on: str) -> date:
    return parse_date(on, "--date") if on else bank.business_date - timedelta(days=1)


def _span(bank: Bank, first: str, last: str) -> tuple[date, date]:
    end = parse_date(last, "--to") if last else bank.business_date
    return parse_date(first, "--from") if first else end - timedelta(days=DAYS_SHOWN), end


def _show_types(found: Sequence[Settlement]) -> None:
    """One link's date: types down, channels across; types that nobody used are left out."""
    states = ", ".join(f"{one.channel} {one.state}" + (f" ({one.evidence})" if one.evidence else "") for one in found)
    columns = ["type", *(f"{one.channel}{unit}" for one in found for unit in (" count", ""))]
    rows: list[Sequence[object]] = []
    for name, back in TYPES:
        counts = [getattr(one, name) for one in found]
        amounts = [getattr(one, f"{name}_idr", 0) for one in found]
        if any(counts):
            cells = [(output.number(c), _signed(-a if back else a)) for c, a in zip(counts, amounts, strict=True)]
            rows.append((name, *(cell for pair in cells for cell in pair)))
    rows.append(("net", *(cell for one in found for cell in ("", _signed(one.net_idr)))))
    output.table(f"{found[0].link} {found[0].settlement_date}: {states}", columns, rows, numbers=columns[1:])


def _show(found: Sequence[Settlement], title: str, *, json: bool) -> None:
    if json:
        output.as_json({"settlements": [asdict(one) for one in found]})
        return
    columns = ["date", "link", "channel", "taken", "amount", "back", "given back", "declined", "net", "state", "evidence",
               "ordered, paid by"]  # fmt: skip
    rows = [
        (one.settlement_date, one.link, one.channel, output.number(one.taken), _amount(one.taken_idr),
         output.number(one.given_back), _amount(one.given_back_idr),
         output.number(one.declined), _signed(one.net_idr), one.state, one.evidence,
         ", ".join(filter(None, (one.ordered_by, one.paid_by))))
        for one in found
    ]  # fmt: skip
    output.table(title, columns, rows, numbers=columns[3:9])


def _wrote(rows: int, out: Path, *, json: bool) -> None:
    if json:
        output.as_json({"rows": rows, "file": str(out)})
    else:
        output.say(f"{output.number(rows)} lines written to {out}.")


def _checks(title: str, checks: Sequence[Check]) -> None:
    output.table(title, ["check", "", "detail"], [(c.name, "ok" if c.ok else "WRONG", c.detail) for c in checks])


def _values(check: Check) -> dict[str, object]:
    return {"name": check.name, "ok": check.ok, "detail": check.detail}


def _amount(amount_idr: int) -> str:
    return output.rupiah(amount_idr) if amount_idr else "-"


def _signed(amount_idr: int) -> str:
    return f"-{output.rupiah(-amount_idr)}" if amount_idr < 0 else _amount(amount_idr)


def _side(amount_idr: int) -> str:
    if not amount_idr:
        return "-"
    return f"{output.rupiah(abs(amount_idr))} {'K' if amount_idr > 0 else 'D'}"
