"""Every published vector by the pure functions and by each back end, and the table of docs/keys/vectors.md that says so.

The table is compared with what really ran, cell by cell. Where there is no token, its column is not looked at.
"""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from tests.keys import softhsm
from tests.keys.backends import BACKENDS
from tests.keys.samples import VECTORS
from tests.keys.vector_commands import COMMANDS, REASONS, outcome
from tests.keys.vector_functions import FUNCTIONS, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.keys.vector_functions import Vector

TABLE = Path(__file__).resolve().parents[2] / "docs" / "keys" / "vectors.md"
COLUMNS = ("software", "pkcs11")
"""Back ends that have a column."""

FIT: Mapping[str, str] = MappingProxyType(
    {
        "PIN blocks": "pins::test_choosing_in_every_format",
        "PVV": "pins::test_a_pvv_covers_four_digits",
        "IBM 3624": "pins::test_a_chosen_pin_is_right_and_no_neighbour",
        "CVV, CVV2, iCVV": "cards::test_values_same_as_psec",
        "dynamic CVV": "cards::test_dynamic_values",
        "check values": "keys::test_known_keys_do_what_they_should",
        "key blocks": "blocks::test_known_keys_travel",
        "CBC-MAC": "data::test_codes_same_as_psec",
        "EMV": "emv::test_cryptograms_and_answers_same_as_pyemv",
    }
)
"""Of a family whose published keys are not all taken: the conformance test that asks for the same with fit ones."""

Outcomes = dict[str, list[str]]
"""Of a family, for each of its vectors: empty, or why it was not asked."""


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_vector_by_the_pure_functions(vector: Vector) -> None:
    """No one is left out."""
    assert FUNCTIONS[family_of(vector)](vector)


def asked(backend: str, folder: Path) -> Outcomes:
    """All vectors asked of a back end."""
    hsm = BACKENDS[backend](folder)
    found: Outcomes = {family: [] for family in FUNCTIONS}
    for vector in VECTORS:
        family = family_of(vector)
        found[family].append(outcome(hsm, family, vector))
    return found


@pytest.fixture(scope="module")
def by_backend(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    """What came out where; a token where there is one."""
    there = [name for name in COLUMNS if name != "pkcs11" or softhsm.is_there()]
    return {name: asked(name, tmp_path_factory.mktemp(name)) for name in there}


def why_not(found: list[str]) -> str:
    """The reasons of a family, with how many vectors each stands for."""
    counted = Counter(reason for reason in found if reason)
    return "; ".join(f"{count}: {reason}" for reason, count in sorted(counted.items()))


def row(family: str, by_backend: dict[str, Outcomes]) -> list[str]:
    """The cells of a family: name, vectors, pure functions, each back end, and why not all of them."""
    vectors = [vector for vector in VECTORS if family_of(vector) == family]
    pure = sum(FUNCTIONS[family](vector) for vector in vectors)
    ran = {name: found[family].count("") for name, found in by_backend.items()}
    cells = [str(ran[name]) if name in ran else "" for name in COLUMNS]
    reasons = [why_not(found[family]) for found in by_backend.values()]
    if len(set(reasons)) > 1:
        reasons = [f"{name}: {reason}" for name, reason in zip(("software", "token"), reasons, strict=True) if reason]
    fit = f"`{FIT[family]}`" if family in FIT else ""
    return [family, str(len(vectors)), str(pure), *cells, ". ".join(dict.fromkeys(reasons)), fit]


def written() -> list[list[str]]:
    """The rows of the page, its head and the line under that aside."""
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_says_what_ran(by_backend: dict[str, Outcomes]) -> None:
    """Every cell of docs/keys/vectors.md, family by family, and its sums."""
    rows = [row(family, by_backend) for family in FUNCTIONS]
    sums = [str(sum(int(one[place] or 0) for one in rows)) for place in range(1, 5)]
    expected = [*rows, ["all", *sums, "", ""]]
    found = written()
    if "pkcs11" not in by_backend:  # neither its counts nor its reasons are known here
        expected, found = ([one[:4] for one in table] for table in (expected, found))
    assert expected == found


def test_fit_keys_are_tried_where_published_ones_are_refused(by_backend: dict[str, Outcomes]) -> None:
    """Each such family by a test that is there and runs over every back end; but key wrap, which is no command."""
    refused = {family for found in by_backend.values() for family, reasons in found.items() if any(reasons)}
    assert refused == {*FIT, "AES key wrap"}
    for area, name in (place.split("::") for place in FIT.values()):
        tests = importlib.import_module(f"tests.keys.test_conformance_{area}")
        asks = inspect.signature(getattr(tests, name)).parameters
        assert {"hsm", "keys", "imk"} & set(asks), name


def test_every_vector_counts() -> None:
    """All of vectors.json are in one family each, and every family has commands and functions."""
    assert FUNCTIONS.keys() == COMMANDS.keys()
    assert 180 == len(VECTORS)
    assert set(FUNCTIONS) == {family_of(vector) for vector in VECTORS}


def test_every_reason_is_given(by_backend: dict[str, Outcomes]) -> None:
    """No reason stands in the list that nothing needs any more."""
    given = {reason for found in by_backend.values() for reasons in found.values() for reason in reasons}
    needed = {reason for reason in REASONS.values() if "token" not in reason or "pkcs11" in by_backend}
    assert needed <= given


def test_memory_and_file_answer_alike(tmp_path: Path, by_backend: dict[str, Outcomes]) -> None:
    """Software without a file does what software with one does."""
    assert by_backend["software"] == asked("memory", tmp_path)
