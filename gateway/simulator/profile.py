"""What a simulated terminal or switch speaks, as data: dialect, frame, amounts, how PINs are enciphered, MACs.

A profile is a TOML file whose keys are named as those of the bank's own link file, so that one can be copied from the other.
Two come along: himbara and edc. Knows no key but its label. Read next: testkeys.py, pinpad.py, switch.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.simulator.errors import ProfileError
from gateway.simulator.pinpad import dukpt_pad, zone_pad
from gateway.simulator.tables import Tables
from gateway.simulator.testkeys import TestKeyKind
from iso import mac
from iso.codec import encode
from iso.dialect import DIALECTS, HIMBARA, Dialect, Encoding, derive
from iso.errors import DialectError, FrameError
from iso.framing import HIMBARA_FRAMING, FrameKind, HeaderKind, LengthFraming
from iso.message import Message
from keys.pinblock import PinFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.pinpad import Pad
    from gateway.simulator.testkeys import TestKeys

FOLDER = Path(__file__).with_name("profiles")
_FORMATS = {0: PinFormat.ISO_0, 3: PinFormat.ISO_3, 4: PinFormat.ISO_4}
_EXPONENTS = (0, 2)
_SCHEMES = ("zpk", "dukpt")
_MACS = ("off", "on")
_PARTIAL = ("off", "marked", "purchases")
_FIELDS = range(2, 129)


@dataclass(frozen=True, slots=True)
class Profile:
    """One side of a link. `port_offset`: its port beyond the first link's. `sign` makes the MAC of bytes, or None.

    `partial_approval`: whether purchases may be approved in part; `partial_fields`: what says in each that it can do with less.
    """

    name: str = "himbara"
    acquirer: str = "000002"
    dialect: Dialect = HIMBARA
    framing: LengthFraming = HIMBARA_FRAMING
    amount_exponent: int = 2
    pin_scheme: str = "zpk"
    pin_key: str = "zpk-himbara"
    pin_format: PinFormat = PinFormat.ISO_0
    pin_block_field: int = 52
    ksn_field: int = 62
    new_pin_field: int = 125
    mac_key: str = ""
    port_offset: int = 0
    sign_on_required: bool = True
    partial_approval: bool = False
    partial_fields: dict[int, str] = field(default_factory=dict, hash=False)
    sign: Callable[[bytes], bytes] | None = field(default=None, repr=False)

    @property
    def pin_fields(self) -> frozenset[int]:
        """Where PIN blocks stand."""
        return frozenset({self.pin_block_field, self.new_pin_field})

    @property
    def digits_are_text(self) -> bool:
        """Whether any character can be written where digits belong."""
        return self.dialect.numeric is Encoding.TEXT

    def pinpad(self, keys: TestKeys) -> Pad:
        """The PIN pad of its terminals. Raises ProfileError where the test keys do not have its key."""
        return (zone_pad if self.pin_scheme == "zpk" else dukpt_pad)(keys, self.pin_key, self.pin_format)

    def sealed(self, message: Message) -> Message:
        """MESSAGE with its MAC, where the profile has one and the message does not bring its own."""
        number = mac.mac_field(message)
        if self.sign is None or number in message.fields:
            return message
        return Message(message.mti, message.fields | {number: self.mac_of(message, self.sign)})

    def mac_of(self, message: Message, sign: Callable[[bytes], bytes]) -> str:
        """The MAC that MESSAGE must have, hexadecimal. Raises FormatError."""
        number = mac.mac_field(message)
        blank = Message(message.mti, message.fields | {number: "0" * self.dialect.field(number).length})
        return sign(mac.mac_input(encode(blank, self.dialect), self.dialect)).hex().upper()

    def mac_is_right(self, answer: Message) -> bool:
        """Whether ANSWER has the MAC that it must have; true where the profile has none."""
        if self.sign is None:
            return True
        number = mac.mac_field(answer)
        return answer.get(number) == self.mac_of(answer, self.sign)


HIMBARA_PROFILE = Profile()
"""The default: ISO 8583:1987, all ASCII, without MACs."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The keys of a file; docs/iso8583.md has the table. `changes`: a variant of the dialect, as `iso.dialect.derive` has it."""

    name: str
    dialect: str
    frame: str = "ascii4"
    frame_inclusive: bool = False
    largest_frame: int = 4_096
    header: str = "none"
    header_hex: str = ""
    acquirer: str = "000002"
    amount_exponent: int = 2
    pin_scheme: str = "zpk"
    pin_key: str = "zpk-himbara"
    pin_format: int = 0
    pin_block_field: int = 52
    ksn_field: int = 62
    new_pin_field: int = 125
    mac: str = "off"
    mac_key: str = ""
    port_offset: int = 0
    sign_on_required: bool = True
    partial_approval: str = "off"
    partial_fields: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)


_TABLES = Tables(ProfileError)


def shipped_profiles() -> list[str]:
    """The names of the profiles that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_profile(name: str) -> Profile:
    """The profile of that name, or of the file NAME. Raises ProfileError: what is wrong, and where."""
    path = FOLDER / f"{name}.toml" if name in shipped_profiles() else Path(name)
    if name not in shipped_profiles() and path.suffix != ".toml":
        raise ProfileError(f"there is no profile {name}: {', '.join(shipped_profiles())}, or a TOML file")
    place = f"profile {path}"
    written = _TABLES.make(_Written, place, _TABLES.file(place, path))
    for key, value, choices in (
        ("dialect", written.dialect, tuple(DIALECTS)),
        ("frame", written.frame, tuple(FrameKind)),
        ("header", written.header, tuple(HeaderKind)),
        ("amount_exponent", written.amount_exponent, _EXPONENTS),
        ("pin_scheme", written.pin_scheme, _SCHEMES),
        ("pin_format", written.pin_format, tuple(_FORMATS)),
        ("mac", written.mac, _MACS),
        ("partial_approval", written.partial_approval, _PARTIAL),
    ):
        if value not in choices:
            raise ProfileError(f"{place}: {key} must be one of {', '.join(map(str, choices))}")
    if not {written.pin_block_field, written.ksn_field, written.new_pin_field} <= {*_FIELDS}:
        raise ProfileError(f"{place}: pin_block_field, ksn_field and new_pin_field are numbers of fields")
    if (written.mac == "on") is not bool(written.mac_key):
        raise ProfileError(f"{place}: mac = 'on' and mac_key go together")
    if (written.partial_approval == "marked") is not bool(written.partial_fields):
        raise ProfileError(f"{place}: partial_approval = 'marked' and partial_fields go together")
    return _made(place, written)


def with_keys(profile: Profile, keys: TestKeys) -> Profile:
    """The profile with the MAC key it names. Raises ProfileError where the test keys do not have it."""
    if not profile.mac_key:
        return profile
    handle = keys.key(profile.mac_key, TestKeyKind.MAC).form(keys.hsm)
    return replace(profile, sign=lambda data: keys.hsm.mac(handle, data))


def _made(place: str, written: _Written) -> Profile:
    try:
        dialect = DIALECTS[written.dialect]
        if written.changes:
            dialect = derive(dialect, written.name, written.changes)
        framing = LengthFraming(
            FrameKind(written.frame),
            written.frame_inclusive,
            written.largest_frame,
            HeaderKind(written.header),
            bytes.fromhex(written.header_hex),
        )
    except (DialectError, FrameError, ValueError) as error:
        raise ProfileError(f"{place}: {error}") from None
    return Profile(
        written.name, written.acquirer, dialect, framing, written.amount_exponent, written.pin_scheme, written.pin_key,
        _FORMATS[written.pin_format], written.pin_block_field, written.ksn_field, written.new_pin_field, written.mac_key,
        written.port_offset, written.sign_on_required, written.partial_approval != "off",
        _TABLES.by_field(place, "partial_fields", {"partial_fields": written.partial_fields}),
    )  # fmt: skip
