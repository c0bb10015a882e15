"""AES DUKPT."""

import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from keys import aes, dukpt_aes
from keys.dukpt_aes import KeyType, Use
from keys.errors import KeyRefused, KsnRefused
from keys.ksn import AesKsn
from tests.keys.samples import vectors
from tests.keys.test_ksn import aes_ksns

INITIAL_KSN = AesKsn.parse_initial("123456789012345600000000")
derivation_keys = st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size))


def initial_of(vector: dict[str, Any], initial_key_id: bytes) -> bytes:
    """The initial key of a vector."""
    bdk = bytes.fromhex(vector["inputs"]["bdk"])
    return dukpt_aes.initial_key(aes.encipherer(bdk), initial_key_id, 8 * len(bdk))


def named(vector: dict[str, Any]) -> str:
    """The name of a vector, for pytest."""
    return str(vector["name"])


INITIAL_VECTORS = vectors("dukpt.aes128.ik") + vectors("dukpt.aes256.ik")
TRANSACTION_VECTORS = [vector for vector in vectors("dukpt.aes") if vector not in INITIAL_VECTORS]
WORKING_VECTORS = [vector for vector in TRANSACTION_VECTORS if len(vector["expected"]) > 1]


@pytest.mark.parametrize("vector", INITIAL_VECTORS, ids=named)
def test_initial_key_vectors(vector: dict[str, Any]) -> None:
    """The supplement of X9.24-3:2017."""
    assert vector["expected"]["ik"] == initial_of(vector, bytes.fromhex(vector["inputs"]["ikid"])).hex().upper()


@pytest.mark.parametrize("vector", TRANSACTION_VECTORS, ids=named)
def test_transaction_key_vectors(vector: dict[str, Any]) -> None:
    """The supplement of X9.24-3:2017: the first counters, some in the middle, and the last."""
    ksn = AesKsn.parse(vector["inputs"]["ksn"])
    found = dukpt_aes.transaction_key(initial_of(vector, ksn.initial_key_id), ksn)
    assert vector["expected"]["txn_key"] == found.hex().upper()


@pytest.mark.parametrize("vector", WORKING_VECTORS, ids=named)
def test_working_key_vectors(vector: dict[str, Any]) -> None:
    """The supplement of X9.24-3:2017: keys of the PIN, MAC generation and data encryption, and a PIN block of format 4."""
    given_, expected = vector["inputs"], dict(vector["expected"])
    transaction, ksn = bytes.fromhex(expected.pop("txn_key")), AesKsn.parse(given_["ksn"])
    block = expected.pop("encrypted_pinblock_verify", None)
    uses = {"pin": Use.PIN_ENCRYPTION, "cmac": Use.MAC_GENERATION, "data": Use.DATA_ENCRYPTION}
    kinds = {"aes128": KeyType.AES_128, "aes256": KeyType.AES_256}
    assert len(expected) >= 3
    for name, key in expected.items():
        use, kind = (
            next(uses[word] for word in uses if word in name),
            next(kinds[word] for word in kinds if word in name),
        )
        assert key == dukpt_aes.working_key(transaction, ksn, use, kind).hex().upper()
    if block:
        encipher = aes.encipherer(dukpt_aes.working_key(transaction, ksn, Use.PIN_ENCRYPTION, KeyType.AES_128))
        account = bytes.fromhex("4" + given_["pan"] + "0" * 15)
        middle = encipher(bytes.fromhex(given_["pin_field"]))
        sealed = encipher(bytes(one ^ other for one, other in zip(middle, account, strict=True)))
        assert block == sealed.hex().upper()


# The same once more from the layout of the derivation data, each block packed and enciphered on its own.

LAYOUT = struct.Struct(">BBHHHII")
"""Version, block, usage, algorithm, bits; then BDK id and derivation id, or derivation id and counter."""

BITS_AND_ALGORITHM = {
    KeyType.TDES_2: (128, 0), KeyType.TDES_3: (192, 1), KeyType.AES_128: (128, 2), KeyType.AES_192: (192, 3),
    KeyType.AES_256: (256, 4), KeyType.HMAC_128: (128, 5), KeyType.HMAC_192: (192, 5), KeyType.HMAC_256: (256, 5),
}  # fmt: skip
AES_OF_BYTES = {16: KeyType.AES_128, 24: KeyType.AES_192, 32: KeyType.AES_256}


def derived(key: bytes, usage: int, kind: KeyType, word_3: int, word_4: int) -> bytes:
    """One key from another."""
    bits, algorithm = BITS_AND_ALGORITHM[kind]
    made = b""
    while 8 * len(made) < bits:
        block = LAYOUT.pack(1, 1 + len(made) // 16, usage, algorithm, bits, word_3, word_4)
        context = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - as the standard defines it
        made += context.update(block) + context.finalize()
    return made[: bits // 8]


def key_at(initial: bytes, derivation_id: int, counter: int) -> bytes:
    """The transaction key by recursion: it is made from the key of the counter without its lowest bit."""
    if counter == 0:
        return initial
    parent = key_at(initial, derivation_id, counter & (counter - 1))
    return derived(parent, 0x8000, AES_OF_BYTES[len(initial)], derivation_id, counter)


class Device:
    """A device of X9.24-3:2017: 32 registers of keys to come, each erased when it was used."""

    def __init__(self, initial: bytes, initial_key_id: bytes) -> None:
        self.initial_key_id, self.counter = initial_key_id, 0
        self.registers: dict[int, bytes] = {}
        self._fill(initial, below=32)
        self.counter = 1

    def use(self) -> tuple[bytes, bytes]:
        """KSN and key of its next transaction, which it then no longer has."""
        place = (self.counter & -self.counter).bit_length() - 1
        ksn, key = self.initial_key_id + self.counter.to_bytes(4), self.registers.pop(place)
        if self.counter.bit_count() < 16:
            self._fill(key, below=place)
            self.counter += 1
        else:
            self.counter += 1 << place
        return ksn, key

    def _fill(self, key: bytes, below: int) -> None:
        derivation_id, kind = int.from_bytes(self.initial_key_id[4:]), AES_OF_BYTES[len(key)]
        for place in range(below):
            self.registers[place] = derived(key, 0x8000, kind, derivation_id, self.counter | 1 << place)


@pytest.mark.parametrize("length", [16, 24, 32])
def test_every_transaction_of_a_device_in_order(length: int) -> None:
    """The first 1000 keys under initial keys of each length."""
    initial, ksn = bytes(range(length)), INITIAL_KSN
    device = Device(initial, ksn.initial_key_id)
    for _ in range(1000):
        ksn = ksn.following()
        assert (bytes(ksn), dukpt_aes.transaction_key(initial, ksn)) == device.use()


@given(derivation_keys, st.binary(min_size=8, max_size=8))
def test_initial_key_same_as_by_layout(bdk: bytes, initial_key_id: bytes) -> None:
    """Under base derivation keys of each length."""
    words = struct.unpack(">II", initial_key_id)
    expected = derived(bdk, 0x8001, AES_OF_BYTES[len(bdk)], *words)
    assert expected == dukpt_aes.initial_key(aes.encipherer(bdk), initial_key_id, 8 * len(bdk))


@given(derivation_keys, aes_ksns)
def test_walk_same_as_step_by_step(initial: bytes, ksn: AesKsn) -> None:
    """Each key on the way is the key of its own counter, the last one that of the KSN."""
    derivation_id = int.from_bytes(ksn.initial_key_id[4:])
    counters = [ksn.counter >> place << place for place in range(32) if ksn.counter >> place & 1]
    expected = [key_at(initial, derivation_id, counter) for counter in reversed(counters)]
    assert expected == list(dukpt_aes.walk(initial, ksn))
    assert expected[-1] == dukpt_aes.transaction_key(initial, ksn)


@given(derivation_keys, aes_ksns, st.sampled_from(Use), st.sampled_from(KeyType))
def test_working_keys_same_as_by_layout(transaction: bytes, ksn: AesKsn, use: Use, kind: KeyType) -> None:
    """Every use and type, triple DES and AES-192 too, of which nothing is published; refused where the rules say so."""
    strengths = {KeyType.TDES_2: 80, KeyType.TDES_3: 112}
    too_strong = strengths.get(kind, BITS_AND_ALGORITHM[kind][0]) > 8 * len(transaction)
    if too_strong or ("HMAC" in kind.name and "MAC" not in use.name):
        with pytest.raises(KeyRefused):
            dukpt_aes.working_key(transaction, ksn, use, kind)
        return
    expected = derived(transaction, use, kind, int.from_bytes(ksn.initial_key_id[4:]), ksn.counter)
    assert expected == dukpt_aes.working_key(transaction, ksn, use, kind)


def test_usage_indicators() -> None:
    """The numbers of the standard."""
    expected = {0x0002, 0x1000, 0x2000, 0x2001, 0x2002, 0x3000, 0x3001, 0x3002}
    assert expected == {int(use) for use in Use}
    assert [0x1000, 0x2001, 0x3001] == [Use.PIN_ENCRYPTION, Use.MAC_VERIFICATION, Use.DATA_DECRYPTION]


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (128, {"TDES_2", "TDES_3", "AES_128", "HMAC_128"}),
        (192, {"TDES_2", "TDES_3", "AES_128", "AES_192", "HMAC_128", "HMAC_192"}),
        (256, {"TDES_2", "TDES_3", "AES_128", "AES_192", "AES_256", "HMAC_128", "HMAC_192", "HMAC_256"}),
    ],
)
def test_working_key_is_not_stronger_than_the_initial_key(bits: int, names: set[str]) -> None:
    """What each initial key may make; triple DES of 192 bits has a strength of 112."""
    ksn, made = INITIAL_KSN.following(), set()
    for kind in KeyType:
        try:
            dukpt_aes.working_key(bytes(bits // 8), ksn, Use.MAC_BOTH_WAYS, kind)
        except KeyRefused:
            continue
        made.add(kind.name)
    assert names == made


@given(st.binary(min_size=32, max_size=32), aes_ksns)
def test_working_keys_differ(transaction: bytes, ksn: AesKsn) -> None:
    """No two uses and no two types share a key, nor the first bytes of one."""
    keys = [
        dukpt_aes.working_key(transaction, ksn, use, kind)[:16]
        for use in Use
        for kind in KeyType
        if "HMAC" not in kind.name or "MAC" in use.name
    ]
    assert 5 * 5 + 3 * 8 == len(keys) == len({*keys})
    assert transaction[:16] not in keys


def test_distinct_ksns_have_distinct_keys() -> None:
    """The first 1000 transactions of three devices: derivation keys and PIN keys."""
    seen = set()
    bdk = aes.encipherer(bytes(range(16)))
    for number in range(3):
        ksn = AesKsn(number.to_bytes(8), 0)
        initial = dukpt_aes.initial_key(bdk, ksn.initial_key_id, 128)
        seen.add(initial)
        for _ in range(1000):
            ksn = ksn.following()
            transaction = dukpt_aes.transaction_key(initial, ksn)
            seen |= {transaction, dukpt_aes.working_key(transaction, ksn, Use.PIN_ENCRYPTION, KeyType.AES_128)}
    assert 3 + 3 * 1000 * 2 == len(seen)


def test_no_key_for_counter_zero() -> None:
    """The initial key is never the key of a transaction."""
    with pytest.raises(KsnRefused, match="counter zero"):
        dukpt_aes.transaction_key(bytes(16), INITIAL_KSN)
    with pytest.raises(KsnRefused, match="counter zero"):
        dukpt_aes.working_key(bytes(16), INITIAL_KSN, Use.PIN_ENCRYPTION, KeyType.AES_128)


@pytest.mark.parametrize("length", [0, 7, 9, 12])
def test_initial_key_ids_of_other_lengths_are_refused(length: int) -> None:
    """It has 8 bytes."""
    with pytest.raises(KsnRefused, match="8 bytes"):
        dukpt_aes.initial_key(aes.encipherer(bytes(16)), bytes(length), 128)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 33])
def test_keys_of_other_lengths_are_refused(length: int) -> None:
    """Every derivation key of AES DUKPT is an AES key."""
    ksn = INITIAL_KSN.following()
    with pytest.raises(KeyRefused, match="128, 192 or 256"):
        dukpt_aes.initial_key(aes.encipherer(bytes(16)), ksn.initial_key_id, 8 * length)
    with pytest.raises(KeyRefused, match="128, 192 or 256"):
        dukpt_aes.transaction_key(bytes(length), ksn)
    with pytest.raises(KeyRefused, match="128, 192 or 256"):
        dukpt_aes.working_key(bytes(length), ksn, Use.PIN_ENCRYPTION, KeyType.AES_128)
