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


def test_acts_of_others_do_not_end_it() -> None:
    """Another person's, another act's, another key's end; a refused use of the key; the end of one that began later."""
    cut = act(1, "siti", "begun", "zpk#1", act="retire")
    others = [
        act(2, "budi", "done", "zpk#1", act="retire"),
        act(3, "siti", "done", "zpk#1", act="suspend"),
        act(4, "siti", "failed", "zak#1", act="retire"),
        act(5, "hsm", "refused", "zpk#1", refused="SEAL", reason="may not", times=1),
    ]
    assert "retire zpk#1: BEGUN AND NEVER ENDED" in ceremony_record([cut, *others])
    for end in ("done", "failed"):
        assert "NEVER ENDED" not in ceremony_record([cut, *others, act(6, "siti", end, "zpk#1", act="retire")])
    again = act(6, "siti", "begun", "zpk#1", act="retire")
    assert 2 == ceremony_record([cut, *others, again]).count("NEVER ENDED")
    assert 1 == ceremony_record([cut, again, act(7, "siti", "failed", "zpk#1", act="retire")]).count("NEVER ENDED")


def test_acts_stand_in_their_order() -> None:
    """By number, each with its title; what is not known to this page is shown as it is."""
    acts = [
        act(3, "siti", "done", "zpk#1", act="generate"),
        act(12_345_678, "budi", "failed", "zpk#1", act="activate", reason="no"),
        act(12_345_679, "budi", "else", "zpk#1", act="activate"),
    ]
    lines = ceremony_record(acts).splitlines()
    numbers = [line.split()[0] for line in lines if line.endswith(("siti", "budi")) and "UTC" in line]
    assert ["3", "12345678", "12345679"] == numbers
    titles = [line.strip() for line in lines if "zpk#1" in line]
    assert ["generate zpk#1: done", "activate zpk#1: refused", "activate zpk#1: key.else"] == titles


def test_the_longest_names_fit_the_page() -> None:
    """A person of 60 letters, a label of 64, in the longest act: no line is wider than the page, and a label is never broken."""
    person, label = "S" * 60, "zpk-" * 16
    begun = act(1, person, "begun", label, act="rotate-master", under=f"{label}#9999")
    text = ceremony_record([begun, act(2, person, "done", f"{label}#9999", act="import", reason=f"a b {label}")])
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert (4, 1, 3) == (text.count(label), text.count("signature"), text.count(person))
    assert lines[-1].startswith(" " * 40 + "  signature")
    assert person == lines[-2]


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


def test_an_end_of_a_later_day_is_an_end() -> None:
    """An act over midnight, on the page of its first day: begun, and not as if it had never ended."""
    begun = act(1, "siti", "begun", "zpk", act="rotate")
    later = [act(2, "siti", "done", "zpk#2", act="rotate"), act(3, "budi", "begun", "zpk#2", act="activate")]
    text = ceremony_record([begun], later)
    assert "rotate zpk: begun; its end is of a later day" in text
    assert "NEVER ENDED" not in text
    assert "activate" not in text
    assert 1 == text.count("signature")
    cut = ceremony_record(
        [begun], [act(2, "siti", "begun", "zpk", act="rotate"), act(3, "siti", "done", "zpk#2", act="rotate")]
    )
    assert "rotate zpk: BEGUN AND NEVER ENDED" in cut


def test_changes_that_no_act_tells_of() -> None:
    """Seen when the bank was opened: told, and signed by nobody. What was noted before says when."""
    noted = act(2, "siti", "done", "master key", act="init", noted="2026-11-28T01:00:00+00:00", note="ab" * 32)
    text = ceremony_record([act(1, "hsm", "seen", "keystore", act="seen", seen=6, serial=7), noted])
    assert "seen keystore: has had more changes than the acts tell of" in text
    assert "seen 6, serial 7" in text
    assert "noted 2026-11-28T01:00:00+00:00" in text
    assert "abab" not in text
    assert 1 == text.count("signature")
