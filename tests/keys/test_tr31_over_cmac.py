"""Key blocks opened and written under a KBPK that is known by its CMAC alone, and writers that are used again."""

from collections.abc import Callable
from typing import Any

import psec
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from keys import tdes, tr31
from keys.errors import KeyBlockError
from keys.tr31_header import Header
from tests.keys.samples import vectors
from tests.keys.test_tr31 import (
    AES_KBPK,
    KEY,
    PIN_KEY,
    TDES_HEADER,
    TDES_KBPK,
    VECTORS,
    aes_kbpks,
    psec_warns,
    tdes_kbpks,
)


def token(kbpk: bytes, version: str = "D") -> Callable[[bytes], bytes]:
    """What a token that holds the KBPK does with it, made afresh for each call."""

    def cmac(data: bytes) -> bytes:
        context = CMAC(TripleDES(tdes.expand(kbpk)) if version == "B" else algorithms.AES(kbpk))
        context.update(data)
        return context.finalize()

    return cmac


@given(aes_kbpks, st.sampled_from(["D", "E", "DE"]))
def test_over_cmac(kbpk: bytes, versions: str) -> None:
    """An opener that has only the CMAC of the KBPK opens the same, and asks for no CMAC once it is made."""
    calls = []

    def cmac(data: bytes) -> bytes:
        calls.append(data)
        return token(kbpk)(data)

    opener = tr31.Opener.over_cmac(cmac, 8 * len(kbpk), versions)
    made = len(calls)
    assert 2 <= made <= 8
    if "D" in versions:
        block = tr31.wrap(kbpk, Header("D", "P0", "A", "E"), KEY)
        assert KEY == opener.unwrap(block)[1]
    assert made == len(calls)


def test_over_cmac_version_e() -> None:
    """The published block of version E, from the CMAC of its KBPK."""
    (vector,) = vectors("tr31.E.")
    kbpk = bytes.fromhex(vector["inputs"]["kbpk"])

    _, key = tr31.Opener.over_cmac(token(kbpk), 256, "DE").unwrap(vector["inputs"]["key_block"])
    assert vector["expected"]["key"] == key.hex().upper()


@given(tdes_kbpks)
def test_over_cmac_version_b(kbpk: bytes) -> None:
    """The same of triple DES: what psec and what a writer of the whole key wrote is opened, and no CMAC asked for later."""
    calls = []

    def cmac(data: bytes) -> bytes:
        calls.append(data)
        return token(kbpk, "B")(data)

    opener = tr31.Opener.over_cmac(cmac, 8 * len(kbpk), "B")
    made = len(calls)
    assert 4 <= made <= 6
    block = tr31.wrap(kbpk, TDES_HEADER, KEY)
    assert [(TDES_HEADER, KEY)] * 2 == [opener.unwrap(block), opener.unwrap(block)]
    changed = block[:-1] + ("0" if block[-1] != "0" else "1")
    with pytest.raises(KeyBlockError, match="not authentic"):
        opener.unwrap(changed)
    assert made == len(calls)


@pytest.mark.parametrize("vector", [one for one in VECTORS if ".B." in one["name"]], ids=lambda vector: vector["name"])
def test_over_cmac_vectors_of_version_b(vector: dict[str, Any]) -> None:
    """The published blocks of version B, from the CMAC of their KBPK alone."""
    kbpk = bytes.fromhex(vector["inputs"]["kbpk"])
    _, key = tr31.Opener.over_cmac(token(kbpk, "B"), 128, "B").unwrap(vector["inputs"]["key_block"])
    assert vector["expected"]["key"] == key.hex().upper()


@pytest.mark.parametrize("key_bits", [0, 64, 127, 129, 132, 512])
def test_over_cmac_refuses_other_keys(key_bits: int) -> None:
    """AES keys have three lengths, triple DES keys two."""
    with pytest.raises(KeyBlockError, match="128, 192 or 256"):
        tr31.Opener.over_cmac(lambda _: bytes(16), key_bits)
    for tdes_bits in (key_bits, 256):
        with pytest.raises(KeyBlockError, match="128 or 192 bits"):
            tr31.Opener.over_cmac(lambda _: bytes(8), tdes_bits, "B")


def test_over_cmac_refuses_codes_of_another_length_and_other_versions() -> None:
    """A triple DES CMAC makes no AES keys nor the other way round; A and C want the KBPK itself, and no key is for both."""
    with pytest.raises(KeyBlockError, match="another length"):
        tr31.Opener.over_cmac(lambda _: bytes(8), 256)
    with pytest.raises(KeyBlockError, match="another length"):
        tr31.Opener.over_cmac(lambda _: bytes(16), 128, "B")
    for versions in ("A", "C", "BC", "BD", ""):
        with pytest.raises(KeyBlockError, match="an opener is for"):
            tr31.Opener.over_cmac(lambda _: bytes(8), 128, versions)


@psec_warns
def test_over_cmac_knows_the_strength() -> None:
    """Bits of the KBPK are its strength here too, unless that is waived."""
    kbpk = bytes(range(16))
    stronger = psec.tr31.wrap(kbpk, "D0000D0AE00N0000", AES_KBPK)

    with pytest.raises(KeyBlockError, match="weaker"):
        tr31.Opener.over_cmac(token(kbpk), 128).unwrap(stronger)
    assert AES_KBPK == tr31.Opener.over_cmac(token(kbpk), 128, allow_weak_kbpk=True).unwrap(stronger)[1]
    triple = psec.tr31.wrap(TDES_KBPK[:16], "B0000D0TE00N0000", TDES_KBPK)
    with pytest.raises(KeyBlockError, match="weaker"):
        tr31.Opener.over_cmac(token(TDES_KBPK[:16], "B"), 128, "B").unwrap(triple)
    waived = tr31.Opener.over_cmac(token(TDES_KBPK[:16], "B"), 128, "B", allow_weak_kbpk=True)
    assert TDES_KBPK == waived.unwrap(triple)[1]


@pytest.mark.parametrize(("kbpk", "header"), [(AES_KBPK, PIN_KEY), (TDES_KBPK, TDES_HEADER)])
def test_a_writer_writes_again_and_again(kbpk: bytes, header: Header) -> None:
    """Contexts are made once; a refused key does not put them out of step; what is written is what `wrap` writes."""
    writer = tr31.Writer(kbpk, header.version, random=bytes)
    expected = tr31.wrap(kbpk, header, KEY, random=bytes)
    for _ in range(2):
        assert expected == writer.wrap(header, KEY)
        with pytest.raises(KeyBlockError):
            writer.wrap(header, KEY[:-1])
    assert (header, KEY) == tr31.Opener(kbpk, header.version).unwrap(writer.wrap(header, KEY))


@given(st.sampled_from("BD"), st.data())
def test_a_writer_over_cmac_writes_the_same(version: str, data: st.DataObject) -> None:
    """With the CMAC of the KBPK alone, asked for when it is made and never again; random bytes are those of its source."""
    kbpk = data.draw(aes_kbpks if version == "D" else tdes_kbpks)
    calls = []

    def cmac(text: bytes) -> bytes:
        calls.append(text)
        return token(kbpk, version)(text)

    header = Header(version, "P0", "T", "E")
    writer = tr31.Writer.over_cmac(cmac, 8 * len(kbpk), version, random=bytes)
    made = len(calls)
    assert tr31.wrap(kbpk, header, KEY, random=bytes) == writer.wrap(header, KEY)
    assert made == len(calls) > 0


def test_a_writer_is_for_one_version() -> None:
    """B of triple DES, D of AES, and no header of another."""
    for version, header in (("D", TDES_HEADER), ("B", PIN_KEY)):
        kbpk = AES_KBPK if version == "D" else TDES_KBPK
        for writer in (tr31.Writer(kbpk, version), tr31.Writer.over_cmac(token(kbpk, version), 8 * len(kbpk), version)):
            with pytest.raises(KeyBlockError, match=f"writes key blocks of version {version} alone"):
                writer.wrap(header, KEY)
    for version in ("A", "C", "E", "", "BD"):
        with pytest.raises(KeyBlockError, match="versions B and D"):
            tr31.Writer(AES_KBPK, version)
        with pytest.raises(KeyBlockError, match="versions B and D"):
            tr31.Writer.over_cmac(token(AES_KBPK), 256, version)


def test_a_writer_over_cmac_knows_lengths_and_strength() -> None:
    """As an opener does: key lengths of its cipher, and nothing stronger than the KBPK."""
    for bits, version in ((127, "D"), (64, "D"), (256, "B"), (0, "B")):
        with pytest.raises(KeyBlockError, match="a KBPK for version"):
            tr31.Writer.over_cmac(lambda _: bytes(16), bits, version)
    for writer, header, key in (
        (tr31.Writer.over_cmac(token(bytes(range(16))), 128), PIN_KEY, AES_KBPK),
        (tr31.Writer.over_cmac(token(TDES_KBPK[:16], "B"), 128, "B"), TDES_HEADER, TDES_KBPK),
    ):
        with pytest.raises(KeyBlockError, match="weaker"):
            writer.wrap(header, key)
