"""What a simulated terminal or switch speaks, as data: dialect, frame, amounts, how PINs are enciphered, MACs, chips, stripes.

A profile is a TOML file whose keys are named as those of the bank's own link file, so that one can be copied from the other.
Three come along: himbara, edc, and chip, which proves its messages and cards. Knows no key but its label. Read next: testkeys.py,
pinpad.py, card_reader.py, switch.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.simulator.card_reader import CardReader
from gateway.simulator.chip_card import ChipCard
from gateway.simulator.chip_counters import ChipCounters
from gateway.simulator.errors import ProfileError
from gateway.simulator.key_courier import KeyCourier
from gateway.simulator.pinpad import dukpt_pad, zone_pad
from gateway.simulator.tables import Tables
from gateway.simulator.testkeys import TestKeyKind
from iso import mac
from iso.codec import encode
from iso.dialect import DIALECTS, HIMBARA, Dialect, Encoding, derive
from iso.errors import DialectError, FrameError
from iso.framing import HIMBARA_FRAMING, FrameKind, HeaderKind, LengthFraming
from iso.message import Message
from keys.emv_profile import profiles as chip_profiles
from keys.pinblock import PinFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.pinpad import Pad
    from gateway.simulator.testkeys import TestKeys
    from gateway.simulator.wallet import TestCard

FOLDER = Path(__file__).with_name("profiles")
_FORMATS = {0: PinFormat.ISO_0, 3: PinFormat.ISO_3, 4: PinFormat.ISO_4}
_EXPONENTS = (0, 2)
_SCHEMES = ("zpk", "dukpt")
_SWITCHES = ("off", "on")
_COUNTERS = "chip-counters.txt"
_PARTIAL = ("off", "marked", "purchases")
_FIELDS = range(2, 129)
_FIELD_KEYS = ("pin_block_field", "ksn_field", "new_pin_field", "key_exchange_field")


@dataclass(frozen=True, slots=True)
class Profile:
    """One side of a link. `port_offset`: its port beyond the first link's. `sign` makes the MAC of bytes, or None.

    `freshness_s`: how old the bank lets a message with a MAC be; 0: any age. `reader` reads the cards where `chip` or
    `stripe_value` says that they prove themselves, or is None; `courier` brings new keys where there is a zone master key.
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
    freshness_s: int = 0
    chip: bool = False
    chip_profile: str = "nsiccs"
    chip_key: str = "imk-ac"
    chip_window: int = 100
    stripe_value: bool = False
    stripe_key: str = "cvk"
    zone_master_key: str = ""
    key_exchange_field: int = 48
    port_offset: int = 0
    sign_on_required: bool = True
    partial_approval: bool = False
    partial_fields: dict[int, str] = field(default_factory=dict, hash=False)
    reader: CardReader | None = field(default=None, repr=False)
    courier: KeyCourier | None = field(default=None, repr=False)
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
    freshness_s: int = 0
    chip: str = "off"
    chip_profile: str = "nsiccs"
    chip_key: str = "imk-ac"
    chip_window: int = 100
    stripe_value: str = "off"
    stripe_key: str = "cvk"
    zone_master_key: str = ""
    key_exchange_field: int = 48
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
        ("mac", written.mac, _SWITCHES),
        ("chip", written.chip, _SWITCHES),
        ("chip_profile", written.chip_profile, tuple(chip_profiles())),
        ("stripe_value", written.stripe_value, _SWITCHES),
        ("partial_approval", written.partial_approval, _PARTIAL),
    ):
        if value not in choices:
            raise ProfileError(f"{place}: {key} must be one of {', '.join(map(str, choices))}")
    if not {getattr(written, name) for name in _FIELD_KEYS} <= {*_FIELDS}:
        raise ProfileError(f"{place}: {', '.join(_FIELD_KEYS)} are numbers of fields")
    if (written.mac == "on") is not bool(written.mac_key):
        raise ProfileError(f"{place}: mac = 'on' and mac_key go together")
    if written.freshness_s and not written.mac_key:
        raise ProfileError(f"{place}: freshness_s is nothing without a MAC")
    if (written.partial_approval == "marked") is not bool(written.partial_fields):
        raise ProfileError(f"{place}: partial_approval = 'marked' and partial_fields go together")
    return _made(place, written)


def with_keys(profile: Profile, keys: TestKeys) -> Profile:
    """The profile with the MAC key, the zone master key and the issuer's keys of its cards that it names.

    Raises ProfileError where the test keys do not have them, WalletError where the cards' counters cannot be read.
    """
    if profile.mac_key:
        handle = keys.key(profile.mac_key, TestKeyKind.MAC).form(keys.hsm)
        profile = replace(profile, sign=lambda data: keys.hsm.mac(handle, data))
    if profile.chip or profile.stripe_value:
        profile = replace(profile, reader=_reader(profile, keys))
    if profile.zone_master_key:
        zmk = keys.key(profile.zone_master_key, TestKeyKind.ZMK)
        profile = replace(profile, courier=KeyCourier(zmk.value, zmk.algorithm))
    return profile


def _reader(profile: Profile, keys: TestKeys) -> CardReader:
    imk = keys.key(profile.chip_key, TestKeyKind.IMK).value if profile.chip else b""
    cvk = keys.key(profile.stripe_key, TestKeyKind.CVK).value if profile.stripe_value else b""
    scheme = chip_profiles()[profile.chip_profile]

    def new_chip(card: TestCard) -> ChipCard:
        return ChipCard(card, imk, cvk, profile=scheme)

    counters = ChipCounters(None if keys.folder is None else keys.folder / _COUNTERS)
    return CardReader(new_chip, counters, by_chip=profile.chip, window=profile.chip_window)


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
        written.freshness_s, written.chip == "on", written.chip_profile, written.chip_key, written.chip_window,
        written.stripe_value == "on", written.stripe_key, written.zone_master_key, written.key_exchange_field,
        written.port_offset, written.sign_on_required, written.partial_approval != "off",
        _TABLES.by_field(place, "partial_fields", {"partial_fields": written.partial_fields}),
    )  # fmt: skip
