"""Tests of gateway.rules.outgoing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.rules.outgoing import (
    TRY_AGAIN,
    WAIT_MOST_S,
    Verdict,
    judge,
    reference,
    repeat_mti,
    stan_of,
    transmitted,
    wait_s,
)
from iso.message import response_mti

NOW = datetime(2026, 2, 1, 9, 8, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "repeated", "deletes", "verdict"),
    [
        ("00", False, False, Verdict.DONE),
        ("26", False, False, Verdict.DONE),  # the old record was replaced
        ("94", False, False, Verdict.REFUSED),  # nothing of ours can have come before
        ("94", True, False, Verdict.DONE),
        ("25", False, True, Verdict.DONE),  # what is to be deleted is not there
        ("25", False, False, Verdict.REFUSED),
        ("57", True, True, Verdict.REFUSED),
        (None, True, False, Verdict.AGAIN),
        *((code, False, False, Verdict.AGAIN) for code in sorted(TRY_AGAIN)),
    ],
)  # fmt: skip
def test_what_an_answer_means(code: str | None, *, repeated: bool, deletes: bool, verdict: Verdict) -> None:
    """Done, again or refused."""
    assert verdict is judge(code, repeated=repeated, deletes=deletes)


def test_a_repeat_is_of_the_same_class_and_answered_like_the_first() -> None:
    """Only the origin changes; a repeat of a repeat stays one."""
    for mti, repeat in (("0302", "0303"), ("0420", "0421"), ("0120", "0121"), ("0620", "0621"), ("0600", "0601")):
        assert repeat == repeat_mti(mti) == repeat_mti(repeat)
        assert response_mti(mti) == response_mti(repeat)


def test_waiting_doubles_up_to_a_bound() -> None:
    """From the link's own time on; a link that waits longer than the bound keeps its own."""
    assert [10.0, 20.0, 40.0, 80.0] == [wait_s(attempts, 10.0) for attempts in (1, 2, 3, 4)]
    assert WAIT_MOST_S == wait_s(10_000, 10.0)
    assert 3_600.0 == wait_s(9, 3_600.0)


def test_keys_of_a_message() -> None:
    """DE11 is never 000000; DE7 is GMT; DE37 has 12 characters and tells of year, day, hour and DE11."""
    assert ["000001", "999999", "000001", "000002"] == [
        stan_of(number) for number in (1, 999_999, 1_000_000, 1_000_001)
    ]
    assert "0201090807" == transmitted(NOW)
    assert "603209000042" == reference(NOW, "000042")
