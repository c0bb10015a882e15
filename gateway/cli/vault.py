"""`kks vault`: what is sealed under which version of the sealing key, and sealing anew under the newest. Shows no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, refuse, who, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.reseal import Resealed

UNKNOWN = "no key of ours"
vault = typer.Typer(help="What is sealed in the database: counts by key, sealing anew.", no_args_is_help=True)


@vault.command("status")
def vault_status(*, json: Json = False) -> None:
    """How many values of each column are sealed under which version of the sealing key. Reads every sealed table once."""
    from gateway.operations import reseal

    found = with_bank(reseal.count_by_key)
    if json:
        output.as_json({"columns": found})
        return
    rows = [
        (place, key or UNKNOWN, output.number(count)) for place, keys in found.items() for key, count in keys.items()
    ]
    output.table("Sealed values", ["column", "key", "values"], rows, numbers=["values"])


@vault.command("reseal")
def vault_reseal(*, by: As = "", json: Json = False) -> None:
    """Seal anew what is sealed under an older key. Stop it at any moment and run it again. Exit 1 where something is left."""
    from gateway.operations import reseal

    async def work(bank: Bank) -> Resealed:
        total = None if json else await reseal.rows_to_do(bank)
        with output.progress("rows", total, quiet=json) as done:
            return await reseal.reseal(bank, who(by), done)

    found = with_bank(work)
    if json:
        output.as_json(_values(found))
    else:
        for place, count in found.resealed.items():
            output.say(f"{place}: {output.number(count)} sealed anew.")
        if not found.resealed:
            output.say("Nothing was sealed anew.")
        for one in found.named:
            output.say(f"Does not open: {one}.")
    if not found.whole:
        left = ", ".join(f"{place} {output.number(count)}" for place, count in found.left.items())
        refuse(f"not under the newest key: {left}; of these do not open: {output.number(found.unreadable.total())}")


def _values(found: Resealed) -> dict[str, Any]:
    return {
        "ok": found.whole,
        "resealed": dict(found.resealed),
        "left": dict(found.left),
        "unreadable": dict(found.unreadable),
        "named": [str(one) for one in found.named],
    }
