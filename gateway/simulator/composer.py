"""What each step of a case sends: from the words of script.py to a message, with the case's card, PINs and variables.

Keeps the messages it made, so that a later step can name one, and counts what was approved, for totals. Sends nothing. Read
next: terminal.py (the fields), play.py (who sends).
"""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.simulator.card_reader import CARD_FIELDS
from gateway.simulator.errors import CaseError
from gateway.simulator.exchange import repeated
from gateway.simulator.matching import fill
from gateway.simulator.pinpad import other_pin, wrong_pin
from gateway.simulator.script import Action, MacWord, NewPin, Slot, Step, TypedPin
from gateway.simulator.switch import NetworkCode
from gateway.simulator.terminal import JAKARTA, Asked, TerminalKind, track2
from iso.amount import read_amount, read_replacement, write_amount
from iso.mac import mac_field
from iso.message import Message
from iso.response_codes import FORMAT_ERROR
from keys.sensitive import Pin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.simulator.exchange import Exchange
    from gateway.simulator.script import Case
    from gateway.simulator.switch import Switch
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard

_NETWORK = MappingProxyType(
    {
        Action.SIGN_ON: NetworkCode.SIGN_ON,
        Action.SIGN_OFF: NetworkCode.SIGN_OFF,
        Action.CUT_OVER: NetworkCode.CUT_OVER,
        Action.ECHO: NetworkCode.ECHO,
        Action.KEY_CHANGE: NetworkCode.KEY_CHANGE,
    }
)
_ASKED = MappingProxyType(
    {
        Action.WITHDRAW: ("0200", Asked.CASH),
        Action.PURCHASE: ("0200", Asked.PURCHASE),
        Action.BALANCE: ("0200", Asked.BALANCE),
        Action.STATEMENT: ("0200", Asked.STATEMENT),
        Action.HOLD: ("0100", Asked.PURCHASE),
    }
)
_SHOWS = (*_ASKED, Action.PIN_CHANGE, Action.INCREMENT)
_ABOUT = MappingProxyType(
    {
        Action.COMPLETE: ("0220", Asked.PURCHASE),
        Action.INCREMENT: ("0100", Asked.PURCHASE),
        Action.REFUND: ("0200", Asked.REFUND),
    }
)
_COUNT_DIGITS, _SUM_DIGITS = 10, 16
_ADD, _HOT_LIST = "1", "HOTLIST"
_TEXT = "KKS SIMULATOR"
_KEPT = 95
_TRANSMITTED = 7
_OLDER_S = 60
_NOT_PROVED = "63"
_ONE_DAY = timedelta(days=1)


class Composer:
    """The messages of one case.

    Its terminals read no cards: the composer shows them, as each step says. `variables` has from the start "pan",
    "unknown_pan", "track2", "now" (as in DE7), "yesterday" (as in DE15) and "undated": what a message without DE7
    is told, which is too old where messages must be fresh.
    """

    def __init__(
        self, case: Case, link: Switch, terminals: Mapping[TerminalKind, Terminal], card: TestCard, unknown: TestCard
    ) -> None:
        now = link.now()
        self.variables = {
            "pan": card.pan.reveal(), "unknown_pan": unknown.pan.reveal(), "track2": track2(card), "now": f"{now:%m%d%H%M%S}",
            "yesterday": f"{now.astimezone(JAKARTA) - _ONE_DAY:%m%d}",
            "undated": _NOT_PROVED if link.profile.freshness_s else FORMAT_ERROR, **case.variables,
        }  # fmt: skip
        self._link = link
        self._terminals = terminals
        self._cards = {Slot.OWN: card, Slot.UNKNOWN: unknown}
        self._pins = {slot: one.pin for slot, one in self._cards.items()}
        self._asked: dict[str, Pin] = {}
        self._messages: dict[str, Message] = {}
        self._counted = _Counted(link.profile.amount_exponent)

    @property
    def pin_was_changed(self) -> bool:
        """Whether the card's PIN is another now than when the case began."""
        return self._pins[Slot.OWN].reveal() != self._cards[Slot.OWN].pin.reveal()

    def message(self, step: Step) -> Message:
        """What STEP sends, changed as it says. Raises CaseError for a variable without value, FormatError, KeyRefused."""
        message = self._made(step)
        fields = dict(message.fields)
        changes = {number: fill(text, self.variables) for number, text in step.set.items()}
        if step.mac is MacWord.STALE:
            old = self._link.now() - timedelta(seconds=self._link.profile.freshness_s + _OLDER_S)
            fields[_TRANSMITTED] = f"{old:%m%d%H%M%S}"
        made = self._with_card(step, Message(step.mti or message.mti, fields | changes))
        made.fields.update({number: text for number, text in changes.items() if number in CARD_FIELDS})
        made = Message(made.mti, {number: text for number, text in made.fields.items() if text})
        if step.mac is MacWord.WRONG:
            number = mac_field(made)
            made.fields[number] = "0" * self._link.profile.dialect.field(number).length
        self._messages[step.name] = made
        return made

    def _with_card(self, step: Step, message: Message) -> Message:
        """MESSAGE as the card is shown: a request of a card as a good one is; another where the step says how."""
        reader = self._link.profile.reader
        if step.shown.says_nothing and step.action not in _SHOWS:
            return message
        if reader is None:
            if step.shown.says_nothing:
                return message
            raise CaseError(
                "the profile reads neither chips nor stripes: read, chip, stripe and skips mean nothing there"
            )
        today = self._link.now().astimezone(JAKARTA).date()
        return reader.put(message, self._cards[step.card], today, step.shown)

    def answered(self, step: Step, exchange: Exchange) -> None:
        """Take in what the answer changes: the card's PIN, what totals count."""
        if not exchange.approved:
            return
        if step.action is Action.PIN_CHANGE:
            self._pins[step.card] = self._new_pin(step)
        if step.action is not Action.REPEAT:
            self._counted.add(exchange.taken)

    def pin_back(self) -> Message:
        """The message that gives the card the PIN back that it had when the case began."""
        card = self._cards[Slot.OWN]
        message = self._terminals[TerminalKind.ATM].pin_change(card, self._pins[Slot.OWN], card.pin)
        return self._with_card(Step(Action.PIN_CHANGE), message)

    def _made(self, step: Step) -> Message:
        terminal, card = self._terminals[step.at], self._cards[step.card]
        action = step.action
        if action in _NETWORK:
            return self._network(step)
        if action in _ASKED:
            mti, asked = _ASKED[action]
            message = terminal.request(asked, card, step.amount_idr, self._typed(step), step.purse, mti)
            return terminal.without_pin(message) if step.pin is TypedPin.NONE else message
        if action in _ABOUT:
            mti, asked = _ABOUT[action]
            message = terminal.following(self._messages[step.of], mti, asked, step.amount_idr)
            typed = step.pin in (TypedPin.RIGHT, TypedPin.WRONG)
            return terminal.with_pins(message, card, self._typed(step)) if typed else message
        if action in (Action.REVERSE, Action.RELEASE):
            return terminal.reversal(self._messages[step.of], step.kept_idr, repeat=step.marked)
        if action is Action.REPEAT:
            original = self._messages[step.of]
            return repeated(original) if step.marked else original
        if action is Action.ADVICE:
            asked = Asked.PURCHASE if step.at is TerminalKind.EWARONG else Asked.CASH
            return terminal.advice(asked, card, step.amount_idr, step.purse)
        if action is Action.PIN_CHANGE:
            return terminal.pin_change(card, self._typed(step), self._new_pin(step))
        return terminal.plain(*self._about_no_terminal(action, card))

    def _network(self, step: Step) -> Message:
        message = self._link.network_message(_NETWORK[step.action])
        profile = self._link.profile
        if step.action is not Action.KEY_CHANGE or profile.courier is None or profile.key_exchange_field in step.set:
            return message
        block, check_value = profile.courier.block(step.key, step.under)
        self.variables |= {"block": block, "kcv": check_value}
        return Message(message.mti, message.fields | {profile.key_exchange_field: block})

    def _about_no_terminal(self, action: Action, card: TestCard) -> tuple[str, dict[int, str]]:
        if action is Action.TOTALS:
            return "0500", self._counted.fields()
        if action is Action.FILE_ACTION:
            return "0302", {2: card.pan.reveal(), 91: _ADD, 101: _HOT_LIST}
        return "0620", {48: _TEXT}

    def _typed(self, step: Step) -> Pin:
        right = self._pins[step.card]
        return wrong_pin(right) if step.pin is TypedPin.WRONG else right

    def _new_pin(self, step: Step) -> Pin:
        now = self._pins[step.card]
        match step.new_pin:
            case NewPin.OTHER:
                return self._asked.setdefault(step.name, other_pin(now))
            case NewPin.SAME:
                return now
            case NewPin.FIRST:
                return self._cards[step.card].pin
            case NewPin.WEAK:
                return Pin("1" * len(now.reveal()))
            case digits:
                return Pin(digits)


class _Counted:
    """Numbers and sums of what was approved: the bank's debits and credits, and what was taken back of them."""

    def __init__(self, exponent: int) -> None:
        self._exponent = exponent
        self._numbers = dict.fromkeys((74, 75, 76, 77), 0)
        self._sums_idr = dict.fromkeys((86, 87, 88, 89), 0)

    def add(self, request: Message) -> None:
        """Count one approved request: 0200 and 0220 that move money, and reversals."""
        amount_idr = read_amount(request.get(4, "0"), self._exponent)
        kind, asked = request.mti[1:2], request.get(3, "")[:2]
        if kind == "2" and asked in (Asked.CASH, Asked.PURCHASE):
            self._count(76, 88, amount_idr)
        elif kind == "2" and asked == Asked.REFUND:
            self._count(74, 86, amount_idr)
        elif kind == "4":
            kept_idr = (
                read_replacement(request.fields[_KEPT], self._exponent).transaction_idr
                if _KEPT in request.fields
                else 0
            )
            credit = asked == Asked.REFUND
            self._count(75 if credit else 77, 87 if credit else 89, amount_idr - kept_idr)

    def fields(self) -> dict[int, str]:
        """DE74-77, 86-89 and 97: D where the bank owes, C where it is owed."""
        credits_idr, credits_back_idr, debits_idr, debits_back_idr = self._sums_idr.values()
        net_idr = debits_idr - debits_back_idr - credits_idr + credits_back_idr
        fields = {number: f"{count:0{_COUNT_DIGITS}d}" for number, count in self._numbers.items()}
        for number, sum_idr in self._sums_idr.items():
            fields[number] = write_amount(sum_idr, self._exponent, number, _SUM_DIGITS)
        sign = "D" if net_idr > 0 else "C"
        return fields | {97: sign + write_amount(abs(net_idr), self._exponent, 97, _SUM_DIGITS)}

    def _count(self, number: int, sum_of: int, amount_idr: int) -> None:
        self._numbers[number] += 1
        self._sums_idr[sum_of] += amount_idr
