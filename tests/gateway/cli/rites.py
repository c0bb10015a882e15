"""`kks keys` as custodians use it, whose every output is looked at for key material."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.gateway.rites import FIRST, SECOND

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell

BOTH = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
ZPK = bytes.fromhex("89B07B35A1B3F47E89B07B35A1B3F488")
SITI, BUDI = ("--as", "siti"), ("--as", "budi")


def secrets() -> list[str]:
    """What may never be seen, as it would look."""
    return [secret.hex()[:20] for secret in (FIRST, SECOND, BOTH, ZPK)]


class Rites:
    """`kks keys`, whose every output is looked at for key material."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    def run(self, *words: str, typed: str | None = None) -> str:
        """What a person reads; nothing on standard error."""
        code, out, err = self.shell.run("keys", *words, typed=typed)
        assert (0, "") == (code, err), err
        return self._looked_at(out)

    def json(self, *words: str, typed: str | None = None) -> dict[str, Any]:
        """One object, in the last line."""
        found: dict[str, Any] = json.loads(self.run(*words, "--json", typed=typed).splitlines()[-1])
        return found

    def refused(self, *words: str, typed: str | None = None) -> str:
        """One line, exit 1, no traceback."""
        return self._looked_at(self.shell.refused("keys", *words, typed=typed))

    def component(
        self, number: int, *words: str, label: str = "zmk", usage: str = "K1", value: bytes | None = None
    ) -> str:
        """Arguments apart, FIRST by siti or SECOND by budi."""
        value = value or (FIRST, SECOND)[number - 1]
        by = (SITI, BUDI)[number - 1]
        return self.run(
            "component", label, "--usage", usage, "--number", str(number), *by, *words, typed=f"{value.hex()}\n"
        )

    def zmk(self) -> None:
        """A ZMK of two custodians."""
        self.component(1)
        self.component(2)

    def zpk(self, label: str = "zpk") -> None:
        """A ZPK of two people that may leave."""
        self.run("generate", label, "--usage", "P0", "--mode", "B", "--exportable", *SITI)
        self.run("activate", label, *BUDI)

    def state(self, key: str) -> str:
        """Of one key, as the list has it."""
        (state,) = [one["state"] for one in self.json("list")["keys"] if one["key"] == key]
        return str(state)

    def _looked_at(self, text: str) -> str:
        assert [] == [secret for secret in secrets() if secret in text.lower().replace(" ", "")]
        return text
