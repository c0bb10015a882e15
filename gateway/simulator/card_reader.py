"""The card reader of a terminal: puts into a message what the card's chip or stripe says, rightly or as a fraud would.

DE22 says how the card was read, DE35 holds track 2 with its verification value, DE55 what the chip signed. It also judges for
the chip whether an answer is the issuer's (ARPC, tag 91 of DE55). Knows no bank. Read next: chip_card.py, chip_counters.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.simulator.chip_card import ANSWER, CHIP_SERVICE, STRIPE_SERVICE, ChipCard
from gateway.simulator.errors import CaseError
from iso import tlv
from iso.errors import FormatError
from iso.message import Message
from iso.response_codes import APPROVED
from keys.emv_profile import CRYPTOGRAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from gateway.simulator.chip_counters import ChipCounters
    from gateway.simulator.wallet import TestCard

CARD_FIELDS = (22, 35, 55)
"""What a reader fills: how the card was read, track 2, chip data."""
_MODE, _TRACK2, _CHIP = CARD_FIELDS
_AMOUNT_DIGITS, _CURRENCY_DIGITS, _VALUE_DIGITS = 12, 3, 3
_NO_REQUEST = "00"
"""Tag 9F27 of a card that declines (EMV book 3, 6.5.5)."""


class Entry(StrEnum):
    """How the card is read, which DE22 tells."""

    CHIP = "chip"
    STRIPE = "stripe"
    FALLBACK = "fallback"
    """By the stripe, because the chip could not be read."""
    TYPED = "typed"
    """Its number is typed: neither chip nor stripe."""


class ChipWord(StrEnum):
    """What DE55 holds."""

    RIGHT = "right"
    """What the chip signs of this message, with its next counter."""
    WRONG = "wrong"
    """The same, one bit of the cryptogram changed."""
    REPLAYED = "replayed"
    """What it signed last, once more."""
    AHEAD = "ahead"
    """Rightly signed with a counter that the bank cannot know yet: one beyond its window. The card's own stays as it is."""
    OTHER_AMOUNT = "other amount"
    """Rightly signed, for another amount than DE4."""
    DECLINED = "declined"
    """Rightly signed by a card that declines (AAC)."""
    NONE = "none"
    """No DE55."""


class StripeWord(StrEnum):
    """The verification value in track 2 (DE35)."""

    RIGHT = "right"
    """The stripe's own (CVV); in the chip's image of track 2 the chip's own (iCVV)."""
    WRONG = "wrong"
    """Another."""
    OF_THE_CHIP = "of the chip"
    """On the stripe the value that only the chip tells (iCVV), as a copy made from it has."""
    NO_VALUE = "no value"
    """Track 2 ends where the value should stand."""
    NONE = "none"
    """No DE35."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a card is shown. What is left out is as a good card shows itself: chip data by chip, track 2 by stripe.

    `skips`: so many transactions the chip signed before this one, which never came to the bank. `service_code`: of track 2.
    """

    read: Entry | None = None
    chip: ChipWord | None = None
    stripe: StripeWord | None = None
    skips: int = 0
    service_code: str = ""

    @property
    def says_nothing(self) -> bool:
        """Whether all is left out."""
        return self == _AS_IT_IS


_AS_IT_IS = Shown()
_MODES = MappingProxyType({Entry.CHIP: "051", Entry.STRIPE: "901", Entry.FALLBACK: "801", Entry.TYPED: "011"})
_SERVICES = MappingProxyType({Entry.CHIP: CHIP_SERVICE, Entry.STRIPE: STRIPE_SERVICE, Entry.FALLBACK: CHIP_SERVICE})


@dataclass(slots=True)
class CardReader:
    """The readers of a link's terminals: they share the chips of its cards. `new_chip` makes one of a card.

    `by_chip`: whether a card is read by its chip where nothing else is said, else by its stripe. `window`: how far above a
    card's last counter the bank takes the next one.
    """

    new_chip: Callable[[TestCard], ChipCard]
    counters: ChipCounters
    by_chip: bool = True
    window: int = 100
    _chips: dict[str, ChipCard] = field(default_factory=dict, repr=False)
    _signed: dict[str, str] = field(default_factory=dict, repr=False)

    def put(self, message: Message, card: TestCard, on: date, shown: Shown = _AS_IT_IS) -> Message:
        """MESSAGE with DE22, 35 and 55 as the card is SHOWN; ON: the terminal's date. Raises CaseError, WalletError."""
        read = shown.read or (Entry.CHIP if self.by_chip else Entry.STRIPE)
        chip = shown.chip or (ChipWord.RIGHT if read is Entry.CHIP else ChipWord.NONE)
        by_stripe = read in (Entry.STRIPE, Entry.FALLBACK)
        stripe = shown.stripe or (StripeWord.RIGHT if by_stripe else StripeWord.NONE)
        fields = {number: text for number, text in message.fields.items() if number not in CARD_FIELDS}
        fields[_MODE] = _MODES[read]
        if chip is not ChipWord.NONE:
            fields[_CHIP] = self._chip_data(message, card, on, chip, shown.skips)
        if stripe is not StripeWord.NONE:
            service_code = shown.service_code or _SERVICES.get(read, STRIPE_SERVICE)
            fields[_TRACK2] = _track2(self.chip_of(card), stripe, service_code, from_chip=read is Entry.CHIP)
        return Message(message.mti, fields)

    def chip_of(self, card: TestCard) -> ChipCard:
        """The card's chip, which goes on counting where it was when it was last used."""
        number = card.pan.reveal()
        if number not in self._chips:
            self._chips[number] = replace(self.new_chip(card), atc=self.counters.last(card.account_number))
        return self._chips[number]

    def fault(self, request: Message, answer: Message) -> str:
        """What keeps the chip that signed REQUEST from believing that ANSWER is its issuer's; empty: nothing does.

        An approval must prove it, any other answer may leave it. EMV book 2, 8.2.
        """
        signed, told = request.get(_CHIP), answer.get(_CHIP)
        chip = self._chips.get(request.get(2, ""))
        if signed is None or chip is None:
            return ""
        code = answer.get(39, "")
        try:
            proves = told is not None and ANSWER in dict(tlv.parse(bytes.fromhex(told)))
        except (FormatError, ValueError):
            return f"the answer to {request.mti} has chip data that cannot be read"
        if told is None or not proves:
            return f"the approval of {request.mti} has no ARPC (DE55, tag {ANSWER})" if code == APPROVED else ""
        return "" if chip.believes(signed, told, code) else f"the answer to {request.mti} has a wrong ARPC"

    def _chip_data(self, message: Message, card: TestCard, on: date, word: ChipWord, skips: int) -> str:
        number = card.pan.reveal()
        if word is ChipWord.REPLAYED:
            if number not in self._signed:
                raise CaseError("chip = 'replayed': the chip has signed nothing yet")
            return self._signed[number]
        chip = self.chip_of(card)
        if word is ChipWord.AHEAD:
            return _signed(replace(chip, atc=chip.atc + self.window), message, on, word)
        chip.atc += skips
        if card.account_number:
            self.counters.keep(card.account_number, chip.atc + 1)
        data = _signed(chip, message, on, word)
        if word is ChipWord.WRONG:
            tags = dict(tlv.parse(bytes.fromhex(data)))
            tags[CRYPTOGRAM] = bytes([tags[CRYPTOGRAM][0] ^ 1, *tags[CRYPTOGRAM][1:]])
            return tlv.build(tags.items()).hex().upper()
        self._signed[number] = data
        return data


def _signed(chip: ChipCard, message: Message, on: date, word: ChipWord) -> str:
    """DE55 of MESSAGE; what it lacks, or has no digits in, is signed as zeros."""
    amount = _digits(message.get(4, ""), _AMOUNT_DIGITS)
    if word is ChipWord.OTHER_AMOUNT:
        amount = f"{(int(amount) + 1) % 10**_AMOUNT_DIGITS:0{_AMOUNT_DIGITS}d}"
    changes = {"t5F2A": "0" + _digits(message.get(49, ""), _CURRENCY_DIGITS), "t9C": _digits(message.get(3, "")[:2], 2)}
    if word is ChipWord.DECLINED:
        changes["t9F27"] = _NO_REQUEST
    return chip.sign(amount, on, **changes)


def _digits(text: str, many: int) -> str:
    return text if len(text) == many and text.isascii() and text.isdigit() else "0" * many


def _track2(chip: ChipCard, word: StripeWord, service_code: str, *, from_chip: bool) -> str:
    text = chip.track2(service_code, from_chip=from_chip or word is StripeWord.OF_THE_CHIP)
    head, value = text[:-_VALUE_DIGITS], text[-_VALUE_DIGITS:]
    if word is StripeWord.NO_VALUE:
        return head
    if word is StripeWord.WRONG:
        return f"{head}{(int(value) + 1) % 10**_VALUE_DIGITS:0{_VALUE_DIGITS}d}"
    return text
