"""The keys of an open local HSM, each made ready for one operation at a time, and only for those the table lets it do.

Making ready is what costs; a later call finds the tool in a dictionary. A key with a first or last day is asked about its date
each time. Every refusal is told to whoever audits. Refuses to know what the tools compute. Read next: permissions.py (the
table), workshop.py (who makes the tools), local.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from keys.envelope import Raw
from keys.errors import KeyRefused
from keys.keytypes import KeyHandle, KeyInfo
from keys.permissions import Operation, check_allowed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

Tool = TypeVar("Tool")


class Refusal(NamedTuple):
    """A use of a key that was refused: for the audit."""

    key: str
    operation: Operation
    reason: str


class Known(NamedTuple, Generic[Raw]):
    """A key of this HSM. `raw` is None once it is destroyed."""

    info: KeyInfo
    raw: Raw | None


class Ready(dict[KeyHandle, Tool], Generic[Tool]):
    """Tools for one operation. Asking for a key that may not do it raises KeyRefused with its reason."""

    def __init__(self, find: Callable[[KeyHandle], tuple[Tool, bool]]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, handle: KeyHandle) -> Tool:
        tool, lasting = self._find(handle)
        if lasting:
            self[handle] = tool
        return tool


class Toolbox(Generic[Raw]):
    """The keys, and what was made ready of them."""

    def __init__(
        self,
        today: Callable[[], date],
        on_refusal: Callable[[Refusal], None] | None,
        let_go: Callable[[Raw], None] | None = None,
    ) -> None:
        """LET_GO is told of each key that another has replaced, or that is destroyed."""
        self.today = today
        self._on_refusal = on_refusal
        self._let_go = let_go
        self._known: dict[KeyHandle, Known[Raw]] = {}
        self._handles: dict[tuple[str, int], KeyHandle] = {}
        self._ready: list[dict[KeyHandle, Any]] = []

    def ready(self, operation: Operation, make: Callable[[KeyInfo, Raw], Tool]) -> Ready[Tool]:
        """A dictionary of tools made by MAKE for the keys that may do OPERATION."""
        made: dict[KeyHandle, Tool] = {}

        def find(handle: KeyHandle) -> tuple[Tool, bool]:
            info, raw = self.allowed(handle, operation)
            if handle not in made:
                made[handle] = make(info, raw)
            return made[handle], info.active_from is None and info.active_to is None

        found: Ready[Tool] = Ready(find)
        self._ready += [made, found]
        return found

    def allowed(self, handle: KeyHandle, operation: Operation) -> tuple[KeyInfo, Raw]:
        """The key, if it may do OPERATION today. Else KeyRefused, which is told to the auditor."""
        try:
            info, raw = self.known(handle)
            check_allowed(info, operation, self.today())
        except KeyRefused as refused:
            self.tell(handle, operation, str(refused))
            raise
        if raw is None:
            raise KeyRefused(f"key {info.name}: is destroyed")
        return info, raw

    def tell(self, handle: KeyHandle, operation: Operation, reason: str) -> None:
        """Tell the auditor of a use that was refused."""
        if self._on_refusal is not None:
            name = f"{handle.label}#{handle.version}" if isinstance(handle, KeyHandle) else "no handle"
            self._on_refusal(Refusal(name, operation, reason))

    def known(self, handle: KeyHandle) -> Known[Raw]:
        """The key of a handle, whatever it may do. Raises KeyRefused for a handle of another HSM."""
        try:
            return self._known[handle]
        except (KeyError, TypeError):
            raise KeyRefused(f"{handle!r} is not a key of this HSM") from None

    def put(self, info: KeyInfo, raw: Raw | None) -> KeyHandle:
        """Know a key, or know it anew: what was made ready of it before is thrown away."""
        handle = self._handles.get((info.label, info.version))
        if handle is None:
            handle = KeyHandle(info.label, info.version, info.usage, info.kcv)
            self._handles[info.label, info.version] = handle
        before = self._known.get(handle)
        if before is None or before.info != info or before.raw is not raw:
            for tools in self._ready:
                tools.pop(handle, None)
            self._known[handle] = Known(info, raw)
        if self._let_go is not None and before is not None and before.raw is not None and before.raw is not raw:
            self._let_go(before.raw)
        return handle

    def held(self) -> dict[KeyInfo, Raw | None]:
        """The keys by their headers: what need not be opened again while the header is the same."""
        return dict(self._known.values())

    def versions(self, label: str) -> list[KeyHandle]:
        """The handles of a label, newest version first."""
        found = [handle for (name, _), handle in self._handles.items() if name == label]
        return sorted(found, key=lambda handle: -handle.version)

    def handle(self, label: str, version: int) -> KeyHandle:
        """The handle of one version. Raises KeyRefused where there is none."""
        try:
            return self._handles[label, version]
        except KeyError:
            raise KeyRefused(f"there is no key {label}#{version} in this HSM") from None

    def infos(self) -> list[KeyInfo]:
        """All keys, by label and version."""
        return sorted((known.info for known in self._known.values()), key=lambda info: (info.label, info.version))
