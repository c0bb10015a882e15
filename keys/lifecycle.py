"""The life of keys in a local back end: made, formed, taken in, given out, moved from state to state, destroyed.

Refuses to know what keys are used for and where they are stored. Read next: keystore.py, tr31.py, local.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic

from keys import key_blocks, rsa_keys, signing, usages
from keys.envelope import Raw
from keys.errors import KeyRefused
from keys.keytypes import (
    Algorithm,
    KeyHandle,
    KeyInfo,
    KeyMode,
    KeySpec,
    KeyState,
    KeyUsage,
    check_end,
    check_transition,
)
from keys.permissions import Handling, Operation, check_allowed
from keys.sensitive import Material

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from keys.kcv import Kcv
    from keys.keystore import Component, Keystore
    from keys.toolbox import Toolbox
    from keys.workshop import Workshop


class Lifecycle(Generic[Raw]):
    """The commands of hsm.KeyCommands. STORE is None for keys that go with the process."""

    def __init__(self, tools: Toolbox[Raw], workshop: Workshop[Raw], store: Keystore[Raw] | None) -> None:
        self._tools = tools
        self._workshop = workshop
        self._store = store
        self._lost = False
        self._unwrap = tools.ready(Operation.UNWRAP_KEY, lambda info, raw: key_blocks.opener(workshop, info, raw))
        self._wrap = tools.ready(Operation.WRAP_KEY, lambda info, raw: key_blocks.wrapper(workshop, info, raw))
        if store is not None:
            self._load(store)

    def generate(self, spec: KeySpec | KeyUsage, label: str) -> KeyHandle:
        """Make and keep a random key; a triple DES key has odd parity."""
        spec = _spec(spec)
        with self._tools.bringing_in(label):
            usages.check_label(label)
            return self._keep(spec, label, self._workshop.make(spec, usages.bytes_to_make(spec)))

    def form(self, spec: KeySpec | KeyUsage, label: str, components: Sequence[bytes]) -> KeyHandle:
        """Keep the XOR of two or more components. Weak keys, equal halves and single DES are KeyRefused."""
        with self._tools.bringing_in(label):
            return self._take(_spec(spec), label, usages.combine(components))

    def enter_component(self, spec: KeySpec | KeyUsage, component: Component, value: bytes) -> KeyHandle | None:
        """Keep a component until all are there; the last one forms the key."""
        with self._tools.bringing_in(component.label):
            return self._enter(_spec(spec), component, value)

    def components(self) -> list[Component]:
        """The components that wait."""
        return [] if self._store is None else self._store.components()

    def forget_components(self, label: str) -> int:
        """Throw them away."""
        return 0 if self._store is None else self._store.forget_components(label)

    def import_block(
        self, label: str, block: str, kbpk: KeyHandle, spec: KeySpec | None = None, state: KeyState | None = None
    ) -> KeyHandle:
        """Keep the key of a TR-31 block, as its header says. What is refused is told of the KBPK: it vouches for the block."""
        unwrap = self._unwrap[kbpk]
        with self._tools.telling(kbpk, Operation.UNWRAP_KEY):
            header, key = unwrap(block)
            known = key_blocks.spec_of(header, spec)
            return self._take(known if state is None else replace(known, state=state), label, key)

    def export_block(self, handle: KeyHandle, kbpk: KeyHandle) -> str:
        """The key in a TR-31 block."""
        wrap = self._wrap[kbpk]
        info, raw = self._tools.allowed(handle, Operation.LEAVE)
        with self._tools.telling(handle, Operation.LEAVE):
            return wrap(key_blocks.header_of(info), self._workshop.give(raw).reveal())

    def rewrap_block(self, block: str, source: KeyHandle, target: KeyHandle) -> str:
        """A key block of one KBPK under another. What is refused of the block is told of SOURCE, which vouches for it."""
        unwrap, wrap = self._unwrap[source], self._wrap[target]
        with self._tools.telling(source, Operation.UNWRAP_KEY):
            header, key = unwrap(block)
            self._check_passing(key_blocks.spec_of(header, None), key)
        with self._tools.telling(target, Operation.WRAP_KEY):
            return wrap(key_blocks.passed_on(header), key)

    def import_signing_key(self, label: str, encoded: bytes, spec: KeySpec | None = None) -> KeyHandle:
        """Keep an RSA key."""
        with self._tools.bringing_in(label):
            usages.check_label(label)
            der, private = rsa_keys.kept(encoded)
            mode = KeyMode.SIGN if private else KeyMode.VERIFY
            wanted = spec or KeySpec(KeyUsage.SIGNATURE)
            if wanted.usage is not KeyUsage.SIGNATURE or wanted.mode not in (None, mode):
                raise KeyRefused(f"key {label}: an RSA key is of usage S0, and this one of mode {mode.value}")
            return self._take(replace(wanted, algorithm=Algorithm.RSA, mode=mode), label, der)

    def import_secret(self, label: str, secret: bytes, spec: KeySpec | None = None) -> KeyHandle:
        """Keep a partner's secret, which is text of any length, as an HMAC key: of SHA-512 to verify, unless SPEC says else."""
        wanted = spec or KeySpec(KeyUsage.MAC_HMAC)
        with self._tools.bringing_in(label):
            usages.check_label(label)
            if wanted.usage is not KeyUsage.MAC_HMAC or wanted.mode not in (None, KeyMode.VERIFY, KeyMode.GENERATE):
                raise KeyRefused(
                    f"key {label}: a secret is of usage M7, and verifies (V) or generates (G), one of the two"
                )
            attributes = wanted.attributes or signing.SNAP
            wanted = replace(wanted, mode=wanted.mode or KeyMode.VERIFY, attributes=attributes)
            key = signing.secret_key(secret, attributes.digest)
            _check_bits(wanted, label, 8 * len(key))
            usages.check_strength(Algorithm.HMAC, Material(secret))
            return self._keep(wanted, label, self._workshop.take(wanted, Material(key)))

    def public_key(self, handle: KeyHandle) -> bytes:
        """The public half of an RSA key: SubjectPublicKeyInfo in PEM."""
        _, raw = self._tools.allowed(handle, Operation.SHOW_PUBLIC)
        return rsa_keys.public_pem(self._workshop.public(raw)).encode("ascii")

    def find(self, label: str) -> KeyHandle:
        """The newest version that may work today, else the newest of all."""
        found = self._tools.versions(label)
        if not found:
            raise KeyRefused(f"there is no key {label!r} in this HSM")
        return next(iter(self.find_all(label)), found[0])

    def find_all(self, label: str) -> list[KeyHandle]:
        """Every version that may work today, newest first."""
        today = self._tools.today()
        found = self._tools.versions(label)
        return [handle for handle in found if self._tools.known(handle).info.state_on(today) is KeyState.ACTIVE]

    def versions(self, label: str) -> list[KeyHandle]:
        """Every version, newest first."""
        return self._tools.versions(label)

    def version(self, label: str, number: int) -> KeyHandle:
        """One version."""
        return self._tools.handle(label, number)

    def keys(self) -> list[KeyInfo]:
        """All keys."""
        return self._tools.infos()

    def info(self, handle: KeyHandle) -> KeyInfo:
        """The header of one key."""
        with self._tools.telling(handle, Handling.LOOK):
            return self._tools.known(handle).info

    def kcv(self, handle: KeyHandle) -> Kcv:
        """The key check value."""
        return self.info(handle).kcv

    def set_state(self, handle: KeyHandle, state: KeyState) -> None:
        """Move a key along its life."""
        with self._tools.telling(handle, Handling.CHANGE_STATE):
            info, raw = self._tools.known(handle)
            check_transition(info, state)
            moved = replace(info, state=state) if self._store is None else self._store.set_state(info, state)
        self._tools.put(moved, None if state is KeyState.DESTROYED else raw)

    def end_on(self, handle: KeyHandle, last_day: date) -> None:
        """Let a key work to the end of LAST_DAY."""
        with self._tools.telling(handle, Handling.END):
            info, raw = self._tools.known(handle)
            check_end(info, last_day)
            ended = replace(info, active_to=last_day)
            usages.check_header(ended)
            ended = ended if self._store is None else self._store.end_on(info, last_day)
        self._tools.put(ended, raw)

    def serial(self) -> int:
        """How many changes the keystore has had."""
        return 0 if self._store is None else self._store.serial()

    def refresh(self) -> bool:
        """Take up what another process changed; all keys anew where the back end was away, with the keys it held."""
        if self._store is None:
            return False
        self._lost = self._workshop.restore() or self._lost  # until they are loaded
        if not self._lost and not self._store.changed():
            return False
        self._load(self._store)
        self._lost = False
        return True

    def _load(self, store: Keystore[Raw]) -> None:
        for info, raw in store.load({} if self._lost else self._tools.held()):
            self._tools.put(info, raw)

    def _enter(self, spec: KeySpec, component: Component, value: bytes) -> KeyHandle | None:
        usages.check_label(component.label)
        usages.check_custodian(component.custodian)
        usages.check_component(component.label, value, component.number, component.of)
        if self._store is None:
            raise KeyRefused("keys of this HSM go with the process: it keeps no components")
        check = usages.component_check_value(spec, value)
        if component.kcv and not check.on_sheet(component.kcv):
            raise KeyRefused(
                f"component {component.number} of {component.label}: its check value is {check}, not as told"
            )
        component = component._replace(kcv=check.value, purpose=usages.purpose_of(spec))
        together = self._store.add_component(component, value)
        if len(together) < component.of:
            return None
        try:
            whole = usages.combine([data for _, data in together])
            return self._take(spec, component.label, whole, [one for one, _ in together])
        except KeyRefused:  # they form no key that may be: all are entered anew. Cut off or away, they wait
            self._store.forget_components(component.label)
            raise

    def _check_passing(self, spec: KeySpec, key: bytes) -> None:
        """Raise KeyRefused unless a key in a block might be taken in here, and leave again."""
        material, algorithm = Material(usages.normal(spec, key)), usages.algorithm_of(spec)
        bits = usages.bits_of(algorithm, material)
        usages.check_length(spec, bits)
        usages.check_strength(algorithm, material)
        info = _header(spec, "in-the-block", self._tools.today(), bits, usages.check_value(algorithm, material))
        check_allowed(info, Operation.LEAVE, self._tools.today())

    def _take(self, spec: KeySpec, label: str, key: bytes, formed_of: Sequence[Component] = ()) -> KeyHandle:
        usages.check_label(label)
        material, algorithm = Material(usages.normal(spec, key)), usages.algorithm_of(spec)
        bits = usages.bits_of(algorithm, material)
        _check_bits(spec, label, bits)
        usages.check_length(spec, bits)
        usages.check_strength(algorithm, material)
        return self._keep(spec, label, self._workshop.take(spec, material), formed_of)

    def _keep(self, spec: KeySpec, label: str, raw: Raw, formed_of: Sequence[Component] = ()) -> KeyHandle:
        """Keep a key that was made or came in. One that is refused, or cannot be stored, does not stay in the back end."""
        try:
            info = self._info(spec, label, raw)
            info = self._numbered(info) if self._store is None else self._store.add(info, raw, formed_of)
        except BaseException:
            self._workshop.let_go(raw)
            raise
        return self._tools.put(info, raw)

    def _info(self, spec: KeySpec, label: str, raw: Raw) -> KeyInfo:
        algorithm, workshop = usages.algorithm_of(spec), self._workshop
        check = workshop.check_value(algorithm, raw)
        return _header(spec, label, self._tools.today(), workshop.bits(algorithm, raw), check)

    def _numbered(self, info: KeyInfo) -> KeyInfo:
        known = self._tools.versions(info.label)
        if known and known[0].usage is not info.usage:
            raise KeyRefused(f"key {info.label}: is of another usage in its other versions")
        numbered = replace(info, version=known[0].version + 1 if known else 1)
        usages.check_header(numbered)
        return numbered


def _header(spec: KeySpec, label: str, today: date, bits: int, check: Kcv) -> KeyInfo:
    """The header of a new key. Raises KeyRefused where none may have it."""
    rule = usages.USAGES[spec.usage]
    info = KeyInfo(
        label=label,
        usage=spec.usage,
        algorithm=usages.algorithm_of(spec),
        mode=spec.mode or rule.modes[0],
        exportability=spec.exportability,
        state=spec.state,
        version=1,
        created=today,
        active_from=spec.active_from,
        active_to=spec.active_to,
        bits=bits,
        kcv=check,
        attributes=spec.attributes or rule.attributes,
    )
    usages.check_new(info)
    return info


def _check_bits(spec: KeySpec, label: str, bits: int) -> None:
    """Raise KeyRefused unless a key that came has the bits asked for, if any were."""
    if spec.bits not in (None, bits):
        raise KeyRefused(f"key {label}: has {bits} bits, not the {spec.bits} asked for")


def _spec(spec: KeySpec | KeyUsage) -> KeySpec:
    return spec if isinstance(spec, KeySpec) else KeySpec(spec)
