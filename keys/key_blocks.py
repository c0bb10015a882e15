"""From the header of a TR-31 block to the specification of a key, and back: what of X9.143 is kept here, and what is not.

Refuses to know ciphers. Read next: tr31.py (the blocks themselves), usages.py, lifecycle.py (who imports and exports).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys import tr31
from keys.errors import KeyRefused
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.tr31_header import Header
from keys.usages import USAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.envelope import Raw
    from keys.keytypes import KeyInfo
    from keys.workshop import Workshop

# Optional block HM of an HMAC key: its hash algorithm (X9.143, table 12).
HASHES: Mapping[str, str] = MappingProxyType({"21": "SHA-256", "23": "SHA-512"})
# Optional blocks of an initial DUKPT key (X9.143): KS has the initial KSN of triple DES, IK the initial key id of AES.
_DEVICE_BLOCKS: Mapping[str, str] = MappingProxyType({Algorithm.TDES.value: "KS", Algorithm.AES.value: "IK"})
# A key may be kept for less than its block permits, never for more.
_NARROWER: Mapping[KeyMode, frozenset[KeyMode]] = MappingProxyType(
    {
        KeyMode.BOTH: frozenset({KeyMode.BOTH, KeyMode.ENCRYPT, KeyMode.DECRYPT}),
        KeyMode.GENERATE_AND_VERIFY: frozenset({KeyMode.GENERATE_AND_VERIFY, KeyMode.GENERATE, KeyMode.VERIFY}),
        KeyMode.NO_RESTRICTION: frozenset(KeyMode),
    }
)


def opener(workshop: Workshop[Raw], info: KeyInfo, raw: Raw) -> Callable[[str], tuple[Header, bytes]]:
    """What opens the blocks of a KBPK: version D under an AES key, B under triple DES.

    A and C of old besides, whose MAC is 4 bytes, where the KBPK's attributes say so and its bytes are at hand.
    """
    if info.algorithm is Algorithm.AES:
        return tr31.Opener.over_cmac(workshop.cmac(info, raw), info.bits).unwrap
    kbpk = workshop.at_hand(raw) if info.attributes.legacy_versions is not None else None
    if kbpk is None:
        return tr31.Opener.over_cmac(workshop.cmac(info, raw), info.bits, "B").unwrap
    return tr31.Opener(kbpk, f"B{info.attributes.legacy_versions}").unwrap


def wrapper(workshop: Workshop[Raw], info: KeyInfo, raw: Raw) -> Callable[[KeyInfo, bytes], str]:
    """What writes the blocks of a KBPK: version D under an AES key, B under triple DES."""
    version = "D" if info.algorithm is Algorithm.AES else "B"
    writer = tr31.Writer.over_cmac(workshop.cmac(info, raw), info.bits, version, random=workshop.random)
    return lambda inside, key: writer.wrap(_header(version, inside), key)


def spec_of(header: Header, spec: KeySpec | None) -> KeySpec:
    """What a key of this authentic header is, with what SPEC adds: attributes, dates, state, a narrower mode or exportability.

    Raises KeyRefused for a usage, algorithm or mode that is not kept here, for a component, and where SPEC says otherwise.
    """
    if header.is_component:
        raise KeyRefused("the key block holds a component: enter it as one")
    try:
        usage, algorithm = KeyUsage(header.usage), Algorithm(header.algorithm)
        mode, exportability = KeyMode(header.mode), Exportability(header.exportability)
    except ValueError:
        raise KeyRefused(
            f"a key of usage {header.usage}, algorithm {header.algorithm}, mode {header.mode} is not kept here"
        ) from None
    wanted = spec or KeySpec(usage)
    if wanted.usage is not usage or wanted.algorithm not in (None, algorithm):
        raise KeyRefused(f"the key block holds a key of usage {usage.value}, algorithm {algorithm.value}, and no other")
    if spec is not None and spec.exportability is Exportability.NOT_EXPORTABLE:
        exportability = Exportability.NOT_EXPORTABLE
    return replace(
        wanted,
        algorithm=algorithm,
        mode=_mode(usage, mode, wanted.mode),
        exportability=exportability,
        attributes=_attributes(usage, header, wanted.attributes),
    )


def _mode(usage: KeyUsage, permitted: KeyMode, wanted: KeyMode | None) -> KeyMode:
    """The mode to keep: the one wanted, that of the block, or for a block that restricts nothing the usage's own."""
    kept = wanted or permitted
    if wanted is None and permitted is KeyMode.NO_RESTRICTION and permitted not in USAGES[usage].modes:
        kept = USAGES[usage].modes[0]
    if kept is not permitted and kept not in _NARROWER.get(permitted, frozenset()):
        raise KeyRefused(f"the key block permits mode {permitted.value}, not {kept.value}")
    return kept


def _attributes(usage: KeyUsage, header: Header, wanted: KeyAttributes | None) -> KeyAttributes:
    """Those wanted, or the usage's with what the block says. Whose an initial key is, both may say, if they agree."""
    if usage is KeyUsage.INITIAL_DUKPT:
        known, device = wanted or KeyAttributes(), header.block(_DEVICE_BLOCKS.get(header.algorithm, ""))
        if device is not None and known.device not in (None, device.upper()):
            raise KeyRefused(f"the key block holds the initial key of device {device.upper()}, and no other")
        return known if device is None else replace(known, device=device.upper())
    if wanted is not None:
        return wanted
    attributes = USAGES[usage].attributes
    text = header.block("HM")
    if usage is not KeyUsage.MAC_HMAC or text is None:
        return attributes
    if text not in HASHES:
        raise KeyRefused(f"an HMAC key of hash {text} is not kept here")
    return replace(attributes, digest=HASHES[text], mac_length=int(HASHES[text].removeprefix("SHA-")) // 8)


def _header(version: str, info: KeyInfo) -> Header:
    blocks: tuple[tuple[str, str], ...] = ()
    if info.attributes.digest is not None:
        blocks = tuple(("HM", code) for code, digest in HASHES.items() if digest == info.attributes.digest)
    if info.attributes.device is not None:
        blocks = ((_DEVICE_BLOCKS[info.algorithm.value], info.attributes.device),)
    number = f"{info.version:02d}" if info.version < 100 else "00"  # noqa: PLR2004 - two digits
    return Header(
        version, info.usage.value, info.algorithm.value, info.mode.value, number, info.exportability.value, blocks
    )
