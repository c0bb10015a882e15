"""Tests of gateway.terminals.file_action: from fields to what is asked, and what is refused before the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.terminals.file_action import serve
from gateway.terminals.profile_tables import Outgoing
from iso.errors import FormatError
from iso.message import Message
from tests.gateway.owner import as_owner, one_value
from tests.gateway.partner import hot_link
from tests.gateway.world import open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

LOST = {2: "6013010000000018", 7: "1123120000", 11: "000007", 60: "3000", 91: "1", 101: "HOTLIST"}


async def test_a_card_is_reported(bank: Bank, tmp_path: Path) -> None:
    """DE60 may go on after the reason, DE101 may be left out or padded; the answer echoes what was done to which file."""
    for number, family in enumerate(await open_families(bank, tmp_path, 3)):
        fields = LOST | {2: family.pan.reveal(), 11: f"{number:06d}"}
        if number == 0:
            fields |= {60: "3001 taken at the market"}
        if number == 1:
            del fields[101]
        if number == 2:
            fields |= {101: "HOTLIST  "}
        answer = await serve(bank, hot_link(), Message("0302", fields))
        assert {number: fields[number] for number in (91, 101) if number in fields} | {39: "00"} == answer
    assert ["STOLEN", "LOST", "LOST"] == [
        row.state for row in await as_owner(bank, "SELECT state FROM card ORDER BY id")
    ]


async def test_what_is_not_a_reason_blocks(bank: Bank, tmp_path: Path) -> None:
    """Letters, too few digits, nothing at all: kept as no reason."""
    (family,) = await open_families(bank, tmp_path, 1)
    for number, reason in enumerate(("lost", "300", "")):
        fields = LOST | {2: family.pan.reveal(), 11: f"{number:06d}", 60: reason}
        assert "57" == (await serve(bank, hot_link(), Message("0302", fields)))[39]
    assert 3 == await one_value(bank, "SELECT count(*) FROM desk_message WHERE trouble LIKE '%no reason given'")


async def test_what_this_link_does_not_do(bank: Bank) -> None:
    """Another file, another update code, and a link that may report no cards; nothing of it is kept."""
    for fields, code in ((LOST | {101: "CARDS"}, "24"), (LOST | {91: "4"}, "24"), (LOST | {91: "X"}, "24")):
        assert code == (await serve(bank, hot_link(), Message("0302", fields)))[39]
    own = hot_link(outgoing=Outgoing(hot_list_file="CARDS"))
    assert "25" == (await serve(bank, own, Message("0302", LOST | {101: "CARDS"})))[39]
    assert {91: "1", 101: "HOTLIST", 39: "57"} == await serve(bank, hot_link(file_actions=False), Message("0302", LOST))
    assert 1 == await one_value(bank, "SELECT count(*) FROM desk_message")


async def test_an_advice_is_always_accepted(bank: Bank) -> None:
    """What this link does not do is told 00 where it was an advice, once, and people see it with the code of a request."""
    asked = [(hot_link(), LOST | {101: "CARDS", 11: "000001"}), (hot_link(), LOST | {91: "4", 11: "000002"})]
    asked.append((hot_link(file_actions=False), LOST | {11: "000003"}))
    for link, fields in asked:
        for mti in ("0320", "0321"):
            assert "00" == (await serve(bank, link, Message(mti, fields)))[39]
    kept = [row.trouble[-2:] for row in await as_owner(bank, "SELECT trouble FROM desk_message ORDER BY id")]
    assert ["24", "24", "57"] == kept


@pytest.mark.parametrize(
    ("number", "value"), [(2, None), (2, "12"), (2, "60130100000000AB"), (91, None), (7, None), (11, None)]
)
async def test_what_is_malformed(bank: Bank, number: int, value: str | None) -> None:
    """A missing or impossible field is named."""
    fields = {name: one for name, one in LOST.items() if name != number} | ({} if value is None else {number: value})
    with pytest.raises(FormatError, match=f"field {number}: is "):
        await serve(bank, hot_link(), Message("0302", fields))
