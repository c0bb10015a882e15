"""Tests of gateway.store.sealed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.store import sealed
from gateway.store.sealed import SEALED, Change
from tests.gateway.lived_in import FAMILIES, PLACES, columns_under, live_in, rotate
from tests.gateway.owner import as_owner, one_value
from tests.gateway.world import open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

TABLES = {table.name: table for table in SEALED}
PREFIX = b"\x01" + bytes(8)


async def test_every_sealed_column_is_named(bank: Bank, tmp_path: Path) -> None:
    """A bank in which every list of the kind, card and family stands: sealed bytes are in no column that is not named.

    A column that is sealed and not in SEALED fails here, as one that nothing fills (tests/gateway/lived_in.py) does.
    """
    await live_in(bank, tmp_path)
    assert PLACES == await columns_under(bank, bank.vault.sealing_key)
    named = {f"{one.table_name}.{one.column_name}" for one in await as_owner(bank, SEALED_BY_COMMENT)}
    assert set() == named - PLACES


async def test_values_are_counted_by_how_they_begin(bank: Bank, tmp_path: Path) -> None:
    """By column and prefix; an empty column has none, and bytes that are too short are counted as they are."""
    await open_families(bank, tmp_path, FAMILIES)
    await as_owner(bank, "UPDATE family SET no_kk = 'x' WHERE id = (SELECT min(id) FROM family)")
    await as_owner(bank, "UPDATE family SET mother_name = NULL")
    current = bank.vault.current
    async with bank.database.engine.connect() as connection:
        found = await sealed.count_by_prefix(connection, TABLES["family"])
    assert {
        "family.nik": {current: FAMILIES},
        "family.no_kk": {current: FAMILIES - 1, b"x": 1},
        "family.mother_name": {},
    } == found


async def test_rows_come_by_key_a_batch_at_a_time(bank: Bank, tmp_path: Path) -> None:
    """Only those with a value under another prefix, only that value, each once; also where the key has several columns."""
    await live_in(bank, tmp_path)
    for name, whole in TABLES.items():
        table = replace(whole, batch=1)
        seen = []
        after = None
        async with bank.database.engine.connect() as connection:
            assert [] == await sealed.not_under(connection, table, bank.vault.current)
            while rows := await sealed.not_under(connection, table, PREFIX, after):
                assert 1 == len(rows)
                after = rows[0].key
                seen.append(after)
        count = " OR ".join(f"{column} IS NOT NULL" for column in table.columns)
        assert await one_value(bank, f"SELECT count(*) FROM {name} WHERE {count}") == len(seen), name
        assert sorted(set(seen)) == seen
    await as_owner(bank, "UPDATE family SET no_kk = 'x' WHERE id = (SELECT max(id) FROM family)")
    async with bank.database.engine.connect() as connection:
        (row,) = await sealed.not_under(connection, TABLES["family"], bank.vault.current)
    assert (None, b"x", None) == row.values
    assert str(row.key[0]) == row.place


async def test_a_value_is_put_where_the_old_one_still_is(bank: Bank, tmp_path: Path) -> None:
    """A row that was changed since it was read stays as it is, one that is locked too, and neither is waited for."""
    await open_families(bank, tmp_path, 3)
    table = TABLES["family"]
    engine = bank.database.engine
    async with engine.connect() as connection:
        rows = await sealed.not_under(connection, table, PREFIX)
    changes = [Change(row, (b"new", None, b"mother")) for row in rows]
    changed, locked, free = (row.key[0] for row in rows)
    await as_owner(bank, "UPDATE family SET mother_name = 'theirs' WHERE id = :id", id=changed)
    async with engine.begin() as other:
        await other.execute(text("SELECT 1 FROM family WHERE id = :id FOR UPDATE"), {"id": locked})
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert {(free,)} == await sealed.put(connection, table, changes)
    found = {row.id: row for row in await as_owner(bank, "SELECT id, nik, no_kk, mother_name FROM family")}
    assert (rows[0].values[0], b"theirs") == (found[changed].nik, found[changed].mother_name)
    assert rows[1].values == tuple(found[locked])[1:]
    assert (b"new", rows[2].values[1], b"mother") == tuple(found[free])[1:]


async def test_a_writer_is_seen_until_it_ends(bank: Bank) -> None:
    """One that began before is under way until it commits; one that began afterwards is none of these."""
    engine = bank.database.engine
    async with engine.connect() as connection:
        async with engine.begin() as writer:
            await writer.execute(text("SELECT pg_current_xact_id()"))
            newest = await sealed.newest_writer(connection)
            await connection.rollback()
            assert await sealed.writers_before(connection, newest)
            await connection.rollback()
        async with engine.begin() as later:
            await later.execute(text("SELECT pg_current_xact_id()"))
            assert not await sealed.writers_before(connection, newest)


async def test_a_rotated_key_leaves_what_was_sealed(bank: Bank, tmp_path: Path) -> None:
    """The bytes that begin a value are those of the key it was sealed with, not of the newest."""
    await open_families(bank, tmp_path, 2)
    old = bank.vault.current
    rotate(bank.hsm)
    bank.vault.refresh()
    async with bank.database.engine.connect() as connection:
        assert {"card.pan": {old: 2}} == await sealed.count_by_prefix(connection, TABLES["card"])
    assert old != bank.vault.current


SEALED_BY_COMMENT = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND data_type = 'bytea' AND column_name IN ('record', 'family_record', 'staged', 'pan', 'nik',
          'no_kk', 'mother_name')
"""
