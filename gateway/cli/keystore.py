"""`kks keys`: list keys, and form one from components typed by two custodians. Never shows key material."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import Json, refuse, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from keys.keytypes import KeyInfo

keys = typer.Typer(help="The bank's keys: list, form from components.", no_args_is_help=True)


@keys.command("list")
def keys_list(*, json: Json = False) -> None:
    """Every key: label, usage, check value. Never the key."""

    async def work(bank: Bank) -> list[KeyInfo]:
        return list(bank.hsm.keys())

    found = with_bank(work)
    rows = [(one.label, one.usage.name.lower(), one.usage.value, one.state, str(one.kcv)) for one in found]
    if json:
        names = ("label", "usage", "code", "state", "kcv")
        output.as_json({"keys": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        output.table("Keys", ["label", "usage", "TR-31", "state", "check value"], rows)


@keys.command("form")
def keys_form(
    label: str, components: Annotated[int, typer.Option("--components", min=2, max=9, help="how many custodians")] = 2
) -> None:
    """Form a link's PIN key (ZPK) from components, each typed unseen by its custodian."""
    from keys.errors import KeysError
    from keys.keytypes import KeyUsage

    parts = []
    for number in range(1, components + 1):
        text = typer.prompt(f"component {number} of {components} (hex)", hide_input=True)
        try:
            parts.append(bytes.fromhex(text))
        except ValueError:
            refuse(f"component {number}: is not hex")

    async def work(bank: Bank) -> str:
        try:
            return str(bank.hsm.kcv(bank.hsm.form(KeyUsage.PIN_ENCRYPTION, label, parts)))
        except KeysError as error:
            refuse(str(error))

    output.say(f"Key {label} is formed, check value {with_bank(work)}.")
