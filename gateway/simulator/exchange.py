"""One question put to the bank and what came back, as the terminal saw it.

Knows which fields an answer must echo and how to read balances; not what the answer ought to be. A missing answer is a value
here, not an exception: a terminal must act on it. Read next: terminal.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from iso.additional_amounts import AdditionalAmount, AmountType, read_additional_amounts
from iso.amount import read_amount
from iso.errors import FormatError, LinkError
from iso.message import Message, response_mti
from iso.response_codes import APPROVED, PARTIALLY_APPROVED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from iso.client import LinkClient

AMOUNT_EXPONENT = 2
"""Decimals of amounts on profile himbara, and where a profile says nothing else."""

ECHOED = (2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49)
_MACS = frozenset({64, 128})
_MS = 1_000
_AMOUNT, _CODE, _BALANCES = 4, 39, 54
_NETWORK = "8"
_REPEATS = MappingProxyType({"0": "1", "2": "3", "4": "5"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer. `failure` says in words why there is no answer; the outcome at the bank is unknown then."""

    request: Message
    answer: Message | None
    elapsed_ms: float
    failure: str = ""
    amount_exponent: int = AMOUNT_EXPONENT

    @property
    def code(self) -> str:
        """DE39, empty where no answer came."""
        return "" if self.answer is None else self.answer.get(_CODE, "")

    @property
    def approved(self) -> bool:
        """Whether the bank said yes, to all of it or to a part."""
        return self.code in (APPROVED, PARTIALLY_APPROVED)

    @property
    def in_part(self) -> bool:
        """Whether the bank said yes to less than was asked for."""
        return self.code == PARTIALLY_APPROVED

    @property
    def asked_idr(self) -> int:
        """Rupiah of the request. Raises FormatError where it has none that can be read."""
        return read_amount(self.request.get(_AMOUNT, "0" * 12), self.amount_exponent)

    @property
    def approved_idr(self) -> int:
        """Rupiah that the bank said yes to. 0 without a yes, and where DE4 of a partial approval cannot be read."""
        if not self.approved:
            return 0
        try:
            return read_amount(self.taken.get(_AMOUNT, "0" * 12), self.amount_exponent)
        except FormatError:
            return 0

    @property
    def taken(self) -> Message:
        """The request for what was approved of it: what a completion, reversal or refund is about."""
        if not self.in_part or self.answer is None:
            return self.request
        return Message(self.request.mti, self.request.fields | {_AMOUNT: self.answer.get(_AMOUNT, "")})

    @property
    def balances(self) -> dict[str, int]:
        """Spendable rupiah by account type of DE54 ("10" cash, "98" food); empty where the answer tells none."""
        return {one.account_type: one.amount_idr for one in self._amounts() if one.amount_type == AmountType.AVAILABLE}

    def _amounts(self) -> tuple[AdditionalAmount, ...]:
        """What DE54 holds; nothing where it cannot be read."""
        text = "" if self.answer is None else self.answer.get(_BALANCES, "")
        try:
            return read_additional_amounts(text, self.amount_exponent)
        except FormatError:
            return ()

    @property
    def available_idr(self) -> int:
        """Spendable rupiah of all purses together."""
        return sum(self.balances.values())

    @property
    def place(self) -> str:
        """Which message it was, for people: type, trace number and terminal; nothing of the card."""
        request = self.request
        return f"{request.mti} {request.get(11, '')} at {request.get(41, '').strip() or 'the link'}"

    def faults(self, but: Iterable[int] = ()) -> list[str]:
        """What is wrong with the answer's form: its type, and fields not echoed as sent (those in `but` are not compared).

        DE4 of a partial approval is less than what was asked for.
        """
        if self.answer is None:
            return [self.failure or "no answer"]
        found = []
        wanted = response_mti(self.request.mti)
        if self.answer.mti != wanted:
            found.append(f"type {self.answer.mti} where {wanted} is due")
        skipped = frozenset(but)
        if self.in_part:
            skipped |= {_AMOUNT}
            if not 0 < self.approved_idr < self.asked_idr:
                found.append("field 4 of a partial approval is not a part of what was asked for")
        for number in ECHOED:
            sent = self.request.get(number)
            if sent is not None and number not in skipped and self.answer.get(number, "").rstrip() != sent.rstrip():
                found.append(f"field {number} is not echoed")
        if _BALANCES in self.answer.fields and not self._amounts():
            found.append(f"field {_BALANCES} holds no balance that can be read")
        return found

    def same_answer(self, other: Exchange) -> bool:
        """Whether both were answered, and alike in every field but a MAC."""
        if self.answer is None or other.answer is None:
            return False
        return _content(self.answer) == _content(other.answer)


async def ask(
    client: LinkClient,
    request: Message,
    amount_exponent: int = AMOUNT_EXPONENT,
    *,
    send: Callable[[Message], Awaitable[Message]] | None = None,
) -> Exchange:
    """Send `request` and wait; `send`: another way than `client.request`. Only what cannot be encoded raises (FormatError)."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        answer, failure = await (send or client.request)(request), ""
    except LinkError as error:
        answer, failure = None, str(error)
    return Exchange(request, answer, (loop.time() - began) * _MS, failure, amount_exponent)


def repeated(message: Message) -> Message:
    """MESSAGE sent again with the type that says so: 0201, 0221, 0421, 0303. Network management has none, and stays as it is."""
    origin = message.mti[3:4]
    if message.mti[1:2] == _NETWORK or origin not in _REPEATS:
        return message
    return Message(message.mti[:3] + _REPEATS[origin], dict(message.fields))


def _content(answer: Message) -> tuple[str, dict[int, str]]:
    return answer.mti, {number: text for number, text in answer.fields.items() if number not in _MACS}
