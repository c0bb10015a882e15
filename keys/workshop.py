"""What a local back end makes of a key it holds: the only part that differs between software and a token.

Everything above it (permissions, formats, comparisons, key blocks) is shared by local.py. A tool is a function over bytes; it
never gives a key. Refuses to know commands and requests. Read next: software.py and pkcs11.py (the two workshops), local.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from keys.envelope import Raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from keys.emv import Deriver
    from keys.kcv import Kcv
    from keys.keytypes import Algorithm, KeyInfo, KeySpec
    from keys.sensitive import Material


class Sealing(NamedTuple):
    """AES-256-GCM of one key: seal(nonce, data, aad) and unseal(nonce, sealed, aad), which raises VaultError."""

    seal: Callable[[bytes, bytes, bytes], bytes]
    unseal: Callable[[bytes, bytes, bytes], bytes]


class Workshop(Protocol[Raw]):
    """Makes keys, and tools of keys. Block ciphers are ECB over whole blocks of the key's algorithm."""

    def make(self, spec: KeySpec, length: int) -> Raw:
        """A random key of LENGTH bytes (of an RSA key: its modulus), fit for SPEC."""
        ...

    def take(self, spec: KeySpec, material: Material) -> Raw:
        """A key that came in: components or a key block."""
        ...

    def let_go(self, raw: Raw) -> None:
        """A key that nobody will use again: what the back end holds of it goes. Never raises."""
        ...

    def restore(self) -> bool:
        """Whether the back end was away and is there again: then the keys it held are gone, and must be opened anew.

        Raises an error of the back end's own kind while it is away.
        """
        ...

    def give(self, raw: Raw) -> Material:
        """The bytes of a key that leaves in a key block. Raises KeyRefused where the back end cannot."""
        ...

    def check_value(self, algorithm: Algorithm, raw: Raw) -> Kcv:
        """The check value."""
        ...

    def bits(self, algorithm: Algorithm, raw: Raw) -> int:
        """Length of the key."""
        ...

    def encipherer(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """Enciphers blocks."""
        ...

    def decipherer(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """Deciphers blocks."""
        ...

    def half_encipherer(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """Enciphers blocks by single DES under the first half of a CVK."""
        ...

    def masked_encipherer(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """Enciphers blocks under a triple DES BDK with the DUKPT mask on it."""
        ...

    def at_hand(self, raw: Raw) -> bytes | None:
        """The bytes of a key, where they are in this process anyway; None where the back end keeps them."""
        ...

    def mac(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """The whole MAC by the key's usage."""
        ...

    def sealing(self, info: KeyInfo, raw: Raw) -> Sealing:
        """AES-256-GCM."""
        ...

    def deriving(self, info: KeyInfo, raw: Raw) -> Callable[[], AbstractContextManager[Deriver]]:
        """An issuer master key from which card and session keys are derived; what one block derives is gone when it ends."""
        ...

    def cmac(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """CMAC under a KBPK: the derivation function of TR-31."""
        ...

    def signer(self, info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
        """RSA, PKCS#1 v1.5, SHA-256."""
        ...

    def verifier(self, info: KeyInfo, raw: Raw) -> Callable[[bytes, bytes], bool]:
        """Of a signature (data, signature)."""
        ...

    def self_test(self) -> None:
        """Compute published vectors with the ciphers of this back end. Raises SelfTestFailed."""
        ...

    def random(self, count: int) -> bytes:
        """Random bytes."""
        ...
