"""Data commands of a local back end: MACs, sealing, blind indexes, signatures, randomness.

Refuses to know what the data means. Read next: mac.py, signing.py, vault.py (who seals), toolbox.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from keys.dukpt_commands import DukptKeys
from keys.envelope import NONCE_BYTES, Raw
from keys.errors import KeyRefused, VaultError
from keys.hsm import Dukpt
from keys.mac import same
from keys.permissions import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.keytypes import KeyHandle, KeyInfo
    from keys.toolbox import Toolbox
    from keys.workshop import Workshop

INDEX_BYTES = 16
TAG_BYTES = 16
RANDOM_MOST = 65_536


class DataOperations(Generic[Raw]):
    """The commands of hsm.DataCommands."""

    def __init__(self, tools: Toolbox[Raw], workshop: Workshop[Raw]) -> None:
        def mac(info: KeyInfo, raw: Raw) -> Callable[[bytes], bytes]:
            whole, length = workshop.mac(info, raw), info.attributes.mac_length
            return lambda data: whole(data)[:length]

        self._data_random = workshop.random
        self._self_test = workshop.self_test
        self._make_mac = tools.ready(Operation.MAKE_MAC, mac)
        self._verify_mac = tools.ready(Operation.VERIFY_MAC, mac)
        self._verify_record = tools.ready(Operation.VERIFY_RECORD, mac)
        self._mac_dukpt = DukptKeys(tools, workshop, Operation.DERIVE_MAC_KEY)
        self._seal = tools.ready(Operation.SEAL, lambda info, raw: workshop.sealing(info, raw).seal)
        self._unseal = tools.ready(Operation.UNSEAL, lambda info, raw: workshop.sealing(info, raw).unseal)
        self._index = tools.ready(Operation.BLIND_INDEX, workshop.mac)
        self._sign = tools.ready(Operation.SIGN, workshop.signer)
        self._signature = tools.ready(Operation.VERIFY_SIGNATURE, workshop.verifier)

    def mac(self, key: KeyHandle | Dukpt, data: bytes) -> bytes:
        """The MAC of the key's usage, or of the answer to a DUKPT terminal."""
        if isinstance(key, Dukpt):
            return self._mac_dukpt.mac(key, answer=True)(data)
        return self._make_mac[key](data)

    def verify_mac(self, key: KeyHandle | Dukpt, data: bytes, mac: bytes) -> bool:
        """Whether MAC is the whole MAC of DATA."""
        if isinstance(key, Dukpt):
            return same(self._mac_dukpt.mac(key, answer=False)(data), mac)
        return same(self._verify_mac[key](data), mac)

    def verify_record(self, key: KeyHandle, data: bytes, mac: bytes) -> bool:
        """verify_mac of a record kept here."""
        return same(self._verify_record[key](data), mac)

    def translate_mac(self, source: KeyHandle | Dukpt, target: KeyHandle, data: bytes, mac: bytes) -> bytes | None:
        """The MAC of the same data under another key; None where the first is not right."""
        make = self._make_mac[target]
        return make(data) if self.verify_mac(source, data, mac) else None

    def seal(self, key: KeyHandle, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce (12 bytes, random), ciphertext, tag (16). Change the key before 2**32 seals (NIST SP 800-38D 8.3)."""
        seal = self._seal[key]
        nonce = self._data_random(NONCE_BYTES)
        return nonce + seal(nonce, plaintext, aad)

    def unseal(self, key: KeyHandle, sealed: bytes, aad: bytes) -> bytes:
        """What was sealed."""
        unseal = self._unseal[key]
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise VaultError("sealed data does not open: it was changed, moved, or sealed under another key")
        return unseal(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)

    def blind_index(self, key: KeyHandle, text: bytes) -> bytes:
        """16 bytes: the leftmost half of HMAC-SHA256."""
        return self._index[key](text)[:INDEX_BYTES]

    def sign(self, key: KeyHandle, data: bytes) -> bytes:
        """RSA signature with SHA-256, PKCS#1 v1.5."""
        return self._sign[key](data)

    def verify_signature(self, key: KeyHandle, data: bytes, signature: bytes) -> bool:
        """Whether a partner's signature is right."""
        return self._signature[key](data, signature)

    def random_bytes(self, count: int) -> bytes:
        """Random bytes, 1 to 65,536. Raises KeyRefused for another count."""
        if not 1 <= count <= RANDOM_MOST:
            raise KeyRefused(f"1 to {RANDOM_MOST} random bytes can be asked for at once")
        return self._data_random(count)

    def self_test(self) -> None:
        """Compute published vectors, with this process's ciphers and the back end's."""
        self._self_test()
