"""Tests of gateway.telemetry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import NEVER_LOGGED, configure, mask, masked_text

if TYPE_CHECKING:
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
