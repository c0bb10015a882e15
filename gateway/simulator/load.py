"""Load: many withdrawals in flight on several connections, timed. Made to cost as little CPU a message as Python allows.

A message is made once a card and kept as bytes, PIN block included; only times, trace number and reference are put in. Of an
answer only its length, trace number and response code are read. Closed loop (each place sends when it is answered) or a fixed
rate, where waiting for a free place counts as waiting. For measurements; `kks simulate load` is traffic.py. Read next:
terminal.py (the same messages, made with care).
"""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.simulator.errors import LoadError
from gateway.simulator.switch import NetworkCode, Switch
from gateway.simulator.terminal import ACQUIRER, JAKARTA, Asked, TerminalKind, reference
from iso.bitmap import read_bitmap, width_at
from iso.codec import encode
from iso.dialect import HIMBARA
from iso.errors import FormatError
from iso.framing import HIMBARA_FRAMING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard

AMOUNT_IDR = 10_000
_HEADER = HIMBARA_FRAMING.header_bytes
_MTI = 4
_STANS = 1_000_000
_TICK_S = 0.002
_STAMP_S = 0.2  # how long a text of the time is used before it is made anew
_MS = 1_000
_APPROVED = b"00"
_LOWEST_ANSWER = _HEADER + _MTI

_Shot: TypeAlias = (
    "tuple[bytes, bytes, bytes]"  # of one card: what stands before the stamp, up to the reference, and after
)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Figures of a run. `per_s`: answers a second until the last answer. Times in milliseconds, over every answer.

    `unanswered`: sent, and no answer before the time-out or the loss of the connection. `codes`: DE39 -> answers.
    """

    sent: int
    answered: int
    approved: int
    declined: int
    unanswered: int
    seconds: float
    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    codes: dict[str, int]


@dataclass(frozen=True, slots=True)
class PreparedLoad:
    """The messages of every card, made ahead, by connection. Runs may be repeated; each makes its connections anew."""

    shots: Sequence[Sequence[_Shot]]
    switch: Switch
    clock: Callable[[], datetime]

    async def run(
        self,
        host: str,
        port: int | Sequence[int],
        *,
        in_flight: int = 32,
        seconds: float = 10.0,
        rate_per_s: float | None = None,
        timeout_s: float = 30.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> LoadResult:
        """Withdraw for `seconds`, `in_flight` at a time on each connection; no card is in flight twice.

        With several ports the connections go round them. Without `rate_per_s` the loop is closed. `progress(done_ms, total_ms)`.
        Raises LoadError where it cannot start: too few cards, no connection, no sign-on.
        """
        cards, connections = sum(map(len, self.shots)), len(self.shots)
        if cards < connections * in_flight:
            raise LoadError(f"{connections * in_flight} in flight need as many cards; the wallet has {cards}")
        ports = [port] if isinstance(port, int) else port
        closed = rate_per_s is None
        apart = _STANS // connections
        guns = [_Gun(one, self.clock, in_flight, n * apart, closed=closed) for n, one in enumerate(self.shots)]
        loop = asyncio.get_running_loop()
        try:
            for number, gun in enumerate(guns):
                sign_on = encode(self.switch.network_message(NetworkCode.SIGN_ON))
                await _connect(gun, host, ports[number % len(ports)], sign_on, timeout_s)
            began = loop.time()
            for gun in guns:
                gun.start()
            if rate_per_s is None:
                await _wait(guns, began, seconds, progress)
            else:
                await _offer(guns, began, seconds, rate_per_s, progress)
            await asyncio.gather(*(gun.finish(timeout_s) for gun in guns))
        finally:
            await asyncio.gather(*(gun.close() for gun in guns))
        return _result(guns, began)


def prepare(
    cards: Sequence[TestCard],
    pinpad: PinPad,
    *,
    clock: Callable[[], datetime],
    connections: int = 4,
    amount_idr: int = AMOUNT_IDR,
    kind: TerminalKind = TerminalKind.ATM,
    acquirer: str = ACQUIRER,
) -> PreparedLoad:
    """Make a withdrawal of `amount_idr` for every card. Raises LoadError where there is no card or PANs differ in length."""
    if len(cards) < connections:
        raise LoadError(f"{connections} connections need as many cards; the wallet has {len(cards)}")
    switch = Switch("", 0, clock=clock, acquirer=acquirer)  # makes the model messages; never connects
    shots = []
    for number in range(connections):
        terminal = switch.terminal(pinpad, kind, number + 1)
        shots.append(_shots(terminal, pinpad, cards[number::connections], amount_idr))
    return PreparedLoad(shots, switch, clock)


async def _wait(
    guns: Sequence[_Gun], began: float, seconds: float, progress: Callable[[int, int], None] | None
) -> None:
    """Let the time of a closed loop pass."""
    loop = asyncio.get_running_loop()
    while (now := loop.time()) < began + seconds and any(gun.alive for gun in guns):
        if progress is not None:
            progress(int((now - began) * _MS), int(seconds * _MS))
        await asyncio.sleep(min(0.1, seconds))


async def _offer(
    guns: Sequence[_Gun], began: float, seconds: float, rate_per_s: float, progress: Callable[[int, int], None] | None
) -> None:
    """Hand out what is due at each tick, to one connection after the other.

    A tick is on time when it comes before the next one; waiting counts from there. One that comes later is counted from when it
    should have come, so that a generator that was kept waiting does not hide what the waiting was for.
    """
    loop = asyncio.get_running_loop()
    tick = sent = 0
    while (now := loop.time()) < began + seconds and any(gun.alive for gun in guns):
        while (due_at := began + tick * _TICK_S) <= now:
            due = int(tick * _TICK_S * rate_per_s) + 1
            guns[tick % len(guns)].offer(due - sent, now if now < due_at + _TICK_S else due_at)
            sent = due
            tick += 1
        if progress is not None:
            progress(int((now - began) * _MS), int(seconds * _MS))
        await asyncio.sleep(max(0.0, due_at - loop.time()))


async def _connect(gun: _Gun, host: str, port: int, sign_on: bytes, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: gun, host, port)
            code = await gun.sign_on(sign_on)
    except OSError as error:  # a time-out is one too
        raise LoadError(f"no connection to {host}:{port}: {error.strerror or 'time-out'}") from None
    if code != _APPROVED:
        raise LoadError(f"the sign-on was answered {code.decode('ascii', 'replace') or 'with a closed connection'}")


class _Gun(asyncio.Protocol):
    """One connection: cards that rest, messages that wait for their answers, and what was measured."""

    def __init__(
        self, shots: Sequence[_Shot], clock: Callable[[], datetime], in_flight: int, first_stan: int, *, closed: bool
    ) -> None:
        self.running = True
        self.alive = False
        self.sent = 0
        self.last_answer = 0.0
        self.latencies_s = array("d")
        self.codes: Counter[bytes] = Counter()
        self.waiting: dict[bytes, tuple[float, _Shot]] = {}
        self._resting = deque(shots)
        self._in_flight = in_flight
        self._closed_loop = closed
        self._offered: deque[float] = deque()
        self._stan = first_stan
        self._clock = clock
        self._stamp = (b"", b"", b"")
        self._stamp_until = 0.0
        self._kept = b""
        self._shapes: dict[tuple[bytes, int], tuple[int, int]] = {}
        self._loop = asyncio.get_running_loop()
        self._signed_on: asyncio.Future[bytes] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._finished = asyncio.Event()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        self._transport = transport
        self.alive = True

    def connection_lost(self, exc: Exception | None) -> None:
        """What waits stays unanswered."""
        del exc
        self.alive = self.running = False
        self._finished.set()
        self._gone.set()
        if not self._signed_on.done():
            self._signed_on.set_result(b"")

    def data_received(self, data: bytes) -> None:
        """Read every whole answer; send for every place that became free, in one write."""
        now = self._loop.time()
        kept = self._kept + data if self._kept else data
        position, size, freed = 0, len(kept), 0
        while size - position > _LOWEST_ANSWER:
            end = position + _HEADER + int(kept[position : position + _HEADER])
            if end > size:
                break
            freed += self._answered(kept, position + _HEADER, end, now)
            position = end
        self._kept = kept[position:]
        if freed and self.running:
            if self._closed_loop:
                self._fire([now] * freed)
            else:
                self._fire([self._offered.popleft() for _ in range(min(freed, len(self._offered)))])
        if not self.running and not self.waiting:
            self._finished.set()

    async def sign_on(self, payload: bytes) -> bytes:
        """Sign on. The response code, or nothing where the connection was closed."""
        if self._transport is not None:
            self._transport.write(HIMBARA_FRAMING.frame(payload))
        return await self._signed_on

    def start(self) -> None:
        """In a closed loop: fill every place."""
        if self._closed_loop:
            self._fire([self._loop.time()] * self._in_flight)

    def offer(self, count: int, due_at: float) -> None:
        """At a fixed rate: send now where places are free, else when they are. `due_at` is when their waiting begins."""
        now = min(count, max(0, self._in_flight - len(self.waiting)))
        if now:
            self._fire([due_at] * now)
        self._offered.extend([due_at] * (count - now))

    async def finish(self, timeout_s: float) -> None:
        """Send no more, and wait so long for the answers still to come."""
        self.running = False
        if self.waiting and self.alive:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finished.wait(), timeout_s)

    async def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()
            await self._gone.wait()

    def _answered(self, kept: bytes, start: int, end: int, now: float) -> int:
        """Book one answer. 1 where it frees a place."""
        shape = kept[start + _MTI : start + _MTI + 16], end - start
        places = self._shapes.get(shape)
        if places is None:
            places = self._shapes[shape] = _stan_and_code(kept[start:end])
        stan_at, code_at = start + places[0], start + places[1]
        code = kept[code_at : code_at + 2]
        if not self._signed_on.done():
            self._signed_on.set_result(code)
            return 0
        waited = self.waiting.pop(kept[stan_at : stan_at + 6], None)
        if waited is None:
            return 0
        since, shot = waited
        self.latencies_s.append(now - since)
        self.codes[code] += 1
        self.last_answer = now
        self._resting.append(shot)
        return 1

    def _fire(self, since: Sequence[float]) -> None:
        """Send as many messages; `since` says when the waiting of each began."""
        if self._transport is None or not self.alive:
            return
        now = self._loop.time()
        if now >= self._stamp_until:
            self._make_stamp(now)
        transmitted, local, reference_head = self._stamp
        parts: list[bytes] = []
        for moment in since:
            self._stan = stan_number = self._stan % (_STANS - 1) + 1
            stan = b"%06d" % stan_number
            shot = self._resting.popleft()
            parts += (shot[0], transmitted, stan, local, shot[1], reference_head, stan, shot[2])
            self.waiting[stan] = moment, shot
        self.sent += len(since)
        self._transport.write(b"".join(parts))

    def _make_stamp(self, now: float) -> None:
        moment = self._clock()
        local = moment.astimezone(JAKARTA)
        self._stamp = f"{moment:%m%d%H%M%S}".encode(), f"{local:%H%M%S%m%d}".encode(), reference(moment, "").encode()
        self._stamp_until = now + _STAMP_S


def _shots(terminal: Terminal, pinpad: PinPad, cards: Sequence[TestCard], amount_idr: int) -> list[_Shot]:
    """The message of each card, in three parts, made from one model. Raises LoadError where PANs differ in length."""
    model = terminal.request(Asked.CASH, cards[0], amount_idr)
    data = HIMBARA_FRAMING.frame(encode(model))
    at = {number: _HEADER + place for number, place in _places(data[_HEADER:], (2, 7, 14, 18, 37, 41, 52)).items()}
    digits = len(model.fields[2])
    if any(len(card.pan.reveal()) != digits for card in cards):
        raise LoadError("the cards' numbers differ in length")
    before_pan, after_pan = data[: at[2]], data[at[2] + digits : at[7]]
    to_reference, to_block = data[at[18] : at[37]], data[at[41] : at[52]]
    return [
        (
            before_pan + card.pan.reveal().encode() + after_pan,
            f"{card.expires:%y%m}".encode() + to_reference,
            to_block + pinpad.block(card.pan, card.pin).encode(),
        )
        for card in cards
    ]


def _places(payload: bytes, wanted: Sequence[int]) -> dict[int, int]:
    """Where the values of some fields begin in a message of profile himbara. Raises LoadError where one is not there."""
    text = str(payload, "latin-1")
    position = _MTI + width_at(text, _MTI)
    found: dict[int, int] = {}
    try:
        for number in read_bitmap(text[_MTI:position]):
            field = HIMBARA.field(number)
            digits = field.length_digits
            length = int(text[position : position + digits]) if digits else field.length
            found[number] = position + digits
            position += digits + length
        return {number: found[number] for number in wanted}
    except (FormatError, ValueError, KeyError):
        raise LoadError("a message is not of profile himbara") from None


def _stan_and_code(payload: bytes) -> tuple[int, int]:
    places = _places(payload, (11, 39))
    return places[11], places[39]


def _result(guns: Sequence[_Gun], began: float) -> LoadResult:
    latencies_ms = sorted(latency * _MS for gun in guns for latency in gun.latencies_s)
    codes: Counter[bytes] = sum((gun.codes for gun in guns), Counter())
    answered, approved, sent = len(latencies_ms), codes[_APPROVED], sum(gun.sent for gun in guns)
    seconds = max(0.0, max(gun.last_answer for gun in guns) - began)
    return LoadResult(
        sent=sent,
        answered=answered,
        approved=approved,
        declined=answered - approved,
        unanswered=sent - answered,
        seconds=seconds,
        per_s=answered / seconds if seconds else 0.0,
        p50_ms=percentile(latencies_ms, 50),
        p90_ms=percentile(latencies_ms, 90),
        p99_ms=percentile(latencies_ms, 99),
        p999_ms=percentile(latencies_ms, 99.9),
        max_ms=percentile(latencies_ms, 100),
        codes={code.decode("ascii", "replace"): count for code, count in sorted(codes.items())},
    )


def percentile(rising: Sequence[float], percent: float) -> float:
    """The smallest of the `rising` values that `percent` of them do not exceed (nearest rank); 0 where there are none."""
    if not rising:
        return 0.0
    rank = -(-len(rising) * percent // 100)
    return rising[max(0, min(len(rising), int(rank)) - 1)]
