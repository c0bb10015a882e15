"""`kks chaos`: load on two gateways while everything around it breaks (havoc.py), then terminals against the ledger.

Each terminal works like a real one: it waits for its answer, repeats the same message when the link breaks, at the other gateway
where its own is away, and reverses when no answer can be had. What its own journal says was paid out must be in the ledger
exactly once, and nothing else.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway import clock
from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.measure import havoc
from gateway.measure.workbench import bench_settings, furnish, start_gateway
from gateway.operations import proof
from gateway.operations.bank import reading
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import TerminalKind
from iso.errors import IsoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.measure.workbench import Gateway
    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.pinpad import PinPad
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard, Wallet

FAMILIES = 400
BALANCE_IDR = 50_000_000
AMOUNT_IDR = 10_000
WORKERS = 16
ANSWER_S = 4.0
REPEATS = 4  # before a terminal gives up and reverses
REVERSE_SHARE = 0.05  # paid, then taken back: the cash was not dispensed
REPEAT_SHARE = 0.05  # answered, and asked again all the same
GATEWAYS = 2
HARM_EVERY_S = (1.0, 3.0)
SETTLE_S = 60.0
AGAIN_S = 0.2


@dataclass(slots=True)
class Slip:
    """One withdrawal as its terminal knows it."""

    terminal: str
    stan: str
    transmitted: str
    approved: bool = False
    answered: bool = False
    reversed: bool = False
    disagreed: bool = False  # a repeat was answered differently


@dataclass(frozen=True, slots=True)
class ChaosFigures:
    """What came of it; the keys of `--json`. LOST: paid out and not in the ledger. DOUBLED: in the ledger more than paid out.

    POOL_FILLS: all sessions taken, or all pools busy. CUTS: links of terminals. ABUSES: of sockets. LONGEST_SILENCE_S: while
    no terminal got a decision.
    """

    approved: int
    answered: int
    lost: int
    doubled: int
    kills: int
    proof_ok: bool
    gateway_kills: int
    postgres_kills: int
    cuts: int
    pool_fills: int
    restarts: int
    abuses: int
    longest_silence_s: float
    repeated: int
    reversed: int
    seconds: float
    wrong: list[str]


@dataclass(slots=True)
class Scene:
    """The running test: what is alive, what was done to it, what the terminals wrote down."""

    settings: Settings
    bank: Bank
    chance: random.Random
    gateways: list[Gateway]
    slips: list[Slip] = field(default_factory=list)
    switches: dict[int, Switch] = field(default_factory=dict)
    harm: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    over: bool = False
    answered_at: float = 0.0
    longest_silence_s: float = 0.0

    def note_answer(self) -> None:
        """Some terminal got a decision."""
        now = asyncio.get_running_loop().time()
        self.longest_silence_s = max(self.longest_silence_s, now - (self.answered_at or now))
        self.answered_at = now


async def run_chaos(settings: Settings, seconds: float, seed: int, say: Callable[[str], None]) -> ChaosFigures:
    """Make a bank, load it, do it harm for SECONDS, let it settle, compare."""
    chosen = bench_settings(settings, "chaos")
    say(f"making {FAMILIES} families with active cards and money")
    async with open_bank(chosen) as bank:
        wallet = await furnish(bank, FAMILIES, BALANCE_IDR)
        gateways = [await start_gateway(chosen, _free_port()) for _ in range(GATEWAYS)]
        scene = Scene(chosen, bank, random.Random(seed), gateways)
        say(f"{WORKERS} terminals at {GATEWAYS} gateways, {seconds:.0f} s of kills")
        pinpad = pinpad_of(wallet)
        try:
            async with asyncio.TaskGroup() as tasks:
                workers = [tasks.create_task(_work(scene, wallet, pinpad, number)) for number in range(WORKERS)]
                await _harm_for(scene, seconds)
                scene.over = True
                async with asyncio.timeout(SETTLE_S + REPEATS * ANSWER_S):
                    await asyncio.gather(*workers)
        finally:
            for gateway in scene.gateways:
                await gateway.stop()
        say("comparing the terminals' journals with the ledger")
        return await _compare(scene, seconds)


async def _work(scene: Scene, wallet: Wallet, pinpad: PinPad, number: int) -> None:
    """One terminal with cards of its own, until the end; what it has begun it finishes."""
    cards = wallet.cards[number::WORKERS]
    stan = 1
    while not scene.over:
        terminal = await _terminal(scene, pinpad, number, stan)
        if terminal is None:
            return
        stan = await _withdraw(scene, pinpad, number, terminal, scene.chance.choice(cards), stan)


async def _withdraw(scene: Scene, pinpad: PinPad, number: int, terminal: Terminal, card: TestCard, stan: int) -> int:
    """One withdrawal to its end: answered, or reversed. Returns the next trace number."""
    first = await terminal.withdraw(card, AMOUNT_IDR)
    request = first.request
    slip = Slip(request.get(41, "").strip(), request.get(11, ""), request.get(7, ""))
    scene.slips.append(slip)
    used = stan + 1
    last, used = await _until_answered(scene, pinpad, number, first, used)
    if last is None or last.answer is None:
        slip.reversed, used = await _reverse(scene, pinpad, number, first, used)
        return used
    slip.answered, slip.approved = True, last.approved
    scene.note_answer()
    if scene.chance.random() < REPEAT_SHARE:
        again = await _once_more(scene, pinpad, number, first, used)
        slip.disagreed = (
            again is not None and again.answer is not None and again.code != last.code and not _refused(again)
        )
    if slip.approved and scene.chance.random() < REVERSE_SHARE:
        slip.reversed, used = await _reverse(scene, pinpad, number, first, used)
    return used


async def _until_answered(
    scene: Scene, pinpad: PinPad, number: int, first: Exchange, stan: int
) -> tuple[Exchange | None, int]:
    """Repeat the same message until it is answered with a decision; 91 is no decision. None: it could not be had."""
    last = first
    for _ in range(REPEATS):
        if last.answer is not None and not _refused(last):
            return last, stan
        again = await _once_more(scene, pinpad, number, first, stan)
        if again is None:
            break
        last = again
    return (last if last.answer is not None and not _refused(last) else None), stan


async def _once_more(scene: Scene, pinpad: PinPad, number: int, first: Exchange, stan: int) -> Exchange | None:
    await asyncio.sleep(AGAIN_S)
    terminal = await _terminal(scene, pinpad, number, stan)
    if terminal is None:
        return None
    scene.repeated += 1
    return await terminal.repeat(first)


async def _reverse(scene: Scene, pinpad: PinPad, number: int, first: Exchange, stan: int) -> tuple[bool, int]:
    """Reverse until the bank has said yes: a terminal never lets go of a reversal."""
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    repeat = False
    said = "no connection"
    while asyncio.get_running_loop().time() < deadline:
        terminal = await _terminal(scene, pinpad, number, stan)
        if terminal is not None:
            exchange = await terminal.reverse(first, repeat=repeat)
            stan += 1
            if exchange.approved:
                return True, stan
            said = exchange.code or exchange.failure
            repeat = True
        await asyncio.sleep(AGAIN_S)
    raise GatewayError(f"a reversal was not accepted for {SETTLE_S:.0f} s: {said}")


async def _terminal(scene: Scene, pinpad: PinPad, number: int, stan: int) -> Terminal | None:
    """The terminal on a living connection, connecting again as often as it takes, to one gateway or the other."""
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    place = number
    while asyncio.get_running_loop().time() < deadline:
        switch = scene.switches.get(number)
        if switch is None or not switch.client.connected:
            gateway = scene.gateways[place % len(scene.gateways)]
            place += 1
            fresh = Switch("127.0.0.1", gateway.port, clock=clock.now, timeout_s=ANSWER_S)
            try:
                await fresh.connect()
                await fresh.sign_on()
            except (IsoError, OSError):
                await asyncio.sleep(AGAIN_S)
                continue
            scene.switches[number] = switch = fresh
        return switch.terminal(pinpad, TerminalKind.ATM, number + 1, first_stan=stan)
    return None


async def _harm_for(scene: Scene, seconds: float) -> None:
    """Everything in havoc.py, again and again in random order."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    coming: list[Callable[[Scene], Awaitable[None]]] = []
    while (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, scene.chance.uniform(*HARM_EVERY_S)))
        coming = coming or scene.chance.sample(havoc.EVERY, k=len(havoc.EVERY))
        await coming.pop()(scene)


async def _compare(scene: Scene, seconds: float) -> ChaosFigures:
    """The terminals' journals against the ledger, withdrawal by withdrawal."""
    await scene.bank.database.engine.dispose()  # its connections died with PostgreSQL
    async with reading(scene.bank) as connection:
        rows = list(await connection.execute(LEDGER))
    booked: dict[tuple[str, str, str], int] = Counter()
    for row in rows:
        booked[row.terminal, row.stan, row.transmitted] += int(row.paid_idr)
    lost = doubled = 0
    wrong = []
    for slip in scene.slips:
        owed = AMOUNT_IDR if slip.approved and not slip.reversed else 0
        found = booked.pop((slip.terminal, slip.stan, slip.transmitted), 0)
        lost += found < owed
        doubled += found > owed
        if found != owed or slip.disagreed:
            wrong.append(f"terminal {slip.terminal} trace {slip.stan}: paid out Rp{owed:,}, booked Rp{found:,}")
    strays = {key: amount for key, amount in booked.items() if amount}
    doubled += len(strays)
    for (terminal, stan, _), amount in strays.items():
        wrong.append(f"terminal {terminal} trace {stan}: booked Rp{amount:,}, unknown to it")
    checks = [*await proof.prove_ledger(scene.bank), *await proof.verify_audit(scene.bank)]
    wrong += [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    return ChaosFigures(
        sum(slip.approved for slip in scene.slips), sum(slip.answered for slip in scene.slips), lost, doubled,
        scene.harm["gateway"] + scene.harm["postgres"], all(check.ok for check in checks), scene.harm["gateway"],
        scene.harm["postgres"], scene.harm["cut"], scene.harm["pool"], scene.harm["restart"], scene.harm["sockets"],
        round(scene.longest_silence_s, 1), scene.repeated, sum(slip.reversed for slip in scene.slips), seconds, wrong[:20],
    )  # fmt: skip


def _refused(exchange: Exchange) -> bool:
    """An answer that decides nothing: the issuer was away (91) or failed (96), and the same message may be sent again."""
    return exchange.code in ("91", "96")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


LEDGER = text("""
    SELECT a.terminal, a.stan, a.transmitted,
           coalesce((SELECT sum(CASE WHEN t.kind = 'WITHDRAWAL' THEN t.amount_idr ELSE -t.amount_idr END) FROM transfer t
                     WHERE t.cell = a.cell AND t.account_id = a.account_id AND t.source = 'authorisation'
                       AND (t.source_id = a.id OR t.corrects = ANY (a.transfer_ids))), 0) AS paid_idr
    FROM authorisation a WHERE a.kind = 'CASH'
""")
