"""docs/iso8583.md says what the code does: every setting, reason, message type and data element of the links stands in it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from gateway.rules.authorise import DeclineReason
from gateway.terminals.desk import DESK_MTIS
from gateway.terminals.links_file import read_links
from gateway.terminals.mapping import FINANCIAL
from gateway.terminals.profile import Link
from gateway.terminals.profile_tables import Outgoing, PartialMark, StandIn, Tls
from iso.dialect import DIALECTS
from iso.framing import FrameKind, HeaderKind
from tests.repository import ROOT

TEXT = (ROOT / "docs" / "iso8583.md").read_text(encoding="utf-8")
SHIPPED = read_links(None).first


def section(title: str) -> str:
    """What stands under a heading of the second level."""
    headings = [found.start() for found in re.finditer(r"^## ", TEXT, re.MULTILINE)] + [len(TEXT)]
    parts = [TEXT[start:end] for start, end in pairwise(headings)]
    return next(part for part in parts if part.startswith(f"## {title}\n"))


def rows(part: str) -> list[list[str]]:
    """The cells of every table row."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| ")
    ]


TABLES = (Link, Outgoing, PartialMark, StandIn, Tls)


@pytest.mark.parametrize("kind", TABLES)
def test_every_setting_has_its_row(kind: type[Link | Outgoing | PartialMark | StandIn | Tls]) -> None:
    """And no setting is told that does not exist."""
    told = {name for row in rows(section("Profiles")) for name in re.findall(r"`([a-z_0-9]+)`", row[0])}
    assert set() == set(kind.model_fields) - told - {"tls", "outgoing", "stand_in", "response_codes"}
    assert set() == told.difference(*(one.model_fields for one in TABLES))


def test_every_reason_has_its_code() -> None:
    """As the shipped link tells it; an advice that is accepted is told 00."""
    told: dict[str, str] = {}
    for reasons, codes, *_ in rows(section("What DE39 says")):
        names, texts = reasons.split(", "), codes.split(", ")
        told |= dict(zip(names, texts if len(texts) == len(names) else texts * len(names), strict=True))
    accepted = {reason for reason, code in SHIPPED.advice_codes.items() if code == "00"}
    for reason in DeclineReason:
        code = SHIPPED.response_codes[reason]
        assert told[reason.value] == code or (reason.value.startswith("ADVICE") and reason in accepted)
    assert {reason.value for reason in DeclineReason} == set(told) - {"our reason"}


def test_every_message_type_has_its_row() -> None:
    """Requests and advices that are served."""
    told = set(re.findall(r"\b0\d{3}\b", " ".join(row[0] for row in rows(section("Messages")))))
    assert set() == {mti[:3] for mti in FINANCIAL | DESK_MTIS} - {mti[:3] for mti in told}


def test_every_data_element_has_its_row() -> None:
    """With its name and format as every shipped dialect has it; DE55 differs and is told beside."""
    told: dict[int, tuple[str, str]] = {}
    for row in rows(section("Fields")):
        span = re.fullmatch(r"(\d+)(?:-(\d+))?", row[0])
        if span is not None:
            told |= dict.fromkeys(range(int(span[1]), int(span[2] or span[1]) + 1), (row[1], row[2]))
    for dialect in DIALECTS.values():
        assert set(dialect.by_number) == set(told)
        for one in dialect.fields:
            name, form = told[one.number]
            assert name in (one.name, one.name.removesuffix(f" {one.number}"))
            prefix = "L" * one.length_digits
            written = f"{one.kind.value} ..{one.length}, {prefix}VAR" if prefix else f"{one.kind.value} {one.length}"
            assert form == written or (one.number == 55 and form == f"b, {prefix}VAR, see above")


@pytest.mark.parametrize("word", [*FrameKind, *HeaderKind, *DIALECTS])
def test_every_word_of_the_wire(word: str) -> None:
    """Frames, headers and dialects."""
    assert f"`{word}`" in TEXT


def test_every_shipped_link_has_its_column() -> None:
    """With its acquirer and whether MACs are wanted."""
    table = TEXT[TEXT.index("\nThe shipped links:") :].split("\n\n", 2)[1].splitlines()
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in (row.split("|") for row in table)}
    links = read_links(None).link
    assert [f"`{link.name}`" for link in links] == [head.split(",")[0] for head in rows[""]]
    assert [link.acquirer for link in links] == rows["acquirer"]
    assert [link.mac for link in links] == [cell.split(",")[0] for cell in rows["MAC"]]
