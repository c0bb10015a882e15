"""What docs/threat-model.md and docs/keys/ claim is there: every test by its name, every module, every requirement by its number.

Tests and modules are read, never imported. Commands and links of all pages are looked at in test_tidy.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
THREAT_MODEL = "docs/threat-model.md"
PAGES = [THREAT_MODEL, *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs" / "keys").glob("*.md")))]
REQUIREMENTS = range(1, 27)
STATES = ("here", "part", "later")
TESTS = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
MODULES = re.compile(r"(?<![\w/])((?:gateway|iso|keys|ledger|tests)/[\w/]+\.(?:py|toml|sql))\b")
REQUIREMENT_TEST = re.compile(r"test_requirement_(\d\d)_\w+")
BUILD_ALONE = {24}
"""Requirements of the build that touch neither keys nor PIN, PAN or data."""
ROWS = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


def _functions(path: str) -> set[str]:
    """The names of the functions of a file; none where it is not there."""
    file = ROOT / path
    if not file.exists():
        return set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _missing_tests(text: str) -> list[str]:
    """The tests that TEXT names as path::name and that are not there."""
    return sorted({f"{path}::{name}" for path, name in TESTS.findall(text) if name not in _functions(path)})


def _missing_modules(text: str) -> list[str]:
    """The files of the rooms that TEXT names and that are not there."""
    return sorted({path for path in MODULES.findall(text) if not (ROOT / path).exists()})


def _imports(path: Path) -> set[str]:
    """The names that a module imports from others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def _read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    """A claim names the test that shows it, and the test exists."""
    assert [] == _missing_tests(_read(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_names_is_there(page: str) -> None:
    """A mitigation names its module, and the module exists."""
    assert [] == _missing_modules(_read(page))


def test_every_requirement_has_its_line() -> None:
    """Each of the 26 once, in order, with its state; what holds is shown by a test."""
    rows = ROWS.findall(_read(THREAT_MODEL))
    assert list(REQUIREMENTS) == [int(number) for number, *_ in rows]
    assert [] == [number for number, _, state, _ in rows if not state.startswith(STATES)]
    written = 26  # what holds by being written down
    claimed = [row for row in rows if row[2].startswith("here") and int(row[0]) != written]
    assert [] == [number for number, _, _, where in claimed if not TESTS.search(where)]


def test_every_requirement_of_keys_and_data_has_a_test_named_after_it() -> None:
    """So that the list cannot rot: a line that is claimed has test_requirement_NN_, and its row names one of them."""
    named = _requirement_tests()
    assert BUILD_ALONE < set(REQUIREMENTS)
    for number, _, state, where in ROWS.findall(_read(THREAT_MODEL)):
        if state.startswith(("here", "part")) and int(number) not in BUILD_ALONE:
            own = named.get(int(number), set())
            assert own, f"requirement {number} has no test named after it"
            assert own & {f"{path}::{name}" for path, name in TESTS.findall(where)}, f"row {number} names none of {own}"
    rows = {int(number): where for number, _, _, where in ROWS.findall(_read(THREAT_MODEL))}
    told = {number: {name for _, name in TESTS.findall(where)} for number, where in rows.items()}
    assert [] == [
        (number, name)
        for number, names in told.items()
        for name in names
        if (found := REQUIREMENT_TEST.match(name)) and int(found[1]) != number
    ]


def _requirement_tests() -> dict[int, set[str]]:
    """The tests that are named after a requirement, as path::name, by its number."""
    found: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        for function in _functions(name):
            if number := REQUIREMENT_TEST.match(function):
                found.setdefault(int(number[1]), set()).add(f"{name}::{function}")
    return found


def test_every_mitigation_names_a_module_and_a_test() -> None:
    """In the tables of threats; where a test lacks the page says so."""
    threats = _read(THREAT_MODEL).split("## Keys at rest", 1)[1].split("## The requirements", 1)[0]
    rows = [line.split(" | ") for line in threats.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row[0].startswith("| threat")]
    assert 40 < len(rows)
    assert [] == [row[0] for row in rows if len(row) != 3 or not (MODULES.search(row[1]) or row[1] == "the same")]
    assert [] == [row[0] for row in rows if not (TESTS.search(row[2]) or "no test yet" in row[2])]


def test_requirement_26_the_inventory_of_triple_des_is_whole() -> None:
    """Every module that has to do with triple DES stands in the section about it; two alone import the cipher."""
    section = _read(THREAT_MODEL).split("## Triple DES", 1)[1].split("\n## ", 1)[0]
    modules = {f"keys/{path.name}": _imports(path) for path in (ROOT / "keys").glob("*.py")}
    ciphers = {name for name, imported in modules.items() if "TripleDES" in imported}
    assert {"keys/tdes.py", "keys/mac.py"} == ciphers
    using = ciphers | {name for name, imported in modules.items() if imported & {"tdes", "dukpt_tdes", "pvv", "cvv"}}
    assert 15 < len(using)
    assert [] == sorted(using - set(MODULES.findall(section)))


def test_the_checks_see_what_they_look_for() -> None:
    """Each finds its fault in a text that has it."""
    own = "tests/test_threat_model.py::test_the_checks_see_what_they_look_for"
    assert [] == _missing_tests(f"shown by `{own}`")
    assert [f"{own}_not"] == _missing_tests(f"`{own}_not`, `{own}`")
    assert ["tests/test_nowhere.py::test_x"] == _missing_tests("| `tests/test_nowhere.py::test_x` |")
    assert ["keys/nowhere.py"] == _missing_modules("`keys/hsm.py`, `keys/nowhere.py`, and `docs/keys/other.py`")
    assert {1, 2, 8} < set(_requirement_tests())
    assert REQUIREMENT_TEST.match("test_requirement_7_x") is None
    assert [("7", "a", "here", "b")] == ROWS.findall("| no | what |\n| 7 | a | here | b |\n")
