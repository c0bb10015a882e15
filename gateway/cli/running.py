"""Running a command: settings, an open bank, one event loop, and what becomes of each kind of failure.

A refusal is one line on standard error and exit 1; a usage fault is exit 2 (typer). Anything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from gateway.cli import output
from gateway.errors import GatewayError, Refused
from gateway.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import date

    from gateway.operations.bank import Bank

Result = TypeVar("Result")

Json = Annotated[bool, typer.Option("--json", help="print one JSON object as the last line")]
As = Annotated[str, typer.Option("--as", envvar="KKS_USER", help="who you are; the default is your user name")]


def who(name: str) -> str:
    """The acting person: --as, KKS_USER, or the user of the operating system."""
    if name.strip():
        return name.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"


def with_bank(work: Callable[[Bank], Awaitable[Result]], *, quiet: bool = True) -> Result:
    """Open the bank, do the work, close it. QUIET: log warnings only, unless KKS_LOG_LEVEL says otherwise."""
    return run(_with_bank(work, quiet=quiet))


def try_bank() -> str | None:
    """Open the bank and close it. Gives why it cannot be opened, or None."""

    async def nothing(_bank: Bank) -> None:
        pass

    try:
        asyncio.run(_with_bank(nothing, quiet=True))
    except GatewayError as error:
        return str(error)
    return None


def run(work: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine; a refusal ends the program with one line."""
    try:
        return asyncio.run(work)
    except GatewayError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def refuse(line: str) -> NoReturn:
    """One clear line, exit 1."""
    output.fail(line)
    raise typer.Exit(1)


def settings() -> Settings:
    """The settings, or one line saying which is wrong."""
    try:
        return load_settings()
    except GatewayError as error:
        refuse(str(error))


def parse_date(text: str, name: str) -> date:
    """A date as 2026-11-23. Raises Refused naming the option."""
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(f"{name}: {text!r} is not a date like 2026-11-23") from None


def parse_amount(text: str, name: str) -> int:
    """Rupiah as 1500000 or 1.500.000. Raises Refused naming the option."""
    from gateway.rules.instruction import parse_amount as parse

    amount = parse(text)
    if amount is None or amount <= 0:
        raise Refused(f"{name}: {text!r} is not an amount of rupiah")
    return amount


async def _with_bank(work: Callable[[Bank], Awaitable[Result]], *, quiet: bool) -> Result:
    from gateway.app import open_bank
    from gateway.telemetry import configure

    chosen = load_settings()
    configure("warning" if quiet and "log_level" not in chosen.model_fields_set else chosen.log_level)
    async with open_bank(chosen) as bank:
        return await work(bank)
