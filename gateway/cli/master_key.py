"""`./kks keys` for the master key: of components, changed, made in a token. A component is typed unseen, and never shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.keystore import keys, said, typed
from gateway.cli.running import As, Json, refuse, settings, try_bank, who, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank
    from gateway.operations.custody import Custody
    from keys.master_ceremony import Entered, MasterComponent

Number = Annotated[int | None, typer.Option("--component", min=1, max=9, help="which component this is")]
Of = Annotated[int, typer.Option("--of", min=2, max=9, help="of how many")]
Sheet = Annotated[str, typer.Option("--kcv", help="its check value as your sheet shows it, to be compared")]


def keys_init(
    component: Number = None, of: Of = 2, sheet: Sheet = "",
    forget: Annotated[bool, typer.Option("--forget", help="throw away the components that wait")] = False,
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """Form the master key of a new keystore: each custodian enters a component of 64 hex digits in a run of their own.

    A bank that does not gets a random master key when it is first opened.
    """
    from gateway.errors import GatewayError
    from gateway.operations import noted_acts

    if (component is None) is not forget:
        raise typer.BadParameter("either --component N or --forget")
    custody = _custody()
    keystore = custody.place.keystore
    if keystore.exists():
        refuse(f"keystore {keystore}: is there already; `keys rotate-master` gives it another master key")
    try:
        if component is None:
            count = noted_acts.forget_components(custody, who(by))
            said({"components": count}, json, _forgotten(count))
            return
        entered = noted_acts.enter_component(custody, who(by), _component(component, of, sheet, by))
    except GatewayError as error:
        refuse(str(error))
    if entered.check_value is None:
        _awaited(entered, component, of, json=json)
        return
    opened, line = _opened()
    told = {"kcv": entered.check_value, "component_kcv": entered.component, "recorded": opened}
    said(
        told | {"custodians": list(entered.custodians.values())} | ({"left": entered.left} if entered.left else {}),
        json,
        f"Component {component} has check value {entered.component}. "
        f"The master key is made, check value {entered.check_value}.{line}{_left(entered)}",
    )


def keys_rotate_master(
    number: Annotated[int | None, typer.Option("--number", help="of a token: which master key, made before")] = None,
    component: Number = None, of: Of = 2, sheet: Sheet = "",
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="file (mode 0600) of the next passphrase")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="throw away what waits, and what is left of the first key")] = False,
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """Seal the keystore under a new master key: a random one, or of components, a passphrase or a token as the bank's is.

    May be cut off at any point and run again.
    """
    if sum((number is not None, component is not None, passphrase_file is not None, forget)) > 1:
        raise typer.BadParameter("one of --number, --component, --passphrase-file, --forget, or none")
    if component is not None:
        _next_component(_component(component, of, sheet, by), json=json)
        return

    async def work(bank: Bank) -> int:
        from gateway.operations import ceremony

        if forget:
            return await ceremony.forget_next_components(bank, who(by))
        if passphrase_file is not None:
            return await ceremony.rotate_passphrase(bank, who(by), passphrase_file)
        return await ceremony.rotate_master(bank, who(by), number)

    count = with_bank(work)
    if forget:
        said({"components": count}, json, _forgotten(count))
    elif passphrase_file is not None:
        line = (
            f"{count} keys are sealed under the passphrase of {passphrase_file}, which the bank's own file holds now."
        )
        said({"keys": count}, json, f"{line} Take {passphrase_file} away.")
    else:
        said({"keys": count}, json, f"{count} keys are sealed under the new master key.")


def keys_token_init(
    officer_pin_file: Annotated[
        Path, typer.Option("--officer-pin-file", help="file (mode 0600) of the security officer's PIN")
    ],
    number: Annotated[int, typer.Option("--number", min=1, max=9999, help="which master key to make")] = 1,
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """Make master key NUMBER in the token, and what else the token needs, once. Before the first start, or to rotate.

    Another person puts the keystore under it.
    """
    from gateway.errors import GatewayError
    from gateway.operations import noted_acts

    custody = _custody()
    try:
        noted_acts.set_up_token(custody, who(by), officer_pin_file, number)
    except GatewayError as error:
        refuse(str(error))
    # Not before: the officer cannot be logged in where the bank, as the token's user, is.
    opened, line = _opened() if custody.place.keystore.exists() else (False, "")
    said({"number": number, "recorded": opened}, json, f"Master key {number} is made in the token.{line}")


def _next_component(component: MasterComponent, *, json: bool) -> None:
    """Of a master key that follows the one in use."""

    async def work(bank: Bank) -> Entered:
        from gateway.operations import ceremony

        return await ceremony.enter_next_component(bank, component.custodian, component)

    entered = with_bank(work)
    if entered.check_value is None:
        _awaited(entered, component.number, component.of, json=json)
        return
    told = {"kcv": entered.check_value, "component_kcv": entered.component, "keys": entered.keys}
    said(
        told | {"custodians": list(entered.custodians.values())} | ({"left": entered.left} if entered.left else {}),
        json,
        f"Component {component.number} has check value {entered.component}. The master key is made, check value "
        f"{entered.check_value}; {entered.keys} keys are sealed under it.{_left(entered)}",
    )


def _component(number: int, of: int, sheet: str, by: str) -> MasterComponent:
    """What a custodian types."""
    from keys.master_ceremony import MasterComponent

    return MasterComponent(number, of, who(by), typed(f"component {number} of {of} of the master key"), sheet)


def _awaited(entered: Entered, number: int, of: int, *, json: bool) -> None:
    line = f"Component {number} is kept, check value {entered.component}; others are awaited."
    said({"entered": sorted(entered.custodians), "of": of, "component_kcv": entered.component}, json, line)


def _left(entered: Entered) -> str:
    """What of the components is still on the disk, for whoever has to take it away."""
    return f" Not all is thrown away: {entered.left}." if entered.left else ""


def _forgotten(count: int) -> str:
    return f"{count} components of the master key are thrown away."


def _opened() -> tuple[bool, str]:
    """Open the bank, so that what was noted is in the audit chain now. Where it cannot be, the act is done and waits for it."""
    reason = try_bank()
    if reason is None:
        return True, ""
    return False, f" The bank cannot be opened just now ({reason}): this is noted, and recorded when it is."


def _custody() -> Custody:
    """Where the settings say that the keys are, or one line saying which setting lacks."""
    from gateway.errors import GatewayError
    from gateway.operations.custody import custody_of

    try:
        return custody_of(settings())
    except GatewayError as error:
        refuse(str(error))


def register() -> None:
    """Put the commands into the group they belong to."""
    keys.command("init")(keys_init)
    keys.command("rotate-master")(keys_rotate_master)
    keys.command("token-init")(keys_token_init)
