"""One ATM, agent's EDC or e-Warong's EDC: makes the messages of its profile and keeps what was answered.

A terminal knows the card in its slot, what is typed on its keys and its own counters; never the bank's books. Field by field
after ISO 8583:1987; amounts, PIN block and encodings as the profile says. Read next: exchange.py, switch.py.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.simulator.exchange import Exchange, ask, repeated
from gateway.simulator.profile import HIMBARA_PROFILE, Profile
from iso.amount import ReplacementAmounts, write_amount, write_replacement
from iso.message import Message
from iso.original_data import original_data_of, write_original_data
from iso.response_codes import APPROVED

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gateway.simulator.journal import TerminalJournal
    from gateway.simulator.pinpad import Pad
    from gateway.simulator.wallet import TestCard
    from iso.client import LinkClient
    from keys.sensitive import Pin

JAKARTA = timezone(timedelta(hours=7))
ACQUIRER = "000002"
RUPIAH = "360"
MAGNETIC_STRIPE_WITH_PIN = "051"
_STANS = 999_999
_KEPT_IN_REVERSAL = (2, 3, 4, 14, 18, 22, 32, 37, 41, 42, 43, 49)


class TerminalKind(StrEnum):
    """Where the family stands."""

    ATM = "ATM"
    AGENT = "AGENT"
    EWARONG = "EWARONG"


class Purse(StrEnum):
    """What the family asks for: third and fourth digit of DE3."""

    BY_RULE = "00"
    CASH = "10"
    FOOD = "98"


class Asked(StrEnum):
    """What is wanted: first two digits of DE3."""

    PURCHASE = "00"
    CASH = "01"
    REFUND = "20"
    BALANCE = "30"
    STATEMENT = "38"
    PIN_CHANGE = "90"


MERCHANT_TYPES = MappingProxyType({TerminalKind.ATM: "6011", TerminalKind.AGENT: "6012", TerminalKind.EWARONG: "5411"})
"""DE18 of each kind."""

_NAMES = MappingProxyType(
    {
        TerminalKind.ATM: "ATM SIMULASI          MEDAN        ID",
        TerminalKind.AGENT: "AGEN SIMULASI         MEDAN        ID",
        TerminalKind.EWARONG: "E-WARONG SIMULASI     MEDAN        ID",
    }
)


class Terminal:
    """A terminal on a link. `clock` gives aware UTC time; `first_stan` keeps the trace numbers of many terminals apart.

    `reads`: whether it puts what its card reader reads into its requests, where the profile has one.
    """

    def __init__(
        self,
        client: LinkClient,
        pinpad: Pad,
        kind: TerminalKind,
        terminal_id: str,
        merchant_id: str,
        acquirer: str = ACQUIRER,
        *,
        clock: Callable[[], datetime],
        profile: Profile = HIMBARA_PROFILE,
        first_stan: int = 1,
        record: TerminalJournal | None = None,
        reads: bool = True,
    ) -> None:
        self.kind = kind
        self.terminal_id = terminal_id
        self.journal: list[Exchange] = []
        self._client = client
        self._pinpad = pinpad
        self._profile = profile
        self._merchant_id = merchant_id
        self._acquirer = acquirer
        self._clock = clock
        self._stan = first_stan - 1
        self._record = record
        self._reader = profile.reader if reads else None
        self._reversals: dict[tuple[str, str], Message] = {}

    async def withdraw(
        self, card: TestCard, amount_idr: int, pin: Pin | None = None, purse: Purse = Purse.BY_RULE
    ) -> Exchange:
        """Cash. `pin`: what is typed, by default the card's right PIN."""
        return await self.send(self.request(Asked.CASH, card, amount_idr, pin, purse))

    async def purchase(
        self, card: TestCard, amount_idr: int, pin: Pin | None = None, purse: Purse = Purse.BY_RULE
    ) -> Exchange:
        """Goods, at an e-Warong."""
        return await self.send(self.request(Asked.PURCHASE, card, amount_idr, pin, purse))

    async def hold(self, card: TestCard, amount_idr: int, pin: Pin | None = None) -> Exchange:
        """Set money aside for goods that are given later (0100)."""
        return await self.send(self.request(Asked.PURCHASE, card, amount_idr, pin, mti="0100"))

    async def complete(self, hold: Exchange, amount_idr: int) -> Exchange:
        """Take so much of what was held (0220); the rest is given back."""
        return await self.send(self.following(hold.taken, "0220", Asked.PURCHASE, amount_idr))

    async def refund(self, purchase: Exchange, amount_idr: int) -> Exchange:
        """Goods brought back: so much of a purchase is given back."""
        return await self.send(self.following(purchase.taken, "0200", Asked.REFUND, amount_idr))

    async def balance(self, card: TestCard, pin: Pin | None = None) -> Exchange:
        """A balance inquiry."""
        return await self.send(self.request(Asked.BALANCE, card, 0, pin))

    async def reverse(self, original: Exchange, kept_idr: int = 0, *, repeat: bool = False) -> Exchange:
        """Take `original`, or what was approved of it, back but for `kept_idr` (0420). `repeat`: the reversal again (0421)."""
        return await self.send(self.reversal(original.taken, kept_idr, repeat=repeat))

    async def repeat(self, original: Exchange, *, marked: bool = False) -> Exchange:
        """Send the same message again, byte for byte, or with the type that says so (0201, 0421) where `marked`."""
        message = original.request
        return await self.send(repeated(message) if marked else Message(message.mti, dict(message.fields)))

    async def send(self, message: Message) -> Exchange:
        """Send any message and keep the exchange."""
        if self._record is not None:
            self._record.sent(message)
        exchange = await ask(self._client, message, self._profile.amount_exponent)
        if self._record is not None:
            self._record.ended(exchange)
        self.journal.append(exchange)
        return exchange

    def request(
        self,
        asked: Asked,
        card: TestCard,
        amount_idr: int,
        pin: Pin | None = None,
        purse: Purse = Purse.BY_RULE,
        mti: str = "0200",
    ) -> Message:
        """The 0200 (or another MTI) for what is asked, with the next trace number."""
        now = self._clock()
        local = now.astimezone(JAKARTA)
        stan = self._next_stan()
        marked = self._profile.partial_fields if asked is Asked.PURCHASE else {}
        message = Message(
            mti,
            {
                2: card.pan.reveal(),
                3: f"{asked}{purse}00",
                4: write_amount(amount_idr, self._profile.amount_exponent),
                7: f"{now:%m%d%H%M%S}",
                11: stan,
                12: f"{local:%H%M%S}",
                13: f"{local:%m%d}",
                14: f"{card.expires:%y%m}",
                18: MERCHANT_TYPES[self.kind],
                22: MAGNETIC_STRIPE_WITH_PIN,
                32: self._acquirer,
                37: reference(now, stan),
                41: f"{self.terminal_id:<8}",
                42: f"{self._merchant_id:<15}",
                43: f"{_NAMES[self.kind]:<40}",
                49: RUPIAH,
            }
            | self._typed(card, card.pin if pin is None else pin)
            | marked,
        )
        return message if self._reader is None else self._reader.put(message, card, local.date())

    def reversal(self, original: Message, kept_idr: int = 0, *, repeat: bool = False) -> Message:
        """The 0420 that takes `original` back; with `repeat` the 0421 of the reversal sent before, if there was one."""
        key = original.get(11, ""), original.get(7, "")
        if repeat and key in self._reversals:
            return replace(self._reversals[key], mti="0421")
        fields = self._naming(original)
        if kept_idr:
            fields[95] = write_replacement(ReplacementAmounts(kept_idr), self._profile.amount_exponent)
        message = Message("0421" if repeat else "0420", fields)
        self._reversals[key] = message
        return message

    def following(self, original: Message, mti: str, asked: Asked, amount_idr: int) -> Message:
        """A message about an earlier one, which it names in DE90: of its card, and for so much of it. No PIN."""
        fields = self._naming(original)
        changed = {3: f"{asked}{fields[3][2:]}", 4: write_amount(amount_idr, self._profile.amount_exponent)}
        return Message(mti, fields | changed)

    def advice(self, asked: Asked, card: TestCard, amount_idr: int, purse: Purse = Purse.BY_RULE) -> Message:
        """The 0120 of what was approved in the bank's stead: an approval code (DE38) and 00, no PIN."""
        message = self.without_pin(self.request(asked, card, amount_idr, purse=purse, mti="0120"))
        return Message("0120", message.fields | {38: message.fields[11], 39: APPROVED})

    def pin_change(self, card: TestCard, typed: Pin, new: Pin) -> Message:
        """The 0200 with two PIN blocks: of what is typed and of the new PIN, in the profile's fields."""
        message = self.without_pin(self.request(Asked.PIN_CHANGE, card, 0, typed))
        return self.with_pins(message, card, typed, new)

    def with_pins(self, message: Message, card: TestCard, typed: Pin, new: Pin | None = None) -> Message:
        """MESSAGE with the block of what is typed, and of the new PIN where one is."""
        return Message(message.mti, message.fields | self._typed(card, typed, new))

    def without_pin(self, message: Message) -> Message:
        """MESSAGE as a terminal sends it where no PIN is asked for."""
        gone = {self._profile.pin_block_field}
        if self._profile.pin_scheme == "dukpt":
            gone.add(self._profile.ksn_field)
        return Message(message.mti, {number: text for number, text in message.fields.items() if number not in gone})

    def plain(self, mti: str, fields: dict[int, str]) -> Message:
        """A message of the link, about no card: DE7, the next trace number, DE32, and FIELDS."""
        return Message(mti, {7: f"{self._clock():%m%d%H%M%S}", 11: self._next_stan(), 32: self._acquirer} | fields)

    def _naming(self, original: Message) -> dict[int, str]:
        """Fields of a message that names ORIGINAL in DE90, with the next trace number."""
        now = self._clock()
        local = now.astimezone(JAKARTA)
        fields = {number: original.fields[number] for number in _KEPT_IN_REVERSAL if number in original.fields}
        return fields | {
            7: f"{now:%m%d%H%M%S}",
            11: self._next_stan(),
            12: f"{local:%H%M%S}",
            13: f"{local:%m%d}",
            90: write_original_data(original_data_of(original)),
        }

    def _typed(self, card: TestCard, pin: Pin, new: Pin | None = None) -> dict[int, str]:
        """Fields of the PIN pad: one block or two, and under DUKPT their key's serial number."""
        entry = self._pinpad.enter(card.pan, pin) if new is None else self._pinpad.enter(card.pan, pin, new)
        fields = {self._profile.pin_block_field: entry.blocks[0]}
        if new is not None:
            fields[self._profile.new_pin_field] = entry.blocks[1]
        if entry.ksn is not None:
            fields[self._profile.ksn_field] = entry.ksn
        return fields

    def _next_stan(self) -> str:
        self._stan = self._stan % _STANS + 1
        return f"{self._stan:06d}"


def track2(card: TestCard) -> str:
    """DE35 of a card: number, =, expiry YYMM, service code 601 (chip-less, PIN), zeros for the discretionary data."""
    return f"{card.pan.reveal()}={card.expires:%y%m}60100000"


def reference(now: datetime, stan: str) -> str:
    """DE37: last digit of the year, day of the year, hour (UTC) and trace number, 12 digits."""
    return f"{now:%Y}"[-1] + f"{now:%j%H}{stan}"
