"""`kks outgoing`: what we send to partners of our own accord; `kks desk`: what they send that people must look at."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, parse_date, who, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.store.desk import DeskMessage
    from gateway.store.outgoing import Figures, Outgoing

outgoing = typer.Typer(
    help="Messages to partners: what waits, what they refused, try again, drop.", no_args_is_help=True
)
desk = typer.Typer(help="Messages of partners that people must look at: totals, cards, texts.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="number of the message")]
LinkName = Annotated[str, typer.Option("--link", help="one partner link; default: every link")]
All = Annotated[bool, typer.Option("--all", help="also those that are done, newest first")]
Reason = Annotated[str, typer.Option("--reason", help="why; kept with the message")]
SHOWN = 200


@outgoing.command("list")
def show_list(link: LinkName = "", *, everything: All = False, json: Json = False) -> None:
    """What waits for a partner's answer or for people, oldest first, and how each queue stands."""
    from gateway.operations import outgoing as operations

    async def work(bank: Bank) -> tuple[list[Outgoing], list[Figures]]:
        found = await operations.listed(bank, SHOWN, link or None, ended=everything)
        return found, await operations.figures(bank, link or None)

    found, figures = with_bank(work)
    if json:
        output.as_json({"messages": [_said(one) for one in found], "queues": [asdict(one) for one in figures]})
        return
    for one in figures:
        age = "" if one.head_age_s is None else f", the first for {output.number(one.head_age_s)} s"
        output.say(f"{one.link}: {one.waiting} waiting{age}; {one.refused} refused, {one.expired} expired")
    columns = ["number", "link", "type", "about", "what", "state", "sent", "DE39", "trouble", "queued"]
    rows = [
        (one.id, one.link, one.mti, one.subject, one.what, one.state, one.attempts, one.answer_code, one.trouble,
         _when(one.queued_at))
        for one in found
    ]  # fmt: skip
    output.table("Messages to partners", columns, rows, numbers=["number", "sent"])


@outgoing.command("show")
def show(number: Number, *, json: Json = False) -> None:
    """One message with every field, masked."""
    from gateway.operations import outgoing as operations
    from iso.describe import describe

    stored, message = with_bank(lambda bank: operations.shown(bank, number))
    if json:
        output.as_json(_said(stored) | {"message": describe(message).splitlines()})
        return
    for name, value in _said(stored).items():
        output.say(f"{name:<14} {'' if value is None else value}")
    output.say(describe(message))


@outgoing.command("retry")
def retry(number: Number, reason: Reason, *, by: As = "", json: Json = False) -> None:
    """Send again what was refused (as a new message) or is too old (as a repeat)."""
    from gateway.operations import outgoing as operations

    _tell(with_bank(lambda bank: operations.retry(bank, who(by), number, reason)), json=json)


@outgoing.command("drop")
def drop(
    number: Number,
    reason: Reason,
    checker: Annotated[str, typer.Option("--checker", help="the second person")] = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Never send it: two people decide that the partner is not told."""
    from gateway.operations import outgoing as operations

    _tell(with_bank(lambda bank: operations.drop(bank, who(by), checker, number, reason)), json=json)


@outgoing.command("fill")
def fill(
    link: Annotated[str, typer.Argument(help="the partner link, which has just begun to keep our hot list")],
    most: Annotated[int, typer.Option("--most", min=1, help="queue so many at most; the next run goes on")] = 10_000,
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Tell a partner of every card that is stopped already, once: a 0302 each, in its queue behind what waits there."""
    from gateway.operations import hot_list

    found = with_bank(lambda bank: hot_list.fill(bank, who(by), link, most))
    if json:
        output.as_json(found._asdict())
    else:
        rest = "every stopped card is told" if found.done else "there are more: run it again when these are sent"
        output.say(f"link {found.link}: {output.number(found.told)} cards queued; {rest}")


@desk.command("list")
def desk_list(*, everything: All = False, json: Json = False) -> None:
    """What partners sent that somebody must look at, oldest first."""
    from gateway.operations import desk as operations

    found = with_bank(lambda bank: operations.listed(bank, SHOWN, everything=everything))
    if json:
        output.as_json({"messages": [asdict(one) for one in found]})
        return
    columns = ["number", "link", "type", "about", "why", "said", "received", "handled"]
    rows = [
        (one.id, one.link, one.mti, one.subject, one.trouble, "; ".join(f"{name} {value}" for name, value in one.detail.items()),
         _when(one.received_at), one.handled_by)
        for one in found
    ]  # fmt: skip
    output.table("Messages of partners", columns, rows, numbers=["number"])


@desk.command("done")
def desk_done(number: Number, reason: Reason, *, by: As = "", json: Json = False) -> None:
    """Say what came of a message: it is no longer on the list."""
    from gateway.operations import desk as operations

    done: DeskMessage = with_bank(lambda bank: operations.handle(bank, who(by), number, reason))
    if json:
        output.as_json(asdict(done))
    else:
        output.say(f"message {done.id} of link {done.link}: {done.reason}, says {done.handled_by}")


@desk.command("totals")
def desk_totals(
    on: Annotated[str, typer.Option("--date", help="settlement date, as 2026-11-23; default: the bank's date")] = "",
    link: LinkName = "",
    *,
    json: Json = False,
) -> None:
    """What partners said a settlement date comes to, beside ours of that moment."""
    from gateway.operations import partner_totals

    async def work(bank: Bank) -> list[Any]:
        day = parse_date(on, "--date") if on else bank.business_date
        return await partner_totals.told_of(bank, day, link or None)

    found = with_bank(work)
    if json:
        output.as_json({"totals": [asdict(one) for one in found]})
        return
    for one in found:
        verdict = "in balance" if one.in_balance else "OUT OF BALANCE"
        rows = [(name, output.number(one.theirs[name]) if name in one.theirs else "", output.number(value))
                for name, value in one.ours.items()]  # fmt: skip
        title = f"{one.link} {one.settlement_date}, message {one.desk_id}: {verdict}"
        output.table(title, ["total", "theirs", "ours"], rows, numbers=["theirs", "ours"])


def _said(one: Outgoing) -> dict[str, Any]:
    """What may be shown of a message: all but its sealed content."""
    return {name: value for name, value in asdict(one).items() if name != "content"}


def _tell(one: Outgoing, *, json: bool) -> None:
    if json:
        output.as_json(_said(one))
    else:
        output.say(f"message {one.id} to link {one.link} about {one.subject}: {one.state}")


def _when(moment: Any) -> str:  # noqa: ANN401 - a datetime, imported for types alone
    return f"{moment:%Y-%m-%d %H:%M:%S}"
