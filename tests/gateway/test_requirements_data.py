"""The security requirements of card data in the database (14, 15): each line tried over a bank that is lived in.

Read next: docs/threat-model.md; tests/gateway/test_canary.py (03), tests/gateway/operations/test_reseal.py (14, sealing anew).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from gateway.operations import card as card_operations
from gateway.operations import holds, proof
from gateway.operations.custody import BANK_KEYS, INDEX_LABEL, SEALING_LABEL
from gateway.operations.reseal import reseal
from gateway.rules.card import CardEvent
from gateway.simulator.terminal import Asked, track2
from gateway.store.sealed import SEALED
from keys.errors import KeyRefused, VaultError
from keys.sensitive import Pan
from tests.gateway.cage import Cage, dumped, tables
from tests.gateway.lived_in import PLACES, all_opened, live_in, rotate
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import open_street
from tests.gateway.world import holders
from tests.keys.at_work import TAGS

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.simulator.exchange import Exchange
    from iso.message import Message
    from tests.gateway.street import Street
    from tests.servers import TestServer

ANY_PAN = re.compile(r"(?<![0-9])601301[0-9]{10}(?![0-9])")
COLUMNS = """
    SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'v') AND NOT c.relispartition
      AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2
"""
OF_A_CARD = (
    "pan",
    "nik",
    "kk",
    "mother",
    "track",
    "cvv",
    "cvc",
    "pin",
    "block",
    "arqc",
    "cryptogram",
    "chip",
    "record",
)
"""What a column that holds a secret might be called."""
HARMLESS = {
    "card.pan_masked": "text",  # first six and last four
    "card.pin_offset": "text",  # worth nothing without the PIN verification key
    "card.pin_tries_left": "smallint",
    "card.pin_key_version": "smallint",
    "card.kk_seen": "boolean",
    "tranche.blocked_on": "date",
    "clock_policy.block_days": "integer",
    "link_key.block_digest": "bytea",  # SHA-256 of a key block, under a ZMK as it is
}


async def test_requirement_14_every_column_of_a_card_is_sealed_or_an_index(bank: Bank) -> None:
    """By the schema itself: whatever is called like card or identity data is bytes that are sealed, or a keyed index."""
    found = {f"{one.table}.{one.column}": one.type for one in await as_owner(bank, COLUMNS)}
    assert len(found) > 200
    named = {place: kind for place, kind in found.items() if any(word in place.split(".")[1] for word in OF_A_CARD)}
    indexes = {place for place in named if place.endswith("_index")}
    assert {"bytea"} == {named[place] for place in indexes | (set(named) & PLACES)}
    assert {"card.pan_index", "family.nik_index", "family.kk_index"} <= indexes
    left = {place: kind for place, kind in named.items() if place not in indexes | PLACES}
    assert left == {place: kind for place, kind in HARMLESS.items() if place in found}
    assert "card.pan" in PLACES & set(named)


async def test_requirement_14_no_column_holds_a_clear_pan(bank: Bank, server: TestServer, tmp_path: Path) -> None:
    """Lists, cards, replacements and authorisations later: no PAN of the bank in any row, of any table, in any form."""
    wallet = await live_in(bank, tmp_path)
    await card_operations.change_state(bank, "branch", 1, CardEvent.REPORT_LOST, "lost")
    await card_operations.replace(bank, "branch", 1, "lost")
    cage = Cage(canaries={f"PAN {number}": card.pan.reveal() for number, card in enumerate(wallet.cards)})
    cage.canaries |= {f"new PAN {one.card_id}": one.pan.reveal() for one in await holders(bank)}
    assert len(wallet.cards) + 6 == len(cage.canaries)
    cage.seen = await tables(bank) | {"dump": await _dump(server, bank)}
    assert 7 == cage.seen["table card"].count("601301******")
    assert [] == cage.escaped()
    assert [] == [where for where, content in cage.seen.items() if ANY_PAN.search(content)]


async def test_requirement_14_a_card_is_found_by_its_keyed_index(bank: Bank, tmp_path: Path) -> None:
    """Each PAN has one index, of the bank's own index key: no hash that could be made without it is in the table."""
    await live_in(bank, tmp_path)
    rows = {bytes(one.pan_index): one.id for one in await as_owner(bank, "SELECT id, pan_index FROM card")}
    cards = {one.card_id: one.pan.reveal() for one in await holders(bank)}
    assert {bank.vault.index(pan, "pan"): number for number, pan in cards.items()} == rows
    assert {16} == set(map(len, rows))
    keyless = [hashlib.sha256(pan.encode()).digest()[:16] for pan in cards.values()]
    keyless += [
        hmac.new(key, pan.encode(), "sha256").digest()[:16] for pan in cards.values() for key in (b"", bytes(32))
    ]
    assert not set(keyless) & set(rows)
    index, sealing = bank.hsm.find(INDEX_LABEL), bank.hsm.find(SEALING_LABEL)
    assert BANK_KEYS[INDEX_LABEL] is index.usage is not sealing.usage
    with pytest.raises(KeyRefused, match="may not do"):
        bank.hsm.blind_index(sealing, b"6013")


async def test_requirement_14_a_value_opens_in_its_own_place_alone(bank: Bank, tmp_path: Path) -> None:
    """Every sealed value of every table: its key's id stands before it, no two are alike, and moved to another row none opens."""
    await live_in(bank, tmp_path)
    opened = await all_opened(bank, bank.vault)
    assert PLACES == {place for place, _ in opened}
    values = [
        (table, column, row, bytes(value))
        for table in SEALED
        for column in table.columns
        for row, value in await as_owner(bank, _sealed(table.name, table.key, column))
    ]
    assert len(opened) == len(values) == len({value for *_, value in values})
    assert {bank.vault.current} == {value[:9] for *_, value in values}
    for at, (table, column, row, value) in enumerate(values):
        assert opened[f"{table.name}.{column}", row] == bank.vault.open_bytes(
            value, table=table.name, row=row, column=column
        )
        for other, other_column, other_row, _ in (values[at - 1], values[(at + 1) % len(values)]):
            with pytest.raises(VaultError):
                bank.vault.open_bytes(value, table=other.name, row=other_row, column=other_column)
    await as_owner(bank, "UPDATE card SET pan = (SELECT pan FROM card WHERE id = 2) WHERE id = 1")
    with pytest.raises(VaultError):
        await holders(bank)


def _sealed(table: str, key: tuple[str, ...], column: str) -> str:
    row = " || ':' || ".join(f"CAST({name} AS text)" for name in key)
    return f"SELECT {row} AS row, {column} AS value FROM {table} WHERE {column} IS NOT NULL"


async def test_requirement_14_sealing_anew_may_be_stopped_and_gone_on_with(bank: Bank, tmp_path: Path) -> None:
    """Stopped after its first batch, and again after the next: what is done stays, nothing is lost, the last run ends it."""
    await live_in(bank, tmp_path)
    before = await all_opened(bank, bank.vault)
    old = bank.vault.current
    rotate(bank.hsm)
    stopped, done = 0, False
    while not done:
        batches: list[int] = []

        def stop(count: int, batches: list[int] = batches) -> None:
            batches.append(count)
            if len(batches) > 1:
                raise asyncio.CancelledError

        try:
            done = (await reseal(bank, "siti", stop)).whole
        except asyncio.CancelledError:
            stopped += 1
        assert before == await all_opened(bank, bank.vault)
    assert 2 <= stopped
    for table in SEALED:
        for column in table.columns:
            count = f"SELECT count(*) FROM {table.name} WHERE substring({column} FROM 1 FOR 9) = :old"
            assert 0 == await one_value(bank, count, old=old)


ARQC = "A1B2C3D4E5F60718"
CARD_PASSES = {
    45: "B{pan}^KANARI/UJI^2912601123456789",  # track 1
    36: "01{pan}=1234567890123=987654321",  # track 3
    48: "CV2KANARI837",  # CVV2
    53: "9A8B7C6D5E4F3021",
    60: "KANARIDE60",
    62: "KANARIDE62",
    63: "KANARIDE63",
}


async def test_requirement_15_no_sensitive_data_is_there_after_an_authorisation(
    bank: Bank, server: TestServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PIN block, tracks, CVV2, chip data and cryptogram of every kind of message: in no column, dump or file ever after."""
    cage = Cage()
    caplog.set_level("DEBUG")
    async with open_street(bank, tmp_path, families=2) as street:
        done = await _all_kinds(street, cage)
        assert {"00", "55", "51", "14", "62"} <= {one.code for one in done}
        await holds.release_lapsed(bank, bank.business_date, 1)
    await proof.verify_audit(bank)
    sent = [one.request for one in done]
    cage.canaries |= {
        f"PIN block {number}": message.fields[52] for number, message in enumerate(sent) if 52 in message.fields
    }
    cage.canaries |= {"ARQC": ARQC, "chip data": bytes.fromhex(ARQC).decode("latin-1"), "PIN": street.card.pin.reveal()}
    assert 20 < len(cage.canaries)
    cage.seen = await tables(bank) | {"dump": await _dump(server, bank), "log": caplog.text}
    cage.seen["answers"] = repr([one.answer and one.answer.fields for one in done])
    for path in bank.settings.data_dir.rglob("*"):
        if path.is_file():
            cage.seen[path.name] = path.read_text(encoding="latin-1")
    assert len(done) <= await one_value(bank, "SELECT count(*) FROM authorisation") + 1
    assert [] == cage.escaped()
    assert all(
        sent[0].fields[42] in cage.seen[where] for where in ("table authorisation", "dump")
    )  # what may be kept is seen
    assert [] == await as_owner(bank, CALLED)


CALLED = """
    SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND a.attname ~ 'cvv|cvc|track|pin_block|arqc|cryptogram|session_key|chip'
"""


async def _all_kinds(street: Street, cage: Cage) -> list[Exchange]:
    """Cash, purchase, balance, hold and completion, refund, reversal; approved and refused; with all that a card can pass."""
    card, other = street.wallet.cards
    terminals = {"atm": street.atm, "shop": street.shop}
    asked = [
        ("atm", Asked.CASH, 50_000, "0200"), ("shop", Asked.PURCHASE, 20_000, "0200"), ("atm", Asked.BALANCE, 0, "0200"),
        ("shop", Asked.PURCHASE, 30_000, "0100"), ("atm", Asked.CASH, 5_000_000, "0200"),
    ]  # fmt: skip
    done = []
    for place, what, amount, mti in asked:
        done.append(
            await terminals[place].send(_with_all(terminals[place].request(what, card, amount, mti=mti), street, cage))
        )
    wrong = _with_all(street.atm.request(Asked.CASH, card, 10_000), street, cage)
    wrong.fields[52] = "0123456789ABCDEF"
    done.append(await street.atm.send(wrong))
    stranger = _with_all(street.atm.request(Asked.CASH, card, 10_000), street, cage)
    stranger.fields[2] = "6013019999999990"
    done.append(await street.atm.send(stranger))
    await card_operations.change_state(street.bank, "branch", street.families[1].card_id, CardEvent.BLOCK, "a reason")
    done.append(await street.atm.send(_with_all(street.atm.request(Asked.CASH, other, 10_000), street, cage)))
    following = [
        street.atm.reversal(done[0].request),
        street.shop.following(done[1].request, "0200", Asked.REFUND, 5_000),
        street.shop.following(done[3].request, "0220", Asked.PURCHASE, 25_000),
    ]
    done += [await street.shop.send(_with_all(one, street, cage)) for one in following]
    assert ["00", "00", "00"] == [one.code for one in done[-3:]]
    return done


def _with_all(message: Message, street: Street, cage: Cage) -> Message:
    """The message with tracks, CVV2, security data, chip data and private fields; each is remembered."""
    pan = Pan(message.fields[2]).reveal()
    message.fields[35] = track2(street.card).replace(street.card.pan.reveal(), pan)
    message.fields |= {number: value.format(pan=pan) for number, value in CARD_PASSES.items()}
    chip = "".join(
        f"{tag}{len(value):02X}{value.hex()}" for tag, value in {**TAGS, "9F26": bytes.fromhex(ARQC)}.items()
    )
    message.fields[55] = chip.upper()
    for number in (35, *CARD_PASSES, 55):
        cage.canaries[f"DE{number} of {pan[-4:]}"] = message.fields[number]
    return message


async def _dump(server: TestServer, bank: Bank) -> str:
    database = make_url(bank.database.url).database
    assert database is not None
    return await asyncio.to_thread(dumped, server.server, database)
