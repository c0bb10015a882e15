"""Tests of gateway.telemetry."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import KEPT_BYTES, LONG_HEX, LONG_NUMBER, NEVER_LOGGED, Outlet, configure, mask, masked_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

PAN, NIK = "6013010000000018", "1271071506850003"
AROUND = st.text(st.characters(exclude_categories=("Cs", "Nd")), max_size=6)


@given(AROUND, st.from_regex(r"[0-9]{13,30}", fullmatch=True), AROUND)
def test_a_long_number_never_passes(before: str, number: str, after: str) -> None:
    """Whatever stands beside it, a run of 13 digits or more is not in the masked text."""
    assert number not in masked_text(before + number + after)


@given(AROUND, st.from_regex(r"[0-9A-F]{16,48}", fullmatch=True), AROUND)
def test_a_pin_block_or_key_never_passes(before: str, block: str, after: str) -> None:
    """Neither do 16 hex characters or more that stand by themselves."""
    assert block not in masked_text(f"{before} {block} {after}")


@given(st.text(st.sampled_from('0123456789abzABZ é"_-'), max_size=60))
def test_the_guard_looks_at_long_runs_alone(text: str) -> None:
    """It finds what the two patterns find in the whole text."""
    assert LONG_NUMBER.sub(r"\1***\2", LONG_HEX.sub("[hex]", text)) == masked_text(text)


def test_what_is_short_stays() -> None:
    """Amounts, dates, STAN, RRN and names are needed in a log and stay as they are; masked numbers show their ends."""
    plain = "Rp600,000 2026-11-23T01:02:03.000004Z stan 000123 rrn 123456789012 SITI AMINAH account 12345"
    assert plain == masked_text(plain)
    assert f"card {PAN[:6]}***{PAN[-4:]} of {NIK[:6]}***{NIK[-4:]}" == masked_text(f"card {PAN} of {NIK}")
    assert f"id{PAN[:6]}***{PAN[-4:]}" == masked_text(f"id{PAN}")


def test_fields_that_are_never_logged_are_dropped() -> None:
    """Names like pin and pan are dropped whatever they hold, bytes and objects are not written out."""

    class Record:
        def __repr__(self) -> str:
            return f"Record({PAN})"

    event = {name.upper(): "123456" for name in NEVER_LOGGED} | {
        "event": f"card {PAN}", "raw": PAN.encode(), "number": int(PAN), "object": Record(), "list": [PAN, NIK],
        "count": 3, "ok": True, "none": None, "rate": 1.5,
    }  # fmt: skip
    masked = dict(mask(None, "info", event))
    assert {"[not logged]"} == {str(masked[name.upper()]) for name in NEVER_LOGGED}
    assert "[16 bytes]" == masked["raw"]
    assert (3, True, None, 1.5) == tuple(masked[name] for name in ("count", "ok", "none", "rate"))
    assert not any(secret in str(masked) for secret in (PAN, NIK, PAN.encode().hex()))


def test_a_log_line_is_json_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, from the level that was set, with exceptions masked too."""
    before = structlog.get_config()
    try:
        configure("info")
        log = structlog.get_logger("test")
        log.debug("not.seen")
        try:
            int(f"a bug with {PAN}")
        except ValueError:
            log.exception("job.failed", pan=PAN, nik_of=NIK)
    finally:
        structlog.configure(**before)
    shown = capsys.readouterr()
    assert "" == shown.out
    (line,) = shown.err.splitlines()
    told = json.loads(line)
    assert ("job.failed", "error", "[not logged]") == (told["event"], told["level"], told["pan"])
    assert "'a bug with 601301***0018'" in told["exception"]
    assert PAN not in line
    assert NIK not in line


LINE = json.dumps({"event": "transaction", "number": "%06d", "padding": "x" * 200}) + "\n"


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe, closed at the end where a test has not."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                continue


def _read(end: int) -> bytes:
    """All that is in a pipe now."""
    os.set_blocking(end, False)
    try:
        return os.read(end, 1_000_000)
    except BlockingIOError:
        return b""


def _numbers(data: bytes) -> list[int]:
    return [int(json.loads(line)["number"]) for line in data.splitlines()]


def test_nobody_waits_for_a_reader_that_does_not_read() -> None:
    """What a pipe does not take is kept up to a bound, then dropped and counted; others find room in it; the rest comes whole."""
    with _pipe() as (reads, writes), open(writes, "w", encoding="utf-8", closefd=False) as file:
        outlet = Outlet(file)
        began = time.monotonic()
        for number in range(100):
            outlet.write("".join(LINE % (number * 100 + each) for each in range(100)))
        assert 2 > time.monotonic() - began
        held = KEPT_BYTES + 65_536
        assert 10_000 - held // len(LINE) <= outlet.lost <= 10_000 - KEPT_BYTES // len(LINE)
        os.set_blocking(writes, False)
        other = LINE.encode() % 999_999
        assert [len(other)] * 60 == [os.write(writes, other) for _ in range(60)]
        os.set_blocking(writes, True)
        found = b""
        for _ in range(1_000):
            found += _read(reads)
            outlet.again()
        numbers = [number for number in _numbers(found) if number != 999_999]
        assert list(range(10_000 - outlet.lost)) == numbers
        outlet.write(LINE % 20_000)
        assert [20_000] == _numbers(_read(reads))


def test_a_file_on_a_disk_gets_everything_at_once(tmp_path: Path) -> None:
    """In order, behind what others wrote to it."""
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as file:
        outlet = Outlet(file)
        file.write(LINE % 0)
        file.flush()
        outlet.write("".join(LINE % number for number in range(1, 20_000)))
        assert (False, 0) == (outlet.waiting, outlet.lost)
    assert list(range(20_000)) == _numbers(path.read_bytes())


def test_a_reader_that_has_gone_ends_nothing() -> None:
    """What it would have got is counted as lost."""
    with _pipe() as (reads, writes), open(writes, "w", encoding="utf-8", closefd=False) as file:
        outlet = Outlet(file)
        os.close(reads)
        outlet.write(LINE % 1 + LINE % 2)
        assert (2, False) == (outlet.lost, outlet.waiting)


def test_at_the_end_what_is_kept_is_written_for_who_reads() -> None:
    """finish() waits a moment for room, and counts what found none."""
    with _pipe() as (reads, writes), open(writes, "w", encoding="utf-8", closefd=False) as file:
        outlet = Outlet(file)
        outlet.write("".join(LINE % number for number in range(1_000)))
        assert outlet.waiting
        outlet.finish(0.05)
        found = len(_numbers(_read(reads)))
        assert (False, 1_000) == (outlet.waiting, found + outlet.lost)
        assert 65_536 // 2 // len(LINE) < found < 1_000


def test_a_line_longer_than_a_piece_is_left_out() -> None:
    """No line is cut in two, and none makes anybody wait."""
    with _pipe() as (reads, writes), open(writes, "w", encoding="utf-8", closefd=False) as file:
        outlet = Outlet(file)
        outlet.write(LINE % 1 + "x" * 5_000 + "\n" + LINE % 2)
        assert ([1, 2], 1) == (_numbers(_read(reads)), outlet.lost)


def test_a_file_without_a_number_is_written_to() -> None:
    """As tests and notebooks have it in place of standard error."""
    file = io.StringIO()
    Outlet(file).write(LINE % 7)
    assert LINE % 7 == file.getvalue()
