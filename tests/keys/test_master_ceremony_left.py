"""What is left of a master key's ceremony that was cut off, met a failing disk, or a first start; key files of any name."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from keys import kcv, keyfile, master_ceremony
from keys.errors import KeystoreError
from keys.master import MasterKey, read_master_key_file
from keys.master_ceremony import (
    MasterComponent,
    collect_component,
    forget_master_components,
    make_master_key,
    master_components,
)
from tests.keys.samples import one_line
from tests.keys.test_master_ceremony import BOTH, FIRST, SECOND, Cut, enter, names


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """Where the master key will be."""
    return tmp_path / "master.key"


@pytest.mark.parametrize("name", ["m[1].key", "*.key", "m?.key", "[", "m]\u00e9.key"])
def test_any_name_of_the_key_file(tmp_path: Path, name: str) -> None:
    """Letters that mean something in a pattern mean nothing here: what waits is found, counts, and goes."""
    master = tmp_path / name
    enter(master, 1, 2, "siti", FIRST)
    assert [f"{name}.component-1"] == [path.name for path in master_components(master)]
    with pytest.raises(KeystoreError, match="wait for others"):
        make_master_key(master)
    assert enter(master, 2, 2, "budi", SECOND).check_value is not None
    assert {name} == names(master)
    enter(tmp_path / "other.key", 1, 2, "siti", FIRST)
    assert 0 == forget_master_components(master)


def test_a_random_key_does_not_come_between(master: Path) -> None:
    """While a custodian is at it the first start waits, and then it finds the component."""
    started = threading.Event()
    refused: list[str] = []

    def start() -> None:
        started.set()
        try:
            make_master_key(master)
        except KeystoreError as error:
            refused.append(str(error))

    starting = threading.Thread(target=start)
    with keyfile.locked(master):
        starting.start()
        assert started.wait(10)
        starting.join(0.3)
        collect_component(master, MasterComponent(1, 2, "siti", FIRST))
    starting.join(60)
    assert ["1 components of the master key wait for others: `kks keys init`"] == refused
    assert not master.exists()


def test_components_of_a_ceremony_that_ended_go_at_the_first_start(
    master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between the key and its components' end: the start takes the key, and no component stays on the disk."""
    enter(master, 1, 2, "siti", FIRST)
    with monkeypatch.context() as patched:
        patched.setattr(master_ceremony, "drop_components", cut_off)
        with pytest.raises(Cut):
            enter(master, 2, 2, "budi", SECOND)
    assert {"master.key", "master.key.component-1"} == names(master)
    make_master_key(master)
    assert {"master.key"} == names(master)
    assert MasterKey(BOTH) == read_master_key_file(master)


def test_a_key_file_that_is_none_takes_no_component_with_it(master: Path) -> None:
    """Empty or damaged: it is named, and what the custodians entered is kept, as it may be all there is."""
    enter(master, 1, 2, "siti", FIRST)
    write_private(master, b"")
    for refused in (lambda: enter(master, 2, 2, "budi", SECOND), lambda: make_master_key(master)):
        with pytest.raises(KeystoreError, match=r"master\.key: is not one short line of text"):
            refused()
    master.unlink()
    assert enter(master, 2, 2, "budi", SECOND).check_value is not None


def test_a_key_that_is_there_tells_its_check_value(master: Path) -> None:
    """Whoever was cut off before he was told learns it so."""
    enter(master, 1, 2, "siti", FIRST)
    made = enter(master, 2, 2, "budi", SECOND)
    with pytest.raises(KeystoreError, match=rf"never overwritten \(check value {made.check_value}\)"):
        enter(master, 2, 2, "budi", SECOND)


@pytest.mark.parametrize("step", ["wipe", "unlink"])
def test_what_cannot_be_thrown_away_does_not_undo_the_key(
    master: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A disk that fails when the key is made: it is made, its check value is told, and so is what is left."""
    enter(master, 1, 2, "siti", FIRST)

    def fail(path: Path, **_: object) -> None:
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(master_ceremony if step == "wipe" else Path, step, fail)
        made = enter(master, 2, 2, "budi", SECOND)
    assert str(kcv.of_aes(BOTH)) == made.check_value
    assert "component-1: cannot be" in made.left
    assert one_line(KeystoreError(made.left))
    assert (step == "unlink") is (master.parent / "master.key.component-1").exists()
    assert MasterKey(BOTH) == read_master_key_file(master)
    make_master_key(master)
    assert {"master.key"} == names(master)


def test_what_cannot_be_wiped_goes_first(master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wiped ones say until the end that none counts; forgetting tells that one was not overwritten."""
    for number in (1, 2, 3):
        enter(master, number, 4, f"custodian {number}", bytes([number] * 31 + [7]))
    called, gone = Path.unlink, []

    def fail(path: Path) -> None:
        if path.name.endswith("2"):
            raise OSError(28, "No space left on device")
        path.write_bytes(bytes(9))

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        gone.append(path.name[-1])
        called(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(master_ceremony, "wipe", fail)
        patched.setattr(Path, "unlink", unlink)
        with pytest.raises(KeystoreError, match=r"component-2: cannot be overwritten \(No space") as caught:
            forget_master_components(master)
    assert one_line(caught.value)
    assert ["2", "1", "3"] == gone
    assert set() == names(master)


def test_half_a_component_is_no_component(master: Path) -> None:
    """What a killed custodian left counts for nothing, and goes with the others."""
    for name in (".master.key.component-2.new", ".master.key.new"):
        write_private(master.with_name(name), b'{"custodian": "bu')
    assert [] == master_components(master)
    enter(master, 1, 2, "siti", FIRST)
    assert enter(master, 2, 2, "budi", SECOND).check_value is not None
    assert {"master.key"} == names(master)


def write_private(path: Path, text: bytes) -> None:
    """A file of mode 0600."""
    path.write_bytes(text)
    path.chmod(0o600)


def cut_off(*_: object) -> None:
    """A step at which the power goes."""
    raise Cut
