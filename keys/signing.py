"""Signatures of SNAP, the open API standard of Bank Indonesia: what is signed, by RSA or HMAC, and how it is written.

A signature is made or checked over bytes by a command of the HSM: RSA by sign and verify_signature, HMAC-SHA512 by mac and
verify_mac with the key of a partner's secret. Checking never raises: what is not the one canonical text of a right signature is
False. Refuses to know partners, clocks and HTTP: whether a certificate is still valid, a timestamp near and a token known is for
the caller. Read next: hsm.py (DataCommands), mac.py.
"""

from __future__ import annotations

import base64
import hashlib
import re
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from keys import rsa_keys
from keys.errors import KeyRefused
from keys.keytypes import KeyAttributes

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET_BYTES = range(16, 1025)
"""Of a partner's secret. Fewer than 16 are less than 128 bits of strength, whatever they are made of."""

SNAP = KeyAttributes(digest="SHA-512", mac_length=64)
"""What SNAP's symmetric signature is made by: the whole HMAC-SHA512."""

TEXT_MOST = 2048
"""Characters of a signature, at most: an RSA signature of 8192 bits in hex."""


class Encoding(StrEnum):
    """How a signature is written. The SNAP documents show both, so it is agreed with each partner."""

    BASE64 = "BASE64"
    """Base64 of RFC 4648, 4, with padding."""

    HEX = "HEX"
    """Lower case hex digits."""


def rsa_signer(private_key: bytes) -> Callable[[bytes], bytes]:
    """A function that signs by RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), SNAP's SHA256withRSA.

    PRIVATE_KEY: PKCS #8 in PEM or DER, not enciphered. What is not that, not RSA, or outside rsa_keys.BITS is KeyRefused.
    """
    key = rsa_keys.load_private(private_key)
    return lambda data: key.sign(data, _PADDING, _SHA256)


def rsa_verifier(public_key: bytes) -> Callable[[bytes, bytes], bool]:
    """A function (data, signature) that says whether the signature is right, by RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2).

    PUBLIC_KEY: a SubjectPublicKeyInfo or an X.509 certificate, in PEM; of a chain its first. What is not that, not RSA, or
    outside rsa_keys.BITS is KeyRefused. Who signed a certificate and until when it is valid are not looked at.
    """
    key = rsa_keys.load_public(public_key)

    def verify(data: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, data, _PADDING, _SHA256)
        except InvalidSignature:
            return False
        return True

    return verify


def secret_key(secret: bytes, digest: str | None) -> bytes:
    """The HMAC key of a SECRET of 16 to 1024 bytes that makes the same codes with DIGEST (SHA-256 or SHA-512): RFC 2104, 2.

    One longer than the digest's block is hashed, 32 or 64 bytes. Of 65 to 128 for SHA-512 it gets zeros behind, to a whole block,
    as HMAC itself does it: not every token takes keys of any length. Raises KeyRefused for another length or digest.

    Vector: RFC 4231, test case 6, by its key and by what is kept of it.

    >>> from keys import mac
    >>> text = b"Test Using Larger Than Block-Size Key - Hash Key First"
    >>> mac.hmac_sha512(secret_key(bytes.fromhex("aa" * 131), "SHA-512"))(text).hex()[:16]
    '80b24263c7c1a3eb'
    """
    if len(secret) not in SECRET_BYTES:
        raise KeyRefused("a secret to sign with has 16 to 1024 bytes")
    if digest not in _DIGESTS:
        raise KeyRefused(f"a secret to sign with is for {' or '.join(_DIGESTS)}")
    make = _DIGESTS[digest]
    block = make().block_size
    if len(secret) > block:
        return make(secret).digest()
    return secret if len(secret) <= _SHORT else secret.ljust(block, b"\x00")


def sign_text(sign: Callable[[bytes], bytes], data: bytes, encoding: Encoding) -> str:
    """The signature of DATA as the text of a header of SNAP. Vector: RFC 4231, test case 4, by HMAC-SHA512.

    >>> from keys import mac
    >>> sign_text(mac.hmac_sha512(bytes(range(1, 26))), bytes.fromhex("cd" * 50), Encoding.HEX)[:16]
    'b0ba465637458c69'
    """
    return to_text(sign(data), encoding)


def verify_text(verify: Callable[[bytes, bytes], bool], data: bytes, text: str, encoding: Encoding) -> bool:
    """Whether TEXT is the right signature of DATA, written in the one way that SNAP's partners agreed. False for all else.

    Vector: RFC 4231, test case 1, by the HMAC-SHA256 of older interfaces; then in upper case.

    >>> from keys import mac
    >>> def verify(data, code):
    ...     return mac.same(mac.hmac_sha256(bytes.fromhex("0b" * 20))(data), code)
    >>> text = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    >>> [verify_text(verify, b"Hi There", one, Encoding.HEX) for one in (text, text.upper())]
    [True, False]
    """
    signature = from_text(text, encoding)
    return signature is not None and verify(data, signature)


def to_text(signature: bytes, encoding: Encoding) -> str:
    """A signature in base64 (RFC 4648, 4) or lower case hex. Vectors: RFC 4648, 10.

    >>> [to_text(b"foobar"[:length], Encoding.BASE64) for length in (4, 5, 6)]
    ['Zm9vYg==', 'Zm9vYmE=', 'Zm9vYmFy']
    """
    return signature.hex() if encoding is Encoding.HEX else base64.b64encode(signature).decode("ascii")


def from_text(text: str, encoding: Encoding) -> bytes | None:
    """What `to_text` made TEXT of, or None: no other spelling of the same bytes is taken, nothing empty, nothing over TEXT_MOST.

    RFC 4648, 3.5: bits behind the last byte are zero. Its vector first.

    >>> from_text("Zm9vYmE=", Encoding.BASE64)
    b'fooba'
    >>> from_text("3q2+7w==", Encoding.BASE64).hex()
    'deadbeef'
    >>> from_text("3q2+7x==", Encoding.BASE64) is None
    True
    """
    if not 0 < len(text) <= TEXT_MOST:
        return None
    try:
        found = bytes.fromhex(text) if encoding is Encoding.HEX else base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one; so is text that is not ASCII
        return None
    return found if to_text(found, encoding) == text else None


def token_string(client_id: str, timestamp: str) -> bytes:
    """What is signed to ask for an access token (SNAP services 73 and 74): client_id|timestamp.

    >>> token_string("962489e9-de5d-4eb7-92a4-b07d44d64bf4", "2026-10-05T09:00:00+07:00")[-27:]
    b'4|2026-10-05T09:00:00+07:00'
    """
    return _bytes(f"{client_id}|{timestamp}")


def symmetric_string(method: str, path: str, access_token: str, body: bytes, timestamp: str) -> bytes:
    """What is signed of a SNAP transaction by HMAC: METHOD:path:token:hash:timestamp, the hash as `body_hash` makes it.

    METHOD in upper case; PATH relative, with all its parameters, as sent. Since a path may hold colons, two requests could
    share one string if a token might hold them too: the caller knows the token before it asks.

    >>> symmetric_string("GET", "/v1.0/x", "t0ken", b"", "2026-10-05T09:00:00+07:00").decode()[:36]
    'GET:/v1.0/x:t0ken:e3b0c44298fc1c149a'
    """
    return _bytes(f"{method}:{path}:{access_token}:{body_hash(body)}:{timestamp}")


def asymmetric_string(method: str, path: str, body: bytes, timestamp: str) -> bytes:
    """What is signed of a SNAP transaction by RSA: METHOD:path:hash:timestamp. As `symmetric_string`, without a token.

    The hash is of the text abc (FIPS 180-4's example).

    >>> asymmetric_string("POST", "/v1.0/x", b"abc", "2026-10-05T09:00:00+07:00").decode()[:29]
    'POST:/v1.0/x:ba7816bf8f01cfea'
    """
    return _bytes(f"{method}:{path}:{body_hash(body)}:{timestamp}")


def body_hash(body: bytes) -> str:
    """SHA-256 (FIPS 180-4) of the minified body, 64 lower case hex digits. An empty body is the empty string.

    >>> body_hash(b" abc ")[:16], body_hash(b"")[:16]
    ('ba7816bf8f01cfea', 'e3b0c44298fc1c14')
    """
    return hashlib.sha256(minify(body)).hexdigest()


def minify(body: bytes) -> bytes:
    r"""A JSON text without the white space outside its strings (RFC 8259, 2); all other bytes as they came, in their order.

    It is never parsed and written anew: numbers, escapes, nulls and repeated names stay as the partner signed them. One pass,
    whatever the bytes. Of bytes that are not JSON it says nothing, so refuse those before an answer depends on them.

    >>> minify(b'{ "a b" : 1.0, "q" : "\\" x" }')
    b'{"a b":1.0,"q":"\\" x"}'
    """
    return b"".join(_KEPT.findall(body))


# All up to the next white space outside a string; a string goes to its end or that of the text. Possessive: it never steps back.
_KEPT = re.compile(rb'(?:[^" \t\r\n]++|"(?:[^"\\]++|\\.)*+"?+)++', re.DOTALL)
_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_DIGESTS = {"SHA-256": hashlib.sha256, "SHA-512": hashlib.sha512}
_SHORT = 64


def _bytes(text: str) -> bytes:
    """UTF-8. What a server made of bytes that are not UTF-8 stays apart from all else, and raises nothing."""
    return text.encode("utf-8", "surrogatepass")
