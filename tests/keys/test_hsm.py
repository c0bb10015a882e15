"""The seam itself: what can be asked of an HSM, and that no answer is a key. What is right is tested over every back end."""

import ast
import inspect

import pytest

from keys import hsm
from keys.hsm import ChipAnswer, Dukpt, Hsm, NewPin, PinToVerify
from keys.keytypes import Algorithm, KeyUsage
from keys.local import LocalHsm
from keys.pinblock import PinFormat
from tests.keys.answers import holds_a_key, pieces
from tests.keys.samples import PAN, bank_hsm, key_of

# What each command gives, spelled out by hand. A new one that gives bytes must be thought about here.
GIVES = {
    "bytes": "blind_index encipher_pin mac public_key random_bytes script_encipher script_mac seal sign translate_pin unseal",
    "bytes | None": "translate_mac",
    "str": "card_value change_pin choose_pin export_block rewrap_block",
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


def test_a_key_would_be_seen() -> None:
    """The search is no empty one: it finds a key where there is one."""
    _, material = key_of(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES)
    assert any(secret in material.reveal() for secret in pieces(material.reveal()))
    for answer in (material.reveal(), material.reveal().hex(), material.reveal().hex().upper(), material, [material]):
        assert holds_a_key(answer) is (answer != [material])  # a mask shows nothing
