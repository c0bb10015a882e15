"""RSA keys as they come and as they are kept: PEM, DER and certificates in; PKCS #8 or SubjectPublicKeyInfo in DER within.

Refuses to know what is signed. Read next: signing.py.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from keys.errors import KeyRefused

BITS = range(2048, 8193)
EXPONENT = 65_537
"""Of every key made here, and the least of any key taken."""
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE = b"PRIVATE KEY-----"


def load_private(encoded: bytes) -> rsa.RSAPrivateKey:
    """A private key of PKCS #8 (RFC 5958), PEM or DER, not enciphered. What is not that, not RSA, or outside BITS is KeyRefused.

    Refused here: the Ed25519 key of RFC 8410, 10.3.

    >>> load_private(bytes.fromhex("302E020100300506032B657004220420"
    ...     "D4EE72DBF913584AD5B6D8F1F769F8AD3AFE7C28CBF1D4FBE097A88F44755842"))
    Traceback (most recent call last):
    keys.errors.KeyRefused: a signing key is an RSA key
    """
    load = serialization.load_pem_private_key if _is_pem(encoded) else serialization.load_der_private_key
    try:
        key = load(encoded, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused("a signing key is a private key in PKCS #8, PEM or DER, not enciphered") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyRefused("a signing key is an RSA key")
    _check(key.public_key())
    return key


def load_public(encoded: bytes) -> rsa.RSAPublicKey:
    r"""A public key: a SubjectPublicKeyInfo (RFC 5280, 4.1) in PEM or DER, or an X.509 certificate in PEM; of a chain its first.

    What is not that, not RSA, or outside BITS is KeyRefused. Who signed a certificate and until when it is valid are not
    looked at. Refused here: the Ed25519 key of RFC 8410, 10.1.

    >>> load_public(b"-----BEGIN PUBLIC KEY-----\n"
    ...     b"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n")
    Traceback (most recent call last):
    keys.errors.KeyRefused: a key to verify with is an RSA key
    """
    try:
        key = _public(encoded)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise KeyRefused("a key to verify with is a public key or an X.509 certificate in PEM") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyRefused("a key to verify with is an RSA key")
    _check(key)
    return key


def kept(encoded: bytes) -> tuple[bytes, bool]:
    """DER of a key as it is kept, and whether it is a private one. Raises KeyRefused as the loaders do."""
    if is_private(encoded):
        return _private_der(load_private(encoded)), True
    return public_der(load_public(encoded)), False


def is_private(encoded: bytes) -> bool:
    """Whether this is meant to be a private key: PEM says so; DER of one begins with a version (RFC 5958), of others it does not.

    Whether it opens, and is fit, the loaders say: they take some 30 ms for a private key. Keys of RFC 8410, 10.3 and 10.1.

    >>> is_private(bytes.fromhex("302E020100300506032B657004220420"
    ...     "D4EE72DBF913584AD5B6D8F1F769F8AD3AFE7C28CBF1D4FBE097A88F44755842"))
    True
    >>> is_private(bytes.fromhex("302A300506032B6570032100"
    ...     "19BF44096984CDFE8541BAC167DC3B96C85086AA30B6B6CB0C5C38AD703166E1"))
    False
    """
    if _is_pem(encoded):
        return _PRIVATE in encoded
    length = encoded[1:2]
    start = 2 + (length[0] & 0x7F if length >= b"\x80" else 0)
    return encoded[:1] == b"\x30" and encoded[start : start + 2] == b"\x02\x01"


def make(bits: int) -> bytes:
    """A random private key of BITS (FIPS 186-5, A.1), in DER.

    >>> bits_of(make(2048))
    2048
    """
    return _private_der(rsa.generate_private_key(EXPONENT, bits))


def public_of(der: bytes) -> bytes:
    """SubjectPublicKeyInfo in DER of a kept key, private or public."""
    return public_der(load_private(der).public_key() if is_private(der) else load_public(der))


def public_der(key: rsa.RSAPublicKey) -> bytes:
    """SubjectPublicKeyInfo in DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_of_numbers(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo in DER of the two numbers of a public key, as a token tells them."""
    return public_der(rsa.RSAPublicNumbers(exponent, modulus).public_key())


def public_pem(der: bytes) -> str:
    """The public half of a kept key in PEM, to give to a partner."""
    key = load_public(public_of(der))
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode("ascii")


def bits_of(der: bytes) -> int:
    """Bits of the modulus of a kept key."""
    return load_public(public_of(der)).key_size


def _private_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(encoded: bytes) -> object:
    if _CERTIFICATE in encoded:
        return x509.load_pem_x509_certificate(encoded).public_key()
    if _is_pem(encoded):
        return serialization.load_pem_public_key(encoded)
    return serialization.load_der_public_key(encoded)


def _check(key: rsa.RSAPublicKey) -> None:
    """FIPS 186-5, A.1.1: 2048 bits or more, a public exponent over 2**16. And a bound above, as time grows with the length."""
    if key.key_size not in BITS:
        raise KeyRefused("an RSA key has 2048 to 8192 bits")
    if key.public_numbers().e < EXPONENT:
        raise KeyRefused("the public exponent of an RSA key is 65537 or more")


def _is_pem(encoded: bytes) -> bool:
    return encoded.lstrip().startswith(b"-----BEGIN ")
