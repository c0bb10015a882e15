"""The clear test keys of simulated terminals: a JSON file of components, made for trials alone.

    [{"label": "zpk-himbara", "kind": "zpk", "components": ["0123...", "89AB..."]},
     {"label": "bdk-edc", "kind": "bdk", "key_set": "FFFF987654", "components": ["...", "..."]},
     {"label": "ik-edc", "kind": "initial", "ksn": "FFFF9876543210E00000", "components": ["...", "..."]},
     {"label": "mac-himbara", "kind": "mac", "algorithm": "A", "components": ["...", "..."]},
     {"label": "imk-ac", "kind": "imk-ac", "components": ["...", "..."]},
     {"label": "zmk-himbara", "kind": "zmk", "algorithm": "A", "components": ["...", "..."]}]

`algorithm`: T triple DES (components of 16 or 24 bytes), where nothing else is said; A AES (16, 24 or 32); XORed the components
are the key. `key_set`: what the KSN of a base derivation key begins with, 5 bytes (AES: 4); one of our own where nothing is
said. `ksn`: the device's initial KSN, 10 bytes with counter zero (AES: its initial key id, 8). A MAC key of triple DES makes
retail MACs, one of AES CMACs. An issuer's keys of test cards are there too: `imk-ac` signs as their chips do, `cvk` makes the
values of their stripes; `zmk` carries new keys over the link. A bank with test keys writes such a file; what is in it for other
uses is passed over. Knows no real key. Read next: pinpad.py, profile.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from operator import xor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.simulator.errors import ProfileError
from keys.errors import KeysError
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

_BYTES = {Algorithm.TDES: (16, 24), Algorithm.AES: (16, 24, 32)}
_KEY_SETS = {Algorithm.TDES: "FFFF987654", Algorithm.AES: "12345678"}
_KEY_SET_BYTES = {Algorithm.TDES: 5, Algorithm.AES: 4}
_DEVICE_BYTES = {Algorithm.TDES: 10, Algorithm.AES: 8}
_OTHER_USES = ("imk-smi", "imk-smc")


class TestKeyKind(StrEnum):
    """What a test key is for."""

    __test__ = False  # not a test class, whatever its name begins with

    ZPK = "zpk"
    """A zone PIN key: enciphers PIN blocks."""
    BDK = "bdk"
    """A base derivation key: every simulated terminal is a device of its own."""
    INITIAL = "initial"
    """The initial DUKPT key of one device, which all simulated terminals are then."""
    MAC = "mac"
    IMK = "imk-ac"
    """An issuer's master key of cryptograms: test cards sign with keys that come of it."""
    CVK = "cvk"
    """A card verification key: makes the values of test cards' stripes."""
    ZMK = "zmk"
    """A zone master key: other keys travel under it."""


_USAGES = MappingProxyType(
    {
        TestKeyKind.IMK: KeyUsage.ISSUER_CRYPTOGRAM,
        TestKeyKind.CVK: KeyUsage.CARD_VERIFICATION,
        TestKeyKind.ZMK: KeyUsage.KEY_BLOCK_PROTECTION,
    }
)


@dataclass(frozen=True, slots=True)
class TestKey:
    """One entry of the file. `device`: the key set of a BDK, or the initial KSN (AES: initial key id) of an initial key."""

    __test__ = False  # not a test class

    label: str
    kind: TestKeyKind
    algorithm: Algorithm
    components: tuple[bytes, ...] = field(repr=False)
    device: bytes = b""

    @property
    def value(self) -> bytes:
        """The key itself, for what a card does with it: test keys are no secret."""
        return bytes(reduce(xor, column) for column in zip(*self.components, strict=True))

    def form(self, hsm: Hsm) -> KeyHandle:
        """Bring the key into HSM, for the terminal's half of its use alone. Raises ProfileError where it is no key."""
        try:
            return hsm.form(self._spec(), self.label, self.components)
        except KeysError as error:
            raise ProfileError(f"test key {self.label}: {error}") from None

    def _spec(self) -> KeySpec:
        if self.kind is TestKeyKind.ZPK:
            return KeySpec(KeyUsage.PIN_ENCRYPTION, self.algorithm, KeyMode.ENCRYPT)
        if self.kind is TestKeyKind.BDK:
            return KeySpec(KeyUsage.BASE_DERIVATION, self.algorithm)
        if self.kind is TestKeyKind.INITIAL:
            attributes = KeyAttributes(device=self.device.hex().upper())
            return KeySpec(KeyUsage.INITIAL_DUKPT, self.algorithm, attributes=attributes)
        if self.kind in _USAGES:
            return KeySpec(_USAGES[self.kind], self.algorithm)
        return KeySpec(KeyUsage.MAC_RETAIL if self.algorithm is Algorithm.TDES else KeyUsage.MAC_CMAC, self.algorithm)


@dataclass(frozen=True, slots=True)
class TestKeys:
    """The keys at hand, and the keystore of the terminals, in memory alone. `folder`: where counters of devices are kept."""

    __test__ = False  # not a test class

    keys: tuple[TestKey, ...] = ()
    folder: Path | None = None
    hsm: Hsm = field(default_factory=SoftwareHsm.in_memory, repr=False)

    def key(self, label: str, *kinds: TestKeyKind) -> TestKey:
        """The key of that label and of one of those kinds. Raises ProfileError."""
        for one in self.keys:
            if one.label == label:
                if one.kind not in kinds:
                    raise ProfileError(f"test key {label}: is of kind {one.kind}, not {' or '.join(kinds)}")
                return one
        raise ProfileError(f"there is no test key {label}: --keys names a file that has it")

    def joined(self, others: Sequence[TestKey]) -> TestKeys:
        """These and those of OTHERS whose labels are not among them."""
        mine = {one.label for one in self.keys}
        return TestKeys((*self.keys, *(one for one in others if one.label not in mine)), self.folder, self.hsm)


def load_test_keys(path: Path) -> TestKeys:
    """Read the file. Raises ProfileError: one line naming the file, and the entry by its place."""
    place = f"test keys {path}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"{place}: {error.strerror}") from None
    except ValueError:
        raise ProfileError(f"{place}: is not JSON") from None
    if not isinstance(content, list):
        raise ProfileError(f"{place}: is not a list of test keys")
    keys = (_key(f"{place}: key {number}", parts) for number, parts in enumerate(content, 1))
    return TestKeys(tuple(key for key in keys if key is not None), path.parent)


def _key(place: str, parts: Any) -> TestKey | None:  # noqa: ANN401 - whatever stands in the file
    """The entry; None where it is for no use of a terminal's."""
    try:
        if parts["kind"] in _OTHER_USES:
            return None
        label, kind = str(parts["label"]), TestKeyKind(parts["kind"])
        algorithm = Algorithm(parts.get("algorithm", Algorithm.TDES))
        components = tuple(bytes.fromhex(text) for text in parts["components"])
        device = b""
        if kind is TestKeyKind.BDK:
            device = bytes.fromhex(parts.get("key_set", _KEY_SETS.get(algorithm, "")))
        elif kind is TestKeyKind.INITIAL:
            device = bytes.fromhex(parts["ksn"])
    except KeyError as error:
        raise ProfileError(f"{place}: {error.args[0]} is missing") from None
    except (ValueError, TypeError, AttributeError):
        raise ProfileError(f"{place}: is not as the manual says") from None
    sizes = {len(component) for component in components}
    if len(components) < 2 or len(sizes) != 1 or not sizes <= {*_BYTES.get(algorithm, ())}:  # noqa: PLR2004 - two or more
        raise ProfileError(f"{place}: wants two or more components of one length that its algorithm has")
    wanted = (
        (_KEY_SET_BYTES if kind is TestKeyKind.BDK else _DEVICE_BYTES)[algorithm]
        if kind in (TestKeyKind.BDK, TestKeyKind.INITIAL)
        else 0
    )
    if len(device) != wanted:
        raise ProfileError(f"{place}: {'key_set' if kind is TestKeyKind.BDK else 'ksn'} must be of {wanted} bytes")
    return TestKey(label, kind, algorithm, components, device)
