"""The back ends that the tests of hsm.py run over. A new one is one more line of BACKENDS."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from keys.master import MasterKey
from keys.pkcs11 import Pkcs11Hsm
from keys.software import SoftwareHsm
from tests.keys import softhsm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.toolbox import Refusal

MASTER = MasterKey(bytes(range(32)))


class Backend(Protocol):
    """Makes an HSM without keys in a folder, or opens the one that is there already."""

    def __call__(
        self,
        folder: Path,
        *,
        today: Callable[[], date] | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> Hsm:
        """TODAY and ON_REFUSAL as local.LocalHsm has them."""
        ...


def in_memory(
    folder: Path, *, today: Callable[[], date] | None = None, on_refusal: Callable[[Refusal], None] | None = None
) -> Hsm:
    """Software, keys that go with the process."""
    del folder
    return SoftwareHsm.in_memory(today=today, on_refusal=on_refusal)


def software(
    folder: Path, *, today: Callable[[], date] | None = None, on_refusal: Callable[[Refusal], None] | None = None
) -> Hsm:
    """Software over a keystore file."""
    path = folder / "keystore"
    make = SoftwareHsm.open if path.exists() else SoftwareHsm.create
    return make(path, MASTER, today=today, on_refusal=on_refusal)


def pkcs11(
    folder: Path, *, today: Callable[[], date] | None = None, on_refusal: Callable[[Refusal], None] | None = None
) -> Hsm:
    """A token of SoftHSM over a keystore file."""
    path = folder / "keystore"
    make = Pkcs11Hsm.open if path.exists() else Pkcs11Hsm.create
    return make(path, softhsm.shared_token(), today=today, on_refusal=on_refusal)


BACKENDS: Mapping[str, Backend] = MappingProxyType({"memory": in_memory, "software": software, "pkcs11": pkcs11})

FORGETFUL = frozenset({"memory"})
"""Those whose keys go with the process: nothing is opened again, and no component waits."""

LACKS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pkcs11": frozenset(
            {
                "initial DUKPT key",  # its walk wants single DES under keys made on the way
                "Visa script key",  # a key XOR data
                "blocks of versions A and C",  # their KBPK is XORed with a constant
            }
        )
    }
)
"""What a back end refuses, in one line that says so, and the others do. Everything else all of them do."""

MARKS = MappingProxyType({"pkcs11": softhsm.needs_token})
"""What pytest must know of a back end."""


def lacks(backend: str, what: str) -> bool:
    """Whether a back end is one that does not do this."""
    known = {one for lacking in LACKS.values() for one in lacking}
    assert what in known, f"{what}: is not in LACKS"
    return what in LACKS.get(backend, frozenset())
