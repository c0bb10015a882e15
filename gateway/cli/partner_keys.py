"""Keys by which a partner and the bank know each other: `kks keys import-rsa`, `import-secret`, `export-public`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import keystore
from gateway.cli.keystore import TAKEN_IN, ActiveFrom, ActiveTo, content_of, run_ceremony, said, spec_of
from gateway.cli.running import As, Json, who, with_bank

if TYPE_CHECKING:
    from gateway.operations.bank import Bank


def import_rsa(
    label: str,
    file: Annotated[str, typer.Option("--file", help="PEM or DER: a private key to sign with, or a partner's public key")],
    by: As = "", *, json: Json = False,
) -> None:  # fmt: skip
    """Take in an RSA key. It works once another person has activated it."""
    spec = spec_of("S0", None, None, None, None, None, None)
    encoded = content_of(f"@{file}" if file != "-" else file)
    run_ceremony(lambda bank, do: do.import_signing_key(bank, who(by), label, encoded, spec), json, TAKEN_IN)


def import_secret(
    label: str,
    file: Annotated[str, typer.Option("--file", help="the secret as text, 16 to 1024 bytes; - for standard input, unseen")],
    mode: Annotated[str, typer.Option("--mode", help="V: verify what the partner signs; G: sign what goes to him")] = "V",
    active_from: ActiveFrom = None, active_to: ActiveTo = None, by: As = "",
    *, json: Json = False,
) -> None:  # fmt: skip
    """Take in a partner's client secret for signatures by HMAC-SHA512. It works once another person has activated it."""
    attributes = ["digest=SHA-512", "mac_length=64"]
    spec = spec_of("M7", None, mode, None, active_from, active_to, attributes)
    secret = _secret(file, label)
    run_ceremony(lambda bank, do: do.import_secret(bank, who(by), label, secret, spec), json, TAKEN_IN)


def export_public(key: str, by: As = "", *, json: Json = False) -> None:
    """The public half of an RSA key in PEM, for a partner. KEY: LABEL or LABEL#VERSION."""

    async def work(bank: Bank) -> tuple[str, str]:
        from gateway.operations import ceremony

        pem = await ceremony.export_public(bank, who(by), key)
        return pem, str(bank.hsm.kcv(ceremony.found(bank, key)))

    pem, check = with_bank(work)
    said({"public_key": pem, "kcv": check}, json, f"{pem}check value {check}")


def register() -> None:
    """Add these commands to the group of the others with keys."""
    keystore.keys.command("import-rsa")(import_rsa)
    keystore.keys.command("import-secret")(import_secret)
    keystore.keys.command("export-public")(export_public)


def _secret(file: str, label: str) -> bytes:
    """The secret in a file, or typed without being shown. A line end behind it is none of it."""
    if file == "-" and sys.stdin.isatty():
        return str(typer.prompt(f"secret of {label}", hide_input=True)).encode("utf-8", "replace")
    content = content_of(f"@{file}" if file != "-" else file)
    return content.removesuffix(b"\n").removesuffix(b"\r")
