"""Runs scripted cases against a bank and says where an answer was not as the script expects.

Each case has a connection of its own and a card that no other case uses: the first of the wallet that is good and holds the
money the case needs. Knows the bank only through its answers. Read next: script.py (the language), cases/ (those we ship).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.simulator.errands import wrong_pin
from gateway.simulator.errors import CaseError
from gateway.simulator.script import Action, Slot, TypedPin, differences, fill, read_case
from gateway.simulator.switch import CARELESS, NetworkCode, Switch
from gateway.simulator.terminal import Asked, TerminalKind
from gateway.simulator.wallet import strangers
from iso.dialect import HIMBARA
from iso.errors import FormatError, LinkError
from iso.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from gateway.simulator.exchange import Exchange
    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.script import Case, Step
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard, Wallet

FOLDER = Path(__file__).with_name("cases")
_STRANGERS_SEED = 601_301
_FINDER_STAN = 900_001
_STANS_A_TERMINAL = 1_000
_PLACES = 890  # terminals whose trace numbers do not meet
_MS = 1_000
_NETWORK = {
    Action.SIGN_ON: NetworkCode.SIGN_ON,
    Action.SIGN_OFF: NetworkCode.SIGN_OFF,
    Action.CUT_OVER: NetworkCode.CUT_OVER,
    Action.ECHO: NetworkCode.ECHO,
}
_ASKED = {Action.WITHDRAW: Asked.CASH, Action.PURCHASE: Asked.PURCHASE, Action.BALANCE: Asked.BALANCE}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case went. `failures`: a line each, with the step; none where it passed."""

    name: str
    path: Path
    steps: int
    failures: tuple[str, ...]
    elapsed_ms: float

    @property
    def passed(self) -> bool:
        """Whether every answer was as expected."""
        return not self.failures


def shipped_cases() -> list[Path]:
    """The files of the cases that come with the simulator, by name."""
    return sorted(FOLDER.glob("*.toml"))


async def run_cases(
    paths: Sequence[Path],
    host: str,
    port: int,
    wallet: Wallet,
    pinpad: PinPad,
    *,
    clock: Callable[[], datetime],
    timeout_s: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseResult]:
    """Run the cases of `paths`, one after the other. `progress(done, total)` counts cases.

    Raises CaseError before anything is sent where a file is wrong, LinkError where the bank cannot be reached.
    """
    cases = [read_case(path) for path in paths]
    unknown = strangers(wallet.cards, random.Random(_STRANGERS_SEED))
    results = []
    loop = asyncio.get_running_loop()
    async with Switch(host, port, clock=clock, timeout_s=timeout_s) as switch:
        teller = switch.terminal(pinpad, TerminalKind.ATM, 9_999_999, first_stan=_FINDER_STAN)
        finder = _Finder(wallet, teller)
        for place, case in enumerate(cases):
            began = loop.time()
            card = await finder.card(case.needs_idr)
            if card is None:
                failures = [f"no card of the wallet is good and has Rp{case.needs_idr}"]
            else:
                dialect = CARELESS if case.careless else HIMBARA
                link = Switch(host, port, clock=clock, dialect=dialect, timeout_s=timeout_s)
                failures = await _Run(case, link, pinpad, card, next(unknown), place).run()
            elapsed_ms = (loop.time() - began) * _MS
            results.append(CaseResult(case.name, case.path, len(case.steps), tuple(failures), elapsed_ms))
            if progress is not None:
                progress(len(results), len(cases))
    return results


class _Finder:
    """Gives out cards, each once, after asking the bank for their balance."""

    def __init__(self, wallet: Wallet, teller: Terminal) -> None:
        self._untried = deque(wallet.cards)
        self._passed_over: list[tuple[TestCard, int]] = []
        self._teller = teller

    async def card(self, needs_idr: int) -> TestCard | None:
        """A good card with at least `needs_idr`, or None."""
        for place, (card, available_idr) in enumerate(self._passed_over):
            if available_idr >= needs_idr:
                del self._passed_over[place]
                return card
        while self._untried:
            card = self._untried.popleft()
            exchange = await self._teller.balance(card)
            if exchange.answer is None:
                return None
            if not exchange.approved:
                continue
            if exchange.available_idr >= needs_idr:
                return card
            self._passed_over.append((card, exchange.available_idr))
        return None


class _Run:
    """One case on its own connection."""

    def __init__(self, case: Case, link: Switch, pinpad: PinPad, card: TestCard, unknown: TestCard, place: int) -> None:
        self._case = case
        self._link = link
        self._cards = {Slot.OWN: card, Slot.UNKNOWN: unknown}
        self._variables = {"pan": card.pan.reveal(), "unknown_pan": unknown.pan.reveal(), **case.variables}
        self._messages: dict[str, Message] = {}
        self._answered: dict[str, Exchange] = {}
        self._terminals = {
            kind: link.terminal(pinpad, kind, place + 1, first_stan=self._first_stan(3 * place + number))
            for number, kind in enumerate(TerminalKind)
        }

    async def run(self) -> list[str]:
        """What went wrong; the first step that did ends the case."""
        try:
            await self._link.connect()
            if self._case.sign_on:
                exchange = await self._link.sign_on()
                if not exchange.approved:
                    return [f"sign-on: {exchange.failure or exchange.code}"]
            for number, step in enumerate(self._case.steps, 1):
                failures = await self._play(step)
                if failures:
                    what = step.name or step.says or step.action
                    return [f"step {number} ({what}): {failure}" for failure in failures]
        except LinkError as error:
            return [str(error)]
        finally:
            await self._link.close()
        return []

    async def _play(self, step: Step) -> list[str]:
        terminal = self._terminals[step.at]
        try:
            message = self._message(step, terminal)
            self._messages[step.name] = message
            if not step.send:
                return []
            exchange = await terminal.send(message)
            self._answered[step.name] = exchange
            if exchange.answer is None:
                return exchange.faults()
            found = exchange.faults(but=step.set) + differences(step.expect, exchange.answer, self._variables)
        except (CaseError, FormatError) as error:
            return [str(error)]
        if step.same_as and not exchange.same_answer(self._answered[step.same_as]):
            found.append(f"the answer is not the same as that of {step.same_as}")
        for name, number in step.keep.items():
            self._variables[name] = exchange.answer.get(number, "")
        return found

    def _message(self, step: Step, terminal: Terminal) -> Message:
        """What the step sends, changed as it says."""
        card = self._cards[step.card]
        if step.action in _NETWORK:
            message = self._link.network_message(_NETWORK[step.action])
        elif step.action is Action.REVERSE:
            message = terminal.reversal(self._messages[step.of], step.kept_idr, repeat=step.marked)
        elif step.action is Action.REPEAT:
            original = self._messages[step.of]
            message = Message(original.mti[:3] + "1" if step.marked else original.mti, original.fields)
        else:
            typed = wrong_pin(card) if step.pin is TypedPin.WRONG else card.pin
            message = terminal.request(_ASKED[step.action], card, step.amount_idr, typed, step.purse)
        fields = dict(message.fields)
        for number, text in step.set.items():
            fields[number] = fill(text, self._variables)
        return Message(step.mti or message.mti, {number: text for number, text in fields.items() if text})

    @staticmethod
    def _first_stan(terminal: int) -> int:
        return terminal % _PLACES * _STANS_A_TERMINAL + 1
