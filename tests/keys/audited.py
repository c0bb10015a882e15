"""An HSM with one key of each usage, whose auditor listens, and what he must hear of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keys import tr31
from keys.errors import KeyBlockError, KeyRefused, KeysError, KsnRefused
from keys.keytypes import Exportability, KeyMode, KeySpec, KeyUsage
from keys.toolbox import Refusal
from keys.tr31_header import Header
from tests.keys.at_work import formed
from tests.keys.backends import BACKENDS
from tests.keys.samples import SECOND_KEY, attributes_of, one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.permissions import Handling, Operation

TOLD = (KeyRefused, KeyBlockError, KsnRefused)
"""The errors of which the auditor hears."""
KBPK = bytes(range(32))


class Audited(NamedTuple):
    """An HSM with one key of each usage, as free as its usage allows, and what its auditor heard."""

    hsm: Hsm
    keys: dict[KeyUsage, KeyHandle]
    heard: list[Refusal]
    block: str

    def told(self, key: str, operation: Operation | Handling, call: Callable[[], object]) -> KeysError | None:
        """The error of a call, if there is one: heard of once where it is one for the sake of a key, and else not at all."""
        self.heard.clear()
        error: KeysError | None = None
        try:
            call()
        except KeysError as caught:
            error = caught
        assert error is None or one_line(error)
        assert self.heard == ([Refusal(key, operation, str(error))] if isinstance(error, TOLD) else [])
        return error


def audited_hsm(backend: str, folder: Path) -> Audited:
    """One of a back end, in a folder."""
    heard: list[Refusal] = []
    hsm = BACKENDS[backend](folder, on_refusal=heard.append)
    keys = {usage: hsm.generate(spec_of(usage), usage.name) for usage in KeyUsage}
    keys[KeyUsage.KEY_BLOCK_PROTECTION] = formed(hsm, spec_of(KeyUsage.KEY_BLOCK_PROTECTION), KBPK)
    block = tr31.wrap(KBPK, Header("D", "M3", "T", "C"), SECOND_KEY)
    return Audited(hsm, keys, heard, block)


def spec_of(usage: KeyUsage) -> KeySpec:
    """A key that may do most, and leave, in one of the two ways."""
    mode = KeyMode.BOTH if usage is KeyUsage.PIN_ENCRYPTION else None
    leaving = Exportability.SENSITIVE if usage is KeyUsage.MAC_CMAC else Exportability.EXPORTABLE
    return KeySpec(usage, mode=mode, attributes=attributes_of(usage), exportability=leaving)
