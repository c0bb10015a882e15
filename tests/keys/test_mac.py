"""Message authentication codes."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import psec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys import mac, tdes
from keys.errors import KeyRefused
from tests.keys.samples import SECOND_KEY, vectors


@pytest.mark.parametrize("vector", vectors("mac.iso9797_alg3"), ids=lambda vector: vector["name"])
def test_retail_vectors(vector: dict[str, Any]) -> None:
    """ISO/IEC 9797-1 annex B.4."""
    given_ = vector["inputs"]
    make = mac.retail(bytes.fromhex(given_["key"]), given_["padding"])
    assert vector["expected"]["mac8"] == make(bytes.fromhex(given_["message"])).hex().upper()


@pytest.mark.parametrize("vector", vectors("mac.iso9797_alg1"), ids=lambda vector: vector["name"])
def test_cbc_mac_vectors(vector: dict[str, Any]) -> None:
    """ISO/IEC 9797-1 annex B.2."""
    given_ = vector["inputs"]
    make = mac.cbc_mac(bytes.fromhex(given_["key"]), given_["padding"])
    assert vector["expected"]["mac4"] == make(bytes.fromhex(given_["message"]))[:4].hex().upper()


@pytest.mark.parametrize("vector", vectors("cmac.3des"), ids=lambda vector: vector["name"])
def test_tdes_cmac_vectors(vector: dict[str, Any]) -> None:
    """NIST SP 800-38B."""
    make = mac.tdes_cmac(bytes.fromhex(vector["inputs"]["key"]))
    assert vector["expected"]["mac"] == make(bytes.fromhex(vector["inputs"]["message"])).hex().upper()


@pytest.mark.parametrize("vector", vectors("cmac.aes"), ids=lambda vector: vector["name"])
def test_cmac_vectors(vector: dict[str, Any]) -> None:
    """NIST SP 800-38B."""
    make = mac.aes_cmac(bytes.fromhex(vector["inputs"]["key"]))
    assert vector["expected"]["mac"] == make(bytes.fromhex(vector["inputs"]["message"])).hex().upper()


@pytest.mark.parametrize("vector", vectors("hmac"), ids=lambda vector: vector["name"])
def test_hmac_vectors(vector: dict[str, Any]) -> None:
    """A signature printed in a bank's API documents."""
    make = mac.hmac_sha256(vector["inputs"]["secret"].encode("ascii"))
    assert vector["expected"]["signature"] == make(vector["inputs"]["string_to_sign"].encode("ascii")).hex()


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(key=st.binary(min_size=16, max_size=16), data=st.binary(max_size=70), padding=st.sampled_from(mac.PADDINGS))
@example(key=SECOND_KEY, data=b"", padding=1)
@example(key=SECOND_KEY, data=b"", padding=2)
@example(key=SECOND_KEY, data=b"", padding=3)
def test_retail_same_as_psec(key: bytes, data: bytes, padding: int) -> None:
    """The psec package makes the same code of any data, one maker used again and again."""
    make = mac.retail(key, padding)
    expected = psec.mac.generate_retail_mac(key[:8], key[8:], data, padding)
    assert [expected, expected] == [make(data), make(data)]


@pytest.mark.parametrize("vector", vectors("mac.iso9797_alg3"), ids=lambda vector: vector["name"])
def test_retail_through_vectors(vector: dict[str, Any]) -> None:
    """The same vectors, of a key that is known by two ciphers alone."""
    key, given_ = bytes.fromhex(vector["inputs"]["key"]), vector["inputs"]
    code = mac.retail_through(*ciphers(key), bytes.fromhex(given_["message"]), given_["padding"])
    assert vector["expected"]["mac8"] == code.hex().upper()


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=70), st.sampled_from([1, 2, 3]))
def test_retail_through_two_ciphers(key: bytes, data: bytes, padding: int) -> None:
    """As in one piece; the chain is asked once for all blocks but the last, and the whole key for one block."""
    asked: list[tuple[str, int]] = []
    chain, whole = ciphers(key)

    def chained(blocks: bytes) -> bytes:
        asked.append(("chain", len(blocks)))
        return chain(blocks)

    def last(block: bytes) -> bytes:
        asked.append(("whole", len(block)))
        return whole(block)

    assert mac.retail(key, padding)(data) == mac.retail_through(chained, last, data, padding)
    blocks = len(mac.pad(data, padding)) // 8
    assert ([("chain", 8 * (blocks - 1))] if blocks > 1 else []) + [("whole", 8)] == asked


def ciphers(key: bytes) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """What a token has of a retail key: CBC under its first half, ECB under the whole."""
    return lambda blocks: tdes.cbc(key[:8]).encryptor().update(blocks), tdes.encipherer(key)


@given(key=st.binary(min_size=1, max_size=80), data=st.binary(max_size=200))
def test_hmac_same_as_standard_library(key: bytes, data: bytes) -> None:
    """The hmac module makes the same code."""
    assert hmac.digest(key, data, hashlib.sha256) == mac.hmac_sha256(key)(data)


@given(key=st.binary(min_size=1, max_size=200), data=st.binary(max_size=200))
def test_hmac_sha512_same_as_standard_library(key: bytes, data: bytes) -> None:
    """The hmac module makes the same code."""
    assert hmac.digest(key, data, hashlib.sha512) == mac.hmac_sha512(key)(data)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(key=st.binary(min_size=16, max_size=16), data=st.binary(max_size=70), padding=st.sampled_from(mac.PADDINGS))
@example(key=SECOND_KEY, data=b"", padding=1)
@example(key=SECOND_KEY, data=b"", padding=2)
@example(key=SECOND_KEY, data=b"", padding=3)
def test_cbc_mac_same_as_psec(key: bytes, data: bytes, padding: int) -> None:
    """The psec package makes the same code with a double length key."""
    assert psec.mac.generate_cbc_mac(key, data, padding) == mac.cbc_mac(key, padding)(data)


@pytest.mark.parametrize(
    ("padding", "padded"),
    [(1, bytes(8)), (2, b"\x80" + bytes(7)), (3, bytes(16))],
    ids=["method 1", "method 2", "method 3"],
)
def test_nothing_is_padded_to_a_block(padding: int, padded: bytes) -> None:
    """ISO/IEC 9797-1 6.3: the data is filled to a positive multiple of the block; method 3 puts its length before that."""
    assert padded == mac.pad(b"", padding)


def test_paddings_differ_on_trailing_zeros() -> None:
    """Method 2 tells a message from the same with zeros behind; method 1 cannot."""
    one, two = mac.retail(SECOND_KEY, 1), mac.retail(SECOND_KEY, 2)
    assert one(b"abc") == one(b"abc\x00")
    assert two(b"abc") != two(b"abc\x00")
    assert one(b"") == one(bytes(8))


@pytest.mark.parametrize(("length", "padding"), [(8, 1), (24, 1), (16, 0), (16, 4)])
def test_retail_refuses_other_keys_and_paddings(length: int, padding: int) -> None:
    """Two DES keys and padding 1, 2 or 3, nothing else."""
    with pytest.raises(KeyRefused):
        mac.retail(bytes(range(length)), padding)


def test_same() -> None:
    """Whole codes are compared: a part of a code is not the code."""
    assert mac.same(b"12345678", b"12345678")
    assert not mac.same(b"12345678", b"12345679")
    assert not mac.same(b"12345678", b"1234567")
    assert not mac.same(b"12345678", b"")
