"""What a scheme's chip cards do, as data; verification of an application cryptogram, and the issuer's answer (EMV book 2, 8).

`profiles` are those of emv_profiles.toml; a bank reads its own by `read_profiles`. Refuses to know keys: a key is an emv.Deriver,
in this process or in a token. Read next: emv.py, emv_profiles.toml, emv_script.py (commands to the card).
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from keys import emv, mac
from keys.errors import CardDataRefused, KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.emv import Deriver
    from keys.sensitive import Pan

ATC, CRYPTOGRAM, ISSUER_DATA, UNPREDICTABLE = "9F36", "9F26", "9F10", "9F37"
ISSUER_DATA_MOST = 32
_ANY_LENGTH_MOST = 252


class MasterKey(StrEnum):
    """How a card's master key comes of the issuer's (EMV book 2 A1.4): option A or B."""

    A = "A"
    B = "B"


class SessionKey(StrEnum):
    """How a session key comes of a card's master key: not at all, by ATC (EMV), by ATC and unpredictable number (M/Chip)."""

    NONE = "none"
    COMMON = "common"
    MCHIP = "mchip"


class ArpcKey(StrEnum):
    """Which key answers (EMV book 2 8.2): the one of the request, or the card's master key."""

    SESSION = "session"
    MASTER = "master"


class ScriptKey(StrEnum):
    """How a script's session key comes of the card's script master key (EMV book 2 A1.3, 9.2.3; Visa's own)."""

    COMMON_ARQC = "common-arqc"
    """EMV common session key, R = ARQC."""

    COUNTED_ARQC = "counted-arqc"
    """The same, and the ARQC is counted up by one for each command of the script before (M/Chip)."""

    COMMON_ATC = "common-atc"
    """EMV common session key, R = ATC || 00 * 6."""

    VISA = "visa"
    """The master key xor 00 * 6 || ATC || 00 * 6 || ~ATC."""


class ScriptMac(StrEnum):
    """What a script command's MAC is made of (EMV book 2 9.2.3). Header: CLA INS P1 P2 Lc as sent."""

    COMMAND = "command"
    """Header || data."""

    ATC_ARQC = "atc-arqc"
    """Header || ATC || ARQC || data."""

    CHAINED = "chained"
    """The whole MAC of the command before, for the first the ARQC || header || data."""


class ScriptMode(StrEnum):
    """How script data are enciphered; CBC with a zero initial vector (EMV book 2 A1.1)."""

    ECB = "ECB"
    CBC = "CBC"


class ScriptPadding(StrEnum):
    """How script data become whole blocks before they are enciphered (EMV book 2 9.3; M/Chip's and Visa's own)."""

    ALWAYS = "80"
    IF_NEEDED = "80-if-needed"
    LENGTH_FIRST = "length-80"
    """A byte with the length of the data first (Visa)."""


class Element(NamedTuple):
    """One part of what a cryptogram is made of (EMV book 2 8.1.1): the tag, its fewest and most bytes, which of them count."""

    tag: str
    least: int
    most: int
    cut: slice


class Signed(NamedTuple):
    """What a card signed (EMV book 2 8.1): DATA before padding, R of its session key (None: no session key), ATC."""

    data: bytes
    r: bytes | None
    atc: bytes


class Verdict(NamedTuple):
    """OK: the cryptogram (EMV book 2 8) is the card's. ARPC: the answer, where it is and one was asked. ATC: the card's counter.

    A cryptogram seen before is as right as at first: that the counter is above the card's last one is for the caller to see,
    who keeps it with the card.
    """

    ok: bool
    arpc: bytes | None
    atc: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A scheme's rules for EMV cards, by the names of its TOML keys. A bank confirms the fields named in `to_be_confirmed`."""

    name: str
    master_key: MasterKey
    session_key: SessionKey
    data: tuple[Element, ...]
    """What a cryptogram is made of, in this order."""
    padding: int
    """Of a cryptogram: emv.PADDING_80 or emv.PADDING_00."""
    cvn: tuple[int, ...]
    """The cryptogram version numbers that these rules are for."""
    cvn_at: int
    """Where in tag 9F10 the cryptogram version number stands, from 0."""
    key_index_at: int | None
    """Where in tag 9F10 the derivation key index stands, from 0. None: nowhere."""
    arpc_method: int
    arpc_key: ArpcKey
    script_key: ScriptKey
    script_mac: ScriptMac
    script_mac_length: int
    script_mode: ScriptMode
    script_padding: ScriptPadding
    to_be_confirmed: tuple[str, ...]

    def master_data(self, pan: Pan, psn: str = "00") -> bytes:
        """What the issuer master key enciphers into the card's master key (EMV book 2 A1.4): 16 bytes. Raises CardDataRefused."""
        return emv.option_a_data(pan, psn) if self.master_key is MasterKey.A else emv.option_b_data(pan, psn)

    def knows(self, tags: Mapping[str, bytes]) -> bool:
        """Whether the cryptogram version that tag 9F10 tells is one of this profile's: the first of what `read` looks at.

        Two schemes may find theirs in one tag, at different places: which it was, the cryptogram alone says.

        >>> tags = {"9F10": bytes.fromhex("06010A03A0A000")}
        >>> [name for name, profile in profiles().items() if profile.knows(tags)]
        ['nsiccs', 'visa-cvn10']
        """
        issuer_data = tags.get(ISSUER_DATA, _MISSING)
        return len(issuer_data) > self.cvn_at and issuer_data[self.cvn_at] in self.cvn

    def key_index(self, tags: Mapping[str, bytes]) -> int | None:
        """The derivation key index (0 to 255) of TAGS: which of the issuer's master keys made this card. None: it tells none.

        To choose the key by, before a cryptogram is verified; nobody vouches for it until that comes out right. Raises
        CardDataRefused where tag 9F10 is missing or too short. The tag is an NSICCS test card's.

        >>> profiles()["nsiccs"].key_index({"9F10": bytes.fromhex("0101A000800000EDB26B8D0000000000000000000000000000000000")})
        1
        """
        if self.key_index_at is None:
            return None
        issuer_data = tag_of(self, tags, ISSUER_DATA)
        if len(issuer_data) <= self.key_index_at:
            raise CardDataRefused(f"profile {self.name}: tag {ISSUER_DATA}: does not reach to its key index")
        return issuer_data[self.key_index_at]

    def read(self, tags: Mapping[str, bytes]) -> Signed:
        """What the card signed, of the TAGS (upper case hex) of a request. Raises CardDataRefused naming the tag.

        A card of a version that the profile is not for is refused as well: its cryptogram could only be found wrong.
        """
        parts = []
        for tag, least, most, cut in self.data:
            value = tags.get(tag, _MISSING)
            if not least <= len(value) <= most:
                tag_of(self, tags, tag)
                raise CardDataRefused(f"profile {self.name}: tag {tag}: must be {_lengths(least, most)} bytes")
            parts.append(value[cut])
        cvn, atc = tags[ISSUER_DATA][self.cvn_at], tags[ATC]
        if cvn not in self.cvn:
            raise CardDataRefused(
                f"profile {self.name}: tag {ISSUER_DATA}: cryptogram version {cvn:02X} is not of this profile"
            )
        r = None
        if self.session_key is SessionKey.COMMON:
            r = emv.common_r(atc)
        elif self.session_key is SessionKey.MCHIP:
            r = emv.mchip_r(atc, tags[UNPREDICTABLE])
        return Signed(b"".join(parts), r, atc)


def tag_of(profile: Profile, tags: Mapping[str, bytes], tag: str) -> bytes:
    """The value of one tag. Raises CardDataRefused where it is missing, naming PROFILE and tag."""
    value = tags.get(tag)
    if value is None:
        raise CardDataRefused(f"profile {profile.name}: tag {tag}: missing")
    return value


def verify(
    profile: Profile,
    issuer: Deriver,
    pan: Pan,
    psn: str,
    tags: Mapping[str, bytes],
    arqc: bytes,
    answer: bytes | None = None,
    proprietary: bytes = b"",
) -> Verdict:
    """Whether ARQC (8 bytes) is the card's over TAGS, and the ARPC of a right one: 8 bytes by method 1, 4 by method 2.

    ISSUER: the issuer master key for cryptograms, ready (emv.issuer). ANSWER: what the bank decided, an authorisation response
    code (2 bytes) for method 1, a card status update (4 bytes, with up to 8 PROPRIETARY) for method 2; None: no ARPC.
    EMV book 2, 8.1 and 8.2. Raises CardDataRefused: a tag is missing, has a wrong length or another cryptogram version, or
    the answer is not of the profile's method. The vector is of an NSICCS test card.

    >>> from keys.sensitive import Pan
    >>> imk = emv.issuer(bytes.fromhex("404142434445464748494A4B4C4D4E4F4041424344454647"))
    >>> tags = {tag: bytes.fromhex(value) for tag, value in [
    ...     ("9F02", "000005000000"), ("9F03", "000000000000"), ("9F1A", "0360"), ("95", "0000000000"), ("5F2A", "0360"),
    ...     ("9A", "261007"), ("9C", "01"), ("9F37", "889A0812"), ("82", "5400"), ("9F36", "012C"),
    ...     ("9F10", "0101A000800000EDB26B8D0000000000000000000000000000000000")]}
    >>> arqc = bytes.fromhex("E1D3FFDCBB06F2C8")
    >>> verify(profiles()["nsiccs"], imk, Pan("4889501076030373"), "00", tags, arqc)
    Verdict(ok=True, arpc=None, atc=300)
    """
    if len(arqc) != emv.AC_BYTES:
        raise CardDataRefused(f"profile {profile.name}: tag {CRYPTOGRAM}: must be {emv.AC_BYTES} bytes")
    if answer is not None:
        _check_answer(profile, answer, proprietary)
    signed = profile.read(tags)
    key = master = issuer.derive(profile.master_data(pan, psn))
    if signed.r is not None:
        key = master.derive(emv.session_data(signed.r))
    ok = mac.same(emv.code(key, signed.data, profile.padding), arqc)
    arpc = None
    if ok and answer is not None:
        if profile.arpc_key is ArpcKey.MASTER:
            key = master
        arpc = emv.arpc_1(key, arqc, answer) if profile.arpc_method == 1 else emv.arpc_2(key, arqc, answer, proprietary)
    return Verdict(ok, arpc, int.from_bytes(signed.atc))


@functools.cache
def profiles() -> Mapping[str, Profile]:
    """The profiles of emv_profiles.toml, by name."""
    return read_profiles(resources.files("keys").joinpath("emv_profiles.toml").read_text("utf-8"))


def read_profiles(text: str) -> Mapping[str, Profile]:
    """The profiles of TEXT: TOML, a table a profile. Raises KeyRefused for the first fault, naming profile and key."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise KeyRefused("EMV profiles: not TOML") from None
    if not tables:
        raise KeyRefused("EMV profiles: there is none")
    return MappingProxyType({name: _profile(name, table) for name, table in tables.items()})


def _check_answer(profile: Profile, answer: bytes, proprietary: bytes) -> None:
    if profile.arpc_method == 1:
        if len(answer) != emv.ARC_BYTES or proprietary:
            raise CardDataRefused(
                f"profile {profile.name}: answers by method 1, with an authorisation response code of 2 bytes alone"
            )
    elif len(answer) != emv.CSU_BYTES or len(proprietary) > emv.PROPRIETARY_MOST:
        raise CardDataRefused(
            f"profile {profile.name}: answers by method 2, with a card status update of 4 bytes and up to 8 of proprietary data"
        )


class _WrongValue(Exception):
    """Why a key of a profile is refused; never leaves this module."""


def _profile(name: str, table: Any) -> Profile:  # noqa: ANN401 - whatever TOML holds
    if not _NAME.fullmatch(name):
        raise KeyRefused("EMV profiles: a name has 1 to 32 lower case letters, digits and -")
    if not isinstance(table, dict):
        raise KeyRefused(f"EMV profile {name}: must be a table")
    unknown = sorted(set(table) - set(_READERS))
    if unknown:
        raise KeyRefused(f"EMV profile {name}: {unknown[0]!r}: unknown key")
    values: dict[str, Any] = {}
    for key, read in _READERS.items():
        if key not in table:
            raise KeyRefused(f"EMV profile {name}: {key}: missing")
        try:
            values[key] = read(table[key])
        except _WrongValue as wrong:
            raise KeyRefused(f"EMV profile {name}: {key}: {wrong}") from None
    whole = {element.tag for element in values["data"] if element.cut == slice(None)}
    if values["session_key"] is SessionKey.MCHIP and UNPREDICTABLE not in whole:
        raise KeyRefused(f"EMV profile {name}: data: must hold {UNPREDICTABLE} whole for this session key")
    reach = 1 + max(values["cvn_at"], values["key_index_at"] or 0)
    values["data"] = tuple(_long_enough(element, reach) for element in values["data"])
    return Profile(name, **values)


def _long_enough(element: Element, reach: int) -> Element:
    """Tag 9F10 must reach to its CVN and key index."""
    if element.tag != ISSUER_DATA:
        return element
    return element._replace(least=max(element.least, reach))


def _read_data(value: object) -> tuple[Element, ...]:
    """Elements of texts like 9F02 and 9F10[3:7]. Only the last may have any length: else bytes could move between two tags."""
    elements = tuple(_element(text) for text in _texts(value))
    tags = [element.tag for element in elements]
    if len(set(tags)) != len(tags):
        raise _WrongValue("names a tag twice")
    if not {ATC, ISSUER_DATA} <= set(tags) or elements[tags.index(ATC)].cut != slice(None):
        raise _WrongValue(f"must hold {ATC} whole, and {ISSUER_DATA} or a part of it")
    if any(element.cut == slice(None) and element.least != element.most for element in elements[:-1]):
        raise _WrongValue("only the last may be a tag without a fixed length")
    return elements


def _element(text: str) -> Element:
    found = _ELEMENT.fullmatch(text)
    if not found:
        raise _WrongValue("bad tag: must be like 9F02 or 9F10[3:7]")
    tag, start, stop = found["tag"], found["start"], found["stop"]
    least, most = _LENGTHS.get(tag, (1, _ANY_LENGTH_MOST))
    if start is None:
        return Element(tag, least, most, slice(None))
    if not int(start) < int(stop) <= most:
        raise _WrongValue(f"bad slice of {tag}: must be within its {most} bytes, and not empty")
    return Element(tag, max(least, int(stop)), most, slice(int(start), int(stop)))


def _read_confirmations(value: object) -> tuple[str, ...]:
    names = _texts(value)
    known = {field.name for field in fields(Profile)} - {"name", "to_be_confirmed"}
    if not set(names) <= known:
        raise _WrongValue("must name keys of a profile")
    return names


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _WrongValue("must be a list of texts")
    return tuple(value)


Word = TypeVar("Word", bound=StrEnum)


def _one_of(words: type[Word]) -> Callable[[object], Word]:
    known = {word.value: word for word in words}

    def read(value: object) -> Word:
        if not isinstance(value, str) or value not in known:
            raise _WrongValue(f"must be one of {', '.join(known)}")
        return known[value]

    return read


def _number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        # A TOML boolean is an int to isinstance.
        if type(value) is not int or not least <= value <= most:
            raise _WrongValue(f"must be a whole number from {least} to {most}")
        return value

    return read


def _read_versions(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise _WrongValue("must be a list of numbers, one or more")
    read = _number(0, 255)
    return tuple(read(number) for number in value)


def _read_place(value: object) -> int | None:
    return None if value == _NOWHERE else _number(0, ISSUER_DATA_MOST - 1)(value)


def _read_padding(value: object) -> int:
    if not isinstance(value, str) or value not in _PADDINGS:
        raise _WrongValue(f"must be one of {', '.join(_PADDINGS)}")
    return _PADDINGS[value]


def _lengths(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


_NOWHERE = "none"
_MISSING = b""
"""Too short for any tag."""
_PADDINGS = MappingProxyType({"80": emv.PADDING_80, "00": emv.PADDING_00})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
# A tag of one byte, or of two to four (EMV book 3 annex B1); perhaps the bytes of it that count, [first:after the last].
_ELEMENT = re.compile(
    r"(?P<tag>(?!00)(?:[0-9A-F][0-9A-E]|[02468ACE]F|[13579BDF]F(?:[89A-F][0-9A-F]){0,2}[0-7][0-9A-F]))"
    r"(?:\[(?P<start>[0-9]{1,3}):(?P<stop>[0-9]{1,3})\])?"
)
# Fewest and most bytes of a tag's value (EMV book 3 annex A). A tag that is not here may have any length.
_LENGTHS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "9F02": (6, 6), "9F03": (6, 6), "9F1A": (2, 2), "95": (5, 5), "5F2A": (2, 2), "9A": (3, 3), "9C": (1, 1),
        UNPREDICTABLE: (4, 4), "82": (2, 2), ATC: (2, 2), ISSUER_DATA: (1, ISSUER_DATA_MOST), "5F34": (1, 1),
        "9F09": (2, 2), "9F1E": (8, 8), "9F21": (3, 3), "9F27": (1, 1), "9F33": (3, 3), "9F34": (3, 3), "9F35": (1, 1),
    }
)  # fmt: skip
_READERS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "master_key": _one_of(MasterKey),
        "session_key": _one_of(SessionKey),
        "data": _read_data,
        "padding": _read_padding,
        "cvn": _read_versions,
        "cvn_at": _number(0, ISSUER_DATA_MOST - 1),
        "key_index_at": _read_place,
        "arpc_method": _number(1, 2),
        "arpc_key": _one_of(ArpcKey),
        "script_key": _one_of(ScriptKey),
        "script_mac": _one_of(ScriptMac),
        "script_mac_length": _number(4, 8),
        "script_mode": _one_of(ScriptMode),
        "script_padding": _one_of(ScriptPadding),
        "to_be_confirmed": _read_confirmations,
    }
)
