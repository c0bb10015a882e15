"""Tests of gateway.operations.noted_acts: what was done before there was a chain is not lost, and not written twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import open_bank
from gateway.errors import Refused
from gateway.files.ceremony_record import ceremony_record
from gateway.operations import ceremony, noted_acts
from gateway.operations.custody import custody_of
from gateway.operations.noted_acts import enter_component, forget_components, notes_path, set_up_token, take_in_notes
from keys import kcv
from keys.backend import Backend
from keys.errors import KeystoreError
from keys.master_ceremony import MasterComponent
from tests.gateway.rites import BUDI, FIRST, RATNA, SECOND, SITI, assert_no_material, details, told
from tests.gateway.street import assert_proved

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.operations.custody import Custody
    from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
KILLS = 16


@pytest.fixture
def custody(bank_settings: Settings) -> Custody:
    """Of a bank that was never opened."""
    return custody_of(bank_settings)


def part(number: int, value: bytes, sheet: str = "") -> MasterComponent:
    """One of two components."""
    return MasterComponent(number, 2, "not believed: the actor is", value, sheet)


def lines(custody: Custody) -> list[dict[str, Any]]:
    """What is noted."""
    path = notes_path(custody.place.keystore)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_every_act_before_the_bank_is_in_its_chain(custody: Custody, bank_settings: Settings) -> None:
    """Components with their check values, refusals with reasons, the whole, in order; noted when; then the file is gone."""
    enter_component(custody, SITI, part(1, FIRST))
    forget_components(custody, BUDI)
    enter_component(custody, f" {SITI} ", part(1, FIRST))
    with pytest.raises(Refused, match="nobody enters two"):
        enter_component(custody, SITI, part(2, SECOND))
    with pytest.raises(Refused, match="a component of a master key has 32 bytes"):
        enter_component(custody, BUDI, part(2, SECOND[:16]))
    enter_component(custody, BUDI, part(2, SECOND))
    noted = lines(custody)
    assert 0o600 == notes_path(custody.place.keystore).stat().st_mode & 0o777
    assert [] == [secret for secret in (FIRST, SECOND) if secret.hex()[:12] in json.dumps(noted)]
    async with open_bank(bank_settings) as bank:
        assert not notes_path(custody.place.keystore).exists()
        assert [
            ("begun", "init", SITI), ("done", "init", SITI), ("begun", "init-forget", BUDI), ("done", "init-forget", BUDI),
            ("begun", "init", SITI), ("done", "init", SITI), ("begun", "init", SITI), ("failed", "init", SITI),
            ("begun", "init", BUDI), ("failed", "init", BUDI), ("begun", "init", BUDI), ("done", "init", BUDI),
        ] == [(one, act, actor) for one, act, key, actor in await told(bank) if key == "master key"]  # fmt: skip
        found = await details(bank)
        assert [one["at"] for one in noted] == [one.pop("noted") for one in found]
        assert len(noted) == len({one.pop("note") for one in found})
        assert {"act": "init", "component": 1, "of": 2, "kcv": str(kcv.of_aes(FIRST))} == found[0] == found[1]
        whole = bytes(one ^ other for one, other in zip(FIRST, SECOND, strict=True))
        assert {
            "act": "init", "component": 2, "of": 2, "kcv": str(kcv.of_aes(SECOND)), "custodians": {"1": SITI, "2": BUDI},
            "formed": str(kcv.of_aes(whole)),
        } == found[-1]  # fmt: skip
        assert {"act": "init-forget", "components": 1} == found[3]
        assert 0 == await take_in_notes(bank)
        await assert_no_material(bank)
        await assert_proved(bank)


@pytest.mark.parametrize("actor", ["", " ", "x" * 61, "s\u0456ti", "-"])
def test_nobody_is_no_one(custody: Custody, actor: str) -> None:
    """Refused before anything is noted or done."""
    with pytest.raises(Refused, match="custodian's name"):
        enter_component(custody, actor, part(1, FIRST))
    with pytest.raises(Refused, match="custodian's name"):
        set_up_token(custody, actor, Path("none"), 1)
    assert [] == lines(custody)


async def test_a_refused_token_is_noted(custody: Custody, bank_settings: Settings) -> None:
    """By whom, which number, and why."""
    with pytest.raises(Refused, match="in no device"):
        set_up_token(custody, RATNA, Path("none"), 7)
    async with open_bank(bank_settings) as bank:
        assert ["begun", "failed"] == [one for one, *_, who in await told(bank) if who == RATNA]
        assert {"master key#7"} == {key for _, act, key, _ in await told(bank) if act == "token-init"}


def test_an_act_that_cannot_be_noted_is_not_done(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: refused in one line before the component is kept."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(Refused, match=r"noted: cannot be written \(No space left on device\)") as caught:
            enter_component(custody, SITI, part(1, FIRST))
    assert "\n" not in str(caught.value)
    assert [] == lines(custody)
    assert not list(custody.place.master_key.parent.glob("master.key*component*"))


async def test_components_that_a_disk_keeps_are_told_and_the_bank_opens(
    custody: Custody, bank_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is made though its components cannot be wiped: what is left is in the note, and so in the chain."""
    enter_component(custody, SITI, part(1, FIRST))

    def failing(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("keys.master_ceremony.wipe", failing)
        made = enter_component(custody, BUDI, part(2, SECOND))
    assert made.check_value is not None
    assert "component-1: cannot be" in made.left
    async with open_bank(bank_settings) as bank:
        assert not notes_path(custody.place.keystore).exists()
        assert [made.left] == [one["left"] for one in await details(bank) if "left" in one]
        await assert_proved(bank)


async def test_a_pipe_in_place_of_the_notes_keeps_nobody_waiting(custody: Custody, bank_settings: Settings) -> None:
    """One line, at once."""
    custody.make_folder()
    os.mkfifo(notes_path(custody.place.keystore))
    with pytest.raises(Refused, match="noted: is no file"):
        async with open_bank(bank_settings):
            pass


async def test_banks_opened_at_once_write_them_once(custody: Custody, bank_settings: Settings) -> None:
    """However many look at the same file."""
    enter_component(custody, SITI, part(1, FIRST))
    enter_component(custody, BUDI, part(2, SECOND))
    path = notes_path(custody.place.keystore)
    noted = path.read_bytes()
    async with open_bank(bank_settings) as bank, open_bank(bank_settings) as other:
        path.write_bytes(noted)  # as if it had not been taken away yet
        assert [0, 0] == list(await asyncio.gather(take_in_notes(bank), take_in_notes(other)))
        assert not path.exists()
        assert 4 == len(await told(bank))
        await assert_proved(bank)


async def test_what_is_noted_meanwhile_stays(
    custody: Custody, bank_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and taking away."""
    async with open_bank(bank_settings) as bank:
        with pytest.raises(Refused):
            set_up_token(custody, SITI, Path("none"), 1)
        take_away = noted_acts._take_away

        def later(*words: Any) -> None:  # noqa: ANN401 - as the real one
            with pytest.raises(Refused):
                set_up_token(custody, BUDI, Path("none"), 1)
            take_away(*words)

        with monkeypatch.context() as patched:
            patched.setattr(noted_acts, "_take_away", later)
            assert 2 == await take_in_notes(bank)
        assert [BUDI, BUDI] == [line["actor"] for line in lines(custody)]
        assert (2, 0) == (await take_in_notes(bank), await take_in_notes(bank))
        assert [SITI, SITI, BUDI, BUDI] == [who for *_, who in await told(bank)]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1], lambda text: text[:40], lambda text: text.replace(b"siti", b"-iti"), lambda _: b"\n",
        lambda text: text.replace(b"key.begun", b"link.event"), lambda text: text.replace(b"master key", b"zpk"),
        lambda text: text.replace(b'"init"', b'"activate"'), lambda text: text + b"{}\n", lambda _: b"\xff\n",
        lambda text: text.replace(b'"at"', b'"to"'), lambda text: text.replace(b":", b": "), lambda _: b"[]\n",
        lambda text: with_more(text, "serial", 10**9), lambda text: with_more(text, "serial", "x"),
        lambda text: with_more(text, "of", float("nan")), lambda text: with_more(text, "of", value=True),
        lambda text: with_more(text, "component", "1"), lambda text: with_more(text, "kcv", {"a": 1}),
        lambda text: with_more(text, "custodians", {"1": "-iti"}), lambda text: with_more(text, "custodians", {"1": 1}),
        lambda text: with_more(text, "components", 1), lambda text: with_more(text, "note", "ab"),
        lambda text: with_more(text, "business_date", "2026-11-28"), lambda text: with_more(text, "noted", "never"),
        lambda _: b"[" * 200_000 + b"\n", lambda text: text.replace(b'"at":"20', b'"at":"x'),
        lambda text: text.replace(b"+00:00", b""), lambda text: text.replace(b'key"', b'key#1"'),
        lambda text: text.replace(b'"init"', b'["init"]'), lambda text: text * 4000,
    ],
)  # fmt: skip
async def test_what_was_not_written_here_is_not_taken_in(
    custody: Custody, bank_settings: Settings, change: Callable[[bytes], bytes]
) -> None:
    """It could say that somebody made a key. One line, and the bank opens when the file is put right or away."""
    async with open_bank(bank_settings):
        pass
    with pytest.raises(Refused):
        noted_acts.set_up_token(custody, SITI, Path("none"), 1)
    path = notes_path(custody.place.keystore)
    whole = path.read_bytes().replace(b"token-init", b"init").replace(b"key#1", b"key")
    path.write_bytes(change(whole))
    with pytest.raises(Refused, match=r"noted: is damaged") as caught:
        await _open(bank_settings)
    assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    async with open_bank(bank_settings) as bank:
        assert 2 == len(await told(bank))


def with_more(text: bytes, name: str, value: object) -> bytes:
    """The same notes, the first of which says one thing besides."""
    first, rest = text.split(b"\n", 1)
    note = json.loads(first)
    note["detail"][name] = value
    return json.dumps(note, sort_keys=True, separators=(",", ":")).encode() + b"\n" + rest


@pytest.mark.parametrize("number", [0, -5, 10**30])
def test_master_keys_of_a_token_have_plain_numbers(custody: Custody, number: int) -> None:
    """Refused before anything is noted."""
    with pytest.raises(Refused, match="number"):
        set_up_token(custody, SITI, Path("none"), number)
    assert [] == lines(custody)


async def test_a_reason_that_no_database_takes(
    custody: Custody, bank_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file whose name is no UTF-8, or has no end: it is noted, taken in, and the bank opens, now and later."""
    for name in (os.fsdecode(b"nodir\xff/so.pin"), "x" * 100_000):

        def refuse(*_: object, name: str = name) -> None:
            raise KeystoreError(f"{name}: cannot be read")

        monkeypatch.setattr(Backend, "set_up", refuse)
        with pytest.raises(Refused):
            set_up_token(custody, SITI, Path(name), 1)
    async with open_bank(bank_settings) as bank:
        reasons = [one["reason"] for one in await details(bank) if "reason" in one]
        assert [r"nodir\udcff/so.pin: cannot be read", True] == [reasons[0], set("x") == set(reasons[1])]
        assert len(reasons[1]) < 10_000
    await _open(bank_settings)


async def test_too_many_notes_are_refused(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the act; those that are there can still be read."""
    enter_component(custody, SITI, part(1, FIRST))
    monkeypatch.setattr(noted_acts, "FILE_MOST", notes_path(custody.place.keystore).stat().st_size)
    with pytest.raises(Refused, match="is full; open the bank"):
        forget_components(custody, SITI)
    assert 2 == len(lines(custody))
    assert ["master.key.component-1"] == [one.name for one in custody.place.master_key.parent.glob("*component*")]


CHILD = """
    import asyncio, os, sys
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.settings import load_settings

    async def main(url, folder):
        async with open_bank(load_settings(database_url=url, data_dir=Path(folder), log_level="error")):
            pass

    while sys.stdin.readline():  # each time a process of its own that opens the bank: what it imports is there already
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(main(*sys.argv[1:]))
                os._exit(0)
            finally:
                os._exit(1)
        print(child, flush=True)
        sys.stdin.readline()  # until it was killed its number is nobody else's
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


async def test_a_bank_that_is_killed_while_it_takes_them_in(custody: Custody, bank_settings: Settings) -> None:
    """By -9 at any moment of its opening, again and again: at the end each is in the chain, once."""
    chance, seen = random.Random(20261128), set()
    await _open(bank_settings)
    where = [str(bank_settings.database_url), str(bank_settings.data_dir)]
    with subprocess.Popen(  # noqa: S603, ASYNC220 - our own script
        [sys.executable, "-c", textwrap.dedent(CHILD), *where],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as parent:  # fmt: skip
        assert parent.stdin is not None
        assert parent.stdout is not None
        for _ in range(KILLS):
            with pytest.raises(Refused):
                set_up_token(custody, SITI, Path("none"), 1)
            parent.stdin.write(b"go\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(chance.uniform(0, 0.12))  # noqa: ASYNC251 - the child works
            os.kill(child, signal.SIGKILL)
            parent.stdin.write(b"killed\n")
            parent.stdin.flush()
            assert int(parent.stdout.readline()) in (0, -signal.SIGKILL)
            seen.add(bool(lines(custody)))
        parent.stdin.close()
    async with open_bank(bank_settings) as bank:
        assert 2 * KILLS == len(await told(bank))
        assert 2 * KILLS == len({one["note"] for one in await details(bank)})
        assert "NEVER ENDED" not in ceremony_record(await ceremony.record_of(bank, None, None))
        await assert_proved(bank)
    assert [] == lines(custody)
    assert True in seen  # some were killed before they had done it


async def test_cut_off_between_chain_and_file(
    custody: Custody, bank_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the chain and the file is still there: the next opening takes it away and writes nothing."""
    enter_component(custody, SITI, part(1, FIRST))
    enter_component(custody, BUDI, part(2, SECOND))

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(noted_acts, "_take_away", cut)
        with pytest.raises(KeyboardInterrupt):
            await _open(bank_settings)
    assert 4 == len(lines(custody))
    async with open_bank(bank_settings) as bank:
        assert 4 == len(await told(bank))
    assert [] == lines(custody)


async def _open(settings: Settings) -> None:
    async with open_bank(settings):
        pass
