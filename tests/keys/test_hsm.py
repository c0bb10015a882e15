"""The seam itself: what can be asked of an HSM, and that no answer is a key. What is right is tested over every back end."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from keys import hsm
from keys.errors import KeyRefused
from keys.hsm import ChipAnswer, Dukpt, Hsm, NewPin, PinToVerify
from keys.keytypes import Algorithm, Exportability, KeyHandle, KeySpec, KeyUsage
from keys.local import LocalHsm
from keys.pinblock import PinFormat
from keys.sensitive import Material
from keys.usages import USAGES
from tests.keys.calls import CALLS, WIDEST, Trial, keep
from tests.keys.samples import PAN, bank_hsm, key_of, keys_of_all_usages, rsa_private

# What each command gives, spelled out by hand. A new one that gives bytes must be thought about here.
GIVES = {
    "bytes": "blind_index encipher_pin mac public_key random_bytes script_encipher script_mac seal sign translate_pin unseal",
    "bytes | None": "translate_mac",
    "str": "card_value change_pin choose_pin export_block",
    "bool": "refresh verify_card_value verify_dynamic_value verify_mac verify_pin verify_record verify_signature",
    "list[bool]": "verify_pins",
    "KeyHandle": "find form generate import_block import_secret import_signing_key version",
    "KeyHandle | None": "enter_component",
    "list[KeyHandle]": "find_all versions",
    "KeyInfo": "info",
    "list[KeyInfo]": "keys",
    "Kcv": "kcv",
    "list[Component]": "components",
    "NewPin": "random_pin",
    "ChipAnswer": "verify_cryptogram",
    "int": "forget_components serial",
    "None": "end_on self_test set_state",
}
COMMANDS = sorted(name for name, _ in inspect.getmembers(Hsm, inspect.isfunction) if not name.startswith("_"))


def test_commands_and_what_they_give() -> None:
    """All of them, by hand."""
    found = {name: inspect.signature(getattr(Hsm, name)).return_annotation for name in COMMANDS}
    assert {name: gives for gives, names in GIVES.items() for name in names.split()} == found


@pytest.mark.parametrize("name", COMMANDS)
def test_local_back_ends_have_every_command(name: str) -> None:
    """With the same parameters, in the same order, with the same defaults; and each says what it does."""
    asked, own = inspect.signature(getattr(Hsm, name)), inspect.signature(getattr(LocalHsm, name))
    assert [(one.name, one.kind, one.default) for one in asked.parameters.values()] == [
        (one.name, one.kind, one.default) for one in own.parameters.values()
    ]
    assert (getattr(Hsm, name).__doc__ or "").strip()


def test_local_back_ends_have_nothing_else() -> None:
    """No command beside those of the seam."""
    own = {name for name, _ in inspect.getmembers(LocalHsm, inspect.isfunction) if not name.startswith("_")}
    assert set(COMMANDS) == own


def test_the_seam_knows_no_back_end() -> None:
    """It imports names of data alone: no cipher, no keystore, no token, no master key."""
    tree = ast.parse(inspect.getsource(hsm))
    skipped = {id(node) for block in tree.body if isinstance(block, ast.If) for node in ast.walk(block)}
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in skipped}
    assert {"__future__", "typing", "keys.cvv", "keys.pinblock"} == imported


def test_requests_and_answers_are_what_they_say() -> None:
    """Format 0 unless another is named; records that cannot be changed."""
    asked = PinToVerify(bytes(8), bank_hsm().find("zpk"), PAN, "000000")
    assert PinFormat.ISO_0 is asked.pin_format
    for record in (asked, NewPin(bytes(8), "000000"), ChipAnswer(right=False, arpc=None), Dukpt(asked.key, bytes(10))):  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            setattr(record, record._fields[0], None)


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


def pieces(key: bytes) -> set[bytes]:
    """Each 8 bytes of a key, and the same in hex; of long ones the first 32, since later sample bytes read as digits."""
    parts = {key[at : at + 8] for at in range(0, min(len(key), 32) - 7, 8)}
    return parts | {part.hex().encode() for part in parts} | {part.hex().upper().encode() for part in parts}


def test_no_answer_holds_a_key() -> None:
    """Every call of every command, with every kind of key, leaving ones too: nothing of a key is in what comes back."""
    trial = Trial()
    spy = Spy(trial.hsm)
    trial.hsm = spy  # type: ignore[assignment]
    done = 0
    for usage, rule in USAGES.items():
        for algorithm in rule.algorithms:
            mode = next(mode for mode in WIDEST if mode in rule.modes)
            key = _kept(trial, KeySpec(usage, algorithm, mode, exportability=Exportability.EXPORTABLE))
            for call in CALLS:
                try:
                    assert call.is_right(trial, key)
                except KeyRefused:
                    continue
                done += 1
    assert done > len(CALLS)
    spy.answers += [command() for command in (spy.keys, spy.components)]
    secrets = set[bytes]().union(*(pieces(material.reveal()) for _, material in keys_of_all_usages()))
    secrets |= pieces(rsa_private()[-64:])
    for answer in spy.answers:
        assert not isinstance(answer, Material)
        seen = answer if isinstance(answer, bytes) else repr(answer).encode()
        assert not any(secret in seen for secret in secrets), type(answer)


def _kept(trial: Trial, spec: KeySpec) -> KeyHandle:
    return keep(trial.hsm, spec, f"kept.{spec.usage}.{spec.algorithm}")


def test_a_key_would_be_seen() -> None:
    """The search is no empty one: it finds a key where there is one."""
    _, material = key_of(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES)
    assert any(secret in material.reveal() for secret in pieces(material.reveal()))
    assert any(secret in material.reveal().hex().encode() for secret in pieces(material.reveal()))
