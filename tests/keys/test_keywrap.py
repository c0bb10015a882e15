"""AES key wrap."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import keywrap
from keys.errors import KeyBlockError
from tests.keys.samples import one_line, vectors

keks = st.sampled_from([16, 24, 32]).flatmap(lambda length: st.binary(min_size=length, max_size=length))
whole_keys = st.integers(2, 9).flatmap(lambda units: st.binary(min_size=8 * units, max_size=8 * units))
any_keys = st.binary(min_size=1, max_size=70)
KEK = bytes(range(32))
PLAIN = vectors("aeskw.") + vectors("kw_ae_")
PADDED = vectors("aeskwp.") + vectors("kwp_ae_")

Function = Callable[[bytes, bytes], bytes]


@pytest.mark.parametrize("vector", PLAIN, ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """RFC 3394 and NIST CAVP, there and back."""
    kek, key = bytes.fromhex(vector["inputs"]["kek"]), bytes.fromhex(vector["inputs"]["plaintext"])
    wrapped = bytes.fromhex(vector["expected"]["ciphertext"])
    assert wrapped == keywrap.wrap(kek, key)
    assert key == keywrap.unwrap(kek, wrapped)


@pytest.mark.parametrize("vector", PADDED, ids=lambda vector: vector["name"])
def test_padded_vectors(vector: dict[str, Any]) -> None:
    """RFC 5649 and NIST CAVP, there and back."""
    kek, key = bytes.fromhex(vector["inputs"]["kek"]), bytes.fromhex(vector["inputs"]["plaintext"])
    wrapped = bytes.fromhex(vector["expected"]["ciphertext"])
    assert wrapped == keywrap.wrap_padded(kek, key)
    assert key == keywrap.unwrap_padded(kek, wrapped)


@pytest.mark.parametrize("vector", vectors("kw_ad_") + vectors("kwp_ad_"), ids=lambda vector: vector["name"])
def test_vectors_that_must_be_refused(vector: dict[str, Any]) -> None:
    """NIST CAVP decryptions that fail."""
    assert "must be rejected" == vector["expected"]["result"]
    unwrap = keywrap.unwrap if vector["name"].startswith("kw_") else keywrap.unwrap_padded
    with pytest.raises(KeyBlockError, match="not authentic"):
        unwrap(bytes.fromhex(vector["inputs"]["kek"]), bytes.fromhex(vector["inputs"]["ciphertext"]))


def test_no_vector_is_left_out() -> None:
    """Every vector of AES key wrap belongs to one of the three tests above."""
    refused = vectors("kw_ad_") + vectors("kwp_ad_")
    every = vectors("aeskw") + vectors("kw_") + vectors("kwp_")
    assert len(every) == len(PLAIN) + len(PADDED) + len(refused)


@given(keks, whole_keys)
def test_there_and_back(kek: bytes, key: bytes) -> None:
    """Whatever is wrapped comes out, 8 bytes shorter than it travelled."""
    wrapped = keywrap.wrap(kek, key)
    assert len(key) + 8 == len(wrapped)
    assert key == keywrap.unwrap(kek, wrapped)


@given(keks, any_keys)
def test_padded_there_and_back(kek: bytes, key: bytes) -> None:
    """A key of any length comes out with that length."""
    wrapped = keywrap.wrap_padded(kek, key)
    assert len(key) + -len(key) % 8 + 8 == len(wrapped)
    assert key == keywrap.unwrap_padded(kek, wrapped)


@pytest.mark.parametrize(
    ("wrap", "unwrap"), [(keywrap.wrap, keywrap.unwrap), (keywrap.wrap_padded, keywrap.unwrap_padded)]
)
def test_each_flipped_bit_is_found(wrap: Function, unwrap: Function) -> None:
    """One bit of the wrapped key, or another key to unwrap with, and nothing comes out."""
    wrapped = wrap(KEK, bytes(range(24)))
    for bit in range(8 * len(wrapped)):
        changed = (int.from_bytes(wrapped) ^ 1 << bit).to_bytes(len(wrapped))
        with pytest.raises(KeyBlockError, match="not authentic"):
            unwrap(KEK, changed)
    with pytest.raises(KeyBlockError, match="not authentic"):
        unwrap(bytes(32), wrapped)


def test_the_two_ways_do_not_mix() -> None:
    """What one way wraps, the other does not unwrap."""
    with pytest.raises(KeyBlockError, match="not authentic"):
        keywrap.unwrap_padded(KEK, keywrap.wrap(KEK, bytes(16)))
    with pytest.raises(KeyBlockError, match="not authentic"):
        keywrap.unwrap(KEK, keywrap.wrap_padded(KEK, bytes(16)))


@pytest.mark.parametrize("function", [keywrap.wrap, keywrap.unwrap, keywrap.wrap_padded, keywrap.unwrap_padded])
@pytest.mark.parametrize("length", [0, 8, 15, 17, 31, 33])
def test_other_keks_are_refused(function: Function, length: int) -> None:
    """Only AES keys wrap keys."""
    with pytest.raises(KeyBlockError, match="16, 24 or 32"):
        function(bytes(length), bytes(24))


@pytest.mark.parametrize(
    ("function", "length"),
    [
        *((keywrap.wrap, length) for length in (0, 8, 17)),
        *((keywrap.unwrap, length) for length in (16, 25)),
        (keywrap.wrap_padded, 0),
        *((keywrap.unwrap_padded, length) for length in (0, 8, 17)),
    ],
)
def test_other_lengths_are_refused(function: Function, length: int) -> None:
    """The message says which lengths there are."""
    with pytest.raises(KeyBlockError, match="or more bytes") as caught:
        function(KEK, bytes(length))
    assert one_line(caught.value)


@given(keks, st.binary(max_size=80))
def test_random_bytes_are_no_wrapped_key(kek: bytes, wrapped: bytes) -> None:
    """Only the package's own error, whatever comes."""
    for unwrap in (keywrap.unwrap, keywrap.unwrap_padded):
        with pytest.raises(KeyBlockError):
            unwrap(kek, wrapped)
