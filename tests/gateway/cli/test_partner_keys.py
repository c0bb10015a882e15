"""Tests of gateway.cli.partner_keys: `kks keys import-rsa`, `import-secret`, `export-public`."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from keys import rsa_keys
from tests.gateway.cli.rites import BUDI, SITI, Rites
from tests.gateway.cli.test_keystore import ROOT, read_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.shell import Shell

SECRET = "an invented client secret, 38 letters!"


@pytest.fixture
def rites(shell: Shell) -> Rites:
    """On a bank that was never opened."""
    return Rites(shell)


def test_rsa_keys(rites: Rites, tmp_path: Path) -> None:
    """From a file or standard input."""
    der = rsa_keys.make(2048)
    (tmp_path / "key.der").write_bytes(der)
    made = rites.json("import-rsa", "snap", "--file", str(tmp_path / "key.der"), *SITI)
    assert ("S0", "RSA", 2048, "S", "PRE_ACTIVE") == tuple(
        made["key"][name] for name in ("code", "algorithm", "bits", "mode", "state")
    )
    public = rites.json("import-rsa", "partner", "--file", "-", *SITI, typed=rsa_keys.public_pem(der))
    assert "V" == public["key"]["mode"]
    (tmp_path / "key.der").write_bytes(b"rubbish")
    rites.refused("import-rsa", "snap", "--file", str(tmp_path / "key.der"), *SITI)
    assert "none: No such file" in rites.refused("import-rsa", "snap", "--file", "none", *SITI)


def test_import_a_secret(rites: Rites, tmp_path: Path) -> None:
    """From a file or standard input; to verify unless asked to sign; never shown; a line end behind it is none of it."""
    (tmp_path / "secret").write_text(SECRET + "\r\n")
    first = rites.run("import-secret", "snap-partner", "--file", str(tmp_path / "secret"), *SITI)
    assert "is taken in; another person activates it" in first
    assert "state PRE_ACTIVE" in first
    again = rites.json("import-secret", "snap-ours", "--file", "-", "--mode", "G", *SITI, typed=SECRET)
    assert ("M7", "HMAC", 8 * len(SECRET), "G", "PRE_ACTIVE", "N") == tuple(
        again["key"][name] for name in ("code", "algorithm", "bits", "mode", "state", "export")
    )
    assert again["key"]["kcv"] in first
    listed = {one["label"]: one for one in rites.json("list")["keys"]}
    assert ("V", "G") == (listed["snap-partner"]["mode"], listed["snap-ours"]["mode"])
    assert "siti made it or brought it in" in rites.refused("activate", "snap-partner", *SITI)
    rites.run("activate", "snap-partner", *BUDI)
    record = rites.run("record")
    assert "import-secret snap-partner#1: done" in record
    for shown in (first, record, str(again)):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("secret", "words", "said"),
    [
        ("fifteen letters", (), "16 to 1024 bytes"),
        ("x" * 40, (), "one byte again"),
        (SECRET, ("--mode", "C"), "one of the two"),
        (SECRET, ("--mode", "Z"), "'Z' is not a valid KeyMode"),
        (SECRET, ("--from", "2027-01-02", "--to", "2027-01-01"), "last day is before its first"),
    ],
)
def test_secrets_that_are_refused(rites: Rites, secret: str, words: tuple[str, ...], said: str) -> None:
    """In one line that does not show it; no key more than before."""
    before = rites.json("list")["keys"]
    line = rites.refused("import-secret", "snap", "--file", "-", *words, *SITI, typed=secret)
    assert said in line
    assert secret not in line
    assert before == rites.json("list")["keys"]


def test_export_a_public_key(rites: Rites, tmp_path: Path) -> None:
    """In PEM with its check value, before the key works already; recorded; of no other key."""
    der = rsa_keys.make(2048)
    (tmp_path / "key.der").write_bytes(der)
    made = rites.json("import-rsa", "snap", "--file", str(tmp_path / "key.der"), *SITI)
    text = rites.run("export-public", "snap", *BUDI)
    assert f"{rsa_keys.public_pem(der)}check value {made['key']['kcv']}" == text.rstrip("\n")
    told = rites.json("export-public", "snap#1", *BUDI)
    assert {"public_key": rsa_keys.public_pem(der), "kcv": made["key"]["kcv"]} == told
    assert "export-public snap#1: done" in rites.run("record")
    assert "may not do SHOW_PUBLIC" in rites.refused("export-public", "vault-index", *BUDI)
    assert "no key" in rites.refused("export-public", "none", *BUDI)


def test_a_secret_on_a_terminal_is_not_shown(rites: Rites) -> None:
    """What is typed on a real terminal is not echoed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    main, theirs = pty.openpty()
    words = [sys.executable, "-m", "gateway", "keys", "import-secret", "snap", "--file", "-", *SITI]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as child:  # noqa: S603 - ourselves
        os.close(theirs)
        seen = read_until(main, b"secret of snap: ")
        os.write(main, SECRET.encode() + b"\n")
        seen += read_until(main, b"heck value")
        child.wait(timeout=60)
        os.close(main)
    assert 0 == child.returncode
    assert SECRET[:6].encode() not in seen
    assert "PRE_ACTIVE" == rites.state("snap#1")
