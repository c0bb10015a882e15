"""Tests of gateway.simulator.chip_counters."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from gateway.simulator import chip_counters
from gateway.simulator.chip_counters import ChipCounters
from gateway.simulator.errors import WalletError

if TYPE_CHECKING:
    from pathlib import Path


def test_counters_outlive_the_program(tmp_path: Path) -> None:
    """The highest of an account counts, in whatever order lines were written; the file is for its owner alone."""
    path = tmp_path / "counters.txt"
    first = ChipCounters(path)
    for account, counter in (("001", 1), ("002", 7), ("001", 2)):
        first.keep(account, counter)
    ChipCounters(path).keep("002", 5)
    again = ChipCounters(path)
    assert (2, 7, 0) == (again.last("001"), again.last("002"), again.last("003"))
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_without_a_file_they_are_in_memory() -> None:
    """For as long as the program runs."""
    counters = ChipCounters()
    counters.keep("001", 3)
    assert 3 == counters.last("001")


def test_a_file_that_has_grown_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each account is left."""
    path = tmp_path / "counters.txt"
    monkeypatch.setattr(chip_counters, "_LINES_MOST", 3)
    for counter in range(1, 5):
        ChipCounters(path).keep("001", counter)
    ChipCounters(path)
    assert "001 4\n" == path.read_text(encoding="ascii")


def test_a_chip_counts_to_its_end(tmp_path: Path) -> None:
    """Two bytes hold 65535."""
    counters = ChipCounters(tmp_path / "counters.txt")
    counters.keep("001", 65_535)
    with pytest.raises(WalletError, match="the chip of account 001 has made 65535 transactions"):
        counters.keep("001", 65_536)


@pytest.mark.parametrize(
    ("text", "said"), [("001", "line 1 is not"), ("001 1\nx y", "line 2 is not"), ("\u00e9", "text")]
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """File and line."""
    path = tmp_path / "counters.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WalletError, match=said) as caught:
        ChipCounters(path)
    assert str(caught.value).startswith(str(path))


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Read or written."""
    with pytest.raises(WalletError, match="Is a directory"):
        ChipCounters(tmp_path)
    with pytest.raises(WalletError, match="No such file"):
        ChipCounters(tmp_path / "none" / "counters.txt").keep("001", 1)
