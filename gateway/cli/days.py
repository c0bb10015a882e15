"""Days and the past: `kks day close/list/verify`, `kks account balance/statement/correct`, `kks ledger balance`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import books, cards, output
from gateway.cli.cards import AccountNumber, Reason
from gateway.cli.running import As, Json, parse_amount, parse_date, refuse, who, with_bank

if TYPE_CHECKING:
    from datetime import date, datetime

    from gateway.operations.bank import Bank
    from gateway.operations.day import Closing
    from gateway.operations.history import Balance, PastBalance, Statement
    from ledger.days import ClosedDay

DAYS_SHOWN = 31
PHASES = ("available_idr", "held_idr", "frozen_idr")


def day_close(
    on: Annotated[str, typer.Option("--date", help="close up to this business date; default: yesterday")] = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Close every open day up to a date: lock it, hash its journal into the chain, write the checkpoints."""
    from gateway.jobs.catalogue import AWAITED
    from gateway.operations import day

    async def work(bank: Bank) -> Closing:
        through = parse_date(on, "--date") if on else bank.business_date - timedelta(days=1)
        with output.progress("days", None, quiet=json) as done:
            return await day.close(bank, who(by), through, AWAITED, lambda _on: done(1))

    found = with_bank(work)
    if found.waits:
        closed = f"{len(found.closed)} days closed; " if found.closed else ""
        refuse(f"{closed}{found.waits} (`kks job catch-up` does what is missing)")
    _show_days("Closed", found.closed, json=json)


def day_list(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="how many, newest first")] = DAYS_SHOWN,
    *,
    json: Json = False,
) -> None:
    """The closed days, with what each holds and its hashes."""
    from gateway.operations import day

    _show_days("Closed days, newest first", with_bank(lambda bank: day.newest_days(bank, limit)), json=json)


def day_verify(
    first: Annotated[str, typer.Option("--from", help="first date; default: all that are at hand")] = "",
    last: Annotated[str, typer.Option("--to", help="last date")] = "",
    *,
    json: Json = False,
) -> None:
    """Hash closed days again and follow their chain. Exit 1 naming the first day that is not as it was closed."""
    from gateway.operations import day

    found = with_bank(lambda bank: day.verify(bank, _date(first, "--from"), _date(last, "--to")))
    ok = found.first_wrong is None
    if json:
        output.as_json({"ok": ok, "days": found.days, "first_wrong": found.first_wrong, "detail": found.detail})
    elif ok:
        output.say(f"{found.days} closed days are as they were closed.")
    if not ok:
        refuse(f"{found.first_wrong} is not as it was closed: {found.detail}")


def ledger_balance(
    control: Annotated[str, typer.Argument(help="control account, as programme-fund or rpl")],
    on: Annotated[str, typer.Option("--on", help="end of this business date; default: the bank's")] = "",
    *,
    json: Json = False,
) -> None:
    """Balance of a control account at the end of a business date: its last checkpoint and what came since."""
    from gateway.operations import history

    async def work(bank: Bank) -> tuple[date, dict[int, int]]:
        then = _date(on, "--on") or bank.business_date
        return then, await history.control_balance(bank, control, then)

    then, found = with_bank(work)
    total = sum(found.values())
    if json:
        output.as_json({"control": control, "on": then, "balance_idr": total, "programmes": found})
        return
    rows = [*found.items(), ("all", total)]
    shown = [(programme, output.rupiah(amount)) for programme, amount in rows]
    output.table(f"{control} at the end of {then}", ["programme", "balance"], shown, numbers=["balance"])


def account_balance(
    account_number: AccountNumber,
    on: Annotated[str, typer.Option("--on", help="end of this business date; default: the bank's")] = "",
    at: Annotated[str, typer.Option("--at", help="an instant, as 2026-11-23T14:30 (Jakarta) or with +00:00")] = "",
    *,
    json: Json = False,
) -> None:
    """What an account held then, by programme and tranche, in each phase."""
    from gateway.operations import history

    if on and at:
        refuse("--on and --at: give one of them")
    found = with_bank(
        lambda bank: history.balance(bank, account_number, on=_date(on, "--on"), at=_instant(at) if at else None)
    )
    if json:
        output.as_json(found.values())
    else:
        _show_balance(found, at or on)


def account_statement(
    account_number: AccountNumber,
    first: Annotated[str, typer.Option("--from", help="first business date; default: all that is at hand")] = "",
    last: Annotated[str, typer.Option("--to", help="last business date; default: the bank's")] = "",
    programme: Annotated[str, typer.Option("--programme", help="one programme's purse")] = "",
    *,
    json: Json = False,
) -> None:
    """Opening balance, every movement with its paper and the balance after it, closing balance."""
    from gateway.operations import history

    found = with_bank(
        lambda bank: history.statement(
            bank, account_number, _date(first, "--from"), _date(last, "--to"), programme or None
        )
    )
    if json:
        output.as_json(asdict(found))
    else:
        _show_statement(found)


def account_correct(
    account_number: AccountNumber,
    transfer: Annotated[int, typer.Option("--transfer", help="number of the wrong transfer, from the statement")],
    amount: Annotated[str, typer.Option("--amount", help="rupiah; default: all that is left of it")] = "",
    checker: Annotated[str, typer.Option("--checker", help="the second person")] = "",
    reason: Reason = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Take a wrong credit or payment back by a new transfer in the open day; two people."""
    from gateway.operations import correction

    found = with_bank(
        lambda bank: correction.take_back(
            bank,
            who(by),
            checker,
            account_number,
            transfer,
            reason,
            parse_amount(amount, "--amount") if amount else None,
        )
    )
    if json:
        output.as_json(asdict(found))
    else:
        output.say(
            f"{output.rupiah(found.amount_idr)} of {found.value_date} taken back on {found.business_date} by transfer "
            f"{', '.join(map(str, found.transfers))}."
        )


def register() -> None:
    """Put the commands into the groups they belong to."""
    books.day.command("close")(day_close)
    books.day.command("list")(day_list)
    books.day.command("verify")(day_verify)
    books.ledger.command("balance")(ledger_balance)
    cards.account.command("balance")(account_balance)
    cards.account.command("statement")(account_statement)
    cards.account.command("correct")(account_correct)


def _date(given: str, name: str) -> date | None:
    return parse_date(given, name) if given else None


def _instant(given: str) -> datetime:
    from datetime import datetime

    from gateway.clock import JAKARTA
    from gateway.errors import Refused

    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise Refused(f"--at: {given!r} is not an instant like 2026-11-23T14:30") from None
    return found if found.tzinfo else found.replace(tzinfo=JAKARTA)


def _show_days(title: str, found: list[ClosedDay], *, json: bool) -> None:
    if json:
        output.as_json({"days": [_day_values(one) for one in found]})
        return
    rows = [
        (
            one.business_date, one.state, one.actor, None if one.transfers is None else output.number(one.transfers),
            None if one.amount_idr is None else output.rupiah(one.amount_idr),
            "" if one.chain_hash is None else one.chain_hash.hex()[:16],
        )
        for one in found
    ]  # fmt: skip
    columns = ["date", "state", "by", "transfers", "amount", "chain"]
    output.table(title, columns, rows, numbers=["transfers", "amount"])


def _day_values(one: ClosedDay) -> dict[str, Any]:
    values = asdict(one)
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _show_balance(found: PastBalance, when: str) -> None:
    columns = ["programme", "available", "held", "frozen"]
    rows = [(code, *_rupiah(one)) for code, one in found.programmes.items()]
    output.table(f"Account {found.account}, {when or 'now'}", columns, rows, numbers=columns[1:])
    rows = [(str(one.tranche_id), *(output.rupiah(getattr(one, name)) for name in PHASES)) for one in found.tranches]
    output.table("", ["tranche", *columns[1:]], rows, numbers=columns[1:])


def _show_statement(found: Statement) -> None:
    rows: list[tuple[object, ...]] = [(found.first, None, "opening balance", None, None, *_rupiah(found.opening))]
    rows += [
        (
            one.business_date,
            one.transfer,
            one.kind,
            one.reference,
            output.rupiah(one.available_idr),
            *_rupiah(one.balance),
        )
        for one in found.lines
    ]
    rows.append((found.last, None, "closing balance", None, None, *_rupiah(found.closing)))
    columns = ["date", "transfer", "kind", "reference", "in or out", "available", "held", "frozen"]
    title = f"Account {found.account}{f', {found.programme}' if found.programme else ''}"
    output.table(title, columns, rows, numbers=["transfer", *columns[4:]])


def _rupiah(one: Balance) -> tuple[str, ...]:
    return tuple(output.rupiah(getattr(one, name)) for name in PHASES)
