"""`kks bench` and `kks chaos`."""
import typer

bench = typer.Typer(help="Measurements.", no_args_is_help=True)


def chaos() -> None:
    """Chaos."""


@bench.command("codec")
def codec() -> None:
    """Codec."""


@bench.command("keys")
def keys() -> None:
    """Keys."""
