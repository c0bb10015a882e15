"""The terminals of the torture: each message as it goes to the bank, beside what its terminal means by it.

Messages are made by the simulator's terminals and read by the bank's own mapping; only the socket between is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.measure.torture.oracle import Key, Said
from gateway.simulator.profile import HIMBARA_PROFILE
from gateway.simulator.terminal import ACQUIRER, MERCHANT_TYPES, Asked, Purse, Terminal, TerminalKind
from iso.client import LinkClient
from iso.message import Message
from iso.original_data import original_data_of, write_original_data
from keys.sensitive import Pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.wallet import TestCard

WRONG_PIN = Pin("909182")
RESTAURANT = "5812"
LETTERS = {TerminalKind.ATM: "A", TerminalKind.AGENT: "G", TerminalKind.EWARONG: "W"}
WIRE = {"CASH": Asked.CASH, "PURCHASE": Asked.PURCHASE, "BALANCE": Asked.BALANCE, "HOLD": Asked.PURCHASE,
        "COMPLETION": Asked.PURCHASE, "REFUND": Asked.REFUND}  # fmt: skip
PURSES = {"BY_RULE": Purse.BY_RULE, "CASH": Purse.CASH, "FOOD": Purse.FOOD}
CLASSES = {"HOLD": "1", "REVERSAL": "4"}
MTIS = {"HOLD": "0100", "COMPLETION": "0220"}
CUT_OVER_MINUTE = 45
SHOP_IN_PART = 6
MARK = 60
"""Where a terminal says that it can do with less."""
CONTENT = (3, 4, 37, 41, 42, 49, 90, 95)


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """A message, its meaning, and who sent it when. ORIGINAL: the one it names."""

    message: Message
    said: Said
    terminal: TerminalPost
    card: TestCard
    on: date
    original: Sent | None = None

    def __str__(self) -> str:
        said = self.said
        kept = f" keeping Rp{said.kept_idr:,}" if said.kept_idr else ""
        of = f" of {said.original.stan}" if said.original is not None else ""
        wrong = "" if said.pin_right else ", wrong PIN"
        return (
            f"{said.kind} {said.key.stan}{of} at {self.terminal.name} Rp{said.amount_idr:,}{kept} {said.purse}{wrong}"
        )


@dataclass(slots=True)
class TerminalPost:
    """One terminal: its kind, and its way to make messages."""

    kind: TerminalKind
    name: str
    maker: Terminal
    mcc: str
    today: Callable[[], date]
    partial: bool = False  # what is bought here may be less than was asked for

    def settles_on(self, message: Message) -> date:
        """The partner's day: late in each hour of the torture's short days it is the next one."""
        late = int(message.get(7, "")[6:8]) >= CUT_OVER_MINUTE
        return self.today() + timedelta(days=late)

    def request(
        self, kind: str, card: TestCard, amount_idr: int, *, pin_right: bool = True, purse: str = "BY_RULE",
        original: Sent | None = None,
    ) -> Sent:  # fmt: skip
        """A new request of KIND."""
        pin = card.pin if pin_right else WRONG_PIN
        message = self.maker.request(WIRE[kind], card, amount_idr, pin, PURSES[purse], MTIS.get(kind, "0200"))
        message.fields[18] = self.mcc
        if original is not None:
            message.fields[90] = write_original_data(original_data_of(original.message))
        key = _key(CLASSES.get(kind, "2"), message)
        said = Said(key, _content(message), kind, self.kind.value, self.mcc, purse, amount_idr, pin_right,
                    original=None if original is None else original.said.key, terminal=f"{ACQUIRER}:{self.name}",
                    settles_on=self.settles_on(message),
                    partial=self.partial and kind in ("PURCHASE", "HOLD"))  # fmt: skip
        return Sent(message, said, self, card, self.today(), original)

    def reversal(self, original: Sent, kept_idr: int = 0) -> Sent:
        """A reversal of ORIGINAL; each is a message of its own."""
        message = self.maker.reversal(original.message, kept_idr)
        said = Said(_key("4", message), _content(message), "REVERSAL", original.said.channel, original.said.mcc, "BY_RULE",
                    original.said.amount_idr, kept_idr=kept_idr, original=original.said.key,
                    settles_on=self.settles_on(message))  # fmt: skip
        return Sent(message, said, self, original.card, self.today(), original)


def other_content(first: Sent, amount_idr: int) -> Sent:
    """A message with the key of FIRST that says something else."""
    message = Message(first.message.mti, dict(first.message.fields))
    message.fields[4] = f"{amount_idr * 100:012d}"
    said = first.said._replace(content=_content(message), amount_idr=amount_idr)
    return replace(first, message=message, said=said)


def make_terminals(pinpad: PinPad, clock: Callable[[], datetime], today: Callable[[], date]) -> list[TerminalPost]:
    """A street: ATMs, agents, e-Warongs, a restaurant that may not take food aid, and last an ATM with a limit of its own.

    One of the e-Warongs says in each purchase that it can do with less than it asks for.
    """
    posts = []
    shapes = [(kind, MERCHANT_TYPES[kind]) for kind in TerminalKind for _ in range(2)]
    shapes += [(TerminalKind.EWARONG, RESTAURANT), (TerminalKind.ATM, MERCHANT_TYPES[TerminalKind.ATM])]
    for number, (kind, mcc) in enumerate(shapes, 1):
        name = f"{LETTERS[kind]}{number:07d}"
        nowhere = LinkClient("nowhere", 0)  # messages are handed to the bank's lanes, not sent
        partial = number == SHOP_IN_PART
        profile = replace(HIMBARA_PROFILE, partial_fields={MARK: "1"} if partial else {})
        maker = Terminal(
            nowhere, pinpad, kind, name, f"MERCHANT{number}", clock=clock, profile=profile, first_stan=100_000 * number
        )
        posts.append(TerminalPost(kind, name, maker, mcc, today, partial))
    return posts


def _key(kind: str, message: Message) -> Key:
    get = message.get
    return Key(kind, get(2, ""), get(11, ""), get(7, ""))


def _content(message: Message) -> tuple[object, ...]:
    return (message.mti[1], *(message.get(number) for number in CONTENT))
