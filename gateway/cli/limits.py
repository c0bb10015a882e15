"""`kks limits`: the limits in force, what decided an authorisation, and the dry run of a draft."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import Json, parse_date, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.limits import DryRun
    from gateway.store.limits import StoredLimit

limits = typer.Typer(
    help="Spending limits: which are in force, which decided, dry run of a draft.", no_args_is_help=True
)


@limits.command("list")
def limits_list(
    on: Annotated[str, typer.Option("--on", help="business date, as 2026-11-23; default: the bank's")] = "",
    *,
    json: Json = False,
) -> None:
    """The limits that count on a date."""
    from gateway.operations import limits as operations

    found = with_bank(lambda bank: operations.in_force(bank, parse_date(on, "--on") if on else None))
    if json:
        output.as_json({"limits": [asdict(one) for one in found]})
        return
    columns = ["limit", "name", "counts", "at most", "from", "to", "why"]
    rows = [(r.id, r.name, counts(r), at_most(r), r.valid_from, r.valid_to, r.reason) for r in found]
    output.table("Limits in force; the strictest wins", columns, rows, numbers=["limit"])


@limits.command("show")
def limits_show(
    number: Annotated[int, typer.Argument(metavar="AUTHORISATION", help="number of the authorisation")],
    *,
    json: Json = False,
) -> None:
    """The limits that were evaluated for an authorisation, the one that decided, and what had been used of them."""
    from gateway.operations import limits as operations

    found, rules = with_bank(lambda bank: operations.show(bank, number))
    if json:
        output.as_json(
            {
                "authorisation": found.id, "account": found.account_number, "business_date": found.business_date,
                "kind": found.kind, "channel": found.channel, "terminal": found.terminal, "amount_idr": found.amount_idr,
                "reason": found.reason, "limit": found.limit_id, "limits": [asdict(one) for one in rules],
            }
        )  # fmt: skip
        return
    what = f"{found.kind} of {output.rupiah(found.amount_idr)} at {found.channel} {found.terminal}"
    output.say(f"Authorisation {found.id} of {found.business_date}, {what}: {found.reason}")
    rows = []
    for one in rules:
        used = "" if one.spent_before_idr is None else f"{one.count_before}, {output.rupiah(one.spent_before_idr)}"
        decided = "decided" if one.decided else ""
        rows.append((one.rule.id, one.rule.name, counts(one.rule), at_most(one.rule), used, decided, one.rule.reason))
    columns = ["limit", "name", "counts", "at most", "used before", "", "why"]
    output.table("Limits evaluated", columns, rows, numbers=["limit"])


@limits.command("dry-run")
def limits_dry_run(
    file: Annotated[Path, typer.Argument(help="a policy file; only its [[limit]] entries count")],
    since: Annotated[
        str, typer.Option("--from", help="first business date; default: the first of the last one's month")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="last business date; default: the bank's")] = "",
    *,
    json: Json = False,
) -> None:
    """What a draft set of limits, in place of all there are, would have changed of past authorisations. Writes nothing."""
    from gateway.operations import limits as operations

    async def work(bank: Bank) -> DryRun:
        first = parse_date(since, "--from") if since else None
        last = parse_date(until, "--to") if until else None
        with output.progress("authorisations", None, quiet=json) as done:
            return await operations.dry_run(bank, file, first, last, done)

    found = with_bank(work)
    if json:
        output.as_json(_dry_run_values(found))
    else:
        show_dry_run(found)


def counts(rule: StoredLimit) -> str:
    """What a limit counts, in words."""
    whose = "each card" if rule.per == "CARD" else "each terminal"
    channels = "every channel" if rule.channels is None else " + ".join(rule.channels)
    words = [f"{whose}, a {rule.period.lower()}, {channels}"]
    words += [] if rule.programme is None else [f"money of {rule.programme}"]
    words += [] if rule.terminal is None else [f"at {rule.terminal}"]
    return ", ".join(words)


def at_most(rule: StoredLimit) -> str:
    """The maxima of a limit, in words."""
    words = [] if rule.max_amount_idr is None else [output.rupiah(rule.max_amount_idr)]
    words += [] if rule.max_count is None else [f"{output.number(rule.max_count)} times"]
    return ", ".join(words) or "lifted"


def show_dry_run(found: DryRun) -> None:
    """A dry run as a person reads it."""
    outcome = found.outcome
    output.say(f"Authorisations of {found.since} to {found.until} under the draft. Nothing was written.")
    totals = [
        (name, output.number(before.count), output.rupiah(before.amount_idr), output.number(after.count),
         output.rupiah(after.amount_idr))
        for name, before, after in (
            ("approved", outcome.approved_before, outcome.approved_after),
            ("declined for a limit", outcome.declined_before, outcome.declined_after),
        )
    ]  # fmt: skip
    columns = ["", "before", "rupiah before", "under the draft", "rupiah under the draft"]
    output.table("Totals", columns, totals, numbers=columns[1:])
    rows: list[tuple[object, ...]] = []
    for place, rule in found.rules.items():
        tally = outcome.rules.get(place)
        if tally is None:
            rows.append((place, rule.name, counts(rule), at_most(rule), 0, 0, 0, "", "", "never in force"))
            continue
        examples = ", ".join(map(str, tally.examples)) if tally.decided else "never decided"
        rows.append((place, rule.name, counts(rule), at_most(rule), output.number(tally.evaluated),
                     output.number(tally.decided), output.number(tally.declined), output.rupiah(tally.declined_idr),
                     output.number(tally.families), examples))  # fmt: skip
    columns = [
        "entry",
        "name",
        "counts",
        "at most",
        "evaluated",
        "decided",
        "declines",
        "rupiah",
        "families",
        "such as",
    ]
    output.table("Approved, and would be declined", columns, rows, numbers=columns[4:9])
    freed = [
        (number, "" if number not in found.stored else found.stored[number].name, output.number(total.count),
         output.rupiah(total.amount_idr))
        for number, total in sorted(outcome.freed.items())
    ]  # fmt: skip
    columns = ["limit", "name", "count", "rupiah"]
    output.table("Declined for a limit, and would be approved", columns, freed, numbers=columns[2:])
    if outcome.freed_examples:
        output.say(f"Such as {', '.join(map(str, outcome.freed_examples))}.")


def _dry_run_values(found: DryRun) -> dict[str, object]:
    outcome = found.outcome
    rules = []
    for place, rule in found.rules.items():
        tally = outcome.rules.get(place)
        values: dict[str, object] = dict.fromkeys(("evaluated", "decided", "declined", "declined_idr", "families"), 0)
        values["examples"] = []
        if tally is not None:
            values = {name: getattr(tally, name) for name in values}
        rules.append({"entry": place, "name": rule.name, **values})
    names = ("approved_before", "approved_after", "declined_before", "declined_after")
    return {
        "from": found.since, "to": found.until, **{name: asdict(getattr(outcome, name)) for name in names},
        "rules": rules, "never_decided": [one["name"] for one in rules if not one["decided"]],
        "freed": [{"limit": number, **asdict(total)} for number, total in sorted(outcome.freed.items())],
        "freed_examples": outcome.freed_examples,
    }  # fmt: skip
