"""Tests of gateway.terminals.private_fields: structure where the profile gives one, and every tag comes back as it came."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from gateway.operations.authorise import Outcome
from gateway.rules.authorise import DeclineReason
from gateway.rules.expiring import Expiring
from gateway.terminals.links_file import read_links
from gateway.terminals.mapping import to_answer, to_command
from gateway.terminals.profile import Link
from iso.errors import FormatError
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.software import SoftwareHsm
from tests.gateway.terminals.counterpart import CASH

HSM = SoftwareHsm.in_memory()
KEY = HSM.generate(KeyUsage.PIN_ENCRYPTION, "zpk")
TOLD = Outcome(DeclineReason.APPROVED, "00", "000001", None, Expiring(date(2026, 12, 31), 200_000))


MARKED: dict[str, object] = {"partial_approval": "marked"}


def link_of(**changes: object) -> Link:
    """The shipped link with private fields of some structure."""
    return Link.model_validate(read_links(None).first.model_dump(exclude_defaults=True) | changes)


def cash(**fields: str) -> Message:
    """A withdrawal with these private fields (de48="...")."""
    return Message("0200", CASH | {int(name[2:]): text for name, text in fields.items()})


@pytest.mark.parametrize(
    ("shape", "came", "answered"),
    [
        ("2+3", "ZZ003abcPI0021 ", "ZZ003abcPI0021 EX02020261231000020000000"),
        ("2+2", "ZZ03abc", "ZZ03abcEX2020261231000020000000"),
        ("3+3", "QQQ001x", "QQQ001xEXP02020261231000020000000"),
        ("tokens", "& 0000200023! Q900001 x", "& 0000300053! Q900001 x! EX00020 20261231000020000000"),
    ],
)
def test_unknown_tags_are_sent_back_with_ours_behind(shape: str, came: str, answered: str) -> None:
    """In DE48, whatever the shape; in another field as they came."""
    link = link_of(tags={"48": shape, "63": shape})
    message = cash(de48=came, de63=came)
    assert to_command(message, link, KEY).request.amount_idr > 0
    answer = to_answer(message, TOLD, link)
    assert came == answer.get(63)
    assert answered == answer.get(48)


def test_without_a_request_s_tags_ours_stand_alone() -> None:
    """And without anything to tell the field comes back as it was."""
    link = link_of(tags={"48": "2+3"})
    assert "EX02020261231000020000000" == to_answer(cash(), TOLD, link).get(48)
    assert "ZZ001x" == to_answer(cash(de48="ZZ001x"), TOLD._replace(expiring=None), link).get(48)


def test_what_does_not_fit_beside_a_partner_s_tags_is_left_out() -> None:
    """The money has moved: the answer goes without it, and with the tags. So it does where the profile has changed meanwhile."""
    link = link_of(tags={"48": "2+3"})
    full = "ZZ985" + "x" * 985  # 990 of 999 characters
    answer = to_answer(cash(de48=full), TOLD, link)
    assert ("00", full) == (answer.get(39), answer.get(48))
    before = to_answer(cash(de48="no tags"), TOLD, link)
    assert ("00", "000001", "no tags") == (before.get(39), before.get(38), before.get(48))


def test_columns() -> None:
    """Those of a request must be whole; DE48's hold what is lost next."""
    link = link_of(
        layouts={
            "48": {"reference": 16, "expiring_on": 8, "expiring_amount": "n 12"},
            "43": {"name": 22, "city": 13, "country": 5},
        }
    )
    good = cash(de43=f"{'WARUNG':<22}{'MEDAN':<13}DKIID", de48=" " * 16 + "        " + "0" * 12)
    assert to_command(good, link, KEY).request.amount_idr > 0
    assert " " * 16 + "20261231" + "000020000000" == to_answer(good, TOLD, link).get(48)


@pytest.mark.parametrize("text", ["ZZ", "ZZ999x", "ZZ00Ax", "Z Z001x"])
def test_tags_that_are_none_are_a_format_error(text: str) -> None:
    """Naming the field; a link that says nothing of it lets the same pass."""
    with pytest.raises(FormatError) as error:
        to_command(cash(de63=text), link_of(tags={"63": "2+3"}), KEY)
    assert 63 == error.value.field
    assert to_command(cash(de63=text), link_of(), KEY).request.amount_idr > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layouts": {"43": {"name": 41}}}, "more than it holds"),
        ({"layouts": {"43": {"name": 0}}}, "column name"),
        ({"layouts": {"48": {"name": 5}}}, "needs columns expiring_on"),
        ({"layouts": {"48": {"expiring_on": 8, "expiring_amount": 11}}}, "needs columns expiring_on"),
        ({"layouts": {"63": {"name": 5}}, "tags": {"63": "2+2"}}, "has tags and columns"),
        ({"tags": {"63": "4+4"}}, "tags"),
        ({"tags": {"129": "2+2"}}, "129|128"),
        ({"partial_approval": "marked"}, "go together"),
        ({"partial_mark": {"field": 48, "tag": "61"}, "tags": {"48": "2+3"}}, "go together"),
        (MARKED | {"partial_mark": {"field": 48, "tag": "61"}}, "field 48 has no tags like '61'"),
        (MARKED | {"partial_mark": {"field": 48, "tag": "610"}, "tags": {"48": "2+3"}}, "no tags like '610'"),
        (MARKED | {"partial_mark": {"field": 60, "column": "part"}}, "field 60 has no column 'part'"),
        (MARKED | {"partial_mark": {"field": 60, "column": "part"}, "layouts": {"60": {"x": 1}}}, "no column 'part'"),
        (MARKED | {"partial_mark": {"field": 60}}, "a tag or a column"),
        (MARKED | {"partial_mark": {"field": 60, "tag": "61", "column": "part"}}, "a tag or a column"),
        ({"asked_in_54": True}, "asked_in_54 is nothing without"),
    ],
)
def test_structures_that_do_not_fit_are_refused(changes: dict[str, object], words: str) -> None:
    """When the profile is read."""
    with pytest.raises(ValidationError, match=words):
        link_of(**changes)


@pytest.mark.parametrize(
    ("changes", "text", "marked"),
    [
        ({"tags": {"60": "2+3"}, "partial_mark": {"field": 60, "tag": "61"}}, "ZZ00106100510000", True),
        ({"tags": {"60": "2+3"}, "partial_mark": {"field": 60, "tag": "61"}}, "ZZ00116100501000", False),
        ({"tags": {"60": "2+3"}, "partial_mark": {"field": 60, "tag": "61"}}, "61001061001 ", False),
        (
            {"tags": {"60": "tokens"}, "partial_mark": {"field": 60, "tag": "B4", "value": "P"}},
            "& 0000200024! B400002 PX",
            True,
        ),
        (
            {"layouts": {"60": {"kind": 9, "part": 1}}, "partial_mark": {"field": 60, "column": "part"}},
            "1111111111",
            True,
        ),
        (
            {"layouts": {"60": {"kind": 9, "part": 1}}, "partial_mark": {"field": 60, "column": "part"}},
            "1111111110",
            False,
        ),
        (
            {"layouts": {"60": {"part": "n 2"}}, "partial_mark": {"field": 60, "column": "part", "value": "02"}},
            "02",
            True,
        ),
    ],
)
def test_who_can_do_with_a_part_says_so(changes: dict[str, object], text: str, marked: bool) -> None:  # noqa: FBT001 - a fact
    """In a tag or a column, which begins with what was agreed; without the field nobody does, nor does a withdrawal."""
    link = link_of(**MARKED | changes)
    bought = CASH | {3: "000000", 18: "5411"}
    assert marked is to_command(Message("0200", bought | {60: text}), link, KEY).request.partial
    assert not to_command(Message("0200", bought), link, KEY).request.partial
    assert not to_command(Message("0200", CASH | {60: text}), link, KEY).request.partial
