"""One scripted case on its own connection: sends what the composer makes, and says where an answer is not as the case expects.

With a cutter the connection is cut at random before answers, and the case goes on as a real terminal does: it connects, signs
on and repeats the message, marked as a repeat. Knows the bank only through its answers. Read next: script.py (the language),
cases.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.simulator.composer import Composer
from gateway.simulator.errors import CaseError, WalletError
from gateway.simulator.exchange import Exchange, ask
from gateway.simulator.matching import differences, fill
from gateway.simulator.script import Action, Connection, MacWord
from gateway.simulator.steady import SteadyLink
from gateway.simulator.switch import NetworkCode
from gateway.simulator.terminal import TerminalKind
from iso.codec import decode, encode
from iso.errors import FormatError, FrameError, LinkClosed, LinkError, LinkTimeout
from iso.response_codes import MALFUNCTION
from keys.errors import KeysError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.pinpad import Pad
    from gateway.simulator.rawline import RawLine
    from gateway.simulator.script import Case, Step
    from gateway.simulator.steady import Cutter
    from gateway.simulator.switch import Switch
    from gateway.simulator.wallet import TestCard
    from iso.message import Message

_STANS_A_TERMINAL = 1_000
_PLACES = 890  # terminals whose trace numbers do not meet
_STANS = 999_999
_MS = 1_000
_KEY_CHANGE_TRIES, _KEY_CHANGE_PAUSE_S = 100, 0.2


class Play:
    """One case.

    `place` keeps its terminals apart from those of other cases, `stans_from` its trace numbers from those of other rounds;
    `new_link` makes a connection that is not open.
    """

    def __init__(
        self,
        case: Case,
        new_link: Callable[[], Switch],
        pinpad: Pad,
        cards: tuple[TestCard, TestCard],
        place: int,
        cutter: Cutter | None = None,
        stans_from: int = 0,
    ) -> None:
        self._case = case
        self._new_link = new_link
        self._resumes = cutter is not None
        self._line = SteadyLink(new_link(), cutter, signs_on=case.sign_on)
        terminals = {
            kind: self._line.switch.terminal(
                pinpad, kind, place + 1, first_stan=_first_stan(3 * place + number, stans_from), reads=False
            )
            for number, kind in enumerate(TerminalKind)
        }
        self._composer = Composer(case, self._line.switch, terminals, *cards)
        self._answers: dict[str, Exchange] = {}
        self._raw: RawLine | None = None

    @property
    def repeats(self) -> int:
        """Messages that were sent again because the connection was lost."""
        return self._line.repeats

    async def run(self) -> list[str]:
        """What went wrong; the first step that did ends the case."""
        try:
            await self._line.open()
            for number, step in enumerate(self._case.steps, 1):
                failures = await self._play(step)
                if failures:
                    return [f"step {number} ({step.title}): {failure}" for failure in failures]
        except LinkError as error:
            return [str(error)]
        finally:
            await self._give_pin_back()
            await self._line.close()
            if self._raw is not None:
                await self._raw.close()
        return []

    async def _play(self, step: Step) -> list[str]:
        await asyncio.sleep(step.wait_ms / _MS)
        try:
            if step.is_raw:
                return await self._play_raw(step)
            message = self._composer.message(step)
            if not step.send:
                return []
            if not step.awaits_answer:
                return await self._play_unanswered(step, message)
            return self._judged(step, await self._insist(step, message))
        except (CaseError, WalletError, FormatError, FrameError, KeysError) as error:
            return [str(error)]

    async def _insist(self, step: Step, message: Message) -> Exchange:
        """The exchange. A key change that is told 96 while another is under way is asked for again, as it should be."""
        exchange = await self._ask(step, message)
        for _ in range(_KEY_CHANGE_TRIES):
            if step.action is not Action.KEY_CHANGE or exchange.code != MALFUNCTION:
                break
            await asyncio.sleep(_KEY_CHANGE_PAUSE_S)
            exchange = await self._ask(step, message)
        return exchange

    async def _ask(self, step: Step, message: Message) -> Exchange:
        """The exchange; over a second connection where the step says so, and never cut where it looks at the time."""
        if step.connection is Connection.NEW:
            line = SteadyLink(self._new_link(), signs_on=self._line.signs_on)
            await line.open()
            try:
                return await self._asked(step, line, message)
            finally:
                await line.close()
        if self._resumes and step.mac is not MacWord.NONE:
            return await self._line.ask_on(message, may_cut=not step.within_ms)
        return await self._asked(step, self._line, message)

    @staticmethod
    async def _asked(step: Step, line: SteadyLink, message: Message) -> Exchange:
        client, exponent = line.switch.client, line.switch.profile.amount_exponent
        send = client.request_unsealed if step.mac is MacWord.NONE else None
        return await ask(client, message, exponent, send=send)

    def _judged(self, step: Step, exchange: Exchange) -> list[str]:
        """Where the answer is not as expected; otherwise it is taken in."""
        self._answers[step.name] = exchange
        if exchange.answer is None:
            return exchange.faults()
        found = exchange.faults(but=step.set) + differences(step.expect, exchange.answer, self._composer.variables)
        if step.same_as and not exchange.same_answer(self._answers[step.same_as]):
            found.append(f"the answer is not the same as that of {step.same_as}")
        found += _slow(step, exchange.elapsed_ms)
        for name, number in step.keep.items():
            self._composer.variables[name] = exchange.answer.get(number, "")
        self._composer.answered(step, exchange)
        if exchange.approved and step.action in (Action.SIGN_ON, Action.SIGN_OFF):
            self._line.signs_on = step.action is Action.SIGN_ON
        return found

    async def _play_unanswered(self, step: Step, message: Message) -> list[str]:
        """A message whose answer must not come: silence, or a closed connection, after which the case connects anew."""
        client = self._line.switch.client
        if step.expect_silence_ms:
            try:
                async with asyncio.timeout(step.expect_silence_ms / _MS):
                    exchange = await ask(client, message)
            except TimeoutError:
                return []
            what = exchange.failure or f"{exchange.code or 'an answer'} after {exchange.elapsed_ms:.0f} ms"
            return [f"expected silence for {step.expect_silence_ms} ms, got {what}"]
        exchange = await ask(client, message)
        if exchange.answer is not None:
            return [f"expected a closed connection, got {exchange.code or 'an answer'}"]
        if client.connected:
            return [f"expected a closed connection, got none: {exchange.failure}"]
        await self._line.restore()
        return []

    async def _play_raw(self, step: Step) -> list[str]:
        line = await self._raw_line()
        try:
            data = bytes.fromhex(fill(step.hex, self._composer.variables))
            data += fill(step.text, self._composer.variables).encode("ascii")
        except ValueError:
            return ["text is not ASCII" if step.text else "hex is not hex digits, two a byte"]
        began = asyncio.get_running_loop().time()
        await line.send(data)
        if step.expect_closed:
            return await _closed(line)
        if step.expect_silence_ms:
            return await _silent(line, step.expect_silence_ms)
        if not step.expect:
            return []
        profile = self._line.switch.profile
        answer = decode(profile.framing.split(await line.next_frame())[1], profile.dialect)
        elapsed_ms = (asyncio.get_running_loop().time() - began) * _MS
        for name, number in step.keep.items():
            self._composer.variables[name] = answer.get(number, "")
        return differences(step.expect, answer, self._composer.variables) + _slow(step, elapsed_ms)

    async def _raw_line(self) -> RawLine:
        """The connection for raw bytes, signed on as the case is."""
        switch = self._line.switch
        if self._raw is None:
            self._raw = switch.raw_line()
        if not self._raw.is_open:
            await self._raw.open()
            if self._line.signs_on:
                sign_on = switch.profile.sealed(switch.network_message(NetworkCode.SIGN_ON))
                await self._raw.send(switch.profile.framing.frame(encode(sign_on, switch.profile.dialect)))
                await self._raw.next_frame()
        return self._raw

    async def _give_pin_back(self) -> None:
        """Whatever happened, the wallet's PIN is the card's again, where the bank lets it be."""
        if self._composer.pin_was_changed:
            with suppress(LinkError):
                await self._line.ask_on(self._composer.pin_back(), may_cut=False)


def _slow(step: Step, elapsed_ms: float) -> list[str]:
    if not step.within_ms or elapsed_ms <= step.within_ms:
        return []
    return [f"the answer took {elapsed_ms:.0f} ms, more than {step.within_ms} ms"]


async def _closed(line: RawLine) -> list[str]:
    try:
        while True:
            await line.next_frame()  # an answer may come before the end
    except LinkTimeout:
        return ["expected a closed connection, got none"]
    except LinkClosed:
        return []


async def _silent(line: RawLine, ms: int) -> list[str]:
    try:
        await line.next_frame(ms / _MS)
    except LinkTimeout:
        return []
    except LinkClosed:
        return [f"expected silence for {ms} ms, got a closed connection"]
    return [f"expected silence for {ms} ms, got an answer"]


def _first_stan(terminal: int, stans_from: int) -> int:
    return (terminal % _PLACES * _STANS_A_TERMINAL + stans_from) % _STANS + 1
