"""Tests of gateway.operations.stand_in_folder: what is counted of a card, what waits, and which list a journal counts against."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.operations.bank import reading
from gateway.operations.stand_in_entry import Entry, EntryKind
from gateway.operations.stand_in_folder import (
    JOURNAL,
    LIST,
    NEW_LIST,
    StandInFolder,
    ended_journals,
    folder_of,
    read_journal,
    status,
)
from gateway.rules.stand_in import Since
from gateway.store import policy
from gateway.store import stand_in_list as lists

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
CARD, OTHER = b"c" * 16, b"o" * 16


def mac(data: bytes) -> bytes:
    """A bank's."""
    return hmac.digest(b"k" * 32, data, hashlib.sha256)


def verify(data: bytes, given: bytes) -> bool:
    """By the same bank."""
    return hmac.compare_digest(mac(data), given)


def _folder(path: Path) -> StandInFolder:
    return StandInFolder(path, 2, mac, verify)


async def _install(bank: Bank, folder: StandInFolder, count: int = 0) -> bool:
    async with reading(bank) as connection:
        rules = await policy.purse_rules(connection)
        await lists.write(connection, folder.path / NEW_LIST, mac, "BRI", date(2026, 11, 23), AT, rules)
    return folder.install(lists.CardList(folder.path / NEW_LIST, verify), count, AT)


def _entry(
    seq: int, kind: EntryKind, amount: int, kept: int, card: bytes = CARD, original: bytes | None = None
) -> Entry:
    key = seq.to_bytes(16)
    return Entry(
        seq, kind, AT, "himbara", 3, 7, card, key, key, original, amount, kept, "00", f"S{seq:05d}", (), b"sealed"
    )


async def test_what_counts_of_a_card(bank: Bank, tmp_path: Path) -> None:
    """Approvals less what was given back, and wrong PINs; the same to the next process, and after all is posted."""
    folder = _folder(tmp_path / "stand-in")
    assert folder.take()
    assert "no list" in folder.why
    assert await _install(bank, folder)
    entries = [
        _entry(0, EntryKind.APPROVED, 100, 100), _entry(1, EntryKind.PIN_WRONG, 50, 50),
        _entry(2, EntryKind.REVERSED, 100, 30, original=(0).to_bytes(16)), _entry(3, EntryKind.APPROVED, 7, 7, OTHER),
        _entry(4, EntryKind.REVERSED, 100, 0, original=(0).to_bytes(16)),
    ]  # fmt: skip
    await folder.append(entries[:2])
    await folder.append(entries[2:])
    expected = [Since(0, 1), Since(7, 0), Since(0, 0)]
    assert expected == [folder.since(card) for card in (CARD, OTHER, b"n" * 16)]
    assert (5, 5, ["0", "5"]) == (folder.count, folder.waiting, [str(len(folder.owed(lane))) for lane in (0, 1)])
    folder.mark_posted([(entries[1], "PIN_WRONG"), (entries[0], "APPROVED")])
    folder.close()
    again = _folder(tmp_path / "stand-in")
    assert again.take()
    assert expected == [again.since(card) for card in (CARD, OTHER, b"n" * 16)]
    assert ([2, 3, 4], 5) == ([entry.seq for entry in again.owed(1)], again.count)
    again.mark_posted([(entry, "APPROVED") for entry in list(again.owed(1))])
    assert (0, expected[0]) == (again.waiting, again.since(CARD))
    again.close()


async def test_a_mark_that_the_disk_does_not_take_is_written_later(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is, no list takes the place of the one in use; then the next process knows that the entry is posted."""
    folder = _folder(tmp_path / "stand-in")
    assert folder.take()
    assert await _install(bank, folder)
    await folder.append([_entry(0, EntryKind.APPROVED, 100, 100)])

    def full(_file: int, _data: bytes, _at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        folder.mark_posted([(folder.entries[bytes(16)], "APPROVED")])
        assert 0 == folder.waiting
        kept = read_journal(folder.path, verify)
        assert kept is not None
        assert [None] == [entry.posted for entry in kept.entries.values()]
    folder.write_marks()
    folder.close()
    again = _folder(tmp_path / "stand-in")
    assert again.take()
    assert (0, 1) == (again.waiting, again.count)
    again.close()


async def test_a_new_list_only_when_nothing_waits(bank: Bank, tmp_path: Path) -> None:
    """Then all begins anew, and the journal before is kept; a list that knows less than the journal is dropped."""
    folder = _folder(tmp_path / "stand-in")
    assert folder.take()
    assert await _install(bank, folder)
    await folder.append([_entry(0, EntryKind.APPROVED, 100, 100)])
    assert not await _install(bank, folder, 1)
    folder.mark_posted([(folder.entries[bytes(16)], "APPROVED")])
    assert not await _install(bank, folder, 0)
    assert not (folder.path / NEW_LIST).exists()
    assert (Since(100, 0), 1) == (folder.since(CARD), folder.count)
    assert await _install(bank, folder, 1)
    assert (Since(), 0, {}) == (folder.since(CARD), folder.count, folder.entries)
    assert (folder.path / "journal.20261123T030000").exists()
    assert {"stands_in": True, "why": None, "waiting": 0, "list_age_s": 60}.items() <= status(
        folder, AT.replace(minute=1)
    ).items()
    folder.close()


async def test_journals_that_ended_are_found_when_they_are_old(bank: Bank, tmp_path: Path) -> None:
    """Not one put aside later, with something unposted, cut off, changed or of another bank; nor the one in use."""
    folder = _folder(tmp_path / "stand-in")
    assert folder.take()
    assert await _install(bank, folder)
    await folder.append([_entry(0, EntryKind.APPROVED, 100, 100), _entry(1, EntryKind.PIN_WRONG, 5, 5)])
    path, journal = folder.path, folder.path / JOURNAL
    folder.mark_posted([(folder.entries[bytes(16)], "APPROVED")])
    (path / "journal.20250101T000001").write_bytes(journal.read_bytes())
    folder.mark_posted([(folder.entries[(1).to_bytes(16)], "PIN_WRONG")])
    whole = journal.read_bytes()
    assert await _install(bank, folder, 2)
    put_aside = path / "journal.20261123T030000"
    assert [] == ended_journals(path, verify, AT)
    assert [put_aside] == ended_journals(path, verify, AT + timedelta(seconds=1))
    assert [] == ended_journals(path, lambda *_: False, AT + timedelta(seconds=1))
    for number, data in enumerate((whole + b"\0", whole[:-1], whole[:50] + b"x" + whole[51:], b""), 2):
        (path / f"journal.20250101T00000{number}").write_bytes(data)
    (path / "journal.20250101T000000").write_bytes(whole)
    for name in ("journal.torn", "journal.20251301T000000", "journal.20250101T000000.torn"):
        (path / name).write_bytes(whole)
    assert [path / "journal.20250101T000000", put_aside] == ended_journals(path, verify, AT + timedelta(seconds=1))
    assert [] == ended_journals(tmp_path / "none", verify, AT)
    folder.close()


async def test_a_list_that_cannot_be_put_in_place_ends_it(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more goes into a journal that may have been put aside; the next process begins anew."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    folder = _folder(tmp_path / "stand-in")
    assert folder.take()
    assert await _install(bank, folder)
    await folder.append([_entry(0, EntryKind.APPROVED, 100, 100)])
    folder.mark_posted([(folder.entries[bytes(16)], "APPROVED")])
    with monkeypatch.context() as patch:
        patch.setattr(lists, "place", broken)
        with pytest.raises(OSError, match="Input/output error"):
            await _install(bank, folder, 1)
    assert (True, None) == (folder.broken, folder.cards)
    assert "cannot be put in place" in folder.why
    folder.close()
    again = _folder(folder.path)
    assert again.take()
    assert (False, 0) == (again.broken, again.waiting)
    assert await _install(bank, again)
    again.close()


async def test_a_journal_counts_against_its_own_list(bank: Bank, tmp_path: Path) -> None:
    """With another list, or none, nothing is stood in for, and what waits is posted all the same."""
    folder = _folder(tmp_path / "stand-in")
    assert folder.take()
    assert await _install(bank, folder)
    await folder.append([_entry(0, EntryKind.APPROVED, 100, 100)])
    folder.close()
    kept = (folder.path / LIST).read_bytes()
    journal = (folder.path / JOURNAL).read_bytes()
    other = _folder(tmp_path / "other")
    assert other.take()
    async with reading(bank) as connection:
        rules = await policy.purse_rules(connection)
        await lists.write(connection, folder.path / LIST, mac, "BRI", date(2026, 11, 24), AT, rules)
    for data, why in ((None, "not the one that the journal"), (b"x", "no list"), (kept, "")):
        if data is not None:
            (folder.path / LIST).write_bytes(data)
        again = _folder(folder.path)
        assert again.take()
        assert why in again.why
        assert (why == "", 1) == (again.cards is not None, again.waiting)
        again.close()
    (folder.path / JOURNAL).unlink()
    again = _folder(folder.path)
    assert again.take()
    assert (None, 0) == (again.cards, again.waiting)
    again.close()
    (folder.path / JOURNAL).write_bytes(b"\x00" + journal)
    again = _folder(folder.path)
    assert again.take()
    assert (None, True) == (again.cards, again.broken)
    assert not await _install(bank, again)
    again.close()
    other.close()


def test_where_it_is(tmp_path: Path) -> None:
    """Beside the keys; nothing is there of a bank that stands in for nobody."""
    assert tmp_path / "stand-in" == folder_of(tmp_path)
    assert read_journal(folder_of(tmp_path), verify) is None


@pytest.mark.parametrize(("seq", "code"), [(0, "S00000"), (7, "S00007"), (100_001, "S00001")])
def test_approval_codes(tmp_path: Path, seq: int, code: str) -> None:
    """Six characters that say that they are stand-in's."""
    assert code == _folder(tmp_path).approval(seq)
