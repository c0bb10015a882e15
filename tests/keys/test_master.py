"""Master key files and passphrases."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keys.errors import KeystoreError
from keys.master import (
    MasterKey,
    Passphrase,
    create_master_key_file,
    drop_unfinished,
    read_master_key_file,
    read_passphrase_file,
    read_secret_file,
    wipe,
)
from tests.keys.samples import one_line

ROOT = Path(__file__).resolve().parents[2]
DYING_WRITER = """
import os, pathlib, sys
from keys.master import MasterKey, create_master_key_file
step = getattr(os, sys.argv[2])
def die(*words, **options):
    if sys.argv[3] == "after":
        step(*words, **options)
    os.kill(os.getpid(), 9)
setattr(os, sys.argv[2], die)
create_master_key_file(pathlib.Path(sys.argv[1]), MasterKey(bytes(range(32))))
"""


def test_new_file_reads_back(tmp_path: Path) -> None:
    """32 random bytes in hex, mode 0600."""
    path = tmp_path / "master.key"
    created = create_master_key_file(path)
    assert created == read_master_key_file(path)
    assert 0o600 == path.stat().st_mode & 0o777
    assert 65 == path.stat().st_size
    assert created != create_master_key_file(tmp_path / "other.key")


def test_umask_does_not_matter(tmp_path: Path) -> None:
    """A careless umask does not open the file to others."""
    before = os.umask(0)
    try:
        create_master_key_file(tmp_path / "master.key")
    finally:
        os.umask(before)
    assert 0o600 == (tmp_path / "master.key").stat().st_mode & 0o777


def test_never_overwritten(tmp_path: Path) -> None:
    """A second creation is refused, and the first key is still there."""
    path = tmp_path / "master.key"
    created = create_master_key_file(path)
    with pytest.raises(KeystoreError, match="there already"):
        create_master_key_file(path)
    assert created == read_master_key_file(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o644, 0o777])
def test_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Any bit for group or others: refused, with the path and the remedy."""
    path = tmp_path / "master.key"
    create_master_key_file(path)
    path.chmod(mode)
    with pytest.raises(KeystoreError, match="0600") as caught:
        read_master_key_file(path)
    assert str(path) in str(caught.value)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    "text", [b"", b"00", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff" * 64, b"0" * 5000, b"00" * 16 + b"\n" + b"00" * 16]
)
def test_damaged_file_is_refused(tmp_path: Path, text: bytes) -> None:
    """What is not 64 hex digits is no master key."""
    path = tmp_path / "master.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(KeystoreError, match=r"not 32 bytes in hex|not one short line of text"):
        read_master_key_file(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """One line with the path, for reading and for writing."""
    missing = tmp_path / "none" / "master.key"
    with pytest.raises(KeystoreError, match="cannot be read"):
        read_master_key_file(missing)
    with pytest.raises(KeystoreError, match="cannot be written"):
        create_master_key_file(missing)


def test_folder_is_no_key_file(tmp_path: Path) -> None:
    """A folder in its place is refused too."""
    with pytest.raises(KeystoreError):
        read_master_key_file(tmp_path)


def test_passphrase_gives_the_same_key_for_the_same_salt() -> None:
    """And another for another salt or passphrase."""
    passphrase = Passphrase("correct horse battery")
    key = passphrase.derive(b"salt of 16 bytes")
    assert key == Passphrase("correct horse battery").derive(b"salt of 16 bytes")
    assert key != passphrase.derive(b"salt of 16 Bytes")
    assert key != Passphrase("correct horse batterz").derive(b"salt of 16 bytes")


def test_short_secrets_are_refused() -> None:
    """A passphrase of 11 characters, a master key of 31 bytes."""
    with pytest.raises(KeystoreError):
        Passphrase("eleven char")
    with pytest.raises(KeystoreError):
        MasterKey(bytes(31))


def test_passphrase_of_any_script_is_taken_and_what_is_no_text_is_not() -> None:
    """Letters of all languages; not what Python makes of input that is not UTF-8, which could not be written down."""
    assert Passphrase("kata sandi é 密碼 🔑").derive(bytes(16)) == Passphrase("kata sandi é 密碼 🔑").derive(bytes(16))
    for value in ("correct horse \udc80", "\ud83d correct horse", "correct horse batter\udfff"):
        with pytest.raises(KeystoreError, match="is text") as caught:
            Passphrase(value)
        assert "horse" not in str(caught.value)
        assert one_line(caught.value)


def test_what_is_derived_is_scrypt() -> None:
    """RFC 7914 with N 65,536, r 8, p 1: as any other program would derive it."""
    made = hashlib.scrypt(b"correct horse battery", salt=bytes(16), n=65_536, r=8, p=1, maxmem=2**27, dklen=32)
    assert MasterKey(made) == Passphrase("correct horse battery").derive(bytes(16))


def test_failed_write_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: no key is given out that would not be there tomorrow."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeystoreError, match="No space left") as caught:
        create_master_key_file(tmp_path / "master.key")
    assert one_line(caught.value)


def test_link_is_not_written_through(tmp_path: Path) -> None:
    """Not even one that leads nowhere yet."""
    (tmp_path / "master.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeystoreError, match="there already"):
        create_master_key_file(tmp_path / "master.key")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["open", "fdopen", "fsync", "link", "unlink"])
def test_a_killed_writer_leaves_no_half_key(tmp_path: Path, step: str, when: str) -> None:
    """Nothing under its name, or the whole key; what else it left is in nobody's way, and gone after the next one."""
    path = tmp_path / "master.key"
    words = [sys.executable, "-c", DYING_WRITER, str(path), step, when]
    assert -9 == subprocess.run(words, env={"PYTHONPATH": str(ROOT)}, check=False).returncode  # noqa: S603 - our own interpreter
    if path.exists():
        assert MasterKey(bytes(range(32))) == read_master_key_file(path)
        drop_unfinished(path)
        assert MasterKey(bytes(range(32))) == read_master_key_file(path)
    else:
        assert create_master_key_file(path) == read_master_key_file(path)
    assert {"master.key"} == {one.name for one in tmp_path.iterdir()}


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The key is written all the same, and never over another, not even one that came just now."""

    def none(*_: object) -> None:
        raise OSError(number, "no links here")

    def late(*_: object) -> None:
        (tmp_path / "late.key").write_text("precious")
        none()

    monkeypatch.setattr(os, "link", none)
    assert create_master_key_file(tmp_path / "master.key") == read_master_key_file(tmp_path / "master.key")
    monkeypatch.setattr(os, "link", late)
    with pytest.raises(KeystoreError, match="there already"):
        create_master_key_file(tmp_path / "late.key")
    assert "precious" == (tmp_path / "late.key").read_text()
    assert {"master.key", "late.key"} == {one.name for one in tmp_path.iterdir()}


def test_a_failed_write_leaves_the_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second takes nothing away, whatever fails."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    key = create_master_key_file(tmp_path / "master.key")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(KeystoreError, match="No space left"):
        create_master_key_file(tmp_path / "master.key")
    assert key == read_master_key_file(tmp_path / "master.key")


def test_what_is_left_is_wiped_and_a_link_is_not(tmp_path: Path) -> None:
    """The bytes of an unfinished key are overwritten; what a link leads to stays as it is."""
    left, path = tmp_path / ".master.key.new", tmp_path / "master.key"
    left.write_text("secret")
    with left.open("rb") as file:
        drop_unfinished(path)
        assert bytes(6) == file.read()
    (tmp_path / "precious").write_text("precious")
    left.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic"):
        wipe(left)
    drop_unfinished(path)
    drop_unfinished(path)
    assert "precious" == (tmp_path / "precious").read_text()
    assert {"precious"} == {one.name for one in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    """A pipe that nobody writes into, a folder, an endless device: one line, without waiting for anything."""
    path = tmp_path / "master.key"
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir(mode=0o700)
    else:
        path.symlink_to("/dev/zero")
    code = "import pathlib, sys; from keys.master import read_secret_file; read_secret_file(pathlib.Path(sys.argv[1]), 'it')"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code, str(path)],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    said = "cannot be read (Is a directory)" if kind == "folder" else "is no regular file"
    assert f"keys.errors.KeystoreError: it {path}: {said}" == done.stderr.splitlines()[-1].decode()


@pytest.mark.parametrize("secret", ["12345678", "./12345678", "correct horse battery"])
def test_a_secret_in_place_of_its_files_name_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """It would stand in an error, and in the chain; a name that has a folder, or is there, is told."""
    monkeypatch.chdir(tmp_path)
    for read in (read_passphrase_file, lambda path: read_secret_file(path, "officer PIN file")):
        with pytest.raises(KeystoreError, match="file that was named: cannot be read") as caught:
            read(Path(secret))
        assert secret.removeprefix("./") not in str(caught.value)
    (tmp_path / "pin").write_text("x")
    (tmp_path / "pin").chmod(0o644)
    for named in (Path("pin"), tmp_path / "none"):
        with pytest.raises(KeystoreError, match=f"officer PIN file {named}: "):
            read_secret_file(named, "officer PIN file")
