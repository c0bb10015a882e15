"""AES as whole blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import aes
from keys.errors import KeyRefused

keys = st.sampled_from(aes.LENGTHS).flatmap(lambda length: st.binary(min_size=length, max_size=length))


@pytest.mark.parametrize(
    ("key", "enciphered"),
    [
        ("000102030405060708090A0B0C0D0E0F", "69C4E0D86A7B0430D8CDB78070B4C55A"),
        ("000102030405060708090A0B0C0D0E0F1011121314151617", "DDA97CA4864CDFE06EAF70A0EC0D7191"),
        ("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "8EA2B7CA516745BFEAFC49904B496089"),
    ],
)
def test_published_vectors(key: str, enciphered: str) -> None:
    """FIPS 197 appendix C, both ways, and again: the context stays in step."""
    clear = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    encipher, decipher = aes.encipherer(bytes.fromhex(key)), aes.decipherer(bytes.fromhex(key))
    for _ in range(2):
        assert bytes.fromhex(enciphered) == encipher(clear)
        assert clear == decipher(bytes.fromhex(enciphered))


@given(key=keys, blocks=st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=4))
def test_cbc_chains_single_blocks(key: bytes, blocks: list[bytes]) -> None:
    """Each block is enciphered after XOR with the one before."""
    initial = bytes(range(16))
    before, expected = initial, b""
    for block in blocks:
        before = aes.encipherer(key)(bytes(one ^ other for one, other in zip(block, before, strict=True)))
        expected += before
    assert expected == aes.cbc(key, initial).encryptor().update(b"".join(blocks))


@pytest.mark.parametrize("length", [0, 8, 15, 17, 31, 33])
def test_other_lengths_are_refused(length: int) -> None:
    """With the error of the room."""
    with pytest.raises(KeyRefused):
        aes.encipherer(bytes(length))
    with pytest.raises(KeyRefused):
        aes.cbc(bytes(length), bytes(16))
