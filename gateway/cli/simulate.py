"""`kks simulate`."""
import typer

simulate = typer.Typer(help="Terminals.", no_args_is_help=True)


@simulate.command("codec")
def codec() -> None:
    """Codec."""


@simulate.command("keys")
def keys() -> None:
    """Keys."""
