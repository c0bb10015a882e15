"""RSA keys as they come and as they are kept."""

from __future__ import annotations

import datetime as dt
import functools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from keys import rsa_keys
from keys.errors import KeyRefused
from tests.keys.samples import one_line

PEM, DER, PKCS8, SPKI = Encoding.PEM, Encoding.DER, PrivateFormat.PKCS8, PublicFormat.SubjectPublicKeyInfo
PLAIN = NoEncryption()


@functools.cache
def private(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """A private key, made once."""
    return rsa.generate_private_key(exponent, bits)


def certificate(key: rsa.RSAPrivateKey, public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> x509.Certificate:
    """A certificate of PUBLIC, signed by KEY."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "partner")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public).serial_number(1)
    made = made.not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).not_valid_after(
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    )
    return made.sign(key, hashes.SHA256())


def test_private_keys_in_every_form() -> None:
    """PKCS #8 in PEM and DER; the older PKCS #1 too; white space before PEM does no harm: kept as one DER."""
    key = private()
    kept = key.private_bytes(DER, PKCS8, PLAIN)
    for encoded in (
        kept,
        key.private_bytes(PEM, PKCS8, PLAIN),
        b" \n" + key.private_bytes(PEM, PKCS8, PLAIN),
        key.private_bytes(PEM, PrivateFormat.TraditionalOpenSSL, PLAIN),
    ):
        assert (kept, True) == rsa_keys.kept(encoded)
        assert rsa_keys.is_private(encoded)
        assert key.private_numbers() == rsa_keys.load_private(encoded).private_numbers()


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x80", b"\x30\x84\x00", b"\x02\x01\x00", b"\x30\x03\x02\x02\x01\x00", b"no DER"]
)
def test_what_is_no_der_is_no_private_key(der: bytes) -> None:
    """Nor does it raise anything but our own when it is taken in."""
    assert not rsa_keys.is_private(der)
    with pytest.raises(KeyRefused):
        rsa_keys.kept(der)


def test_der_is_told_apart_without_opening_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key is loaded, which takes long, by who wants what is in it: once for its public half."""
    key, loaded = private(), list[bytes]()
    load = rsa_keys.load_private

    def watched(encoded: bytes) -> rsa.RSAPrivateKey:
        loaded.append(encoded)
        return load(encoded)

    monkeypatch.setattr(rsa_keys, "load_private", watched)
    for kept in (key.private_bytes(DER, PKCS8, PLAIN), key.private_bytes(DER, PrivateFormat.TraditionalOpenSSL, PLAIN)):
        assert rsa_keys.is_private(kept)
        assert [] == loaded
        rsa_keys.public_of(kept)
        assert [kept] == loaded
        loaded.clear()
    for form in (SPKI, PublicFormat.PKCS1):
        assert not rsa_keys.is_private(key.public_key().public_bytes(DER, form))


def test_public_keys_in_every_form() -> None:
    """SubjectPublicKeyInfo in PEM and DER, a certificate, a chain of which the first counts."""
    key = private()
    public = key.public_key()
    kept = public.public_bytes(DER, SPKI)
    mine, other = certificate(key, public), certificate(key, private(3072).public_key())
    chain = mine.public_bytes(PEM) + other.public_bytes(PEM)
    for encoded in (
        kept,
        public.public_bytes(PEM, SPKI),
        b"\n" + public.public_bytes(PEM, SPKI),
        mine.public_bytes(PEM),
        chain,
    ):
        assert (kept, False) == rsa_keys.kept(encoded)
        assert not rsa_keys.is_private(encoded)
        assert public.public_numbers() == rsa_keys.load_public(encoded).public_numbers()


@pytest.mark.parametrize("bits", [2048, 3072])
def test_both_halves_tell_the_same(bits: int) -> None:
    """Public half, bits, PEM for the partner: of the private key and of the public one."""
    key = private(bits)
    half = key.public_key().public_bytes(DER, SPKI)
    for der in (key.private_bytes(DER, PKCS8, PLAIN), half):
        assert (half, bits) == (rsa_keys.public_of(der), rsa_keys.bits_of(der))
        pem = rsa_keys.public_pem(der)
        assert key.public_key().public_bytes(PEM, SPKI).decode() == pem
        assert "PRIVATE" not in pem
    numbers = key.public_key().public_numbers()
    assert half == rsa_keys.public_of_numbers(numbers.n, numbers.e)


def test_made_keys() -> None:
    """Of the bits asked for, with the common exponent, never the same."""
    one, other = rsa_keys.make(2048), rsa_keys.make(2048)
    assert one != other
    assert (2048, True, 65537) == (
        rsa_keys.bits_of(one),
        rsa_keys.is_private(one),
        rsa_keys.load_private(one).public_key().public_numbers().e,
    )


def unfit() -> list[tuple[bytes, bytes]]:
    """Private and public keys that are none, or none that is taken."""
    curve, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    keys: list[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey] = [
        private(1024), private(2048, 3), curve, edwards, dsa.generate_private_key(2048),
    ]  # fmt: skip
    return [(key.private_bytes(PEM, PKCS8, PLAIN), key.public_key().public_bytes(PEM, SPKI)) for key in keys]


def test_keys_that_are_not_taken() -> None:
    """Too short, a small exponent, elliptic curves, DSA: neither to sign nor to verify with, nor in a certificate."""
    for secret, public in unfit():
        with pytest.raises(KeyRefused) as caught:
            rsa_keys.load_private(secret)
        assert one_line(caught.value)
        with pytest.raises(KeyRefused) as caught:
            rsa_keys.load_public(public)
        assert one_line(caught.value)
        for encoded in (secret, public):
            with pytest.raises(KeyRefused):
                rsa_keys.kept(encoded)
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(KeyRefused, match="an RSA key"):
        rsa_keys.load_public(certificate(private(), curve).public_bytes(PEM))


def test_enciphered_keys_are_not_taken() -> None:
    """Whoever brings one in opens it himself; its passphrase is nobody's business here."""
    locked = private().private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret words"))
    with pytest.raises(KeyRefused, match="not enciphered"):
        rsa_keys.kept(locked)


def test_halves_are_not_mistaken() -> None:
    """A public key signs nothing; a private key is not what a partner gives to verify with."""
    key = private()
    with pytest.raises(KeyRefused, match="a signing key is a private key"):
        rsa_keys.load_private(key.public_key().public_bytes(PEM, SPKI))
    for form in (PEM, DER):
        with pytest.raises(KeyRefused, match="a key to verify with is a public key"):
            rsa_keys.load_public(key.private_bytes(form, PKCS8, PLAIN))


@given(
    st.binary(max_size=100)
    | st.sampled_from(
        [b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN CERTIFICATE-----", b"-----BEGIN PUBLIC KEY-----"]
    ).flatmap(lambda head: st.binary(max_size=50).map(lambda rest: head + b"\n" + rest))
    | st.tuples(st.integers(0, 1200), st.binary(max_size=3)).map(
        lambda cut: private().private_bytes(DER, PKCS8, PLAIN)[: cut[0]] + cut[1]
    )
)
def test_any_bytes_are_a_key_or_refused(encoded: bytes) -> None:
    """One error of ours, in one line, and nothing of the bytes in it."""
    for load in (rsa_keys.load_private, rsa_keys.load_public, rsa_keys.kept):
        with pytest.raises(KeyRefused) as caught:
            load(encoded)
        assert one_line(caught.value)
        assert caught.value.__cause__ is None
