"""A bank of schema 0003, whose cards did not keep the version of their PIN's key: `kks db migrate`, and it goes on."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from gateway.app import open_bank, open_keystore
from gateway.operations import ceremony, pin_keys
from gateway.operations.custody import PIN_LABEL, bank_keys, vault_of
from gateway.operations.lane import Lanes
from gateway.operations.pin_keys import PinKey
from gateway.rules.authorise import RequestKind
from gateway.rules.issuing import account_number, pan_for
from gateway.settings import load_settings
from gateway.simulator.wallet import TestCard, Wallet
from gateway.store import database
from keys.keytypes import KeyState
from keys.sensitive import Pan, Pin
from tests.gateway.cli.shell import Shell
from tests.gateway.owner import as_owner
from tests.gateway.rites import BUDI, SITI, ZPK
from tests.gateway.till import Till

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from tests.servers import TestServer

CELLS, EXPIRES = 16, date(2099, 12, 31)
RIGHT, WRONG = Pin("204817"), Pin("314159")
COMPONENTS = (bytes(range(16)), bytes(range(50, 66)))
STATES = ("ACTIVE", "PIN_LOCKED", "BLOCKED", "LOST", "ORDERED", "HANDED_OVER", "ACTIVE")
WITHOUT_PIN = ("ORDERED", "HANDED_OVER")
PANS = [Pan(pan_for("601301", number)) for number in range(1, len(STATES) + 1)]


@pytest.fixture
def settings(server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of a bank on an empty database, for this process and its commands."""
    server._sql("CREATE DATABASE kks_of_0003")
    url = server.server.database_url("kks_of_0003")
    monkeypatch.setenv("KKS_DATABASE_URL", url)
    monkeypatch.setenv("KKS_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("KKS_LOG_LEVEL", "error")
    yield load_settings()
    server.drop_database(url)


def test_cards_of_before_hang_on_the_first_version(settings: Settings, tmp_path: Path) -> None:
    """Whatever offset there was is of version 1, and its PIN is right as before; then the key is rotated beside them."""
    shell = Shell(tmp_path)
    asyncio.run(_fill(settings))
    newest = ScriptDirectory.from_config(database._config()).get_current_head()
    wants = f"the schema is at 0003, this version wants {newest}: run `kks db migrate`"
    assert wants == shell.refused("card", "pins")
    assert (newest, True) == tuple(shell.json("db", "migrate")[name] for name in ("current", "up_to_date"))
    assert [{"key": f"{PIN_LABEL}#1", "state": "ACTIVE", "cards": 4}] == shell.json("card", "pins")["pins"]
    asyncio.run(_go_on(settings))


async def _fill(settings: Settings) -> None:
    """The schema of 0003 and a card in each state of STATES, those with a PIN as the gateway of that time kept it."""
    hsm = open_keystore(settings)
    vault, zpk, pvk = vault_of(hsm), hsm.form(ZPK, "zpk", COMPONENTS), bank_keys(hsm).pin_verification
    opened = await database.open_database(settings, migrated=False)
    async with opened.engine.begin() as connection:
        await connection.run_sync(_schema_of_before)
        await connection.execute(text(BATCH))
        for number, (state, pan) in enumerate(zip(STATES, PANS, strict=True), 1):
            offset = hsm.choose_pin(hsm.encipher_pin(RIGHT, zpk, pan), zpk, pvk, pan, None)
            values = {
                "n": number, "cell": number % CELLS, "number": account_number("BRI", "0014", number), "state": state,
                "pan": vault.seal(pan.reveal(), table="card", row=number, column="pan"), "expires": EXPIRES,
                "pan_index": vault.index(pan.reveal(), "pan"), "person": vault.index(str(number), "nik"),
                "offset": None if state in WITHOUT_PIN else offset, "tries": 0 if state == "PIN_LOCKED" else 3,
            }  # fmt: skip
            for statement in (ACCOUNT, FAMILY, CARD):
                known = {name: value for name, value in values.items() if f":{name}" in statement}
                await connection.execute(text(statement), known)
    await opened.close()


def _schema_of_before(connection: Connection) -> None:
    config = database._config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0003")


async def _go_on(settings: Settings) -> None:
    """The migrated bank answers, rotates its key, and loses the old one."""
    async with open_bank(settings) as bank:
        found = await as_owner(bank, "SELECT state, pin_key_version FROM card ORDER BY id")
        assert [(state, None if state in WITHOUT_PIN else 1) for state in STATES] == [tuple(row) for row in found]
        default = (
            "SELECT column_default, is_nullable FROM information_schema.columns WHERE column_name = 'pin_key_version'"
        )
        assert (None, "YES") == tuple((await as_owner(bank, default))[0])
        before = ["APPROVED", "PIN_TRIES_EXCEEDED", "CARD_BLOCKED", "CARD_LOST", *["CARD_NOT_ACTIVE"] * 2, "APPROVED"]
        assert before == await _told(bank, RIGHT)
        assert ["PIN_WRONG", *before[1:6], "PIN_WRONG"] == await _told(bank, WRONG)
        await ceremony.rotate(bank, SITI, PIN_LABEL)
        await ceremony.activate(bank, BUDI, f"{PIN_LABEL}#2", None)
        assert before == await _told(bank, RIGHT)
        shown = [PinKey(f"{PIN_LABEL}#1", "ACTIVE", 4), PinKey(f"{PIN_LABEL}#2", "ACTIVE", 0)]
        assert shown == await pin_keys.overview(bank)
        lost = await ceremony.change_state(bank, SITI, "compromise", f"{PIN_LABEL}#1")
        assert KeyState.COMPROMISED is lost.state
        assert ["PIN_VOID", *before[1:6], "PIN_VOID"] == await _told(bank, RIGHT)


async def _told(bank: Bank, pin: Pin) -> list[str]:
    """Each card asks for its balance: why it is told what it is told."""
    cards = tuple(TestCard(pan, pin, EXPIRES, "", "") for pan in PANS)
    lanes = Lanes(bank)
    await lanes.start()
    till = Till(bank, lanes, [], Wallet(cards, "zpk", COMPONENTS), _stan=next(STANS))
    asked = [await till.ask(RequestKind.BALANCE, 0, card=place) for place in range(len(PANS))]
    await lanes.close()
    return [str(one.outcome.reason) for one in asked]


STANS = iter(range(0, 1000, 100))
BATCH = """
    INSERT INTO kpm_batch (sk_no, sk_date, file_name, file_sha256, header, state, maker, business_date)
    VALUES ('SK', '2026-11-01', 'x', '1', '{NIK,NAMA}', 'DONE', 'maker', '2026-11-01')
"""
ACCOUNT = "INSERT INTO account VALUES (:cell, :n, :number, 'ACTIVE', '0014', '1271071008', 'SITI', '2026-11-01')"
FAMILY = """
    INSERT INTO family (id, cell, nik, nik_index, no_kk, kk_index, name, birth_place, birth_date, sex, address, rt, rw, phone,
                        dtsen_id, batch_id, line)
    VALUES (CAST(:n AS bigint), :cell, 'x', :person, 'x', :person, 'SITI', 'x', '1990-01-01', 'P', 'x', '', '', '', '', 1,
            CAST(:n AS bigint))
"""
CARD = """
    INSERT INTO card (cell, account_id, id, pan, pan_index, pan_masked, expires_on, state, pin_offset, pin_tries_left,
                      ordered_on, ktp_seen, kk_seen, handed_over_at)
    VALUES (:cell, :n, :n, :pan, :pan_index, 'x', :expires, :state, :offset, :tries, '2026-11-01', true, true, now())
"""
