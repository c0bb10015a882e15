"""`kks link`: partner links as their file says, and as a running service says they stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, refuse, run, settings, who, with_bank
from gateway.errors import GatewayError, NotFound, Refused, SettingsError

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.terminals.links_file import Links
    from gateway.terminals.profile import Link

ANSWER_S = 5.0
COUNTED = ("received", "answered", "refused", "expired", "abandoned", "undecided", "unsent", "unmatched", "timed_out")
"""Of gateway.terminals.counters, what the table of `status` shows; --json has all."""

link = typer.Typer(help="Partner links: check a file of profiles, list and show them, and how those of a running service stand.",
                   no_args_is_help=True)  # fmt: skip

File = Annotated[Path | None, typer.Argument(help="TOML file of links; left out: KKS_LINKS_FILE, or the shipped one")]


@link.command("check")
def check(file: File = None, as_json: Json = False) -> None:
    """Whether a service would take up this file and open each of its links. Exit 1, and why, where it would not.

    Checked as a whole: every profile, the files of TLS, and, where there is a keystore, the keys that each profile names.
    """
    chosen = settings()
    links = _read(chosen, file)
    lacks = _lacks(chosen, links)
    if as_json:
        output.as_json({"ok": not lacks, "links": [one.name for one in links.link], "lacking": lacks})
    else:
        for one in links.link:
            output.say(f"{one.name}: {lacks.get(one.name, 'ok')}")
    if lacks:
        raise typer.Exit(1)


@link.command("list")
def list_links(file: File = None, as_json: Json = False) -> None:
    """The links of a file, one a line."""
    links = _read(settings(), file)
    rows = [_row(one) for one in links.link]
    if as_json:
        output.as_json({"links": rows})
        return
    output.table("", list(rows[0]), [list(row.values()) for row in rows])


@link.command("show")
def show(name: Annotated[str, typer.Argument(help="a link's name")], file: File = None, as_json: Json = False) -> None:
    """Every setting of a link, those that its file leaves out too."""
    from gateway.terminals.links import digest_of

    found = _read(settings(), file).named(name)
    if found is None:
        refuse(str(NotFound(f"there is no link {name}")))
    profile = {"profile": digest_of(found), **found.model_dump(mode="json")}
    if as_json:
        output.as_json(profile)
        return
    codes = profile.pop("response_codes")
    output.table("", ("setting", "value"), [(setting, _plain(value)) for setting, value in profile.items()])
    output.table("", ("reason", "DE39"), list(codes.items()))


@link.command("status")
def status(as_json: Json = False) -> None:
    """How the links of the running service stand, as it tells over HTTP. Exit 1 where none answers."""
    chosen = settings()
    found = run(_status(chosen))
    if as_json:
        output.as_json({name: found[name] for name in ("links", "links_file", "outgoing", "people")})
        return
    columns = (
        "name",
        "role",
        "address",
        "state",
        "connections",
        "signed_on",
        "in_flight",
        "last_message_at",
        "profile",
    )
    output.table("", columns, [[one.get(column) for column in columns] for one in found["links"]])
    counted = {one["name"]: one["counters"] for one in found["links"] if "counters" in one}
    rows = [[name, *(_total(counters.get(column)) for column in COUNTED)] for name, counters in counted.items()]
    output.table("", ("since it started", *COUNTED), rows)
    for one in found["links"]:
        for host in one.get("hosts", []):
            output.say("{link}: {address} {signed_on} of {wanted} signed on".format(link=one["name"], **host))
        if one["why"] is not None:
            output.say(f"{one['name']}: {one['why']}")
    for one in found["outgoing"]:
        output.say(
            "{link}: {waiting} to be sent, {refused} refused, {expired} expired: kks outgoing list".format(**one)
        )
    for one in found["people"]:
        output.say(
            "{link}: for people {exceptions} exceptions, {desk} messages: kks exceptions list, desk list".format(**one)
        )
    if found["links_file"]["why"] is not None:
        output.say(f"not taken up: {found['links_file']['why']}")


@link.command("new-key")
def new_key(
    name: Annotated[str, typer.Argument(help="a link's name")],
    checker: Annotated[str, typer.Option("--checker", help="the second person")] = "",
    mac: Annotated[bool | None, typer.Option("--mac/--pin", help="which key: of MACs or of PIN blocks")] = None,
    *,
    by: As = "",
    as_json: Json = False,
) -> None:
    """Make the next MAC or PIN key of a link, and let the running service bring it to the partner under the link's ZMK.

    It is an 0800 in the link's queue: `kks outgoing list` tells what the partner says. Two people want it.
    """
    from gateway.operations import link_key_offers
    from gateway.terminals.security import zone_of

    if mac is None:
        raise typer.BadParameter("which key: --mac or --pin")
    found = _read(settings(), None).named(name)
    if found is None:
        refuse(str(NotFound(f"there is no link {name}")))
    zone = zone_of(found)
    if zone is None:
        refuse(f"link {name} has no zone_master_key: its keys are changed by ceremony")
    kind: link_key_offers.Kind = "mac" if mac else "pin"
    info = with_bank(lambda bank: link_key_offers.offer(bank, who(by), checker, zone, kind))
    if as_json:
        output.as_json({"key": info.name, "kcv": info.kcv.value, "link": name})
    else:
        output.say(
            f"Key {info.name}, check value {info.kcv.value}, goes to link {name}. It works when the partner has it."
        )


def _total(counter: int | dict[str, int] | None) -> int:
    """Of one counter, or of all that it is made of."""
    return sum(counter.values()) if isinstance(counter, dict) else counter or 0


def _read(chosen: Settings, file: Path | None) -> Links:
    """The links of a file, TLS files looked at too; one line and exit 1 where something is wrong."""
    from gateway.terminals.links_file import read_links
    from gateway.terminals.tls import context_of

    try:
        links = read_links(file or chosen.links_file)
        for one in links.link:
            context_of(one)
    except SettingsError as error:
        refuse(str(error))
    return links


def _lacks(chosen: Settings, links: Links) -> dict[str, str]:
    """Why links cannot be opened, by name; those for trials are not missed. Without a keystore nothing is said of keys."""
    from gateway.app import open_keystore
    from gateway.operations.custody import custody_of
    from gateway.terminals.needed_keys import lacking
    from keys.errors import KeysError

    try:
        if not custody_of(chosen).place.keystore.exists():
            return {}
        hsm = open_keystore(chosen)
    except (KeysError, GatewayError) as error:
        refuse(str(error))
    found = {one.name: lacking(one, hsm) for one in links.link if not one.trial}
    return {name: why for name, why in found.items() if why is not None}


def _row(one: Link) -> dict[str, object]:
    port = f"KKS_ISO_PORT+{one.port_offset}" if one.port is None else one.port
    here = f"{one.host or 'KKS_HOST'}:{port}"
    return {
        "name": one.name, "acquirer": one.acquirer, "role": one.role, "address": ", ".join((here, *one.more_hosts)),
        "dialect": one.dialect, "frame": one.frame.value, "header": one.header, "tls": "no" if one.tls is None else "yes",
        "mac": one.mac, "pin": f"{one.pin_scheme} {one.pin_key}",
    }  # fmt: skip


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    return {None: "", True: "yes", False: "no"}[value] if value in (None, True, False) else str(value)


async def _status(chosen: Settings) -> dict[str, Any]:
    import aiohttp

    url = f"http://{chosen.host}:{chosen.http_port}/v1/status"
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as response:
            found: dict[str, Any] = await response.json()
    except (aiohttp.ClientError, OSError, ValueError):
        raise Refused(f"no service answers at {url}: `kks serve`, KKS_HOST and KKS_HTTP_PORT") from None
    if "links" not in found:
        raise Refused(f"what answers at {url} is no service of this bank")
    return found
