"""Objects of a PKCS#11 token as this room uses them: its own keys, payment keys made, brought in, wrapped, unwrapped, derived.

Every payment key is a session object: sensitive, wrappable by keys alone that the security officer has trusted, and with those
rights alone that its maker names. Refuses to know usages. Read next: token_rights.py, token.py (the calls), pkcs11.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import PyKCS11
from PyKCS11 import LowLevel

from keys import rsa_keys, tdes
from keys.envelope import NONCE_BYTES, DoesNotOpen
from keys.errors import TokenError
from keys.keytypes import Algorithm
from keys.token_rights import DECRYPT, ENCRYPT, EVERY, NONE, SIGN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keys.token import Object, Template, Token
    from keys.token_rights import Rights

HMAC_BYTES = 64
"""HMAC keys are kept with zeros behind to 64 bytes, which changes no code (RFC 2104) and is the least some tokens take."""

KEY_WRAP = PyKCS11.Mechanism(LowLevel.CKM_AES_KEY_WRAP, None)
KEY_WRAP_PADDED = PyKCS11.Mechanism(LowLevel.CKM_AES_KEY_WRAP_PAD, None)
AES_CMAC = PyKCS11.Mechanism(LowLevel.CKM_AES_CMAC, None)
DES3_CMAC = PyKCS11.Mechanism(LowLevel.CKM_DES3_CMAC, None)
AES_ECB = PyKCS11.Mechanism(LowLevel.CKM_AES_ECB, None)
DES3_ECB = PyKCS11.Mechanism(LowLevel.CKM_DES3_ECB, None)
DES3_CBC = PyKCS11.Mechanism(LowLevel.CKM_DES3_CBC, bytes(tdes.BLOCK))
SHA256_HMAC = PyKCS11.Mechanism(LowLevel.CKM_SHA256_HMAC, None)
SHA512_HMAC = PyKCS11.Mechanism(LowLevel.CKM_SHA512_HMAC, None)
SHA256_RSA = PyKCS11.Mechanism(LowLevel.CKM_SHA256_RSA_PKCS, None)

TAG_BYTES = 16
WRAP_MORE = 8
"""Bytes that AES key wrap adds (RFC 3394)."""
LEAST_WRAPPED = 16
_GIVEN_WRONGLY = frozenset(
    {
        LowLevel.CKR_ENCRYPTED_DATA_INVALID,
        LowLevel.CKR_ENCRYPTED_DATA_LEN_RANGE,
        LowLevel.CKR_AEAD_DECRYPT_FAILED,
        LowLevel.CKR_DATA_INVALID,
        LowLevel.CKR_DATA_LEN_RANGE,
        LowLevel.CKR_WRAPPED_KEY_INVALID,
        LowLevel.CKR_WRAPPED_KEY_LEN_RANGE,
    }
)
_EITHER = frozenset({LowLevel.CKR_GENERAL_ERROR, LowLevel.CKR_FUNCTION_FAILED})

_TRUE, _FALSE = LowLevel.CK_TRUE, LowLevel.CK_FALSE
_KEPT_IN: Template = [(LowLevel.CKA_SENSITIVE, _TRUE), (LowLevel.CKA_WRAP_WITH_TRUSTED, _TRUE)]
_CIPHERS: Template = [(LowLevel.CKA_ENCRYPT, _TRUE), (LowLevel.CKA_DECRYPT, _TRUE)]
_CODES: Template = [(LowLevel.CKA_SIGN, _TRUE), (LowLevel.CKA_VERIFY, _TRUE)]


def make_master(officer: Token, label: str) -> None:
    """An AES-256 master key: made inside, trusted, never extractable, and what it unwraps stays in. For the security officer.

    It is no private object: only those can be made by the officer, and only the officer can trust a key.
    """
    if officer.find(label) is not None:
        raise TokenError(f"token {officer.label}: has a key {label} already; it is never replaced")
    template = [
        *_own(label, 32),
        (LowLevel.CKA_PRIVATE, _FALSE),
        (LowLevel.CKA_WRAP, _TRUE),
        (LowLevel.CKA_UNWRAP, _TRUE),
        (LowLevel.CKA_ENCRYPT, _FALSE),
        (LowLevel.CKA_DECRYPT, _FALSE),
        (LowLevel.CKA_SIGN, _FALSE),
        (LowLevel.CKA_VERIFY, _FALSE),
        (LowLevel.CKA_TRUSTED, _TRUE),
        (LowLevel.CKA_UNWRAP_TEMPLATE, [*_KEPT_IN, (LowLevel.CKA_PRIVATE, _TRUE)]),
    ]
    officer.generate(LowLevel.CKM_AES_KEY_GEN, template)


def make_own(user: Token, header: str, data: str) -> None:
    """The token's keys for header MACs and for what is sealed beside keys, where they are not there yet. For the user."""
    if user.find(header) is None:
        user.generate(
            LowLevel.CKM_AES_KEY_GEN, [*_own(header, 32), (LowLevel.CKA_PRIVATE, _TRUE), *_CODES, *_no(_CIPHERS)]
        )
    if user.find(data) is None:
        user.generate(
            LowLevel.CKM_AES_KEY_GEN, [*_own(data, 32), (LowLevel.CKA_PRIVATE, _TRUE), *_CIPHERS, *_no(_CODES)]
        )


@contextmanager
def all_or_none(token: Token) -> Iterator[list[Object]]:
    """A list for objects that belong together: where one of them fails, those that are in it go again."""
    made: list[Object] = []
    try:
        yield made
    except BaseException:
        token.destroy(*made)
        raise


def make(token: Token, kind: Algorithm, length: int, rights: Rights, for_now: Rights = NONE) -> Object:
    """A random key of LENGTH bytes, never outside. FOR_NOW: rights besides, until `take_away` takes them."""
    template = _secret(kind, length, rights | for_now, extractable=True)
    if kind is Algorithm.TDES:
        mechanism = LowLevel.CKM_DES2_KEY_GEN if length == tdes.DOUBLE else LowLevel.CKM_DES3_KEY_GEN
        return token.generate(mechanism, template)
    mechanism = LowLevel.CKM_AES_KEY_GEN if kind is Algorithm.AES else LowLevel.CKM_GENERIC_SECRET_KEY_GEN
    return token.generate(mechanism, [*template, (LowLevel.CKA_VALUE_LEN, length)])


def take_away(token: Token, key: Object, rights: Rights) -> None:
    """Leave a key that was made without RIGHTS."""
    if rights:
        token.change(key, [(name, _FALSE) for name in sorted(rights)])


def make_rsa(token: Token, bits: int) -> tuple[Object, bytes]:
    """A random RSA key: its private half, never outside, and the public half as SubjectPublicKeyInfo in DER."""
    public: Template = [
        (LowLevel.CKA_TOKEN, _FALSE),
        (LowLevel.CKA_PRIVATE, _FALSE),
        (LowLevel.CKA_MODULUS_BITS, bits),
        (LowLevel.CKA_PUBLIC_EXPONENT, rsa_keys.EXPONENT.to_bytes(3)),
    ]
    with all_or_none(token) as made:
        half, private = token.generate_pair(
            public, _private(SIGN, extractable=True), LowLevel.CKM_RSA_PKCS_KEY_PAIR_GEN
        )
        made += [half, private]
        modulus, exponent = token.attributes(half, [LowLevel.CKA_MODULUS, LowLevel.CKA_PUBLIC_EXPONENT])
    token.destroy(half)
    return private, rsa_keys.public_of_numbers(int.from_bytes(bytes(modulus)), int.from_bytes(bytes(exponent)))


def bring_in(token: Token, kind: Algorithm, key: bytes, rights: Rights) -> Object:
    """A key of bytes that came in as components or in a key block."""
    if kind is Algorithm.HMAC:
        key = key.ljust(HMAC_BYTES, b"\x00")
    return token.create([*_secret(kind, len(key), rights, extractable=True), (LowLevel.CKA_VALUE, key)])


def bring_in_rsa(token: Token, der: bytes) -> Object:
    """A private RSA key of PKCS#8 DER."""
    numbers = rsa_keys.load_private(der).private_numbers()
    parts = {
        LowLevel.CKA_MODULUS: numbers.public_numbers.n,
        LowLevel.CKA_PUBLIC_EXPONENT: numbers.public_numbers.e,
        LowLevel.CKA_PRIVATE_EXPONENT: numbers.d,
        LowLevel.CKA_PRIME_1: numbers.p,
        LowLevel.CKA_PRIME_2: numbers.q,
        LowLevel.CKA_EXPONENT_1: numbers.dmp1,
        LowLevel.CKA_EXPONENT_2: numbers.dmq1,
        LowLevel.CKA_COEFFICIENT: numbers.iqmp,
    }
    values = [(name, number.to_bytes((number.bit_length() + 7) // 8)) for name, number in parts.items()]
    return token.create([*_private(SIGN, extractable=True), *values])


def fits(wrapped: bytes, kind: Algorithm, bits: int) -> bool:
    """Whether what was wrapped has the length of such a key. Of RSA keys the token's own reading of it says."""
    least = HMAC_BYTES if kind is Algorithm.HMAC else 0
    return kind is Algorithm.RSA or len(wrapped) - WRAP_MORE == max(bits // 8, least)


def unwrap(token: Token, master: Object, wrapped: bytes, kind: Algorithm, rights: Rights) -> Object:
    """A payment key, not extractable at all.

    Raises DoesNotOpen where WRAPPED is none of this master key, TokenError where the token fails.
    """
    if kind is Algorithm.RSA:
        return _unwrapped(token, master, wrapped, _private(rights, extractable=False), KEY_WRAP_PADDED)
    template = _secret(kind, len(wrapped) - WRAP_MORE, rights, extractable=False)
    return _unwrapped(token, master, wrapped, template, KEY_WRAP)


def unwrap_to_rewrap(token: Token, master: Object, wrapped: bytes, kind: Algorithm) -> Object:
    """A payment key that another trusted key may wrap, and that does nothing else. Raises as `unwrap` does."""
    if kind is Algorithm.RSA:
        return _unwrapped(token, master, wrapped, _private(NONE, extractable=True), KEY_WRAP_PADDED)
    template = _secret(kind, len(wrapped) - WRAP_MORE, NONE, extractable=True)
    return _unwrapped(token, master, wrapped, template, KEY_WRAP)


def seal(token: Token, key: Object, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    """AES-GCM: ciphertext and tag (16 bytes). NONCE: 12 bytes, never twice under a key."""
    return token.encrypt(key, data, gcm(nonce, aad))


def unseal(token: Token, key: Object, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """What was sealed. Raises DoesNotOpen where nonce, text, tag or AAD are others, TokenError where the token fails."""
    if len(nonce) != NONCE_BYTES or len(sealed) < TAG_BYTES:
        raise DoesNotOpen("it is too short to have been sealed")
    with _blamed(lambda: _seal_and_unseal(token)):
        return token.decrypt(key, sealed, gcm(nonce, aad))


def derive(token: Token, key: Object, data: bytes, rights: Rights) -> Object:
    """The triple DES key that is DATA (24 bytes) enciphered under KEY, block by block. It never leaves and wraps never."""
    template = _secret(Algorithm.TDES, tdes.TRIPLE, rights, extractable=False)
    mechanism = PyKCS11.KEY_DERIVATION_STRING_DATA_MechanismBase(data, LowLevel.CKM_DES3_ECB_ENCRYPT_DATA)
    return token.derive(key, template, mechanism)


def _unwrapped(token: Token, master: Object, wrapped: bytes, template: Template, mechanism: object) -> Object:
    if len(wrapped) < LEAST_WRAPPED:
        raise DoesNotOpen("it is too short to be a wrapped key")
    with _blamed(lambda: _wrap_and_unwrap(token, master)):
        return token.unwrap(master, wrapped, template, mechanism)


@contextmanager
def _blamed(proof: Callable[[], object]) -> Iterator[None]:
    """Tell what was given wrongly (DoesNotOpen) from a token that fails (TokenError), by its return code.

    Some modules, SoftHSM among them, have one code for both. Then PROOF, the same call with something right, says which it was.
    """
    try:
        yield
    except TokenError as error:
        if error.code in _GIVEN_WRONGLY or (error.code in _EITHER and _succeeds(proof)):
            raise DoesNotOpen("the token does not open it") from None
        raise


def _succeeds(proof: Callable[[], object]) -> bool:
    try:
        proof()
    except TokenError:
        return False
    return True


def _wrap_and_unwrap(token: Token, master: Object) -> None:
    with all_or_none(token) as made:
        made.append(make(token, Algorithm.AES, 32, NONE))
        wrapped = token.wrap(master, made[0], KEY_WRAP)
        made.append(token.unwrap(master, wrapped, _secret(Algorithm.AES, 32, NONE, extractable=False), KEY_WRAP))
    token.destroy(*made)


def _seal_and_unseal(token: Token) -> None:
    """By a key of its own: the one that was asked for may have no right to seal."""
    with all_or_none(token) as made:
        made.append(make(token, Algorithm.AES, 32, ENCRYPT | DECRYPT))
        nonce = bytes(NONCE_BYTES)
        token.decrypt(made[0], seal(token, made[0], nonce, b"", b""), gcm(nonce, b""))
    token.destroy(*made)


def gcm(nonce: bytes, aad: bytes) -> Any:  # noqa: ANN401 - a mechanism of the module
    """AES-GCM with a tag of 16 bytes."""
    return PyKCS11.AES_GCM_Mechanism(nonce, aad, 8 * TAG_BYTES)


def _secret(kind: Algorithm, length: int, rights: Rights, *, extractable: bool) -> Template:
    types = {
        Algorithm.TDES: LowLevel.CKK_DES2 if length == tdes.DOUBLE else LowLevel.CKK_DES3,
        Algorithm.AES: LowLevel.CKK_AES,
        Algorithm.HMAC: LowLevel.CKK_GENERIC_SECRET,
    }
    return [
        (LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY),
        (LowLevel.CKA_KEY_TYPE, types[kind]),
        (LowLevel.CKA_TOKEN, _FALSE),
        (LowLevel.CKA_PRIVATE, _TRUE),
        (LowLevel.CKA_EXTRACTABLE, _TRUE if extractable else _FALSE),
        (LowLevel.CKA_WRAP, _FALSE),
        (LowLevel.CKA_UNWRAP, _FALSE),
        (LowLevel.CKA_VERIFY, _FALSE),
        *_KEPT_IN,
        *((name, _TRUE if name in rights else _FALSE) for name in sorted(EVERY)),
    ]


def _private(rights: Rights, *, extractable: bool) -> Template:
    return [
        (LowLevel.CKA_CLASS, LowLevel.CKO_PRIVATE_KEY),
        (LowLevel.CKA_KEY_TYPE, LowLevel.CKK_RSA),
        (LowLevel.CKA_TOKEN, _FALSE),
        (LowLevel.CKA_PRIVATE, _TRUE),
        (LowLevel.CKA_EXTRACTABLE, _TRUE if extractable else _FALSE),
        (LowLevel.CKA_SIGN, _TRUE if rights >= SIGN else _FALSE),
        (LowLevel.CKA_SIGN_RECOVER, _FALSE),
        (LowLevel.CKA_DECRYPT, _FALSE),
        (LowLevel.CKA_UNWRAP, _FALSE),
        *_KEPT_IN,
    ]


def _own(label: str, length: int) -> Template:
    return [
        (LowLevel.CKA_CLASS, LowLevel.CKO_SECRET_KEY),
        (LowLevel.CKA_KEY_TYPE, LowLevel.CKK_AES),
        (LowLevel.CKA_VALUE_LEN, length),
        (LowLevel.CKA_LABEL, label),
        (LowLevel.CKA_TOKEN, _TRUE),
        (LowLevel.CKA_SENSITIVE, _TRUE),
        (LowLevel.CKA_EXTRACTABLE, _FALSE),
        (LowLevel.CKA_MODIFIABLE, _FALSE),
    ]


def _no(template: Template) -> Template:
    return [(name, _FALSE) for name, _ in template]
