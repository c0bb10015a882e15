"""Tests of gateway.terminals.unread_tags: what partners send that nobody reads is counted by its name, and nothing of it kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.terminals.links_file import read_links
from gateway.terminals.mapping import to_command
from gateway.terminals.profile import Link
from gateway.terminals.unread_tags import NAMES_MOST, OTHER, UnreadTags, unread_tags
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.software import SoftwareHsm
from tests.gateway.terminals.counterpart import CASH

HSM = SoftwareHsm.in_memory()
KEY = HSM.generate(KeyUsage.PIN_ENCRYPTION, "zpk")
CHIP_TAGS = {
    "9F02": "000010000000", "9F03": "000000000000", "9F1A": "0360", "95": "0000000000", "5F2A": "0360", "9A": "261123",
    "9C": "01", "9F37": "00000000", "82": "0000", "9F36": "0001", "9F10": "0FA501" + "00" * 29, "9F26": "00" * 8,
}  # fmt: skip
UNREAD = {"9F33": "E0B8C8", "9F1E": "3132333435363738", "DF01": "5555555555555555"}


def link_of(**changes: Any) -> Link:  # noqa: ANN401 - any setting
    """The shipped link with other settings."""
    return Link.model_validate(read_links(None).first.model_dump(exclude_defaults=True) | changes)


def counted(link: Link, *requests: dict[int, str]) -> dict[str, int]:
    """What is counted of withdrawals with these fields."""
    counts: Counter[str] = Counter()
    for fields in requests:
        to_command(Message("0200", CASH | fields), link, KEY, None, unread_tags(link, counts))
    return dict(counts)


def chip_data(tags: dict[str, str]) -> str:
    """DE55 of short values."""
    return "".join(f"{tag}{len(value) // 2:02X}{value}" for tag, value in tags.items())


def test_private_tags_count_by_field_and_tag() -> None:
    """Each time one comes; not the one that the link has the bank read, and not fields without tags."""
    link = link_of(tags={"48": "2+3", "60": "2+2"})
    came = {48: "PI003abcPI001xZZ000", 60: "PP0211", 63: "AA001x"}
    assert {"48.PI": 4, "48.ZZ": 2, "60.PP": 2} == counted(link, came, came)
    marked = link_of(
        tags={"48": "2+3", "60": "2+2"},
        partial_approval="marked",
        partial_mark={"field": 60, "tag": "PP", "value": "1"},
    )
    assert {"48.PP": 1, "60.ZZ": 1} == counted(marked, {48: "PP003abc", 60: "PP011ZZ00"})


@pytest.mark.parametrize(("scripts", "read_too"), [((), set()), (("block",), {"9F5B"})])
def test_chip_tags_that_nobody_reads(scripts: tuple[str, ...], read_too: set[str]) -> None:
    """Not those that a cryptogram is made of or that tell what it is; results of scripts where the link carries any."""
    link = link_of(chip="optional", chip_scripts=scripts)
    results = {"9F5B": "2000000000"}
    found = counted(link, {22: "051", 55: chip_data(CHIP_TAGS | UNREAD | results)}, {22: "021"})
    assert {f"55.{tag}": 1 for tag in (UNREAD | results).keys() - read_too} == found


def test_where_nothing_is_looked_at_nothing_is_counted() -> None:
    """A link without tags and chips has no counter to ask."""
    assert unread_tags(link_of(), Counter()) is None
    assert {} == counted(link_of(), {48: "PI003abc", 55: chip_data(UNREAD)})


def test_names_are_few_and_told_once() -> None:
    """A partner chooses them: what is above the most is one name more; the log has each once, and no value."""
    counts: Counter[str] = Counter()
    unread = UnreadTags("himbara", counts)
    with capture_logs() as lines:
        for _ in range(2):
            unread.add(48, [f"{number:03d}" for number in range(NAMES_MOST + 10)])
    names = [f"48.{number:03d}" for number in range(NAMES_MOST)]
    assert dict.fromkeys(names, 2) | {OTHER: 20} == dict(counts)
    expected = [
        {"event": "tag.unread", "log_level": "info", "link": "himbara", "tag": name} for name in [*names, OTHER]
    ]
    assert expected == lines
