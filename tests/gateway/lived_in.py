"""A bank with something in every sealed column, its sealing key rotated, and all that is sealed opened again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations import instruction, kpm, outgoing
from gateway.operations.bank import reading, transaction
from gateway.operations.custody import INDEX_LABEL, SEALING_LABEL
from gateway.store.audit import Operation
from gateway.store.sealed import SEALED
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.vault import VERSION, Vault, key_id
from tests.gateway.lists import good_rows, write_rows
from tests.gateway.owner import as_owner
from tests.gateway.world import MAKER, activate, credit, open_families, write_si

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.simulator.wallet import Wallet
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

FAMILIES = 6
WAITING_LIST, WAITING_SI = 2, "SI-2"
PLACES = {place for table in SEALED for place in table.places}
Opened = dict[tuple[str, str], bytes]


async def live_in(bank: Bank, folder: Path) -> Wallet:
    """Families with cards and money; a list and an SI that wait for approval; and rows as they were before there were chunks."""
    families = await open_families(bank, folder, FAMILIES)
    wallet = await activate(bank, families)
    await credit(bank, folder, families)
    async with transaction(bank, MAKER) as tx:
        for holder in families[:2]:
            message = Message("0302", {2: holder.pan.reveal(), 60: "3000", 91: "1", 101: "HOTLIST"})
            await outgoing.queue(
                bank, tx, "himbara", message, outgoing.About(f"card {holder.card_id}", "hot list: add, 3000")
            )
        await tx.record(Operation.CARD_EVENT, "cards")
    path = write_rows(folder / "waiting.csv", good_rows(folder, 2 * FAMILIES)[FAMILIES:])
    waiting = await kpm.import_list(bank, MAKER, path, "SK-2", bank.business_date)
    assert WAITING_LIST == waiting.batch
    one = families[0]
    row = [one.nik, one.account_number, one.name, "SEMBAKO", "2027-T1", "2027-01", "200000", one.region]
    sp2d = instruction.Sp2d("SP2D-SI-2", bank.business_date, 200_000)
    await instruction.import_instruction(bank, MAKER, write_si(folder / "waiting-si.csv", [row]), WAITING_SI, sp2d)
    for table, key in (("kpm_row", "batch_id"), ("si_row", "si_id")):
        for line in (2, 3):
            record = bank.vault.seal(json.dumps({"row": [line]}), table=table, row=f"1:{line}", column="record")
            statement = f"UPDATE {table} SET record = :record WHERE {key} = 1 AND line = :line"
            await as_owner(bank, statement, record=record, line=line)
    return wallet


def rotate(hsm: Hsm) -> KeyHandle:
    """A new version of the sealing key."""
    return hsm.generate(KeyUsage.DATA_SEALING, SEALING_LABEL)


def vault_under(bank: Bank, *keys: KeyHandle) -> Vault:
    """A vault that knows these sealing keys and no other."""
    return Vault(bank.hsm, keys, bank.hsm.find(INDEX_LABEL))


async def all_opened(bank: Bank, vault: Vault) -> Opened:
    """Every sealed value, opened: by table.column and row."""
    found: Opened = {}
    async with reading(bank) as connection:
        for table in SEALED:
            for place, column in zip(table.places, table.columns, strict=True):
                key = " || ':' || ".join(f"CAST({name} AS text)" for name in table.key)
                statement = f"SELECT {key} AS row, {column} AS value FROM {table.name} WHERE {column} IS NOT NULL"
                for one in await connection.execute(text(statement)):
                    opened = vault.open_bytes(bytes(one.value), table=table.name, row=one.row, column=column)
                    found[place, one.row] = opened
    return found


async def columns_under(bank: Bank, key: KeyHandle) -> set[str]:
    """Every column of the whole database, as table.column, in which some bytes begin as what a key sealed does."""
    columns = await as_owner(bank, BYTEA_COLUMNS)
    prefix = VERSION + key_id(key)
    found = set()
    for name, column in columns:
        statement = f'SELECT 1 FROM "{name}" WHERE substring("{column}" FROM 1 FOR 9) = :prefix LIMIT 1'
        if await as_owner(bank, statement, prefix=prefix):
            found.add(f"{name}.{column}")
    return found


BYTEA_COLUMNS = """
    SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm') AND a.atttypid = 'bytea'::regtype
      AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2
"""
