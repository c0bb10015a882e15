"""What a key of each usage looks like: algorithm, lengths, modes, attributes. Asked when a key is made and when it is loaded.

Refuses to know how keys are stored and used. Read next: hsm.py (which operation each may do), keystore.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys import kcv, mac, tdes
from keys.errors import KeyRefused
from keys.hsm import Algorithm, KeyAttributes, KeyMode, KeyUsage
from keys.pin import DEFAULT_DECIMALISATION, POLICY_DIGITS, decimalisation_map
from keys.sensitive import PIN_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keys.hsm import KeyInfo
    from keys.kcv import Kcv
    from keys.sensitive import Material

COMPONENTS_LEAST = 2
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}")
_AES_LENGTHS = (16, 24, 32)
_HMAC_LENGTHS = tuple(range(32, 65))


@dataclass(frozen=True, slots=True)
class UsageRule:
    """One usage. Lengths in bytes: all it takes, and the one made at random. The first of its modes is the default."""

    algorithm: Algorithm
    lengths: Sequence[int]
    generated_length: int
    modes: Sequence[KeyMode]
    attributes: KeyAttributes


_CIPHER_MODES = (KeyMode.BOTH, KeyMode.ENCRYPT, KeyMode.DECRYPT)
_PIN_MODES = (KeyMode.DECRYPT, KeyMode.ENCRYPT, KeyMode.BOTH)
_MAC_MODES = (KeyMode.GENERATE_AND_VERIFY, KeyMode.GENERATE, KeyMode.VERIFY)

USAGES: Mapping[KeyUsage, UsageRule] = MappingProxyType(
    {
        # A bank deciphers PIN blocks and never makes one, so that is what its keys may do unless said otherwise.
        KeyUsage.PIN_ENCRYPTION: UsageRule(Algorithm.TDES, (16, 24), 24, _PIN_MODES, KeyAttributes()),
        KeyUsage.PIN_VERIFICATION_IBM: UsageRule(
            Algorithm.TDES, (16, 24), 24, _MAC_MODES, KeyAttributes(DEFAULT_DECIMALISATION, check_length=POLICY_DIGITS)
        ),
        KeyUsage.DATA_SEALING: UsageRule(Algorithm.AES, (32,), 32, _CIPHER_MODES, KeyAttributes()),
        KeyUsage.BLIND_INDEX: UsageRule(Algorithm.HMAC, _HMAC_LENGTHS, 32, (KeyMode.GENERATE,), KeyAttributes()),
        KeyUsage.MAC_RETAIL: UsageRule(Algorithm.TDES, (16,), 16, _MAC_MODES, KeyAttributes(padding=1, mac_length=8)),
        KeyUsage.MAC_CMAC: UsageRule(Algorithm.AES, _AES_LENGTHS, 32, _MAC_MODES, KeyAttributes(mac_length=8)),
        KeyUsage.MAC_HMAC: UsageRule(Algorithm.HMAC, _HMAC_LENGTHS, 32, _MAC_MODES, KeyAttributes(mac_length=32)),
    }
)

# Fewest and most bytes of a MAC: no link takes fewer than 4, and none is longer than its algorithm makes it.
_MAC_LENGTHS: Mapping[KeyUsage, range] = MappingProxyType(
    {
        KeyUsage.MAC_RETAIL: range(4, 9),
        KeyUsage.MAC_CMAC: range(4, 17),
        KeyUsage.MAC_HMAC: range(16, 33),
    }
)


def check_key(info: KeyInfo, material: Material) -> None:
    """Raise KeyRefused unless the key may exist: label, mode, attributes, length, strength, and its check value are right."""
    rule = USAGES[info.usage]
    key = material.reveal()
    if not _LABEL.fullmatch(info.label):
        raise KeyRefused("a key label has 1 to 64 letters, digits and . _ / : - and starts with a letter or digit")
    if info.algorithm is not rule.algorithm or info.mode not in rule.modes:
        raise KeyRefused(f"key {info.label}: usage {info.usage.value} does not go with its algorithm and mode")
    if len(key) not in rule.lengths:
        raise KeyRefused(f"key {info.label}: usage {info.usage.value} takes no key of this length")
    _check_strength(rule.algorithm, key)
    _check_attributes(info.usage, info.attributes)
    if check_value(rule.algorithm, material) != info.kcv:
        raise KeyRefused(f"key {info.label}: its check value is not the one stored with it")


def check_value(algorithm: Algorithm, material: Material) -> Kcv:
    """The check value by the method of the algorithm."""
    return _CHECK_VALUES[algorithm](material.reveal())


def combine(components: Sequence[bytes]) -> bytes:
    """XOR of the components. Raises KeyRefused for fewer than two, unequal lengths, all-zero or equal ones.

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


def _check_strength(algorithm: Algorithm, key: bytes) -> None:
    if algorithm is Algorithm.TDES:
        tdes.refuse_weak(key)
    elif len(set(key)) == 1:
        raise KeyRefused("one byte again and again is no key")


def _check_attributes(usage: KeyUsage, attributes: KeyAttributes) -> None:
    """Attributes are there exactly where the usage has them, and in range."""
    expected = USAGES[usage].attributes
    for name in KeyAttributes.__slots__:
        if (getattr(attributes, name) is None) is not (getattr(expected, name) is None):
            raise KeyRefused(f"usage {usage.value}: attribute {name} is missing, or does not belong to it")
    if attributes.decimalisation_table is not None:
        decimalisation_map(attributes.decimalisation_table)
    if attributes.check_length is not None and attributes.check_length not in PIN_DIGITS:
        raise KeyRefused(f"usage {usage.value}: the check length is 4 to 12 digits")
    if attributes.padding is not None and attributes.padding not in mac.PADDINGS:
        raise KeyRefused(f"usage {usage.value}: the padding is method 1, 2 or 3")
    if attributes.mac_length is not None and attributes.mac_length not in _MAC_LENGTHS[usage]:
        raise KeyRefused(f"usage {usage.value}: a MAC of this length is not made")


_CHECK_VALUES: Mapping[Algorithm, Callable[[bytes], Kcv]] = MappingProxyType(
    {
        Algorithm.TDES: kcv.of_tdes,
        Algorithm.AES: kcv.of_aes,
        Algorithm.HMAC: kcv.of_hmac,
    }
)
