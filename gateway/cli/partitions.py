"""The months of the journal: `kks db partitions`, `kks db retire`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import books, output
from gateway.cli.running import As, Json, parse_date, who, with_bank
from gateway.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.partitions import Partition

MIB = 1 << 20


def db_partitions(*, json: Json = False) -> None:
    """The months of the journal and the authorisations: rows (an estimate), size, and state: ahead, open, closed or kept."""
    from gateway.operations import partitions

    found = with_bank(partitions.listing)
    if json:
        output.as_json({"partitions": [_values(one) for one in found]})
    else:
        _show("Months", found)


def db_retire(
    before: Annotated[str, typer.Option("--before", help="only months before this one, as 2016-01")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be detached, and detach nothing")] = False,
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Detach the months that are older than the retention. They stay as tables that nobody can change; nothing is dropped."""
    from gateway.operations import partitions

    done = with_bank(
        lambda bank: partitions.retire(bank, who(by), before=_month(before) if before else None, dry_run=dry_run)
    )
    if json:
        months = [
            {"month": f"{one.month:%Y-%m}", "tables": [_values(table) for table in one.tables]} for one in done.months
        ]
        output.as_json({"months": months, "waits": done.waits, "dry_run": dry_run})
        return
    tables = [table for one in done.months for table in one.tables]
    if tables:
        _show("Would be detached" if dry_run else "Detached and kept", tables)
    else:
        output.say("No month is to be detached.")
    if done.waits:
        output.say(f"Then: {done.waits}.")


def register() -> None:
    """Put the commands into their group."""
    books.db.command("partitions")(db_partitions)
    books.db.command("retire")(db_retire)


def _month(text: str) -> date:
    """A month as 2016-01. Raises Refused."""
    try:
        return parse_date(f"{text}-01", "--before")
    except Refused:
        raise Refused(f"--before: {text!r} is not a month like 2016-01") from None


def _values(one: Partition) -> dict[str, object]:
    return asdict(one) | {"month": f"{one.month:%Y-%m}"}


def _show(title: str, found: Sequence[Partition]) -> None:
    rows = [(one.table, f"{one.month:%Y-%m}", f"{one.rows:,}", f"{one.bytes / MIB:,.1f}", one.state) for one in found]
    output.table(title, ["table", "month", "rows", "MiB", "state"], rows, numbers=["rows", "MiB"])
