"""Every back end: MACs of every usage, sealing, blind indexes, randomness, the self test."""

from __future__ import annotations

import hashlib
import hmac as stdlib_hmac
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import psec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import kcv, mac, signing
from keys.errors import KeyRefused, SelfTestFailed, VaultError
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.signing import Encoding
from tests.keys.at_work import Kind, formed, key_of, new_label
from tests.keys.samples import SECOND_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
TEXTS = [
    b"",
    b"a",
    b"1234567",
    b"12345678",
    b"123456789",
    bytes(15),
    bytes(16),
    bytes(17),
    bytes(range(200)),
    b"x" * 70_000,
]


class Code(NamedTuple):
    """One kind of MAC: its key's specification, the key, and the same code by the pure functions."""

    spec: KeySpec
    key: bytes
    make: Callable[[bytes], bytes]
    lengths: range

    def __str__(self) -> str:
        attributes = self.spec.attributes or KeyAttributes()
        parts = (self.spec.usage.name, self.spec.algorithm, 8 * len(self.key), attributes.padding, attributes.digest)
        return "-".join(str(part) for part in parts if part is not None)


def codes() -> list[Code]:
    """Every usage, algorithm, length, padding and digest."""
    found = []
    for padding in (1, 2, 3):
        attributes = KeyAttributes(padding=padding, mac_length=8)
        for length in (16, 24):
            key = key_of(Kind(KeyUsage.MAC_CBC, Algorithm.TDES, 8 * length))
            found.append(
                Code(KeySpec(KeyUsage.MAC_CBC, attributes=attributes), key, mac.cbc_mac(key, padding), range(4, 9))
            )
        spec = KeySpec(KeyUsage.MAC_RETAIL, attributes=attributes)
        found.append(Code(spec, SECOND_KEY, mac.retail(SECOND_KEY, padding), range(4, 9)))
    for algorithm, lengths, make in (
        (Algorithm.AES, (16, 24, 32), mac.aes_cmac),
        (Algorithm.TDES, (16, 24), mac.tdes_cmac),
    ):
        for length in lengths:
            key = key_of(Kind(KeyUsage.MAC_CMAC, algorithm, 8 * length))
            most = 16 if algorithm is Algorithm.AES else 8
            spec = KeySpec(KeyUsage.MAC_CMAC, algorithm, attributes=KeyAttributes(mac_length=most))
            found.append(Code(spec, key, make(key), range(4, most + 1)))
    for digest, most, make in (("SHA-256", 32, mac.hmac_sha256), ("SHA-512", 64, mac.hmac_sha512)):
        for length in (32, 33, 63, 64):
            key = key_of(Kind(KeyUsage.MAC_HMAC, Algorithm.HMAC, 8 * length))
            spec = KeySpec(KeyUsage.MAC_HMAC, attributes=KeyAttributes(mac_length=most, digest=digest))
            found.append(Code(spec, key, make(key), range(16, most + 1)))
    return found


CODES = codes()
every_code = pytest.mark.parametrize("code", CODES, ids=str)


def with_length(spec: KeySpec, length: int) -> KeySpec:
    """The same MAC, cut to LENGTH bytes."""
    attributes = spec.attributes or KeyAttributes()
    cut = KeyAttributes(padding=attributes.padding, mac_length=length, digest=attributes.digest)
    return KeySpec(spec.usage, spec.algorithm, spec.mode, attributes=cut)


@every_code
def test_codes_same_as_the_pure_functions(hsm: Hsm, code: Code) -> None:
    """Of texts of every length, none and long ones, again and again with one key; verified, and nothing else is."""
    handle = formed(hsm, code.spec, code.key)
    for text in (*TEXTS, *TEXTS[:3]):
        made = hsm.mac(handle, text)
        assert code.make(text) == made
        assert hsm.verify_mac(handle, text, made)
        wrong = [b"", made[:-1], made[1:], made + b"\x00", bytes(len(made)), made[:-1] + bytes([made[-1] ^ 1])]
        assert [False] * len(wrong) == [hsm.verify_mac(handle, text, one) for one in wrong]
        assert not hsm.verify_mac(handle, text + b"\x01", made)


@every_code
def test_codes_are_as_long_as_the_key_says(hsm: Hsm, code: Code) -> None:
    """The leftmost bytes, from the fewest that are taken to all; a code of another length is not right, whole as it may be."""
    whole = code.make(b"message")
    assert len(whole) == code.lengths[-1]
    for length in {code.lengths[0], code.lengths[-1] - 1, code.lengths[-1]}:
        handle = formed(hsm, with_length(code.spec, length), code.key)
        assert whole[:length] == hsm.mac(handle, b"message")
        for other in range(len(whole) + 1):
            assert (other == length) is hsm.verify_mac(handle, b"message", whole[:other])
    for length in (code.lengths[0] - 1, code.lengths[-1] + 1, 0):
        with pytest.raises(KeyRefused, match="length"):
            formed(hsm, with_length(code.spec, length), code.key)


@psec_warns
@settings(max_examples=30)
@given(
    st.binary(max_size=100),
    st.sampled_from([code for code in CODES if code.spec.usage is not KeyUsage.MAC_HMAC]),
)
def test_codes_same_as_psec(hsm: Hsm, text: bytes, code: Code) -> None:
    """ISO 9797-1 algorithms 1 and 3, by another package."""
    if code.spec.attributes is None or code.spec.attributes.padding is None:
        return
    padding, made = code.spec.attributes.padding, hsm.mac(formed(hsm, code.spec, code.key), text)
    if code.spec.usage is KeyUsage.MAC_CBC:
        assert psec.mac.generate_cbc_mac(code.key, text, padding) == made
    else:
        assert psec.mac.generate_retail_mac(code.key[:8], code.key[8:], text, padding) == made


def test_every_kind_of_code_differs(hsm: Hsm) -> None:
    """No two kinds make the same of one text: none is mistaken for another."""
    assert len(CODES) == len({hsm.mac(formed(hsm, code.spec, code.key), b"12345678").hex() for code in CODES})


@every_code
def test_one_makes_and_another_verifies(hsm: Hsm, code: Code) -> None:
    """Each way of a link may have its own key."""
    modes = (KeyMode.GENERATE, KeyMode.VERIFY)
    makes, checks = (
        formed(hsm, KeySpec(code.spec.usage, code.spec.algorithm, mode, attributes=code.spec.attributes), code.key)
        for mode in modes
    )
    made = hsm.mac(makes, b"message")
    assert hsm.verify_mac(checks, b"message", made)
    with pytest.raises(KeyRefused, match="VERIFY_MAC"):
        hsm.verify_mac(makes, b"message", made)
    with pytest.raises(KeyRefused, match="MAKE_MAC"):
        hsm.mac(checks, b"message")


def test_codes_from_link_to_link(hsm: Hsm) -> None:
    """The same message under another key, of another kind too; nothing where the first code is not right."""
    handles = [(formed(hsm, code.spec, code.key), code) for code in CODES[::3]]
    for source, one in handles:
        for target, other in handles:
            assert other.make(b"message") == hsm.translate_mac(source, target, b"message", one.make(b"message"))
            for wrong in (b"", one.make(b"massage"), one.make(b"message")[:-1]):
                assert hsm.translate_mac(source, target, b"message", wrong) is None
    (source, one), (target, _) = handles[0], handles[1]
    checks = formed(hsm, KeySpec(KeyUsage.MAC_RETAIL, mode=KeyMode.VERIFY), SECOND_KEY)
    with pytest.raises(KeyRefused, match="MAKE_MAC"):
        hsm.translate_mac(source, checks, b"message", one.make(b"message"))
    with pytest.raises(KeyRefused, match="VERIFY_MAC"):
        hsm.translate_mac(
            formed(hsm, KeySpec(KeyUsage.MAC_RETAIL, mode=KeyMode.GENERATE), SECOND_KEY), target, b"", b""
        )


SECRET_LENGTHS = [16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 200, 1024]
V, G = KeyMode.VERIFY, KeyMode.GENERATE


def secret_of(length: int) -> bytes:
    """Text, as a partner's portal shows it."""
    return hashlib.shake_256(b"an invented partner").hexdigest(length)[:length].encode("ascii")


@pytest.mark.parametrize("length", SECRET_LENGTHS)
@pytest.mark.parametrize("digest", ["sha512", "sha256"])
def test_partners_secrets(hsm: Hsm, length: int, digest: str) -> None:
    """Of any length: the HMAC of the secret itself (RFC 2104), by one key to make it and another to verify it."""
    secret, name = secret_of(length), {"sha512": "SHA-512", "sha256": "SHA-256"}[digest]
    whole = KeyAttributes(digest=name, mac_length=64 if digest == "sha512" else 32)
    makes, checks = (
        hsm.import_secret(new_label(), secret, KeySpec(KeyUsage.MAC_HMAC, mode=mode, attributes=whole))
        for mode in (G, V)
    )
    code = stdlib_hmac.digest(secret, b"message", digest)
    assert code == hsm.mac(makes, b"message")
    assert hsm.verify_mac(checks, b"message", code)
    for wrong in (code[:-1], b"", stdlib_hmac.digest(secret, b"massage", digest)):
        assert not hsm.verify_mac(checks, b"message", wrong)
    assert kcv.of_hmac(signing.secret_key(secret, name)) == hsm.kcv(checks) == hsm.kcv(makes)
    with pytest.raises(KeyRefused, match="MAKE_MAC"):
        hsm.mac(checks, b"message")
    with pytest.raises(KeyRefused, match="VERIFY_MAC"):
        hsm.verify_mac(makes, b"message", code)


def test_a_secret_alone_verifies_by_sha_512(hsm: Hsm) -> None:
    """What a partner signs by SNAP, the whole code; another one of the same label is its next version."""
    label = new_label()
    handle = hsm.import_secret(label, secret_of(40))
    info = hsm.info(handle)
    assert (KeyUsage.MAC_HMAC, V, 320, "SHA-512", 64) == (
        info.usage, info.mode, info.bits, info.attributes.digest, info.attributes.mac_length,
    )  # fmt: skip
    assert 2 == hsm.import_secret(label, secret_of(50)).version


@pytest.mark.parametrize("length", [0, 1, 15, 1025])
def test_secrets_that_are_too_short_or_endless(hsm: Hsm, length: int) -> None:
    """Fewer than 16 bytes are weak, whatever they are made of."""
    with pytest.raises(KeyRefused, match="16 to 1024 bytes"):
        hsm.import_secret(new_label(), secret_of(length))


def test_secrets_that_cannot_be(hsm: Hsm) -> None:
    """One letter again and again, however long; for another usage, both ways, or a digest that is not made."""
    before = hsm.keys()
    for length in (16, 64, 100, 200):
        with pytest.raises(KeyRefused, match="one byte again"):
            hsm.import_secret(new_label(), b"x" * length)
    for spec, said in (
        (KeySpec(KeyUsage.BLIND_INDEX), "of usage M7"),
        (KeySpec(KeyUsage.MAC_HMAC, mode=KeyMode.GENERATE_AND_VERIFY), "one of the two"),
        (KeySpec(KeyUsage.MAC_HMAC, attributes=KeyAttributes(digest="SHA-1", mac_length=20)), "for SHA-256 or SHA-512"),
        (KeySpec(KeyUsage.MAC_HMAC, bits=512), "has 320 bits, not the 512 asked for"),
    ):
        with pytest.raises(KeyRefused, match=said):
            hsm.import_secret(new_label(), secret_of(40), spec)
    for length in (16, 31, 128):  # lengths of secrets alone: no key is made or formed so
        with pytest.raises(KeyRefused, match="takes no HMAC key"):
            hsm.generate(KeySpec(KeyUsage.MAC_HMAC, bits=8 * length), new_label())
    assert before == hsm.keys()


def test_snap_by_rsa_and_by_hmac(hsm: Hsm) -> None:
    """A partner asks for a token by RSA and for a transaction by HMAC; both are verified here, by commands alone."""
    theirs = hsm.generate(KeyUsage.SIGNATURE, new_label())
    public = hsm.import_signing_key(new_label(), hsm.public_key(theirs))
    signs, checks = (
        hsm.import_secret(new_label(), secret_of(44), KeySpec(KeyUsage.MAC_HMAC, mode=mode)) for mode in (G, V)
    )
    when = "2026-10-05T09:00:00+07:00"
    token = signing.token_string("an-invented-client", when)
    body = b'{ "amount" : { "value" : "10000.00", "currency" : "IDR" } }'
    transaction = signing.symmetric_string("POST", "/v1.0/transfer-intrabank", "a-token", body, when)
    for data, sign, verify in (
        (token, partial(hsm.sign, theirs), partial(hsm.verify_signature, public)),
        (transaction, partial(hsm.mac, signs), partial(hsm.verify_mac, checks)),
    ):
        for encoding in Encoding:
            text = signing.sign_text(sign, data, encoding)
            assert signing.verify_text(verify, data, text, encoding)
            assert not signing.verify_text(verify, data + b"\x00", text, encoding)
            assert not signing.verify_text(verify, data, text.swapcase(), encoding)


def test_records_are_verified(hsm: Hsm) -> None:
    """By an HMAC key, and by no other; whole codes alone."""
    audit = hsm.generate(KeyUsage.MAC_HMAC, new_label())
    made = hsm.mac(audit, b"record")
    assert hsm.verify_record(audit, b"record", made)
    for data, code in ((b"rekord", made), (b"record", made[:-1]), (b"record", b"")):
        assert not hsm.verify_record(audit, data, code)
    with pytest.raises(KeyRefused, match="VERIFY_RECORD"):
        hsm.verify_record(formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY), b"record", bytes(8))


@pytest.fixture(scope="module")
def seals(hsm: Hsm) -> tuple[KeyHandle, bytes]:
    """A known sealing key."""
    key = key_of(Kind(KeyUsage.DATA_SEALING, Algorithm.AES, 256))
    return formed(hsm, KeyUsage.DATA_SEALING, key), key


@settings(max_examples=30)
@given(st.binary(max_size=300), st.binary(max_size=100))
def test_what_is_sealed_opens_in_its_place(hsm: Hsm, seals: tuple[KeyHandle, bytes], text: bytes, place: bytes) -> None:
    """AES-256-GCM with a nonce before: any text, none too, in any place; what another AES-GCM sealed opens as well."""
    handle, key = seals
    sealed = hsm.seal(handle, text, place)
    assert len(text) + 28 == len(sealed)
    assert text == AESGCM(key).decrypt(sealed[:12], sealed[12:], place) == hsm.unseal(handle, sealed, place)
    nonce = bytes(range(12))
    assert text == hsm.unseal(handle, nonce + AESGCM(key).encrypt(nonce, text, place), place)
    with pytest.raises(VaultError, match="does not open"):
        hsm.unseal(handle, sealed, place + b"\x00")


@pytest.mark.parametrize("text", [b"", b"twelve bytes", bytes(50)])
def test_every_bit_of_what_is_sealed_counts(hsm: Hsm, seals: tuple[KeyHandle, bytes], text: bytes) -> None:
    """Nonce, ciphertext and tag; also what was cut off or put behind; and the key goes on working."""
    handle, _ = seals
    sealed = hsm.seal(handle, text, b"place")
    for bit in range(8 * len(sealed)):
        with pytest.raises(VaultError, match="does not open"):
            hsm.unseal(handle, (int.from_bytes(sealed) ^ 1 << bit).to_bytes(len(sealed)), b"place")
    for length in range(len(sealed)):
        with pytest.raises(VaultError, match="does not open"):
            hsm.unseal(handle, sealed[:length], b"place")
    with pytest.raises(VaultError, match="does not open"):
        hsm.unseal(handle, sealed + b"\x00", b"place")
    assert text == hsm.unseal(handle, sealed, b"place")


def test_seals_are_of_one_key_and_never_the_same(hsm: Hsm, seals: tuple[KeyHandle, bytes]) -> None:
    """Another key does not open them; the same text is sealed anew each time."""
    other = hsm.generate(KeyUsage.DATA_SEALING, new_label())
    sealed = [hsm.seal(seals[0], b"text", b"") for _ in range(20)]
    assert 20 == len({one[:12] for one in sealed})
    for one in sealed:
        with pytest.raises(VaultError, match="does not open"):
            hsm.unseal(other, one, b"")


@settings(max_examples=60)
@given(st.binary(max_size=80), st.binary(max_size=20))
def test_any_bytes_do_not_open(hsm: Hsm, seals: tuple[KeyHandle, bytes], sealed: bytes, place: bytes) -> None:
    """One error, whatever they are."""
    with pytest.raises(VaultError, match="does not open"):
        hsm.unseal(seals[0], sealed, place)


def test_one_seals_and_another_opens(hsm: Hsm, seals: tuple[KeyHandle, bytes]) -> None:
    """A front that only takes data in cannot read what is there."""
    writes, reads = (
        formed(hsm, KeySpec(KeyUsage.DATA_SEALING, mode=mode), seals[1]) for mode in (KeyMode.ENCRYPT, KeyMode.DECRYPT)
    )
    sealed = hsm.seal(writes, b"text", b"place")
    assert b"text" == hsm.unseal(reads, sealed, b"place")
    with pytest.raises(KeyRefused, match="UNSEAL"):
        hsm.unseal(writes, sealed, b"place")
    with pytest.raises(KeyRefused, match=" SEAL"):
        hsm.seal(reads, b"text", b"place")


@settings(max_examples=30)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_blind_indexes(hsm: Hsm, one: bytes, other: bytes) -> None:
    """The leftmost half of HMAC-SHA256: the same for the same text, another for another."""
    for length in (32, 64):
        key = key_of(Kind(KeyUsage.BLIND_INDEX, Algorithm.HMAC, 8 * length))
        handle = formed(hsm, KeyUsage.BLIND_INDEX, key)
        assert mac.hmac_sha256(key)(one)[:16] == hsm.blind_index(handle, one)
        assert (one == other) is (hsm.blind_index(handle, one) == hsm.blind_index(handle, other))


def test_random_bytes(hsm: Hsm) -> None:
    """As many as asked for, never the same, within bounds; all values come up."""
    assert [1, 16, 65_536] == [len(hsm.random_bytes(count)) for count in (1, 16, 65_536)]
    assert 50 == len({hsm.random_bytes(16) for _ in range(50)})
    assert 256 == len(set(hsm.random_bytes(65_536)))
    for count in (0, -1, 65_537):
        with pytest.raises(KeyRefused, match="1 to 65536"):
            hsm.random_bytes(count)


def test_self_test(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes here, and fails where a vector does not come out."""
    hsm.self_test()
    monkeypatch.setattr("keys.selftest.VECTORS", [("broken", lambda: "1", "2")])
    with pytest.raises(SelfTestFailed, match="broken"):
        hsm.self_test()
