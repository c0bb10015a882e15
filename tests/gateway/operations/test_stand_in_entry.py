"""Tests of gateway.operations.stand_in_entry: a message comes out of the journal as it went in, and says nothing in clear."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from gateway.operations.authorise import AuthoriseCommand, Keyed, Origin
from gateway.operations.stand_in_entry import Entry, EntryKind, read_entry, seal_message, to_post
from gateway.rules.authorise import DeclineReason, Request, RequestKind
from gateway.rules.issuing import cell_of_pan
from gateway.rules.purse import Channel, PurseChoice
from gateway.rules.stand_in import ISSUER_UNAVAILABLE, StoodIn
from keys.errors import VaultError
from keys.sensitive import Pan

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

PAN = "6013010300000012"
AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
CASH = Request(RequestKind.CASH, Channel.ATM, "6011", PurseChoice.CASH, 50_000, b"d" * 16, "000002:ATM1")
ORIGIN = Origin("himbara", "0200", "ATM1", "M1", "000002", "000123", "1123030000", "633203000123")
BACK = CASH._replace(kind=RequestKind.REVERSAL, kept_idr=20_000)
FULL = ORIGIN._replace(
    mti="0420", original=("2", "000123", "1123030000", "2"), settlement_date=date(2026, 11, 24), guessed=True,
    more_key=("633203000123",),
)  # fmt: skip


def _member(bank: Bank, request: Request = CASH, origin: Origin = ORIGIN) -> Keyed:
    command = AuthoriseCommand(request, origin, Pan(PAN), bytes(8), None, dict.fromkeys(DeclineReason, "00"))
    return Keyed(bank, command, cell_of_pan(PAN, bank.row.cells))


def _entry(bank: Bank, member: Keyed, kind: EntryKind = EntryKind.APPROVED) -> Entry:
    return Entry(
        4, kind, AT, member.command.origin.link, member.cell, 7, member.pan_index, member.message_key,
        member.command.request.content_digest, member.original_key, 50_000, member.command.request.kept_idr, "00", "S00004",
        ("KIND", "FUNDS"), seal_message(bank, member),
    )  # fmt: skip


@pytest.mark.parametrize(("request_", "origin"), [(CASH, ORIGIN), (BACK, FULL)], ids=["cash", "reversal"])
async def test_a_message_comes_out_as_it_went_in(bank: Bank, request_: Request, origin: Origin) -> None:
    """Its keys too; the PIN block is gone, and what is told is what was told."""
    member = _member(bank, request_, origin)
    kind = EntryKind.REVERSED if request_ is BACK else EntryKind.APPROVED
    written = json.loads(json.dumps(_entry(bank, member, kind).written()))
    entry = read_entry(written)
    assert _entry(bank, member, kind).written() | {"message": 0} == entry.written() | {"message": 0}
    again = to_post(bank, entry)
    assert (member.message_key, member.original_key, member.pan_index, member.cell) == (
        again.message_key, again.original_key, again.pan_index, again.cell,
    )  # fmt: skip
    assert (request_._replace(forced=request_ is CASH), origin) == (again.command.request, again.command.origin)
    assert (None, None, PAN) == (again.command.pin_block, again.command.pin_key, again.command.pan.reveal())
    assert {"00"} == set(again.command.response_codes.values())
    assert again.seldom
    assert StoodIn(ISSUER_UNAVAILABLE, "S00004", request_ is CASH) == again.command.stand_in
    for clear in (PAN, "ATM1", "000123", "633203"):
        assert clear not in json.dumps(written)


async def test_a_wrong_pin_is_no_advice(bank: Bank) -> None:
    """It is counted, and posted as it came; its answer has no approval code."""
    entry = _entry(bank, _member(bank), EntryKind.PIN_WRONG)
    entry.code, entry.approval = "55", None
    command = to_post(bank, entry).command
    assert (False, "", StoodIn(ISSUER_UNAVAILABLE, None, False, pin_wrong=True)) == (  # noqa: FBT003 - not approved
        command.request.forced, command.why, command.stand_in,
    )  # fmt: skip
    assert (DeclineReason.PIN_WRONG, "55", None) == entry.told()[:3]


async def test_a_message_moved_to_another_key_does_not_open(bank: Bank) -> None:
    """What is sealed is sealed for its place."""
    entry = _entry(bank, _member(bank))
    entry.key = bytes(16)
    with pytest.raises(VaultError):
        to_post(bank, entry)
