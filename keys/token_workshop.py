"""The tools of a PKCS#11 token: the same functions as software.py gives, each a call into the token.

What the token cannot do is KeyRefused, one line saying so; docs/keys/backends.md has the table. Refuses to know commands
and files. Read next: token_objects.py, pkcs11.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from keys import dukpt_tdes, kcv, mac, rsa_keys, selftest, signing, tdes, token_rights, usages
from keys import token_objects as objects
from keys.envelope import NONCE_BYTES, DoesNotOpen
from keys.errors import KeyRefused, VaultError
from keys.keytypes import Algorithm, Exportability, KeyUsage
from keys.sensitive import Material
from keys.workshop import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from keys.emv import Deriver
    from keys.kcv import Kcv
    from keys.keytypes import KeyInfo, KeySpec
    from keys.token import Object, Token
    from keys.token_rights import Rights

DATA = "kks-data"
_COPY = b"copy to export"
_HALVED = frozenset({KeyUsage.CARD_VERIFICATION, KeyUsage.MAC_RETAIL})


_KNOWN = (
    (
        "token: triple DES",
        (Algorithm.TDES, "0123456789ABCDEFFEDCBA9876543210", objects.DES3_ECB, bytes(8)),
        "08d7b4fb629d0885",
    ),
    (
        "token: AES (FIPS 197 C.1)",
        (
            Algorithm.AES, "000102030405060708090A0B0C0D0E0F", objects.AES_ECB,
            bytes.fromhex("00112233445566778899AABBCCDDEEFF"),
        ),
        "69c4e0d86a7b0430d8cdb78070b4c55a",
    ),
    (
        "token: AES-CMAC (SP 800-38B)",
        (Algorithm.AES, "2B7E151628AED2A6ABF7158809CF4F3C", objects.AES_CMAC, bytes.fromhex("6BC1BEE22E409F96E93D7E117393172A")),
        "070a16b46b4d4144f79bdd9dd04a287c",
    ),
    (
        "token: HMAC-SHA256 (RFC 4231)",
        (Algorithm.HMAC, "0b" * 20, objects.SHA256_HMAC, b"Hi There"),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key in the token. MAIN: None for a public key. COMPANION: the second object some usages need. PUBLIC: DER of an RSA key.

    COPY: of an exportable key, its bytes sealed by the token (nonce, ciphertext): a token gives out no object.
    KCV: of a key that has just come; later its object may not have the right to compute it.
    """

    algorithm: Algorithm
    bits: int
    main: Object | None
    companion: Object | None = None
    public: bytes | None = None
    copy: bytes | None = None
    kcv: Kcv | None = None

    @property
    def inside(self) -> Object:
        """The object that works. Raises KeyRefused for a public key, which is none."""
        if self.main is None:
            raise KeyRefused("a public key only verifies")
        return self.main

    @property
    def objects(self) -> list[Object]:
        """What there is of it in the token."""
        return [one for one in (self.main, self.companion) if one is not None]


class TokenWorkshop:
    """Tools over a token's objects."""

    def __init__(self, token: Token) -> None:
        self._token = token
        token.must_find(DATA)

    def make(self, spec: KeySpec, length: int) -> TokenKey:
        """A random key. It is made inside unless its bytes are wanted: for a companion, a copy to export, zeros behind."""
        algorithm = usages.algorithm_of(spec)
        if algorithm is Algorithm.RSA:
            private, public = objects.make_rsa(self._token, 8 * length)
            return TokenKey(algorithm, 8 * length, private, public=public, kcv=kcv.of_rsa(public))
        outside = (
            spec.exportability is not Exportability.NOT_EXPORTABLE
            or _companion_of(spec, bytes(length)) is not None
            or (algorithm is Algorithm.HMAC and length < objects.HMAC_BYTES)
        )
        if outside:
            key = self._token.random(length)
            return self.take(spec, Material(tdes.odd_parity(key) if algorithm is Algorithm.TDES else key))
        rights, check = token_rights.needed(spec.usage, spec.mode), token_rights.TO_CHECK[algorithm]
        with objects.all_or_none(self._token) as made:
            made.append(objects.make(self._token, algorithm, length, rights, for_now=check))
            value = self._check_value(algorithm, made[0])
            objects.take_away(self._token, made[0], check - rights)
        return TokenKey(algorithm, 8 * length, made[0], kcv=value)

    def take(self, spec: KeySpec, material: Material) -> TokenKey:
        """A key that came in."""
        algorithm, key = usages.algorithm_of(spec), material.reveal()
        bits = usages.bits_of(algorithm, material)
        if algorithm is Algorithm.RSA:
            if not rsa_keys.is_private(key):
                return TokenKey(algorithm, bits, None, public=key, kcv=kcv.of_rsa(key))
            public = rsa_keys.public_of(key)
            private = objects.bring_in_rsa(self._token, key)
            return TokenKey(algorithm, bits, private, public=public, kcv=kcv.of_rsa(public))
        copy = None
        if spec.exportability is not Exportability.NOT_EXPORTABLE:
            nonce = self._token.random(NONCE_BYTES)
            copy = nonce + objects.seal(self._token, self._token.must_find(DATA), nonce, key, _COPY)
        second = _companion_of(spec, key)
        with objects.all_or_none(self._token) as made:
            rights = token_rights.needed(spec.usage, spec.mode)
            made.append(objects.bring_in(self._token, algorithm, key, rights))
            if second is not None:
                made.append(objects.bring_in(self._token, Algorithm.TDES, second, token_rights.COMPANION))
            with self._for_a_moment(algorithm, key, token_rights.TO_CHECK[algorithm]) as one:
                value = self._check_value(algorithm, one)
        main, companion = (*made, None)[:2]
        return TokenKey(algorithm, bits, main, companion, None, copy, value)

    def let_go(self, raw: TokenKey) -> None:
        """Its objects leave the token."""
        self._token.destroy(*raw.objects)

    def restore(self) -> bool:
        """Log in again where the token was away."""
        return self._token.restore()

    def give(self, raw: TokenKey) -> Material:
        """The bytes of an exportable key, of its sealed copy."""
        if raw.copy is None:
            raise KeyRefused("the token gives out no key but one that was made exportable")
        nonce, sealed = raw.copy[:NONCE_BYTES], raw.copy[NONCE_BYTES:]
        return Material(objects.unseal(self._token, self._token.must_find(DATA), nonce, sealed, _COPY))

    def check_value(self, algorithm: Algorithm, raw: TokenKey) -> Kcv:
        """The check value, which the token computed when the key came."""
        del algorithm
        if raw.kcv is None:
            raise KeyRefused("the check value of a key in a token is computed when it comes, and kept in its header")
        return raw.kcv

    def bits(self, algorithm: Algorithm, raw: TokenKey) -> int:
        """Length of the key."""
        del algorithm
        return raw.bits

    def encipherer(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """ECB."""
        return self._encrypt(raw, objects.AES_ECB if info.algorithm is Algorithm.AES else objects.DES3_ECB)

    def decipherer(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """ECB."""
        mechanism = objects.AES_ECB if info.algorithm is Algorithm.AES else objects.DES3_ECB
        return lambda blocks: self._token.decrypt(raw.inside, blocks, mechanism)

    def half_encipherer(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """Single DES: triple DES under the companion K1 K1 K1."""
        return self._companion(info, raw, objects.DES3_ECB)

    def masked_encipherer(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """Under the companion: the BDK with the DUKPT mask on it."""
        return self._companion(info, raw, objects.DES3_ECB)

    def at_hand(self, raw: TokenKey) -> None:
        """They never are."""
        del raw

    def mac(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """The whole MAC by the key's usage."""
        padding = info.attributes.padding or 0
        if info.usage is KeyUsage.MAC_CBC:
            chain = self._encrypt(raw, objects.DES3_CBC)
            return lambda data: chain(mac.pad(data, padding))[-tdes.BLOCK :]
        if info.usage is KeyUsage.MAC_RETAIL:
            half, whole = self._companion(info, raw, objects.DES3_CBC), self._encrypt(raw, objects.DES3_ECB)
            return lambda data: mac.retail_through(half, whole, data, padding)
        if info.usage is KeyUsage.MAC_CMAC:
            return self.cmac(info, raw)
        return self._sign(raw, objects.SHA512_HMAC if info.attributes.digest == "SHA-512" else objects.SHA256_HMAC)

    def sealing(self, info: KeyInfo, raw: TokenKey) -> Sealing:
        """AES-256-GCM."""
        del info

        def seal(nonce: bytes, data: bytes, aad: bytes) -> bytes:
            return objects.seal(self._token, raw.inside, nonce, data, aad)

        def unseal(nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
            try:
                return objects.unseal(self._token, raw.inside, nonce, sealed, aad)
            except DoesNotOpen:
                raise VaultError(
                    "sealed data does not open: it was changed, moved, or sealed under another key"
                ) from None

        return Sealing(seal, unseal)

    def deriving(self, info: KeyInfo, raw: TokenKey) -> Callable[[], AbstractContextManager[Deriver]]:
        """Card and session keys are objects of the token, destroyed at the end."""
        del info
        return lambda: self._deriving(raw)

    @contextmanager
    def _deriving(self, raw: TokenKey) -> Iterator[Deriver]:
        made: list[Object] = []
        try:
            yield TokenDeriver(self._token, raw.inside, b"", made)
        finally:
            self._token.destroy(*made)

    def cmac(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """CMAC."""
        return self._sign(raw, objects.AES_CMAC if info.algorithm is Algorithm.AES else objects.DES3_CMAC)

    def signer(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes], bytes]:
        """RSA, PKCS#1 v1.5, SHA-256."""
        del info
        return self._sign(raw, objects.SHA256_RSA)

    def verifier(self, info: KeyInfo, raw: TokenKey) -> Callable[[bytes, bytes], bool]:
        """With a public key there is nothing to hide."""
        del info
        return signing.rsa_verifier(raw.public or b"")

    def public(self, raw: TokenKey) -> bytes:
        """As it lies beside the private object."""
        return raw.public or b""

    def self_test(self) -> None:
        """The vectors of selftest.py, then published values of the token's own ciphers."""
        selftest.run([*selftest.VECTORS, *((name, partial(self._known, *told), value) for name, told, value in _KNOWN)])

    def _known(self, algorithm: Algorithm, key: str, mechanism: object, data: bytes) -> str:
        """DATA under a published key in the token, in hex; the key is destroyed again."""
        codes = mechanism in (objects.AES_CMAC, objects.DES3_CMAC, objects.SHA256_HMAC)
        rights = token_rights.SIGN if codes else token_rights.ENCRYPT
        with self._for_a_moment(algorithm, bytes.fromhex(key), rights) as one:
            return (self._token.sign if codes else self._token.encrypt)(one, data, mechanism).hex()

    def random(self, count: int) -> bytes:
        """Of the token."""
        return self._token.random(count)

    @contextmanager
    def _for_a_moment(self, algorithm: Algorithm, key: bytes, rights: Rights) -> Iterator[Object]:
        """An object of bytes, which leaves the token again."""
        one = objects.bring_in(self._token, algorithm, key, rights)
        try:
            yield one
        finally:
            self._token.destroy(one)

    def _check_value(self, algorithm: Algorithm, key: Object) -> Kcv:
        """Computed in the token, by token_rights.TO_CHECK."""
        if algorithm is Algorithm.TDES:
            return kcv.of_tdes_block(self._token.encrypt(key, bytes(tdes.BLOCK), objects.DES3_ECB))
        if algorithm is Algorithm.AES:
            return kcv.of_aes_code(self._token.sign(key, bytes(16), objects.AES_CMAC))
        return kcv.of_hmac_code(self._token.sign(key, bytes(16), objects.SHA256_HMAC))

    def _encrypt(self, raw: TokenKey, mechanism: object) -> Callable[[bytes], bytes]:
        return lambda blocks: self._token.encrypt(raw.inside, blocks, mechanism)

    def _companion(self, info: KeyInfo, raw: TokenKey, mechanism: object) -> Callable[[bytes], bytes]:
        companion = raw.companion
        if companion is None:
            raise KeyRefused(f"key {info.name}: lacks the second object that its usage needs in a token")
        return lambda blocks: self._token.encrypt(companion, blocks, mechanism)

    def _sign(self, raw: TokenKey, mechanism: object) -> Callable[[bytes], bytes]:
        return lambda data: self._token.sign(raw.inside, data, mechanism)


class TokenDeriver:
    """A derived key in the token (emv.Deriver). MADE collects what must be destroyed."""

    def __init__(
        self, token: Token, key: Object, data: bytes, made: list[Object], parent: Object | None = None
    ) -> None:
        self._token = token
        self._key = key
        self._data = data
        self._made = made
        self._parent = parent
        self._half: Object | None = None

    def derive(self, data: bytes) -> TokenDeriver:
        """The key that is DATA (16 bytes) enciphered under this one."""
        rights = token_rights.CARD if self._parent is None else token_rights.SESSION
        key = self._made_of(self._key, data + data[: tdes.BLOCK], rights)
        return TokenDeriver(self._token, key, data, self._made, self._key)

    def masked(self, mask: bytes) -> TokenDeriver:
        """No: PKCS#11 tokens here have no XOR of a key and data that gives a triple DES key."""
        del mask
        raise KeyRefused("a Visa script session key (master key XOR counter) cannot be made in a PKCS#11 token")

    def whole(self, blocks: bytes) -> bytes:
        """Triple DES, ECB."""
        return self._token.encrypt(self._key, blocks, objects.DES3_ECB)

    def half(self, blocks: bytes) -> bytes:
        """Single DES under the first half, ECB."""
        return self._token.encrypt(self._first_half(), blocks, objects.DES3_ECB)

    def chain(self, blocks: bytes) -> bytes:
        """Single DES under the first half, CBC."""
        return self._token.encrypt(self._first_half(), blocks, objects.DES3_CBC)

    def whole_chain(self, blocks: bytes) -> bytes:
        """Triple DES, CBC."""
        return self._token.encrypt(self._key, blocks, objects.DES3_CBC)

    def _first_half(self) -> Object:
        if self._half is None:
            if self._parent is None:
                raise KeyRefused("an issuer master key has no first half in a token")
            self._half = self._made_of(self._parent, self._data[: tdes.BLOCK] * 3, token_rights.SESSION)
        return self._half

    def _made_of(self, key: Object, data: bytes, rights: Rights) -> Object:
        made = objects.derive(self._token, key, data, rights)
        self._made.append(made)
        return made


def _companion_of(spec: KeySpec, key: bytes) -> bytes | None:
    """The second object of a key: its first half three times for single DES, or a BDK with the DUKPT mask."""
    if spec.usage in _HALVED:
        return key[: tdes.BLOCK] * 3
    if (
        spec.usage is KeyUsage.BASE_DERIVATION
        and len(key) == tdes.DOUBLE
        and usages.algorithm_of(spec) is Algorithm.TDES
    ):
        return dukpt_tdes.masked(key)
    return None
