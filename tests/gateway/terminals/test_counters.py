"""Tests of gateway.terminals.counters."""

from __future__ import annotations

from gateway.terminals.counters import Counters


def test_answer_times_fall_into_buckets() -> None:
    """Each bucket holds what took at most so many milliseconds and more than the one before."""
    counters = Counters()
    for seconds in (0.0005, 0.001, 0.0011, 0.3, 6.0):
        counters.took("CASH", seconds)
    shown = counters.shown()["answer_ms"]
    assert isinstance(shown, dict)
    assert {"1": 2, "2": 1, "500": 1, "more": 1} == {name: count for name, count in shown["CASH"].items() if count}


def test_every_counter_is_shown() -> None:
    """By its name, answers by code in order."""
    counters = Counters(received=3, unmatched=1)
    counters.answered.update({"91": 1, "00": 2})
    counters.unproved["no MAC"] += 1
    counters.refused["full"] += 2
    counters.unread_tags["55.9F33"] += 4
    shown = counters.shown()
    assert (3, 1, ["00", "91"]) == (shown["received"], shown["unmatched"], list(shown["answered"]))  # type: ignore[call-overload]
    assert ({"no MAC": 1}, {"full": 2}) == (shown["unproved"], shown["refused"])
    assert {"55.9F33": 4} == shown["unread_tags"]
    assert {
        "undecided",
        "unsent",
        "abandoned",
        "expired",
        "cut_off",
        "peers_refused",
        "unreadable",
        "timed_out",
    } <= set(shown)
