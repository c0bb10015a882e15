"""`kks exceptions`: what partners told that the books could not follow, how old it is, and its end by two people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, who, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.store.link_exceptions import Count, StoredException

exceptions = typer.Typer(
    help="Messages of partners that people must look at: advices that could not be posted, reversals that do not fit.",
    no_args_is_help=True,
)
Number = Annotated[int, typer.Argument(metavar="EXCEPTION", help="number of the exception")]


@exceptions.command("list")
def exceptions_list(
    link: Annotated[str, typer.Option("--link", help="one partner link")] = "",
    limit: Annotated[
        int, typer.Option("--limit", help="at most so many, the oldest first", min=1, max=100_000)
    ] = 1_000,
    *,
    everything: Annotated[bool, typer.Option("--all", help="those that are over too")] = False,
    json: Json = False,
) -> None:
    """Open exceptions: counted by reason, then one by one, the oldest first."""
    from gateway.operations import link_exceptions

    async def work(bank: Bank) -> tuple[list[Count], list[tuple[StoredException, int]]]:
        counted, found = await link_exceptions.overview(bank, link or None, limit, resolved=everything)
        return counted, [(one, link_exceptions.age_days(bank, one)) for one in found]

    counted, found = with_bank(work)
    if json:
        output.as_json({"open": [one._asdict() for one in counted], "exceptions": [_values(*one) for one in found]})
        return
    rows: list[tuple[object, ...]] = [
        (c.link, c.reason, output.number(c.messages), c.oldest, output.rupiah(c.amount_idr)) for c in counted
    ]
    output.table("Open", ["link", "reason", "messages", "oldest", "rupiah"], rows, numbers=["messages", "rupiah"])
    rows = [
        (x.id, x.business_date, age, x.link, x.reason, x.mti, x.terminal, x.stan, x.account,
         output.rupiah(x.amount_idr), x.state)
        for x, age in found
    ]  # fmt: skip
    columns = ["exception", "date", "days", "link", "reason", "MTI", "terminal", "STAN", "account", "rupiah", "state"]
    output.table("Exceptions", columns, rows, numbers=["exception", "days", "rupiah"])


@exceptions.command("show")
def exceptions_show(number: Number, *, json: Json = False) -> None:
    """One exception: the message, what it names, and how it ended."""
    from gateway.operations import link_exceptions

    async def work(bank: Bank) -> tuple[StoredException, int]:
        found = await link_exceptions.show(bank, number)
        return found, link_exceptions.age_days(bank, found)

    _show(*with_bank(work), json=json)


@exceptions.command("resolve")
def exceptions_resolve(
    number: Number,
    note: Annotated[str, typer.Option("--note", help="what was done about it")],
    checker: Annotated[str, typer.Option("--checker", help="the second person")],
    actor: As = "",
    *,
    json: Json = False,
) -> None:
    """End an exception. It moves no money: what is right is done before, and said in the note."""
    from gateway.operations import link_exceptions

    async def work(bank: Bank) -> tuple[StoredException, int]:
        found = await link_exceptions.resolve(bank, who(actor), checker, number, note)
        return found, link_exceptions.age_days(bank, found)

    _show(*with_bank(work), json=json)


def _show(found: StoredException, age: int, *, json: bool) -> None:
    if json:
        output.as_json(_values(found, age))
        return
    rows = [(name.replace("_", " "), value) for name, value in _values(found, age).items() if value not in (None, "")]
    output.table(f"Exception {found.id}", ["", ""], rows)


def _values(found: StoredException, age: int) -> dict[str, object]:
    return asdict(found) | {"age_days": age}
