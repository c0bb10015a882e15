"""How the command line speaks: lines, tables and progress bars for people; one JSON object as the last line for programs.

The only place of the bank that writes to standard output.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PLAIN_WIDTH = 160  # columns where output goes to a file or a pipe
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str = "") -> None:
    """One line for a person."""
    out.print(line, markup=False)


def fail(line: str) -> None:
    """The one clear line of a refusal, on standard error."""
    err.print(f"kks: {line}", markup=False)


def as_json(value: dict[str, Any]) -> None:
    """One JSON object as the last line."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """A table; columns named in NUMBERS stand on the right."""
    shown = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(shown)


def rupiah(amount_idr: int) -> str:
    """Rupiah as Indonesia writes it.

    >>> rupiah(1500000)
    'Rp1.500.000'
    """
    return f"Rp{amount_idr:,}".replace(",", ".")


def number(value: int) -> str:
    """A count as Indonesia writes it."""
    return f"{value:,}".replace(",", ".")


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; nothing where nobody looks. Call what it yields with how much more is done."""
    if quiet or not err.is_terminal:
        yield lambda _done: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
