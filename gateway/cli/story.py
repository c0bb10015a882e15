"""`kks demo`: the whole story, told as it goes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import Json, run, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

FEWEST, MOST = 1_000, 50_000


class ConsoleTeller:
    """Tells the story on the terminal."""

    def __init__(self, *, quiet: bool) -> None:
        """QUIET: tell nothing (--json)."""
        self._quiet = quiet

    def line(self, text: str) -> None:
        """One line of the story."""
        if not self._quiet:
            output.say(text)

    def bar(self, what: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar."""
        return output.progress(what, total, quiet=self._quiet)


def demo(
    families: Annotated[int, typer.Option("--families", min=FEWEST, max=MOST, help="rows of the sample list")] = 1_200,
    *,
    json: Json = False,
) -> None:
    """From an approved list to a paid-out, proven and returned rupiah, on the embedded PostgreSQL."""
    from gateway.demo import describe, run_demo
    from gateway.telemetry import configure

    chosen = settings()
    configure("error")
    result = run(run_demo(chosen, families, ConsoleTeller(quiet=json)))
    if json:
        values = asdict(result)
        del values["surprises"]
        output.as_json(values)
    else:
        rows = [
            (what, output.rupiah(value) if what in MONEY else output.number(value)) for what, value in describe(result)
        ]
        output.table("What happened", ["", "how much"], rows, numbers=["how much"])
        output.table("Answers (DE39)", ["code", "answers"], list(result.authorisations.items()), numbers=["answers"])
        output.say(f"Proof: {'every rupiah is explained' if result.proof_ok else 'DOES NOT HOLD'}. {result.seconds} s.")
        where = chosen.data_dir
        output.say("")
        output.say("Where to look next:")
        output.say("  ./kks serve                 the service on this data; ./kks simulate --help talks to it")
        output.say("  ./kks ledger proof          the proof again; ./kks audit verify for the audit chain")
        output.say(f"  {where}/demo                  the lists, the result files, and wallet.json with the test cards")
    if not result.proof_ok:
        raise typer.Exit(1)


MONEY = {"credited", "withdrawn", "purchased", "frozen", "returned to the treasury", "remaining with families"}
