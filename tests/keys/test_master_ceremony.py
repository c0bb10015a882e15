"""A master key of two custodians or more, of whom none knows it, before there is a keystore."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import kcv, master_ceremony
from keys.errors import KeyRefused, KeysError, KeystoreError
from keys.master import MasterKey, create_master_key_file, read_master_key_file
from keys.master_ceremony import (
    Entered,
    MasterComponent,
    enter_master_component,
    forget_master_components,
    master_components,
)
from tests.keys.samples import one_line

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND, THIRD = bytes(range(32)), bytes(range(100, 132)), bytes(range(32, 64))
BOTH = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
ROUNDS = 12

ENTERER = """
import pathlib, sys
from keys.errors import KeysError
from keys.master_ceremony import MasterComponent, enter_master_component
folder, number = pathlib.Path(sys.argv[1]), int(sys.argv[2])
print("open", flush=True)
for at in range(int(sys.argv[3])):
    sys.stdin.readline()
    part = MasterComponent(number, 2, f"custodian {number}", bytes(range(number, number + 32)))
    entered = enter_master_component(folder / str(at), part)
    print(entered.check_value, flush=True)
"""


class Cut(Exception):
    """Stands for a power cut: no code of ours catches it."""


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """Where the master key will be."""
    return tmp_path / "master.key"


def enter(master: Path, number: int, of: int, custodian: str, value: bytes, sheet: str = "") -> Entered:
    """One custodian's turn."""
    return enter_master_component(master, MasterComponent(number, of, custodian, value, sheet))


def names(master: Path) -> set[str]:
    """What is in its folder, locks aside."""
    return {path.name for path in master.parent.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("first", [1, 2])
def test_two_custodians_make_a_master_key(master: Path, first: int) -> None:
    """In either order: its XOR in a file of mode 0600, its check value and their names told, and nothing else left."""
    parts = {1: ("siti", FIRST), 2: ("budi", SECOND)}
    name, value = parts.pop(first)
    part = str(kcv.of_aes(value))
    assert Entered({first: name}, part, None) == enter(master, first, 2, name, value, part[:6].lower())
    assert not master.exists()
    ((last, (name, value)),) = parts.items()
    check, part = str(kcv.of_aes(BOTH)), str(kcv.of_aes(value))
    with pytest.raises(KeyRefused, match=part):
        enter(master, last, 2, name, value, "000000")
    assert Entered({1: "siti", 2: "budi"}, part, check) == enter(master, last, 2, name, value)
    assert MasterKey(BOTH) == read_master_key_file(master)
    assert 0o600 == master.stat().st_mode & 0o777
    assert {"master.key"} == names(master)


def test_the_check_value_is_known(master: Path) -> None:
    """CMAC of zeros, its first five bytes, as X9.143 has it: with a published key."""
    key = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
    enter(master, 1, 2, "siti", FIRST)
    other = bytes(one ^ other for one, other in zip(FIRST, key, strict=True))
    assert str(kcv.of_aes(key)) == enter(master, 2, 2, "budi", other).check_value
    assert MasterKey(key) == read_master_key_file(master)


def test_nine_custodians_in_any_order(tmp_path: Path) -> None:
    """Each is told who was there before; the last one's is nowhere on the disk but in the key."""
    values = [bytes([number] * 31 + [7]) for number in range(9)]
    for at, order in enumerate(((9, 8, 7, 6, 5, 4, 3, 2, 1), (5, 1, 9, 2, 8, 3, 7, 4, 6))):
        master = tmp_path / f"{at}.key"
        for count, number in enumerate(order, 1):
            entered = enter(master, number, 9, f"custodian {number}", values[number - 1])
            assert {one: f"custodian {one}" for one in sorted(order[:count])} == entered.custodians
            assert (count < 9) is (entered.check_value is None)
            assert (count if count < 9 else 0) == len(master_components(master))
        whole = bytes([0 ^ 1 ^ 2 ^ 3 ^ 4 ^ 5 ^ 6 ^ 7 ^ 8] * 31 + [7])
        assert MasterKey(whole) == read_master_key_file(master)


def test_what_waits_is_for_its_owner_alone(master: Path) -> None:
    """Mode 0600, whatever the umask; another mode is refused before it is read."""
    before = os.umask(0)
    try:
        enter(master, 1, 2, "siti", FIRST)
    finally:
        os.umask(before)
    (path,) = master_components(master)
    assert 0o600 == path.stat().st_mode & 0o777
    path.chmod(0o640)
    with pytest.raises(KeystoreError, match="mode must be 0600") as caught:
        enter(master, 2, 2, "budi", SECOND)
    assert one_line(caught.value)
    assert not master.exists()


@pytest.mark.parametrize(
    ("number", "of", "custodian", "value", "why"),
    [
        (1, 2, "budi", SECOND, "component 1 of the master key: was entered already"),
        (1, 2, "budi", FIRST, "was entered already"),
        (2, 2, "siti", SECOND, "siti entered component 1; nobody enters two"),
        (2, 2, "  siti ", SECOND, "nobody enters two"),
        (2, 2, "S1.ti", SECOND, "nobody enters two"),
        (2, 3, "budi", SECOND, "component 2 of the master key: the others are of 2"),
        (3, 3, "budi", SECOND, "the others are of 2"),
        (2, 2, "budi", FIRST, "differ from each other"),
        (2, 2, "budi", bytes(32), "not all of them zero"),
        (2, 2, "budi", SECOND[:16], "a component of a master key has 32 bytes"),
        (2, 2, "budi", SECOND + SECOND, "a component of a master key has 32 bytes"),
        (2, 2, "budi", b"", "not all of them zero"),
        (0, 2, "budi", SECOND, "2 to 9 components, numbered from 1"),
        (3, 2, "budi", SECOND, "2 to 9 components, numbered from 1"),
        (1, 1, "budi", SECOND, "2 to 9 components, numbered from 1"),
        (2, 10, "budi", SECOND, "2 to 9 components, numbered from 1"),
        (2, 2, "", SECOND, "1 to 60 letters"),
        (2, 2, " ", SECOND, "1 to 60 letters"),
        (2, 2, "b" * 61, SECOND, "1 to 60 letters"),
        (2, 2, "bu\ndi", SECOND, "1 to 60 letters"),
        (2, 2, "bu\udc80di", SECOND, "1 to 60 letters"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_what_is_refused_changes_nothing(
    master: Path, number: int, of: int, custodian: str, value: bytes, why: str
) -> None:
    """One line without the value; the other component still waits, and the right one makes the key."""
    enter(master, 1, 2, "siti", FIRST)
    before = master_components(master)[0].read_bytes()
    with pytest.raises(KeyRefused, match=why) as caught:
        enter(master, number, of, custodian, value)
    assert one_line(caught.value)
    assert len(value) == 0 or value.hex() not in str(caught.value).lower()
    assert [before] == [path.read_bytes() for path in master_components(master)]
    assert {"master.key.component-1"} == names(master)
    enter(master, 2, 2, "budi", SECOND)
    assert MasterKey(BOTH) == read_master_key_file(master)


def test_components_of_many_do_not_fit_those_of_few(master: Path) -> None:
    """A ninth of nine waits: nobody makes a key of two beside it."""
    enter(master, 9, 9, "siti", FIRST)
    for number in (1, 2):
        with pytest.raises(KeyRefused, match="the others are of 9"):
            enter(master, number, 2, "budi", SECOND)
    assert {"master.key.component-9"} == names(master)


@pytest.mark.parametrize(
    "name", ["si\u034fti", "\uff53iti", "sit\u0456", "siti  a", '"siti"', "back\\slash", "\U0001f511", "-siti"]
)
def test_names_that_look_like_others_are_refused(master: Path, name: str) -> None:
    """An invisible character, a full width or Cyrillic letter, two spaces: one person would be two."""
    with pytest.raises(KeyRefused, match="1 to 60 letters"):
        enter(master, 1, 2, name, FIRST)
    assert set() == names(master)


@pytest.mark.parametrize("name", ["b" * 60, "siti a. nur-aini", "siti@bank", "o'siti", "teller_7"])
def test_names_are_kept_as_given(master: Path, name: str) -> None:
    """As long as a name may be: read back as it was given."""
    assert {1: name} == enter(master, 1, 2, name, FIRST).custodians
    with pytest.raises(KeyRefused, match="nobody enters two"):
        enter(master, 2, 2, name, SECOND)
    assert {1: name, 2: "budi"} == enter(master, 2, 2, "budi", SECOND).custodians


def test_a_master_key_is_never_overwritten(master: Path) -> None:
    """There already, random or formed: refused, and components that a cut off run has left beside it are thrown away."""
    enter(master, 1, 2, "siti", FIRST)
    key = create_master_key_file(master)
    for number in (1, 2):
        with pytest.raises(KeystoreError, match="is there already; it is never overwritten") as caught:
            enter(master, number, 2, "budi", SECOND)
        assert one_line(caught.value)
    assert key == read_master_key_file(master)
    assert {"master.key"} == names(master)


@pytest.mark.parametrize("text", [b"", b"{}\n", b"[]\n", b'{"custodian": "siti"}\n', b"\xff", b"null\n", b"x" * 2000])
def test_a_damaged_component_is_named(master: Path, text: bytes) -> None:
    """Whatever stands there: one line with its path and without its content; thrown away, it may be entered anew."""
    enter(master, 1, 2, "siti", FIRST)
    (path,) = master_components(master)
    for damaged in (text, path.read_bytes().replace(b'"value": "00', b'"value": "zz'), path.read_bytes()[:40]):
        path.write_bytes(damaged)
        with pytest.raises(KeystoreError, match="component-1: is") as caught:
            enter(master, 2, 2, "budi", SECOND)
        assert one_line(caught.value)
        assert FIRST.hex()[:8] not in str(caught.value)
    assert 1 == forget_master_components(master)
    enter(master, 1, 2, "siti", FIRST)
    assert enter(master, 2, 2, "budi", SECOND).check_value is not None


def test_forgotten_components(master: Path) -> None:
    """All of them, however many; nothing else of the folder."""
    assert 0 == forget_master_components(master)
    (master.parent / "other.key.component-1").write_text("not ours")
    for number, value in ((1, FIRST), (2, SECOND)):
        enter(master, number, 3, f"custodian {number}", value)
    assert 2 == forget_master_components(master)
    assert {"other.key.component-1"} == names(master)


STEPS = ["write_secret_file", "create_master_key_file", "drop_components"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_off_at_each_step(master: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str) -> None:
    """Whoever was cut off enters theirs again: refused as there, or taken; the same key comes out, and no component is left."""
    called = getattr(master_ceremony, step)

    def cut(*words: object) -> object:
        if when == "after":
            called(*words)
        raise Cut

    entries = [(1, "siti", FIRST), (2, "budi", SECOND)]
    errors: list[str] = []
    for number, custodian, value in itertools.chain.from_iterable((entry, entry) for entry in entries):
        with monkeypatch.context() as patched:
            if "" not in errors:
                patched.setattr(master_ceremony, step, cut)
            try:
                enter(master, number, 2, custodian, value)
            except (Cut, KeysError) as error:
                errors.append(str(error))
    assert 1 == errors.count("")
    assert [] == [error for error in errors if error and "already" not in error]
    assert MasterKey(BOTH) == read_master_key_file(master)
    assert {"master.key"} == names(master)


@pytest.mark.parametrize("step", ["wipe", "unlink"])
@pytest.mark.parametrize("left", [1, 2, 3])
def test_cut_off_while_they_are_thrown_away(
    master: Path, monkeypatch: pytest.MonkeyPatch, step: str, left: int
) -> None:
    """None of them counts any more, those that are still whole neither; the custodians begin anew."""
    for number in (1, 2, 3):
        enter(master, number, 4, f"custodian {number}", bytes([number] * 31 + [7]))
    place: object = master_ceremony if step == "wipe" else Path
    called, steps = getattr(place, step), itertools.count(1)

    def cut(*words: object) -> None:
        if next(steps) == left:
            raise Cut
        called(*words)

    with monkeypatch.context() as patched:
        patched.setattr(place, step, cut)
        with pytest.raises(Cut):
            forget_master_components(master)
    begun = step == "unlink" or left > 1
    assert (0 if begun else 3) == len(master_components(master))
    if not begun:
        assert 3 == forget_master_components(master)
    enter(master, 1, 2, "siti", FIRST)
    assert {"master.key.component-1"} == names(master)
    assert enter(master, 2, 2, "siti b", SECOND).check_value is not None


def test_a_full_disk_is_one_line(master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no folder, too."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(KeystoreError, match="component-1: cannot be written") as caught:
            enter(master, 1, 2, "siti", FIRST)
    assert one_line(caught.value)
    with pytest.raises(KeystoreError, match="cannot be locked"):
        enter(master.parent / "none" / "master.key", 1, 2, "siti", FIRST)


def test_two_custodians_at_once(tmp_path: Path) -> None:
    """In two processes at the same moment: always one of them is the last and makes the key, and never neither or both."""
    words = [[sys.executable, "-c", ENTERER, str(tmp_path), str(number), str(ROUNDS)] for number in (1, 2)]
    told = []
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own interpreter
                    one, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for one in words
        ]
        pipes = [(child.stdin, child.stdout) for child in children if child.stdin and child.stdout]
        assert ["open\n"] * 2 == [reading.readline() for _, reading in pipes]
        for _ in range(ROUNDS):
            for writing, _reading in pipes:
                writing.write("go\n")
                writing.flush()
            told.append([reading.readline().strip() for _, reading in pipes])
    whole = bytes(one ^ (one + 1) for one in range(1, 33))
    assert [["None", str(kcv.of_aes(whole))]] * ROUNDS == [sorted(pair, key=lambda one: one != "None") for pair in told]
    assert {MasterKey(whole)} == {read_master_key_file(tmp_path / str(at)) for at in range(ROUNDS)}
    assert [] == [path for at in range(ROUNDS) for path in master_components(tmp_path / str(at))]


@given(st.integers(-1, 11), st.integers(-1, 11), st.text(max_size=70), st.binary(max_size=70) | st.just(SECOND))
def test_any_input_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, number: int, of: int, custodian: str, value: bytes
) -> None:
    """Never an error that is not ours, and what is taken can be read."""
    master = tmp_path_factory.mktemp("any") / "master.key"
    enter(master, 1, 2, "siti", FIRST)
    try:
        entered = enter(master, number, of, custodian, value)
    except KeysError as refused:
        if one_line(refused):
            return
        raise
    assert {1: "siti", 2: custodian.strip()} == entered.custodians
    assert read_master_key_file(master)
