"""The keys of DUKPT transactions in a local back end: from BDK and KSN to a cipher for a PIN block, or a MAC.

The initial key comes of the BDK wherever that is; the walk from it to the transaction's key is in this process, since every key
on it serves one terminal, and most of them one transaction. Refuses to remember which KSN were used: ksn.KsnMemory is the
caller's. Read next: ksn.py, dukpt_tdes.py, dukpt_aes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple

from keys import aes, dukpt_aes, dukpt_tdes, mac, tdes
from keys.dukpt_aes import WORKING_KEYS, KeyType, Use
from keys.envelope import Raw
from keys.errors import KeyRefused, KsnRefused
from keys.keytypes import Algorithm, KeyInfo, KeyUsage
from keys.ksn import AesKsn, TdesKsn

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.hsm import Dukpt
    from keys.permissions import Operation
    from keys.toolbox import Toolbox
    from keys.workshop import Workshop

MAC_BYTES = 8
_TDES_TYPES = frozenset({KeyType.TDES_2, KeyType.TDES_3})
_TYPES = {kind.bits: kind for kind in (KeyType.AES_128, KeyType.AES_192, KeyType.AES_256)}


class _Tdes(NamedTuple):
    """A BDK or initial key of triple DES DUKPT, ready: the initial key of a KSN."""

    initial: Callable[[TdesKsn], bytes]


class _Aes(NamedTuple):
    """The same of AES DUKPT, and the type of its terminals' working keys."""

    initial: Callable[[AesKsn], bytes]
    kind: KeyType


class DukptKeys(Generic[Raw]):
    """The keys of transactions, by the keys that may do OPERATION."""

    def __init__(self, tools: Toolbox[Raw], workshop: Workshop[Raw], operation: Operation) -> None:
        self._tools, self._operation = tools, operation
        self._ready = tools.ready(operation, lambda info, raw: _base(workshop, info, raw))

    def pin_cipher(self, asked: Dukpt, *, encipher: bool) -> tuple[Callable[[bytes], bytes], str]:
        """ECB of the transaction's PIN key, and its algorithm. Raises KsnRefused for a KSN that cannot be."""
        with self._tools.telling(asked.key, self._operation):
            return self._pin_cipher(asked, encipher=encipher)

    def mac(self, asked: Dukpt, *, answer: bool) -> Callable[[bytes], bytes]:
        """The MAC of a request, or of its answer: 8 bytes, retail MAC (X9.24-1) or CMAC (X9.24-3). Raises KsnRefused."""
        with self._tools.telling(asked.key, self._operation):
            return self._mac(asked, answer=answer)

    def _pin_cipher(self, asked: Dukpt, *, encipher: bool) -> tuple[Callable[[bytes], bytes], str]:
        base = self._ready[asked.key]
        if isinstance(base, _Tdes):
            tdes_ksn = TdesKsn.parse(asked.ksn)
            key = dukpt_tdes.pin_key(dukpt_tdes.transaction_key(base.initial(tdes_ksn), tdes_ksn))
            return (tdes.encipherer if encipher else tdes.decipherer)(key), Algorithm.TDES.value
        ksn = AesKsn.parse(asked.ksn)
        key = dukpt_aes.working_key(
            dukpt_aes.transaction_key(base.initial(ksn), ksn), ksn, Use.PIN_ENCRYPTION, base.kind
        )
        if base.kind in _TDES_TYPES:
            return (tdes.encipherer if encipher else tdes.decipherer)(key), Algorithm.TDES.value
        return (aes.encipherer if encipher else aes.decipherer)(key), Algorithm.AES.value

    def _mac(self, asked: Dukpt, *, answer: bool) -> Callable[[bytes], bytes]:
        base = self._ready[asked.key]
        if isinstance(base, _Tdes):
            tdes_ksn = TdesKsn.parse(asked.ksn)
            transaction = dukpt_tdes.transaction_key(base.initial(tdes_ksn), tdes_ksn)
            derive = dukpt_tdes.mac_response_key if answer else dukpt_tdes.mac_request_key
            return mac.retail(derive(transaction), 1)
        ksn = AesKsn.parse(asked.ksn)
        # Named from the terminal's side: it generates what it asks with, and verifies what it is answered.
        use = Use.MAC_VERIFICATION if answer else Use.MAC_GENERATION
        key = dukpt_aes.working_key(dukpt_aes.transaction_key(base.initial(ksn), ksn), ksn, use, base.kind)
        whole = (mac.tdes_cmac if base.kind in _TDES_TYPES else mac.aes_cmac)(key)
        return lambda data: whole(data)[:MAC_BYTES]


def _base(workshop: Workshop[Raw], info: KeyInfo, raw: Raw) -> _Tdes | _Aes:
    if info.usage is KeyUsage.INITIAL_DUKPT:
        key = workshop.at_hand(raw)
        if key is None:  # the walk wants single DES with keys made on the way, which PKCS#11 has not
            raise KeyRefused(f"key {info.name}: an initial DUKPT key is of no use in a token; keep its BDK there")
        if info.attributes.device is None:
            raise KeyRefused(
                f"key {info.name}: does not say whose initial key it is: bring it in again, with its device"
            )

        def own(ksn: TdesKsn | AesKsn) -> bytes:
            if ksn.device != info.attributes.device:
                raise KsnRefused(f"key {info.name}: the KSN is of another device than the initial key")
            return key

        return _Tdes(own) if info.algorithm is Algorithm.TDES else _Aes(own, _working_type(info))
    encipher = workshop.encipherer(info, raw)
    if info.algorithm is Algorithm.TDES:
        masked = workshop.masked_encipherer(info, raw)
        return _Tdes(lambda ksn: dukpt_tdes.initial_key(encipher, masked, ksn))
    return _Aes(lambda ksn: dukpt_aes.initial_key(encipher, ksn.initial_key_id, info.bits), _working_type(info))


def _working_type(info: KeyInfo) -> KeyType:
    """What the key says, or AES of its own length."""
    name = info.attributes.working_key
    return _TYPES[info.bits] if name is None else WORKING_KEYS[name]
