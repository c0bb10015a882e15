"""Triple DES DUKPT."""

from typing import Any

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import dukpt_tdes, mac, tdes
from keys.errors import KeyRefused, KsnRefused
from keys.ksn import TdesKsn
from keys.pinblock import account_field, encode_format_0
from keys.sensitive import Pan, Pin
from tests.keys.samples import SECOND_KEY, vectors
from tests.keys.test_ksn import tdes_ksns

psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
double_keys = st.binary(min_size=16, max_size=16)
INITIAL_KSN = TdesKsn.parse_initial("FFFF9876543210E00000")
INITIAL = bytes.fromhex("6AC292FAA1315B4D858AB3A3D7D5933A")
WORKING = [
    dukpt_tdes.pin_key,
    dukpt_tdes.mac_request_key,
    dukpt_tdes.mac_response_key,
    dukpt_tdes.data_request_key,
    dukpt_tdes.data_response_key,
]


def initial_of(bdk: bytes, ksn: TdesKsn) -> bytes:
    """The initial key under a BDK that is at hand."""
    return dukpt_tdes.initial_key(tdes.encipherer(bdk), tdes.encipherer(dukpt_tdes.masked(bdk)), ksn)


def transaction_of(vector: dict[str, Any]) -> bytes:
    """The transaction key of a vector."""
    ksn = TdesKsn.parse(vector["inputs"]["ksn"])
    return dukpt_tdes.transaction_key(initial_of(bytes.fromhex(vector["inputs"]["bdk"]), ksn), ksn)


def named(vector: dict[str, Any]) -> str:
    """The name of a vector, for pytest."""
    return str(vector["name"])


@pytest.mark.parametrize("vector", vectors("dukpt.tdes.ik"), ids=named)
def test_initial_key_vectors(vector: dict[str, Any]) -> None:
    """X9.24-1:2009 A.4."""
    ksn = TdesKsn.parse_initial(vector["inputs"]["ksn"])
    assert vector["expected"]["ik"] == initial_of(bytes.fromhex(vector["inputs"]["bdk"]), ksn).hex().upper()


@pytest.mark.parametrize("vector", vectors("dukpt.tdes.0") + vectors("dukpt.tdes.roll"), ids=named)
def test_transaction_key_vectors(vector: dict[str, Any]) -> None:
    """X9.24-1:2009 A.4.2, and A.4.3 where the counter's highest bit comes on."""
    assert vector["expected"]["txn_key"] == transaction_of(vector).hex().upper()


@pytest.mark.parametrize("vector", vectors("dukpt.tdes.0"), ids=named)
def test_working_key_vectors(vector: dict[str, Any]) -> None:
    """X9.24-1:2009 A.4.2: the PIN block, the MACs of request and response, and the data of the request."""
    transaction, given_, expected = transaction_of(vector), vector["inputs"], vector["expected"]
    block = encode_format_0(Pin(given_["pin"]), account_field(Pan(given_["pan"])))
    assert expected["enc_pinblock_iso0"] == tdes.encipherer(dukpt_tdes.pin_key(transaction))(block).hex().upper()

    data = given_["txn_data_ascii"].encode("ascii")
    request = mac.retail(dukpt_tdes.mac_request_key(transaction), 1)(data)
    response = mac.retail(dukpt_tdes.mac_response_key(transaction), 1)(data)
    assert expected["mac_request4"] == request[:4].hex().upper()
    assert expected["mac_response4"] == response[:4].hex().upper()

    chain = tdes.cbc(dukpt_tdes.data_request_key(transaction)).encryptor()
    assert expected["enc_request_data"] == chain.update(data + bytes(-len(data) % 8)).hex().upper()


# The same once more in the manner of a device, which knows neither BDK nor initial key after it was loaded.


def xor(one: bytes, other: bytes) -> bytes:
    """Byte by byte."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def generated(key: bytes, register: bytes) -> bytes:
    """Non-reversible key generation as X9.24-1:2009 A.2 words it, with psec's DES."""
    left, right = key[:8], key[8:]
    register_1 = register
    register_2 = xor(psec.des.encrypt_tdes_ecb(left, xor(register_1, right)), right)
    left, right = xor(left, b"\xc0\xc0\xc0\xc0\0\0\0\0"), xor(right, b"\xc0\xc0\xc0\xc0\0\0\0\0")
    register_1 = xor(psec.des.encrypt_tdes_ecb(left, xor(register_1, right)), right)
    return register_1 + register_2


class Device:
    """A device of X9.24-1:2009 A.2: 21 registers of future keys, each erased when it was used."""

    def __init__(self, initial: bytes, ksn: TdesKsn) -> None:
        self.prefix, self.counter = int.from_bytes(bytes(ksn)), 0
        self.future: dict[int, bytes] = {}
        self._fill(initial, below=21)
        self.counter = 1

    def use(self) -> tuple[str, bytes]:
        """KSN (hex) and key of its next transaction, which it then no longer has."""
        place = (self.counter & -self.counter).bit_length() - 1
        ksn, key = f"{self.prefix | self.counter:020X}", self.future.pop(place)
        if self.counter.bit_count() < 10:
            self._fill(key, below=place)
            self.counter += 1
        else:
            self.counter += 1 << place
        return ksn, key

    def _fill(self, key: bytes, below: int) -> None:
        for place in reversed(range(below)):
            register = (self.prefix | self.counter | 1 << place).to_bytes(10)[2:]
            self.future[place] = generated(key, register)


@psec_warns
def test_every_transaction_of_a_device_in_order() -> None:
    """The first 1200 keys, past a counter that the device skips (2047 has 11 ones)."""
    device, ksn = Device(INITIAL, INITIAL_KSN), INITIAL_KSN
    for _ in range(1200):
        ksn = ksn.following()
        assert (str(ksn), dukpt_tdes.transaction_key(INITIAL, ksn)) == device.use()


@psec_warns
@given(double_keys, tdes_ksns)
def test_walk_same_as_step_by_step(initial: bytes, ksn: TdesKsn) -> None:
    """Each step once more in the words of the standard, and every key on the way is the key of its own counter."""
    key, counter = initial, 0
    found = list(dukpt_tdes.walk(initial, ksn))
    for place in reversed(range(21)):
        if ksn.counter >> place & 1:
            counter |= 1 << place
            here = TdesKsn(ksn.key_set_id, ksn.device_id, counter)
            key = generated(key, bytes(here)[2:])
            assert key == found.pop(0)
            assert key == dukpt_tdes.transaction_key(initial, here)
    assert [] == found
    assert key == dukpt_tdes.transaction_key(initial, ksn)


@psec_warns
@given(double_keys, tdes_ksns)
def test_initial_key_same_for_every_counter(bdk: bytes, ksn: TdesKsn) -> None:
    """The counter has no part in it; psec's triple DES makes the same of the eight first bytes."""
    name = bytes(TdesKsn(ksn.key_set_id, ksn.device_id, 0))[:8]
    other = xor(bdk, bytes.fromhex("C0C0C0C000000000C0C0C0C000000000"))
    expected = psec.des.encrypt_tdes_ecb(bdk, name) + psec.des.encrypt_tdes_ecb(other, name)
    assert expected == initial_of(bdk, ksn)


@psec_warns
@given(double_keys)
def test_working_keys_same_as_by_table(transaction: bytes) -> None:
    """Table A-1: byte 7, 6, 4, 5 and 3 of each half is inverted; the data keys encipher their halves under themselves."""
    variants = []
    for inverted in (7, 6, 4, 5, 3):
        variant = bytearray(transaction)
        for place in (inverted, inverted + 8):
            variant[place] ^= 0xFF
        variants.append(bytes(variant))
    expected = [
        variant if number < 3 else b"".join(psec.des.encrypt_tdes_ecb(variant, half) for half in (variant[:8], variant[8:]))
        for number, variant in enumerate(variants)
    ]  # fmt: skip
    assert expected == [make(transaction) for make in WORKING]


@given(double_keys)
def test_working_keys_differ(transaction: bytes) -> None:
    """No two of a transaction are equal, none of them is the transaction key."""
    assert 6 == len({transaction, *(make(transaction) for make in WORKING)})


def test_distinct_ksns_have_distinct_keys() -> None:
    """The 3000 first transactions of three devices, and working keys of them all."""
    seen = set()
    for device in range(3):
        ksn = TdesKsn(INITIAL_KSN.key_set_id, device, 0)
        initial = initial_of(SECOND_KEY, ksn)
        seen.add(initial)
        for _ in range(1000):
            ksn = ksn.following()
            transaction = dukpt_tdes.transaction_key(initial, ksn)
            seen |= {transaction, *(make(transaction) for make in WORKING)}
    assert 3 + 3 * 1000 * 6 == len(seen)


def test_no_key_for_counter_zero() -> None:
    """The initial key is never the key of a transaction."""
    with pytest.raises(KsnRefused, match="counter zero"):
        dukpt_tdes.transaction_key(INITIAL, INITIAL_KSN)


def test_mask_that_was_not_laid_on_is_noticed() -> None:
    """The same encipherer twice would make an initial key of single DES strength."""
    encipher = tdes.encipherer(SECOND_KEY)
    with pytest.raises(KeyRefused, match="not masked"):
        dukpt_tdes.initial_key(encipher, encipher, INITIAL_KSN)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 24])
def test_keys_of_other_lengths_are_refused(length: int) -> None:
    """Every key of triple DES DUKPT has 16 bytes."""
    key = bytes(range(length))
    for make in [*WORKING, dukpt_tdes.masked]:
        with pytest.raises(KeyRefused, match="16 bytes"):
            make(key)
    with pytest.raises(KeyRefused, match="16 bytes"):
        dukpt_tdes.transaction_key(key, INITIAL_KSN.following())
