"""`kks bench`, `kks chaos` and `kks torture`: measurements."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.running import Json, run, settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

bench = typer.Typer(help="Measurements, each side by side with a yardstick in one run.", no_args_is_help=True)
Rows = Annotated[int, typer.Option("--rows", min=1_000, max=2_500_000, help="rows of the list")]


@bench.command("authorise")
def authorise(
    accounts: Annotated[
        int, typer.Option("--accounts", min=1_000, max=10_000_000, help="families with a card")
    ] = 100_000,
    clients: Annotated[int, typer.Option("--clients", min=8, max=1_000, help="requests in flight")] = 256,
    seconds: Annotated[float, typer.Option("--seconds", min=2, max=600, help="length of each run")] = 15,
    processes: Annotated[int, typer.Option("--processes", min=1, max=8, help="gateway processes on one database")] = 1,
    *,
    reuse: Annotated[bool, typer.Option("--reuse", help="use the families of the run before where they fit")] = False,
    json: Json = False,
) -> None:
    """Cash withdrawals with PIN over TCP, everything on, against pgbench's TPC-B."""
    from gateway.measure import authorise as measured

    work = measured.measure(settings(), accounts, clients, seconds, _say(json=json), processes=processes, reuse=reuse)
    _show(work, json=json)


@bench.command("intake")
def intake(rows: Rows = 100_000, *, json: Json = False) -> None:
    """A KPM list from file to accounts opened and cards ordered, against COPY of as many rows."""
    from gateway.measure import lists as measured

    _show(measured.measure_intake(settings(), rows, _say(json=json)), json=json)


@bench.command("credit")
def credit(
    rows: Rows = 100_000,
    kill: Annotated[int, typer.Option("--kill", min=0, max=100, help="kill a second run this often, compare")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="the same seed kills at the same rows")] = 1,
    *,
    json: Json = False,
) -> None:
    """An SI from file to credited and reported, against COPY of as many rows; killed and resumed, where asked."""
    from gateway.measure import lists as measured

    figures = _show(measured.measure_credit(settings(), rows, _say(json=json), kill, seed), json=json)
    if figures.same_ledger is False:
        output.fail("the run that was killed left another ledger than the one that was not")
        raise typer.Exit(1)


@bench.command("codec")
def codec(
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=120, help="length of each run")] = 5,
    malformed: Annotated[
        int, typer.Option("--malformed", min=0, max=100_000_000, help="malformed frames thrown at our listener")
    ] = 1_000_000,
    *,
    json: Json = False,
) -> None:
    """Decode, answer and encode a 15-field 0200, against pyiso8583; then malformed frames: exit 1 where the listener hangs."""
    from gateway.measure import codec as measured

    figures = _show(measured.measure(seconds, malformed=malformed), json=json)
    if figures.malformed_hung:
        output.fail(f"{figures.malformed_hung} batches of malformed frames got neither an answer nor a close in time")
        raise typer.Exit(1)


@bench.command("keys")
def keys(
    seconds: Annotated[float, typer.Option("--seconds", min=0.2, max=120, help="processor time of each side")] = 3,
    *,
    json: Json = False,
) -> None:
    """PIN verification, TR-31 unwrap and ARQC, against psec and pyemv."""
    from gateway.measure import keys as measured

    _show(measured.measure(seconds), json=json)


@bench.command("proof")
def proof(
    transfers: Annotated[
        int, typer.Option("--transfers", min=1_000, max=200_000_000, help="length of the journal")
    ] = 1_000_000,
    *,
    json: Json = False,
) -> None:
    """Closing a day, and the proof since the last close, against the proof of the whole journal."""
    from gateway.measure import proof as measured

    _show(measured.measure(settings(), transfers, _say(json=json)), json=json)


def chaos(
    seconds: Annotated[float, typer.Option("--seconds", min=5, max=3_600, help="how long")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="the same seed kills in the same order")] = 1,
    *,
    json: Json = False,
) -> None:
    """Load while gateway and PostgreSQL are killed again and again; then terminals' journals against the ledger."""
    from gateway.measure import chaos as measured

    result = _show(measured.run_chaos(settings(), seconds, seed, _say(json=json)), json=json)
    if result.lost or result.doubled or not result.proof_ok:
        output.fail("money was lost or doubled, or a proof does not hold")
        raise typer.Exit(1)


def torture(
    seed: Annotated[int, typer.Option("--seed", help="the same seed plays the same days again")] = 1,
    days: Annotated[int, typer.Option("--days", min=1, max=10_000, help="random days, some of them months apart")] = 30,
    families: Annotated[int, typer.Option("--families", min=2, max=500, help="families of the small bank")] = 24,
    *,
    json: Json = False,
) -> None:
    """Random days of a small bank with crashes, beside a model of it; every invariant is checked after every step."""
    from gateway.measure.torture import run as measured

    work = measured.run_torture(settings(), seed, days, families, _say(json=json))
    result = _show(work, json=json, level="critical")
    if result.failure:
        output.fail(result.failure)
        raise typer.Exit(1)


def _show(work: Coroutine[Any, Any, Any], *, json: bool, level: str = "error") -> Any:  # noqa: ANN401 - a dataclass of figures
    from gateway.telemetry import configure

    configure(level)
    figures = run(work)
    values = {name: value for name, value in asdict(figures).items() if value is not None}
    if json:
        output.as_json(values)
    else:
        output.table("", ["figure", "value"], list(values.items()), numbers=["value"])
    return figures


def _say(*, json: bool) -> Any:  # noqa: ANN401 - a function of one line
    return (lambda _line: None) if json else output.say
