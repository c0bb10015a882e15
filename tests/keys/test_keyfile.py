"""The keystore's file: one form, replaced as a whole, one writer at a time, whatever goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import keyfile
from keys.errors import KeystoreError
from keys.master import belong_to, keep_owner
from tests.keys.samples import one_line

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"head", "serial", "keys", "components"}
OLD: dict[str, Any] = {"head": {"a": None}, "serial": 1, "keys": [], "components": []}
NEW: dict[str, Any] = OLD | {"serial": 2, "keys": [{"x": "y" * 9000}]}
STEPS = ["os.open", "os.fdopen", "os.fsync", "pathlib.Path.replace"]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values))
def test_the_form_is_that_of_json(document: dict[str, Any]) -> None:
    """Byte for byte what Python's own writer makes, indented by one, names in order."""
    assert json.dumps(document, indent=1, sort_keys=True).encode() + b"\n" == keyfile._text(document)


def old_file(folder: Path) -> Path:
    """A file with OLD in it."""
    path = folder / "store"
    with keyfile.locked(path):
        keyfile.write(path, OLD)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """As a whole, however often it is replaced."""
    path = old_file(tmp_path)
    assert OLD == keyfile.read(path, PARTS)
    with keyfile.locked(path):
        keyfile.write(path, NEW)
    assert NEW == keyfile.read(path, PARTS)
    assert ["store", "store.lock"] == sorted(found.name for found in tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0, 0o777])
def test_only_the_owner_may_read(tmp_path: Path, umask: int) -> None:
    """Mode 0600 at most, whatever the umask, of the file that is replaced too."""
    before = os.umask(umask)
    try:
        path = old_file(tmp_path)
        with keyfile.locked(path):
            keyfile.write(path, NEW)
    finally:
        os.umask(before)
    assert 0o600 & ~umask == path.stat().st_mode & 0o777
    assert 0o600 & ~umask == Path(f"{path}.lock").stat().st_mode & 0o777


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b"\xff",
        b"NaN",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5_000,
        json.dumps(OLD).encode(),
        json.dumps(OLD, indent=1, sort_keys=True).encode(),
        json.dumps(OLD, indent=1, sort_keys=True).encode() + b"\n\n",
        json.dumps(OLD, indent=1).encode() + b"\n",
        json.dumps(OLD, indent=1, sort_keys=True).encode().replace(b"\n", b"\r\n") + b"\r\n",
        b"\xef\xbb\xbf" + json.dumps(OLD, indent=1, sort_keys=True).encode() + b"\n",
        json.dumps(OLD, indent=1, sort_keys=True).encode().replace(b'"serial": 1', b'"serial": 0, "serial": 1') + b"\n",
        json.dumps(OLD, indent=1, sort_keys=True).encode().replace(b'"a"', b'"\\u0061"') + b"\n",
        json.dumps(OLD, indent=1, sort_keys=True).encode().replace(b'"serial": 1', b'"serial": 1.0') + b"\n",
    ],
)
def test_other_texts_are_damaged(tmp_path: Path, text: bytes) -> None:
    """Only what this module writes, byte for byte, is read: no second text says the same."""
    (tmp_path / "store").write_bytes(text)
    with pytest.raises(KeystoreError, match="is damaged") as caught:
        keyfile.read(tmp_path / "store", PARTS)
    assert str(tmp_path / "store") in str(caught.value)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"serial": "1"},
        {"serial": True},
        {"serial": 1.5},
        {"keys": {}},
        {"keys": None},
        {"components": "[]"},
    ],
)
def test_other_shapes_are_damaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    """One part too many, or one of another type."""
    path = old_file(tmp_path)
    with keyfile.locked(path):
        keyfile.write(path, OLD | changes)
    with pytest.raises(KeystoreError, match="is damaged"):
        keyfile.read(path, PARTS)
    with pytest.raises(KeystoreError, match="is damaged"):
        keyfile.read(old_file(tmp_path), PARTS - {"head"})


written = values.map(lambda value: json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()) | written)
def test_any_bytes_are_refused_in_one_way(tmp_path: Path, text: bytes) -> None:
    """Random bytes, random JSON, random JSON in the very form: one error and no other."""
    (tmp_path / "any").write_bytes(text)
    with pytest.raises(KeystoreError):
        keyfile.read(tmp_path / "any", PARTS)


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is longer than any keystore is not read to its end."""
    path = old_file(tmp_path)
    monkeypatch.setattr(keyfile, "FILE_MOST", path.stat().st_size)
    assert OLD == keyfile.read(path, PARTS)
    monkeypatch.setattr(keyfile, "FILE_MOST", path.stat().st_size - 1)
    with pytest.raises(KeystoreError, match="is damaged"):
        keyfile.read(path, PARTS)
    with keyfile.locked(path), pytest.raises(KeystoreError, match="is full"):
        keyfile.write(path, {}, room=keyfile.FILE_MOST)
    before = path.read_bytes()
    with (
        keyfile.locked(path),
        pytest.raises(KeystoreError, match=r"is full: .* is the most it can have, some 25,000 keys"),
    ):
        keyfile.write(path, OLD)
    assert before == path.read_bytes()
    os.truncate(path, 2**36)  # holes: no disk is filled, but no memory would hold it
    with pytest.raises(KeystoreError, match="is damaged"):
        keyfile.read(path, PARTS)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """One line with the path, for reading, locking and writing; a folder is no file."""
    with pytest.raises(KeystoreError, match="store: cannot be read"):
        keyfile.read(tmp_path / "store", PARTS)
    with pytest.raises(KeystoreError, match="cannot be read"):
        keyfile.read(tmp_path, PARTS)
    with pytest.raises(KeystoreError, match="cannot be locked"), keyfile.locked(tmp_path / "none" / "store"):
        pass
    with pytest.raises(KeystoreError, match="cannot be written"):
        keyfile.write(tmp_path / "none" / "store", OLD)


@pytest.mark.parametrize("step", STEPS)
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A full disk, at whichever step: one clear error, the file of before, and no litter."""
    path = old_file(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with keyfile.locked(path), monkeypatch.context() as patched:
        patched.setattr(step, full)
        with pytest.raises(KeystoreError, match="No space left") as caught:
            keyfile.write(path, NEW)
    assert one_line(caught.value)
    assert OLD == keyfile.read(path, PARTS)
    assert ["store", "store.lock"] == sorted(found.name for found in tmp_path.iterdir())


KILLED = """
import os, pathlib, sys
from keys import keyfile
path, step = pathlib.Path(sys.argv[1]), sys.argv[2]
def die(*_, **__):
    os._exit(9)
def after(*arguments, **__):
    whole(*arguments)
    os._exit(9)
with keyfile.locked(path):
    if step == "after":
        whole = pathlib.Path.replace
        pathlib.Path.replace = after
    else:
        holder = pathlib.Path if step == "replace" else os
        setattr(holder, step, die)
    keyfile.write(path, {"components": [], "head": {"a": None}, "keys": [{"x": "y" * 9000}], "serial": 2})
"""


@pytest.mark.parametrize(
    ("step", "expected"), [("open", OLD), ("fdopen", OLD), ("fsync", OLD), ("replace", OLD), ("after", NEW)]
)
def test_killed_writer_leaves_old_or_new(tmp_path: Path, step: str, expected: dict[str, Any]) -> None:
    """At every step, the one between temporary file and rename among them; the next writer finds no lock and leaves no litter."""
    path = old_file(tmp_path)
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", KILLED, str(path), step], env={"PYTHONPATH": str(ROOT)}, check=False, timeout=60
    )
    assert 9 == done.returncode
    assert expected == keyfile.read(path, PARTS)
    left = {found.name for found in tmp_path.iterdir()} - {"store", "store.lock"}
    assert left <= {".store.new"}
    with keyfile.locked(path):
        keyfile.write(path, OLD | {"serial": 3})
    assert 3 == keyfile.read(path, PARTS)["serial"]
    assert ["store", "store.lock"] == sorted(found.name for found in tmp_path.iterdir())


def test_what_lies_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    """A link under the name of the new file leads nowhere: it is taken away, and what it points to stays."""
    path, precious = old_file(tmp_path), tmp_path / "precious"
    precious.write_text("precious", "ascii")
    (tmp_path / ".store.new").symlink_to(precious)
    with keyfile.locked(path):
        keyfile.write(path, NEW)
    assert "precious" == precious.read_text("ascii")
    assert not path.is_symlink()
    assert NEW == keyfile.read(path, PARTS)


HOLDER = """
import pathlib, sys, time
from keys import keyfile
with keyfile.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
TAKER = """
import pathlib, sys
from keys import keyfile
with keyfile.locked(pathlib.Path(sys.argv[1])):
    print("taken", flush=True)
"""


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """Another process waits for the lock; when its holder is killed it goes on at once."""
    path = old_file(tmp_path)

    def start(code: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code, str(path)], env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        )

    with start(HOLDER) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()
        with start(TAKER) as taker:
            with pytest.raises(subprocess.TimeoutExpired):
                taker.wait(1.0)
            holder.kill()
            assert b"taken\n" == taker.communicate(timeout=60)[0]


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    """Whatever is raised while it is held."""
    for _ in range(3):
        with pytest.raises(KeyError), keyfile.locked(tmp_path / "store"):
            raise KeyError


def test_stamp_changes_with_every_write(tmp_path: Path) -> None:
    """Even where size and second are the same; nothing else changes it."""
    path = tmp_path / "store"
    assert keyfile.stamp(path) is None
    seen = set()
    for serial in range(10, 60):
        with keyfile.locked(path):
            keyfile.write(path, OLD | {"serial": serial})
        seen.add(keyfile.stamp(path))
        keyfile.read(path, PARTS)
        assert keyfile.stamp(path) in seen
    assert 50 == len(seen)


@given(values, values)
def test_canonical_tells_values_apart(one: object, other: object) -> None:
    """Equal values have one byte string, whatever their order; others have others."""
    first, second = keyfile.canonical({"a": 1, "value": one}), keyfile.canonical({"value": other, "a": 1})
    assert (first == second) is (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    """Root would make, or give to the folder's owner, whatever it leads to."""
    target = tmp_path / "elsewhere"
    target.write_text("not ours")
    (tmp_path / "keystore.lock").symlink_to(target)
    before = target.stat()
    with pytest.raises(KeystoreError, match="cannot be locked") as caught, keyfile.locked(tmp_path / "keystore"):
        pass
    assert one_line(caught.value)
    assert (before.st_uid, before.st_mtime_ns) == (target.stat().st_uid, target.stat().st_mtime_ns)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_a_link_leads_to_is_not_given_away(tmp_path: Path) -> None:
    """The link is, to the owner of its folder."""
    target, link = tmp_path / "target", tmp_path / "theirs" / "link"
    target.write_text("root's")
    link.parent.mkdir()
    link.symlink_to(target)
    os.chown(link.parent, 12_345, 12_346)
    belong_to(link.parent, link)
    keep_owner(link.parent, link)
    assert (0, 12_345) == (target.stat().st_uid, link.lstat().st_uid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_second_name_is_not_given_away(tmp_path: Path) -> None:
    """A lock that is a hard link to a file of root's, put there by the folder's owner: that file stays root's."""
    theirs, precious = tmp_path / "theirs", tmp_path / "precious"
    theirs.mkdir()
    precious.write_text("root's")
    os.chown(theirs, 12_345, 12_346)
    os.link(precious, theirs / "keystore.lock")
    with keyfile.locked(theirs / "keystore"):
        pass
    assert 0 == precious.stat().st_uid
    keep_owner(theirs, theirs / "keystore.lock")
    assert 0 == precious.stat().st_uid
    (theirs / "folder").mkdir()
    (theirs / "folder" / "inner").mkdir()
    belong_to(theirs, theirs / "folder")
    assert 12_345 == (theirs / "folder").stat().st_uid


def test_a_pipe_in_place_of_the_keystore_is_refused(tmp_path: Path) -> None:
    """At once: nobody would write into it."""
    os.mkfifo(tmp_path / "store")
    code = "import pathlib, sys; from keys import keyfile; keyfile.read(pathlib.Path(sys.argv[1]), set())"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code, str(tmp_path / "store")],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    assert b"KeystoreError" in done.stderr.splitlines()[-1]
