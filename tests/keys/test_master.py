"""Master key files and passphrases."""

import hashlib
import os
from pathlib import Path

import pytest

from keys.errors import KeystoreError
from keys.master import MasterKey, Passphrase, create_master_key_file, read_master_key_file
from tests.keys.samples import one_line


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
