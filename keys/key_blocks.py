"""From the header of a TR-31 block to the specification of a key, and back: what of X9.143 is kept here, and what is not.

What belongs to a key and has no place in X9.143 (decimalisation table, check length, PVKI, padding, MAC length, legacy versions)
travels in an optional block of our own, where it is not the usage's default: number 10, of those that X9.143 leaves to
proprietary use, with the text `kks: check_length=4 ...`. Other readers pass over it, as we do over a block 10 that does not
begin so. One that does is of the key like the rest of the header: what cannot be read of it is refused, and so is a
specification that says otherwise.
KC and KP, the check values of the key and of the KBPK, are compared where a block has them, and never written: a check value is
told by another way than the block. Only where a block is passed on under another KBPK, its KC stays.
Refuses to know ciphers. Read next: tr31.py (the blocks themselves), usages.py, lifecycle.py (who imports and exports).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys import aes, mac, tdes, tr31
from keys.errors import KeyBlockError, KeyRefused
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.tr31_header import Header
from keys.usages import USAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from keys.envelope import Raw
    from keys.keytypes import KeyInfo
    from keys.workshop import Workshop

# Optional block HM of an HMAC key: its hash algorithm (X9.143, table 12).
HASHES: Mapping[str, str] = MappingProxyType({"21": "SHA-256", "23": "SHA-512"})
# Optional blocks of an initial DUKPT key (X9.143): KS has the initial KSN of triple DES, IK the initial key id of AES.
_DEVICE_BLOCKS: Mapping[str, str] = MappingProxyType({Algorithm.TDES.value: "KS", Algorithm.AES.value: "IK"})
# The optional block of our own, how its text begins, and which attributes are in it: those that no block of X9.143 has.
_OWN_BLOCK, _MARK = "10", "kks:"
_OWN = ("decimalisation_table", "check_length", "pvki", "padding", "mac_length", "working_key")
_NUMBERS = frozenset({"check_length", "pvki", "padding", "mac_length"})
# Methods of KC and KP (X9.143, table 13): the zero block enciphered, CMAC of it; and the most hex digits of each.
_KEY_CHECK, _KBPK_CHECK = "KC", "KP"
_LEGACY, _CMAC = "00", "01"
_CHECK_MOST: Mapping[str, int] = MappingProxyType({_LEGACY: 6, _CMAC: 10})
_CHECK_LEAST = 4
_DIGITS_MOST = 4  # of a number in our own block: no attribute has more
_CHECKED: Mapping[str, str] = MappingProxyType({_KEY_CHECK: "key in it", _KBPK_CHECK: "KBPK it came under"})
_INDEX_HASH = "SHA-256"  # of a blind index, which has no digest to choose
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
    What it gives raises KeyBlockError as tr31.Opener does, and where KC or KP is not the check value of the key or the KBPK.
    """
    cmac = workshop.cmac(info, raw)
    kbpk = workshop.at_hand(raw) if info.attributes.legacy_versions is not None else None
    if info.algorithm is Algorithm.AES:
        unwrap = tr31.Opener.over_cmac(cmac, info.bits).unwrap
    elif kbpk is None:
        unwrap = tr31.Opener.over_cmac(cmac, info.bits, "B").unwrap
    else:
        unwrap = tr31.Opener(kbpk, f"B{info.attributes.legacy_versions}").unwrap

    def checked(block: str) -> tuple[Header, bytes]:
        header, key = unwrap(block)
        _compare(_KEY_CHECK, header, lambda method: _check_value(method, header.algorithm, key))
        _compare(_KBPK_CHECK, header, lambda method: _kbpk_check(method, workshop, info, raw))
        return header, key

    return checked


def wrapper(workshop: Workshop[Raw], info: KeyInfo, raw: Raw) -> Callable[[Header, bytes], str]:
    """What writes the blocks of a KBPK: version D under an AES key, B under triple DES, whichever the header names."""
    version = "D" if info.algorithm is Algorithm.AES else "B"
    writer = tr31.Writer.over_cmac(workshop.cmac(info, raw), info.bits, version, random=workshop.random)
    return lambda header, key: writer.wrap(replace(header, version=version), key)


def header_of(info: KeyInfo) -> Header:
    """What a block says of a key that is kept here, of version D. KC and KP are not in it."""
    attributes = info.attributes
    blocks = [("HM", code) for code, digest in HASHES.items() if digest == attributes.digest]
    if attributes.device is not None:
        blocks.append((_DEVICE_BLOCKS[info.algorithm.value], attributes.device))
    number = f"{info.version:02d}" if info.version < 100 else "00"  # noqa: PLR2004 - two digits
    header = Header(
        "D", info.usage.value, info.algorithm.value, info.mode.value, number, info.exportability.value, tuple(blocks)
    )
    if _attributes(info.usage, header, None) == attributes:
        return header
    return replace(header, blocks=(*blocks, (_OWN_BLOCK, _text(attributes))))


def passed_on(header: Header) -> Header:
    """What a block says under another KBPK: all it said, but for KP, which is of the KBPK it came under."""
    return replace(header, blocks=tuple(block for block in header.blocks if block[0] != _KBPK_CHECK))


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
    """Those of the usage with what the block says; or those wanted, which may say what the block does not and nothing else."""
    defaults = USAGES[usage].attributes
    said: dict[str, Any] = {}
    if (digest := _digest(usage, header)) is not None:
        said["digest"] = digest
        defaults = replace(defaults, mac_length=_longest(digest))
    device = header.block(_DEVICE_BLOCKS.get(header.algorithm, ""))
    if usage is KeyUsage.INITIAL_DUKPT and device is not None:
        said["device"] = device.upper()
    own = header.block(_OWN_BLOCK)
    if own is not None and own.startswith(_MARK):
        read = _read(own)
        said |= {name: getattr(defaults if getattr(read, name) is None else read, name) for name in _OWN}
    for name, value in said.items():
        asked = None if wanted is None else getattr(wanted, name)
        if wanted is not None and asked != value and (name, asked) != ("device", None):
            raise KeyRefused(f"the key block holds a key of {name} {value}, and no other")
    return replace(wanted or defaults, **said)


def _digest(usage: KeyUsage, header: Header) -> str | None:
    """What block HM says of an HMAC key. Raises KeyRefused for a hash that its usage does not have."""
    code = header.block("HM")
    if code is None or header.algorithm != Algorithm.HMAC.value:
        return None
    if code not in HASHES or (usage is not KeyUsage.MAC_HMAC and HASHES[code] != _INDEX_HASH):
        raise KeyRefused(f"an HMAC key of hash {code} is not kept here")
    return HASHES[code] if usage is KeyUsage.MAC_HMAC else None


def _longest(digest: str) -> int:
    """Bytes of an HMAC by DIGEST."""
    return int(digest.removeprefix("SHA-")) // 8


def _text(attributes: KeyAttributes) -> str:
    """The text of our own optional block: all of _OWN that the key has, so that it is complete."""
    told = [(name, getattr(attributes, name)) for name in _OWN]
    return " ".join([_MARK, *(f"{name}={value}" for name, value in told if value is not None)])


def _read(text: str) -> KeyAttributes:
    """And back. Raises KeyRefused for an attribute that is not known, and for what _text would not have written."""
    told = dict(part.partition("=")[::2] for part in text.split(" ")[1:])
    known: dict[str, Any] = {
        name: int(value) if name in _NUMBERS else value
        for name, value in told.items()
        if name in _OWN and (name not in _NUMBERS or (value.isdecimal() and len(value) <= _DIGITS_MOST))
    }
    read = KeyAttributes(**known)
    if _text(read) != text:
        raise KeyRefused(f"optional block {_OWN_BLOCK} of the key block: its attributes are none that are known here")
    return read


def _compare(name: str, header: Header, check_value: Callable[[str], bytes | None]) -> None:
    """Raise KeyBlockError unless the check value in optional block NAME is right, where there is one.

    Two digits of the method, then 4 hex digits or more of the value (6 at most of the zero block, 10 of CMAC).
    """
    text = header.block(name)
    if text is None:
        return
    method, value = text[:2], text[2:].upper()
    found = check_value(method) if method in _CHECK_MOST else None
    if found is None:
        raise KeyBlockError(f"optional block {name}: a check value of this method is not made of such a key")
    if not _CHECK_LEAST <= len(value) <= _CHECK_MOST[method] or len(value) % 2:
        raise KeyBlockError(f"optional block {name}: a check value of method {method} has another length")
    if not mac.same(found.hex().upper()[: len(value)].encode("ascii"), value.encode("ascii")):
        raise KeyBlockError(f"optional block {name}: is not the check value of the {_CHECKED[name]}")


def _check_value(method: str, algorithm: str, key: bytes) -> bytes | None:
    """Of the key in a block. None for what is no key of a block cipher."""
    if algorithm == Algorithm.TDES.value:
        zero, cmac, encipher = bytes(tdes.BLOCK), mac.tdes_cmac, tdes.encipherer
    elif algorithm == Algorithm.AES.value:
        zero, cmac, encipher = bytes(aes.BLOCK), mac.aes_cmac, aes.encipherer
    else:
        return None
    return (encipher if method == _LEGACY else cmac)(key)(zero)


def _kbpk_check(method: str, workshop: Workshop[Raw], info: KeyInfo, raw: Raw) -> bytes:
    """Of the KBPK, which may be in a token."""
    zero = bytes(aes.BLOCK if info.algorithm is Algorithm.AES else tdes.BLOCK)
    return (workshop.encipherer if method == _LEGACY else workshop.cmac)(info, raw)(zero)
