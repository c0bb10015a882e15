"""`kks simulate host` and `replay`: a switch that our side asks, and a captured link sent again. Read next: simulate.py."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.rounds import steps
from gateway.cli.running import Json, refuse, run
from gateway.cli.simulate import (
    HIMBARA,
    LOCAL,
    CaptureFile,
    Host,
    KeysFile,
    Port,
    ProfileName,
    UnmaskedCapture,
    WalletFile,
    simulate,
)
from gateway.cli.visit import Place, capturing, in_one_line, outfit_of, port_of, says, wallet_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.host import RulesHost, Seen
    from gateway.simulator.replay import ReplayResult
    from gateway.simulator.rules import Rules
    from gateway.simulator.wallet import Wallet

HOST_PORT = 8600
SHOWN = 20


def host(
    rules: Annotated[
        Path | None, typer.Argument(help="TOML file of rules; without it everything is answered sensibly")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="where it listens; 0: a free one")] = HOST_PORT,
    address: Annotated[str, typer.Option("--host", help="address it listens at")] = LOCAL,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="how long; without it until Ctrl-C")
    ] = None,
    echo_s: Annotated[float, typer.Option("--echo", min=0, help="asks an echo so often, in seconds; 0: never")] = 0,
    profile: ProfileName = HIMBARA,
    keys: KeysFile = None,
    capture: CaptureFile = None,
    zmk: Annotated[
        str,
        typer.Option("--zmk", help="label of a test key: with it MACs are made, and keys taken that an 0800 brings"),
    ] = "",
    *,
    json: Json = False,
) -> None:
    """A switch that listens and answers by rules: to try an outgoing link, its time-outs and its store-and-forward.

    A rule may also say how what it takes must be (`expect`, `keep`) and how often it must come (`at_least`): exit 1 if not so.
    """
    from gateway.simulator.host import RulesHost
    from gateway.simulator.host_keys import host_keys
    from gateway.simulator.rules import read_rules

    spot = Place(address, port, profile=profile, keys=keys, capture=capture)

    async def work(chosen: Rules | None) -> RulesHost:
        outfit = outfit_of(spot)
        with capturing(spot, outfit) as file:
            spoken = outfit.profile
            told = _tell_json if json else _tell
            taken = host_keys(spoken, outfit.keys, zmk) if zmk else None
            async with RulesHost(
                chosen, port, host=address, profile=spoken, on_seen=told, capture=file, keys=taken
            ) as listening:
                output.say(f"listens at {address}:{listening.port}, profile {spoken.name}")
                await _stay(listening, seconds, echo_s)
            return listening

    with in_one_line():
        done = run(work(None if rules is None else read_rules(rules)))
    figures = {
        "requests": len(done.seen), "answers": dict(sorted(done.answers.items())), "connections": done.connections,
        "unreadable": done.unreadable, "unmatched": done.unmatched, "port": done.port,
    }  # fmt: skip
    faults = [*done.failures, *done.missing]
    if json:
        output.as_json(figures | {"faults": faults})
    else:
        output.say(", ".join(f"{name} {value}" for name, value in figures.items()))
        for line in faults[:SHOWN]:
            output.say(line)
    if faults:
        refuse(f"{len(faults)} faults")


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="captured messages, a line each")],
    speed: Annotated[float, typer.Option("--speed", min=0.01, max=1_000, help="times as fast as it was captured")] = 1,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="so many a second, in place of its own pace")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="new trace numbers, times and references, so that they are no duplicates")
    ] = False,
    new_pins: Annotated[
        bool,
        typer.Option("--new-pins", help="make PIN blocks anew for cards of the wallet, also where the file has them"),
    ] = False,
    received: Annotated[bool, typer.Option("--received", help="send what the writer of the file received")] = False,
    host: Host = LOCAL,
    port: Port = None,
    wallet: WalletFile = None,
    profile: ProfileName = HIMBARA,
    keys: KeysFile = None,
    capture: CaptureFile = None,
    unmasked_capture: UnmaskedCapture = False,
    *,
    json: Json = False,
) -> None:
    """Send a captured file again and hold the answers against the captured ones; exit 1 where they differ.

    A line is: time, > or <, the message in hexadecimal, card= and left=; all but the message may be missing.
    """
    from gateway import clock
    from gateway.cli.visit import STANS
    from gateway.simulator.capture import Way, read_capture
    from gateway.simulator.replay import ReplayPlan, replay
    from gateway.simulator.switch import Switch

    place, spot = port_of(port, profile), Place(host, port, wallet, profile, keys, capture, unmasked_capture)
    plan = ReplayPlan(speed, rate, renew, new_pins, Way.RECEIVED if received else Way.SENT)

    async def work(found: Wallet | None, bar: Callable[[int], None]) -> ReplayResult:
        outfit = outfit_of(spot, found)
        with capturing(spot, outfit) as written:
            link = Switch(host, place, clock=clock.now, profile=outfit.profile, capture=written)
            stan = clock.now().microsecond % STANS + 1
            pinpad = None if found is None else outfit.pinpad
            return await replay(
                lines,
                link,
                plan,
                cards=outfit.cards,
                pinpad=pinpad,
                clock=clock.now,
                first_stan=stan,
                progress=steps(bar),
            )

    with in_one_line(f"{host}:{place}"):
        lines = read_capture(file)
        needed = wallet is not None or new_pins or any(line.left for line in lines)
        found = wallet_of(wallet) if needed else None
        with output.progress("messages", len(lines), quiet=json) as bar:
            result = run(work(found, bar))
    _show_replay(result, json=json)


def register() -> None:
    """Add the commands to `kks simulate`."""
    simulate.command("host")(host)
    simulate.command("replay")(replay)


async def _stay(listening: RulesHost, seconds: float | None, echo_s: float) -> None:
    """Until the time is over, or somebody stops it."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread: only the time ends it
            loop.add_signal_handler(one, stop.set)
    asking = asyncio.create_task(_ask_echoes(listening, echo_s)) if echo_s else None
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    if asking is not None:
        asking.cancel()


async def _ask_echoes(listening: RulesHost, echo_s: float) -> None:
    from gateway import clock
    from iso.errors import LinkError

    while True:
        await asyncio.sleep(echo_s)
        if not listening.is_connected:
            continue
        try:
            answer = await listening.ask("0800", {7: f"{clock.now():%m%d%H%M%S}", 70: "301"}, echo_s)
            output.say(f"echo: {answer.get(39, '')} {says(answer.get(39, ''))}")
        except LinkError as error:
            output.say(f"echo: {error}")


def _values(seen: Seen) -> dict[str, Any]:
    from iso.describe import summary

    answer = None if seen.answer is None else seen.answer.get(39, "")
    return {**summary(seen.message), "rule": seen.rule, "answer": answer}


def _tell(seen: Seen) -> None:
    values = _values(seen)
    rule, answer, mti = values.pop("rule"), values.pop("answer"), values.pop("mti")
    said = " ".join(f"{name}={value}" for name, value in values.items())
    output.say(f"{mti} {said}: {'no answer' if answer is None else answer}{f' (rule: {rule})' if rule else ''}")


def _tell_json(seen: Seen) -> None:
    output.as_json(_values(seen))


def _show_replay(result: ReplayResult, *, json: bool) -> None:
    if json:
        output.as_json(asdict(result))
    else:
        output.say(f"{result.sent} sent, {result.answered} answered, {result.compared} compared with what was captured")
        answers = [(code, says(code), count) for code, count in result.codes.items()]
        output.table("Answers (DE39)", ["code", "meaning", "answers"], answers, numbers=["answers"])
        for why, count in result.skipped.items():
            output.say(f"not sent: {count}, {why}")
        for line in result.differences[:SHOWN]:
            output.say(line)
    if result.differences:
        refuse(f"{len(result.differences)} differences")
