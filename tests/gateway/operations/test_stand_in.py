"""Tests of gateway.operations.stand_in: when it is not asked, what a kill and a full disk leave, and what is posted once."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from gateway import clock
from gateway.app import open_bank, run_service
from gateway.operations import lane as lane_module
from gateway.operations import link_exceptions, stand_in
from gateway.operations.bank import reading
from gateway.operations.stand_in_entry import to_post
from gateway.operations.stand_in_folder import JOURNAL, StandInFolder, folder_of
from gateway.simulator.terminal import Asked
from gateway.store.stand_in_journal import Journal
from gateway.store.stand_in_list import CardList
from keys.errors import VaultError
from keys.sensitive import Pin
from tests.gateway.operations.test_lane import lose_commits, no_connections
from tests.gateway.outage import links_file, until_listed, until_posted
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, stand_before

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.authorise import Keyed
    from gateway.operations.bank import Bank
    from gateway.operations.stand_in_entry import Entry
    from gateway.settings import Settings
    from tests.gateway.street import Street

TERMINAL_FORGETS_S = 0.8


@asynccontextmanager
async def _street(bank: Bank, folder: Path, patch: pytest.MonkeyPatch, families: int = 1) -> AsyncIterator[Street]:
    """A bank whose first link is stood in for, with a list of cards in use."""
    patch.setattr(lane_module, "RETRY_WAIT_S", 0.001)
    bank.settings = bank.settings.model_copy(update={"links_file": links_file(folder)})
    async with open_street(bank, folder, families) as street:
        await until_listed(street)
        yield street


async def test_never_where_a_commit_may_have_happened(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence stays the honest answer, and the journal says nothing; a repeat finds the truth when the books are back."""
    async with _street(bank, tmp_path, monkeypatch) as street, street.new_switch() as other:
        message = street.atm.request(Asked.CASH, street.card, 50_000)
        with monkeypatch.context() as patch:
            lose_commits(patch, committed=True, times=1)
            no_connections(patch, after=1)
            waiting = asyncio.ensure_future(street.switch.client.request(message))
            await asyncio.wait({waiting}, timeout=TERMINAL_FORGETS_S)
            assert (False, 0) == (waiting.done(), street.service.stand_in.status()["journal"])
        assert "00" == (await other.client.request(message)).get(39)
        waiting.cancel()
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_whoever_hung_up_is_not_stood_in_for(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decided for a terminal that waits no more."""
    async with _street(bank, tmp_path, monkeypatch) as street:
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            patch.setattr("gateway.terminals.connection.Incoming.alive", lambda _self: False)
            waiting = asyncio.ensure_future(
                street.switch.client.request(street.atm.request(Asked.CASH, street.card, 1))
            )
            await asyncio.wait({waiting}, timeout=TERMINAL_FORGETS_S)
            assert (False, 0) == (waiting.done(), street.service.stand_in.status()["journal"])
            waiting.cancel()


async def test_a_journal_posted_again_posts_nothing_twice(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the commit and before the mark: the next process posts all of it once more, and the books stay as they are."""
    async with _street(bank, tmp_path, monkeypatch, families=3) as street:
        first, second, third = street.wallet.cards
        assert "00" == (await street.atm.withdraw(third, 550_000)).code
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            assert "00" == (await street.atm.withdraw(first, 100_000)).code
            gone = await street.atm.withdraw(second, 100_000)
            assert "00" == (await street.atm.reverse(gone, 40_000)).code
            assert "00" == (await street.atm.withdraw(third, 100_000)).code
            assert "55" == (await street.atm.withdraw(second, 50_000, Pin("999931"))).code
            journal = folder_of(bank.settings.data_dir) / JOURNAL
            shutil.copy(journal, tmp_path / "before")
        await until_posted(street)
        await _settled(bank, street)
    for _ in range(2):
        shutil.copy(tmp_path / "before", journal)
        async with run_service(bank, jobs=False) as service:
            assert (0, 5) == (service.stand_in.status()["waiting"], service.stand_in.status()["journal"])
            async with stand_before(bank, service, street.wallet, street.families) as again:
                await _settled(bank, again)
    await assert_proved(bank)


async def _settled(bank: Bank, street: Street) -> None:
    """What the books say after test_a_journal_posted_again_posts_nothing_twice."""
    left = [await available_idr(bank, one.family_id) for one in street.families]
    assert [AID_IDR - 100_000, AID_IDR - 40_000, AID_IDR - 550_000] == left
    _, found = await link_exceptions.overview(bank)
    assert [("INSUFFICIENT_FUNDS", 100_000)] == [(one.reason, one.amount_idr) for one in found]
    async with reading(bank) as connection:
        assert [2, 3, 3] == sorted((await connection.execute(TRIES)).scalars())
    assert 6 == len(await reasons(bank))


async def test_a_disk_that_fails_stands_in_for_nobody(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What did not get to the disk is not told: 91 where it surely has not happened. Nothing is stood in for after that."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with _street(bank, tmp_path, monkeypatch) as street:
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            with patch.context() as disk:
                disk.setattr(os, "pwrite", full)
                assert "91" == (await street.atm.withdraw(street.card, 50_000)).code
            assert "91" == (await street.atm.withdraw(street.card, 50_000)).code
            assert "cannot be written" in street.service.stand_in.status()["why"]
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
    await assert_proved(bank)


async def test_a_disk_that_is_full_when_the_list_is_renewed_loses_nothing(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list and journal of before stay as they were: what is decided after that is posted by the next process too."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        async with _street(bank, tmp_path, monkeypatch) as street:
            with patch.context() as away:
                no_connections(away, after=0)
                assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
            await until_posted(street)
            with patch.context() as disk:
                disk.setattr(os, "pwrite", full)
                with pytest.raises(OSError, match="No space left"):
                    await street.service.stand_in.renew()
            no_connections(patch, after=0)
            assert "00" == (await street.atm.withdraw(street.card, 70_000)).code
    async with run_service(bank, jobs=False) as service:
        assert service.stand_in.status()["stands_in"]
        async with stand_before(bank, service, street.wallet, street.families) as again:
            await until_posted(again)
            assert AID_IDR - 120_000 == await available_idr(bank, street.families[0].family_id)
            assert await service.stand_in.renew()
    await assert_proved(bank)


async def test_a_disk_of_which_nothing_is_known_leaves_silence(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be on the disk, and be posted by the next process: so neither yes nor no is told."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with _street(bank, tmp_path, monkeypatch) as street:
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            patch.setattr(os, "fsync", broken)
            patch.setattr(os, "ftruncate", broken)
            message = street.atm.request(Asked.CASH, street.card, 50_000)
            waiting = asyncio.ensure_future(street.switch.client.request(message))
            await asyncio.wait({waiting}, timeout=TERMINAL_FORGETS_S)
            assert not waiting.done()
            waiting.cancel()
    async with run_service(bank, jobs=False) as service:
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
        async with stand_before(bank, service, street.wallet, street.families) as again:
            assert "00" == (await again.atm.send(message)).code
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def test_a_group_waits_for_the_disk_once(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are decided together."""
    async with _street(bank, tmp_path, monkeypatch, families=12) as street:
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            assert (
                "00" == (await street.atm.withdraw(street.card, 10_000)).code
            )  # both lanes know it after this, and the next
            sizes: list[int] = []
            put = Journal.put

            def counted(journal: Journal, data: bytes) -> None:
                sizes.append(len(data))
                put(journal, data)

            patch.setattr(Journal, "put", counted)
            done = await asyncio.gather(*(street.atm.withdraw(card, 10_000) for card in street.wallet.cards))
            assert {"00"} == {one.code for one in done}
            assert len(sizes) < len(done)
            assert len({(one.answer or one.request).fields[38] for one in done}) == len(done)
        await until_posted(street)
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 20_000, *[AID_IDR - 10_000] * 11] == left
    await assert_proved(bank)


@pytest.mark.parametrize("error", [VaultError("does not open"), KeyError("a bug")], ids=["vault", "bug"])
async def test_what_is_stuck_holds_its_card_alone(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A message that does not open: its card is told 91, the others are served; it is posted when it opens again."""
    async with _street(bank, tmp_path, monkeypatch, families=2) as street:
        first, second = street.wallet.cards
        bad = bank.vault.index(first.pan.reveal(), "pan")
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            for card in (first, second):
                assert "00" == (await street.atm.withdraw(card, 100_000)).code

        def damaged(of: Bank, entry: Entry) -> Keyed:
            if entry.pan_index == bad:
                raise error
            return to_post(of, entry)

        with monkeypatch.context() as patch:
            patch.setattr("gateway.operations.stand_in.to_post", damaged)
            codes = [(await street.atm.withdraw(card, 50_000)).code for card in (first, second)]
            assert ["91", "00"] == codes
            assert (1, False) == (street.service.stand_in.status()["waiting"], street.service.stand_in.can_post)
            assert not await street.service.stand_in.renew()
        monkeypatch.setattr(stand_in, "STUCK_S", 0.0)
        street.service.stand_in._again.clear()
        await until_posted(street)
        assert "00" == (await street.atm.withdraw(first, 50_000)).code
        left = [await available_idr(bank, one.family_id) for one in street.families]
        assert [AID_IDR - 150_000] * 2 == left
    await assert_proved(bank)


async def test_a_changed_journal_is_not_gone_on_with(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service works, stands in for nobody, and says why."""
    async with _street(bank, tmp_path, monkeypatch) as street:
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            for _ in range(2):
                assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
            journal = folder_of(bank.settings.data_dir) / JOURNAL
            shutil.copy(journal, tmp_path / "copy")
        await until_posted(street)
    data = bytearray((tmp_path / "copy").read_bytes())
    data[data.index(b'"amount_idr":50000') + 13] ^= 1
    journal.write_bytes(data)
    async with run_service(bank, jobs=False) as service:
        status = service.stand_in.status()
        assert not status["stands_in"]
        assert "was changed" in status["why"]
        async with stand_before(bank, service, street.wallet, street.families) as again:
            assert "00" == (await again.atm.withdraw(street.card, 50_000)).code
            with monkeypatch.context() as patch:
                no_connections(patch, after=0)
                assert "91" == (await again.atm.withdraw(street.card, 50_000)).code


async def test_one_process_of_a_folder(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one gets no lock; it may have it when the first is gone."""
    async with _street(bank, tmp_path, monkeypatch):
        other = StandInFolder(folder_of(bank.settings.data_dir), 2, bank.audit_mac, bank.audit_verify)
        assert (False, False) == (other.take(), other.holds_lock)
        assert "another process" in other.why
    assert other.take()
    assert other.cards is not None
    other.close()


async def test_another_process_waits_until_it_is_posted(
    bank: Bank, bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the same folder that finds the books first decides nothing of a lane that owes; it stands in for nobody itself."""
    async with _street(bank, tmp_path, monkeypatch) as street:
        settings = bank_settings.model_copy(update={"links_file": bank.settings.links_file})
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            assert "00" == (await street.atm.withdraw(street.card, 200_000)).code
            async with open_bank(settings) as second, run_service(second, jobs=False) as service:
                assert "another process" in service.stand_in.status()["why"]
                async with stand_before(second, service, street.wallet, street.families) as there:
                    assert "91" == (await there.atm.withdraw(street.card, 50_000)).code
                    patch.undo()
                    patch.setattr(stand_in.StandIn, "post", _not_yet)
                    assert "91" == (await there.shop.purchase(street.card, 500_000)).code
                    patch.undo()
                    await until_posted(street)
                    assert "51" == (await there.shop.purchase(street.card, 500_000)).code
        assert AID_IDR - 200_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def _not_yet(_self: object, _lane: int, _transact: object) -> bool:
    return False


@pytest.mark.parametrize(("hours", "code"), [(0.9, "00"), (1.1, "91"), (-1.0, "91")])
async def test_an_old_list_is_of_no_use(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: float, code: str
) -> None:
    """Older than the link's list_age_s, or made later than now: 91."""
    async with _street(bank, tmp_path, monkeypatch) as street:
        now = clock.now
        with monkeypatch.context() as patch:
            no_connections(patch, after=0)
            patch.setattr(stand_in.StandIn, "renew", _no_renewal)
            patch.setattr("gateway.operations.bank.clock.now", lambda: now() + timedelta(hours=hours))
            assert code == (await street.atm.withdraw(street.card, 50_000)).code
        await until_posted(street)


async def _no_renewal(_self: object) -> bool:
    return False


async def test_a_new_list_gives_way_to_what_was_stood_in_for(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something is decided while a list is being written: that list does not know of it, and is dropped."""
    async with _street(bank, tmp_path, monkeypatch) as street:
        standing = street.service.stand_in
        prove = CardList.prove

        def slowly(cards: Any) -> None:  # noqa: ANN401 - a list
            prove(cards)
            asyncio.run_coroutine_threadsafe(_spend(street, monkeypatch), loop).result()

        loop = asyncio.get_running_loop()
        before = (folder_of(bank.settings.data_dir) / JOURNAL).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(CardList, "prove", slowly)
            assert not await standing.renew()
        assert (folder_of(bank.settings.data_dir) / JOURNAL).read_bytes().startswith(before)
        await until_posted(street)
        assert await standing.renew()
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)


async def _spend(street: Street, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as patched:
        no_connections(patched, after=0)
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code


TRIES = text("SELECT pin_tries_left FROM card ORDER BY id")
