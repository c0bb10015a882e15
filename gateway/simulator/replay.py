"""A captured file sent again, at its own pace or another, and what came back held against what came back then.

Renewed, the messages have trace numbers, times and references of their own and are no duplicates; those that belonged
together still do (repeats, reversals and what they name in DE90). What a capture left out comes from the wallet. Read next:
capture.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.simulator.capture import Way
from gateway.simulator.card_reader import Entry, Shown, StripeWord
from gateway.simulator.errors import CaptureError
from gateway.simulator.exchange import Exchange, ask
from gateway.simulator.terminal import JAKARTA, reference, track2
from iso.codec import decode
from iso.errors import FormatError, FrameError, LinkError
from iso.message import Message, response_mti
from iso.original_data import OriginalData, read_original_data, write_original_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from gateway.simulator.capture import Line
    from gateway.simulator.pinpad import Pad
    from gateway.simulator.profile import Profile
    from gateway.simulator.switch import Switch
    from gateway.simulator.wallet import TestCard

_STANS = 999_999
_SIGN_ON = "001"
_DIFFERENCES_MOST = 1_000
_WAITING_MOST = 10_000
_CANNOT = frozenset({34, 36, 45, 53, 55, 102, 103, 125})
_MACS = (64, 128)
_TRACK2, _CHIP = 35, 55


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How it is sent: at the file's own pace, `speed` times as fast; with `rate_per_s` so many a second, each when it is due.

    Where the file has no times, each when the one before it is answered. `renew`: with trace numbers, times and references of
    now. `new_pins`: PIN blocks are made anew for the wallet's cards, also where the file has them. `way`: the side of the file
    that is sent.
    """

    speed: float = 1.0
    rate_per_s: float | None = None
    renew: bool = False
    new_pins: bool = False
    way: Way = Way.SENT


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What happened.

    `compared`: answers that could be held against captured ones; `differences`: a line each. `skipped`: why lines were not
    sent -> how many; `codes`: DE39 -> answers.
    """

    sent: int
    answered: int
    compared: int
    unanswered: int
    skipped: dict[str, int]
    codes: dict[str, int]
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shot:
    """One message to send: where it stood, what was answered then, and when after the first."""

    line: Line
    message: Message
    answered: Message | None
    after_s: float | None


async def replay(
    lines: Sequence[Line],
    link: Switch,
    plan: ReplayPlan,
    *,
    cards: Sequence[TestCard] = (),
    pinpad: Pad | None = None,
    clock: Callable[[], datetime],
    first_stan: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayResult:
    """Send LINES over LINK, which is opened here; it signs on by itself where the file does not begin with that.

    `cards` and `pinpad`: the wallet's, for what was left out. Raises CaptureError where nothing can be sent, LinkError where
    there is no connection.
    """
    renewal = _Renewal(clock, first_stan) if plan.renew else None
    run = _Replay(link, plan, cards, None if pinpad is None else pinpad.by_card(), renewal)
    shots = run.shots(lines)
    if not shots:
        raise CaptureError(f"no message of the capture can be sent: {run.why_not()}")
    await link.connect()
    try:
        if shots[0].message.get(70) != _SIGN_ON:
            await link.sign_on()
        await run.fire(shots, progress)
    finally:
        await link.close()
    return run.result()


@dataclass(slots=True)
class _Replay:
    link: Switch
    plan: ReplayPlan
    cards: Sequence[TestCard]
    pinpad: Pad | None
    renewal: _Renewal | None
    skipped: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    readings: dict[tuple[str, str, str], dict[int, str]] = field(default_factory=dict)
    sent: int = 0
    compared: int = 0
    unanswered: int = 0

    def shots(self, lines: Sequence[Line]) -> list[_Shot]:
        """What is to be sent, each with the answer that was captured for it."""
        answers: dict[tuple[str, str, str], deque[Message]] = {}
        requests: list[tuple[Line, Message]] = []
        for line in lines:
            message = read_message(line.data, self.link.profile)
            if message is None:
                self.skipped["holds no message of the profile"] += 1
            elif not message.is_request:
                answers.setdefault(_key(message.mti, message), deque()).append(message)
            elif line.way is self.plan.way:
                if self.link.profile.sign is not None:  # made anew when it is sent
                    message = Message(message.mti, {n: text for n, text in message.fields.items() if n not in _MACS})
                requests.append((line, message))
        first = next((line.moment for line, _ in requests if line.moment is not None), None)
        found = []
        for line, message in requests:
            whole = self._whole(line, message)
            if whole is None:
                continue
            waiting = answers.get(_key(response_mti(message.mti), message))
            after_s = None if first is None or line.moment is None else (line.moment - first).total_seconds()
            found.append(_Shot(line, whole, waiting.popleft() if waiting else None, after_s))
        return found

    def why_not(self) -> str:
        """Why lines were skipped, for people."""
        return "; ".join(f"{count} {why}" for why, count in sorted(self.skipped.items())) or "it has no request"

    async def fire(self, shots: Sequence[_Shot], progress: Callable[[int, int], None] | None) -> None:
        """Send them all as the plan says, and wait for the answers."""
        loop = asyncio.get_running_loop()
        began, under_way = loop.time(), set[asyncio.Task[None]]()
        for number, shot in enumerate(shots, 1):
            after_s = self._after_s(number - 1, shot)
            if after_s is None:
                await self._one(shot)
            else:
                await asyncio.sleep(max(0.0, began + after_s - loop.time()))
                if len(under_way) >= _WAITING_MOST:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._one(shot))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            if progress is not None:
                progress(number, len(shots))
        if under_way:
            await asyncio.gather(*under_way)

    def result(self) -> ReplayResult:
        """What was counted."""
        return ReplayResult(
            self.sent, self.codes.total(), self.compared, self.unanswered, dict(sorted(self.skipped.items())),
            dict(sorted(self.codes.items())), tuple(self.differences),
        )  # fmt: skip

    def _after_s(self, place: int, shot: _Shot) -> float | None:
        """When it is due, from the beginning; None: when the one before it is answered."""
        if self.plan.rate_per_s is not None:
            return place / self.plan.rate_per_s
        return None if shot.after_s is None else max(0.0, shot.after_s / self.plan.speed)

    async def _one(self, shot: _Shot) -> None:
        message = shot.message if self.renewal is None else self.renewal.renewed(shot.message)
        client = self.link.client
        self.sent += 1
        try:
            exchange = await ask(
                client, message, self.link.profile.amount_exponent, send=lambda one: client.request(one, again=True)
            )
        except (FormatError, LinkError) as error:
            exchange = Exchange(message, None, 0.0, str(error))
        if exchange.answer is None:
            self.unanswered += 1
            self._differs(shot, exchange.failure)
            return
        self.codes[exchange.code] += 1
        for fault in exchange.faults():
            self._differs(shot, fault)
        if shot.answered is not None:
            self.compared += 1
            then = shot.answered.get(39, "")
            if then != exchange.code:
                self._differs(shot, f"answered {then} then, {exchange.code} now")

    def _differs(self, shot: _Shot, what: str) -> None:
        if len(self.differences) < _DIFFERENCES_MOST:
            self.differences.append(f"line {shot.line.number} ({shot.message.mti} {shot.message.get(11, '')}): {what}")

    def _whole(self, line: Line, message: Message) -> Message | None:
        """MESSAGE with what the capture left out, and PIN blocks of now where they are wanted; None where that cannot be done."""
        block = self.link.profile.pin_block_field
        if not line.left and not (self.plan.new_pins and block in message.fields):
            return message
        card = self._card(line, message)
        if card is None:
            self.skipped["needs a card that the wallet does not have"] += 1
            return None
        read = self._read(line, message, card)
        cannot = sorted((line.left & _CANNOT | line.left & self.link.profile.pin_fields) - {block, *read})
        if cannot:
            self.skipped[f"needs what a wallet does not have: fields {', '.join(map(str, cannot))}"] += 1
            return None
        known = {2: card.pan.reveal(), 14: f"{card.expires:%y%m}", 35: track2(card)} | read
        fields = message.fields | {number: known[number] for number in line.left if number in known}
        if block in line.left or (self.plan.new_pins and block in fields):
            if self.pinpad is None:
                self.skipped["needs a PIN pad"] += 1
                return None
            entry = self.pinpad.enter(card.pan, card.pin)
            fields[block] = entry.blocks[0]
            if entry.ksn is not None:
                fields[self.link.profile.ksn_field] = entry.ksn
        return Message(message.mti, fields)

    def _read(self, line: Line, message: Message, card: TestCard) -> dict[int, str]:
        """What the card's chip or stripe says now, where the profile reads them: the same to a repeat as to its original."""
        reader = self.link.profile.reader
        left = line.left & {_TRACK2, _CHIP}
        if reader is None or not left:
            return {}
        key = message.mti[:3], message.get(11, ""), message.get(7, "")
        if key not in self.readings:
            by_chip = Entry.CHIP if _CHIP in left else Entry.STRIPE
            shown = Shown(by_chip, stripe=StripeWord.RIGHT if _TRACK2 in left else None)
            self.readings[key] = reader.put(message, card, self.link.now().astimezone(JAKARTA).date(), shown).fields
        return {number: self.readings[key][number] for number in left}

    def _card(self, line: Line, message: Message) -> TestCard | None:
        """The wallet's card that a line speaks of, by its place, or by its number where that is there."""
        if line.card is not None:
            return self.cards[line.card - 1] if 0 < line.card <= len(self.cards) else None
        return next((card for card in self.cards if card.pan.reveal() == message.get(2)), None)


class _Renewal:
    """New trace numbers, times and references; the same one for the same old one, so that what belongs together still does."""

    def __init__(self, clock: Callable[[], datetime], first_stan: int) -> None:
        self._clock = clock
        self._stan = first_stan - 1
        self._renewed: dict[tuple[str, str, str], dict[int, str]] = {}
        self._references: dict[str, str] = {}

    def renewed(self, message: Message) -> Message:
        """MESSAGE as it would be sent now."""
        key = message.mti[:3], message.get(11, ""), message.get(7, "")
        if key not in self._renewed:
            self._renewed[key] = self._fields()
        fields = dict(message.fields)
        fields |= {number: text for number, text in self._renewed[key].items() if number in fields}
        if 37 in fields:  # noqa: PLR2004 - DE37
            fields[37] = self._references.setdefault(message.fields[37], fields[37])
        if 90 in fields:  # noqa: PLR2004 - DE90
            fields[90] = self._named(fields[90])
        return Message(message.mti, fields)

    def _fields(self) -> dict[int, str]:
        now = self._clock()
        local = now.astimezone(JAKARTA)
        self._stan = self._stan % _STANS + 1
        stan = f"{self._stan:06d}"
        return {
            7: f"{now:%m%d%H%M%S}", 11: stan, 12: f"{local:%H%M%S}", 13: f"{local:%m%d}", 37: reference(now, stan),
        }  # fmt: skip

    def _named(self, text: str) -> str:
        """DE90 that names the renewed original, where it was sent before."""
        try:
            old = read_original_data(text)
        except FormatError:
            return text
        new = self._renewed.get((old.mti[:3], old.stan, old.transmitted))
        if new is None:
            return text
        return write_original_data(OriginalData(old.mti, new[11], new[7], old.acquirer, old.forwarder))


def read_message(data: bytes, profile: Profile) -> Message | None:
    """The message in DATA, with or without its length and message header; None where there is none."""
    for one in (data, bare(data, profile)):  # a type may look like the length
        try:
            return decode(one, profile.dialect)
        except FormatError:
            continue
    return None


def bare(data: bytes, profile: Profile) -> bytes:
    """DATA without length and message header, where it has them."""
    framing = profile.framing
    header, rest = data[: framing.header_bytes], data[framing.header_bytes :]
    try:
        return framing.split(rest)[1] if framing.length_of(header) == len(rest) else data
    except FrameError:
        return data


def _key(answer_mti: str, message: Message) -> tuple[str, str, str]:
    return answer_mti[:3], message.get(11, ""), message.get(7, "")
