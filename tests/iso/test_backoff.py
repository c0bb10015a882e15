"""The waits before a host is called again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iso.backoff import Backoff


@given(
    first_s=st.floats(0.001, 100), factor=st.floats(1, 1_000), jitter=st.floats(0, 0.99), failures=st.integers(1, 10**9)
)
def test_waits_stay_in_their_bounds(first_s: float, factor: float, jitter: float, failures: int) -> None:
    """Never above the most, never below what chance may leave of the first, however long it goes on."""
    backoff = Backoff(first_s, first_s * factor, jitter)
    assert first_s * (1 - jitter) * 0.999 <= backoff.wait_s(failures) <= backoff.most_s


def test_waits_double_up_to_the_most() -> None:
    """Half a second, one, two, four, and then five for ever."""
    backoff = Backoff(first_s=0.5, most_s=5, jitter=0)
    assert [0.5, 1, 2, 4, 5, 5] == [backoff.wait_s(failures) for failures in range(1, 7)]


def test_waits_differ() -> None:
    """Many that lost a host together do not come back together."""
    waits = {Backoff(first_s=8, most_s=8, jitter=0.5).wait_s(1) for _ in range(100)}
    assert (len(waits) > 20, min(waits) >= 4, max(waits) <= 8) == (True, True, True)


@pytest.mark.parametrize(
    "wrong", [{"first_s": 0.0}, {"first_s": 2.0, "most_s": 1.0}, {"jitter": 1.0}, {"jitter": -0.1}]
)
def test_a_backoff_without_waits_is_refused(wrong: dict[str, float]) -> None:
    """A host would be called without a pause."""
    with pytest.raises(ValueError, match=r"^a back-off has 0 < first_s <= most_s and 0 <= jitter < 1$"):
        Backoff(**wrong)
