"""Keeps the house tidy: sizes, names, twins, docstrings, and where output, clocks and randomness are allowed.

What is allowed where is docs/architecture.md's; each exception stands here by name. Modules are read, never imported, except
for the command line and the settings that README and docs speak of.
"""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import typer

from gateway.cli import app
from gateway.settings import Settings
from tests.repository import ROOMS, ROOT, tracked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 450
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
OUTPUT_PLACES = (
    "gateway/cli/",
    "gateway/measure/codec.py",  # its server processes tell their parent which port they listen on
)
CLOCKS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time"),
    ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime"),
}  # fmt: skip
CLOCK_PLACES = {
    "gateway/clock.py",
    "keys/local.py",  # the default creation date of a key; keys may not import the bank's clock
}
RANDOM_PLACES = ("gateway/simulator/", "gateway/measure/", "gateway/demo.py")
NO_TWIN = {"__init__.py", "__main__.py"}
TEXT_ENDINGS = {".py", ".md", ".toml", ".sql", ".lock", ".txt", ".hex", ".json", ".cfg", ".html", ".css", ""}
FORBIDDEN_TEXT = re.compile(r"--(?:extra-)?index-url|/simple/|(?<![\w.~-])/(?:root|work|home)/")
PIN_LINE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==")
OWN_NAME = "tests/test_tidy.py"


def _modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _long_functions(tree: ast.Module) -> list[str]:
    """Name and lines of each function that is longer than the limit."""
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in _functions(tree)]
    return [f"{name}: {lines} lines" for name, lines in lengths if lines > FUNCTION_LINES_MAX]


def _prints(tree: ast.Module) -> list[str]:
    """Lines that write past the room of output: print, or standard output by name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"line {node.lineno}: print")
        elif isinstance(node, ast.Attribute) and node.attr == "stdout" and isinstance(node.value, ast.Name):
            found.extend([f"line {node.lineno}: sys.stdout"] if node.value.id == "sys" else [])
    return found


def _clock_reads(tree: ast.Module) -> list[str]:
    """Lines that read the wall clock: datetime.now, dt.date.today, time.time, however the module is called."""
    aliases: dict[str | None, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [
                f"line {node.lineno}: time.{alias.name}" for alias in node.names if ("time", alias.name) in CLOCKS
            ]
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
        if (aliases.get(name, name), node.attr) in CLOCKS:
            found.append(f"line {node.lineno}: {name}.{node.attr}")
    return found


def _random_imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        found += [f"line {node.lineno}: {name}" for name in names if name.split(".")[0] == "random"]
    return found


def _commands() -> dict[str, list[str]]:
    """Every command as it is typed, with the names of its options."""
    found: dict[str, list[str]] = {}

    def walk(command: Any, words: list[str]) -> None:  # noqa: ANN401 - typer keeps its own click
        inner: dict[str, Any] | None = getattr(command, "commands", None)
        if inner is None:
            found[" ".join(words)] = [option for one in command.params for option in (*one.opts, *one.secondary_opts)]
            return
        for name, one in inner.items():
            walk(one, [*words, name])

    walk(typer.main.get_command(app), [])
    return found


def _named_commands(text: str) -> list[str]:
    """What a page says to type after `./kks`, up to a comment, the end of its code, or the end of the line."""
    joined = re.sub(r"(`[^`\n]*)\n([^`\n]*`)", r"\1 \2", text)
    return [match[1].strip() for match in re.finditer(r"\./kks ([^`#\n]+)", joined)]


@pytest.mark.parametrize("path", _modules(*ROOMS, "tests"), ids=_name)
def test_size_of_modules_and_functions(path: Path) -> None:
    """A module and a function can be read in one go."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    assert [] == _long_functions(ast.parse(text))


def test_no_vague_module_names() -> None:
    """A module's name says what is in it."""
    paths = [path for folder in (*ROOMS, "tests") for path in (ROOT / folder).rglob("*.py")]
    vague = [_name(path) for path in paths if VAGUE_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)]
    assert [] == vague


@pytest.mark.parametrize("path", _modules(*ROOMS, "tests"), ids=_name)
def test_module_docstrings(path: Path) -> None:
    """Each module says what it is for."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", _modules(*ROOMS), ids=_name)
def test_output_clock_and_randomness_stay_in_their_places(path: Path) -> None:
    """Output is the command line's, the wall clock gateway.clock's, `random` the simulator's and the measurements'."""
    name = _name(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [] == ([] if name.startswith(OUTPUT_PLACES) else _prints(tree))
    assert [] == ([] if name in CLOCK_PLACES else _clock_reads(tree))
    assert [] == ([] if name.startswith(RANDOM_PLACES) else _random_imports(tree))


@pytest.mark.parametrize("path", _modules(*ROOMS), ids=_name)
def test_twins(path: Path) -> None:
    """Module a/b/c.py is tested in tests/a/b/test_c.py."""
    if path.name in NO_TWIN or "migrations" in path.parts:
        return
    twin = ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.name}"
    assert twin.exists(), f"{_name(path)} has no {_name(twin)}"


def test_no_registry_and_no_machine_in_tracked_files() -> None:
    """The project names no package registry and no path of anybody's machine."""
    wrong = []
    for path in (path for path in tracked() if path.suffix in TEXT_ENDINGS):
        if _name(path) == OWN_NAME:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if FORBIDDEN_TEXT.search(line):
                wrong.append(f"{_name(path)}:{number}")
    assert [] == wrong


def test_every_pin_has_a_hash() -> None:
    """requirements.lock says exactly what is installed: every line is a pin, and every pin has a SHA-256."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    entries = [entry for entry in entries if entry and not entry.startswith("#")]
    assert entries
    assert [] == [entry[:60] for entry in entries if not PIN_LINE.match(entry) or "--hash=sha256:" not in entry]


def test_changelog_tells_of_this_version() -> None:
    """The version of pyproject.toml has its own heading in CHANGELOG.md."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(version)}\]?(?![\w.])", changelog, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_explained(name: str) -> None:
    """`kks settings` has a meaning to print."""
    assert (Settings.model_fields[name].description or "").strip()


@pytest.mark.parametrize("page", ["README.md", *(_name(path) for path in sorted((ROOT / "docs").rglob("*.md")))])
def test_commands_and_links_of_a_page_exist(page: str) -> None:
    """Whatever a page says to type can be typed, options too; whatever file it links to is there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = _commands()
    for said in _named_commands(text):
        words = said.split()
        fitting = [n for n in range(len(words), 0, -1) if " ".join(words[:n]) in commands]
        group = any(command.startswith(f"{words[0]} ") for command in commands) and words[1:] in ([], ["--help"])
        assert fitting or group, f"{page}: there is no `./kks {said}`"
        known = commands[" ".join(words[: fitting[0]])] if fitting else []
        after = words[: words.index("--")] if "--" in words else words
        options = [word.split("=")[0] for word in after if word.startswith("--") and word != "--help"]
        assert set(options) <= set(known), f"{page}: an option of `./kks {said}` is not there"
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert ((ROOT / page).parent / link).exists(), f"{page}: {link} is not there"


def test_readme_names_the_main_commands() -> None:
    """The two commands for newcomers are there, first of all."""
    assert ["demo", "test"] == [
        said.split()[0] for said in _named_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    ][:2]


def test_the_tidy_checks_see_what_they_look_for() -> None:
    """Each check finds its fault in a piece of code that has it, so that none passes by being blind."""
    tree = ast.parse(
        "import datetime as dt\nimport random\nprint(dt.datetime.now(), dt.date.today())\nsys.stdout.write('')\n"
    )
    assert ["line 3: print", "line 4: sys.stdout"] == _prints(tree)
    assert ["line 3: datetime.now", "line 3: date.today"] == _clock_reads(tree)
    assert ["line 1: time.time"] == _clock_reads(ast.parse("from time import time, monotonic\n"))
    assert ["line 1: d.now"] == _clock_reads(ast.parse("from datetime import datetime as d; d.now()"))
    assert ["line 2: random"] == _random_imports(tree)
    assert ["line 1: random"] == _random_imports(ast.parse("from random import Random\n"))
    body = "\n".join(["    pass"] * FUNCTION_LINES_MAX)
    assert [f"long: {FUNCTION_LINES_MAX + 1} lines"] == _long_functions(ast.parse(f"def long():\n{body}\n"))
    assert FORBIDDEN_TEXT.search("pip install --index" + "-url x")
    assert FORBIDDEN_TEXT.search("cd /home/somebody")
    assert FORBIDDEN_TEXT.search("https://example.org/" + "simple/") is not None
    assert ["kpm import F --as siti", "job list"] == _named_commands(
        "    ./kks kpm import F --as siti  # x\n`./kks job\nlist`"
    )
