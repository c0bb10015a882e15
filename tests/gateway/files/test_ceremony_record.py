"""Tests of gateway.files.ceremony_record."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.files.ceremony_record import WIDTH, ceremony_record
from gateway.store.ceremonies import Act

AT = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)


def act(seq: int, actor: str, operation: str, key: str, **detail: object) -> Act:
    """One event of a key."""
    return Act(seq, AT, actor, f"key.{operation}", key, {"business_date": "2026-11-28"} | detail)


def test_who_did_what_with_which_key() -> None:
    """Number, time, person, act, key, check value; one line to sign for each person, and none for the HSM."""
    text = ceremony_record(
        [
            act(1, "siti", "begun", "zpk", act="generate"),
            act(2, "siti", "done", "zpk#1", act="generate", kcv="08D7B4", usage="P0", mode=None),
            act(3, "hsm", "refused", "zpk#1", refused="SEAL", reason="may not", times=2),
            act(4, "budi", "begun", "zpk#1", act="activate"),
            act(5, "budi", "failed", "zpk#1", act="activate", reason="no"),
        ]
    )
    lines = text.splitlines()
    assert any(line.split() == ["2", "2026-11-28", "01:02:03", "UTC", "siti"] for line in lines)
    assert "generate zpk#1: done" in text
    assert "kcv 08D7B4, usage P0" in text
    assert "mode" not in text
    assert "activate zpk#1: refused" in text
    assert "use zpk#1: use refused" in text
    signed = [line.split()[0] for line in lines if "signature" in line]
    assert ["budi", "siti"] == signed
    assert max(map(len, lines)) <= WIDTH


def test_an_act_that_ended_is_told_once() -> None:
    """Its beginning is not told beside its end."""
    text = ceremony_record(
        [act(1, "siti", "begun", "zpk", act="rotate"), act(2, "siti", "done", "zpk#2", act="rotate")]
    )
    assert 1 == text.count("rotate zpk")


def test_an_act_that_was_cut_off_is_seen() -> None:
    """Also where the same person did the same again, and that one ended."""
    cut = act(1, "siti", "begun", "zpk", act="rotate")
    assert "rotate zpk: BEGUN AND NEVER ENDED" in ceremony_record([cut])
    again = [cut, act(2, "siti", "begun", "zpk", act="rotate"), act(3, "siti", "done", "zpk#2", act="rotate")]
    text = ceremony_record(again)
    assert 1 == text.count("BEGUN AND NEVER ENDED")
    assert "rotate zpk#2: done" in text


def test_custodians_of_a_master_key_sign_too() -> None:
    """Whoever the act names took part in it."""
    custodians = {"1": "siti", "2": "budi"}
    text = ceremony_record([act(1, "budi", "done", "master key", act="init", custodians=custodians, kcv="91FB05158B")])
    assert 2 == text.count("signature")
    assert "1 siti, 2 budi" in text


def test_nothing_was_done() -> None:
    """The page says so."""
    text = ceremony_record([])
    assert "Nothing was done" in text
    assert "signature" not in text


def test_a_long_reason_is_wrapped() -> None:
    """It stays on the page."""
    text = ceremony_record([act(1, "siti", "failed", "zpk", act="import", reason="word " * 60)])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert 60 == text.count("word")
