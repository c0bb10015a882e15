"""The language of scripted cases: a TOML file read into a Case.

A file has `name`, `about`, and a list of `[[step]]`; docs of the keys stand at Case and Step, what each action sends at
Action. How an expected value is written: matching.py. Sends nothing. Read next: composer.py (the messages), play.py (a case
on its connection).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.simulator.card_reader import ChipWord, Entry, Shown, StripeWord
from gateway.simulator.errors import CaseError
from gateway.simulator.key_courier import NewKey, Under
from gateway.simulator.tables import Tables
from gateway.simulator.terminal import Purse, TerminalKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PIN_DIGITS = range(4, 13)


class Action(StrEnum):
    """What a step sends. Whose original is named by DE90 needs `of`, the name of an earlier step."""

    SIGN_ON = "sign_on"
    """0800, DE70 001."""
    SIGN_OFF = "sign_off"
    """0800, DE70 002."""
    CUT_OVER = "cut_over"
    """0800, DE70 201."""
    ECHO = "echo"
    """0800, DE70 301."""
    KEY_CHANGE = "key_change"
    """0800, DE70 101: a new key for `key`, under the zone master key or (`under`) another; of other blocks with `set`."""
    WITHDRAW = "withdraw"
    """0200, DE3 01: cash."""
    PURCHASE = "purchase"
    """0200, DE3 00: goods."""
    BALANCE = "balance"
    """0200, DE3 30."""
    STATEMENT = "statement"
    """0200, DE3 38."""
    PIN_CHANGE = "pin_change"
    """0200, DE3 90: the typed PIN in DE52, `new_pin` in the field that the profile names (DE53)."""
    HOLD = "hold"
    """0100, DE3 00: money set aside."""
    INCREMENT = "increment"
    """0100 for `amount_idr` more, naming the hold `of` in DE90; no PIN unless `pin` says so."""
    COMPLETE = "complete"
    """0220 for `amount_idr` of the hold `of`."""
    RELEASE = "release"
    """0420 (with `mti` 0400) of the hold `of`, but for `kept_idr`."""
    REFUND = "refund"
    """0200, DE3 20: `amount_idr` of the purchase `of` is given back."""
    ADVICE = "advice"
    """0120 (with `mti` 0220): what was decided while the bank was away: DE38 and DE39 00, no PIN.

    At an e-Warong goods, else cash.
    """
    REVERSE = "reverse"
    """0420 (with `mti` 0400) of an earlier step, but for `kept_idr` (DE95); `marked`: 0421, the same reversal again."""
    REPEAT = "repeat"
    """An earlier step again, the same in every field; `marked`: with the type that says so (0201, 0221, 0421)."""
    TOTALS = "totals"
    """0500 (with `mti` 0520): numbers and sums of what this case was told to be approved (DE74-77, 86-89, 97)."""
    FILE_ACTION = "file_action"
    """0302: the card is put on the list `HOTLIST` (DE91 1, DE101); other codes and names with `set`."""
    ADMIN = "admin"
    """0620: a free text (DE48)."""
    RAW = "raw"
    """The bytes of `hex`, or of `text` in ASCII, as they are, length header and all, on a connection that is kept for them; it
    is signed on as the case is.
    """
    HEAR = "hear"
    """Nothing: what comes next on the connection that is kept for bytes."""


class TypedPin(StrEnum):
    """What is typed on the PIN pad."""

    RIGHT = "right"
    WRONG = "wrong"
    NONE = "none"
    """Nothing: no DE52."""


class NewPin(StrEnum):
    """The PIN that a `pin_change` asks for; in place of a word its digits may stand."""

    OTHER = "other"
    """A good one that is not the card's."""
    SAME = "same"
    """The one the card has."""
    FIRST = "first"
    """The one the card had when the case began."""
    WEAK = "weak"
    """111111, as long as the card's."""


class MacWord(StrEnum):
    """The MAC of a message, where the profile has MACs."""

    RIGHT = "right"
    WRONG = "wrong"
    """Zeros."""
    NONE = "none"
    """The message goes without."""
    STALE = "stale"
    """Right, over a DE7 that is a minute older than the profile's `freshness_s`."""


class Slot(StrEnum):
    """Which card is in the slot."""

    OWN = "own"
    """The one card the case was given."""
    UNKNOWN = "unknown"
    """One that was never issued."""


class Connection(StrEnum):
    """Over which connection a step goes."""

    CASE = "case"
    """The one the case has from its beginning."""
    NEW = "new"
    """A second one, made for this message (signed on as the first is) and closed after its answer."""


_SERVICE_CODE = re.compile(r"\d{3}", re.ASCII)
_WITHOUT_CARD = (
    *(Action.SIGN_ON, Action.SIGN_OFF, Action.CUT_OVER, Action.ECHO, Action.KEY_CHANGE),
    *(Action.TOTALS, Action.FILE_ACTION, Action.ADMIN, Action.RAW, Action.HEAR),
)
_FOLLOWING = (Action.REVERSE, Action.REPEAT, Action.COMPLETE, Action.INCREMENT, Action.RELEASE, Action.REFUND)


@dataclass(frozen=True, slots=True)
class Step:
    """One message and what must come back.

    `name`: for later steps to speak of. `at`: which terminal. `of`: name of the step it is about. `send` set to false: the
    message is made and kept back, as one lost on its way; a later step may reverse or repeat it. `pin`: by default right, and
    none where a message follows another. `mti` and `set` change the message before it leaves; a field set to "" is taken out.
    `expect` maps "mti" or a field number to a value; `same_as` names the step whose answer must have come again; `keep` maps
    a variable's name to the field of the answer that fills it. `wait_ms`: pause before it is sent. `within_ms`: the longest
    its answer may take. In place of an answer: `expect_closed`, the bank closes the connection; `expect_silence_ms`, nothing
    comes for so long.

    How the card is shown (card_reader.Shown), in messages of a card: `read`, `chip`, `stripe`, `skips`, `service_code`.
    `mac`: of the message, where the profile has MACs. `key` and `under`: what a `key_change` brings; its block and its check
    value are then the variables `block` and `kcv`.
    """

    action: Action
    name: str = ""
    says: str = ""
    at: TerminalKind = TerminalKind.ATM
    amount_idr: int = 0
    pin: TypedPin | None = None
    new_pin: str = ""
    purse: Purse = Purse.BY_RULE
    card: Slot = Slot.OWN
    of: str = ""
    kept_idr: int = 0
    marked: bool = False
    mti: str = ""
    read: Entry | None = None
    chip: ChipWord | None = None
    stripe: StripeWord | None = None
    skips: int = 0
    service_code: str = ""
    mac: MacWord = MacWord.RIGHT
    key: NewKey = NewKey.PIN
    under: Under = Under.RIGHT
    hex: str = ""
    text: str = ""
    send: bool = True
    connection: Connection = Connection.CASE
    wait_ms: int = 0
    set: dict[int, str] = field(default_factory=dict)
    expect: dict[str, str] = field(default_factory=dict)
    same_as: str = ""
    keep: dict[str, int] = field(default_factory=dict)
    within_ms: int = 0
    expect_closed: bool = False
    expect_silence_ms: int = 0

    @property
    def awaits_answer(self) -> bool:
        """Whether a message must come back."""
        if not self.send or self.expect_closed or self.expect_silence_ms:
            return False
        return not self.is_raw or bool(self.expect)

    @property
    def is_raw(self) -> bool:
        """Whether it is about the connection that is kept for bytes."""
        return self.action in (Action.RAW, Action.HEAR)

    @property
    def shown(self) -> Shown:
        """How the card is shown."""
        return Shown(self.read, self.chip, self.stripe, self.skips, self.service_code)

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name or self.says or self.action


@dataclass(frozen=True, slots=True)
class Case:
    """A file. `needs_idr`: what its card must be able to spend, `needs_food_idr` and `needs_cash_idr` of each purse.

    `profile`: the only one it is run in, as one with bytes in it is; any where it is left out. `sign_on`: whether it starts
    signed on. `careless`: whether its link lets any character stand in any field; not run where digits are packed.
    `needs_sign_on`, `needs_mac`, `needs_fresh`, `needs_chip`, `needs_stripe`, `needs_key_change`: not run where the profile says
    that the bank wants none (no sign-on, MACs, DE7 of now, chips, stripes' values), or takes no keys over the link.
    `needs_partial`, `needs_whole`: only run where purchases may be approved in part, or never are.
    `once`: run once in a round, however often the others are. `variables`: first values of variables.
    """

    path: Path
    name: str
    steps: tuple[Step, ...]
    about: str = ""
    needs_idr: int = 0
    needs_food_idr: int = 0
    needs_cash_idr: int = 0
    profile: str = ""
    sign_on: bool = True
    careless: bool = False
    needs_sign_on: bool = False
    needs_mac: bool = False
    needs_fresh: bool = False
    needs_chip: bool = False
    needs_stripe: bool = False
    needs_key_change: bool = False
    once: bool = False
    needs_partial: bool = False
    needs_whole: bool = False
    variables: dict[str, str] = field(default_factory=dict)


_TABLES = Tables(CaseError)


def read_case(path: Path) -> Case:
    """Read one file. Raises CaseError: file, step and key that is wrong."""
    place = f"case {path}"
    content = _TABLES.file(place, path)
    tables = _TABLES.list_of(place, "step", content)
    content["variables"] = _TABLES.texts(place, "variables", content)
    steps = tuple(_step(f"{place}: step {number}", table) for number, table in enumerate(tables, 1))
    _check_names(place, steps)
    return _TABLES.make(Case, place, content | {"path": path, "steps": steps})


def _check_names(place: str, steps: Sequence[Step]) -> None:
    """Raise CaseError where a step speaks of one that does not stand before it, or of an answer that is never awaited."""
    made: set[str] = set()
    answered: set[str] = set()
    for number, step in enumerate(steps, 1):
        if step.of and step.of not in made:
            raise CaseError(f"{place}: step {number}: of names no earlier step")
        if step.same_as and step.same_as not in answered:
            raise CaseError(f"{place}: step {number}: same_as names no earlier step that is answered")
        if not step.is_raw:
            made.add(step.name)
            if step.awaits_answer:
                answered.add(step.name)


def _step(place: str, table: dict[str, Any]) -> Step:
    parts = dict(table)
    words = (
        ("action", Action),
        ("at", TerminalKind),
        ("pin", TypedPin),
        ("card", Slot),
        ("connection", Connection),
        ("read", Entry),
        ("chip", ChipWord),
        ("stripe", StripeWord),
        ("mac", MacWord),
        ("key", NewKey),
        ("under", Under),
    )
    for key, kind in words:
        if key in parts:
            parts[key] = _TABLES.word(place, key, kind, parts[key])
    if "purse" in parts:
        if str(parts["purse"]) not in Purse.__members__:
            raise CaseError(f"{place}: purse must be one of {', '.join(Purse.__members__)}")
        parts["purse"] = Purse[parts["purse"]]
    parts["set"] = _TABLES.by_field(place, "set", parts)
    parts["expect"] = _TABLES.matchers(place, "expect", parts)
    parts["keep"] = {name: _TABLES.number(place, text) for name, text in _TABLES.texts(place, "keep", parts).items()}
    step = _TABLES.make(Step, place, parts)
    fault = _fault(step)
    if fault:
        raise CaseError(f"{place}: {fault}")
    return step


def _fault(step: Step) -> str:
    """What keys of one step do not go together; empty where all do."""
    no_answer = step.expect_closed or step.expect_silence_ms
    if step.action in _FOLLOWING and not step.of:
        return f"{step.action} needs of"
    if step.action is Action.PIN_CHANGE and not _is_new_pin(step.new_pin):
        return f"new_pin must be 4 to 12 digits or one of {', '.join(NewPin)}"
    if (step.action is Action.RAW) is not (bool(step.hex) is not bool(step.text)):
        return "raw needs hex or text" if step.action is Action.RAW else f"{step.action} has neither hex nor text"
    if step.is_raw and (step.set or step.mti or step.same_as or step.connection is Connection.NEW):
        return "raw is sent as it is, on a connection of its own: set, mti, same_as and connection do not go with it"
    if no_answer and (step.expect or step.same_as or step.keep or step.within_ms):
        return "expect, same_as, keep and within_ms want an answer: they do not go with expect_closed and expect_silence_ms"
    if step.expect_closed and step.expect_silence_ms:
        return "expect_closed and expect_silence_ms: give one of them"
    if min(step.wait_ms, step.within_ms, step.expect_silence_ms, step.amount_idr, step.kept_idr, step.skips) < 0:
        return "wait_ms, within_ms, expect_silence_ms, amount_idr, kept_idr and skips cannot be below zero"
    if step.service_code and _SERVICE_CODE.fullmatch(step.service_code) is None:
        return "service_code must be three digits"
    if not step.shown.says_nothing and step.action in _WITHOUT_CARD:
        return f"{step.action} shows no card: read, chip, stripe, skips and service_code do not go with it"
    return ""


def _is_new_pin(text: str) -> bool:
    return text in tuple(NewPin) or (text.isascii() and text.isdigit() and len(text) in _PIN_DIGITS)
