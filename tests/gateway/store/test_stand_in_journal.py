"""Tests of gateway.store.stand_in_journal: what is cut off, what is refused, and what a disk that fails leaves."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.store import stand_in_journal
from gateway.store.stand_in_journal import Journal, JournalBroken, read

if TYPE_CHECKING:
    from pathlib import Path

HEAD = {"list": "ab", "first": 7}
PARTS: list[dict[str, Any]] = [{"decided": [{"seq": number}]} for number in range(3)]


def mac(data: bytes) -> bytes:
    """A bank's."""
    return hmac.digest(b"k" * 32, data, hashlib.sha256)


def verify(data: bytes, given_mac: bytes) -> bool:
    """By the same bank."""
    return hmac.compare_digest(mac(data), given_mac)


def _written(folder: Path) -> Path:
    path = folder / "journal"
    journal = Journal.create(path, mac, HEAD)
    for part in PARTS:
        journal.append(part)
    journal.close()
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Head and parts, in order; for the owner alone; nothing where there is no file."""
    path = _written(tmp_path)
    found = read(path, verify)
    assert found is not None
    assert (HEAD | {"format": 1}, PARTS, 0) == (found.head, found.parts, found.torn)
    assert 0o600 == path.stat().st_mode & 0o777
    assert ["journal"] == [one.name for one in tmp_path.iterdir()]
    assert read(tmp_path / "none", verify) is None


def test_a_torn_end_is_cut_off_and_kept_beside(tmp_path: Path) -> None:
    """Wherever the last part was cut, the ones before it stand, and it is gone on with behind them."""
    path = _written(tmp_path)
    whole = path.read_bytes()
    last = read(path, verify)
    assert last is not None
    journal = Journal.create(tmp_path / "short", mac, HEAD)
    for part in PARTS[:2]:
        journal.append(part)
    journal.close()
    before = (tmp_path / "short").stat().st_size
    for length in range(before + 1, len(whole)):
        path.write_bytes(whole[:length])
        found = read(path, verify)
        assert found is not None
        assert (PARTS[:2], length - before) == (found.parts, found.torn)
    assert found is not None
    journal = Journal.resume(path, mac, found)
    journal.append(PARTS[2])
    journal.close()
    again = read(path, verify)
    assert again is not None
    assert (PARTS, 0) == (again.parts, again.torn)
    assert whole[before:-1] == (tmp_path / "journal.torn").read_bytes()
    path.write_bytes(whole + bytes(5_000))  # room that was never filled
    found = read(path, verify)
    assert found is not None
    assert (PARTS, 5_000) == (found.parts, found.torn)


@given(data=st.data())
def test_every_changed_bit_before_the_last_part_is_found(data: st.DataObject, tmp_path_factory: Any) -> None:  # noqa: ANN401
    """Whatever it is: it is refused, and nothing behind it is believed."""
    path = _written(tmp_path_factory.mktemp("journal"))
    whole = bytearray(path.read_bytes())
    size = len(whole) // 4
    at = data.draw(st.integers(0, 3 * size - 20))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    with pytest.raises(Refused):
        read(path, verify)


def test_parts_moved_taken_out_or_of_another_bank_are_refused(tmp_path: Path) -> None:
    """Each proves the one before."""
    path = _written(tmp_path)
    whole = path.read_bytes()
    ends, at = [], 0
    while at < len(whole):
        at += 8 + int.from_bytes(whole[at : at + 4]) + 32
        ends.append(at)
    head, first, second, third = (whole[a:b] for a, b in zip([0, *ends], ends, strict=False))
    for wrong in (head + second + first + third, head + first + third + third, first + second, b""):
        path.write_bytes(wrong)
        with pytest.raises(Refused):
            read(path, verify)
    path.write_bytes(whole)
    with pytest.raises(Refused, match="another bank"):
        read(path, lambda data, found: hmac.digest(b"x" * 32, data, hashlib.sha256) == found)


def test_a_disk_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be made to last has not happened; where even that cannot be known, it is told."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "journal"
    journal = Journal.create(path, mac, HEAD)
    journal.append(PARTS[0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(JournalBroken, match="No space") as found:
            journal.append(PARTS[1])
        assert found.value.restored
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(JournalBroken) as found:
            journal.append(PARTS[1])
        assert not found.value.restored
    with pytest.raises(ValueError, match="too large"):
        journal.append({"decided": ["x" * stand_in_journal.PART_MOST]})
    journal.append(PARTS[1])
    journal.close()
    again = read(path, verify)
    assert again is not None
    assert (PARTS[:2], 0) == (again.parts, again.torn)
