"""Tests of gateway.cli.keystore: `kks keys`."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway import clock
from gateway.cli.keystore import CONTENT_MOST
from gateway.operations.custody import BANK_KEYS
from keys import kcv, tr31
from keys.tr31_header import Header
from tests.gateway.cli.rites import BOTH, BUDI, SITI, ZPK, Rites
from tests.gateway.rites import FIRST, SECOND

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell

ROOT = Path(__file__).resolve().parents[3]
KEY_PARTS = {
    "key", "label", "version", "usage", "code", "algorithm", "bits", "mode", "state", "export", "from", "to", "kcv", "kcv_method",
}  # fmt: skip


@pytest.fixture
def rites(shell: Shell) -> Rites:
    """On a bank that was never opened."""
    return Rites(shell)


def test_list_and_usages(rites: Rites) -> None:
    """A new bank has its own keys; every usage is told with what may be set."""
    found = rites.json("list")["keys"]
    assert {*BANK_KEYS} == {one["label"] for one in found}
    assert [KEY_PARTS] * 4 == [set(one) for one in found]
    audit = found[0]
    assert ("audit#1", 1, "mac_hmac", "M7", "HMAC", 512, "C", "ACTIVE", "N", None, None) == tuple(
        audit[name] for name in ("key", "version", "usage", "code", "algorithm", "bits", "mode", "state", "export", "from", "to")
    )  # fmt: skip
    table = rites.run("list")
    assert [one["kcv"] in table and one["key"] in table for one in found] == [True] * 4
    usages = rites.run("usages")
    assert ["P0", "pin_encryption", "K1", "check_length=6"] == [
        word for word in ("P0", "pin_encryption", "K1", "check_length=6") if word in usages
    ]


def test_a_key_of_two_people(rites: Rites) -> None:
    """Made by one, activated by another, and told so; the JSON has the same parts as the list."""
    made = rites.json(
        "generate", "zpk", "--usage", "P0", "--bits", "128", "--from", "2026-01-01", "--to", "2090-12-31", *SITI
    )
    assert {"key"} == set(made)
    assert KEY_PARTS == set(made["key"])
    assert ("zpk#1", 128, "D", "PRE_ACTIVE", "N", "2026-01-01", "2090-12-31") == tuple(
        made["key"][name] for name in ("key", "bits", "mode", "state", "export", "from", "to")
    )
    assert "key zpk#1: siti made it or brought it in; another person activates it" == rites.refused(
        "activate", "zpk", *SITI
    )
    line = rites.run("activate", "zpk#1", *BUDI)
    assert f"Key zpk#1 works now. Check value {made['key']['kcv']}, state ACTIVE.\n" == line
    assert "ACTIVE" == rites.state("zpk#1")


def test_a_key_that_works_from_a_day_to_come(rites: Rites) -> None:
    """The answer says from when, and not that it works."""
    rites.run("generate", "zpk", "--usage", "P0", "--from", "2090-01-01", *SITI)
    line = rites.run("activate", "zpk#1", *BUDI)
    assert line.startswith("Key zpk#1 works from 2090-01-01. ")
    assert line.endswith(", state PRE_ACTIVE.\n")


def test_a_key_of_components(rites: Rites) -> None:
    """Each typed from a pipe in a run of its own; what waits is listed; the last one forms the key; sheets are compared."""
    told = json.loads(rites.component(1, "--json").splitlines()[-1])
    check = str(kcv.of_aes(FIRST))
    assert {"component": 1, "of": 2, "component_kcv": check, "key": None} == told
    (waiting,) = rites.json("waiting")["components"]
    assert ("zmk", 1, 2, "siti", check) == tuple(
        waiting[name] for name in ("label", "number", "of", "custodian", "kcv")
    )
    assert check in rites.run("waiting")
    second = ("component", "zmk", "--usage", "K1", "--number", "2")
    assert "siti entered component 1; nobody enters two" in rites.refused(*second, *SITI, typed=SECOND.hex())
    assert "not as told" in rites.refused(*second, *BUDI, "--kcv", check, typed=SECOND.hex())
    assert "another kind of key" in rites.refused(*second, *BUDI, "--exportable", typed=SECOND.hex())
    line = rites.component(2, "--kcv", str(kcv.of_aes(SECOND)))
    assert (
        f"Component 2 has check value {kcv.of_aes(SECOND)}. Key zmk#1 is formed, check value {kcv.of_aes(BOTH)}.\n"
        == line
    )
    assert [] == rites.json("waiting")["components"]
    again = json.loads(rites.component(1, "--of", "3", "--json").splitlines()[-1])
    assert 3 == again["of"]
    assert {"components": 1} == rites.json("forget", "zmk", *SITI)
    assert "0 components of zmk are thrown away.\n" == rites.run("forget", "zmk")


def test_hex_is_typed_as_people_type_it(rites: Rites) -> None:
    """In groups, in either case; with what is no hex the line says which component, and none of what was typed."""
    grouped = " ".join(FIRST.hex().upper()[at : at + 4] for at in range(0, 64, 4))
    rites.run("component", "zmk", "--usage", "K1", "--number", "1", *SITI, typed=f"{grouped}\r\n")
    for typed in ("hello world\n", FIRST.hex()[:-1], "", "\n", FIRST.hex() + "zz", "\u00e9" * 64):
        line = rites.refused("component", "zmk", "--usage", "K1", "--number", "2", *BUDI, typed=typed)
        assert "component 2 of" in line
        assert "hello" not in line


def test_a_component_on_a_terminal_is_not_shown(rites: Rites) -> None:
    """What is typed on a real terminal is not echoed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    main, theirs = pty.openpty()
    words = [sys.executable, "-m", "gateway", "keys", "component", "zmk", "--usage", "K1", "--number", "1", *SITI]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as child:  # noqa: S603 - ourselves
        os.close(theirs)
        seen = read_until(main, b"(hex): ")
        os.write(main, FIRST.hex().encode() + b"\n")
        seen += read_until(main, b"check value")
        child.wait(timeout=60)
        os.close(main)
    assert 0 == child.returncode
    assert b"component 1 of 2 of zmk (hex): " in seen
    assert FIRST.hex()[:6].encode() not in seen.lower()
    assert ["zmk"] == [one["label"] for one in rites.json("waiting")["components"]]


def test_keys_go_out_and_come_in(rites: Rites, tmp_path: Path) -> None:
    """A block on standard output; taken in from the command line, a file, or standard input."""
    rites.zmk()
    rites.zpk()
    sent = rites.json("export", "zpk", "--under", "zmk", *SITI)
    assert {"block", "kcv"} == set(sent)
    lines = rites.run("export", "zpk#1", "--under", "zmk#1", *SITI).splitlines()
    assert (2, f"check value {sent['kcv']}") == (len(lines), lines[1])
    assert 112 == len(lines[0])
    (tmp_path / "block").write_text(f"  {lines[0]}\n")
    for place, (block, typed) in enumerate(
        ((sent["block"], None), (f"@{tmp_path}/block", None), ("-", f"{lines[0]}\r\n"))
    ):
        taken = rites.json("import", f"zpk-{place}", "--under", "zmk", "--block", block, *SITI, typed=typed)
        assert (sent["kcv"], "PRE_ACTIVE", "E") == tuple(taken["key"][name] for name in ("kcv", "state", "export"))
    kept = ("--usage", "P0", "--mode", "B", "--to", "2090-01-01", "--not-exportable")
    taken = rites.json("import", "kept", "--under", "zmk", "--block", sent["block"], *kept, *SITI)
    assert ("N", "2090-01-01") == (taken["key"]["export"], taken["key"]["to"])


def test_a_block_is_passed_on(rites: Rites) -> None:
    """From one ZMK to another, on standard output: what comes is the same key."""
    rites.zmk()
    rites.zpk()
    rites.run("generate", "zmk-other", "--usage", "K1", *SITI)
    rites.run("activate", "zmk-other", *BUDI)
    sent = rites.json("export", "zpk", "--under", "zmk", *SITI)
    words = ("rewrap", "--under", "zmk", "--to", "zmk-other", *BUDI)
    passed = rites.json(*words, "--block", sent["block"])
    assert {"block"} == set(passed)
    assert 112 == len(rites.run(*words, "--block", "-", typed=f"{sent['block']}\n").strip())
    taken = rites.json("import", "passed", "--under", "zmk-other", "--block", passed["block"], *SITI)
    assert sent["kcv"] == taken["key"]["kcv"]


def test_a_partners_block(rites: Rites) -> None:
    """Made elsewhere: the key is what its header says. Blocks that are none are one line each."""
    rites.zmk()
    block = tr31.wrap(BOTH, Header("D", "P0", "T", "B", "00", "E"), ZPK)
    taken = rites.json("import", "zpk", "--under", "zmk", "--block", block, *SITI)
    assert ("P0", str(kcv.of_tdes(ZPK))) == (taken["key"]["code"], taken["key"]["kcv"])
    wrong = tr31.wrap(FIRST, Header("D", "P0", "T", "B", "00", "E"), ZPK)
    for text in (wrong, block[:-1], block + "0", block.replace("P0", "D0"), "", "rubbish", "\u00e9"):
        rites.refused("import", "zpk", "--under", "zmk", "--block", text, *SITI)
    for option in (
        ("--mode", "B"),
        ("--from", "2026-01-01"),
        ("--to", "2026-01-01"),
        ("--set", "pvki=1"),
        ("--not-exportable",),
    ):
        line = rites.refused("import", "zpk", "--under", "zmk", "--block", block, *option, *SITI)
        assert line.startswith("--usage is needed with")
    assert "none: No such file" in rites.refused("import", "zpk", "--under", "zmk", "--block", "@none", *SITI)


def test_attributes_that_a_key_may_have(rites: Rites) -> None:
    """Said with --set: older key blocks of a ZMK, whose initial key it is; told by `usages`, refused where they do not belong."""
    usages = rites.run("usages")
    assert " device=, working_key= " in usages
    assert " legacy_versions= " in usages
    words = ("--usage", "K1", "--algorithm", "T", "--set", "legacy_versions=AC", *SITI)
    assert 192 == rites.json("generate", "zmk-old", *words)["key"]["bits"]
    device = "device=FFFF9876543210E00000"
    assert "B1" == rites.json("generate", "terminal", "--usage", "B1", "--set", device, *SITI)["key"]["code"]
    terminals = ("--usage", "B0", "--algorithm", "A", "--set")
    assert "B0" == rites.json("generate", "bdk", *terminals, "working_key=TDES-112", *SITI)["key"]["code"]
    assert "working_key is" in rites.refused("generate", "bdk-2", *terminals, "working_key=DES", *SITI)
    assert "device is missing" in rites.refused("generate", "other", "--usage", "B1", *SITI)
    assert "has no such attribute" in rites.refused("generate", "other", "--usage", "P0", "--set", device, *SITI)
    assert "legacy_versions is AC" in rites.refused(
        "generate", "zmk", "--usage", "K1", "--set", "legacy_versions=AC", *SITI
    )


def test_rotation_and_states(rites: Rites) -> None:
    """The next version, an overlap of days, and the end of the old one by two people."""
    rites.zpk()
    made = rites.json("rotate", "zpk", *SITI)
    assert ("zpk#2", "PRE_ACTIVE") == (made["key"]["key"], made["key"]["state"])
    rites.run("activate", "zpk#2", "--overlap-days", "7", *BUDI)
    (old,) = [one for one in rites.json("list")["keys"] if one["key"] == "zpk#1"]
    assert str(clock.jakarta_today() + timedelta(days=7)) == old["to"]
    for act, state in (
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
        ("retire", "DEACTIVATED"),
        ("compromise", "COMPROMISED"),
    ):
        told = rites.json("state", act, "zpk#1", *SITI)
        assert (state, state) == (told["key"]["state"], rites.state("zpk#1"))
    assert "siti ended its life; another person destroys it" in rites.refused("state", "destroy", "zpk#1", *SITI)
    assert "Key zpk#1 (destroy) is done." in rites.run("state", "destroy", "zpk#1", *BUDI)
    assert "DESTROYED" == rites.state("zpk#1")


MISTAKES = {
    "usage": ("generate", "a", "--usage", "ZZ"),
    "algorithm": ("generate", "a", "--usage", "P0", "--algorithm", "X"),
    "mode": ("generate", "a", "--usage", "P0", "--mode", "X"),
    "mode of usage": ("generate", "a", "--usage", "P0", "--mode", "G"),
    "algorithm of usage": ("generate", "a", "--usage", "P0", "--algorithm", "H"),
    "bits": ("generate", "a", "--usage", "P0", "--bits", "100"),
    "attribute": ("generate", "a", "--usage", "M7", "--set", "foo=1"),
    "attribute of others": ("generate", "a", "--usage", "M7", "--set", "pvki=1"),
    "attribute value": ("generate", "a", "--usage", "M7", "--set", "mac_length=99"),
    "attribute number": ("generate", "a", "--usage", "M7", "--set", "mac_length=x"),
    "attribute form": ("generate", "a", "--usage", "M7", "--set", "mac_length"),
    "first day": ("generate", "a", "--usage", "M7", "--from", "tomorrow"),
    "last day": ("generate", "a", "--usage", "M7", "--to", "2026-13-01"),
    "days": ("generate", "a", "--usage", "M7", "--from", "2027-01-01", "--to", "2026-01-01"),
    "label": ("generate", "no label", "--usage", "M7"),
    "own": ("generate", "audit", "--usage", "M7"),
    "person": ("generate", "a", "--usage", "M7", "--as", "x" * 61),
    "one version": ("rotate", "vault-index"),
    "no key": ("rotate", "none"),
    "no version": ("activate", "audit#9"),
    "no name": ("activate", "audit#x"),
    "not new": ("activate", "audit#1"),
    "vital": ("state", "retire", "audit"),
    "export": ("export", "audit", "--under", "vault-sealing"),
    "under": ("export", "audit", "--under", "none"),
    "passed on": ("rewrap", "--block", "none", "--under", "audit", "--to", "audit"),
    "since": ("record", "--since", "yesterday"),
    "until": ("record", "--until", "2026-02-30"),
    "out": ("record", "--out", "none/record.txt"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(rites: Rites, name: str) -> None:
    """Exit 1, one line, no traceback, and no key more or less than before."""
    before = rites.json("list")["keys"]
    assert rites.refused(*MISTAKES[name])
    assert before == rites.json("list")["keys"]


@pytest.mark.parametrize(
    "words",
    [
        ("state", "explode", "audit"), ("component", "a", "--usage", "K1", "--number", "0"),
        ("component", "a", "--usage", "K1", "--number", "10"), ("component", "a", "--usage", "K1", "--number", "1", "--of", "1"),
        ("activate", "audit", "--overlap-days", "91"), ("activate", "audit", "--overlap-days", "-1"), ("generate", "a"),
        ("import", "a"), ("rotate",), ("generate", "a", "--usage", "P0", "--bits", "many"),
        ("form", "a"),
    ],
)  # fmt: skip
def test_a_wrong_use_is_told(shell: Shell, words: tuple[str, ...]) -> None:
    """Exit 2."""
    assert shell.usage("keys", *words)


@pytest.mark.parametrize("command", ["import", "import-rsa", "import-secret"])
def test_what_is_given_is_bounded(rites: Rites, tmp_path: Path, command: str) -> None:
    """An endless device, a pipe, a folder, a long file, a long standard input: one line at once."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"x" * (CONTENT_MOST + 1))
    given = {"/dev/zero": "is no regular file", str(tmp_path / "pipe"): "is no regular file", str(tmp_path): "Is a directory",
             str(tmp_path / "long"): "has more than 65536 bytes", "none\0": "embedded null byte"}  # fmt: skip
    options = ("import", "k", "--under", "zmk", "--block") if command == "import" else (command, "k", "--file")
    for name, said in given.items():
        assert f"{name}: {said}" in rites.refused(*options, f"@{name}" if command == "import" else name, *SITI)
    assert "standard input: has more than 65536 bytes" in rites.refused(
        *options, "-", *SITI, typed="x" * (CONTENT_MOST + 1)
    )
    assert "is not hex" in rites.refused(
        "component", "k", "--usage", "K1", "--number", "1", *SITI, typed="x" * (CONTENT_MOST + 1)
    )


def test_the_record(rites: Rites, tmp_path: Path) -> None:
    """On standard output or in a file, of all days or some."""
    rites.zmk()
    rites.zpk()
    text = rites.run("record")
    for said in (
        "component zmk: done",
        "form zmk#1: done",
        "generate zpk#1: done",
        "activate zpk#1: done",
        "signature",
    ):
        assert said in text
    out = tmp_path / "record.txt"
    assert f"The record is in {out}.\n" == rites.run("record", "--out", str(out))
    assert text.strip() == out.read_text().strip()
    today = clock.jakarta_today()
    assert "form zmk#1" in rites.run("record", "--since", str(today), "--until", str(today))
    assert "form zmk#1" in rites.run("record", "--until", "9999-12-31")
    for words in (("--since", str(today + timedelta(days=1))), ("--until", str(today - timedelta(days=1)))):
        assert "Nothing was done with keys in this time." in rites.run("record", *words)


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What a program shows, up to WANTED."""
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, seen
        seen += os.read(terminal, 1_024)
    return seen
