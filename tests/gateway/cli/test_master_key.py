"""Tests of gateway.cli.master_key: `kks keys init`, `rotate-master`, `token-init`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.operations.noted_acts import notes_path
from keys import kcv
from keys.master import MasterKey, read_master_key_file, read_secret_file, write_secret_file
from tests.gateway.cli.rites import BOTH, BUDI, SITI, Rites
from tests.gateway.rites import FIRST, SECOND
from tests.keys.softhsm import module, needs_token

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell

ROOT = Path(__file__).resolve().parents[3]
THIRD, FOURTH = bytes(range(50, 82)), bytes(range(150, 182))
NEXT = bytes(one ^ other for one, other in zip(THIRD, FOURTH, strict=True))
OLD, NEW = "correct horse battery staple", "a passphrase of another year"
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


@pytest.fixture
def rites(shell: Shell) -> Rites:
    """On a bank that was never opened."""
    return Rites(shell)


def names(folder: Path) -> set[str]:
    """What is in the folder of keys, locks aside."""
    return {path.name for path in (folder / "var" / "keys").iterdir() if path.suffix != ".lock"}


def test_another_master_key(rites: Rites, tmp_path: Path) -> None:
    """The keys stay."""
    keys, old = rites.json("list"), read_master_key_file(tmp_path / "var" / "keys" / "master.key")
    assert {"keys": 4} == rites.json("rotate-master", *SITI)
    assert "4 keys are sealed under the new master key.\n" == rites.run("rotate-master", *SITI)
    assert old != read_master_key_file(tmp_path / "var" / "keys" / "master.key")
    assert keys == rites.json("list")


def test_a_master_key_of_components(rites: Rites, tmp_path: Path) -> None:
    """Before there is a keystore: each custodian in a run of their own; the bank waits for the last and then works with it."""
    check = str(kcv.of_aes(FIRST))
    asked = ("init", "--component", "1", "--kcv", check, *SITI)
    assert {"entered": [1], "of": 2, "component_kcv": check} == rites.json(*asked, typed=f"{FIRST.hex()}\n")
    assert "components of the master key wait for others" in rites.refused("list")
    for words, typed in (
        (("--component", "2", *SITI), SECOND.hex()), (("--component", "1", *BUDI), SECOND.hex()),
        (("--component", "2", *BUDI), FIRST.hex()), (("--component", "2", *BUDI), SECOND.hex()[:32]),
        (("--component", "2", *BUDI), "hello"), (("--component", "2", "--of", "3", *BUDI), SECOND.hex()),
        (("--component", "3", *BUDI), SECOND.hex()), (("--component", "2", "--as", "x" * 61), SECOND.hex()),
    ):  # fmt: skip
        rites.refused("init", *words, typed=f"{typed}\n")
    told = rites.json("init", "--component", "2", *BUDI, typed=f"{SECOND.hex()}\n")
    part = str(kcv.of_aes(SECOND))
    assert {
        "kcv": str(kcv.of_aes(BOTH)),
        "component_kcv": part,
        "custodians": ["siti", "budi"],
        "recorded": True,
    } == told
    assert MasterKey(BOTH) == read_master_key_file(tmp_path / "var" / "keys" / "master.key")
    assert {"keystore.json", "master.key"} == names(tmp_path)
    assert 4 == len(rites.json("list")["keys"])
    record = rites.run("record")
    assert (2, 6) == (record.count("init master key: done"), record.count("init master key: refused"))
    for said in (check, part, str(kcv.of_aes(BOTH)), "custodians 1 siti, 2 budi", "nobody enters two", "noted 20"):
        assert said in record.replace("\n          ", " ")
    assert 2 == record.count("signature")
    assert "is there already; `keys rotate-master`" in rites.refused("init", "--component", "1", typed=FIRST.hex())


def test_the_database_is_away_when_the_master_key_is_made(
    rites: Rites, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The custodians' work stands, and who did it is recorded once the bank can be opened: nobody enters anything again."""
    with monkeypatch.context() as patched:
        patched.setenv("KKS_DATABASE_URL", NOWHERE)
        rites.run("init", "--component", "1", *SITI, typed=f"{FIRST.hex()}\n")
        line = rites.run("init", "--component", "2", *BUDI, typed=f"{SECOND.hex()}\n")
        assert f"The master key is made, check value {kcv.of_aes(BOTH)}. The bank cannot be opened just now (" in line
        assert line.endswith("): this is noted, and recorded when it is.\n")
        assert rites.refused("list").startswith("cannot reach PostgreSQL")
    assert {"keystore.json.noted", "master.key"} == names(tmp_path)
    noted = notes_path(tmp_path / "var" / "keys" / "keystore.json").read_text()
    assert [] == [secret for secret in (FIRST, SECOND, BOTH) if secret.hex()[:12] in noted]
    for _ in range(2):
        record = rites.run("record").replace("\n          ", " ")
        assert 2 == record.count("init master key: done")
        assert [1, 1] == [
            record.count(f"{said}") for said in ("custodians 1 siti, 2 budi", f"formed {kcv.of_aes(BOTH)}")
        ]
    assert {"keystore.json", "master.key"} == names(tmp_path)


def test_components_are_thrown_away(rites: Rites, tmp_path: Path) -> None:
    """Of a first master key and of a next one, by any custodian, and recorded."""
    rites.run("init", "--component", "1", *SITI, typed=FIRST.hex())
    assert "1 components of the master key are thrown away.\n" == rites.run("init", "--forget", *BUDI)
    assert {"components": 0} == rites.json("init", "--forget", *BUDI)
    assert 4 == len(rites.json("list")["keys"])
    assert "is there already" in rites.refused("init", "--forget")
    rites.run("rotate-master", "--component", "1", *SITI, typed=THIRD.hex())
    assert {"keystore.json", "master.key", "master.key.next.component-1"} == names(tmp_path)
    assert {"components": 1} == rites.json("rotate-master", "--forget", *BUDI)
    assert "0 components of the master key are thrown away.\n" == rites.run("rotate-master", "--forget", *BUDI)
    assert {"keystore.json", "master.key"} == names(tmp_path)
    record = rites.run("record")
    assert (2, 2) == (
        record.count("init-forget master key: done"), record.count("rotate-forget master key: done"),
    )  # fmt: skip


def test_what_cannot_be_wiped_is_told(rites: Rites, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A disk that fails when the key is made: the act is done, with its check value; screen and record say what was not wiped."""

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    rites.run("init", "--component", "1", *SITI, typed=FIRST.hex())
    monkeypatch.setattr("keys.master_ceremony.wipe", fail)
    said = rites.run("init", "--component", "2", *BUDI, typed=SECOND.hex())
    assert f"The master key is made, check value {kcv.of_aes(BOTH)}. Not all is thrown away: " in said
    rites.run("rotate-master", "--component", "1", *SITI, typed=THIRD.hex())
    told = rites.json("rotate-master", "--component", "2", *BUDI, typed=FOURTH.hex())
    assert "master.key.next.component-1: cannot be overwritten (Input/output error)" in told["left"]
    record = " ".join(rites.run("record").split())
    assert (2, 2) == (record.count("init master key: done"), record.count("rotate-master master key: done"))
    assert 2 == record.count("component-1: cannot be overwritten (Input/output error)")
    assert {"keystore.json", "master.key"} == names(tmp_path)


def test_a_next_master_key_of_components(rites: Rites, tmp_path: Path) -> None:
    """After one of components, one of components: in runs of their own; what is random waits meanwhile."""
    for number, by, value in (("1", SITI, FIRST), ("2", BUDI, SECOND)):
        rites.run("init", "--component", number, *by, typed=value.hex())
    keys, check = rites.json("list"), str(kcv.of_aes(THIRD))
    first = ("rotate-master", "--component", "1", "--kcv", check[:6], *SITI)
    assert {"entered": [1], "of": 2, "component_kcv": check} == rites.json(*first, typed=f"{THIRD.hex()}\n")
    assert "1 components of the next master key wait for others" in rites.refused("rotate-master", *BUDI)
    assert "nobody enters two" in rites.refused("rotate-master", "--component", "2", *SITI, typed=FOURTH.hex())
    assert MasterKey(BOTH) == read_master_key_file(tmp_path / "var" / "keys" / "master.key")
    part, whole = str(kcv.of_aes(FOURTH)), str(kcv.of_aes(NEXT))
    assert (
        f"component 2 of 2 of the master key (hex): \nComponent 2 has check value {part}. "
        f"The master key is made, check value {whole}; 4 keys are sealed under it.\n"
    ).endswith(rites.run("rotate-master", "--component", "2", *BUDI, typed=f"{FOURTH.hex()}\n"))
    assert MasterKey(NEXT) == read_master_key_file(tmp_path / "var" / "keys" / "master.key")
    assert {"keystore.json", "master.key"} == names(tmp_path)
    assert keys == rites.json("list")
    record = rites.run("record").replace("\n          ", " ")
    assert f"kcv {part}, keys 4, of 2" in record
    assert f"formed {whole}" in record
    assert {"keys": 4} == rites.json("rotate-master", *SITI)


def test_another_passphrase(rites: Rites, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bank's own file holds it from then on, and the old one opens nothing."""
    own, new = tmp_path / "passphrase", tmp_path / "new"
    write_secret_file(own, "passphrase", OLD)
    monkeypatch.setenv("KKS_MASTER_PASSPHRASE_FILE", str(own))
    assert "it has no components" in rites.refused("init", "--component", "1", typed=FIRST.hex())
    keys = rites.json("list")["keys"]
    assert 4 == len(keys)
    assert "the next one is --passphrase-file" in rites.refused("rotate-master")
    assert "it has no components" in rites.refused("rotate-master", "--component", "1", typed=FIRST.hex())
    rotate = ("rotate-master", "--passphrase-file", str(new), *SITI)
    assert "new: cannot be read" in rites.refused(*rotate)
    write_secret_file(new, "passphrase", "too short")
    assert "12 characters or more" in rites.refused(*rotate)
    new.unlink()
    write_secret_file(new, "passphrase", NEW)
    line = rites.run(*rotate)
    assert line.startswith(f"4 keys are sealed under the passphrase of {new}, which the bank's own file holds now.")
    assert (NEW, 0o600) == (read_secret_file(own, "it").reveal(), own.stat().st_mode & 0o777)
    assert {"keys": 4} == rites.json(*rotate)
    new.unlink()
    assert keys == rites.json("list")["keys"]
    own.unlink()
    write_secret_file(own, "passphrase", OLD)
    assert "the master key is another one" in rites.refused("list")


def test_a_link_to_the_passphrase_stays_a_link(rites: Rites, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is replaced is the file where it leads, so that the old passphrase is not left behind."""
    (tmp_path / "secrets").mkdir()
    write_secret_file(tmp_path / "secrets" / "own", "passphrase", OLD)
    write_secret_file(tmp_path / "new", "passphrase", NEW)
    (tmp_path / "passphrase").symlink_to(tmp_path / "secrets" / "own")
    monkeypatch.setenv("KKS_MASTER_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    assert {"keys": 4} == rites.json("rotate-master", "--passphrase-file", str(tmp_path / "new"), *SITI)
    assert (tmp_path / "passphrase").is_symlink()
    assert NEW == read_secret_file(tmp_path / "secrets" / "own", "it").reveal()
    assert 4 == len(rites.json("list")["keys"])


@pytest.mark.parametrize("wait", [0.9, 1.1, 1.3, 1.5, 1.7, 2.0])
def test_the_last_custodian_is_killed(rites: Rites, tmp_path: Path, wait: float) -> None:
    """By -9 while the command runs: every key opens; where his component still waits, he enters it again and it is done."""
    keys = rites.json("list")
    rites.run("rotate-master", "--component", "1", *SITI, typed=THIRD.hex())
    words = [sys.executable, "-m", "gateway", "keys", "rotate-master", "--component", "2", *BUDI]
    with subprocess.Popen(  # noqa: S603 - ourselves
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdin is not None
        child.stdin.write(FOURTH.hex().encode() + b"\n")
        child.stdin.flush()
        time.sleep(wait)
        child.kill()
        assert child.wait() in (0, -signal.SIGKILL)
    assert keys == rites.json("list")
    if "master.key.next.component-1" in names(tmp_path):
        assert 4 == json.loads(
            rites.run("rotate-master", "--component", "2", *BUDI, "--json", typed=FOURTH.hex()).splitlines()[-1]
        )["keys"]  # fmt: skip
    assert MasterKey(NEXT) == read_master_key_file(tmp_path / "var" / "keys" / "master.key")
    assert keys == rites.json("list")
    assert {"keystore.json", "master.key"} == names(tmp_path)


MISTAKES = {
    "token": ("token-init", "--officer-pin-file", "none"),
    "init": ("init", "--component", "1"),
    "nobody": ("token-init", "--officer-pin-file", "none", "--as", "x" * 61),
    "number": ("rotate-master", "--number", "2"),
    "passphrase": ("rotate-master", "--passphrase-file", "none"),
    "component": ("rotate-master", "--component", "1"),
    "forgetful nobody": ("rotate-master", "--forget", "--as", "-"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(rites: Rites, name: str) -> None:
    """Exit 1, one line, no traceback, and no key more or less than before."""
    before = rites.json("list")["keys"]
    assert rites.refused(*MISTAKES[name], typed="")
    assert before == rites.json("list")["keys"]


@pytest.mark.parametrize(
    "words",
    [
        ("init",), ("init", "--component", "1", "--forget"), ("token-init",), ("init", "--component", "10"),
        ("rotate-master", "--component", "1", "--number", "2"), ("rotate-master", "--forget", "--passphrase-file", "x"),
    ],
)  # fmt: skip
def test_a_wrong_use_is_told(shell: Shell, words: tuple[str, ...]) -> None:
    """Exit 2."""
    assert shell.usage("keys", *words)


def test_a_token_that_is_not_wholly_named(rites: Rites, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, whatever is asked."""
    monkeypatch.setenv("KKS_KEY_BACKEND", "pkcs11")
    for words in (
        ("list",), ("init", "--component", "1"), ("token-init", "--officer-pin-file", "none"), ("rotate-master",),
    ):  # fmt: skip
        assert "lacks the options module" in rites.refused(*words, typed="")


@needs_token
def test_a_token_that_is_not_there(rites: Rites, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named, with a PIN, but not in the slot: one line."""
    write_secret_file(tmp_path / "pin", "PIN", "1234")
    monkeypatch.setenv("KKS_KEY_BACKEND", "pkcs11")
    monkeypatch.setenv("KKS_KEY_OPTIONS__MODULE", str(module()))  # with the tokens of the tests, whoever loads it first
    monkeypatch.setenv("KKS_KEY_OPTIONS__TOKEN", "of nobody")
    monkeypatch.setenv("KKS_KEY_OPTIONS__PIN_FILE", str(tmp_path / "pin"))
    for words in (("list",), ("token-init", "--officer-pin-file", str(tmp_path / "pin"))):
        assert "token of nobody: is not there" in rites.refused(*words)
    assert "this back end's master key has no components" in rites.refused(
        "init", "--component", "1", typed=FIRST.hex()
    )
