"""Key blocks."""

from typing import Any

import psec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keys import tdes, tr31
from keys.errors import KeyBlockError, KeyRefused
from keys.tr31_header import Header
from tests.keys.samples import vectors
from tests.keys.test_tr31_header import headers

psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
VECTORS = vectors("tr31.")
AES_KBPK = bytes(range(32))
TDES_KBPK = bytes.fromhex("0123456789ABCDEFFEDCBA98765432101122334455667788")
KEY = bytes(range(0x50, 0x60))
PIN_KEY = Header("D", "P0", "A", "E", blocks=(("LB", "zone key"),))
TDES_HEADER = Header("B", "P0", "T", "E", blocks=(("LB", "zone key"),))


def sound(kbpk: bytes) -> bool:
    """Whether a triple DES key has no equal and no weak parts."""
    try:
        tdes.refuse_weak(kbpk)
    except KeyRefused:
        return False
    return True


def of(*lengths: int) -> st.SearchStrategy[bytes]:
    """Bytes of one of these lengths."""
    return st.sampled_from(lengths).flatmap(lambda length: st.binary(min_size=length, max_size=length))


def keys_for(algorithm: str) -> st.SearchStrategy[bytes]:
    """Keys of an algorithm."""
    return {"T": of(16, 24), "A": of(16, 24, 32)}.get(algorithm, st.binary(min_size=1, max_size=90))


def open_one(kbpk: bytes, block: str) -> tuple[Header, bytes]:
    """By an opener made for this block alone, weak or not."""
    return tr31.Opener(kbpk, block[0], allow_weak_kbpk=True).unwrap(block)


aes_kbpks = of(16, 24, 32)
tdes_kbpks = of(16, 24).filter(sound)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """TR-31:2018, X9.143:2021, ISO 20038:2017 and a payShield 10K, with a KBPK as strong as it should be."""
    block = vector["inputs"]["key_block"]
    header, key = tr31.Opener(bytes.fromhex(vector["inputs"]["kbpk"]), block[0]).unwrap(block)
    assert vector["expected"]["key"] == key.hex().upper()
    assert block[5:7] == header.usage


@pytest.mark.parametrize("name", ["tr31.D.test8", "tr31.D.test11", "tr31.D.test7", "tr31.B.test16"])
def test_vectors_are_written_the_same(name: str) -> None:
    """With the random bytes of a published block that hides its key's length, the same block is written."""
    (vector,) = vectors(name)
    block, kbpk = vector["inputs"]["key_block"], bytes.fromhex(vector["inputs"]["kbpk"])
    opener = tr31.Opener(kbpk, block[0])
    header, key = opener.unwrap(block)
    end = len(header.build(0))
    sealed, tag = bytes.fromhex(block[end:]), 16 if block[0] == "D" else 8
    fill = opener._opens[block[0]](block[:end].encode("ascii"), sealed[:-tag], sealed[-tag:])[2 + len(key) :]
    assert block == tr31.wrap(kbpk, header, key, random=lambda count: fill[:count])


@given(st.data(), headers("BD"))
def test_there_and_back(data: st.DataObject, header: Header) -> None:
    """Any key under a KBPK that is strong enough comes back with its header; under a weaker one nothing is written."""
    assume(header.algorithm != "D")
    kbpk = data.draw(aes_kbpks if header.version == "D" else tdes_kbpks)
    key = data.draw(keys_for(header.algorithm))
    try:
        tr31.check_strength(tr31.kbpk_strength(kbpk, header.version), header.algorithm, len(key))
    except KeyBlockError:
        with pytest.raises(KeyBlockError, match="weaker"):
            tr31.wrap(kbpk, header, key)
        return
    opener = tr31.Opener(kbpk, header.version)
    block = tr31.wrap(kbpk, header, key)
    assert [(header, key)] * 2 == [opener.unwrap(block), opener.unwrap(block)]


@psec_warns
@given(st.data(), headers("BD"))
def test_psec_reads_what_is_written(data: st.DataObject, header: Header) -> None:
    """The psec package finds the same key and the same header."""
    assume(header.algorithm in "TAH")
    kbpk = data.draw(of(32) if header.version == "D" else of(24).filter(sound))
    key = data.draw(keys_for(header.algorithm) if header.version == "D" else of(16, 24))
    assume(header.version == "D" or header.algorithm == "T")
    theirs, found = psec.tr31.unwrap(kbpk, tr31.wrap(kbpk, header, key))
    assert key == found
    assert header.usage + header.algorithm + header.mode == theirs.key_usage + theirs.algorithm + theirs.mode_of_use
    assert header.key_version + header.exportability == theirs.version_num + theirs.exportability
    assert dict(header.blocks) == dict(theirs.blocks)


@psec_warns
@given(st.data(), headers("ABCD"))
def test_what_psec_writes_is_read(data: st.DataObject, header: Header) -> None:
    """The same the other way, for A and C too, under KBPKs of every length."""
    assume(header.algorithm != "D")
    kbpk = data.draw(aes_kbpks if header.version == "D" else tdes_kbpks)
    key = data.draw(keys_for(header.algorithm))
    theirs = psec.tr31.Header(
        header.version, header.usage, header.algorithm, header.mode, header.key_version, header.exportability
    )
    for name, text in header.blocks:
        theirs.blocks[name] = text
    assert (header, key) == open_one(kbpk, psec.tr31.wrap(kbpk, theirs, key))


def test_what_is_written_hides_the_length_of_its_key() -> None:
    """All AES keys make blocks of one length, and all triple DES keys."""
    aes_blocks = {len(tr31.wrap(AES_KBPK, PIN_KEY, bytes(length))) for length in (16, 24, 32)}
    tdes_blocks = {len(tr31.wrap(TDES_KBPK, TDES_HEADER, bytes(length))) for length in (16, 24)}
    under_aes = {len(tr31.wrap(AES_KBPK, Header("D", "P0", "T", "E"), bytes(length))) for length in (16, 24)}
    assert [1, 1, 1] == [len(aes_blocks), len(tdes_blocks), len(under_aes)]


def test_random_bytes_are_new_in_each_block() -> None:
    """Two blocks of one key differ; with the same random bytes they do not."""
    assert tr31.wrap(AES_KBPK, PIN_KEY, KEY) != tr31.wrap(AES_KBPK, PIN_KEY, KEY)
    assert tr31.wrap(AES_KBPK, PIN_KEY, KEY, random=bytes) == tr31.wrap(AES_KBPK, PIN_KEY, KEY, random=bytes)
    with pytest.raises(KeyBlockError, match="random"):
        tr31.wrap(AES_KBPK, PIN_KEY, KEY, random=lambda count: bytes(count + 1))


def forge(version: str, clear: bytes, algorithm: str = "A") -> tuple[bytes, str]:
    """A block of version D with a right MAC over clear bytes that no honest sender has, and its KBPK."""
    writer = tr31.Writer(AES_KBPK if version == "D" else TDES_KBPK, version)
    unit = writer._unit
    text = Header(version, "P0", algorithm, "E").build(2 * (len(clear) + unit))
    tag = writer._code(text.encode("ascii") + clear)
    first = bytes(one ^ other for one, other in zip(clear[:unit], tag, strict=True))
    sealed = writer._chain.encryptor().update(first + clear[unit:])
    return (AES_KBPK if version == "D" else TDES_KBPK), text + (sealed + tag).hex().upper()


@pytest.mark.parametrize("version", ["B", "D"])
@pytest.mark.parametrize(
    ("bits", "said"),
    [
        *((bits, "whole bytes") for bits in (0, 1, 127, 129, 376, 380, 65528, 65535)),
        *((bits, "none of algorithm") for bits in (64, 136)),
    ],
)
def test_key_lengths_that_are_not_there(version: str, bits: int, said: str) -> None:
    """Even with a right MAC: not bytes, more than there is, or no length of the algorithm."""
    kbpk, block = forge(version, bits.to_bytes(2) + bytes(46), "T")
    with pytest.raises(KeyBlockError, match=said):
        tr31.Opener(kbpk, version).unwrap(block)


@pytest.mark.parametrize(("algorithm", "length"), [("T", 8), ("T", 32), ("A", 8), ("A", 17), ("H", 0), ("R", 0)])
def test_key_lengths_that_an_algorithm_has_not(algorithm: str, length: int) -> None:
    """Neither written nor read."""
    with pytest.raises(KeyBlockError, match=f"none of algorithm {algorithm}"):
        tr31.wrap(AES_KBPK, Header("D", "P0", algorithm, "E"), bytes(length))
    kbpk, block = forge("D", (8 * length).to_bytes(2) + bytes(46), algorithm)
    with pytest.raises(KeyBlockError, match=f"none of algorithm {algorithm}" if length else "whole bytes"):
        tr31.Opener(kbpk).unwrap(block)


def test_single_des_is_refused() -> None:
    """Neither written nor read, however long the key."""
    for length in (8, 16):
        with pytest.raises(KeyBlockError, match="single DES"):
            tr31.wrap(AES_KBPK, Header("D", "P0", "D", "E"), bytes(length))
        kbpk, block = forge("D", (8 * length).to_bytes(2) + bytes(46), "D")
        with pytest.raises(KeyBlockError, match="single DES"):
            tr31.Opener(kbpk, allow_weak_kbpk=True).unwrap(block)


@pytest.mark.parametrize("version", ["A", "C", "E"])
def test_other_versions_are_not_written(version: str) -> None:
    """A and C are of old, E is only read."""
    with pytest.raises(KeyBlockError, match="versions B and D"):
        tr31.wrap(AES_KBPK, Header(version, "P0", "T", "E"), KEY)


def test_keys_too_long_for_a_block() -> None:
    """9999 characters hold no key of 5000 bytes, nor one whose bits need more than two bytes."""
    for length in (5000, 8192, 100_000):
        with pytest.raises(KeyBlockError, match="9999"):
            tr31.wrap(AES_KBPK, Header("D", "S0", "R", "S"), bytes(length))
    longest = bytes(4900)
    assert longest == tr31.Opener(AES_KBPK).unwrap(tr31.wrap(AES_KBPK, Header("D", "S0", "R", "S"), longest))[1]


@pytest.mark.parametrize(("versions", "lengths"), [("D", (0, 8, 15, 33)), ("E", (8,)), ("B", (8, 32)), ("AC", (8, 0))])
def test_kbpks_of_other_lengths(versions: str, lengths: tuple[int, ...]) -> None:
    """Not the lengths of AES; not those of triple DES; single DES never, waived or not."""
    for length in lengths:
        with pytest.raises(KeyBlockError, match="KBPK has 16"):
            tr31.Opener(bytes(range(length)), versions, allow_weak_kbpk=True)
        with pytest.raises(KeyBlockError, match="KBPK has 16"):
            tr31.kbpk_strength(bytes(range(length)), versions[0])


@pytest.mark.parametrize("versions", ["", "F", "BD", "DB", "d", "ABCDE", "AE"])
def test_an_opener_is_for_one_cipher(versions: str) -> None:
    """A KBPK is an AES key or a triple DES key, never both."""
    with pytest.raises(KeyBlockError, match="for versions D and E, or for A, B and C"):
        tr31.Opener(bytes(range(16)), versions)


ONE, TWO, THREE = TDES_KBPK[:8], TDES_KBPK[8:16], TDES_KBPK[16:]


@pytest.mark.parametrize(
    ("kbpk", "version", "bits"),
    [
        (bytes(16), "D", 128),
        (bytes(24), "D", 192),
        (bytes(32), "E", 256),
        (ONE + TWO, "B", 80),
        (ONE + TWO + THREE, "A", 112),
        (ONE + TWO + ONE, "B", 80),
        (ONE + TWO + bytes(byte ^ 1 for byte in ONE), "B", 80),
        (ONE + ONE, "C", 0),
        (ONE + ONE + TWO, "B", 0),
        (ONE + TWO + TWO, "B", 0),
        (bytes.fromhex("0101010101010101") + TWO, "B", 0),
    ],
)
def test_strength_of_a_kbpk(kbpk: bytes, version: str, bits: int) -> None:
    """By length, and for triple DES by what its parts leave of it, parity aside."""
    assert bits == tr31.kbpk_strength(kbpk, version)


@psec_warns
def test_a_degenerate_kbpk_protects_nothing() -> None:
    """It neither opens nor writes, unless a block of old is to be read."""
    kbpk = ONE + ONE
    block = psec.tr31.wrap(kbpk, TDES_HEADER.build(0), KEY)
    with pytest.raises(KeyBlockError, match="equal or weak parts"):
        tr31.Opener(kbpk, "B")
    with pytest.raises(KeyBlockError, match="weaker"):
        tr31.wrap(kbpk, TDES_HEADER, KEY)
    assert KEY == tr31.Opener(kbpk, "B", allow_weak_kbpk=True).unwrap(block)[1]


STRENGTHS = [
    ("T", 16, 80), ("T", 24, 112), ("A", 16, 128), ("A", 24, 192), ("A", 32, 256), ("H", 10, 80), ("H", 16, 128),
    ("H", 64, 256), ("R", 100, 256), ("E", 32, 256), ("S", 20, 256),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "length", "bits"), STRENGTHS)
@pytest.mark.parametrize("kbpk_bits", [0, 80, 112, 128, 192, 256])
def test_a_kbpk_never_protects_a_stronger_key(algorithm: str, length: int, bits: int, kbpk_bits: int) -> None:
    """The whole table: AES-256 wraps everything, the others what is not stronger."""
    if kbpk_bits >= bits:
        tr31.check_strength(kbpk_bits, algorithm, length)
    else:
        with pytest.raises(KeyBlockError, match="weaker than the key it protects"):
            tr31.check_strength(kbpk_bits, algorithm, length)


@pytest.mark.parametrize(
    ("version", "kbpk", "algorithm", "key"),
    [
        ("B", ONE + TWO, "T", TDES_KBPK),
        ("B", TDES_KBPK, "A", KEY),
        ("D", bytes(16), "A", AES_KBPK),
        ("D", bytes(24), "A", AES_KBPK),
        ("D", bytes(24), "R", KEY),
        ("C", ONE + TWO, "T", TDES_KBPK),
    ],
)
@psec_warns
def test_weak_kbpks_are_refused_on_both_ways(version: str, kbpk: bytes, algorithm: str, key: bytes) -> None:
    """Not written; not read, although authentic, unless that is waived by name."""
    header = Header(version, "K0", algorithm, "B")
    block = psec.tr31.wrap(kbpk, header.build(0), key)
    if version != "C":
        with pytest.raises(KeyBlockError, match="weaker"):
            tr31.wrap(kbpk, header, key)
    with pytest.raises(KeyBlockError, match="weaker"):
        tr31.Opener(kbpk, version).unwrap(block)
    assert (header, key) == tr31.Opener(kbpk, version, allow_weak_kbpk=True).unwrap(block)


def test_no_message_holds_the_block_or_the_key() -> None:
    """Whatever is refused, its text is not repeated: it might be a clear key in the wrong field."""
    secret = "C1EA4BADC0DE" * 4
    for block in (
        secret,
        f"D{len(secret) + 16:04d}P0AE00N0000{secret}",
        f"D{len(secret) + 20:04d}P0AE00N0100LBFF{secret}",
    ):
        with pytest.raises(KeyBlockError) as caught:
            tr31.Opener(AES_KBPK).unwrap(block)
        assert secret[:6] not in str(caught.value)
        assert caught.value.__cause__ is None
    for holder in (tr31.Opener(AES_KBPK), tr31.Writer(AES_KBPK)):
        assert AES_KBPK.hex() not in repr(holder).lower()
