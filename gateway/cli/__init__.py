"""The command line: `kks --help`. Each group of commands is a module; operations do the work."""

from __future__ import annotations

import typer

from gateway.cli import (
    books,
    cards,
    checks,
    days,
    exceptions,
    keystore,
    limits,
    links,
    lists,
    master_key,
    measure,
    outgoing,
    partitions,
    partner_keys,
    rounds,
    service,
    settlement,
    simulate,
    stand_in,
    story,
    switch_side,
    trace,
    vault,
)
from keys import core_dumps

app = typer.Typer(
    name="kks",
    help="Bank-side gateway for Kartu Keluarga Sejahtera: lists, cards, credits, ISO 8583, clocks, proofs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(story.demo)
app.command("test", context_settings={"allow_extra_args": False})(checks.run_tests)
app.command("serve")(service.serve)
app.command("settings")(books.show_settings)
app.command("chaos")(measure.chaos)
app.command("trace")(trace.trace)
app.command("torture")(measure.torture)
app.add_typer(books.db, name="db")
app.add_typer(lists.kpm, name="kpm")
app.add_typer(lists.batch, name="batch")
app.add_typer(lists.si, name="si")
app.add_typer(cards.card, name="card")
app.add_typer(cards.account, name="account")
app.add_typer(books.job, name="job")
app.add_typer(books.returns, name="return")
app.add_typer(books.policy, name="policy")
app.add_typer(limits.limits, name="limits")
app.add_typer(books.exclusion, name="exclusion")
app.add_typer(books.day, name="day")
app.add_typer(books.ledger, name="ledger")
app.add_typer(books.audit, name="audit")
app.add_typer(settlement.settlement, name="settlement")
app.add_typer(exceptions.exceptions, name="exceptions")
app.add_typer(outgoing.outgoing, name="outgoing")
app.add_typer(outgoing.desk, name="desk")
app.add_typer(keystore.keys, name="keys")
app.add_typer(vault.vault, name="vault")
app.add_typer(links.link, name="link")
app.add_typer(stand_in.stand_in, name="stand-in")
app.add_typer(simulate.simulate, name="simulate")
app.add_typer(measure.bench, name="bench")
days.register()
master_key.register()
partitions.register()
partner_keys.register()
rounds.register()
switch_side.register()


def main() -> None:
    """Entry point of the console script `kks`. Before anything else no core dump of the process can be made."""
    core_dumps.switch_off()
    app(prog_name="kks")
