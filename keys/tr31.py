"""Key blocks (ANSI X9.143, TR-31; ISO 20038): a key travels enciphered, bound by a MAC to the header that says what it is for.

    D   AES. KBEK and KBAK derived from the KBPK by AES-CMAC; CMAC of header and clear key; CBC, the MAC is the initial vector
    E   the same with CTR instead of CBC; read only
    B   triple DES. KBEK and KBAK derived by CMAC; CMAC of header and clear key; CBC, the MAC is the initial vector
    A C triple DES. KBEK and KBAK are the KBPK XOR 45.. and 4D..; 4 bytes of CBC-MAC over header and ciphertext; read only

KBPK is the key block protection key, KBEK enciphers, KBAK authenticates. The clear key is 2 bytes of its length in bits, the
key, and random bytes that hide how long it is. Nothing of it is looked at before the MAC is found right.
Refuses to know what a key may be used for: it tells what the header says. Read next: tr31_header.py, keywrap.py.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from keys import aes, mac, tdes, tr31_header
from keys.errors import KeyBlockError, KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.tr31_header import Header

    # Header, ciphertext and MAC to the clear bytes; raises KeyBlockError.
    Open = Callable[[bytes, bytes, bytes], bytes]

_AES_VERSIONS, _TDES_VERSIONS, _WRITTEN = frozenset("DE"), frozenset("ABC"), frozenset("BD")
_BY_CMAC = frozenset("B")
"""Of triple DES: what the CMAC of the KBPK alone opens."""
_MAC_BYTES = {"A": 4, "B": tdes.BLOCK, "C": 4, "D": aes.BLOCK, "E": aes.BLOCK}
_LENGTHS = {"T": (tdes.DOUBLE, tdes.TRIPLE), "A": aes.LENGTHS}
_HIDDEN_IN = {"T": tdes.TRIPLE, "A": max(aes.LENGTHS)}
_SINGLE_DES = "D"
_LENGTH_BYTES = 2

# Codes of the derivation data (X9.143, ISO 20038): what the derived key is for, and the cipher by its key's bytes.
_FOR_CBC, _FOR_MAC, _FOR_CTR = 0, 1, 2
_TDES_CODES = {tdes.DOUBLE: 0, tdes.TRIPLE: 1}
_AES_CODES = dict(zip(aes.LENGTHS, (2, 3, 4), strict=True))

_VARIANTS = (0x45, 0x4D)
"""What the KBPK of A and C is XORed with, byte by byte: KBEK, KBAK."""

# Strength in bits (NIST SP 800-57 part 1, table 2; two-key triple DES as SP 800-131A counted it).
_TDES_BITS = {tdes.DOUBLE: 80, tdes.TRIPLE: 112}
_STRONGEST_BITS = 256

_NOT_AUTHENTIC = "the key block is not authentic: changed, or protected by another key"
_is_hex = re.compile("[0-9A-F]*").fullmatch


class Opener:
    """Opens the key blocks (X9.143, TR-31) of one KBPK: derived keys and cipher contexts are made once. For one thread at a time.

    KBPK: 16, 24 or 32 bytes for D and E, 16 or 24 for A, B and C. VERSIONS: those it opens, of one cipher; what was meant
    for D is not taken as anything weaker. Unless allow_weak_kbpk, which is for published vectors and blocks of old, a KBPK must
    not be weaker than the key it protects (`check_strength`), nor have weak DES parts. Raises KeyBlockError. Vectors: TR-31:2018
    A.7.2.2 (B), X9.143:2021 8.1 (D).

    >>> opener = Opener(bytes.fromhex("DD7515F2BFC17F85CE48F3CA25CB21F6"), "B")
    >>> header, key = opener.unwrap("B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E")
    >>> header.usage, key.hex().upper()
    ('P0', '3F419E1CB7079442AA37474C2EFBF8B8')
    >>> opener = Opener(bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6"))
    >>> header, key = opener.unwrap(
    ...     "D0144P0AE00E00002C77FA3F4A553BED6E88AE5C172A4166E3D4ACA8E2AC71C158A476FAC12C13C3"
    ...     "829DE55D3AB54C48F4C4FEF7AC75E90FC47F1B77E7B19A73ED46E64410082557")
    >>> header.algorithm, key.hex().upper()
    ('A', '3F419E1CB7079442AA37474C2EFBF8B8')
    """

    __slots__ = ("_bits", "_opens")
    _bits: int
    _opens: dict[str, Open]

    def __init__(self, kbpk: bytes, versions: str = "D", *, allow_weak_kbpk: bool = False) -> None:
        _refuse_versions(versions, _AES_VERSIONS, _TDES_VERSIONS)
        bits = kbpk_strength(kbpk, versions[0])
        if versions[0] in _AES_VERSIONS:
            cmac = mac.aes_cmac(kbpk)
            self._opens = {version: _aes_open(cmac, len(kbpk), version) for version in versions}
        else:
            self._opens = {version: _tdes_open(kbpk, version) for version in versions}
        if not bits and not allow_weak_kbpk:
            raise KeyBlockError("a triple DES KBPK with equal or weak parts protects no key")
        self._bits = _STRONGEST_BITS if allow_weak_kbpk else bits

    @classmethod
    def over_cmac(
        cls, cmac: Callable[[bytes], bytes], key_bits: int, versions: str = "D", *, allow_weak_kbpk: bool = False
    ) -> Opener:
        """The same for a KBPK of KEY_BITS that is known by its CMAC alone, as one in a token is.

        CMAC is called 2 to 8 times, here and never again: the keys it derives are in this process, the KBPK is not.
        VERSIONS: D, E or both, of an AES key (128, 192, 256 bits); B, of a triple DES key (128, 192). A and C want the KBPK
        itself. Nobody sees whether the parts of a triple DES key are weak or equal: who made it must have looked.
        """
        _refuse_versions(versions, _AES_VERSIONS, _BY_CMAC)
        bits = _bits_by_length(key_bits, versions[0])
        made = cls.__new__(cls)
        made._opens = {  # noqa: SLF001 - it makes one
            version: _tdes_open_derived(cmac, key_bits // 8)
            if version in _BY_CMAC
            else _aes_open(cmac, key_bits // 8, version)
            for version in versions
        }
        made._bits = _STRONGEST_BITS if allow_weak_kbpk else bits  # noqa: SLF001 - the same
        return made

    def unwrap(self, block: str) -> tuple[Header, bytes]:
        """Header and key of BLOCK. The key has a length of its algorithm; its header is authentic, and may say it is a component.

        Raises KeyBlockError: malformed, not of this opener's versions, not authentic, single DES, or the KBPK is too weak.
        """
        header, end = tr31_header.parse(block)
        unseal = self._opens.get(header.version)
        if unseal is None:
            raise KeyBlockError(f"key blocks of version {header.version} are not opened here")
        if not _is_hex(block, end):
            raise KeyBlockError(f"what follows the header (byte {end}) is not upper case hex")
        sealed = bytes.fromhex(block[end:])
        tail = len(sealed) - _MAC_BYTES[header.version]
        if tail <= _LENGTH_BYTES:
            raise KeyBlockError("the key block has no room for a key and its MAC")
        clear = unseal(block[:end].encode("ascii"), sealed[:tail], sealed[tail:])
        bits = int.from_bytes(clear[:_LENGTH_BYTES])
        length = bits // 8
        if bits % 8 or not 0 < length <= len(clear) - _LENGTH_BYTES:
            raise KeyBlockError("the length of the key in the block is not whole bytes that are there")
        _refuse_length(header.algorithm, length)
        check_strength(self._bits, header.algorithm, length)
        return header, clear[_LENGTH_BYTES : _LENGTH_BYTES + length]


class Writer:
    """Writes key blocks (X9.143, TR-31) of version B or D under one KBPK: derived keys and cipher contexts are made once.

    KBPK: 16, 24 or 32 bytes for D, 16 or 24 for B. RANDOM makes so many random bytes. Raises KeyBlockError. Vector: X9.143:2021
    8.1, with the random bytes that it had.

    >>> fill = bytes.fromhex("1A87BBFA2CFE78D383E5F4C6AA83473C1C2965473CE206BB855B01533782")
    >>> kbpk = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
    >>> header = tr31_header.Header("D", "P0", "A", "E", "00", "E")
    >>> block = Writer(kbpk, random=lambda _: fill).wrap(header, bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8"))
    >>> block[:80]
    'D0144P0AE00E00002C77FA3F4A553BED6E88AE5C172A4166E3D4ACA8E2AC71C158A476FAC12C13C3'
    >>> block[80:]
    '829DE55D3AB54C48F4C4FEF7AC75E90FC47F1B77E7B19A73ED46E64410082557'
    """

    __slots__ = ("_bits", "_chain", "_code", "_random", "_unit", "_version")

    def __init__(
        self, kbpk: bytes, version: str = "D", *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        bits = kbpk_strength(kbpk, _written(version))
        cmac = mac.aes_cmac(kbpk) if version in _AES_VERSIONS else mac.tdes_cmac(kbpk)
        self._make(cmac, len(kbpk), bits, version, random)

    @classmethod
    def over_cmac(
        cls,
        cmac: Callable[[bytes], bytes],
        key_bits: int,
        version: str = "D",
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Writer:
        """The same for a KBPK of KEY_BITS that is known by its CMAC alone, as one in a token is."""
        made = cls.__new__(cls)
        made._make(cmac, key_bits // 8, _bits_by_length(key_bits, _written(version)), version, random)
        return made

    def _make(
        self, cmac: Callable[[bytes], bytes], length: int, bits: int, version: str, random: Callable[[int], bytes]
    ) -> None:
        self._bits, self._version, self._random = bits, version, random
        if version in _AES_VERSIONS:
            self._code = mac.aes_cmac(_derive_aes(cmac, _FOR_MAC, length))
            self._chain = aes.cbc(_derive_aes(cmac, _FOR_CBC, length), bytes(aes.BLOCK))
            self._unit = aes.BLOCK
        else:
            self._code = mac.tdes_cmac(_derive_tdes(cmac, _FOR_MAC, length))
            self._chain = tdes.cbc(_derive_tdes(cmac, _FOR_CBC, length))
            self._unit = tdes.BLOCK

    def wrap(self, header: Header, key: bytes) -> str:
        """KEY in a key block, as HEADER says; its version must be the writer's.

        Triple DES keys are hidden in 24 bytes and AES keys in 32, so that the block does not tell how long they are.
        Raises KeyBlockError for another version, a key length that the algorithm does not have, and a KBPK too weak for it.
        """
        if header.version != self._version:
            raise KeyBlockError(f"this KBPK writes key blocks of version {self._version} alone")
        _refuse_length(header.algorithm, len(key))
        check_strength(self._bits, header.algorithm, len(key))
        hidden = max(len(key), _HIDDEN_IN.get(header.algorithm, 0))
        fill = hidden - len(key) + -(_LENGTH_BYTES + hidden) % self._unit
        text = header.build(2 * (_LENGTH_BYTES + len(key) + fill + self._unit))
        filled = self._random(fill)
        if len(filled) != fill:
            raise KeyBlockError("the source of random bytes gave another number of them")
        clear = (8 * len(key)).to_bytes(_LENGTH_BYTES) + key + filled
        tag = self._code(text.encode("ascii") + clear)
        # CBC with the MAC as its initial vector is CBC from zero with the MAC in the first block.
        sealed = self._chain.encryptor().update(_xor(clear[: self._unit], tag) + clear[self._unit :])
        return text + (sealed + tag).hex().upper()


def wrap(kbpk: bytes, header: Header, key: bytes, *, random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """One key block (X9.143) of the version that HEADER names, B or D: Writer.wrap of a KBPK that is used once.

    Raises KeyBlockError as Writer does. A key of X9.143:2021 8.1; the block has other random bytes each time.

    >>> kbpk = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
    >>> header = tr31_header.Header("D", "P0", "A", "E", "00", "E")
    >>> block = wrap(kbpk, header, bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8"))
    >>> block[:16], Opener(kbpk).unwrap(block)[1].hex().upper()
    ('D0144P0AE00E0000', '3F419E1CB7079442AA37474C2EFBF8B8')
    """
    return Writer(kbpk, header.version, random=random).wrap(header, key)


def check_strength(kbpk_bits: int, algorithm: str, length: int) -> None:
    """Raise KeyBlockError where a KBPK of KBPK_BITS strength is weaker than a key of LENGTH bytes for ALGORITHM (X9.143's code).

    NIST SP 800-57 part 1, table 2: triple DES 80 bits (double), 112 (triple); AES its bits; HMAC its bits, 256 at most. The
    strength of RSA, elliptic curve and DSA keys stands inside them, where this module does not look: they count as 256.

    >>> check_strength(256, "A", 32)
    >>> check_strength(112, "A", 16)
    Traceback (most recent call last):
    keys.errors.KeyBlockError: the key block protection key is weaker than the key it protects
    """
    if kbpk_bits < _STRONGEST_BITS and kbpk_bits < _strength(algorithm, length):
        raise KeyBlockError("the key block protection key is weaker than the key it protects")


def kbpk_strength(kbpk: bytes, version: str) -> int:
    """The strength in bits (NIST SP 800-57 part 1, table 2) of KBPK for key blocks of VERSION (A to E).

    0 for triple DES with equal or weak parts (tdes.py). Raises KeyBlockError for lengths that its cipher does not have.

    >>> kbpk_strength(bytes(32), "D")
    256
    >>> kbpk_strength(bytes.fromhex("DD7515F2BFC17F85CE48F3CA25CB21F6"), "B"), kbpk_strength(bytes(16), "B")
    (80, 0)
    """
    if version in _AES_VERSIONS:
        if len(kbpk) not in _AES_CODES:
            raise KeyBlockError("an AES KBPK has 16, 24 or 32 bytes")
        return 8 * len(kbpk)
    if len(kbpk) not in _TDES_CODES:
        raise KeyBlockError("a triple DES KBPK has 16 or 24 bytes")
    try:
        tdes.refuse_weak(kbpk)
    except KeyRefused:
        return 0
    alike = tdes.odd_parity(kbpk[: tdes.BLOCK]) == tdes.odd_parity(tdes.expand(kbpk)[tdes.DOUBLE :])
    return _TDES_BITS[tdes.DOUBLE if alike else tdes.TRIPLE]


def _written(version: str) -> str:
    if version not in _WRITTEN:
        raise KeyBlockError("only key blocks of versions B and D are written")
    return version


def _bits_by_length(key_bits: int, version: str) -> int:
    """The strength of a KBPK of KEY_BITS whose bytes nobody sees."""
    codes = _AES_CODES if version in _AES_VERSIONS else _TDES_CODES
    if key_bits % 8 or key_bits // 8 not in codes:
        lengths = "128, 192 or 256" if codes is _AES_CODES else "128 or 192"
        raise KeyBlockError(f"a KBPK for version {version} has {lengths} bits")
    return key_bits if version in _AES_VERSIONS else _TDES_BITS[key_bits // 8]


def _strength(algorithm: str, length: int) -> int:
    if algorithm == "T":
        return _TDES_BITS[length]
    return min(8 * length, _STRONGEST_BITS) if algorithm in "AH" else _STRONGEST_BITS


def _refuse_length(algorithm: str, length: int) -> None:
    if algorithm == _SINGLE_DES:
        raise KeyBlockError("single DES keys (algorithm D) are not accepted")
    if not length or length not in _LENGTHS.get(algorithm, (length,)):
        raise KeyBlockError(f"the length of the key is none of algorithm {algorithm}")


def _refuse_versions(versions: str, *ciphers: frozenset[str]) -> None:
    if not versions or not any(cipher.issuperset(versions) for cipher in ciphers):
        raise KeyBlockError("an opener is for versions D and E, or for A, B and C")


def _aes_open(cmac: Callable[[bytes], bytes], length: int, version: str) -> Open:
    """For D and E. CMAC of a KBPK of LENGTH bytes."""
    code = mac.aes_cmac(_derive_aes(cmac, _FOR_MAC, length))
    if version == "D":
        decipher = aes.decipherer(_derive_aes(cmac, _FOR_CBC, length))
        return _bound_by_derivation(code, _cbc_decipher(decipher, aes.BLOCK))
    cipher = algorithms.AES(_derive_aes(cmac, _FOR_CTR, length))
    return _bound_by_derivation(code, lambda sealed, tag: Cipher(cipher, modes.CTR(tag)).decryptor().update(sealed))


def _tdes_open(kbpk: bytes, version: str) -> Open:
    """For A, B and C."""
    if version == "B":
        return _tdes_open_derived(mac.tdes_cmac(kbpk), len(kbpk))
    kbek, kbak = (bytes(byte ^ variant for byte in kbpk) for variant in _VARIANTS)
    return _bound_by_variant(mac.cbc_mac(kbak, 1), _cbc_decipher(tdes.decipherer(kbek), tdes.BLOCK))


def _tdes_open_derived(cmac: Callable[[bytes], bytes], length: int) -> Open:
    """For B. CMAC of a KBPK of LENGTH bytes."""
    code = mac.tdes_cmac(_derive_tdes(cmac, _FOR_MAC, length))
    return _bound_by_derivation(code, _cbc_decipher(tdes.decipherer(_derive_tdes(cmac, _FOR_CBC, length)), tdes.BLOCK))


def _bound_by_derivation(code: Callable[[bytes], bytes], decipher: Callable[[bytes, bytes], bytes]) -> Open:
    """Decipher with the MAC as initial vector, and let nobody see it unless it is the MAC of header and clear bytes."""

    def unseal(header: bytes, sealed: bytes, tag: bytes) -> bytes:
        clear = decipher(sealed, tag)
        if not mac.same(code(header + clear), tag):
            raise KeyBlockError(_NOT_AUTHENTIC)
        return clear

    return unseal


def _bound_by_variant(code: Callable[[bytes], bytes], decipher: Callable[[bytes, bytes], bytes]) -> Open:
    """The MAC, cut to what the block has of it, is of header and ciphertext; the header begins with the initial vector."""

    def unseal(header: bytes, sealed: bytes, tag: bytes) -> bytes:
        if not mac.same(code(header + sealed)[: len(tag)], tag):
            raise KeyBlockError(_NOT_AUTHENTIC)
        return decipher(sealed, header[: tdes.BLOCK])

    return unseal


def _cbc_decipher(decipher: Callable[[bytes], bytes], unit: int) -> Callable[[bytes, bytes], bytes]:
    """CBC by an ECB context that stays open: each block deciphered XOR the ciphertext before it."""

    def chained(sealed: bytes, initial: bytes) -> bytes:
        # An odd byte would put the context out of step for good.
        if len(sealed) % unit:
            raise KeyBlockError("the key in the block is not enciphered in whole cipher blocks")
        return _xor(decipher(sealed), initial + sealed[:-unit])

    return chained


def _derive_aes(cmac: Callable[[bytes], bytes], usage: int, length: int) -> bytes:
    return _derive(cmac, usage, length, _AES_CODES[length], aes.BLOCK)


def _derive_tdes(cmac: Callable[[bytes], bytes], usage: int, length: int) -> bytes:
    return _derive(cmac, usage, length, _TDES_CODES[length], tdes.BLOCK)


def _derive(cmac: Callable[[bytes], bytes], usage: int, length: int, code: int, unit: int) -> bytes:
    """A key of LENGTH bytes from CMACs of UNIT bytes (SP 800-108, counter mode): counter, usage, 00, cipher, length in bits."""
    tail = usage.to_bytes(2) + bytes(1) + code.to_bytes(2) + (8 * length).to_bytes(2)
    parts = [cmac(bytes([counter]) + tail) for counter in range(1, -(-length // unit) + 1)]
    if any(len(part) != unit for part in parts):
        raise KeyBlockError("the CMAC of the KBPK is not that of its cipher: its codes have another length")
    return b"".join(parts)[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))
