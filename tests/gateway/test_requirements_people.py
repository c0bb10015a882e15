"""The security requirements of people and of the record (17, 18): two for every deed, and nothing of it changed unseen.

Read next: docs/threat-model.md; gateway/operations/ceremony.py, gateway/operations/proof.py.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import GatewayError
from gateway.operations import ceremony, correction, dormancy, instruction, kpm, proof, settlement
from gateway.operations.bank import reading
from gateway.operations.custody import AUDIT_LABEL, PIN_LABEL, SEALING_LABEL
from gateway.operations.proof import ROOTS_FILE
from gateway.rules.authorise import RequestKind
from gateway.simulator.families import write_kpm_list
from gateway.store import audit
from keys import rsa_keys
from keys.keytypes import Algorithm, KeySpec, KeyUsage
from tests.gateway.cage import tables
from tests.gateway.owner import as_owner, one_value, tamper
from tests.gateway.rites import FIRST, SECOND, ZMK, ZPK, new_zmk, new_zpk
from tests.gateway.street import assert_proved, open_street
from tests.gateway.till import open_till
from tests.gateway.world import credit, open_families, write_si

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank

SITI, BUDI = "siti", "budi"
SAME = ("siti", "SITI", " Siti", "siti ", "sItI")
"""One person, however the name is written."""


class Deed(NamedTuple):
    """What takes two people: the first half, by Siti, gives what the second half wants to know."""

    first: Callable[[Bank, Path], Awaitable[Any]]
    second: Callable[[Bank, Any, str], Awaitable[object]]


async def _made_key(bank: Bank, folder: Path) -> str:
    del folder
    return (await ceremony.generate(bank, SITI, "zpk", ZPK)).name


async def _imported_key(bank: Bank, folder: Path) -> str:
    del folder
    await new_zmk(bank)
    await new_zpk(bank)
    block = await ceremony.export_block(bank, BUDI, "zpk", "zmk")
    return (await ceremony.import_block(bank, SITI, "came", block, "zmk", None)).name


async def _imported_rsa_key(bank: Bank, folder: Path) -> str:
    del folder
    spec = KeySpec(KeyUsage.SIGNATURE, Algorithm.RSA)
    return (await ceremony.import_signing_key(bank, SITI, "snap", rsa_keys.public_of(rsa_keys.make(2048)), spec)).name


async def _retired_key(bank: Bank, folder: Path) -> str:
    del folder
    info = await new_zpk(bank)
    await ceremony.change_state(bank, SITI, "retire", info.name)
    return info.name


async def _first_component(bank: Bank, folder: Path) -> None:
    del folder
    await ceremony.enter_component(bank, SITI, "zmk", ZMK, 1, 2, FIRST)


async def _list(bank: Bank, folder: Path) -> int:
    path = folder / "list.csv"
    write_kpm_list(path, 3)
    return (await kpm.import_list(bank, SITI, path, "SK-1", bank.business_date)).batch


async def _si(bank: Bank, folder: Path) -> str:
    (one,) = await open_families(bank, folder, 1)
    row = [one.nik, one.account_number, one.name, "SEMBAKO", "2026-T4", "2026-10", "200000", one.region]
    sp2d = instruction.Sp2d("SP2D-1", bank.business_date, 200_000)
    await instruction.import_instruction(bank, SITI, write_si(folder / "si.csv", [row]), "SI-1", sp2d)
    return "SI-1"


async def _credited(bank: Bank, folder: Path) -> tuple[str, int]:
    (one,) = await open_families(bank, folder, 1)
    await credit(bank, folder, [one])
    return one.account_number, await one_value(bank, "SELECT max(id) FROM transfer WHERE kind = 'CREDIT'")


async def _blocked(bank: Bank, folder: Path) -> str:
    number, _ = await _credited(bank, folder)
    await as_owner(bank, "UPDATE tranche SET state = 'BLOCKED', blocked_on = credited_on")
    return number


async def _ordered_payment(bank: Bank, folder: Path) -> Any:  # noqa: ANN401 - link and date
    async with open_till(bank, folder) as till:
        assert (await till.ask(RequestKind.CASH, 50_000)).approved
        link, on = till.link, bank.business_date
        await till.next_day()
    await settlement.close_settlement(bank, BUDI, link, on)
    await settlement.order_payment(bank, SITI, link, on, "TRF-1")
    return link, on


def _rotated(label: str) -> Callable[[Bank, Path], Awaitable[str]]:
    async def first(bank: Bank, folder: Path) -> str:
        del folder
        return (await ceremony.rotate(bank, SITI, label)).name

    return first


def _activated(bank: Bank, key: str, who: str) -> Awaitable[object]:
    return ceremony.activate(bank, who, key, None)


DEEDS = {
    "a key made here, activated": Deed(_made_key, _activated),
    "a key of a partner, activated": Deed(_imported_key, _activated),
    "an RSA key, activated": Deed(_imported_rsa_key, _activated),
    "the audit key rotated, activated": Deed(_rotated(AUDIT_LABEL), _activated),
    "the sealing key rotated, activated": Deed(_rotated(SEALING_LABEL), _activated),
    "the PIN verification key rotated, activated": Deed(_rotated(PIN_LABEL), _activated),
    "a key ended, destroyed": Deed(
        _retired_key, lambda bank, key, who: ceremony.change_state(bank, who, "destroy", key)
    ),
    "a key of components": Deed(
        _first_component, lambda bank, _, who: ceremony.enter_component(bank, who, "zmk", ZMK, 2, 2, SECOND)
    ),
    "a list, approved": Deed(_list, lambda bank, batch, who: kpm.approve(bank, who, batch)),
    "a list, rejected": Deed(_list, lambda bank, batch, who: kpm.reject(bank, who, batch, "a reason")),
    "an SI, approved": Deed(_si, lambda bank, si, who: instruction.approve(bank, who, si)),
    "an SI, rejected": Deed(_si, lambda bank, si, who: instruction.reject(bank, who, si, "a reason")),
    "a credit, taken back": Deed(
        _credited, lambda bank, what, who: correction.take_back(bank, SITI, who, what[0], what[1], "a reason")
    ),
    "blocked aid, opened": Deed(
        _blocked, lambda bank, number, who: dormancy.unblock(bank, SITI, who, "letter", account_number=number)
    ),
    "a partner's payment": Deed(_ordered_payment, lambda bank, what, who: settlement.pay_settlement(bank, who, *what)),
}


@pytest.mark.parametrize("name", DEEDS)
async def test_requirement_17_the_maker_is_never_the_checker(bank: Bank, tmp_path: Path, name: str) -> None:
    """Key import and activation, destruction, lists, SI, corrections, unblocking, payments, audit key: two people for each.

    Whoever did the first half is refused the second, under his name in any spelling, and nothing comes of it; another is not.
    """
    first, second = DEEDS[name]
    known = await first(bank, tmp_path)
    before = await _effects(bank)
    for who in (*SAME, "", " "):
        with pytest.raises(GatewayError):
            await second(bank, known, who)
        assert before == await _effects(bank), who
    await second(bank, known, BUDI)
    assert before != await _effects(bank)
    actors = [
        f"{one.actor} {one.detail}"
        for one in await as_owner(bank, "SELECT actor, detail FROM audit_event ORDER BY seq")
    ]
    assert any(SITI in one for one in actors)
    assert any(BUDI in one for one in actors[-2:])
    await assert_proved(bank)


async def _effects(bank: Bank) -> tuple[dict[str, str], list[str]]:
    """Every table but the record of who tried what, and every key with its state."""
    found = {name: rows for name, rows in (await tables(bank)).items() if "audit" not in name}
    return found, [f"{info.name} {info.state}" for info in bank.hsm.keys()]  # noqa: SIM118 - no dictionary


async def test_requirement_17_the_database_holds_it_too(bank: Bank, tmp_path: Path) -> None:
    """Who comes by SQL as the service's role does not make one name both: lists, SI and corrections have it as a rule."""
    batch = await _list(bank, tmp_path)
    rules = await as_owner(bank, TWO_NAMES)
    assert {"kpm_batch", "si", "correction"} == {table for (table,) in rules}
    with pytest.raises(IntegrityError, match="checker"):
        await as_owner(bank, "UPDATE kpm_batch SET checker = maker WHERE id = :batch", batch=batch)


TWO_NAMES = """
    SELECT conrelid::regclass::text FROM pg_constraint WHERE pg_get_constraintdef(oid) LIKE '%checker <> maker%'
"""


COLUMNS = ("actor", "operation", "subject", "detail")


@asynccontextmanager
async def trying(bank: Bank) -> AsyncIterator[AsyncConnection]:
    """A connection past role and triggers, whose changes nobody else sees and which are undone at the end."""
    engine = create_async_engine(bank.database.url)
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("SET session_replication_role = replica")
            yield connection
            await connection.rollback()
    finally:
        await engine.dispose()


async def _verified(bank: Bank, connection: AsyncConnection) -> dict[str, str]:
    """What is wrong with each chain, as this connection sees it."""
    found = {}
    for stream, head in (await audit.heads(connection)).items():
        _, wrong = await audit.verify_stream(connection, bank.audit_verify, stream, head)
        if wrong is not None:
            found[stream] = wrong
    return found


async def _found_after(bank: Bank, connection: AsyncConnection, *changes: str, **values: object) -> dict[str, str]:
    """What the verifier finds after changes, which are then undone."""
    async with connection.begin_nested() as point:
        for change in changes:
            done = await connection.execute(
                text(change), {name: values[name] for name in values if f":{name}" in change}
            )
            assert 0 < done.rowcount, change
        found = await _verified(bank, connection)
        await point.rollback()
    return found


async def test_requirement_18_a_change_of_any_entry_is_found(bank: Bank, tmp_path: Path) -> None:
    """Edit (each column, the smallest change), delete, reorder, truncate at each entry of each chain: found, at its place."""
    async with open_street(bank, tmp_path) as street:
        for _ in range(3):
            await street.atm.balance(street.card)
    tried = 0
    async with trying(bank) as connection:
        assert {} == await _verified(bank, connection)
        rows = list(await connection.execute(text("SELECT stream, seq FROM audit_event ORDER BY stream, seq")))
        assert len({stream for stream, _ in rows}) > 1
        last = dict(tuple(row) for row in rows)
        for stream, seq in rows:
            place = {"stream": stream, "seq": seq}
            for changes in (*_edits(), *_removals(last=seq == last[stream])):
                found = await _found_after(bank, connection, *changes, **place)
                assert [stream] == list(found), (place, changes)
                assert f"event {seq}" in found[stream] or "its head says" in found[stream], (place, changes, found)
                tried += 1
        assert {} == await _verified(bank, connection)
    assert tried > 10 * len(rows)


WHERE = "WHERE stream = :stream AND seq = :seq"


def _edits() -> list[list[str]]:
    """One entry changed: who, what, when, where, result, its chain."""
    edits = [f"UPDATE audit_event SET {column} = {column} || ' ' {WHERE}" for column in COLUMNS]
    edits += [
        f"UPDATE audit_event SET detail = overlay(detail PLACING '9' FROM 3 FOR 1) {WHERE}",
        f"UPDATE audit_event SET at = at - interval '1 microsecond' {WHERE}",
        f"UPDATE audit_event SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) {WHERE}",
        f"UPDATE audit_event SET hash = set_byte(hash, 31, get_byte(hash, 31) # 128) {WHERE}",
        f"UPDATE audit_event SET actor = 'someone', hash = sha256(convert_to(actor || detail, 'UTF8')) {WHERE}",
    ]
    return [[one] for one in edits]


def _removals(*, last: bool) -> list[list[str]]:
    """One entry deleted, alone or with those behind it, with or without closing the gap; or in the place of the next."""
    after = "WHERE stream = :stream AND seq > :seq"
    removals = [
        [f"DELETE FROM audit_event {WHERE}"],
        ["DELETE FROM audit_event WHERE stream = :stream AND seq >= :seq"],
    ]
    if last:
        return removals
    return [
        *removals,
        [f"DELETE FROM audit_event {WHERE}", f"UPDATE audit_event SET seq = -seq {after}",
         "UPDATE audit_event SET seq = -seq - 1 WHERE stream = :stream AND seq < 0"],
        ["UPDATE audit_event SET seq = -seq WHERE stream = :stream AND seq IN (CAST(:seq AS bigint), CAST(:seq AS bigint) + 1)",
         "UPDATE audit_event SET seq = 2 * CAST(:seq AS bigint) + 1 + seq WHERE stream = :stream AND seq < 0"],
    ]  # fmt: skip


async def test_requirement_18_a_truncation_with_its_head_is_found(bank: Bank, tmp_path: Path) -> None:
    """Cut off at any entry, with the head put where the chain now ends: it holds by itself, and the roots kept outside tell."""
    await open_families(bank, tmp_path, 1)
    checks = await proof.verify_audit(bank)
    assert all(check.ok for check in checks)
    last = await one_value(bank, "SELECT last_seq FROM audit_chain WHERE stream = 'operations'")
    for kept in range(last):
        await as_owner(bank, "CREATE TABLE kept AS SELECT * FROM audit_event")
        await as_owner(bank, "CREATE TABLE kept_chain AS SELECT * FROM audit_chain")
        await tamper(bank, "audit_event", f"DELETE FROM audit_event WHERE stream = 'operations' AND seq > {kept}")
        await as_owner(bank, MOVE_HEAD, kept=kept)
        wrong = {check.name: check.detail for check in await proof.verify_audit(bank) if not check.ok}
        assert ["roots kept outside"] == list(wrong), kept
        assert f"operations had {last} events" in wrong["roots kept outside"]
        await tamper(bank, "audit_event", "DELETE FROM audit_event", "INSERT INTO audit_event SELECT * FROM kept")
        await as_owner(bank, "DELETE FROM audit_chain")
        await as_owner(bank, "INSERT INTO audit_chain SELECT * FROM kept_chain")
        await as_owner(bank, "DROP TABLE kept, kept_chain")
    assert all(check.ok for check in await proof.verify_audit(bank))


MOVE_HEAD = """
    UPDATE audit_chain c SET last_seq = :kept, last_hash = coalesce(
        (SELECT e.hash FROM audit_event e WHERE e.stream = c.stream AND e.seq = :kept), decode(repeat('00', 32), 'hex'))
    WHERE c.stream = 'operations'
"""


async def test_requirement_18_an_entry_says_who_what_when_where_and_result(bank: Bank, tmp_path: Path) -> None:
    """Each has its number, its actor, its deed, its object, its time and what came of it, and none is without its HMAC."""
    made = await ceremony.generate(bank, SITI, "zpk", ZPK)
    with pytest.raises(GatewayError):
        await ceremony.activate(bank, SITI, made.name, None)
    await open_families(bank, tmp_path, 1)
    events = await as_owner(bank, "SELECT * FROM audit_event ORDER BY stream, seq")
    for one in events:
        assert all((one.stream, one.seq, one.actor.strip(), one.operation, one.subject, one.at.tzinfo))
        assert 32 == len(bytes(one.hash))
        assert json.loads(one.detail)["business_date"]
        audit.Operation(one.operation)
    assert len(events) == len({bytes(one.hash) for one in events})
    refusal = next(one for one in events if one.operation == "key.failed")
    assert (SITI, "zpk#1") == (refusal.actor, refusal.subject)
    assert "another person activates it" in json.loads(refusal.detail)["reason"]


async def test_requirement_18_the_roots_that_are_kept_outside_are_signed(bank: Bank, tmp_path: Path) -> None:
    """Each verification leaves the heads in a file of the data folder, under the audit key: no other hand writes one."""
    await open_families(bank, tmp_path, 1)
    await proof.verify_audit(bank)
    path = bank.settings.data_dir / ROOTS_FILE
    root = json.loads(path.read_text())
    async with reading(bank) as connection:
        assert {name: head.seq for name, head in (await audit.heads(connection)).items()} == root["heads"]
    good = path.read_bytes()
    for at in range(0, len(good) - 1, 3):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        (roots,) = [check for check in await proof.verify_audit(bank) if check.name == "roots kept outside"]
        assert not roots.ok
    path.write_bytes(good)
    assert all(check.ok for check in await proof.verify_audit(bank))
