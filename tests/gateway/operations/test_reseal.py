"""Tests of gateway.operations.reseal: a sealing key is rotated under a bank that is lived in, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway.app import open_bank, run_service
from gateway.errors import Refused
from gateway.operations import instruction, kpm, reseal, workers
from gateway.store import sealed
from keys.errors import KeyRefused, VaultError
from keys.keytypes import KeyState
from tests.gateway.lived_in import (
    FAMILIES,
    PLACES,
    WAITING_LIST,
    WAITING_SI,
    all_opened,
    columns_under,
    live_in,
    rotate,
    vault_under,
)
from tests.gateway.owner import as_owner
from tests.gateway.street import assert_proved, stand_before
from tests.gateway.world import CHECKER, MAKER, holders, open_families

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.operations.bank import Bank
    from gateway.store.sealed import Change, Key, SealedTable

EVENT = "SELECT actor, subject, detail FROM audit_event WHERE operation = 'vault.reseal' ORDER BY seq"
TAMPER = "UPDATE card SET pan = set_byte(pan, 30, get_byte(pan, 30) # 1) WHERE id = :id"
NOTHING = dict.fromkeys(PLACES, 0)


async def test_everything_is_sealed_anew_and_opens_with_the_new_key_alone(bank: Bank, tmp_path: Path) -> None:
    """The same texts in every column, none under the old key; blind indexes are not touched; one audit event says how many."""
    await live_in(bank, tmp_path)
    old = bank.vault.sealing_key
    before, indexes = await all_opened(bank, bank.vault), await as_owner(bank, INDEXES)
    assert PLACES == {place for place, _ in before}
    new = rotate(bank.hsm)
    with pytest.raises(VaultError):
        await all_opened(bank, vault_under(bank, new))
    looked_at: list[int] = []
    assert sum(looked_at) < (rows := await reseal.rows_to_do(bank))
    done = await reseal.reseal(bank, "siti", looked_at.append)
    assert before == await all_opened(bank, vault_under(bank, new))
    assert indexes == await as_owner(bank, INDEXES)
    assert set() == await columns_under(bank, old)
    counts = {place: sum(1 for one, _ in before if one == place) for place in PLACES}
    assert (counts, {}, {}, []) == (done.resealed, done.left, done.unreadable, done.named)
    assert (rows, 0, True) == (sum(looked_at), await reseal.rows_to_do(bank), done.whole)
    ((actor, subject, detail),) = await as_owner(bank, EVENT)
    assert ("siti", "vault-sealing") == (actor, subject)
    told = json.loads(detail)
    assert (2, counts, {}, {}) == (told["version"], told["resealed"], told["left"], told["unreadable"])
    again = await reseal.reseal(bank, "siti")
    assert ({}, {}, True) == (again.resealed, again.left, again.whole)
    await assert_proved(bank)


async def test_what_is_under_which_key_is_counted(bank: Bank, tmp_path: Path) -> None:
    """By column and version; bytes of no key of ours are told apart."""
    await live_in(bank, tmp_path)
    old = bank.vault.sealing_key
    new = rotate(bank.hsm)
    await kpm.approve(bank, CHECKER, WAITING_LIST)
    await as_owner(bank, "UPDATE card SET pan = 'x' WHERE id <= 2")
    counts = await reseal.count_by_key(bank)
    assert {"vault-sealing#1": FAMILIES - 2, "vault-sealing#2": FAMILIES, "": 2} == counts["card.pan"]
    assert {"vault-sealing#1": FAMILIES, "vault-sealing#2": FAMILIES} == counts["family.nik"]
    assert {"vault-sealing#1": 2} == counts["si_row.record"]
    assert {} == counts["kpm_chunk.family_record"]
    under = await reseal.count_under(bank, old), await reseal.count_under(bank, new)
    assert (PLACES, PLACES) == tuple(map(set, under))
    assert [(FAMILIES - 2, FAMILIES), (1, 0)] == [
        tuple(one[place] for one in under) for place in ("card.pan", "si_part.staged")
    ]


async def test_a_bank_with_one_key_has_nothing_old(bank: Bank) -> None:
    """As long as the key was never rotated; from then on there may be."""
    assert not await reseal.has_older_keys(bank)
    rotate(bank.hsm)
    assert await reseal.has_older_keys(bank)


@pytest.mark.parametrize("put_whole", [0, 3])
async def test_a_run_that_is_killed_is_gone_on_with(bank: Bank, tmp_path: Path, put_whole: int) -> None:
    """SIGKILL between a batch's change and its commit: what was committed stays, the rest is old, the next run does it."""
    await live_in(bank, tmp_path)
    before, old = await all_opened(bank, bank.vault), bank.vault.sealing_key
    new = rotate(bank.hsm)
    assert -signal.SIGKILL == _run_and_kill(bank, tmp_path, put_whole)
    bank.vault.refresh()
    left = await reseal.count_under(bank, old)
    assert (FAMILIES - put_whole, before) == (left["card.pan"], await all_opened(bank, bank.vault))
    assert [] == await as_owner(bank, EVENT)
    done = await reseal.reseal(bank, MAKER)
    assert (FAMILIES - put_whole, True) == (done.resealed["card.pan"], done.whole)
    assert before == await all_opened(bank, vault_under(bank, new))


async def test_two_runs_at_once_share_the_work(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value is sealed anew by one of them; both end with nothing left."""
    await live_in(bank, tmp_path)
    before = await all_opened(bank, bank.vault)
    new = rotate(bank.hsm)
    monkeypatch.setattr(sealed, "SEALED", tuple(replace(table, batch=2) for table in sealed.SEALED))
    async with open_bank(bank.settings) as second:
        one, other = await asyncio.gather(reseal.reseal(bank, "siti"), reseal.reseal(second, "budi"))
    assert one.whole
    assert other.whole
    assert len(before) == one.resealed.total() + other.resealed.total()
    assert before == await all_opened(bank, vault_under(bank, new))
    assert 2 == len(await as_owner(bank, EVENT))


async def test_what_others_change_meanwhile_is_theirs(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mother's name written between reading and putting is not overwritten, and is sealed anew by a second look."""
    await open_families(bank, tmp_path, 3)
    old = vault_under(bank, bank.vault.sealing_key)
    new = rotate(bank.hsm)
    puts = []

    async def interrupted(connection: AsyncConnection, table: SealedTable, changes: Sequence[Change]) -> set[Key]:
        if table.name == "family" and "family" not in puts:
            theirs = old.seal("NGATIYEM", table="family", row=2, column="mother_name")
            await as_owner(bank, "UPDATE family SET mother_name = :theirs WHERE id = 2", theirs=theirs)
        puts.append(table.name)
        return await put(connection, table, changes)

    put = sealed.put
    monkeypatch.setattr(sealed, "put", interrupted)
    done = await reseal.reseal(bank, MAKER)
    assert ["card", "family", "family"] == puts[:3]
    opened = await all_opened(bank, vault_under(bank, new))
    assert (b"NGATIYEM", 3, True) == (
        opened["family.mother_name", "2"],
        done.resealed["family.mother_name"],
        done.whole,
    )


async def test_a_row_in_use_is_left_and_not_waited_for(bank: Bank, tmp_path: Path) -> None:
    """A card that somebody holds locked all the time is left; the rest is done, and the next run does the card."""
    await open_families(bank, tmp_path, 3)
    rotate(bank.hsm)
    async with bank.database.engine.begin() as other:
        await other.execute(text("SELECT 1 FROM card WHERE id = 2 FOR UPDATE"))
        async with asyncio.timeout(20):
            done = await reseal.reseal(bank, MAKER)
    assert ({"card.pan": 1}, {}, False) == (done.left, done.unreadable, done.whole)
    assert (2, 3) == (done.resealed["card.pan"], done.resealed["family.nik"])
    done = await reseal.reseal(bank, MAKER)
    assert ({"card.pan": 1}, True) == (done.resealed, done.whole)


async def test_what_does_not_open_is_named_and_stays(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One flipped bit, one value moved to another row, bytes that nobody sealed: the run goes on and touches none of them."""
    found = await open_families(bank, tmp_path, 4)
    rotate(bank.hsm)
    await as_owner(bank, TAMPER, id=2)
    await as_owner(bank, "UPDATE family f SET nik = o.nik FROM family o WHERE f.id = 3 AND o.id = 4")
    await as_owner(bank, "UPDATE kpm_chunk SET record = 'x'")
    spoilt = await as_owner(bank, SPOILT)
    monkeypatch.setattr(sealed, "SEALED", tuple(replace(table, batch=1) for table in sealed.SEALED))
    done = await reseal.reseal(bank, MAKER)
    assert spoilt == await as_owner(bank, SPOILT)
    wrong = {"card.pan": 1, "family.nik": 1, "kpm_chunk.record": 1}
    assert (wrong, wrong, False) == (done.unreadable, done.left, done.whole)
    assert [("card.pan", "2"), ("family.nik", "3"), ("kpm_chunk.record", "1:2")] == [
        (one.place, one.row) for one in done.named
    ]
    assert str(done.named[0]).startswith("card.pan of row 2: sealed data does not open")
    assert (3, 3, 4) == tuple(done.resealed[place] for place in ("card.pan", "family.nik", "family.no_kk"))
    told = " ".join(map(str, [*done.named, *(await as_owner(bank, EVENT))]))
    assert not any(secret in told for one in found for secret in (one.nik, one.pan.reveal()))
    again = await reseal.reseal(bank, MAKER)
    assert ({}, wrong) == (again.resealed, again.unreadable)


async def test_all_that_does_not_open_is_counted_and_some_named(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of names has a bound, over all tables."""
    monkeypatch.setattr(reseal, "NAMED_MOST", 5)
    await open_families(bank, tmp_path, 4)
    rotate(bank.hsm)
    await as_owner(bank, "UPDATE card SET pan = 'x'")
    await as_owner(bank, "UPDATE family SET nik = 'x', no_kk = 'x'")
    done = await reseal.reseal(bank, MAKER)
    assert ({"card.pan": 4, "family.nik": 4, "family.no_kk": 4}, 5) == (done.unreadable, len(done.named))


async def test_what_is_under_a_suspended_key_waits(bank: Bank, tmp_path: Path) -> None:
    """It does not open now and will again: it is left, and nothing is wrong with it. Then it is sealed anew.

    The HSM is asked, and tells the auditor of its refusal, once for each table that has such values: not once for each value.
    """
    await open_families(bank, tmp_path, 8)
    old = bank.vault.sealing_key
    rotate(bank.hsm)
    bank.hsm.set_state(old, KeyState.SUSPENDED)
    done = await reseal.reseal(bank, MAKER)
    assert ({}, {}, 8) == (done.resealed, done.unreadable, done.left["card.pan"])
    assert 3 == bank.refusals.take().total()
    bank.hsm.set_state(old, KeyState.ACTIVE)
    assert (await reseal.reseal(bank, MAKER)).whole


async def test_a_compromised_newest_key_is_left_for_the_one_before(bank: Bank, tmp_path: Path) -> None:
    """What it sealed goes back under the newest key that may seal."""
    await open_families(bank, tmp_path, 2)
    new = rotate(bank.hsm)
    await reseal.reseal(bank, MAKER)
    bank.hsm.set_state(new, KeyState.COMPROMISED)
    done = await reseal.reseal(bank, MAKER)
    assert (2, True, 1) == (done.resealed["card.pan"], done.whole, bank.vault.sealing_key.version)
    assert NOTHING == await reseal.count_under(bank, new)


async def test_a_key_that_seals_something_is_not_destroyed(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest never; an older one only when nothing is under it and nobody writes who began before. Others are no matter."""
    await open_families(bank, tmp_path, 3)
    old = bank.vault.sealing_key
    with pytest.raises(Refused, match="key vault-sealing#1 is what the bank seals with: make a new version first"):
        await reseal.refuse_if_used(bank, old)
    rotate(bank.hsm)
    await as_owner(bank, TAMPER, id=2)
    with pytest.raises(
        Refused, match=r"key vault-sealing#1 still seals 13 values \(card\.pan 3, family\.nik 3, .*kpm_chunk"
    ):
        await reseal.refuse_if_used(bank, old)
    await reseal.reseal(bank, MAKER)
    with pytest.raises(Refused, match=r"still seals 1 values \(card\.pan 1\)"):
        await reseal.refuse_if_used(bank, old)
    await as_owner(bank, TAMPER, id=2)
    await reseal.reseal(bank, MAKER)
    await reseal.refuse_if_used(bank, old)
    await reseal.refuse_if_used(bank, bank.keys.audit)
    monkeypatch.setattr(reseal, "WRITERS_WAIT_S", 0.3)
    async with bank.database.engine.begin() as writer:
        await writer.execute(text("SELECT pg_current_xact_id()"))
        with pytest.raises(Refused, match="somebody has been writing"):
            await reseal.refuse_if_used(bank, old)
    await reseal.refuse_if_used(bank, old)


async def test_a_value_written_while_it_waited_is_counted(bank: Bank, tmp_path: Path) -> None:
    """A list that was under way when the key was about to be destroyed is not lost: its transaction is waited for."""
    await open_families(bank, tmp_path, 2)
    old = bank.vault.sealing_key
    stale = vault_under(bank, old)
    rotate(bank.hsm)
    await reseal.reseal(bank, MAKER)
    written = stale.seal("NGATIYEM", table="family", row=1, column="mother_name")
    async with bank.database.engine.begin() as writer:
        statement = text("UPDATE family SET mother_name = :written WHERE id = 1")
        await writer.execute(statement, {"written": written})
        asking = asyncio.create_task(reseal.refuse_if_used(bank, old))
        await asyncio.sleep(0.3)
        assert not asking.done()
    with pytest.raises(Refused, match=r"still seals 1 values \(family\.mother_name 1\)"):
        await asking


async def test_the_bank_works_when_the_old_key_is_gone(bank: Bank, tmp_path: Path) -> None:
    """Destroyed for good and the bank opened again: cards pay, the waiting list and SI are approved, NIK and PAN are the same."""
    wallet = await live_in(bank, tmp_path)
    families = await holders(bank)
    old = bank.vault.sealing_key
    rotate(bank.hsm)
    assert (await reseal.reseal(bank, MAKER)).whole
    bank.hsm.set_state(old, KeyState.DEACTIVATED)
    await reseal.refuse_if_used(bank, old)
    bank.hsm.set_state(old, KeyState.DESTROYED)
    with pytest.raises(KeyRefused):
        bank.hsm.unseal(old, bytes(40), b"")
    async with open_bank(bank.settings) as later:
        assert families == await holders(later)
        async with run_service(later, jobs=False) as service, stand_before(later, service, wallet, families) as street:
            assert "00" == (await street.atm.withdraw(wallet.cards[0], 100_000)).code
        assert FAMILIES == (await kpm.approve(later, CHECKER, WAITING_LIST)).accepted
        assert 1 == (await instruction.approve(later, CHECKER, WAITING_SI)).credited
        await assert_proved(later)


@pytest.mark.parametrize("many", [1, 10_000_000])
async def test_a_bank_that_was_open_before_goes_on(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """What another process seals under a new key opens here without a restart, in worker processes too; old values as before."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(workers, "WORTH_A_PROCESS", many)  # 1: every list is one for worker processes
    await live_in(bank, tmp_path)
    async with open_bank(bank.settings) as second:
        new = rotate(second.hsm)
        done = await reseal.reseal(second, MAKER)
        assert done.whole
    assert 1 == bank.vault.sealing_key.version
    assert FAMILIES == (await kpm.approve(bank, CHECKER, WAITING_LIST)).accepted
    assert 1 == (await instruction.approve(bank, CHECKER, WAITING_SI)).credited
    await kpm.write_result_file(bank, MAKER, 1, tmp_path / "result.csv")
    assert 2 * FAMILIES == (await reseal.count_under(bank, new))["card.pan"]
    assert 2 * FAMILIES == len(await holders(bank))


async def test_a_waiting_list_is_approved_before_anything_is_sealed_anew(bank: Bank, tmp_path: Path) -> None:
    """The transition: sealed under the old key, opened, and what comes of it sealed under the new one."""
    await live_in(bank, tmp_path)
    new = rotate(bank.hsm)
    assert FAMILIES == (await kpm.approve(bank, CHECKER, WAITING_LIST)).accepted
    assert 1 == (await instruction.approve(bank, CHECKER, WAITING_SI)).credited
    assert FAMILIES == (await reseal.count_under(bank, new))["card.pan"]
    assert 2 * FAMILIES == len(await holders(bank))


def _run_and_kill(bank: Bank, folder: Path, put_whole: int) -> int:
    """Run in a process that kills itself in its (PUT_WHOLE + 1)-th batch of one row, before its commit. Returns its exit."""
    script = textwrap.dedent(f"""
        import asyncio, os, signal
        from dataclasses import replace
        from gateway.app import open_bank
        from gateway.operations import reseal
        from gateway.settings import load_settings
        from gateway.store import sealed

        puts, put = [], sealed.put

        async def deadly(*given):
            done = await put(*given)
            puts.append(done)
            if len(puts) > {put_whole}:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        async def main():
            sealed.put = deadly
            sealed.SEALED = tuple(replace(table, batch=1) for table in sealed.SEALED)
            settings = load_settings(database_url={bank.settings.database_url!r}, data_dir={str(bank.settings.data_dir)!r})
            async with open_bank(settings) as bank:
                await reseal.reseal(bank, "siti")

        asyncio.run(main())
    """)
    place = folder / "killed.py"
    place.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(reseal.__file__).parents[2])}
    command: list[Any] = [sys.executable, place]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode  # noqa: S603 - our own script


INDEXES = (
    "SELECT f.id, f.nik_index, f.kk_index, f.person_index, c.pan_index FROM family f JOIN card c ON c.account_id = f.id"
)
SPOILT = """
    SELECT (SELECT pan FROM card WHERE id = 2), (SELECT nik FROM family WHERE id = 3), (SELECT record FROM kpm_chunk)
"""
