"""`./kks keys`: the ceremonies of the bank's keys. Never shows key material; a component is typed unseen.

Those of the master key, which seals the others, are in master_key.py.
"""

from __future__ import annotations

import os
import stat
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, parse_date, refuse, who, with_bank

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.operations.bank import Bank
    from keys.keytypes import KeyInfo, KeySpec

CONTENT_MOST = 64 * 1024
"""Bytes of a key that is given: a block, a PEM, a secret have a few thousand."""
TAKEN_IN = "is taken in; another person activates it"
keys = typer.Typer(help="The bank's keys: ceremonies, list, import, export, rotation.", no_args_is_help=True)

Usage = Annotated[str, typer.Option("--usage", help="TR-31 usage code, as P0; `keys usages` lists them")]
Algorithm = Annotated[
    str | None, typer.Option("--algorithm", help="T triple DES, A AES, H HMAC, R RSA; default by usage")
]
Mode = Annotated[str | None, typer.Option("--mode", help="TR-31 mode of use, as D; default by usage")]
Bits = Annotated[int | None, typer.Option("--bits", help="length of the key; default by usage")]
Exportable = Annotated[bool, typer.Option("--exportable", help="may leave in a key block")]
ActiveFrom = Annotated[str | None, typer.Option("--from", help="first business date it works on")]
ActiveTo = Annotated[str | None, typer.Option("--to", help="last business date it works on")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--set", help="an attribute that differs from the usage's, as check_length=6; repeat"),
]


class Act(StrEnum):
    """What can be done with a key that is there, besides activating it."""

    SUSPEND = "suspend"
    RESUME = "resume"
    RETIRE = "retire"
    COMPROMISE = "compromise"
    DESTROY = "destroy"


@keys.command("list")
def keys_list(*, json: Json = False) -> None:
    """Every key and version: what it is, what it may do, its check value. Never the key."""

    async def work(bank: Bank) -> list[dict[str, Any]]:
        known = bank.hsm.keys()
        return [_shown(one, str(one.state_on(bank.business_date))) for one in known]

    found = with_bank(work)
    if json:
        output.as_json({"keys": found})
        return
    columns = ("key", "usage", "code", "algorithm", "bits", "mode", "state", "export", "from", "to", "kcv")
    names = ("key", "usage", "TR-31", "algorithm", "bits", "mode", "state", "export", "from", "to", "check value")
    output.table("Keys", names, [[row[name] for name in columns] for row in found], numbers=("bits",))


@keys.command("usages")
def keys_usages() -> None:
    """The usages a key can have: code, algorithms, modes, what may be set."""
    from keys.usages import USAGES

    rows = []
    for usage, rule in USAGES.items():
        attributes = {name: getattr(rule.attributes, name) for name in type(rule.attributes).__slots__}
        settable = [f"{name}={value}" for name, value in attributes.items() if value is not None]
        settable += [f"{name}=" for name in sorted(rule.may_have)]
        algorithms = "/".join(one.value for one in rule.algorithms)
        rows.append(
            (
                usage.value,
                usage.name.lower(),
                algorithms,
                "/".join(mode.value for mode in rule.modes),
                ", ".join(settable),
            )
        )
    output.table("Usages", ["TR-31", "usage", "algorithms", "modes", "attributes"], rows)


@keys.command("generate")
def keys_generate(
    label: str, usage: Usage, algorithm: Algorithm = None, mode: Mode = None, bits: Bits = None, by: As = "",
    active_from: ActiveFrom = None, active_to: ActiveTo = None, attributes: Attributes = None,
    *, exportable: Exportable = False, json: Json = False,
) -> None:  # fmt: skip
    """Make a random key. It works once another person has activated it."""
    spec = spec_of(usage, algorithm, mode, bits, active_from, active_to, attributes, exportable=exportable)
    run_ceremony(lambda bank, do: do.generate(bank, who(by), label, spec), json, "is made; another person activates it")


@keys.command("component")
def keys_component(
    label: str, usage: Usage,
    number: Annotated[int, typer.Option("--number", min=1, max=9, help="which component this is")],
    of: Annotated[int, typer.Option("--of", min=2, max=9, help="of how many")] = 2,
    sheet: Annotated[str, typer.Option("--kcv", help="its check value as your sheet shows it, to be compared")] = "",
    algorithm: Algorithm = None, mode: Mode = None, by: As = "",
    active_from: ActiveFrom = None, active_to: ActiveTo = None, attributes: Attributes = None,
    *, exportable: Exportable = False, json: Json = False,
) -> None:  # fmt: skip
    """Enter one component of a key, typed unseen. Each custodian does it in a run of their own; the last one forms the key."""
    spec = spec_of(usage, algorithm, mode, None, active_from, active_to, attributes, exportable=exportable)
    value = typed(f"component {number} of {of} of {label}")

    async def work(bank: Bank) -> tuple[str, KeyInfo | None]:
        from gateway.operations import ceremony

        return await ceremony.enter_component(bank, who(by), label, spec, number, of, value, sheet)

    check, info = with_bank(work)
    told = {"component": number, "of": of, "component_kcv": check, "key": None if info is None else _shown(info)}
    line = f"Component {number} of {of} is kept, check value {check}."
    if info is not None:
        line = f"Component {number} has check value {check}. Key {info.name} is formed, check value {info.kcv}."
    said(told, json, line)


@keys.command("waiting")
def keys_waiting(*, json: Json = False) -> None:
    """Components that wait for others: whose, when, check value."""

    async def work(bank: Bank) -> list[dict[str, Any]]:
        return [one._asdict() for one in bank.hsm.components()]

    found = with_bank(work)
    if json:
        output.as_json({"components": found})
    else:
        columns = ("label", "number", "of", "custodian", "entered", "kcv")
        output.table("Components that wait", columns, [[row[name] for name in columns] for row in found])


@keys.command("forget")
def keys_forget(label: str, by: As = "", *, json: Json = False) -> None:
    """Throw away the components that wait for a key."""

    async def work(bank: Bank) -> int:
        from gateway.operations import ceremony

        return await ceremony.forget_components(bank, who(by), label)

    count = with_bank(work)
    said({"components": count}, json, f"{count} components of {label} are thrown away.")


@keys.command("import")
def keys_import(
    label: str,
    under: Annotated[str, typer.Option("--under", help="the ZMK (usage K1) it is under: LABEL or LABEL#VERSION")],
    block: Annotated[str, typer.Option("--block", help="the TR-31 block, @FILE, or - for standard input")],
    usage: Annotated[str | None, typer.Option("--usage", help="what the block must hold; default: what it holds")] = None,
    mode: Mode = None, active_from: ActiveFrom = None, active_to: ActiveTo = None, attributes: Attributes = None, by: As = "",
    *, keep: Annotated[bool, typer.Option("--not-exportable", help="it never leaves again, whatever its block permits")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Take in a key of a TR-31 key block. It works once another person has activated it."""
    text = content_of(block).decode("ascii", "replace").strip()
    if usage is None and any((mode, active_from, active_to, attributes, keep)):
        refuse("--usage is needed with --mode, --from, --to, --set or --not-exportable")
    dates = active_from, active_to
    spec = None if usage is None else spec_of(usage, None, mode, None, *dates, attributes, exportable=not keep)
    run_ceremony(lambda bank, do: do.import_block(bank, who(by), label, text, under, spec), json, TAKEN_IN)


@keys.command("export")
def keys_export(
    key: str, under: Annotated[str, typer.Option("--under", help="the ZMK (usage K1): LABEL or LABEL#VERSION")],
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """A key in a TR-31 key block for a partner, on standard output."""

    async def work(bank: Bank) -> tuple[str, str]:
        from gateway.operations import ceremony

        block = await ceremony.export_block(bank, who(by), key, under)
        return block, str(bank.hsm.kcv(ceremony.found(bank, key)))

    block, check = with_bank(work)
    said({"block": block, "kcv": check}, json, f"{block}\ncheck value {check}")


@keys.command("rewrap")
def keys_rewrap(
    block: Annotated[str, typer.Option("--block", help="the TR-31 block, @FILE, or - for standard input")],
    under: Annotated[str, typer.Option("--under", help="the ZMK (usage K1) it is under: LABEL or LABEL#VERSION")],
    to: Annotated[str, typer.Option("--to", help="the ZMK it shall be under: LABEL or LABEL#VERSION")],
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """A TR-31 key block of one ZMK under another, on standard output. The key in it is not kept here."""
    text = content_of(block).decode("ascii", "replace").strip()

    async def work(bank: Bank) -> str:
        from gateway.operations import ceremony

        return await ceremony.rewrap_block(bank, who(by), text, under, to)

    passed = with_bank(work)
    said({"block": passed}, json, passed)


@keys.command("rotate")
def keys_rotate(label: str, by: As = "", *, json: Json = False) -> None:
    """Make the next version of a key. The old one works on until `activate --overlap-days`, or its retirement."""
    run_ceremony(lambda bank, do: do.rotate(bank, who(by), label), json, "is made; another person activates it")


@keys.command("activate")
def keys_activate(
    key: str,
    overlap_days: Annotated[
        int | None, typer.Option("--overlap-days", min=0, max=90, help="days older versions work on; default: no end")
    ] = None,
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """Let a key work, as another person than the one who made it or brought it in."""
    run_ceremony(lambda bank, do: do.activate(bank, who(by), key, overlap_days), json, "works {when}")


@keys.command("state")
def keys_state(act: Act, key: str, by: As = "", *, json: Json = False) -> None:
    """Suspend, resume or retire a key, mark it as compromised, or destroy it: KEY is LABEL#VERSION."""
    run_ceremony(lambda bank, do: do.change_state(bank, who(by), act.value, key), json, f"({act.value}) is done")


@keys.command("record")
def keys_record(
    out: Annotated[Path | None, typer.Option("--out", help="text file; default: standard output")] = None,
    first: Annotated[str | None, typer.Option("--since", help="first business date")] = None,
    last: Annotated[str | None, typer.Option("--until", help="last business date")] = None,
) -> None:
    """The ceremony record: who did what with which key, check values, and lines to sign. To print."""
    from gateway.files.ceremony_record import ceremony_record

    async def work(bank: Bank) -> str:
        from datetime import date, timedelta

        from gateway.operations import ceremony

        since = None if first is None else parse_date(first, "--since")
        until = None if last is None else parse_date(last, "--until")
        later = (
            []
            if until is None or until == date.max
            else await ceremony.record_of(bank, until + timedelta(days=1), None)
        )
        return ceremony_record(await ceremony.record_of(bank, since, until), later)

    text = with_bank(work)
    if out is None:
        output.say(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        refuse(f"{out}: {error.strerror}")
    output.say(f"The record is in {out}.")


def run_ceremony(work: Callable[[Bank, Any], Awaitable[KeyInfo]], json: bool, done: str) -> None:  # noqa: FBT001 - typer's flag
    """Run a ceremony that ends with a key. DONE: what became of it; {when} there: now, or from its first day."""

    async def with_ceremony(bank: Bank) -> tuple[KeyInfo, str]:
        from gateway.operations import ceremony

        info = await work(bank, ceremony)
        return info, str(info.state_on(bank.business_date))

    info, state = with_bank(with_ceremony)
    done = done.format(when="now" if state == "ACTIVE" else f"from {info.active_from}")
    said({"key": _shown(info, state)}, json, f"Key {info.name} {done}. Check value {info.kcv}, state {state}.")


def said(value: dict[str, Any], json: bool, line: str) -> None:  # noqa: FBT001 - typer's flag
    """Tell what was done: as JSON, or as a line to read."""
    if json:
        output.as_json(value)
    else:
        output.say(line)


def _shown(info: KeyInfo, state: str | None = None) -> dict[str, Any]:
    return {
        "key": info.name,
        "label": info.label,
        "version": info.version,
        "usage": info.usage.name.lower(),
        "code": info.usage.value,
        "algorithm": info.algorithm.name,
        "bits": info.bits,
        "mode": info.mode.value,
        "state": state or info.state.value,
        "export": info.exportability.value,
        "from": info.active_from,
        "to": info.active_to,
        "kcv": info.kcv.value,
        "kcv_method": info.kcv.method.value,
    }


def spec_of(
    usage: str, algorithm: str | None, mode: str | None, bits: int | None, active_from: str | None, active_to: str | None,
    attributes: list[str] | None, *, exportable: bool = False,
) -> KeySpec:  # fmt: skip
    """The specification that the options ask for, or one line saying which is wrong."""
    from gateway.errors import GatewayError
    from keys import keytypes as types

    try:
        kind = types.KeyUsage(usage)
    except ValueError:
        refuse(f"--usage: there is no usage {usage!r}; `keys usages` lists them")
    try:
        return types.KeySpec(
            kind,
            None if algorithm is None else types.Algorithm(algorithm),
            None if mode is None else types.KeyMode(mode),
            bits,
            _attributes(kind, attributes),
            types.Exportability.EXPORTABLE if exportable else types.Exportability.NOT_EXPORTABLE,
            active_from=None if active_from is None else parse_date(active_from, "--from"),
            active_to=None if active_to is None else parse_date(active_to, "--to"),
        )
    except (ValueError, GatewayError) as error:
        refuse(str(error))


def _attributes(usage: Any, given: list[str] | None) -> Any:  # noqa: ANN401 - types of keys, imported late
    """The usage's attributes with those GIVEN as name=value."""
    from dataclasses import replace

    from keys.usages import USAGES

    rule = USAGES[usage]
    attributes = rule.attributes
    for text in given or []:
        name, mark, value = text.partition("=")
        known = getattr(attributes, name, None) if name in type(attributes).__slots__ else None
        if not mark or (known is None and name not in rule.may_have):
            refuse(f"--set {text}: usage {usage.value} has no such attribute; `keys usages` lists them")
        try:
            changes: dict[str, Any] = {name: value if known is None else type(known)(value)}
            attributes = replace(attributes, **changes)
        except ValueError:
            refuse(f"--set {text}: is not a number")
    return attributes


def typed(what: str) -> bytes:
    """Hex typed without being shown; from standard input where that is no terminal."""
    asked = sys.stdin.isatty()
    text = typer.prompt(f"{what} (hex)", hide_input=True) if asked else sys.stdin.readline(CONTENT_MOST)
    try:
        return bytes.fromhex(text)
    except ValueError:
        refuse(f"{what}: is not hex")


def content_of(given: str) -> bytes:
    """What was given: itself, the content of @FILE, or standard input for -; CONTENT_MOST bytes at most."""
    if given != "-" and not given.startswith("@"):
        return given.encode("utf-8", "replace")
    name = "standard input" if given == "-" else given[1:]
    try:
        content = sys.stdin.buffer.read(CONTENT_MOST + 1) if given == "-" else _read(name)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in its name
        refuse(f"{name}: {getattr(error, 'strerror', error)}")
    if len(content) > CONTENT_MOST:
        refuse(f"{name}: has more than {CONTENT_MOST} bytes, which no key has")
    return content


def _read(name: str) -> bytes:
    """Of a regular file; a pipe is not waited for."""
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            refuse(f"{name}: is no regular file")
        return file.read(CONTENT_MOST + 1)
