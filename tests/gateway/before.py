"""A bank as it was before lists were kept in chunks (schema 0001): rows sealed one by one, then migrated."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic import command
from sqlalchemy import text

from gateway.app import open_keystore
from gateway.operations.custody import vault_of
from gateway.rules.issuing import account_number
from gateway.settings import load_settings
from gateway.store import database

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.settings import Settings
    from keys.vault import Vault
    from tests.servers import TestServer

NAMES = ("SITI AMINAH", "BUDI LUBIS", "RINA PANE", "AGUS POHAN")
HEADER = ["NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL", "KODE_WILAYAH"]
FINDING = {"code": "NIK_INVALID", "column": "NIK", "shown": "12***", "mend": "write it", "severity": "ERROR"}
AMOUNT_IDR = 200_000
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Before:
    """The settings of that bank, and the rows of its SI as they stood in the file."""

    settings: Settings
    rows: list[list[str]]


async def bank_before(server: TestServer, folder: Path) -> Before:
    """Four families with accounts; an SI of four rows and a wrong one, whose first row is credited; a KPM list of two rows."""
    name = f"kks_before_{next(_numbers)}"
    server._sql(f'CREATE DATABASE "{name}"')
    url = server.server.database_url(name)
    settings = load_settings(database_url=url, data_dir=folder / "before", iso_port=0, http_port=0, log_level="error")
    hsm = open_keystore(settings)
    vault = vault_of(hsm)
    opened = await database.open_database(settings, migrated=False)
    rows = [
        [f"127107411290{n:04}", account_number("BRI", "0014", n), name, "SEMBAKO", "2026-T4", "2026-10", str(AMOUNT_IDR),
         "1271071008"]
        for n, name in enumerate(NAMES, 1)
    ]  # fmt: skip
    rows.append([*rows[0][:4], "nonsense", *rows[0][5:]])
    async with opened.engine.begin() as connection:
        await connection.run_sync(_first_schema)
        await _fill(connection, vault, rows)
    await database.migrate(opened.engine)
    await opened.close()
    return Before(settings, rows)


def _first_schema(connection: Connection) -> None:
    config = database._config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def _fill(connection: AsyncConnection, vault: Vault, rows: list[list[str]]) -> None:
    async def run(statement: str, **values: Any) -> None:  # noqa: ANN401 - column values
        await connection.execute(text(statement), values)

    await run("INSERT INTO bank (name, card_bin, cells, lanes) VALUES ('BRI', '601301', 16, 2)")
    await run(
        "INSERT INTO programme (number, code, name, purse, valid_from) VALUES (2, 'SEMBAKO', 'x', 'FOOD', '2020-01-01')"
    )
    await run("""INSERT INTO kpm_batch (sk_no, sk_date, file_name, file_sha256, header, state, maker, business_date)
                 SELECT 'SK', '2026-11-01', 'x', n, '{NIK,NAMA}', s, 'maker', '2026-11-01'
                 FROM (VALUES ('1', 'DONE'), ('2', 'PROPOSED')) v (n, s)""")
    for number, row in enumerate(rows[:4], 1):
        index = vault.index(row[0], "nik")
        await run("INSERT INTO account VALUES (:c, :n, :number, 'ACTIVE', '0014', '1271071008', :name, '2026-11-01')",
                  c=number % 16, n=number, number=row[1], name=row[2])  # fmt: skip
        await run("""
            INSERT INTO family VALUES (CAST(:n AS bigint), :c, 'x', :i, 'x', :i, NULL, NULL, :name, 'x', '1990-01-01', 'P', 'x',
                                       '', '', '', '', 1, CAST(:n AS bigint))
        """, n=number, c=number % 16, i=index, name=row[2])  # fmt: skip
    await run("INSERT INTO sp2d VALUES ('SP2D-1', '2026-11-01', 1000000)")
    await run("""INSERT INTO si (si_no, sp2d_no, file_name, file_sha256, header, rows, amount_idr, state, maker, checker,
                     business_date)
                 VALUES ('SI-1', 'SP2D-1', 'x', '1', :header, 5, 1000000, 'POSTING', 'maker', 'checker', '2026-11-01')""",
              header=HEADER)  # fmt: skip
    for line, row in enumerate(rows, 2):
        record = vault.seal(json.dumps({"row": row}), table="si_row", row=f"1:{line}", column="record")
        good = line < 6
        await run("""INSERT INTO si_row VALUES (1, :line, :record, :i, :number, :name, :p, :stage, :months, 200000, :state,
                     :reason, :t)""",
                  line=line, record=record, i=vault.index(row[0], "nik") if good else None, number=row[1] if good else None,
                  name=row[2] if good else None, p="SEMBAKO" if good else None, stage=row[4] if good else None,
                  months=["2026-10"] if good else None, state="TOPUP_SUKSES" if line == 2 else "WAITING",
                  reason=None if good else "ROW_INVALID: STAGE_INVALID", t=1 if line == 2 else None)  # fmt: skip
    await run("""INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id,
                     tranche_id, business_date)
                 VALUES (0, 0, 1, 1000, 2002, 800000, 'FUND', 'si', 1, NULL, '2026-11-01'),
                        (0, 0, 2, 1000, 2000, 200000, 'FUND', 'si', 1, NULL, '2026-11-01'),
                        (1, 1, 3, 2002, 10020, 200000, 'CREDIT', 'si', 1, 1, '2026-11-01')""")
    await run("INSERT INTO purse VALUES (1, 1, 2, 200000, 0, 0)")
    await run("""INSERT INTO tranche (cell, account_id, id, programme, stage, months, si_id, si_line, sp2d_no, region,
                     credited_on,
                                      clock_from, amount_idr, available_idr, state)
                 VALUES (1, 1, 1, 2, '2026-T4', '{2026-10}', 1, 2, 'SP2D-1', '1271071008', '2026-11-01', '2026-11-01',
                     200000, 200000,
                         'OPEN')""")
    await run("SELECT setval('transfer_id_seq', 10), setval('tranche_id_seq', 10), setval('family_id_seq', 10)")
    await _kpm_rows(connection, vault)


async def _kpm_rows(connection: AsyncConnection, vault: Vault) -> None:
    family = {
        "nik": "1271074112900099", "no_kk": "1271070101080099", "name": "DEWI UTAMI", "birth_place": "MEDAN",
        "birth_date": "1990-12-01", "sex": "P", "mother_name": "NGATIYEM", "address": "JL. A", "rt": "001", "rw": "002",
        "region": "1271071008", "phone": "", "dtsen_id": "", "programmes": ["SEMBAKO"], "components": {}, "branch": "0014",
    }  # fmt: skip
    for line, state, record in (
        (2, "ACCEPTED", {"row": [family["nik"], family["name"]], "family": family}),
        (3, "REJECTED", {"row": ["12", "X"]}),
    ):
        good = state == "ACCEPTED"
        values = {
            "line": line, "state": state,
            "record": vault.seal(json.dumps(record), table="kpm_row", row=f"2:{line}", column="record"),
            "n": vault.index(str(family["nik"]), "nik") if good else None, "k": vault.index("kk", "no_kk") if good else None,
            "p": vault.index("person", "person") if good else None, "programmes": ["SEMBAKO"] if good else [],
            "findings": "[]" if good else json.dumps([FINDING]),
        }  # fmt: skip
        await connection.execute(text("""
            INSERT INTO kpm_row (batch_id, line, state, record, nik_index, kk_index, person_index, programmes, findings)
            VALUES (2, :line, :state, :record, :n, :k, :p, :programmes, CAST(:findings AS jsonb))
        """), values)  # fmt: skip
