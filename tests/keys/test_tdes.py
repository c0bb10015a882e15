"""Triple DES: lengths, weak keys, parity, contexts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import tdes
from keys.errors import KeyRefused
from tests.keys.samples import SECOND_KEY


def test_double_length_check_value() -> None:
    """The check value that many standards print for this double length key."""
    assert "08D7B4" == tdes.encipherer(SECOND_KEY)(bytes(8)).hex().upper()[:6]


@pytest.mark.parametrize("length", [8, 16, 24])
@given(blocks=st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=5))
def test_contexts_stay_in_step(length: int, blocks: list[bytes]) -> None:
    """Block after block through one pair of contexts comes back, and each block stands for itself."""
    key = bytes(range(1, length + 1))
    encipher, decipher = tdes.encipherer(key), tdes.decipherer(key)
    assert blocks == [decipher(encipher(block)) for block in blocks]
    assert encipher(b"".join(blocks)) == b"".join(encipher(block) for block in blocks)


def test_shorter_keys_are_expanded() -> None:
    """Single as K K K, double as K1 K2 K1, triple as it is."""
    one, two, three = b"11111111", b"22222222", b"33333333"
    assert one * 3 == tdes.expand(one)
    assert one + two + one == tdes.expand(one + two)
    assert one + two + three == tdes.expand(one + two + three)


@pytest.mark.parametrize("length", [0, 7, 9, 15, 17, 23, 25, 32])
def test_other_lengths_are_refused(length: int) -> None:
    """No DES key has them."""
    with pytest.raises(KeyRefused):
        tdes.expand(bytes(length))
    with pytest.raises(KeyRefused):
        tdes.refuse_weak(bytes(range(length)))


GOOD, OTHER, THIRD = (
    bytes.fromhex("0123456789ABCDEF"),
    bytes.fromhex("FEDCBA9876543210"),
    bytes.fromhex("89ABCDEF01234567"),
)
FLIPPED_PARITY = bytes(byte ^ 1 for byte in GOOD)


@pytest.mark.parametrize("key", [GOOD + OTHER, GOOD + OTHER + GOOD, GOOD + OTHER + THIRD])
def test_strong_keys_pass(key: bytes) -> None:
    """Double and triple length, first and third part equal or not."""
    tdes.refuse_weak(key)


@pytest.mark.parametrize(
    "key",
    [
        GOOD,
        GOOD + GOOD,
        GOOD + FLIPPED_PARITY,
        GOOD + OTHER + OTHER,
        GOOD + GOOD + OTHER,
        bytes.fromhex("0101010101010101") + GOOD,
        GOOD + bytes.fromhex("0000000000000000"),
        GOOD + bytes.fromhex("FFFFFFFFFFFFFFFF"),
        GOOD + bytes.fromhex("1F1F1F1F0E0E0E0E"),
        GOOD + OTHER + bytes.fromhex("01FE01FE01FE01FE"),
        bytes.fromhex("E0FEE0FEF1FEF1FE") + OTHER,
    ],
)
def test_weak_keys_are_refused(key: bytes) -> None:
    """Single DES, equal neighbours (parity aside), weak and semi-weak parts."""
    with pytest.raises(KeyRefused) as caught:
        tdes.refuse_weak(key)
    assert key.hex() not in str(caught.value).lower()


def test_weak_list_is_closed_under_complement() -> None:
    """The complement of a weak or semi-weak key is one too: a check of all sixteen against typing mistakes."""
    assert 16 == len(tdes._WEAK)
    assert tdes._WEAK == {bytes(byte ^ 0xFE for byte in weak) for weak in tdes._WEAK}


@given(st.binary(min_size=16, max_size=24))
def test_odd_parity(key: bytes) -> None:
    """Each byte has an odd number of bits; the seven that count are unchanged."""
    adjusted = tdes.odd_parity(key)
    assert all(byte.bit_count() % 2 == 1 for byte in adjusted)
    assert [byte >> 1 for byte in key] == [byte >> 1 for byte in adjusted]
