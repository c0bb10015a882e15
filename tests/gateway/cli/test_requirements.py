"""The security requirements at the command line and over HTTP (16, 19): what is shown of a card, by every command there is.

Read next: docs/threat-model.md.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import typer.main

from gateway.app import open_bank
from gateway.cli import app
from gateway.operations import card as card_operations
from gateway.operations import outgoing
from gateway.settings import load_settings
from gateway.telemetry import mask
from gateway.terminals import administrative
from iso.codec import encode
from iso.describe import describe, masked, summary
from iso.message import Message
from keys.sensitive import Pan
from tests.gateway.aid_story import NTPN, live_through
from tests.gateway.cage import tables
from tests.gateway.cli.beside import in_thread, serving
from tests.gateway.owner import as_owner, one_value
from tests.gateway.partner import hot_link
from tests.gateway.street import open_street
from tests.gateway.world import holders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.app import Service
    from gateway.operations.bank import Bank
    from tests.gateway.cli.shell import Shell

PAN = "6013010000000018"
SHOWN = re.compile(r"601301[0-9*]{4,}")
RIGHT = re.compile(r"601301(\*{3}|\*{6})[0-9]{4}")
"""First six and last four, a star for each digit between; the last guard of the log leaves three."""

ACCOUNT, CARD, OUT, FILE = "{account}", "{card}", "{out}", "{file}"
AS = ("--as", "rina")
REASON = ("--reason", "as asked")

TRIED: dict[str, list[tuple[str, ...]]] = {
    "card show": [(CARD,)],
    "card list": [(ACCOUNT,)],
    "card undelivered": [()],
    "card pins": [()],
    "card deliver": [("{new}", "--branch", "0014", *AS)],
    "card hand-over": [("{new}", "--ktp-seen", "--kk-seen", *AS)],
    "card choose-pin": [("{new}", "--pin-block", "0123456789ABCDEF", *AS)],
    **{f"card {act}": [(CARD, *REASON, *AS)] for act in ("trust-chip", "block", "unblock", "unlock", "reset-pin", "lost")},
    **{f"card {act}": [(CARD, *REASON, *AS)] for act in ("stolen", "replace")},
    "account show": [(ACCOUNT,)],
    "account holds": [(ACCOUNT,)],
    "account balance": [(ACCOUNT,)],
    "account statement": [(ACCOUNT,)],
    "account unblock": [("--account", ACCOUNT, "--checker", "budi", *REASON, *AS)],
    "account correct": [(ACCOUNT, "--transfer", "{transfer}", "--checker", "budi", *REASON, *AS)],
    "trace": [("sp2d:SP2D-SI-1",), ("authorisation:{authorisation}",), ("tranche:1",), ("account:" + ACCOUNT,)],
    "batch list": [()], "batch show": [("1",)], "batch result": [("1", "--out", OUT, *AS)],
    "si list": [()], "si result": [("SI-1", "--out", OUT, *AS)],
    "limits list": [()], "limits show": [("{authorisation}",)],
    "job list": [()], "return list": [()], "return confirm": [("1", "--ntpn", NTPN, *AS)],
    "settlement list": [()], "settlement show": [()], "settlement positions": [()], "settlement payables": [()],
    "settlement verify": [()], "settlement report": [("--date", "{day}", "--out", OUT)], "settlement gl": [("--out", OUT)],
    "exceptions list": [("--all",)], "exceptions show": [("1",)],
    "exceptions resolve": [("1", "--note", "seen", "--checker", "budi", *AS)],
    "outgoing list": [(), ("--all",)], "outgoing show": [("1",)], "outgoing retry": [("1", *REASON, *AS)],
    "outgoing fill": [("himbara", *AS)],
    "outgoing drop": [("1", "--checker", "budi", *REASON, *AS)],
    "desk list": [(), ("--all",)], "desk done": [("1", *REASON, *AS)], "desk totals": [()],
    "day show": [()], "day list": [()], "day verify": [()],
    "ledger proof": [()], "ledger balance": [("rpl",)], "audit verify": [()],
    "stand-in status": [()], "stand-in list": [(), ("--waiting",)],
    "keys list": [()], "keys usages": [()], "keys waiting": [()], "keys record": [("--out", OUT)], "vault status": [()],
    "db status": [()], "db partitions": [()], "settings": [()],
    "simulate explain": [("{message}",)],
}  # fmt: skip
"""Every command that may show a card, an account, an authorisation or a paper, with words for it; it may refuse."""

NOT_TRIED = {
    "takes in a file, and shows counts": ("kpm import", "si import", "policy load", "exclusion import", "limits dry-run"),
    "decides on a paper, and shows its counts": ("batch approve", "batch reject", "kpm batch approve", "kpm batch reject",
                                                 "si approve", "si reject"),
    "works by date, and shows counts": ("job run", "job catch-up", "day move", "day close", "settlement close",
                                        "settlement order", "settlement pay", "db migrate", "db retire", "vault reseal"),
    "is another name of what is tried": ("kpm batch list", "kpm batch show", "kpm batch result"),
    "knows keys and no cards": ("keys init", "keys generate", "keys component", "keys forget", "keys import", "keys import-rsa",
                                "keys import-secret", "keys export-public", "keys export", "keys rewrap", "keys rotate",
                                "keys activate", "keys state", "keys rotate-master", "keys token-init"),
    "knows profiles and counters, and no cards": ("link check", "link list", "link new-key", "link show", "link status"),
    "is the simulator's, over TCP: test_requirement_16_the_simulators_terminals": (
        "simulate withdraw", "simulate purchase", "simulate balance", "simulate sign-on", "simulate echo", "simulate cases",
        "simulate load", "simulate pin-block", "simulate replay", "simulate host"),
    "runs for minutes over cards of its own": ("demo", "test", "serve", "chaos", "torture", "bench authorise", "bench intake",
                                               "bench credit", "bench codec", "bench keys", "bench proof"),
}  # fmt: skip


FORMS: tuple[list[str], ...] = ([], ["--json"])
MAY_REFUSE = (
    "exceptions show", "exceptions resolve", "outgoing retry", "card choose-pin", "card unlock", "card stolen",
    "account correct", "settlement show",
)  # fmt: skip
"""At this point of the story; every command near a card is also refused where its --json repeats a deed that was done."""
NEAR_CARDS = ("outgoing", "desk", "card", "account", "trace", "batch", "si", "limits", "simulate")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command as it is typed, with its options."""

    def walk(command: Any, words: list[str]) -> Iterator[tuple[str, list[str]]]:  # noqa: ANN401 - typer keeps its own click
        inner: dict[str, Any] | None = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words), [option for one in command.params for option in one.opts]
            return
        for name, one in inner.items():
            yield from walk(one, [*words, name])

    return walk(typer.main.get_command(app), [])


def wrongly_shown(seen: str) -> list[str]:
    """Numbers of the bank's cards in a text that are shown otherwise than by the first six and last four digits."""
    return [one for one in SHOWN.findall(seen) if not RIGHT.fullmatch(one)]


def test_requirement_16_the_search_finds_a_card() -> None:
    """Whole, or with a digit too many; and lets pass what may be shown."""
    assert [PAN, "601301*****00018"] == wrongly_shown(
        f"a {PAN}, b 601301*****00018, c 601301******0018, d 601301***0018"
    )
    assert "601301******0018" == Pan(PAN).masked == masked(2, PAN)


@pytest.fixture
def lived(shell: Shell) -> dict[str, str]:
    """A bank with a whole life of aid and a replaced card. What to type for the words in braces."""

    async def work() -> dict[str, str]:
        async with open_bank(load_settings()) as bank:
            await live_through(bank, shell.folder)
            await outgoing.keep_links(
                bank, [outgoing.LinkTerms("himbara", "HOTLIST", 3_600)]
            )  # told of the card that is replaced
            found_card = Message("0600", {7: "1123120000", 11: "000001", 48: "card 6013010000000018 was found"})
            await administrative.serve(bank, hot_link(), found_card)
            new = await card_operations.replace(bank, "branch", 5, "lost")
            found = (await holders(bank))[0]
            return {
                "account": found.account_number, "card": str(found.card_id), "new": str(new.id), "pan": found.pan.reveal(),
                "day": str(await one_value(bank, "SELECT min(settlement_date) FROM authorisation")),
                "authorisation": str(await one_value(bank, "SELECT min(id) FROM authorisation")),
                "transfer": str(await one_value(bank, WRONG, id=found.family_id)),
                "message": encode(Message("0200", {2: PAN, 35: f"{PAN}=29126010000", 52: "0123456789ABCDEF"})).hex(),
                "out": str(shell.folder / "out.csv"),
            }  # fmt: skip

    return asyncio.run(work())


WRONG = "SELECT max(id) FROM transfer WHERE kind = 'CREDIT' AND account_id = :id"


def test_requirement_16_every_command_is_thought_of() -> None:
    """Each one shows no card, or is tried here; none has an option that shows more, but the one that reads a message."""
    found = dict(commands())
    left_out = [name for names in NOT_TRIED.values() for name in names]
    assert len(set(left_out)) == len(left_out)
    assert sorted(found) == sorted([*TRIED, *left_out])
    unmasking = re.compile("unmask|full|clear|reveal|show-pan|pan")
    whole_proof = {"ledger proof": ["--full"]}
    captures = ("withdraw", "purchase", "balance", "cases", "load", "replay")
    whole_captures = {f"simulate {name}": ["--unmasked-capture"] for name in captures}
    assert {"simulate explain": ["--unmasked"]} | whole_proof | whole_captures == {
        name: shown for name, options in found.items() if (shown := [one for one in options if unmasking.search(one)])
    }


def test_requirement_16_every_command_shows_first_six_and_last_four(
    shell: Shell, lived: dict[str, str], tmp_path: Path
) -> None:
    """On a bank with a whole life of aid: what is printed, logged, refused, and written to result and report files."""
    shown = []
    for name, tries in TRIED.items():
        for words in tries:
            typed = [*name.split(), *(word.format(**lived) for word in words)]
            for form in FORMS if name.split()[0] in NEAR_CARDS else FORMS[:1]:
                code, out, err = shell.run(*typed, *form)
                assert code in (0, 1), (typed, err)
                assert code == 0 or form or name in MAY_REFUSE, (typed, err)
                assert [] == wrongly_shown(out + err), typed
                assert lived["pan"] not in out + err, typed
                shown += [name for _ in SHOWN.findall(out)]
        for path in tmp_path.glob("out*"):
            assert [] == wrongly_shown(path.read_text(encoding="latin-1")), name
            path.unlink()
    assert {"card show", "card list", "card replace", "trace", "simulate explain"} <= set(shown)


def test_requirement_16_the_record_of_the_bank_shows_no_more(lived: dict[str, str]) -> None:
    """The audit chain and every column for people: masked, as the commands show it."""

    async def work() -> str:
        async with open_bank(load_settings()) as bank:
            return "\n".join((await tables(bank)).values())

    seen = asyncio.run(work())
    assert [] == wrongly_shown(re.sub(r"\\\\x[0-9a-f]+", "", seen))
    assert lived["pan"] not in seen
    assert 6 <= len(RIGHT.findall(seen))


def test_requirement_16_the_simulators_terminals(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's terminals, which have whole cards in their wallet, show them masked too; whole where --unmasked was said."""
    message = encode(
        Message("0200", {2: PAN, 4: "000005000000", 35: f"{PAN}=29126010000", 52: "0123456789ABCDEF"})
    ).hex()
    with in_thread(lambda: serving(tmp_path, 2)) as port:
        monkeypatch.setenv("KKS_ISO_PORT", str(port))
        for words in (
            ("withdraw", "--amount", "50000", "--then-reverse"), ("purchase", "--amount", "20000"), ("balance",),
            ("pin-block", "--pin", "271828"), ("sign-on",), ("echo",), ("explain", message), ("cases",),
        ):  # fmt: skip
            for form in ([], ["--json"]):
                code, out, err = shell.run("simulate", *words, *form)
                assert code in (0, 1), err
                assert [] == wrongly_shown(out + err), words
    _, out, _ = shell.run("simulate", "explain", message, "--unmasked")
    assert PAN in out


def test_requirement_16_messages_logs_and_values_are_masked() -> None:
    """Whatever a program prints of a card: the type, a message, its description and summary, and what slips into a log."""
    fields = dict.fromkeys((2, 34, 36, 48, 102), PAN) | {35: f"{PAN}=29126010000", 45: f"B{PAN}^NAME"}
    message = Message("0200", fields)
    logged: dict[str, object] = {
        "event": f"card {PAN}",
        "pan": PAN,
        "number": int(PAN),
        "error": ValueError(PAN),
        "track2": PAN,
    }
    texts = [f"{message!r} {message}", describe(message), str(summary(message)), f"{Pan(PAN)!r} {Pan(PAN)}"]
    texts += [str(mask(None, "", {name: value})) for name, value in logged.items()]
    for seen in texts:
        assert PAN not in seen
        assert [] == wrongly_shown(seen)
    assert 6 <= sum(len(RIGHT.findall(seen)) for seen in texts)


async def test_requirement_16_no_endpoint_shows_a_card(bank: Bank, tmp_path: Path) -> None:
    """Every route there is, before and after a card was used."""
    async with open_street(bank, tmp_path) as street, aiohttp.ClientSession() as http:
        await street.atm.withdraw(street.card, 50_000)
        pan = street.card.pan.reveal()
        for path in await _routes(street.service):
            async with http.get(f"{_address(street.service)}{path}") as answer:
                seen = await answer.text()
            assert (200, []) == (answer.status, [one for one in (pan, pan[6:12], "601301") if one in seen])


async def test_requirement_19_no_route_but_the_declared_ones(bank: Bank, tmp_path: Path) -> None:
    """Without roles nobody gets more than health and status: all else is refused, by any method, and changes nothing."""
    async with open_street(bank, tmp_path) as street, aiohttp.ClientSession() as http:
        assert ["/health/live", "/health/ready", "/v1/status"] == await _routes(street.service)
        address = _address(street.service)
        unknown = "/ /v1 /v1/cards /v1/cards/1 /v1/families /v1/keys /health /admin /v1/status/..%2fcards /v1/status/"
        for path in unknown.split():
            async with http.get(address + path) as answer:
                assert 404 == answer.status
        for path in await _routes(street.service):
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
                async with http.request(method, address + path, data=b"{}") as answer:
                    assert 405 == answer.status
    assert [] == await as_owner(bank, "SELECT 1 FROM authorisation")


async def _routes(service: Service) -> list[str]:
    """The paths that the application answers."""
    runner = service.api._runner
    assert runner is not None
    assert runner.app is not None
    return sorted({route.resource.canonical for route in runner.app.router.routes() if route.resource is not None})


def _address(service: Service) -> str:
    host, port = service.http_address
    return f"http://{host}:{port}"
