"""Key check values."""

import hashlib
from typing import Any

import pytest

from keys import kcv, mac, rsa_keys, tdes
from keys.kcv import Kcv, KcvMethod
from tests.keys.samples import SECOND_KEY, rsa_private, vectors


@pytest.mark.parametrize(
    "vector", vectors("kcv.aes.cmac") + vectors("kcv.aes256.cmac"), ids=lambda vector: vector["name"]
)
def test_aes_vectors(vector: dict[str, Any]) -> None:
    """X9.143: five bytes of a CMAC."""
    expected = Kcv(vector["expected"]["kcv5"], KcvMethod.AES_CMAC_ZERO)
    assert expected == kcv.of_aes(bytes.fromhex(vector["inputs"]["key"]))


def test_legacy_vector() -> None:
    """The zero block enciphered: told with its method, so it is never taken for the other."""
    (vector,) = vectors("kcv.aes.legacy")
    found = kcv.of_aes_legacy(bytes.fromhex(vector["inputs"]["key"]))
    assert Kcv(vector["expected"]["kcv3"], KcvMethod.AES_ECB_ZERO) == found


def test_tdes_vector() -> None:
    """Three bytes of the zero block, of a double key and of the same key written as triple."""
    expected = Kcv("08D7B4", KcvMethod.TDES_ECB_ZERO)
    assert [expected] * 2 == [kcv.of_tdes(SECOND_KEY), kcv.of_tdes(SECOND_KEY + SECOND_KEY[:8])]


def test_hmac_is_five_bytes_with_its_method() -> None:
    """Two keys are told apart; the method is kept beside the value."""
    one, other = kcv.of_hmac(bytes(31) + b"\x01"), kcv.of_hmac(bytes(31) + b"\x02")
    assert one.value != other.value
    assert (10, KcvMethod.HMAC_SHA256_ZERO) == (len(one.value), one.method)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("08D7B4", True), (" 08d7b4\n", True), ("08D7B5", False), ("08D7", False), ("", False), ("ä", False)],
)
def test_same_as(typed: str, expected: bool) -> None:  # noqa: FBT001 - a table of cases
    """What somebody types is compared whole, case and spaces aside."""
    assert expected is kcv.of_tdes(SECOND_KEY).same_as(typed)


@pytest.mark.parametrize(
    ("made", "method", "length"),
    [
        (kcv.of_tdes(SECOND_KEY), KcvMethod.TDES_ECB_ZERO, 3),
        (kcv.of_tdes(SECOND_KEY + bytes(range(8))), KcvMethod.TDES_ECB_ZERO, 3),
        (kcv.of_aes(bytes(range(16))), KcvMethod.AES_CMAC_ZERO, 5),
        (kcv.of_aes(bytes(range(32))), KcvMethod.AES_CMAC_ZERO, 5),
        (kcv.of_aes_legacy(bytes(range(24))), KcvMethod.AES_ECB_ZERO, 3),
        (kcv.of_hmac(bytes(range(64))), KcvMethod.HMAC_SHA256_ZERO, 5),
        (kcv.of_rsa(rsa_private()), KcvMethod.RSA_SHA256, 5),
    ],
    ids=lambda one: str(getattr(one, "method", one)),
)
def test_never_longer_than_it_may_be(made: Kcv, method: KcvMethod, length: int) -> None:
    """3 bytes of triple DES, 5 of all others: a longer one would tell of the key. In upper case hex, with its method."""
    assert (method, 2 * length) == (made.method, len(made.value))
    assert made.value == made.value.upper() == str(made)
    assert bytes.fromhex(made.value).hex().upper() == made.value


def test_both_halves_of_an_rsa_pair_have_one() -> None:
    """The SHA-256 of the SubjectPublicKeyInfo, as openssl prints it; partners compare it."""
    public = rsa_keys.public_of(rsa_private())
    assert kcv.of_rsa(rsa_private()) == kcv.of_rsa(public)
    assert hashlib.sha256(public).hexdigest()[:10].upper() == kcv.of_rsa(public).value


def test_token_gives_the_same_of_what_it_computed() -> None:
    """Where the key is in a token, the value is made of an enciphered zero block, or the code of one."""
    key = bytes(range(32))
    assert kcv.of_tdes(SECOND_KEY) == kcv.of_tdes_block(tdes.encipherer(SECOND_KEY)(bytes(8)))
    assert kcv.of_aes(key) == kcv.of_aes_code(mac.aes_cmac(key)(bytes(16)))
    assert kcv.of_hmac(key) == kcv.of_hmac_code(mac.hmac_sha256(key)(bytes(16)))


def test_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the one function for it, whole, whatever was typed."""
    asked: list[tuple[bytes, bytes]] = []

    def same(one: bytes, other: bytes) -> bool:
        asked.append((one, other))
        return True

    monkeypatch.setattr(mac, "same", same)
    assert kcv.of_tdes(SECOND_KEY).same_as("000000")
    assert [(b"08D7B4", b"000000")] == asked
