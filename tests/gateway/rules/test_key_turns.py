"""Tests of gateway.rules.key_turns: pending, used, overlap, dropped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from gateway.rules.key_turns import (
    CHANGES_MOST,
    CHANGES_WITHIN,
    FAILING_MOST,
    FAILING_WITHIN_S,
    FREE_FAILURES,
    NEW_FOR_S,
    Attempts,
    Due,
    KeyTurns,
    Turn,
)

NOW = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Key(NamedTuple):
    """A handle."""

    label: str
    version: int


def turn(version: int, used_at: datetime | None = None, label: str = "zak") -> Turn:
    """A version that came at NOW, for an hour pending and a minute of overlap."""
    return Turn(label, version, "himbara", NOW, 60, 3_600, used_at)


@pytest.mark.parametrize(
    ("used_at", "after_s", "due"),
    [
        (None, 3_599, None), (None, 3_600, Due.DROP), (NOW, 59, None), (NOW, 60, Due.END_OLDER),
        (NOW + 10 * SECOND, 69, None), (NOW + 10 * SECOND, 70, Due.END_OLDER),
    ],
)  # fmt: skip
def test_when_something_is_to_be_done(used_at: datetime | None, after_s: int, due: Due | None) -> None:
    """Never used: an hour after it came. Used: a minute after that, and not after it came."""
    turns = KeyTurns()
    turns.know([turn(2, used_at)])
    assert ([] if due is None else [(turn(2, used_at), due)]) == turns.due(NOW + after_s * SECOND)


def test_a_pending_version_stands_behind_those_that_are_used() -> None:
    """Whatever is made is made under the newest that has been used."""
    turns, keys = KeyTurns(), [Key("zak", 3), Key("zak", 2), Key("zak", 1)]
    assert keys == turns.in_order(keys)
    turns.know([turn(3), turn(1, label="zpk")])
    assert [keys[1], keys[2], keys[0]] == turns.in_order(keys)
    turns.uses(keys[0], NOW)
    assert keys == turns.in_order(keys)
    assert {("zpk", 1)} == turns.pending


def test_a_first_use_counts_before_it_is_written() -> None:
    """What the table says meanwhile does not undo it; the second use is no first one; others are none at all."""
    turns = KeyTurns()
    turns.know_one(turn(2))
    turns.uses(Key("zak", 1), NOW)
    assert {} == turns.unwritten
    turns.uses(Key("zak", 2), NOW)
    turns.uses(Key("zak", 2), NOW + SECOND)
    assert {("zak", 2): NOW} == turns.unwritten
    turns.know([turn(2)])
    assert [turn(2, NOW)] == turns.first_uses(NOW)
    assert frozenset() == turns.pending
    turns.know([])
    assert ([], {}) == (turns.first_uses(NOW), turns.unwritten)


def test_one_that_is_overtaken_has_no_turn() -> None:
    """A newer one was used first: the partner has passed it over. One of another key goes on, and so does a newer one."""
    turns = KeyTurns()
    turns.know([turn(2), turn(3, NOW), turn(4), turn(2, label="zpk")])
    assert [(turn(2), Due.OVERTAKEN)] == turns.due(NOW)
    turns.forget(("zak", 2))
    assert [] == turns.due(NOW)


def test_what_fails_rests() -> None:
    """It is not tried again before its time; a turn that is over has no rest."""
    turns = KeyTurns()
    turns.know([turn(2)])
    turns.uses(Key("zak", 2), NOW)
    turns.rest(("zak", 2), NOW + 100 * SECOND)
    assert ([], []) == (turns.due(NOW + 99 * SECOND), turns.first_uses(NOW + 99 * SECOND))
    assert (1, 1) == (len(turns.due(NOW + 100 * SECOND)), len(turns.first_uses(NOW + 100 * SECOND)))
    turns.forget(("zak", 2))
    turns.know_one(turn(2, NOW - 100 * SECOND))
    assert 1 == len(turns.due(NOW))


def test_changes_are_so_many_an_hour_of_each_link() -> None:
    """One more than the most is refused until the first of them is an hour old, and does not count itself."""
    turns = KeyTurns()
    for at in range(CHANGES_MOST):
        assert [True, True] == [turns.may_change("one", NOW + at * SECOND) for _ in range(2)]
        turns.changed("one", NOW + at * SECOND)
    assert [False, True] == [turns.may_change(link, NOW + CHANGES_WITHIN - SECOND) for link in ("one", "other")]
    assert turns.may_change("one", NOW + CHANGES_WITHIN)
    turns.changed("one", NOW + CHANGES_WITHIN)
    assert not turns.may_change("one", NOW + CHANGES_WITHIN)


class Caller:
    """A connection, opened at so many seconds."""

    def __init__(self, since: float = 0.0) -> None:
        self.since = since


def test_who_fails_rests_and_nobody_else() -> None:
    """From the third on, twice as long each time, to an hour, until one comes right; another connection is not kept waiting."""
    attempts, one, other = Attempts(), Caller(), Caller()
    now_s = NEW_FOR_S
    for _ in range(FREE_FAILURES):
        attempts.failed(one, now_s)
        assert attempts.may_try(one, now_s)
    for pause_s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 4_096):
        assert attempts.may_try(one, now_s)
        attempts.failed(one, now_s)
        assert [False, True] == [attempts.may_try(who, now_s + pause_s - 0.1) for who in (one, other)]
        now_s += pause_s
    attempts.succeeded(one)
    attempts.succeeded(other)
    attempts.failed(one, now_s)
    assert attempts.may_try(one, now_s)


def test_who_calls_again_and_again_is_bounded() -> None:
    """New connections share so many failures an hour; one that has stood for a minute is looked at all the same."""
    attempts, old = Attempts(), Caller()
    for number in range(FAILING_MOST):
        caller = Caller(1_000.0 + number)
        assert attempts.may_try(caller, caller.since)
        attempts.failed(caller, caller.since)
    late = Caller(1_100.0)
    assert [False, True] == [attempts.may_try(who, 1_100.0) for who in (late, old)]
    assert [False, True] == [attempts.may_try(late, 1_100.0 + age_s) for age_s in (NEW_FOR_S - 1, NEW_FOR_S)]
    attempts.failed(old, 1_101.0)
    again = Caller(1_000.0 + FAILING_WITHIN_S)
    assert [False, True] == [attempts.may_try(again, again.since - ago_s) for ago_s in (1, 0)]


def test_what_failed_is_kept_of_each_link() -> None:
    """And for as long as there are connections to keep it of."""
    turns, one = KeyTurns(), Caller()
    for _ in range(FREE_FAILURES + 1):
        turns.attempts("one").failed(one, 100.0)
    assert [False, True] == [turns.attempts(link).may_try(one, 100.5) for link in ("one", "other")]
