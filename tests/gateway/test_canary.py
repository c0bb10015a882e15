"""Canaries: numbers and names that must never stand in a log, an exception, a repr or, unsealed, in the database."""

from __future__ import annotations

import csv
import io
import logging
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import structlog

from gateway.files.kpm_list import open_kpm_list
from gateway.operations import account, instruction, kpm, proof
from gateway.operations import card as card_operations
from gateway.operations.bank import reading
from gateway.simulator.families import write_kpm_list
from gateway.simulator.terminal import Asked, track2
from gateway.store import cards
from gateway.terminals import mapping
from gateway.testlink import read_test_key
from keys.sensitive import Pin
from tests.gateway import outlets
from tests.gateway.cage import Cage, tables
from tests.gateway.operations.test_custody import on_a_token
from tests.gateway.street import framed, open_street, raw_link
from tests.gateway.world import PIN, credit, holders, write_si
from tests.keys.softhsm import needs_token

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from tests.gateway.street import Street
    from tests.servers import TestServer

MOTHER = "KANARI BURUNGKECIL"
LATE_MOTHER = "GELATIK JAWATIMUR"
WRONG = Pin("918273")
COLUMNS = ("NIK", "NO_KK", "NAMA_IBU_KANDUNG")


def test_the_cage_finds_a_canary() -> None:
    """The search itself works: plain, as hex, inside other text; and does not find what is not there."""
    cage = Cage(
        {"a": "x 6013010000000018 y", "b": "\\x" + b"6013010000000018".hex(), "c": "pin=204817;", "d": "ab204817cd"}
    )
    cage.canaries = {"pan": "6013010000000018", "pin": "204817"}
    assert ["pan in a", "pan in b", "pin in c"] == cage.escaped()


def test_the_cage_knows_where_a_canary_may_be() -> None:
    """A NIK in a result file; the same NIK anywhere else, and a PAN there, have escaped."""
    cage = Cage({"result": "3171012345678901 6013010000000018", "log": "3171012345678901"})
    cage.canaries = {"NIK 1": "3171012345678901", "PAN 1": "6013010000000018"}
    cage.may_hold = {"result": ("NIK",)}
    assert ["NIK 1 in log", "PAN 1 in result"] == cage.escaped()


async def test_requirement_03_no_canary_escapes(bank: Bank, tmp_path: Path, server: TestServer) -> None:
    """List, hand-over, PIN, credits, authorisations and every kind of error leave no secret in anything that is seen outside.

    That is logs, exceptions, tables, HTTP answers, what commands print and the files they write, the files of the bank's folder.
    """
    cage = await story(bank, tmp_path, server.server.folder / "server.log")
    assert [] == cage.escaped()


ON_A_TOKEN = """
    import asyncio, sys
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.operations.custody import custody_of
    from gateway.operations.noted_acts import set_up_token
    from gateway.settings import load_settings
    from tests.gateway.outlets import told
    from tests.gateway.test_canary import story

    async def main(url, folder, module, label):
        folder = Path(folder)
        settings = load_settings(
            database_url=url, data_dir=folder / "var", key_backend="pkcs11", iso_port=0, http_port=0, log_level="warning",
            key_options={"module": module, "token": label, "pin_file": str(folder / "user.pin")},
        )
        set_up_token(custody_of(settings), "ratna", folder / "officer.pin", 1)
        async with open_bank(settings) as bank:
            cage = await story(bank, folder, Path((folder / "server log").read_text()))
        for path in sorted((folder / "tokens").rglob("*")):
            if path.is_file():
                cage.seen[f"token {path.name}"] = path.read_bytes().decode("latin-1")
        print(told(cage))

    asyncio.run(main(*sys.argv[1:]))
"""


@needs_token
def test_requirement_03_no_canary_escapes_with_keys_in_a_token(
    database_url: str, tmp_path: Path, server: TestServer
) -> None:
    """The same with keys in a token: its PINs are canaries too, and the files of the token are looked into."""
    (tmp_path / "server log").write_text(str(server.server.folder / "server.log"))
    found = on_a_token(ON_A_TOKEN, database_url, tmp_path)
    seen = found["seen"]
    assert isinstance(seen, dict)
    assert {"HTTP /v1/status", "keys record", "file of si result SI-X --out {file}.csv --as maker", "keystore"} <= set(
        seen
    )
    assert any(name.startswith("token ") for name in seen)
    assert [] == found["escaped"]


async def story(bank: Bank, folder: Path, server_log: Path) -> Cage:
    """Everything that happens at a bank, and all that could be seen of it from outside."""
    cage, logged = Cage(), io.StringIO()
    handler, root = logging.StreamHandler(logged), logging.getLogger()
    level, before = root.level, len(outlets.readable(server_log))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with structlog.testing.capture_logs() as events, redirect_stderr(io.StringIO()) as told:
            async with open_street(bank, folder, families=2) as street:
                _know(cage, street, folder)
                await _lists(bank, folder, cage)
                await _terminals(street, cage)
                await _errors(street, cage, folder)
                await _objects(street, cage)
                await outlets.http(street.service, cage)
                await outlets.commands(
                    bank.settings,
                    folder,
                    cage,
                    account=street.families[0].account_number,
                    sp2d="SP2D-W",
                    day=str(bank.business_date),
                )
            await proof.verify_audit(bank)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert events
    cage.seen["structlog"] = "\n".join(f"{event}" for event in events)
    cage.seen["logging"] = logged.getvalue()
    cage.seen["standard error"] = told.getvalue()
    assert 10 < told.getvalue().count('"event": "transaction"')
    cage.seen["server log"] = outlets.readable(server_log)[before:]
    cage.seen["keystore"] = (bank.settings.data_dir / "keys" / "keystore.json").read_text(encoding="utf-8")
    outlets.files(bank.settings, cage)
    cage.seen |= await tables(bank)
    assert "601301******" in cage.seen["table card"]
    assert "601301******" in cage.seen["card list {account}"]
    assert street.families[0].nik in cage.seen["file of si result SI-X --out {file}.csv --as maker"]
    return cage


async def _lists(bank: Bank, folder: Path, cage: Cage) -> None:
    """A list with every kind of fault, one family without and one with a distinctive mother's name."""
    path = folder / "canary.csv"
    write_kpm_list(path, 60, seed=77, faults=1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=_separator(path)))
    place = {name: rows[0].index(name) for name in COLUMNS}
    for row in rows[1:]:
        if row[place["NAMA_IBU_KANDUNG"]]:
            row[place["NAMA_IBU_KANDUNG"]] = MOTHER
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    for number, row in enumerate(rows[1:]):
        for name in ("NIK", "NO_KK"):
            if len(row[place[name]]) > 8:
                cage.canaries[f"{name} {number}"] = row[place[name]]
    cage.canaries |= {"mother": MOTHER, "mother at hand-over": LATE_MOTHER}
    summary = await kpm.import_list(bank, "maker", path, "SK-CANARY", bank.business_date)
    assert 5 < summary.rejected < summary.rows
    cage.seen["summary"] = repr(summary)
    cage.seen["findings"] = repr(await kpm.findings(bank, summary.batch))
    raw = list(open_kpm_list(path).rows())
    cage.seen["first raw row"] = f"{raw[0]!r} {raw[0]}"
    await kpm.approve(bank, "checker", summary.batch)
    await cage.fails(kpm.import_list(bank, "maker", path, "SK-CANARY-2", bank.business_date))
    pending = [one for one in await holders(bank) if one.account_state == "PENDING_ID"]
    await card_operations.deliver(bank, "branch", pending[0].card_id, "0014")
    late = card_operations.HandOver(ktp_seen=True, kk_seen=True, mother_name=LATE_MOTHER)
    await card_operations.hand_over(bank, "branch", pending[0].card_id, late)
    await cage.fails(card_operations.hand_over(bank, "branch", pending[0].card_id, late))
    cage.seen["hand-over"] = f"{late!r} {late}"


def _separator(path: Path) -> str:
    first = path.read_text(encoding="utf-8-sig").splitlines()[0]
    return next(one for one in ";,|\t" if one in first)


def _know(cage: Cage, street: Street, folder: Path) -> None:
    """The street's own secrets: cards, PIN, PIN blocks, NIK, key components, the master key or the token's PINs."""
    for number, card in enumerate(street.wallet.cards):
        cage.canaries[f"PAN {number}"] = card.pan.reveal()
        cage.canaries[f"PIN block {number}"] = street.pinpad.block(card.pan, card.pin)
        cage.canaries[f"track 2 {number}"] = track2(card)
        cage.canaries[f"street NIK {number}"] = street.families[number].nik
    cage.canaries |= {"PIN": PIN, "wrong PIN": WRONG.reveal()}
    for number, component in enumerate(read_test_key(street.bank.settings.data_dir)[1]):
        cage.canaries[f"component {number}"] = component.hex().upper()
    if street.bank.settings.key_backend == "pkcs11":
        for role in ("user", "officer"):
            cage.canaries[f"PIN of the {role}"] = (folder / f"{role}.pin").read_text(encoding="utf-8").strip()
        return
    master = (street.bank.settings.data_dir / "keys" / "master.key").read_text(encoding="utf-8").strip()
    cage.canaries["master key"] = master.splitlines()[-1]


async def _terminals(street: Street, cage: Cage) -> None:
    """Approved, declined, malformed and reversed requests, with track 2 on some."""
    card = street.card
    done = [
        await street.atm.withdraw(card, 50_000),
        await street.atm.withdraw(card, 50_000, WRONG),
        await street.shop.purchase(card, 900_000),
        await street.atm.balance(card),
    ]
    done.append(await street.atm.reverse(done[0]))
    for change in ({4: ""}, {49: "840"}, {3: "990000"}, {35: track2(card)}, {2: "", 35: track2(card)}):
        message = street.atm.request(Asked.CASH, card, 10_000)
        message.fields = {number: value for number, value in (message.fields | change).items() if value}
        done.append(await street.atm.send(message))
    assert {"00", "55", "51", "30", "12"} == {one.code for one in done}
    async with raw_link(street.service) as link:
        for mti in ("0200", "9200"):
            message = street.atm.request(Asked.CASH, card, 10_000)
            message.mti = mti
            await link.send(framed(message).replace(message.fields[4].encode(), b"0000010000X0"))
            await link.receive()
    cage.seen["exchanges"] = repr(done)


async def _errors(street: Street, cage: Cage, folder: Path) -> None:
    """Refusals of every room that handles a secret."""
    bank, holder = street.bank, street.families[0]
    key = bank.hsm.find("zpk-himbara")
    block = bytes.fromhex(street.pinpad.block(holder.pan, Pin("123456")))
    await cage.fails(card_operations.choose_pin(bank, "branch", holder.card_id, block, key))
    new = await card_operations.replace(bank, "branch", street.families[1].card_id, "lost")
    await card_operations.deliver(bank, "branch", new.id, "0014")
    await card_operations.hand_over(bank, "branch", new.id, card_operations.HandOver(ktp_seen=True, kk_seen=True))
    await cage.fails(card_operations.choose_pin(bank, "branch", new.id, block, key))
    cage.seen["new card"] = repr(new)
    await cage.fails(account.show(bank, "0" * 15))
    row = [holder.nik, holder.account_number, "SIAPA BUKAN", "SEMBAKO", "2027-T1", "2027-01", "1000", holder.region]
    wrong = write_si(folder / "wrong.csv", [row, [*row[:6], "x", row[7]]])
    sp2d = instruction.Sp2d("SP2D-W", bank.business_date, 1_000)
    await instruction.import_instruction(bank, "maker", wrong, "SI-W", sp2d)
    failed = await instruction.approve(bank, "checker", "SI-W")
    assert (0, 2) == (failed.credited, failed.failed)
    await cage.fails(instruction.approve(bank, "checker", "SI-W"))
    paid = await credit(bank, folder, [holder], 1_000, si="SI-X", stage="2027-T2", months=("2027-04",))
    cage.seen["si result"] = repr(paid)


async def _objects(street: Street, cage: Cage) -> None:
    """What stands in memory while the bank works, as a debugger or a crash report would print it."""
    bank = street.bank
    message = street.atm.request(Asked.CASH, street.card, 10_000)
    message.fields[35] = track2(street.card)
    command = mapping.to_command(message, street.service.link, bank.hsm.find("zpk-himbara"))
    async with reading(bank) as connection:
        card = await cards.read(connection, street.families[0].card_id)
    things: list[Any] = [
        bank, bank.hsm, bank.vault, bank.keys, bank.settings, bank.hsm.keys(), street.wallet, street.wallet.cards, street.card,
        street.pinpad, message, message.response(), command, command.pan, street.card.pin, card, street.service.lanes,
        street.atm.journal,
    ]  # fmt: skip
    for thing in things:
        cage.seen[f"repr of {type(thing).__name__}"] = f"{thing!r} {thing}"
