"""What a key of each usage looks like: algorithms, lengths, modes, attributes. Asked when a key is made and when it is loaded.

Refuses to know how keys are stored and used. Read next: permissions.py (which operation each may do), keystore.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from keys import kcv, mac, rsa_keys, tdes
from keys.dukpt_aes import WORKING_KEYS
from keys.errors import KeyRefused, KsnRefused
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeyState, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.pin import DEFAULT_DECIMALISATION, POLICY_DIGITS, decimalisation_map
from keys.sensitive import PIN_DIGITS, Material

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keys.kcv import Kcv
    from keys.keytypes import KeyInfo, KeySpec

COMPONENTS_LEAST = 2
COMPONENTS_MOST = 9
COMPONENT_LENGTHS = (16, 24, *range(32, 65))
DIGESTS = ("SHA-256", "SHA-512")
PVKI_MOST = 6
LEGACY = "AC"
"""Versions of key blocks with a MAC of 4 bytes: read from older partners, where a key says so."""
VERSIONS_MOST = 9_999
CUSTODIAN_MOST = 60
_CUSTODIAN = re.compile(r"[A-Za-z0-9]+(?:(?:[ ._@'-]|\. )[A-Za-z0-9]+)*")
_ALIKE = str.maketrans({"i": "l", "1": "l", "0": "o"})
"""Of lower case letters and digits: those that look like others, in one case or the other."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}")


class Lengths(NamedTuple):
    """Bytes of the keys that are taken, and of the one made at random. Of an RSA key: of its modulus.

    SECRETS: those that a partner's secret may have besides, which is text of its choice (signing.secret_key).
    """

    taken: Sequence[int]
    made: int
    secrets: Sequence[int] = ()


_NONE = KeyAttributes()


@dataclass(frozen=True, slots=True)
class UsageRule:
    """One usage. The first of its algorithms and modes is the default. MAY_HAVE: attributes that a key has or has not."""

    algorithms: Mapping[Algorithm, Lengths]
    modes: Sequence[KeyMode]
    attributes: KeyAttributes = _NONE
    may_have: frozenset[str] = frozenset()


_DOUBLE = Lengths((16,), 16)
_DOUBLE_OR_TRIPLE = Lengths((16, 24), 24)
_AES = Lengths((16, 24, 32), 32)
_AES_256 = Lengths((32,), 32)
_HMAC = Lengths(range(32, 65), 64)
_HMAC_OR_SECRET = Lengths(_HMAC.taken, _HMAC.made, (*range(16, 32), 128))
_RSA = Lengths((256, 384, 512), 256)
_T, _A, _H, _R = Algorithm.TDES, Algorithm.AES, Algorithm.HMAC, Algorithm.RSA
_CIPHER_MODES = (KeyMode.BOTH, KeyMode.ENCRYPT, KeyMode.DECRYPT)
# A bank deciphers PIN blocks and seldom makes one, so that is what its keys may do unless said otherwise.
_PIN_MODES = (KeyMode.DECRYPT, KeyMode.ENCRYPT, KeyMode.BOTH)
_MAC_MODES = (KeyMode.GENERATE_AND_VERIFY, KeyMode.GENERATE, KeyMode.VERIFY)
_DERIVE_MODES = (KeyMode.DERIVE, KeyMode.NO_RESTRICTION)

USAGES: Mapping[KeyUsage, UsageRule] = MappingProxyType(
    {
        KeyUsage.BASE_DERIVATION: UsageRule(
            {_T: _DOUBLE, _A: _AES}, _DERIVE_MODES, may_have=frozenset({"working_key"})
        ),
        KeyUsage.INITIAL_DUKPT: UsageRule(
            {_T: _DOUBLE, _A: _AES}, _DERIVE_MODES, may_have=frozenset({"device", "working_key"})
        ),
        KeyUsage.CARD_VERIFICATION: UsageRule({_T: _DOUBLE}, _MAC_MODES),
        KeyUsage.DATA_SEALING: UsageRule({_A: _AES_256}, _CIPHER_MODES),
        KeyUsage.ISSUER_CRYPTOGRAM: UsageRule({_T: _DOUBLE}, _DERIVE_MODES),
        KeyUsage.ISSUER_SCRIPT_SECRECY: UsageRule({_T: _DOUBLE}, _DERIVE_MODES),
        KeyUsage.ISSUER_SCRIPT_MAC: UsageRule({_T: _DOUBLE}, _DERIVE_MODES),
        KeyUsage.ISSUER_DYNAMIC_NUMBER: UsageRule({_T: _DOUBLE}, _DERIVE_MODES),
        KeyUsage.KEY_BLOCK_PROTECTION: UsageRule(
            {_A: _AES, _T: _DOUBLE_OR_TRIPLE}, _CIPHER_MODES, may_have=frozenset({"legacy_versions"})
        ),
        KeyUsage.MAC_CBC: UsageRule({_T: _DOUBLE_OR_TRIPLE}, _MAC_MODES, KeyAttributes(padding=1, mac_length=8)),
        KeyUsage.MAC_RETAIL: UsageRule({_T: _DOUBLE}, _MAC_MODES, KeyAttributes(padding=1, mac_length=8)),
        KeyUsage.MAC_CMAC: UsageRule({_A: _AES, _T: _DOUBLE_OR_TRIPLE}, _MAC_MODES, KeyAttributes(mac_length=8)),
        KeyUsage.MAC_HMAC: UsageRule({_H: _HMAC_OR_SECRET}, _MAC_MODES, KeyAttributes(mac_length=32, digest="SHA-256")),
        KeyUsage.PIN_ENCRYPTION: UsageRule({_T: _DOUBLE_OR_TRIPLE, _A: _AES}, _PIN_MODES),
        KeyUsage.SIGNATURE: UsageRule({_R: _RSA}, (KeyMode.SIGN, KeyMode.VERIFY)),
        KeyUsage.PIN_VERIFICATION_IBM: UsageRule(
            {_T: _DOUBLE_OR_TRIPLE}, _MAC_MODES, KeyAttributes(DEFAULT_DECIMALISATION, check_length=POLICY_DIGITS)
        ),
        KeyUsage.PIN_VERIFICATION_PVV: UsageRule({_T: _DOUBLE}, _MAC_MODES, KeyAttributes(pvki=1)),
        KeyUsage.BLIND_INDEX: UsageRule({_H: _HMAC}, (KeyMode.GENERATE,)),
    }
)

# Fewest and most bytes of a MAC: no link takes fewer than 4, and none is longer than its algorithm makes it.
_MAC_LENGTHS: Mapping[tuple[Algorithm, str | None], range] = MappingProxyType(
    {
        (_T, None): range(4, 9),
        (_A, None): range(4, 17),
        (_H, "SHA-256"): range(16, 33),
        (_H, "SHA-512"): range(16, 65),
    }
)

# Bits of a key that HMAC takes as it is; a longer one it would hash first (RFC 2104, 2).
_HASHED_ABOVE: Mapping[str | None, int] = MappingProxyType({"SHA-256": 512, "SHA-512": 1024})


def algorithm_of(spec: KeySpec) -> Algorithm:
    """The algorithm asked for, or the usage's first."""
    return spec.algorithm or next(iter(USAGES[spec.usage].algorithms))


def purpose_of(spec: KeySpec) -> str:
    """One text for one specification, for custodians to agree on.

    >>> from keys.keytypes import KeySpec, KeyUsage
    >>> purpose_of(KeySpec(KeyUsage.CARD_VERIFICATION))
    'usage C0, algorithm T, mode C, exportability N'
    """
    rule = USAGES[spec.usage]
    attributes = spec.attributes or rule.attributes
    parts = {
        "usage": spec.usage.value,
        "algorithm": algorithm_of(spec).value,
        "mode": (spec.mode or rule.modes[0]).value,
        "exportability": spec.exportability.value,
        "bits": spec.bits,
        "from": spec.active_from,
        "to": spec.active_to,
        **{name: getattr(attributes, name) for name in KeyAttributes.__slots__},
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)


def bytes_to_make(spec: KeySpec) -> int:
    """Bytes of a random key of this specification. Raises KeyRefused where the usage takes no key of that length."""
    lengths = _lengths(spec)
    if spec.mode is KeyMode.VERIFY and algorithm_of(spec) is Algorithm.RSA:
        raise KeyRefused("a key to verify a partner with is the partner's: it is brought in, not made")
    if spec.bits is None:
        return lengths.made
    check_length(spec, spec.bits)
    return spec.bits // 8


def check_length(spec: KeySpec, bits: int) -> None:
    """Raise KeyRefused unless the usage takes keys of BITS of the algorithm asked for."""
    if bits % 8 or bits // 8 not in _lengths(spec).taken:
        raise KeyRefused(f"usage {spec.usage.value} takes no {algorithm_of(spec).name} key of {bits} bits")


def normal(spec: KeySpec, key: bytes) -> bytes:
    """KEY as it is kept: three DES parts with the third equal to the first, parity aside, are a double length key.

    They are no stronger than one, and would be counted as a triple length key by their length.
    """
    if algorithm_of(spec) is not Algorithm.TDES or len(key) != tdes.TRIPLE:
        return key
    first, third = (tdes.odd_parity(key[at : at + tdes.BLOCK]) for at in (0, tdes.DOUBLE))
    return key[: tdes.DOUBLE] if first == third else key


def check_new(info: KeyInfo) -> None:
    """Raise KeyRefused unless a key may come into being with this header: more is asked of it than of one that is there."""
    if info.state not in (KeyState.PRE_ACTIVE, KeyState.ACTIVE):
        raise KeyRefused(f"key {info.label}: a new key is PRE_ACTIVE or ACTIVE")
    check_header(info)
    if info.usage is KeyUsage.INITIAL_DUKPT and info.attributes.device is None:
        raise KeyRefused(
            f"usage {info.usage.value}: attribute device is missing: whose initial key it is, by initial KSN or key id"
        )


def is_label(text: str) -> bool:
    """Whether TEXT can be a key's label, and so stand in commands, messages and records."""
    return _LABEL.fullmatch(text) is not None


def check_label(text: str) -> None:
    """Raise KeyRefused unless TEXT can be a key's label."""
    if not is_label(text):
        raise KeyRefused("a key label has 1 to 64 letters, digits and . _ / : - and starts with a letter or digit")


def check_header(info: KeyInfo) -> None:
    """Raise KeyRefused unless a key may have this header: label, version, algorithm, mode, length, dates, attributes."""
    rule = USAGES[info.usage]
    check_label(info.label)
    if not 1 <= info.version <= VERSIONS_MOST:
        raise KeyRefused(f"key {info.label}: its version is 1 to {VERSIONS_MOST}")
    if info.algorithm not in rule.algorithms or info.mode not in rule.modes:
        raise KeyRefused(f"key {info.label}: usage {info.usage.value} does not go with its algorithm and mode")
    lengths = rule.algorithms[info.algorithm]
    if info.bits % 8 or info.bits // 8 not in (*lengths.taken, *lengths.secrets):
        raise KeyRefused(f"key {info.label}: usage {info.usage.value} takes no key of this length")
    if info.active_from is not None and info.active_to is not None and info.active_to < info.active_from:
        raise KeyRefused(f"key {info.label}: its last day is before its first")
    _check_attributes(info)


def check_key(info: KeyInfo, material: Material) -> None:
    """Raise KeyRefused unless the key may exist: its header, its length and strength, and its check value are right."""
    key = material.reveal()
    check_header(info)
    if info.algorithm is Algorithm.RSA:
        if rsa_keys.is_private(key) is not (info.mode is KeyMode.SIGN):
            raise KeyRefused(f"key {info.label}: a private RSA key signs, a public one verifies")
        material = Material(rsa_keys.public_of(key))  # what follows asks for nothing else, and this is what takes time
    if bits_of(info.algorithm, material) != info.bits:
        raise KeyRefused(f"key {info.label}: usage {info.usage.value} takes no key of this length")
    check_strength(info.algorithm, material)
    found = check_value(info.algorithm, material)
    if found.method is not info.kcv.method or not found.same_as(info.kcv.value):
        raise KeyRefused(f"key {info.label}: its check value is not the one stored with it")


def check_value(algorithm: Algorithm, material: Material) -> Kcv:
    """The check value by the method of the algorithm. Vector: X9.143 8.1.

    >>> str(check_value(Algorithm.AES, Material(bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8"))))
    '08793E25AB'
    """
    return _CHECK_VALUES[algorithm](material.reveal())


def bits_of(algorithm: Algorithm, material: Material) -> int:
    """Length of a key in bits; of an RSA key its modulus."""
    key = material.reveal()
    return rsa_keys.bits_of(key) if algorithm is Algorithm.RSA else 8 * len(key)


def combine(components: Sequence[bytes]) -> bytes:
    """XOR of the components (NIST SP 800-133, 6.3). Raises KeyRefused for fewer than two, unequal lengths, zeros or equal ones.

    A component of zeros, or two that are equal, would leave the key to fewer custodians than took part.

    >>> combine([bytes.fromhex("0F0F"), bytes.fromhex("00FF")]).hex().upper()
    '0FF0'
    """
    if len(components) < COMPONENTS_LEAST:
        raise KeyRefused("a key is formed from two components or more")
    if len({len(component) for component in components}) > 1:
        raise KeyRefused("the components of a key have one length")
    if len(set(components)) < len(components) or not all(any(component) for component in components):
        raise KeyRefused("the components of a key differ from each other, and none is all zeros")
    total = 0
    for component in components:
        total ^= int.from_bytes(component, "big")
    return total.to_bytes(len(components[0]), "big")


def check_component(label: str, value: bytes, number: int, of: int) -> None:
    """Raise KeyRefused unless one custodian's component can be a part of a key: its number, its length, not all zeros."""
    if not COMPONENTS_LEAST <= of <= COMPONENTS_MOST or not 1 <= number <= of:
        raise KeyRefused(f"key {label}: has 2 to {COMPONENTS_MOST} components, numbered from 1")
    if len(value) not in COMPONENT_LENGTHS or not any(value):
        raise KeyRefused(f"key {label}: component {number}: has 16, 24 or 32 to 64 bytes, not all of them zero")


def check_custodian(name: str) -> None:
    """Raise KeyRefused unless NAME can stand for one person in a ceremony.

    Letters a to z, digits, and . _ @ ' - between them: no letter of another script that looks like one of these. Names that
    look alike within them are one person's (same_person).
    """
    if len(name) > CUSTODIAN_MOST or not _CUSTODIAN.fullmatch(name):
        raise KeyRefused(f"a custodian's name has 1 to {CUSTODIAN_MOST} letters, digits and . _ @ ' - between them")


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, as the reader of a record would take them: nobody is two people by a way of writing.

    Case, spaces and punctuation do not count; l, I and 1 are one, O and 0 are one. Two people whose names differ by no more
    need names that do.

    >>> same_person("Al", "AI"), same_person("siti.a", "si_ti A"), same_person("siti", "siti.b")
    (True, True, False)
    """
    return _as_read(one) == _as_read(other)


def component_check_value(spec: KeySpec, component: bytes) -> Kcv:
    """The check value of one component of a key. Raises KeyRefused for a length that no key of the algorithm has.

    Vector: X9.143 8.6, of a whole key.

    >>> from keys.keytypes import KeySpec
    >>> key = "88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6"
    >>> str(component_check_value(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION), bytes.fromhex(key)))
    '2331550BC9'
    """
    algorithm = algorithm_of(spec)
    if len(component) not in _COMPONENT_LENGTHS.get(algorithm, ()):
        raise KeyRefused(f"a component of {len(component)} bytes forms no {algorithm.name} key")
    return _CHECK_VALUES[algorithm](component)


def check_strength(algorithm: Algorithm, material: Material) -> None:
    """Raise KeyRefused for weak keys: single DES in any guise, equal parts, one byte again and again.

    The AES key is that of a block of TR-31 as others publish it.

    >>> check_strength(Algorithm.AES, Material(b"A" * 32))
    Traceback (most recent call last):
    keys.errors.KeyRefused: one byte again and again is no key
    """
    key = material.reveal()
    if algorithm is Algorithm.TDES:
        tdes.refuse_weak(key)
    elif len(set(key)) == 1:
        raise KeyRefused("one byte again and again is no key")


def _as_read(name: str) -> str:
    letters = "".join(letter for letter in name.casefold() if letter.isalnum())
    return letters.translate(_ALIKE)


def _lengths(spec: KeySpec) -> Lengths:
    lengths = USAGES[spec.usage].algorithms.get(algorithm_of(spec))
    if lengths is None:
        raise KeyRefused(f"usage {spec.usage.value} does not go with algorithm {algorithm_of(spec).value}")
    return lengths


def _check_attributes(info: KeyInfo) -> None:
    """Attributes are there exactly where the usage has them, and in range."""
    usage, attributes, expected = info.usage, info.attributes, USAGES[info.usage].attributes
    for name in set(KeyAttributes.__slots__) - USAGES[usage].may_have:
        if (getattr(attributes, name) is None) is not (getattr(expected, name) is None):
            raise KeyRefused(f"usage {usage.value}: attribute {name} is missing, or does not belong to it")
    if attributes.decimalisation_table is not None:
        decimalisation_map(attributes.decimalisation_table)
    if attributes.check_length is not None and attributes.check_length not in PIN_DIGITS:
        raise KeyRefused(f"usage {usage.value}: the check length is 4 to 12 digits")
    if attributes.pvki is not None and attributes.pvki not in range(PVKI_MOST + 1):
        raise KeyRefused(f"usage {usage.value}: the PIN verification key index is 0 to {PVKI_MOST}")
    if attributes.padding is not None and attributes.padding not in mac.PADDINGS:
        raise KeyRefused(f"usage {usage.value}: the padding is method 1, 2 or 3")
    if attributes.digest is not None and attributes.digest not in DIGESTS:
        raise KeyRefused(f"usage {usage.value}: the digest is {' or '.join(DIGESTS)}")
    lengths = _MAC_LENGTHS.get((info.algorithm, attributes.digest), range(0))
    if attributes.mac_length is not None and attributes.mac_length not in lengths:
        raise KeyRefused(f"usage {usage.value}: a MAC of this length is not made")
    if info.bits > _HASHED_ABOVE.get(attributes.digest, info.bits):
        raise KeyRefused(
            f"usage {usage.value}: a key of {info.bits} bits is longer than a block of {attributes.digest}"
        )
    if attributes.device is not None:
        _check_device(info.algorithm, attributes.device)
    if attributes.legacy_versions is not None and (info.algorithm, attributes.legacy_versions) != (_T, LEGACY):
        raise KeyRefused(f"usage {usage.value}: legacy_versions is {LEGACY}, of a triple DES key")
    if attributes.working_key is not None:
        kind = WORKING_KEYS.get(attributes.working_key)
        if info.algorithm is not _A or kind is None or kind.strength > info.bits:
            names = ", ".join(WORKING_KEYS)
            raise KeyRefused(f"usage {usage.value}: working_key is one of {names}, of an AES key, no stronger than it")


def _check_device(algorithm: Algorithm, device: str) -> None:
    """Raise KeyRefused unless a DUKPT device of this algorithm can be named so (ksn.TdesKsn.device, ksn.AesKsn.device)."""
    try:
        named = (TdesKsn.parse_initial(device) if algorithm is _T else AesKsn.parse_initial(device + "0" * 8)).device
    except KsnRefused:
        named = None
    if named != device:
        name = "initial KSN (20" if algorithm is _T else "initial key id (16"
        raise KeyRefused(
            f"usage {KeyUsage.INITIAL_DUKPT.value}: the device is named by its {name} hex digits, upper case)"
        )


_COMPONENT_LENGTHS: Mapping[Algorithm, Sequence[int]] = MappingProxyType(
    {_T: (tdes.DOUBLE, tdes.TRIPLE), _A: _AES.taken, _H: _HMAC.taken}
)

_CHECK_VALUES: Mapping[Algorithm, Callable[[bytes], Kcv]] = MappingProxyType(
    {
        Algorithm.TDES: kcv.of_tdes,
        Algorithm.AES: kcv.of_aes,
        Algorithm.HMAC: kcv.of_hmac,
        Algorithm.RSA: kcv.of_rsa,
    }
)
