"""One partner's profile as data: how it is reached, what it speaks, which keys it shares with us, what it may do and is told.

Checked as a whole: a profile that contradicts itself is refused before anything listens. Refuses to know files (links_file.py),
sockets and keys themselves (only their labels). docs/iso8583.md, "Profiles", is the table of these settings.
"""

from __future__ import annotations

import re
from datetime import time
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.rules.authorise import DeclineReason, RequestKind
from gateway.rules.chip import ScriptUse
from gateway.rules.purse import Channel, Purse, PurseChoice
from gateway.terminals.longest import check_room
from gateway.terminals.profile_tables import DataElement, Host, Outgoing, PartialMark, StandIn, Tls, host_of
from iso import private_tlv
from iso.dialect import DIALECTS, Dialect
from iso.errors import DialectError, FrameError
from iso.framing import FrameKind, HeaderKind, LengthFraming
from iso.layout import Layout, layout_of
from iso.original_data import institution_number
from keys.emv_profile import profiles as emv_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_FIELDS_NEEDED = (7, 11, 32)
"""By which DE90 names a message: always part of its key."""
KEY_FIELDS_KNOWN = (*KEY_FIELDS_NEEDED, 37, 41)
CLOCK = re.compile(r"\d\d:\d\d")
ADVICE_NOT_ACCEPTED = (
    DeclineReason.KEY_REUSED, DeclineReason.ADVICE_UNREADABLE, DeclineReason.OVERLOAD, DeclineReason.SYSTEM_ERROR,
)  # fmt: skip
"""What an advice is told as it is: another message has its key, it cannot be read, nothing was decided. All else is accepted."""
UNSAID = {
    DeclineReason.ADVICE_DECLINED: "00", DeclineReason.ADVICE_NOT_SERVED: "00", DeclineReason.ADVICE_UNREADABLE: "30",
    DeclineReason.PARTIALLY_APPROVED: "10",
}  # fmt: skip
"""What is told where a profile does not say: of reasons that advices alone meet, and of the standard's own code."""
LABEL = r"^[a-z0-9-]{1,40}$"
ACQUIRER = r"^\d{1,11}$"
PLAIN_CARD = ("off", "off", "zpk", 0)
"""chip, stripe_value, pin_scheme and pin_format of a link that wants nothing of a card but its number and a plain PIN block."""
ECHO_S = 60.0  # of a link that calls; who is called leaves the echo to the partner
ACCOUNT_TYPE = re.compile(r"\d\d")
MCC = re.compile(r"\d{4}")

WIRE = (
    "role", "host", "port", "port_offset", "more_hosts", "connections", "spread", "peers", "tls", "dialect", "frame",
    "frame_inclusive", "largest_frame", "polls", "header", "header_hex",
)  # fmt: skip
"""Settings that are fixed with a connection: where one changes, the link is drained and opened anew."""

Policy = Literal["off", "optional", "required"]
ChipProfiles = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1, max_length=8),
]

EXPIRING_COLUMNS = {"expiring_on": 8, "expiring_amount": 12}
"""Columns of DE48 in which what is lost next is told, where it has columns at all."""


class Asked(NamedTuple):
    """What a message asks for, where, and of which purse. PARTIAL: the link lets it have less, perhaps if it says so."""

    kind: RequestKind
    channel: Channel
    purse: PurseChoice
    partial: bool = False


class Link(BaseModel):
    """One partner link. Times in seconds. Validated with the dialects that its file derives in the context, by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z0-9-]{1,20}$")
    acquirer: str = Field(pattern=ACQUIRER)
    acquirers: tuple[Annotated[str, Field(pattern=ACQUIRER)], ...] = ()
    # whose terminals it may speak for, by DE32, beside its own; none: anybody's, as a switch does

    # how it is reached
    role: Literal["listen", "connect"] = "listen"
    host: str | None = None  # listen: the address of the service; connect: the partner's, needed
    port: int | None = Field(None, ge=0, le=65_535)  # listen: KKS_ISO_PORT plus port_offset; connect: needed
    port_offset: int = Field(0, ge=0, le=1_000)
    more_hosts: tuple[str, ...] = Field((), max_length=15)  # connect: further ones of the partner, "10.0.0.2:8583"
    connections: int = Field(1, ge=1, le=16)  # connect: how many to each host
    spread: Literal["round", "first", "card"] = (
        "round"  # connect: our requests go to each host in turn, the first that is up,
    )
    # or always the same for a card
    peers: tuple[IPv4Network | IPv6Network, ...] = ()  # addresses that may connect; none: any
    tls: Tls | None = None
    connections_max: int = Field(200, ge=1, le=10_000)
    trial: bool = (
        False  # there only where the keystore has its keys, as that of a bank with test keys; else it is not missed
    )

    # what it speaks
    dialect: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    frame: FrameKind
    frame_inclusive: bool = False
    largest_frame: int = Field(ge=64, le=65_535)
    polls: bool = False  # a length of zero asks whether the line is up, and is sent back
    header: Literal["none", "tpdu", "static"] = "none"
    header_hex: str = Field(
        "", pattern=r"^(?:[0-9A-Fa-f]{2}){0,64}$"
    )  # of what we send first; answers mirror the request's
    amount_exponent: Literal[0, 2]

    # keys and proofs, by label
    pin_scheme: Literal["zpk", "dukpt"] = "zpk"
    pin_key: str = Field(pattern=LABEL)  # ZPK, or base derivation key
    pin_format: Literal[0, 3, 4] = 0  # ISO 9564-1
    pin_block_field: DataElement = 52  # format 4 is 32 hex characters, too long for 52
    ksn_field: DataElement = 62  # of DUKPT
    new_pin_field: DataElement = 125  # of a PIN change; 53 elsewhere
    mac: Policy = "off"
    mac_key: str | None = Field(None, pattern=LABEL)
    mac_network: bool = False  # whether 0800 needs a MAC too, once there is a key for it
    mac_code: str = Field("63", pattern=r"^[0-9A-Za-z]{2}$")  # DE39 of a message whose MAC is missing, wrong or too old
    freshness_s: int = Field(0, ge=0, le=86_400)  # how far DE7 of a request with a MAC may be from our clock; 0: any
    advice_freshness_s: int = Field(259_200, ge=60, le=2_592_000)  # the same of advices and reversals
    chip: Policy = "off"
    chip_profile: ChipProfiles = ("nsiccs",)  # one, or those a card's tag 9F10 chooses among by its cryptogram version
    chip_window: int = Field(100, ge=1, le=65_535)  # how far above a card's last transaction counter the next may be
    chip_fallback: Literal["refused", "allowed"] = "refused"  # the stripe of a card that has a chip
    chip_key: str = Field("imk-ac", pattern=LABEL)
    chip_scripts: tuple[ScriptUse, ...] = ()  # what for an answer may tell a chip something: block, pin
    chip_script_key: str = Field("imk-smi", pattern=LABEL)  # of their MACs
    stripe_value: Policy = "off"  # CVV of track 2
    stripe_value_at: int = Field(
        5, ge=0, le=20
    )  # where in track 2 it stands, from the first character after the service code
    stripe_key: str = Field("cvk", pattern=LABEL)
    zone_master_key: str | None = Field(
        None, pattern=LABEL
    )  # opens the keys that come in an 0800 with DE70 101; none: refused
    key_exchange_field: DataElement = 48
    key_exchange_code: Literal["101", "161"] = "161"  # DE70 of a change of keys that the bank asks for
    key_overlap_s: int = Field(3_600, ge=0, le=604_800)  # how long the key before works beside a new one
    key_pending_s: int = Field(86_400, ge=60, le=2_592_000)  # a new key that nobody uses is dropped after so long

    # its life
    sign_on_required: bool
    echo_s: float | None = Field(
        None, ge=0, le=3_600
    )  # an idle connection is asked after so long; 0: never; None: 60 where we call, never where the partner does
    echo_tries: int = Field(3, ge=1, le=10)  # so many echoes in a row without a byte back: the connection is closed
    idle_close_s: float = Field(600.0, ge=0, le=86_400)  # a silent connection is closed after so long; 0: never
    frame_timeout_s: float = Field(10.0, gt=0, le=300)  # an unfinished message may take so long
    answer_timeout_s: float = Field(15.0, gt=0, le=300)  # our own requests wait so long
    reconnect_s: float = Field(1.0, gt=0, le=60)
    reconnect_most_s: float = Field(60.0, gt=0, le=3_600)
    drain_s: float = Field(5.0, ge=0, le=60)  # a stopping link waits so long for its answers
    in_flight_max: int = Field(2_000, ge=1, le=100_000)  # high watermark: above it 91
    in_flight_resume: int = Field(1_500, ge=0, le=100_000)  # low watermark: from it on requests are taken again

    # what it may ask and is told
    key_fields: tuple[DataElement, ...] = (7, 11, 32)  # with link, class and card: which message it is
    cash_places: dict[str, Channel] = {
        "6011": Channel.ATM,
        "6010": Channel.AGENT,
        "6012": Channel.AGENT,
    }  # DE18 of cash
    purses: dict[str, PurseChoice] = {
        "00": PurseChoice.BY_RULE, "10": PurseChoice.CASH, "96": PurseChoice.CASH, "98": PurseChoice.FOOD,
    }  # third and fourth digit of DE3  # fmt: skip
    account_types: dict[Purse, str] = {Purse.CASH: "10", Purse.FOOD: "98"}  # in DE54
    balance_in_54: bool = True
    expiring_in_48: bool = False  # what unused aid the family loses next, and when
    partial_approval: Literal["off", "marked", "purchases"] = "off"  # which purchases get what there is, if it is less
    partial_mark: PartialMark | None = None  # marked: who says so
    asked_in_54: bool = False  # of a partial approval: what was asked for (amount type 57)
    statement_field: DataElement = 125  # of a mini statement
    statement_lines: int = Field(5, ge=1, le=10)
    file_actions: bool = True  # it may report cards of ours (0302)
    layouts: dict[
        DataElement, dict[str, int | str]
    ] = {}  # columns of positional fields: name -> characters, or digits "n 12"
    tags: dict[
        DataElement, Literal["2+2", "2+3", "3+3", "tokens"]
    ] = {}  # private fields that hold tags: characters of tag and length
    cut_over: time | None = None  # Jakarta's wall clock: from then on it is the partner's next day; None: midnight
    outgoing: Outgoing = Outgoing()
    stand_in: StandIn | None = None  # None: 91 while the books are away
    response_codes: dict[DeclineReason, str]
    _wire: Dialect = PrivateAttr()

    @field_validator("response_codes")
    @classmethod
    def _complete(cls, codes: dict[DeclineReason, str]) -> dict[DeclineReason, str]:
        codes = UNSAID | codes
        missing = [reason.value for reason in DeclineReason if reason not in codes]
        if missing:
            raise ValueError(f"no response code for {', '.join(missing)}")
        wrong = [code for code in codes.values() if len(code) != 2 or not code.isalnum()]  # noqa: PLR2004 - DE39 is an 2
        if wrong:
            raise ValueError(f"a response code has two letters or digits, not {wrong[0]!r}")
        return codes

    @field_validator("key_fields")
    @classmethod
    def _keys(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not set(KEY_FIELDS_NEEDED) <= set(value) <= set(KEY_FIELDS_KNOWN):
            raise ValueError("key_fields are 7, 11 and 32, by which DE90 names a message, and by choice 37 and 41")
        return value

    @field_validator("cut_over", mode="before")
    @classmethod
    def _wall_clock(cls, value: object) -> object:
        if value is None or isinstance(value, time) or (isinstance(value, str) and CLOCK.fullmatch(value)):
            return value
        raise ValueError('a cut-over is a time of Jakarta\'s wall clock like "23:00"')

    @field_validator("cut_over")
    @classmethod
    def _whole_minutes(cls, value: time | None) -> time | None:
        if value is not None and (value.second or value.microsecond):
            raise ValueError(f"a cut-over is a whole minute, not {value}")
        return value

    @field_validator("cash_places")
    @classmethod
    def _merchant_types(cls, value: dict[str, Channel]) -> dict[str, Channel]:
        wrong = [mcc for mcc in value if MCC.fullmatch(mcc) is None]
        if wrong:
            raise ValueError(f"DE18 is 4 digits, not {wrong[0]!r}")
        return value

    @field_validator("account_types")
    @classmethod
    def _told_purses(cls, value: dict[Purse, str]) -> dict[Purse, str]:
        missing = [purse.value for purse in Purse if purse not in value]
        if missing:
            raise ValueError(f"no account type for {', '.join(missing)}")
        wrong = [digits for digits in value.values() if ACCOUNT_TYPE.fullmatch(digits) is None]
        if wrong:
            raise ValueError(f"an account type is 2 digits, not {wrong[0]!r}")
        return value

    @field_validator("purses")
    @classmethod
    def _account_types(cls, value: dict[str, PurseChoice]) -> dict[str, PurseChoice]:
        wrong = [digits for digits in value if ACCOUNT_TYPE.fullmatch(digits) is None]
        if wrong:
            raise ValueError(f"an account type is 2 digits, not {wrong[0]!r}")
        return value

    @model_validator(mode="after")
    def _speaks(self, info: ValidationInfo) -> Self:
        """Find the dialect, and refuse settings that name fields it lacks."""
        wire = (info.context or DIALECTS).get(self.dialect)
        if wire is None:
            raise ValueError(f"there is no dialect {self.dialect}")
        self._wire = wire
        named = {*self.key_fields, *self.layouts, *self.tags}
        named |= {getattr(self, name) for name in self.model_fields_set if name.endswith("_field")}
        if self.pin_scheme == "dukpt":
            named.add(self.ksn_field)
        lacking = sorted(number for number in named if number not in wire.by_number)
        if lacking:
            raise ValueError(f"field {lacking[0]} is not in dialect {wire.name}")
        return self

    @model_validator(mode="after")
    def _private_fields(self) -> Self:
        """A structure fits its field, and DE48's has room for what we tell in it."""
        try:
            columns = self.columns
        except DialectError as error:
            raise ValueError(str(error)) from None
        for number, layout in columns.items():
            if number in self.tags:
                raise ValueError(f"field {number} has tags and columns")
            if number in self.wire.by_number and layout.width > self.wire.field(number).length:
                raise ValueError(f"the columns of field {number} are {layout.width} characters, more than it holds")
        told = {one.name: one.width for one in columns[48].columns} if 48 in columns else EXPIRING_COLUMNS  # noqa: PLR2004 - DE48
        if self.expiring_in_48 and EXPIRING_COLUMNS.items() - told.items():
            raise ValueError("expiring_in_48 needs columns expiring_on of 8 and expiring_amount of 12 in field 48")
        return self

    @model_validator(mode="after")
    def _marks(self) -> Self:
        """A mark is asked for where it is used, and stands where the private fields have a place for it."""
        mark = self.partial_mark
        if (self.partial_approval == "marked") != (mark is not None):
            raise ValueError("partial_approval = 'marked' and partial_mark go together")
        if self.asked_in_54 and self.partial_approval == "off":
            raise ValueError("asked_in_54 is nothing without partial approval: partial_approval is 'off'")
        if mark is None:
            return self
        shape, layout = self.tags.get(mark.field), self.columns.get(mark.field)
        if mark.tag is not None and (shape is None or len(mark.tag) != private_tlv.tag_length(shape)):
            raise ValueError(f"partial_mark: field {mark.field} has no tags like {mark.tag!r}")
        if mark.column is not None and mark.column not in ({one.name for one in layout.columns} if layout else ()):
            raise ValueError(f"partial_mark: field {mark.field} has no column {mark.column!r}")
        return self

    @model_validator(mode="after")
    def _calls(self) -> Self:
        """Whom a link calls is for one that calls to say, and each host once."""
        if self.role != "connect":
            if self.more_hosts or self.connections > 1 or self.spread != "round":
                raise ValueError("more_hosts, connections and spread are of a link that calls: role is 'listen'")
            return self
        if self.host is None or not self.port:
            raise ValueError("a link of role connect needs host and port")
        hosts = self.hosts
        twice = next((host for host in hosts if hosts.count(host) > 1), None)
        if twice is not None:
            raise ValueError(f"more_hosts: {twice} is named twice")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """What no setting says alone."""
        if self.mac != "off" and self.mac_key is None:
            raise ValueError(f"mac = {self.mac!r} needs mac_key")
        if self.pin_format == 4 and self.pin_block_field == 52:  # noqa: PLR2004 - ISO 9564-1 format, data element
            raise ValueError("pin_format = 4 needs a pin_block_field other than 52, which is too short")
        unknown = [name for name in self.chip_profile if name not in emv_profiles()]
        if unknown:
            raise ValueError(f"there is no chip_profile {unknown[0]}")
        if self.chip == "off" and self.chip_scripts:
            raise ValueError("chip_scripts are nothing without chip data: chip is 'off'")
        if self.mac == "off" and (self.mac_network or self.freshness_s):
            raise ValueError("mac_network and freshness_s are nothing without a MAC: mac is 'off'")
        if (self.header == "none") != (not self.header_hex):
            raise ValueError(f"header = {self.header!r} and header_hex do not go together")
        try:
            _ = self.framing
        except FrameError as error:
            raise ValueError(error.reason) from None
        plain = (self.chip, self.stripe_value, self.pin_scheme, self.pin_format) == PLAIN_CARD
        if self.stand_in is not None and not plain:
            raise ValueError(
                "stand_in needs chip and stripe_value off, pin_scheme zpk and pin_format 0: the rest asks the books"
            )
        if self.in_flight_resume >= self.in_flight_max:
            raise ValueError("in_flight_resume must be below in_flight_max")
        if self.reconnect_most_s < self.reconnect_s:
            raise ValueError("reconnect_most_s must not be below reconnect_s")
        check_room(self)
        return self

    @cached_property
    def asked(self) -> dict[tuple[str | None, ...], Asked]:
        """What messages of this link have been found to ask for: gateway.terminals.mapping fills it, up to a bound."""
        return {}

    @cached_property
    def columns(self) -> dict[int, Layout]:
        """The layouts themselves, by field."""
        return {number: layout_of(number, columns) for number, columns in self.layouts.items()}

    @cached_property
    def structured(self) -> bool:
        """Whether any private field has a structure."""
        return bool(self.layouts or self.tags)

    @cached_property
    def plain(self) -> bool:
        """Whether a message is its standard fields and a PIN block of format 0 under a ZPK, and nothing more is wanted of it."""
        asks_more = self.structured or self.acquirers or self.more_key or self.chip_scripts
        return not asks_more and (self.chip, self.stripe_value, self.pin_scheme, self.pin_format) == PLAIN_CARD

    @cached_property
    def more_key(self) -> tuple[int, ...]:
        """Which fields tell messages apart beside those that always do."""
        return tuple(number for number in self.key_fields if number not in KEY_FIELDS_NEEDED)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy, which has found out nothing yet."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("asked", "columns", "structured", "plain", "more_key", "spelled", "asks_after_s"):
            copied.__dict__.pop(name, None)
        return copied

    @cached_property
    def spelled(self) -> dict[int, str]:
        """The institution codes of the profile as it writes them, by number: 2, 02 and 000002 are one."""
        return {institution_number(one): one for one in (*self.acquirers, self.acquirer)}

    @cached_property
    def asks_after_s(self) -> float:
        """After how long a silent connection is asked for an echo; 0: never."""
        if self.echo_s is None:
            return ECHO_S if self.role == "connect" else 0.0
        return self.echo_s

    @property
    def wire(self) -> Dialect:
        """The dialect itself."""
        return self._wire

    @property
    def framing(self) -> LengthFraming:
        """How messages are cut out of the stream."""
        header = bytes.fromhex(self.header_hex)
        return LengthFraming(
            self.frame, self.frame_inclusive, self.largest_frame, HeaderKind(self.header), header, polls=self.polls
        )

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Whom a link of role connect calls, in the order of the profile."""
        return Host(self.host or "", self.port or 0), *map(host_of, self.more_hosts)

    def same_wire(self, other: Link) -> bool:
        """Whether connections of this profile can go on under the OTHER one."""
        same_dialect = self.wire is other.wire or repr(self.wire) == repr(other.wire)
        return same_dialect and all(getattr(self, name) == getattr(other, name) for name in WIRE)

    @property
    def advice_codes(self) -> dict[DeclineReason, str]:
        """What an advice (0120, 0220, 0420) is told: it is always accepted; what could not be done is kept for people."""
        accepted = [reason for reason in self.response_codes if reason not in ADVICE_NOT_ACCEPTED]
        return self.response_codes | dict.fromkeys(accepted, self.response_codes[DeclineReason.APPROVED])
