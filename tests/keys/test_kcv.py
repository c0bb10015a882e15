"""Key check values."""

from typing import Any

import pytest

from keys import kcv
from keys.kcv import Kcv, KcvMethod
from tests.keys.samples import SECOND_KEY, vectors


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
