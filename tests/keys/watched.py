"""A workshop of software that writes down what was asked of it, for tests of the commands above it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from keys.emv import SoftwareDeriver
from keys.local import LocalHsm
from keys.software import SoftwareWorkshop
from keys.workshop import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import date

    from keys.emv import Deriver
    from keys.keytypes import KeyInfo, KeySpec
    from keys.sensitive import Material
    from keys.toolbox import Refusal


class WatchedWorkshop(SoftwareWorkshop):
    """`calls`: the tools used since `forget`, with how many bytes; `made`: tools made ready; `taken`: keys that came in."""

    def __init__(self, random: Callable[[int], bytes] | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.made: list[str] = []
        self.taken: list[KeySpec] = []
        self.given = 0
        self.open_derivers = 0
        self._random = random

    def forget(self) -> None:
        """Start anew."""
        self.calls.clear()
        self.made.clear()

    def take(self, spec: KeySpec, material: Material) -> Material:
        """Written down."""
        self.taken.append(spec)
        return super().take(spec, material)

    def give(self, raw: Material) -> Material:
        """Counted."""
        self.given += 1
        return super().give(raw)

    def encipherer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """Watched."""
        return self._watched(f"encipher {info.label}", super().encipherer(info, raw))

    def decipherer(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """Watched."""
        return self._watched(f"decipher {info.label}", super().decipherer(info, raw))

    def mac(self, info: KeyInfo, raw: Material) -> Callable[[bytes], bytes]:
        """Watched."""
        return self._watched(f"mac {info.label}", super().mac(info, raw))

    def sealing(self, info: KeyInfo, raw: Material) -> Sealing:
        """Watched."""
        tools = super().sealing(info, raw)
        self.made.append(f"sealing {info.label}")

        def seal(nonce: bytes, data: bytes, aad: bytes) -> bytes:
            self.calls.append((f"seal {nonce.hex()}", len(data)))
            return tools.seal(nonce, data, aad)

        def unseal(nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
            self.calls.append((f"unseal {nonce.hex()}", len(sealed)))
            return tools.unseal(nonce, sealed, aad)

        return Sealing(seal, unseal)

    def deriving(self, info: KeyInfo, raw: Material) -> Callable[[], AbstractContextManager[Deriver]]:
        """Counted while it is open, as a token's is; each derivation is written down."""
        calls = self.calls

        class Watched(SoftwareDeriver):
            """The issuer's key."""

            def derive(self, data: bytes) -> SoftwareDeriver:
                """Written down."""
                calls.append((f"derive {info.label}", len(data)))
                return super().derive(data)

        @contextmanager
        def opened() -> Iterator[Deriver]:
            self.open_derivers += 1
            try:
                with Watched(raw.reveal()) as deriver:
                    yield deriver
            finally:
                self.open_derivers -= 1

        return opened

    def random(self, count: int) -> bytes:
        """Of the source asked for, else of the operating system; written down."""
        self.calls.append(("random", count))
        return self._random(count) if self._random is not None else super().random(count)

    def _watched(self, name: str, tool: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        self.made.append(name)

        def use(data: bytes) -> bytes:
            self.calls.append((name, len(data)))
            return tool(data)

        return use


def watched_hsm(
    random: Callable[[int], bytes] | None = None,
    *,
    today: Callable[[], date] | None = None,
    on_refusal: Callable[[Refusal], None] | None = None,
) -> tuple[LocalHsm[Material], WatchedWorkshop]:
    """An HSM over a watched workshop."""
    workshop = WatchedWorkshop(random)
    return LocalHsm(workshop, None, today=today, on_refusal=on_refusal), workshop
