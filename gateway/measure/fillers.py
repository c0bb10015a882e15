"""Families that are there and never asked: set-based SQL makes many out of each real one, so a bank of millions is made quickly.

Each real family is copied with its account, card, tranche, credit and SI row; ids, keys and numbers are the copy's own, sealed
texts are the original's and open for the original alone. Real families keep their ids, STEP apart, and every table is written
anew in the order of ids: what is asked afterwards lies as far apart as it would in a bank where everyone is asked. The copies
have their own list and their own SI with its SP2D, so the bank's proofs hold. Read next: workbench.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import GatewayError
from gateway.rules.issuing import SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from gateway.operations.bank import Bank

ROWS_AT_ONCE = 200_000
FIRST_ID = 1
STAGING = "furnish"
# Written anew, in two hands that work side by side: the first with its triggers (they make the purses), the second without.
WITH_TRIGGERS = ("tranche", "transfer")
WITHOUT_TRIGGERS = ("account", "card", "family", "enrolment", "si_row")
TABLES = (*WITH_TRIGGERS, *WITHOUT_TRIGGERS)
SEQUENCES = {
    "family_id_seq": "family",
    "card_id_seq": "card",
    "tranche_id_seq": "tranche",
    "transfer_id_seq": "transfer",
}


def step_for(accounts: int, real_max: int) -> int:
    """How far apart real families stand: odd, so that they fall into all cells; 1 where all are real."""
    step = -(-accounts // real_max)
    return step + 1 - step % 2 if step > 1 else 1


async def spread_ids(bank: Bank, step: int) -> None:
    """Families opened from now on get ids STEP apart."""
    await _as_owner(bank, [f"ALTER SEQUENCE family_id_seq INCREMENT BY {step}"])


async def multiply(bank: Bank, accounts: int, step: int, say: Callable[[str], None]) -> None:
    """Fill the ids between the real families, up to ACCOUNTS. Only on a bank that has one list and one posted SI.

    Raises GatewayError where the real families do not stand STEP apart.
    """
    engine = create_async_engine(bank.database.url, pool_size=2, connect_args={"server_settings": {"jit": "off"}})
    try:
        async with engine.begin() as connection:
            await _check_spread(connection, step)
            say("taking the real families aside")
            indexes = await _set_aside(connection)
            copies = await _list_and_si(connection, accounts, step)
        say("writing every table anew, real families and copies in the order of their ids")
        expressions = _expressions(bank, copies)
        await asyncio.gather(
            _write(engine, WITH_TRIGGERS, expressions, accounts, step, triggers=True),
            _write(engine, WITHOUT_TRIGGERS, expressions, accounts, step, triggers=False),
        )
        say("making the indexes")
        await asyncio.gather(*(_make(engine, indexes[half::2]) for half in (0, 1)))
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA {STAGING} CASCADE"))
            for sequence, table in SEQUENCES.items():
                await connection.execute(text(f"ALTER SEQUENCE {sequence} INCREMENT BY 1"))
                await connection.execute(text(f"SELECT setval('{sequence}', (SELECT max(id) FROM {table}))"))
    finally:
        await engine.dispose()


async def _check_spread(connection: AsyncConnection, step: int) -> None:
    wrong = (await connection.execute(NOT_SPREAD, {"first": FIRST_ID, "step": step})).scalar_one()
    if wrong:
        raise GatewayError(f"{wrong} of the real families have ids that are not {step} apart")


async def _set_aside(connection: AsyncConnection) -> list[str]:
    """Copy the real rows, empty the tables, take their indexes away. Returns what makes the indexes again."""
    await connection.execute(text(f"CREATE SCHEMA {STAGING}"))
    for table in TABLES:
        await connection.execute(text(f"CREATE UNLOGGED TABLE {STAGING}.{table} AS TABLE {table}"))
    for table, key in STAGED_KEYS.items():
        await connection.execute(text(f"CREATE INDEX ON {STAGING}.{table} ({key})"))
        await connection.execute(text(f"ANALYZE {STAGING}.{table}"))
    make: list[str] = []
    for row in list(await connection.execute(INDEXES, {"tables": list(TABLES)})):
        if row.constraint:
            make.append(f"ALTER TABLE {row.table} ADD CONSTRAINT {row.name} {row.constraint}")
            await connection.execute(text(f"ALTER TABLE {row.table} DROP CONSTRAINT {row.name}"))
        else:
            make.append(row.definition.replace(" ON ONLY ", " ON "))
            await connection.execute(text(f"DROP INDEX {row.name}"))
    await connection.execute(
        text("SET LOCAL session_replication_role = replica")
    )  # the journal may not be emptied otherwise
    await connection.execute(text(f"TRUNCATE {', '.join(TABLES)}, purse"))
    await connection.execute(text("SET LOCAL session_replication_role = origin"))
    await connection.execute(text(f"INSERT INTO transfer SELECT * FROM {STAGING}.transfer WHERE account_id = 0"))
    return make


async def _list_and_si(connection: AsyncConnection, accounts: int, step: int) -> dict[str, int]:
    """The copies' own list, SP2D and SI, with the transfer that funds it. Returns the new ids, and where copies' ids begin."""
    row = (await connection.execute(COPIED, {"accounts": accounts, "step": step})).one()
    values = {"rows": row.rows, "amount": row.amount, "rows_enrolled": row.families}
    batch = (await connection.execute(BATCH_OF_COPIES, values)).scalar_one()
    await connection.execute(SP2D_OF_COPIES, values)
    si = (await connection.execute(SI_OF_COPIES, values)).scalar_one()
    ids = dict((await connection.execute(HIGHEST)).one()._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    await connection.execute(FUNDING_OF_COPIES, {"si": si, "amount": row.amount, "id": ids["transfer"] + 1})
    return {"batch": int(batch), "si": int(si), **{name: int(value) + 1 for name, value in ids.items()}}


def _expressions(bank: Bank, copies: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """By table: which columns of a copy are not those of its original. `r` is the original's row, `n` the copy's account id."""
    number = account_number_sql(bank.row.name, "n")
    cell = f"(n % {bank.row.cells})::smallint"
    return {
        "family": {
            "id": "n", "cell": cell, "nik_index": key_sql("nik"), "kk_index": key_sql("kk"), "person_index": key_sql("person"),
            "batch_id": str(copies["batch"]), "line": "n::int",
        },
        "enrolment": {"family_id": "n", "batch_id": str(copies["batch"])},
        "account": {"cell": cell, "id": "n", "number": number.format("r.number")},
        "card": {
            "cell": cell, "account_id": "n", "id": f"{copies['card']} + n", "pan_index": key_sql("pan"),
            "handed_over_by": "'copy'",
        },
        "tranche": {
            "cell": cell, "account_id": "n", "id": f"{copies['tranche']} + n", "si_id": str(copies["si"]), "si_line": "n::int",
            "sp2d_no": "'SP2D-COPIES'",
        },
        "transfer": {
            "cell": cell, "account_id": "n", "id": f"{copies['transfer']} + n", "credit": "n * 10000 + r.credit % 10000",
            "source_id": str(copies["si"]), "tranche_id": f"{copies['tranche']} + n",
        },
        "si_row": {
            "si_id": str(copies["si"]), "line": "n::int", "cell": cell, "account_id": "n",
            "account_number": number.format("r.account_number"), "tranche_id": f"{copies['tranche']} + n",
        },
    }  # fmt: skip


async def _write(
    engine: AsyncEngine, tables: Sequence[str], expressions: Mapping[str, Mapping[str, str]], accounts: int, step: int,
    *, triggers: bool,
) -> None:  # fmt: skip
    """Write some tables, a span of ids at a time, each span a transaction."""
    span = max(1, ROWS_AT_ONCE // step) * step
    for table in tables:
        async with engine.connect() as connection:
            columns = list((await connection.execute(COLUMNS, {"table": table})).scalars())
        own = expressions[table]
        chosen = [
            f"CASE WHEN k = 0 THEN r.{name} ELSE {own[name]} END" if name in own else f"r.{name}" for name in columns
        ]
        key = ACCOUNT_OF[table]
        statement = text(f"""
            INSERT INTO {table} ({", ".join(columns)})
            SELECT {", ".join(chosen)}
            FROM {FROM.get(table, f"{STAGING}.{table} r")}, generate_series(0, {step - 1}) k, LATERAL (SELECT {key} + k AS n) c
            WHERE {key} BETWEEN :low AND :high AND n <= :accounts ORDER BY c.n
        """)
        for low in range(FIRST_ID, accounts + 1, span):
            async with engine.begin() as connection:
                if not triggers:
                    await connection.execute(text("SET LOCAL session_replication_role = replica"))
                await connection.execute(statement, {"low": low, "high": low + span - 1, "accounts": accounts})


async def _make(engine: AsyncEngine, statements: Sequence[str]) -> None:
    """Make some of the indexes, one after the other."""
    for statement in statements:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
            await connection.execute(text(statement))


async def _as_owner(bank: Bank, statements: Sequence[str]) -> None:
    engine = create_async_engine(bank.database.url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


def key_sql(purpose: str) -> str:
    """16 bytes of the copy's own, as random as a keyed hash."""
    return f"decode(md5('{purpose}' || n), 'hex')"


def account_number_sql(bank: str, account: str) -> str:
    """SQL for gateway.rules.issuing.account_number: the branch's digits of another number (put in for {}), serial, Luhn digit."""
    shape = SHAPES[bank]
    serial = shape.length - shape.branch_digits - 1
    body = f"(left({{0}}, {shape.branch_digits}) || lpad(({account})::text, {serial}, '0'))"
    doubled = []
    for place in range(shape.length - 1):  # from the right; the first is doubled
        digit = f"({body}::bigint / {10**place} % 10)"
        doubled.append(f"(2 * {digit} - 9 * ({digit} / 5))" if place % 2 == 0 else digit)
    return f"{body} || ((10 - ({' + '.join(doubled)}) % 10) % 10)"


ACCOUNT_OF = {"family": "r.id", "account": "r.id", "enrolment": "r.family_id", "card": "r.account_id", "tranche": "r.account_id",
              "transfer": "r.account_id", "si_row": "t.account_id"}  # fmt: skip
STAGED_KEYS = {"family": "id", "account": "id", "enrolment": "family_id", "card": "account_id", "tranche": "account_id",
               "transfer": "account_id", "si_row": "si_id, line"}  # fmt: skip
FROM = {"si_row": f"{STAGING}.tranche t JOIN {STAGING}.si_row r ON r.si_id = t.si_id AND r.line = t.si_line"}
NOT_SPREAD = text("SELECT count(*) FROM account WHERE (id - :first) % :step <> 0")
COLUMNS = text("""
    SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")
INDEXES = text("""
    SELECT i.indrelid::regclass::text AS table, i.indexrelid::regclass::text AS name,
           pg_get_indexdef(i.indexrelid) AS definition,
           (SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c
            WHERE c.conindid = i.indexrelid AND c.contype = 'u') AS constraint
    FROM pg_index i WHERE i.indrelid::regclass::text = ANY (:tables) AND NOT i.indisprimary ORDER BY 1, 2
""")
COPIED = text(f"""
    SELECT count(*) AS families, count(t.account_id) AS rows, coalesce(sum(t.amount_idr), 0)::bigint AS amount
    FROM {STAGING}.account a CROSS JOIN generate_series(1, :step - 1) k LEFT JOIN {STAGING}.tranche t ON t.account_id = a.id
    WHERE a.id + k <= :accounts
""")
BATCH_OF_COPIES = text("""
    INSERT INTO kpm_batch (sk_no, sk_date, file_name, file_sha256, header, state, rows, accepted, maker, checker, business_date,
                           decided_at)
    SELECT 'SK-COPIES', sk_date, 'copies', 'copies', header, state, :rows_enrolled, :rows_enrolled, maker, checker, business_date,
           now()
    FROM kpm_batch ORDER BY id LIMIT 1 RETURNING id
""")
SP2D_OF_COPIES = text("""
    INSERT INTO sp2d (no, sp2d_date, amount_idr) SELECT 'SP2D-COPIES', sp2d_date, :amount FROM sp2d LIMIT 1
""")
SI_OF_COPIES = text("""
    INSERT INTO si (si_no, sp2d_no, file_name, file_sha256, header, rows, amount_idr, state, maker, checker, business_date,
                    decided_at)
    SELECT 'SI-COPIES', 'SP2D-COPIES', 'copies', 'copies', header, :rows, :amount, state, maker, checker, business_date, now()
    FROM si WHERE :rows_enrolled > 0 ORDER BY id LIMIT 1 RETURNING id
""")
FUNDING_OF_COPIES = text("""
    INSERT INTO transfer (cell, account_id, id, debit, credit, amount_idr, kind, source, source_id, business_date)
    SELECT cell, account_id, :id, debit, credit, :amount, kind, source, :si, business_date FROM transfer
    WHERE kind = 'FUND' LIMIT 1
""")
HIGHEST = text(f"""
    SELECT (SELECT max(id) FROM {STAGING}.card) AS card, (SELECT max(id) FROM {STAGING}.tranche) AS tranche,
           (SELECT max(id) FROM {STAGING}.transfer) AS transfer
""")
