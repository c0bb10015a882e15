"""`kks stand-in`: what is approved while the books are away, and what of it waits. It asks neither database nor service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import Json, refuse, settings

if TYPE_CHECKING:
    from gateway.operations.stand_in_entry import Entry
    from gateway.operations.stand_in_report import StandInReport

stand_in = typer.Typer(
    help="Stand-in: what is approved while the books are away, and what of it waits to be posted. It asks no database.",
    no_args_is_help=True,
)


@stand_in.command("status")
def status(json: Json = False) -> None:
    """Whether it is on, the list's age, what waits and what could not be posted. Exit 1 where a file is not right."""
    from gateway import clock

    links, found = _look()
    age_s = None if found.list_made_at is None else round((clock.now() - found.list_made_at).total_seconds())
    told = {
        "links": links, "running": found.running, "list_made_at": found.list_made_at, "list_age_s": age_s,
        "list_cards": found.list_cards, "journal": len(found.entries), "waiting": len(found.waiting),
        "waiting_idr": _sum(found.waiting), "not_posted": len(found.not_posted), "not_posted_idr": _sum(found.not_posted),
        "torn_bytes": found.torn_bytes, "wrong": found.wrong,
    }  # fmt: skip
    if json:
        output.as_json(told)
    else:
        shown = told | {"links": ", ".join(links) or "none: it is off", "running": "yes" if found.running else "no"}
        shown |= {name: output.rupiah(int(str(told[name]))) for name in ("waiting_idr", "not_posted_idr")}
        output.table("Stand-in", ["", ""], [(name.replace("_", " "), value) for name, value in shown.items()])
    if found.wrong is not None:
        raise typer.Exit(1)


@stand_in.command("list")
def entries(
    limit: Annotated[int, typer.Option("--limit", help="at most so many, the newest", min=1, max=100_000)] = 1_000,
    *,
    waiting: Annotated[bool, typer.Option("--waiting", help="only what waits to be posted, or could not be")] = False,
    json: Json = False,
) -> None:
    """What was decided while the books were away, in order: since the list of cards in use was made."""
    _, found = _look()
    if found.wrong is not None:
        refuse(found.wrong)
    open_ones = {one.seq for one in (*found.waiting, *found.not_posted)}
    chosen = [one for one in found.entries if not waiting or one.seq in open_ones][-limit:]
    rows = [_row(one) for one in chosen]
    if json:
        output.as_json({"entries": rows})
        return
    columns = ["number", "at", "link", "decided", "card", "amount_idr", "approval", "code", "books"]
    shown = [[output.rupiah(one.amount_idr) if name == "amount_idr" else row[name] for name in columns]
             for one, row in zip(chosen, rows, strict=True)]  # fmt: skip
    output.table("", columns, shown, numbers=["number", "card", "amount_idr"])


def _look() -> tuple[list[str], StandInReport]:
    """The links that are stood in for, and what is in the folder. Refuses where the keystore cannot be opened."""
    from gateway.app import open_keystore
    from gateway.errors import GatewayError
    from gateway.operations.custody import bank_keys, custody_of
    from gateway.operations.stand_in_folder import folder_of
    from gateway.operations.stand_in_report import look
    from gateway.terminals.links_file import read_links
    from keys.errors import KeysError

    chosen = settings()
    try:
        links = [one.name for one in read_links(chosen.links_file).link if one.stand_in is not None]
        if not custody_of(chosen).place.keystore.exists():
            return links, look(folder_of(chosen.data_dir), lambda _data, _mac: False)
        hsm = open_keystore(chosen)
        keys = bank_keys(hsm)
    except (GatewayError, KeysError) as error:
        refuse(str(error))
    audit = (keys.audit, *keys.audit_before)
    verify = lambda data, mac: any(hsm.verify_record(key, data, mac) for key in audit)  # noqa: E731 - of this one call
    return links, look(folder_of(chosen.data_dir), verify)


def _row(entry: Entry) -> dict[str, object]:
    return {
        "number": entry.seq, "at": entry.at.isoformat(timespec="seconds"), "link": entry.link, "decided": entry.kind.value,
        "card": entry.card_id, "amount_idr": entry.amount_idr, "approval": entry.approval, "code": entry.code,
        "books": entry.posted or "waits", "rules": list(entry.rules),
    }  # fmt: skip


def _sum(entries_: list[Entry]) -> int:
    return sum(entry.amount_idr for entry in entries_)
