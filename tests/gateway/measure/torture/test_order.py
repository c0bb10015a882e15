"""Tests of gateway.measure.torture.order: which order explains what was answered."""

from __future__ import annotations

from functools import partial

from gateway.measure.torture.oracle import Family, Told
from gateway.measure.torture.order import Asked, explain
from tests.gateway.measure.torture.model import DAY, family, left, say


def _any(_family: Family) -> bool:
    return True


def _are(books: list[int], one: Family) -> bool:
    return books == left(one)


def test_the_order_is_found() -> None:
    """Both cannot be paid; the one that was refused came last, however they are listed."""
    cash, more = say("CASH", 80_000), say("CASH", 70_000)
    window = [
        Asked(more, Told("INSUFFICIENT_FUNDS", (0, 20_000), None)),
        Asked(cash, Told("APPROVED", (0, 20_000))),
    ]
    after = explain(family(100_000), window, DAY, _any)
    assert after is not None
    assert [20_000] == left(after)


def test_what_no_order_explains() -> None:
    """Both were approved, or a balance was told that never was."""
    both = [
        Asked(say("CASH", 80_000), Told("APPROVED", (0, 20_000))),
        Asked(say("CASH", 70_000), Told("APPROVED", (0, 30_000))),
    ]
    assert explain(family(100_000), both, DAY, _any) is None
    assert explain(family(100_000), [Asked(say("CASH", 10_000), Told("APPROVED", (0, 91_000)))], DAY, _any) is None


def test_silence_is_decided_by_the_books() -> None:
    """A message without an answer was decided or not: whichever fits."""
    for books in ([100_000], [40_000]):
        after = explain(family(100_000), [Asked(say("CASH", 60_000), None)], DAY, partial(_are, books))
        assert after is not None
        assert books == left(after)
    assert explain(family(100_000), [Asked(say("CASH", 60_000), None)], DAY, lambda one: [1] == left(one)) is None


def test_the_same_message_many_times_is_one() -> None:
    """Two answers, one silence, one debit; and what was asked is not changed by the search."""
    cash = say("CASH", 60_000)
    before = family(100_000)
    window = [Asked(cash, None), Asked(cash, Told("APPROVED", (0, 40_000))), Asked(cash, Told("APPROVED", (0, 40_000)))]
    after = explain(before, window, DAY, lambda one: [40_000] == left(one))
    assert after is not None
    assert ([100_000], 2) == (left(before), after.transfers)


def test_a_reversal_of_something_silent() -> None:
    """Either it was paid and came back, or it never was: the reversal's answer tells."""
    cash = say("CASH", 60_000)
    for reason in ("APPROVED", "ORIGINAL_UNKNOWN"):
        back = Asked(say("REVERSAL", 60_000, original=cash.key), Told(reason))
        after = explain(family(100_000), [Asked(cash, None), back], DAY, lambda one: [100_000] == left(one))
        assert after is not None
        assert ("APPROVED" == reason) == (
            cash.key in after.answered and "APPROVED" == after.answered[cash.key].told.reason
        )
