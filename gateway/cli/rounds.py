"""`kks simulate cases` and `load`: many transactions, and whether each was answered as it should be. Read next: simulate.py."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.running import Json, parse_amount, refuse, run
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
from gateway.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.simulator.cases import CaseResult, RoundResult
    from gateway.simulator.traffic import TrafficResult

CUT_HELP = "how many messages have their connection cut before the answer, as 1% or 0.01"
PERCENT = 100
Cut = Annotated[str, typer.Option("--cut", help=CUT_HELP)]
Seed = Annotated[int, typer.Option("--seed", help="of the dice")]


def cases(
    files: Annotated[list[Path] | None, typer.Argument(help="TOML files; those that come along by default")] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=1_000, help="how often each")] = 1,
    clients: Annotated[int, typer.Option("--clients", min=1, max=500, help="how many at once")] = 1,
    cut: Cut = "0",
    under_load: Annotated[
        float, typer.Option("--under-load", min=0, help="transactions a second beside them, on cards of their own")
    ] = 0,
    seed: Seed = 1,
    show_list: Annotated[bool, typer.Option("--list", help="say what each is about, and run none")] = False,
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
    """Run scripted cases and tell which passed; exit 1 where one did not. They spend money and lock cards of the wallet."""
    from gateway import clock
    from gateway.simulator.cases import Round, run_cases, shipped_cases
    from gateway.simulator.profile import read_profile

    with in_one_line():
        paths = files or shipped_cases(read_profile(profile))
        if show_list:
            _list_cases(paths, json=json)
            return
    place, spot = port_of(port, profile), Place(host, port, wallet, profile, keys, capture, unmasked_capture)
    total = len(paths) * repeat

    async def work(bar: Callable[[int], None]) -> RoundResult:
        chosen = wallet_of(wallet)
        outfit = outfit_of(spot, chosen)
        with capturing(spot, outfit) as file:
            return await run_cases(
                paths, host, place, chosen, outfit.pinpad, clock=clock.now, profile=outfit.profile, capture=file,
                plan=Round(repeat, clients, _share(cut), under_load, seed, clock.now().microsecond), progress=steps(bar),
            )  # fmt: skip

    with in_one_line(f"{host}:{place}"), output.progress("cases", total, quiet=json) as bar:
        done = run(work(bar))
    failed = sum(not one.passed for one in done.cases)
    if json:
        output.as_json(_cases_as_json(done, failed))
    else:
        _show_cases(done, failed)
    if failed:
        refuse(f"{failed} of {len(done.cases)} cases failed")
    if done.load is not None:
        _refuse_differences(done.load)


def load(
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=3_600, help="how long")] = 10,
    clients: Annotated[
        int, typer.Option("--clients", min=1, max=1_000, help="without --rate: requests in flight; and cards needed")
    ] = 32,
    connections: Annotated[int, typer.Option("--connections", min=1, max=100, help="how many")] = 4,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=0.1, help="transactions a second, each sent when due; without it: the next when answered"
        ),
    ] = None,
    mix: Annotated[
        str, typer.Option("--mix", help="of withdraw, purchase, balance, reverse, hold, as withdraw=70,balance=30")
    ] = "withdraw=1",
    cut: Cut = "0",
    amount: Annotated[str, typer.Option("--amount", help="rupiah of each payment")] = "10000",
    seed: Seed = 1,
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
    """Payments of many cards at once, timed; then every card's balance is held against what the terminals know was paid.

    Whose answer does not come is reversed or repeated. Exit 1 where one timed out, could not be settled, or books differ.
    """
    from gateway import clock
    from gateway.simulator.switch import Switch
    from gateway.simulator.traffic import Plan, read_mix, run_traffic

    place, spot = port_of(port, profile), Place(host, port, wallet, profile, keys, capture, unmasked_capture)

    async def work(bar: Callable[[int], None]) -> TrafficResult:
        chosen = wallet_of(wallet)
        outfit = outfit_of(spot, chosen)
        plan = Plan(
            seconds,
            clients,
            min(connections, clients),
            rate,
            read_mix(mix),
            _share(cut),
            parse_amount(amount, "--amount"),
            seed,
            clock.now().microsecond,
        )
        with capturing(spot, outfit) as file:

            def new_link() -> Switch:
                return Switch(host, place, clock=clock.now, profile=outfit.profile, capture=file)

            return await run_traffic(chosen.cards, outfit.pinpad, new_link, plan, progress=steps(bar))

    with in_one_line(f"{host}:{place}"), output.progress("load (ms)", round(seconds * 1_000), quiet=json) as bar:
        result = run(work(bar))
    if json:
        output.as_json(_load_as_json(result))
    else:
        _show_load(result)
    if result.timeouts or (result.lost and not result.cuts):
        refuse(f"{result.timeouts + result.lost} of {result.sent} were not answered")
    _refuse_differences(result)


def register() -> None:
    """Add the commands to `kks simulate`."""
    simulate.command("cases")(cases)
    simulate.command("load")(load)


def steps(bar: Callable[[int], None]) -> Callable[[int, int], None]:
    """A progress bar wants what was added; the simulator tells how far it is."""
    seen = 0

    def at(done: int, _total: int) -> None:
        nonlocal seen
        bar(done - seen)
        seen = done

    return at


def _share(text: str) -> float:
    """1% or 0.01 as a share. Raises Refused."""
    percent = text.endswith("%")
    try:
        share = float(text.removesuffix("%")) / (PERCENT if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Refused(f"--cut: {text!r} is not a share like 1% or 0.01")
    return share


def _list_cases(paths: Sequence[Path], *, json: bool) -> None:
    """What each case is about, by group: the first word of its file's name."""
    from gateway.simulator.script import read_case

    found = [read_case(path) for path in paths]
    if json:
        output.as_json({"cases": [{"file": one.path.name, "name": one.name, "about": one.about} for one in found]})
        return
    for group, members in groupby(found, lambda one: one.path.stem.partition("_")[0]):
        output.say(group)
        for one in members:
            output.say(f"  {one.path.stem}: {one.about}")
    output.say(f"{len(found)} cases")


def _cases_as_json(done: RoundResult, failed: int) -> dict[str, Any]:
    shown = [
        {"name": one.name, "file": one.path.name, "passed": one.passed, "steps": one.steps, "failures": one.failures,
         "elapsed_ms": round(one.elapsed_ms, 1), "repeats": one.repeats}
        for one in done.cases
    ]  # fmt: skip
    load = None if done.load is None else _load_as_json(done.load)
    return {"passed": len(done.cases) - failed, "failed": failed, "cuts": done.cuts, "load": load,
            "not_run": done.not_run, "cases": shown}  # fmt: skip


def _show_cases(done: RoundResult, failed: int) -> None:
    by_file: dict[Path, list[CaseResult]] = {}
    for one in done.cases:
        by_file.setdefault(one.path, []).append(one)
    rows = []
    for runs in by_file.values():
        bad = [one for one in runs if not one.passed]
        said = f"{len(bad)} of {len(runs)} FAILED" if bad and len(runs) > 1 else "FAILED" if bad else "passed"
        middle = sorted(one.elapsed_ms for one in runs)[len(runs) // 2]
        rows.append((runs[0].name, said, runs[0].steps, f"{middle:.0f}", "; ".join(bad[0].failures) if bad else ""))
    output.table("Cases", ["case", "", "steps", "ms", "why"], rows, numbers=["steps", "ms"])
    if done.not_run:
        output.say(f"not for this profile: {', '.join(done.not_run)}")
    if done.cuts:
        repeats = sum(one.repeats for one in done.cases)
        output.say(f"{done.cuts} messages had their connection cut, {repeats} were repeated")
    if done.load is not None:
        _show_load(done.load)
    output.say(f"{len(done.cases) - failed} passed, {failed} failed")


def _load_as_json(result: TrafficResult) -> dict[str, Any]:
    books = asdict(result.books) | {"agrees": result.books.agrees}
    return asdict(result) | {"unanswered": result.timeouts + result.lost, "books": books}


def _show_load(result: TrafficResult) -> None:
    figures = {name: value for name, value in asdict(result).items() if not isinstance(value, dict)}
    rows = [(name, f"{value:.2f}" if isinstance(value, float) else value) for name, value in figures.items()]
    output.table("", ["figure", "value"], rows, numbers=["value"])
    output.table("Mix", ["kind", "transactions"], list(result.kinds.items()), numbers=["transactions"])
    answers = [(code, says(code), count) for code, count in result.codes.items()]
    output.table("Answers (DE39)", ["code", "meaning", "answers"], answers, numbers=["answers"])
    books = result.books
    output.say(
        f"books: {books.compared} cards compared, {output.rupiah(books.spent_idr)} paid; the bank says "
        f"{output.rupiah(books.bank_spent_idr)}; {books.unsure} cards unsure, {books.untold} not told"
    )
    for line in books.differences:
        output.say(f"  {line}")


def _refuse_differences(result: TrafficResult) -> None:
    if result.unresolved:
        refuse(f"{result.unresolved} messages could not be settled")
    if not result.books.agrees:
        refuse(f"the books of {len(result.books.differences)} cards differ: {result.books.differences[0]}")
