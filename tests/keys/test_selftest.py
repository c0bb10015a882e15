"""Vectors at start."""

import pytest

from keys import selftest
from keys.errors import SelfTestFailed


def test_all_vectors_come_out() -> None:
    """On this machine and library."""
    selftest.run()


@pytest.mark.parametrize("place", range(len(selftest.VECTORS)), ids=lambda place: selftest.VECTORS[place][0])
def test_each_vector_counts(place: int) -> None:
    """One wrong value anywhere stops the start, and is named."""
    name, compute, expected = selftest.VECTORS[place]
    wrong = (name, compute, expected[:-1] + ("0" if expected[-1] != "0" else "1"))
    with pytest.raises(SelfTestFailed) as caught:
        selftest.run([*selftest.VECTORS[:place], wrong, *selftest.VECTORS[place + 1 :]])
    assert name in str(caught.value)
    assert expected not in str(caught.value)
