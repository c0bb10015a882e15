"""Tests of gateway.terminals.longest: a profile without room for its own answers is refused, one with just enough is not."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gateway.errors import SettingsError
from gateway.operations.authorise import Outcome
from gateway.operations.card_check import IssuerAnswer
from gateway.operations.card_scripts import IssuerScript
from gateway.rules.authorise import DeclineReason
from gateway.rules.chip import Script
from gateway.rules.expiring import Expiring
from gateway.rules.purse import Purse
from gateway.store.authorisations import Movement
from gateway.terminals import mapping
from gateway.terminals.links_file import DEFAULT_FILE, read_links
from gateway.terminals.longest import check_room
from gateway.terminals.profile import Link
from iso.codec import encode
from iso.dialect import DIALECTS, derive
from iso.message import Message

if TYPE_CHECKING:
    from pathlib import Path

MOST = 999_999_999_999
FULL = Outcome(
    DeclineReason.APPROVED,
    "00",
    "123456",
    {Purse.CASH: MOST // 100, Purse.FOOD: MOST // 100},
    Expiring(date(2026, 12, 31), MOST // 100),
    statement=tuple([Movement(date(2026, 11, 23), "PURCHASE", -(MOST // 100))] * 10),
    chip_answer=IssuerAnswer(bytes(16), IssuerScript(Script.BLOCK_CARD, bytes(4), bytes(119))),
)
TAGGED = {62: "2+3", 63: "2+2"}
KINDS: list[dict[str, Any]] = [
    {},
    {"statement_field": 48, "expiring_in_48": False},
    {"chip": "optional", "mac": "required", "mac_key": "mac", "statement_lines": 5},
    {"header": "tpdu", "header_hex": "6000030000", "frame": "binary2", "frame_inclusive": True, "tags": TAGGED},
]


def _link(number: int, changes: dict[str, Any], **context: Any) -> Link:  # noqa: ANN401 - of pydantic
    return Link.model_validate(
        read_links(None).link[number].model_dump(exclude_defaults=True) | changes, context=context or None
    )


def _needed(number: int, changes: dict[str, Any]) -> int:
    """What the refusal of a frame that is too small says it takes."""
    with pytest.raises(ValidationError, match=r"has no room for an answer of \d+ bytes") as refused:
        _link(number, changes | {"largest_frame": 64})
    return int(re.findall(r"answer of (\d+) bytes", str(refused.value))[0])


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("changes", KINDS)
def test_the_least_frame_takes_the_longest_answer(number: int, changes: dict[str, Any]) -> None:
    """A byte less is refused; with so many the fullest answer to the fullest reversal is written and framed."""
    needed = _needed(number, changes)
    with pytest.raises(ValidationError, match="has no room for an answer"):
        _link(number, changes | {"largest_frame": needed - 1})
    link = _link(number, changes | {"largest_frame": needed})
    request = Message("0420", {2: "6" * 19, 3: "010000", 4: "0" * 12, 7: "1" * 10, 11: "1" * 6, 12: "1" * 6, 13: "1" * 4,
                               32: "1" * 11, 33: "1" * 11, 37: "A" * 12, 41: "A" * 8, 42: "A" * 15, 49: "360",
                               90: "1" * 42})  # fmt: skip
    for field, shape in link.tags.items():
        assert shape in ("2+2", "2+3")
        size = link.wire.field(field).length
        digits = 3 if shape == "2+3" else 2
        most = 10**digits - 1
        text = ""
        while size - len(text) > 2 + digits:
            part = min(most, size - len(text) - 2 - digits)
            text += f"AB{part:0{digits}d}" + "X" * part
        request.fields[field] = text
    chip = FULL.chip_answer if link.chip != "off" else None
    outcome = FULL._replace(statement=FULL.statement[: link.statement_lines], chip_answer=chip)
    answer = mapping.to_answer(request, outcome, link)
    if link.mac != "off":
        answer.fields[128] = "F" * 16
    written = encode(answer, link.wire)
    assert needed - 40 <= len(written) + link.framing.message_header_bytes <= needed
    assert link.framing.frame(written)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"largest_frame": 256}, r"largest_frame = 256 has no room for an answer of \d+ bytes"),
        ({"statement_field": 44}, "puts 120 characters into field 44"),
        ({"statement_field": 120, "statement_lines": 10, "largest_frame": 300}, "largest_frame = 300 has no room"),
        ({"layouts": {48: {"expiring_on": 8, "expiring_amount": 12, "name": 970}}, "largest_frame": 1200}, "no room"),
        ({"tags": {60: "2+3", 61: "2+3", 62: "2+3", 63: "2+3"}}, "largest_frame = 4096 has no room"),
    ],
)
def test_a_profile_without_room_is_refused(changes: dict[str, Any], words: str) -> None:
    """Whatever it is that is too small."""
    with pytest.raises(ValidationError, match=words):
        _link(0, changes)


@pytest.mark.parametrize(("field", "changes"), [(38, {}), (54, {}), (125, {}), (97, {}), (128, {"mac": "required"})])
def test_fields_that_answers_need(field: int, changes: dict[str, Any]) -> None:
    """A dialect of its own that lacks one of them would have nothing to say it in; what no answer tells it may lack."""
    own = derive(DIALECTS["himbara"], "own", {"remove": [field]})
    changes = {"dialect": "own", "mac_key": "mac", **changes}
    with pytest.raises(ValidationError, match=f"field {field}"):
        _link(0, changes, own=own)
    other = derive(DIALECTS["himbara"], "own", {"remove": [54, 55, 102]})
    check_room(_link(0, changes | {"balance_in_54": False}, own=other))


def test_it_is_one_line_of_the_file(tmp_path: Path) -> None:
    """As every fault of a links file."""
    path = tmp_path / "links.toml"
    text = DEFAULT_FILE.read_text(encoding="utf-8").replace("largest_frame = 4096", "largest_frame = 200", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"links\.toml: link\.0: .*largest_frame = 200 has no room") as refused:
        read_links(path)
    assert "\n" not in str(refused.value)
