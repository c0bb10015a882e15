"""The seam of the local back ends: what each workshop has, and that the software one has all of it."""

import ast
import inspect
from typing import TYPE_CHECKING

import pytest

from keys import workshop
from keys.keytypes import KeyUsage
from keys.software import SoftwareWorkshop
from keys.workshop import Sealing, Workshop
from tests.keys.samples import key_of

if TYPE_CHECKING:
    from keys.sensitive import Material

ASKED = sorted(name for name, _ in inspect.getmembers(Workshop, inspect.isfunction) if not name.startswith("_"))


def parameters(command: object) -> list[str]:
    """Names of the parameters of a method."""
    return list(inspect.signature(command).parameters) if callable(command) else []


def test_software_workshop_is_one() -> None:
    """Every tool with the same parameters, and nothing beside."""
    made: Workshop[Material] = SoftwareWorkshop()
    own = sorted(name for name, _ in inspect.getmembers(type(made), inspect.isfunction) if not name.startswith("_"))
    assert ASKED == own
    for name in ASKED:
        assert parameters(getattr(Workshop, name)) == parameters(getattr(SoftwareWorkshop, name))


@pytest.mark.parametrize("name", sorted(set(ASKED) - {"give", "at_hand"}))
def test_no_other_tool_gives_key_bytes(name: str) -> None:
    """What comes out is a key of the back end, a tool, a check value, a number: `give` and `at_hand` alone have bytes of keys."""
    source = inspect.signature(getattr(Workshop, name)).return_annotation
    assert source in {
        "Raw", "Kcv", "int", "Sealing", "Callable[[bytes], bytes]", "Callable[[bytes, bytes], bool]",
        "Callable[[], AbstractContextManager[Deriver]]",
    } or (name, source) in {("random", "bytes"), ("self_test", "None"), ("let_go", "None"), ("restore", "bool")}  # fmt: skip


def test_sealing_has_both_directions() -> None:
    """One of each, of one key."""
    sealing = SoftwareWorkshop().sealing(*key_of(KeyUsage.DATA_SEALING))
    assert isinstance(sealing, Sealing)
    sealed = sealing.seal(bytes(12), b"text", b"row")
    assert b"text" == sealing.unseal(bytes(12), sealed, b"row")


def test_the_seam_knows_no_back_end() -> None:
    """It imports types of this room alone: no cipher, no token, no file."""
    tree = ast.parse(inspect.getsource(workshop))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in imported if name and name.startswith("keys.")} == {
        "keys.emv", "keys.envelope", "keys.kcv", "keys.keytypes", "keys.sensitive",
    }  # fmt: skip
    assert {"__future__", "typing", "collections.abc", "contextlib"} == {
        name for name in imported if name and not name.startswith("keys.")
    }
