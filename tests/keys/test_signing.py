"""Signatures of SNAP."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keys import mac, signing
from keys.errors import KeyRefused, KeysError
from keys.keytypes import KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.signing import Encoding
from keys.software import SoftwareHsm
from tests.keys.published import RFC_4231, RFC_7515_D, RFC_7515_DATA, RFC_7515_N, RFC_7515_SIGNATURE
from tests.keys.samples import vectors

PLAIN = serialization.NoEncryption()
PKCS8 = serialization.PrivateFormat.PKCS8
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
encodings = st.sampled_from(Encoding)


def number(text: str) -> int:
    """A number of a JSON Web Key."""
    return int.from_bytes(web_bytes(text))


def web_bytes(text: str) -> bytes:
    """Bytes in base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def published_key() -> rsa.RSAPrivateKey:
    """The private key of RFC 7515, appendix A.2."""
    n, e, d = number(RFC_7515_N), 65537, number(RFC_7515_D)
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    parts = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, n)).private_key()


KEY = published_key()
OTHER = rsa.generate_private_key(65537, 2048)
PRIVATE = KEY.private_bytes(PEM, PKCS8, PLAIN)
PUBLIC = KEY.public_key().public_bytes(PEM, SPKI)
SIGN, VERIFY = signing.rsa_signer(PRIVATE), signing.rsa_verifier(PUBLIC)
SECRET = b"an invented partner secret"

secrets = st.binary(min_size=16, max_size=300).filter(lambda secret: len(set(secret)) > 1)


def secret_signer(secret: bytes) -> Callable[[bytes], bytes]:
    """What an HSM signs by a secret with."""
    hsm = SoftwareHsm.in_memory()
    return partial(hsm.mac, hsm.import_secret("ours", secret, KeySpec(KeyUsage.MAC_HMAC, mode=KeyMode.GENERATE)))


def secret_verifier(secret: bytes, attributes: KeyAttributes | None = None) -> Callable[[bytes, bytes], bool]:
    """What it verifies a partner with."""
    hsm = SoftwareHsm.in_memory()
    spec = KeySpec(KeyUsage.MAC_HMAC, attributes=attributes)
    return partial(hsm.verify_mac, hsm.import_secret("partner", secret, spec))


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    """A certificate of the key, in PEM, out of date since 2020."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "partner")])
    start = datetime(2019, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    made = made.not_valid_before(start).not_valid_after(start + timedelta(days=365))
    return made.sign(key, hashes.SHA256()).public_bytes(PEM)


def test_published_rsa_signature() -> None:
    """RFC 7515, appendix A.2: made, and found right; PKCS #1 v1.5 has one signature for each message."""
    signature = web_bytes(RFC_7515_SIGNATURE)
    assert signature == SIGN(RFC_7515_DATA)
    assert VERIFY(RFC_7515_DATA, signature)
    assert not VERIFY(RFC_7515_DATA + b".", signature)


@pytest.mark.parametrize("vector", vectors("hmac.bca"), ids=lambda vector: vector["name"])
def test_bank_vector(vector: dict[str, Any]) -> None:
    """A signature printed in a bank's API documents, as the text of its header."""
    given_, text = vector["inputs"], vector["expected"]["signature"]
    sign = mac.hmac_sha256(given_["secret"].encode("ascii"))
    data = given_["string_to_sign"].encode("ascii")
    assert text == signing.sign_text(sign, data, Encoding.HEX)
    verify = secret_verifier(given_["secret"].encode("ascii"), KeyAttributes(digest="SHA-256", mac_length=32))
    assert signing.verify_text(verify, data, text, Encoding.HEX)


@pytest.mark.parametrize("case", RFC_4231)
def test_published_hmac_sha512(case: int) -> None:
    """RFC 4231 test cases; case 2 has a key of four bytes, which no partner may have."""
    key, data, expected = RFC_4231[case]
    sign = mac.hmac_sha512(signing.secret_key(key, "SHA-512"))
    assert expected == signing.sign_text(sign, data, Encoding.HEX)


def test_published_hmac_sha512_of_a_short_key() -> None:
    """RFC 4231, test case 2, below this module."""
    expected = (
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    )
    assert expected == mac.hmac_sha512(b"Jefe")(b"what do ya want for nothing?").hex()


@given(st.binary(max_size=300), encodings)
@settings(deadline=None)
def test_rsa_there_and_back(data: bytes, encoding: Encoding) -> None:
    """Whatever is signed is found right, here and by the cryptography package; by another key it is not."""
    text = signing.sign_text(SIGN, data, encoding)
    assert signing.verify_text(VERIFY, data, text, encoding)
    KEY.public_key().verify(SIGN(data), data, padding.PKCS1v15(), hashes.SHA256())
    other = signing.rsa_verifier(OTHER.public_key().public_bytes(PEM, SPKI))
    assert not signing.verify_text(other, data, text, encoding)


@given(secrets, st.binary(max_size=300), encodings)
@example(b"0123456789abcdef", b"", Encoding.HEX)
@example(bytes(range(64)), b"data", Encoding.HEX)
@example(bytes(range(65)), b"data", Encoding.HEX)
@example(bytes(range(128)), b"data", Encoding.HEX)
@example(bytes(range(129)), b"data", Encoding.HEX)
def test_hmac_there_and_back(secret: bytes, data: bytes, encoding: Encoding) -> None:
    """Whatever is signed is found right, here and by the standard library; under another secret it is not."""
    text = signing.sign_text(secret_signer(secret), data, encoding)
    assert signing.to_text(hmac.digest(secret, data, "sha512"), encoding) == text
    assert signing.verify_text(secret_verifier(secret), data, text, encoding)
    assert not signing.verify_text(secret_verifier(secret + b"\x01"), data, text, encoding)


@given(secrets, st.binary(max_size=300), st.sampled_from(["sha256", "sha512"]))
@example(bytes(range(65)), b"data", "sha256")
def test_the_key_of_a_secret_makes_its_codes(secret: bytes, data: bytes, digest: str) -> None:
    """As the standard library makes them of the secret itself; it is never longer than a block, and a whole one over 64 bytes."""
    key = signing.secret_key(secret, {"sha256": "SHA-256", "sha512": "SHA-512"}[digest])
    assert hmac.digest(secret, data, digest) == hmac.digest(key, data, digest)
    assert len(key) in (*range(16, 65), *([128] if digest == "sha512" else []))


@given(st.integers(0, 255), st.integers(0, 7))
@settings(deadline=None)
def test_one_bit_of_a_signature_counts(place: int, bit: int) -> None:
    """Flipped anywhere, it is wrong."""
    signature = bytearray(SIGN(b"data"))
    signature[place] ^= 1 << bit
    assert not VERIFY(b"data", bytes(signature))
    code = bytearray(secret_signer(SECRET)(b"data"))
    code[place % 64] ^= 1 << bit
    assert not secret_verifier(SECRET)(b"data", bytes(code))


@pytest.mark.parametrize("scheme", [padding.PSS(padding.MGF1(hashes.SHA256()), 32), padding.PKCS1v15()])
@pytest.mark.parametrize("hash_", [hashes.SHA256(), hashes.SHA512()])
def test_only_pkcs1_with_sha256_is_right(
    scheme: padding.PSS | padding.PKCS1v15, hash_: hashes.SHA256 | hashes.SHA512
) -> None:
    """PSS and SHA-512 under the same key are not."""
    signature = KEY.sign(b"data", scheme, hash_)
    expected = isinstance(scheme, padding.PKCS1v15) and isinstance(hash_, hashes.SHA256)
    assert expected is VERIFY(b"data", signature)


@given(st.text(max_size=80) | st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()), encodings)
@settings(deadline=None)
@example("=", Encoding.BASE64)
@example("A", Encoding.BASE64)
@example("\ud800", Encoding.HEX)
@example("ａｂ", Encoding.HEX)
def test_any_text_is_just_a_wrong_signature(text: str, encoding: Encoding) -> None:
    """False, never an error."""
    assert not signing.verify_text(VERIFY, b"data", text, encoding)
    assert not signing.verify_text(secret_verifier(SECRET), b"data", text, encoding)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_just_a_wrong_signature(signature: bytes) -> None:
    """Of any length: RSA, and a part of an HMAC."""
    assert not VERIFY(b"data", signature)
    verify, whole = secret_verifier(SECRET), secret_signer(SECRET)(b"data")
    assert not verify(b"data", signature)
    assert not verify(b"data", whole[: len(signature) % 64])


@given(st.binary(min_size=1, max_size=1024), encodings)
def test_text_there_and_back(signature: bytes, encoding: Encoding) -> None:
    """Every signature of up to 8192 bits has one text."""
    assert signature == signing.from_text(signing.to_text(signature, encoding), encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("DEADBEEF", Encoding.HEX),  # upper case
        ("de ad be ef", Encoding.HEX),
        (" deadbeef", Encoding.HEX),
        ("deadbeef\n", Encoding.HEX),
        ("deadbee", Encoding.HEX),
        ("0xdead", Encoding.HEX),
        ("3q2+7w==", Encoding.HEX),
        ("3q2+7w", Encoding.BASE64),  # no padding
        ("3q2+7w=", Encoding.BASE64),
        ("3q2+7w===", Encoding.BASE64),
        ("3q2+7x==", Encoding.BASE64),  # bits behind the last byte
        ("3q2-7w==", Encoding.BASE64),  # base64url
        ("3q2+\n7w==", Encoding.BASE64),
        (" 3q2+7w==", Encoding.BASE64),
        ("3q2+7w==AAAA", Encoding.BASE64),
        ("", Encoding.HEX),
        ("", Encoding.BASE64),
        ("a" * 2050, Encoding.HEX),
        ("A" * 2052, Encoding.BASE64),
    ],
)
def test_other_spellings_are_refused(text: str, encoding: Encoding) -> None:
    """One signature, one text: else one request could come twice with two signatures."""
    assert signing.from_text(text, encoding) is None


def test_private_keys_that_are_taken() -> None:
    """PKCS #8 in PEM, with white space around it, and in DER."""
    for key in (PRIVATE, b"\n" + PRIVATE + b"\n", KEY.private_bytes(DER, PKCS8, PLAIN)):
        assert SIGN(b"data") == signing.rsa_signer(key)(b"data")


def test_public_keys_that_are_taken() -> None:
    """A public key, a certificate, and the first certificate of a chain; what a certificate says of time is not looked at."""
    for key in (PUBLIC, certificate(KEY), certificate(KEY) + certificate(OTHER)):
        assert signing.rsa_verifier(key)(b"data", SIGN(b"data"))
    assert not signing.rsa_verifier(certificate(OTHER) + certificate(KEY))(b"data", SIGN(b"data"))


CURVE = ec.generate_private_key(ec.SECP256R1())
SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - made to be refused
ODD = rsa.generate_private_key(65537, 2040)  # noqa: S505 - the same
SMALL_EXPONENT = rsa.generate_private_key(3, 2048)


@pytest.mark.parametrize(("key", "what"), [(SHORT, "2048"), (ODD, "2048"), (SMALL_EXPONENT, "65537"), (CURVE, "RSA")])
def test_weak_and_other_keys_are_refused(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, what: str) -> None:
    """Fewer than 2048 bits, a small exponent, another algorithm: neither to sign nor to verify."""
    with pytest.raises(KeyRefused, match=what):
        signing.rsa_signer(key.private_bytes(PEM, PKCS8, PLAIN))
    with pytest.raises(KeyRefused, match=what):
        signing.rsa_verifier(key.public_key().public_bytes(PEM, SPKI))


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"no key",
        PUBLIC,
        certificate(KEY),
        PRIVATE[:-100],
        KEY.private_bytes(DER, PKCS8, PLAIN)[:-1],
        KEY.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"passphrase")),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
    ids=["empty", "text", "public", "certificate", "cut", "cut DER", "enciphered", "empty PEM"],
)
def test_what_is_no_private_key_is_refused(key: bytes) -> None:
    """One line that shows nothing of it."""
    with pytest.raises(KeyRefused, match="PKCS #8"):
        signing.rsa_signer(key)


@pytest.mark.parametrize(
    "key",
    [b"", b"no key", PRIVATE, PUBLIC[:-100], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    ids=["empty", "text", "private", "cut", "empty certificate"],
)
def test_what_is_no_public_key_is_refused(key: bytes) -> None:
    """A private key too: it has no place with a partner's public keys."""
    with pytest.raises(KeyRefused, match="PEM"):
        signing.rsa_verifier(key)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.sampled_from([PUBLIC, certificate(KEY), PRIVATE]), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_key_is_refused_or_is_another_key(key: bytes, data: st.DataObject) -> None:
    """A byte changed anywhere: KeyRefused, or a function that works; no other error."""
    at, byte = data.draw(st.integers(0, len(key) - 1)), data.draw(st.integers(0, 255))
    damaged = key[:at] + bytes([byte]) + key[at + 1 :]
    for load in (signing.rsa_signer, signing.rsa_verifier):
        try:
            made: object = load(damaged)
        except KeysError as refused:
            made = refused
        assert callable(made) or isinstance(made, KeyRefused)


@pytest.mark.parametrize("length", [0, 1, 15, 1025])
def test_short_and_endless_secrets_are_refused(length: int) -> None:
    """An empty secret would let anybody sign."""
    with pytest.raises(KeyRefused, match="16 to 1024"):
        signing.secret_key(bytes(length), "SHA-512")


@pytest.mark.parametrize("digest", [None, "SHA-1", "sha512"])
def test_a_secret_is_for_a_digest_that_is_known(digest: str | None) -> None:
    """Named as an attribute names it."""
    with pytest.raises(KeyRefused, match="for SHA-256 or SHA-512"):
        signing.secret_key(SECRET, digest)


def test_strings_to_sign() -> None:
    """The three shapes of the SNAP documents, by hand."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    a = "4f9bc9d2ca4d1b5bfba5d3a6a1a0d3a5"
    when = "2026-10-05T09:00:00+07:00"
    assert f"{a}|{when}".encode() == signing.token_string(a, when)
    assert f"GET:/v1.0/x?a=b:tok:{empty}:{when}".encode() == signing.symmetric_string(
        "GET", "/v1.0/x?a=b", "tok", b"", when
    )
    assert f"GET:/v1.0/x?a=b:{empty}:{when}".encode() == signing.asymmetric_string("GET", "/v1.0/x?a=b", b"", when)
    # SHA-256 of b"{}", so of every way to write it.
    braces = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert f"POST:/x:tok:{braces}:{when}".encode() == signing.symmetric_string(
        "POST", "/x", "tok", b" {\r\n\t}\n", when
    )
    assert f"POST:/x:{braces}:{when}".encode() == signing.asymmetric_string("POST", "/x", b"{ }", when)


@given(st.lists(st.text(st.characters(categories=None), max_size=20), min_size=4, max_size=4), st.binary(max_size=50))
@example(["\ud800", "\udcff", "\udfff", "é"], b"\xff")
def test_any_text_can_be_put_into_a_string_to_sign(parts: list[str], body: bytes) -> None:
    """Whatever a server made of a header; and different text gives different bytes."""
    made = signing.symmetric_string(parts[0], parts[1], parts[2], body, parts[3])
    assert made != signing.symmetric_string(parts[0], parts[1] + "\udcff", parts[2], body, parts[3])
    assert signing.token_string(parts[0], parts[1]) != signing.token_string(parts[0], parts[1] + "?")
    assert signing.asymmetric_string(parts[0], parts[1], body, parts[3]).startswith(
        parts[0].encode(errors="surrogatepass")
    )


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.sampled_from(' "\\\t\n\r{:,aé')),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from(' "\\\taé')), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values, st.sampled_from([None, 0, 1, 4, "\t", " \r\n"]), st.booleans())
def test_minify_of_json(value: object, indent: int | str | None, ascii_only: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """However a document is laid out, it comes out as it is without a space; strings keep theirs."""
    laid_out = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    tight = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode()
    assert tight == signing.minify(laid_out)
    assert tight == signing.minify(b" \t\r\n" + laid_out + b"\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "b" : 1.00 , "a" : 1e+3, "b" : null }', b'{"b":1.00,"a":1e+3,"b":null}'),  # numbers, order, a name twice
        (b'{"a": "\\u00e9 \\/"}', b'{"a":"\\u00e9 \\/"}'),  # escapes stay
        (b'{"a\\\\" : " x"}', b'{"a\\\\":" x"}'),  # the string ends behind an escaped backslash
        (b'{"a\\" : " : 1}', b'{"a\\" : ":1}'),  # and not behind an escaped quote
        ('{"a" : "\u00a0é "}'.encode(), '{"a":"\u00a0é "}'.encode()),
        ("[\u00a01]".encode(), "[\u00a01]".encode()),  # no white space of JSON
        (b"[\x0b\x0c1]", b"[\x0b\x0c1]"),  # neither
        (b'["a', b'["a'),
        (b'["a b', b'["a b'),  # a string that never ends
        (b'["a b\\', b'["a b\\'),
        (b'["a b\\" ', b'["a b\\" '),
        (b"\\ \\", b"\\\\"),
        (b"", b""),
        (b" \n", b""),
    ],
)
def test_minify_by_hand(body: bytes, expected: bytes) -> None:
    """What stays and what goes, byte for byte."""
    assert expected == signing.minify(body)


def by_hand(body: bytes) -> bytes:
    """White space outside strings taken out, one byte after the other."""
    kept, inside, escaped = bytearray(), False, False
    for byte in body:
        if not inside and byte in b" \t\r\n":
            continue
        kept.append(byte)
        if escaped:
            escaped = False
        elif inside and byte == ord("\\"):
            escaped = True
        elif byte == ord('"'):
            inside = not inside
    return bytes(kept)


@given(st.binary(max_size=60) | st.text(' "\\a\n', max_size=60).map(str.encode))
def test_minify_of_any_bytes(body: bytes) -> None:
    """The same as a plain loop finds, JSON or not; and once is enough."""
    assert by_hand(body) == signing.minify(body)
    assert signing.minify(body) == signing.minify(signing.minify(body))


@pytest.mark.parametrize("piece", [b'"', b'"\\', b"\\", b" ", b'" ', b'\\"', b"[1, ", b'""', b"a"])
def test_minify_takes_one_pass(piece: bytes) -> None:
    """200 KB of what makes patterns step back: under a second; if it did step back, minutes."""
    body = piece * (200_000 // len(piece))
    start = time.monotonic()
    for hard in (body, b'"' + body, b'"' + body + b'"'):
        signing.minify(hard)
    assert time.monotonic() - start < 10
