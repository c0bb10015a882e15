"""Every answer of every command of the facade, and whether a key stands in one of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from keys.errors import KeyRefused
from keys.keytypes import Algorithm, Exportability, KeySpec
from keys.sensitive import Material
from keys.usages import USAGES
from tests.keys.calls import CALLS, WIDEST, Trial, keep
from tests.keys.samples import keys_of_all_usages, rsa_private

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.keytypes import KeyHandle


class Spy:
    """An HSM that keeps every answer it gives."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.answers: list[object] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        command = getattr(self.inner, name)

        def ask(*given: object, **named: object) -> Any:  # noqa: ANN401 - whatever it answers
            answer = command(*given, **named)
            self.answers.append(answer)
            return answer

        return ask


def every_answer() -> tuple[list[object], set[str]]:
    """What comes back of every call of every command, with every kind of key, leaving ones too; and which commands answered."""
    trial = Trial()
    spy = Spy(trial.hsm)
    trial.hsm = spy  # type: ignore[assignment]
    answered: set[str] = set()
    for usage, rule in USAGES.items():
        for algorithm in rule.algorithms:
            widest = next(mode for mode in WIDEST if mode in rule.modes)
            modes = rule.modes if algorithm is Algorithm.RSA else [widest]  # of RSA each half has a key of its own
            for mode in modes:
                spec = KeySpec(usage, algorithm, mode, exportability=Exportability.EXPORTABLE)
                answered |= _all_calls(trial, keep(trial.hsm, spec, f"kept.{usage}.{algorithm}.{mode}"))
    spy.answers += [command() for command in (spy.keys, spy.components)]
    return spy.answers, answered


def _all_calls(trial: Trial, key: KeyHandle) -> set[str]:
    """Make every call with a key. Gives the commands that answered; the others refuse it."""
    answered = set()
    for call in CALLS:
        try:
            assert call.is_right(trial, key)
        except KeyRefused:
            continue
        answered.add(call.command)
    return answered


def holds_a_key(answer: object) -> bool:
    """Whether an answer is a key of the samples, or shows eight bytes or more of one."""
    if isinstance(answer, Material):
        return True
    seen = answer if isinstance(answer, bytes) else repr(answer).encode()
    return any(secret in seen for secret in _secrets())


def pieces(key: bytes) -> set[bytes]:
    """Each 8 bytes of a key, and the same in hex; of long ones the first 32, since later sample bytes read as digits."""
    parts = {key[at : at + 8] for at in range(0, min(len(key), 32) - 7, 8)}
    return parts | {part.hex().encode() for part in parts} | {part.hex().upper().encode() for part in parts}


@functools.cache
def _secrets() -> frozenset[bytes]:
    found = set[bytes]().union(*(pieces(material.reveal()) for _, material in keys_of_all_usages()))
    return frozenset(found | pieces(rsa_private()[-64:]))
