"""A link that is cut and comes back, as real ones do: reconnect, sign on again, repeat what was not answered.

What a terminal does about an outcome it does not know is for the caller (repeat here; reverse in traffic.py). Knows no case
and no card. Read next: switch.py, play.py, traffic.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.simulator.exchange import Exchange, ask, repeated
from iso.errors import LinkClosed, LinkError, SignOnRefused

if TYPE_CHECKING:
    import random

    from gateway.simulator.switch import Switch
    from iso.message import Message

_TRIES = 5
_PAUSE_S = 0.05  # before the second try; twice as long before each one after it
_LATEST_CUT_S = 0.005


class Cutter:
    """Says which messages have their connection cut before the answer: a SHARE (0 to 1) of them, by the dice of RNG."""

    def __init__(self, share: float, rng: random.Random) -> None:
        self.cuts = 0
        self._share = share
        self._rng = rng

    def strikes(self) -> bool:
        """Whether this message is one of them; counted where it is."""
        struck = self._rng.random() < self._share
        self.cuts += struck
        return struck

    def moment_s(self) -> float:
        """How long after the message was sent: every second time at once."""
        return self._rng.choice((0.0, self._rng.uniform(0, _LATEST_CUT_S)))


class SteadyLink:
    """A switch's connection that is made again when it is gone. `signs_on`: whether it signs on whenever it connects.

    It is cut again only when as many answers have come as were lost by cuts before: a slow bank is cut as often, and goes on.
    """

    def __init__(self, switch: Switch, cutter: Cutter | None = None, *, signs_on: bool = True) -> None:
        self.switch = switch
        self.signs_on = signs_on
        self.reconnects = 0
        self.repeats = 0
        self._cutter = cutter
        self._lost = 0
        self._lock = asyncio.Lock()
        self._up = False

    async def open(self) -> None:
        """Connect, and sign on where it does so. Raises LinkError, SignOnRefused among them; it is closed then."""
        await self._connect()

    async def close(self) -> None:
        """Close. Twice is allowed."""
        await self.switch.close()

    async def ask(self, message: Message, *, may_cut: bool = True) -> Exchange:
        """Send MESSAGE, on a new connection where the old one is gone. It may be cut before the answer comes.

        Raises FormatError, and LinkError where no connection can be had.
        """
        await self.restore()
        client = self.switch.client
        if self._cutter is None or not may_cut or self._lost or not self._cutter.strikes():
            return self._counted(await ask(client, message, self.switch.profile.amount_exponent))
        asked = asyncio.create_task(ask(client, message, self.switch.profile.amount_exponent))
        await asyncio.sleep(self._cutter.moment_s())
        await client.close()
        return self._counted(await asked)

    async def ask_on(self, message: Message, *, may_cut: bool = True) -> Exchange:
        """The same; where the connection was lost before the answer, the repeat of MESSAGE is sent (exchange.repeated)."""
        exchange = await self.ask(message, may_cut=may_cut)
        for _ in range(_TRIES):
            if exchange.answer is not None or self.switch.client.connected:
                break
            self.repeats += 1
            exchange = await self.ask(repeated(message), may_cut=may_cut)
        return exchange

    async def restore(self) -> None:
        """Connect again where the connection is gone, a few times before it gives up. Raises LinkError."""
        if self._up and self.switch.client.connected:
            return
        async with self._lock:
            pause_s = _PAUSE_S
            for left in reversed(range(_TRIES)):
                if self._up and self.switch.client.connected:
                    return
                try:
                    await self._connect()
                except SignOnRefused:
                    raise
                except LinkError:
                    if not left:
                        raise
                    await asyncio.sleep(pause_s)
                    pause_s *= 2
                else:
                    self.reconnects += 1

    def _counted(self, exchange: Exchange) -> Exchange:
        """An exchange, counted as lost with its connection, or as one that was lost less."""
        if exchange.answer is not None:
            self._lost = max(0, self._lost - 1)
        elif self._cutter is not None and not self.switch.client.connected:
            self._lost += 1
        return exchange

    async def _connect(self) -> None:
        self._up = False
        await self.switch.connect()
        if self.signs_on:
            exchange = await self.switch.sign_on()
            if not exchange.approved:
                await self.switch.close()
                raise SignOnRefused(exchange.code) if exchange.code else LinkClosed(exchange.failure)
        self._up = True
