"""The model: what families, terminals and the treasury know. Plain Python; it imports nothing of the bank and copies none of it.

A family knows what it was credited and what it took; from that alone follows what each message must be answered, from which
stage the money comes, and where it goes back to. Amounts in rupiah. Read next: clocks.py, order.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.measure.torture import ceilings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from gateway.measure.torture.ceilings import Ceiling

PIN_TRIES = 3
REMEMBERED_DAYS = 31  # a message is the same message for so long; its date (DE7) has no year
HOLD_DAYS = 7
APPROVED, IN_PART = "APPROVED", "PARTIALLY_APPROVED"
APPROVALS = (APPROVED, IN_PART)
UNDECIDED = ("OVERLOAD", "SYSTEM_ERROR")  # told that nothing was decided; the same message may come again
PIN_WAS_RIGHT = (*APPROVALS, "ACCOUNT_PENDING_ID", "ACCOUNT_BLOCKED", "NOT_PERMITTED", "AID_BLOCKED", "INSUFFICIENT_FUNDS",
                 "LIMIT_AMOUNT", "LIMIT_COUNT")  # fmt: skip
TAKING = ("CASH", "PURCHASE", "HOLD")
GIVING_BACK = ("REVERSAL", "REFUND", "CORRECTION")
REFUNDABLE = ("PURCHASE", "COMPLETION")
FOOD_SHOPS = ("5411", "5422", "5451", "5462", "5499", "5300", "5399")
CARD_REFUSALS = {"LOST": "CARD_LOST", "STOLEN": "CARD_STOLEN", "BLOCKED": "CARD_BLOCKED", "REPLACED": "CARD_CLOSED"}


@dataclass(frozen=True, slots=True)
class Programme:
    """A programme as its papers say: the purse its money is, where that is spent in which order, and its clocks in days."""

    code: str
    purse: str  # CASH or FOOD
    at_machines: int | None  # priority at ATMs and agents; None: not spent there
    at_shops: int | None  # priority at e-Warongs
    block_days: int = 90
    return_days: int = 105
    partly_used: bool = False
    available_after_days: int = 0


@dataclass(slots=True)
class Stage:
    """One stage of one programme as it was credited, and where its money stands."""

    programme: str
    name: str
    months: frozenset[str]
    credited_on: date
    available_from: date
    clock_from: date
    amount_idr: int
    available_idr: int
    held_idr: int = 0
    frozen_idr: int = 0
    returned_idr: int = 0
    state: str = "OPEN"
    used: bool = False
    list_step: int = 0  # which list paid it
    corrected_idr: int = 0  # credited by mistake and taken back

    def give_back(self, amount_idr: int) -> None:
        """Money comes back: whatever its clock did meanwhile, it is the family's again."""
        self.available_idr += amount_idr
        if self.state not in ("OPEN", "BLOCKED"):
            self.state = "OPEN"
        if self.available_idr == self.amount_idr:
            self.used = False


@dataclass(slots=True)
class Card:
    """A card in the family's hand. ID: what the bank calls it."""

    id: int
    expires_on: date
    state: str = "ACTIVE"
    tries: int = PIN_TRIES


class Key(NamedTuple):
    """What makes a message one message: its class, its card, trace number and time."""

    kind: str  # 1 hold, 2 financial, 4 reversal
    pan: str
    stan: str
    transmitted: str


class Said(NamedTuple):
    """A message as its terminal meant it. KEPT_IDR: what a partial reversal leaves taken. CONTENT: all it says."""

    key: Key
    content: tuple[object, ...]
    kind: str
    channel: str
    mcc: str
    purse: str  # BY_RULE, CASH or FOOD
    amount_idr: int
    pin_right: bool = True
    kept_idr: int = 0
    original: Key | None = None
    terminal: str = ""  # acquirer:terminal
    settles_on: date | None = None  # the partner's day; None: the business date
    partial: bool = False  # its terminal can do with less


class Told(NamedTuple):
    """An answer: why, and where that is told, what can be spent by purse (cash, food) and what is lost next, and when."""

    reason: str
    balances: tuple[int, int] | None = None
    expiring: tuple[date, int] | None = None


@dataclass(slots=True)
class Taken:
    """An answered message, kept to answer it again: what it drew of which stage (by place), and how much has come back."""

    said: Said
    told: Told
    on: date
    draws: list[tuple[int, int]] = field(default_factory=list)
    back_idr: int = 0
    held_until: date | None = None
    asked_idr: int | None = None  # where less was approved: what it had said

    def left(self) -> list[tuple[int, int]]:
        """What of each draw is still taken: what comes back comes back last drawn first."""
        kept = []
        back = self.back_idr
        for place, amount in reversed(self.draws):
            part = min(back, amount)
            back -= part
            if amount > part:
                kept.append((place, amount - part))
        return kept[::-1]

    def kept_idr(self) -> int:
        """What it keeps from the family, all draws together; what gave back keeps nothing."""
        return 0 if self.said.kind in GIVING_BACK else sum(amount for _, amount in self.left())


@dataclass(slots=True)
class Family:
    """A family: its cards, its stages in the order they were credited, and what its terminals were told.

    MACHINES: what limited terminals have paid out to anybody, by terminal and date: times and rupiah. Never changed in place.
    """

    number: int
    programmes: dict[str, Programme]
    ceilings: tuple[Ceiling, ...] = ()
    machines: Mapping[tuple[str, date], tuple[int, int]] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    answered: dict[Key, Taken] = field(default_factory=dict)
    tombstones: dict[Key, date] = field(default_factory=dict)
    paid_idr: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ATM", "AGENT", "EWARONG"), 0))
    owed_idr: dict[tuple[date, str], int] = field(default_factory=dict)  # to the partner, by its day and channel
    transfers: int = 0

    def copy(self) -> Family:
        """Another of the same, to try an order on."""
        return Family(
            self.number, self.programmes, self.ceilings, self.machines, {pan: replace(card) for pan, card in self.cards.items()},
            [replace(stage) for stage in self.stages],
            {key: replace(taken, draws=list(taken.draws)) for key, taken in self.answered.items()},
            dict(self.tombstones), dict(self.paid_idr), dict(self.owed_idr), self.transfers,
        )  # fmt: skip

    def answer(self, said: Said, today: date) -> Told:
        """What the message must be answered, and what that does. The same message gets the same answer and does nothing."""
        earlier = self.answered.get(said.key)
        if earlier is not None and (today - earlier.on).days <= REMEMBERED_DAYS:
            return earlier.told if earlier.said.content == said.content else Told("KEY_REUSED")
        taken = Taken(said, Told(APPROVED), today)
        reason = self._decide(said, taken, today)
        taken.told = Told(reason)
        if reason in PIN_WAS_RIGHT and said.kind in (*TAKING, "BALANCE") and said.key.pan in self.cards:
            taken.told = Told(reason, self.spendable(today), self.lost_next(today))
        self.answered[said.key] = taken
        return taken.told

    def lost_next(self, today: date) -> tuple[date, int] | None:
        """The first day on which a clock takes money out of reach, and how much."""
        losses: dict[date, int] = {}
        for stage in self.stages:
            rules = self.programmes[stage.programme]
            if stage.state == "OPEN" and stage.available_idr > 0 and (not stage.used or rules.partly_used):
                on = max(today, stage.clock_from + timedelta(days=min(rules.block_days, rules.return_days + 1)))
                losses[on] = losses.get(on, 0) + stage.available_idr
        return min(losses.items(), default=None)

    def spendable(self, today: date) -> tuple[int, int]:
        """Cash and food that can be spent."""
        sums = {"CASH": 0, "FOOD": 0}
        for stage in self.stages:
            if stage.state == "OPEN" and stage.available_from <= today:
                sums[self.programmes[stage.programme].purse] += stage.available_idr
        return sums["CASH"], sums["FOOD"]

    def let_go(self, on: date) -> int:
        """Holds whose last day is over go back to their stages. Returns how many."""
        lapsed = [
            one for one in self.answered.values()
            if one.held_until is not None and one.held_until < on and one.left()
        ]  # fmt: skip
        for one in lapsed:
            self._undo(one, sum(amount for _, amount in one.left()), on)
        return len(lapsed)

    def credited_idr(self) -> int:
        """All it ever got by right."""
        return sum(stage.amount_idr - stage.corrected_idr for stage in self.stages)

    def check(self) -> str | None:
        """What is wrong with the model's own sums: credited = taken + held + frozen + returned + remaining. None: nothing."""
        parts = [(s.available_idr, s.held_idr, s.frozen_idr, s.returned_idr) for s in self.stages]
        if any(min(part) < 0 for part in parts) or min(self.paid_idr.values()) < 0:
            return f"family {self.number}: an amount is below zero: {parts}, {self.paid_idr}"
        explained = sum(map(sum, parts)) + sum(self.paid_idr.values())
        if explained != self.credited_idr():
            return f"family {self.number}: credited Rp{self.credited_idr():,}, explained Rp{explained:,}"
        return None

    def _decide(self, said: Said, taken: Taken, today: date) -> str:
        original = None if said.original is None else self.answered.get(said.original)
        if original is not None and (today - original.on).days > REMEMBERED_DAYS:
            original = None
        if said.kind == "CORRECTION":
            return self._correct(said, taken, original, today)
        if said.kind in ("REVERSAL", "REFUND"):
            return self._give_back(said, taken, original, today)
        forbidden = self.tombstones.get(said.key)
        if forbidden is not None and (today - forbidden).days <= REMEMBERED_DAYS:
            return "REVERSED_BEFORE"
        if said.kind == "COMPLETION":
            return self._complete(said, taken, original, today)
        refusal = self._refuse_card(said, today)
        if refusal is not None:
            return refusal
        return APPROVED if said.kind == "BALANCE" else self._take(said, taken, today)

    def _refuse_card(self, said: Said, today: date) -> str | None:
        card = self.cards.get(said.key.pan)
        if card is None:
            return "CARD_UNKNOWN"
        if card.state not in ("ACTIVE", "PIN_LOCKED"):
            return CARD_REFUSALS[card.state]
        if card.expires_on < today:
            return "CARD_EXPIRED"
        if card.state == "PIN_LOCKED":
            return "PIN_TRIES_EXCEEDED"
        if not said.pin_right:
            card.tries -= 1
            if card.tries == 0:
                card.state = "PIN_LOCKED"
            return "PIN_WRONG"
        card.tries = PIN_TRIES
        return None

    def _take(self, said: Said, taken: Taken, today: date) -> str:
        order = self._spent_in_order(said)
        if not order:
            return "NOT_PERMITTED"
        fitting = [
            (order[stage.programme], stage.credited_on, place)
            for place, stage in enumerate(self.stages)
            if stage.programme in order and stage.available_from <= today
        ]
        places = [place for _, _, place in sorted(fitting)]
        spendable = sum(self.stages[place].available_idr for place in places if self.stages[place].state == "OPEN")
        if said.partial and 0 < spendable < said.amount_idr:
            taken.asked_idr = said.amount_idr
            said = said._replace(amount_idr=spendable)
        if spendable < said.amount_idr:
            blocked = sum(self.stages[place].available_idr for place in places if self.stages[place].state == "BLOCKED")
            return "AID_BLOCKED" if spendable + blocked >= said.amount_idr else "INSUFFICIENT_FUNDS"
        draws = self._oldest_first(places, said.amount_idr)
        amounts: dict[str, int] = {}
        for place, part in draws:
            code = self.stages[place].programme
            amounts[code] = amounts.get(code, 0) + part
        refusal = ceilings.exceeded(self, said, amounts, today, self.ceilings)
        if refusal is not None:
            return refusal
        self._pay(said, taken, draws, today)
        taken.said = said
        return APPROVED if taken.asked_idr is None else IN_PART

    def _oldest_first(self, places: list[int], wanted_idr: int) -> list[tuple[int, int]]:
        draws = []
        for place in places:
            stage = self.stages[place]
            part = min(wanted_idr, stage.available_idr) if stage.state == "OPEN" else 0
            wanted_idr -= part
            if part:
                draws.append((place, part))
        return draws

    def _pay(self, said: Said, taken: Taken, draws: list[tuple[int, int]], today: date) -> None:
        taken.draws = draws
        count, amount = self.machines.get((said.terminal, today), (0, 0))
        self.machines = {**self.machines, (said.terminal, today): (count + 1, amount + said.amount_idr)}
        for place, part in draws:
            stage = self.stages[place]
            stage.available_idr -= part
            stage.used = True
            self.transfers += 1
            if said.kind == "HOLD":
                stage.held_idr += part
                taken.held_until = today + timedelta(days=HOLD_DAYS)
            else:
                self._owe(said.channel, part, _settles(said, today))

    def _spent_in_order(self, said: Said) -> dict[str, int]:
        """Programme -> priority of the purses that may be spent there."""
        order = {}
        machine = said.channel in ("ATM", "AGENT")
        for one in self.programmes.values():
            priority = one.at_machines if machine else one.at_shops if said.mcc in FOOD_SHOPS else None
            cashable = machine and said.purse == "CASH"
            if priority is not None and (said.purse in ("BY_RULE", one.purse) or cashable):
                order[one.code] = priority
        return order

    def _give_back(self, said: Said, taken: Taken, original: Taken | None, today: date) -> str:
        refund = said.kind == "REFUND"
        if original is None or original.said.kind == "REFUND" or (refund and original.said.kind not in REFUNDABLE):
            if said.original is not None and not refund:
                self.tombstones[said.original] = today
            return "ORIGINAL_UNKNOWN"
        if original.told.reason not in APPROVALS or not original.draws:
            return "ORIGINAL_UNKNOWN" if refund else APPROVED
        still_taken = original.said.amount_idr - original.back_idr
        wanted = said.amount_idr if refund else still_taken - said.kept_idr
        if refund and wanted > still_taken:
            return "REVERSAL_AMOUNT"
        taken_idr = original.said.amount_idr
        if not refund and (said.amount_idr not in (taken_idr, original.asked_idr) or said.kept_idr > taken_idr):
            return "REVERSAL_AMOUNT"
        if wanted > 0:
            taken.draws = self._undo(original, wanted, _settles(said, today))
        return APPROVED

    def _owe(self, channel: str, amount_idr: int, on: date) -> None:
        self.paid_idr[channel] += amount_idr
        self.owed_idr[on, channel] = self.owed_idr.get((on, channel), 0) + amount_idr

    def _undo(self, original: Taken, amount_idr: int, on: date) -> list[tuple[int, int]]:
        """Last drawn first, to the stages it came from; the partner is owed so much less on a day of its own."""
        given = []
        wanted = amount_idr
        for place, amount in reversed(original.left()):
            part = min(wanted, amount)
            if part == 0:
                break
            if original.said.kind == "HOLD":
                self.stages[place].held_idr -= part
            else:
                self._owe(original.said.channel, -part, on)
            self.stages[place].give_back(part)
            self.transfers += 1
            given.append((place, part))
            wanted -= part
        original.back_idr += amount_idr
        return given

    def _correct(self, said: Said, taken: Taken, original: Taken | None, today: date) -> str:
        """Two people in the office take back a payment that did not happen, or a part of it."""
        if original is None or original.said.kind not in ("CASH", "PURCHASE", "COMPLETION"):
            return "REFUSED"
        if not 0 < said.amount_idr <= sum(amount for _, amount in original.left()):
            return "REFUSED"
        taken.draws = self._undo(original, said.amount_idr, today)
        return APPROVED

    def _complete(self, said: Said, taken: Taken, original: Taken | None, today: date) -> str:
        """The hold's money is paid out, oldest first; what is not needed goes back."""
        if original is None or original.said.kind != "HOLD":
            return "ORIGINAL_UNKNOWN"
        left = original.left()
        held = sum(amount for _, amount in left)
        if original.told.reason not in APPROVALS or said.amount_idr > held:
            return "HOLD_AMOUNT"
        self._undo(original, held - said.amount_idr, today)
        wanted = said.amount_idr
        for place, amount in original.left():
            self.stages[place].held_idr -= amount
            self._owe(original.said.channel, amount, _settles(said, today))
            self.transfers += 1
            taken.draws.append((place, amount))
            wanted -= amount
        original.back_idr = original.said.amount_idr
        taken.said = said._replace(channel=original.said.channel)
        return APPROVED


def _settles(said: Said, today: date) -> date:
    """The partner's day of a message: its own, unless that is over already."""
    return max(today, said.settles_on or today)
