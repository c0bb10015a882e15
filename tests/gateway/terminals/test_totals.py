"""Tests of gateway.terminals.totals: fields to counts and rupiah and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.operations.settlement import ONE_DAY
from gateway.rules.authorise import RequestKind
from gateway.rules.partner_totals import Totals
from gateway.terminals.totals import read_totals, serve, write_totals
from iso.codec import decode, encode
from iso.errors import FormatError
from iso.message import Message
from tests.gateway.partner import hot_link
from tests.gateway.till import open_till

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

OURS = Totals(credits=1, credits_idr=12_000, debits=3, debits_idr=150_000, debit_reversals=1, debit_reversals_idr=40_000,
              inquiries=7, authorisations=2)  # fmt: skip
KEYS = {7: "1123120000", 11: "000007"}


@pytest.mark.parametrize("exponent", [0, 2])
def test_totals_are_written_and_read(exponent: int) -> None:
    """Counts of 10 digits, sums of 16 with the link's exponent, DE97 with C or D; through the codec they stay the same."""
    fields = write_totals(OURS, exponent)
    assert ("0000000003", "0000000001", "0000000007", "0000000002") == tuple(
        fields[number] for number in (76, 77, 80, 81)
    )
    assert {0: "0000000000150000", 2: "0000000015000000"}[exponent] == fields[88]
    assert {0: "D0000000000098000", 2: "D0000000009800000"}[exponent] == fields[97]
    back = decode(encode(Message("0510", KEYS | fields)))
    assert OURS.told() == read_totals(back, exponent)
    assert "C" == write_totals(Totals(credits_idr=1), exponent)[97][0]
    assert "C0000000000000000" == write_totals(Totals(), exponent)[97]


def test_only_what_is_there_is_read() -> None:
    """A partner may tell one number alone."""
    assert {"debits": 4, "net_idr": -5} == read_totals(Message("0500", {76: "0000000004", 97: "D0000000000000500"}), 2)
    assert {} == read_totals(Message("0500", KEYS), 2)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (97, "X0000000000000500"),
        (97, "D000000000000050X"),
        (97, "D"),
        (76, "00000000X4"),
        (88, "0000000000000050"),
        (97, "C0000000000000001"),
    ],
)
def test_what_is_no_total(number: int, value: str) -> None:
    """Letters among digits, a sign that is none, sen that are not zero: refused by name, never rounded."""
    with pytest.raises(FormatError, match=f"field {number}: "):
        read_totals(Message("0500", {number: value}), 2)


async def test_the_date_that_is_meant(bank: Bank, tmp_path: Path) -> None:
    """DE15 names it, near to the business date; without it the partner's day of now."""
    async with open_till(bank, tmp_path) as till:
        today = bank.business_date
        await till.ask(RequestKind.CASH, 50_000)
        link = hot_link()
        first = await serve(bank, link, Message("0500", KEYS | {76: "0000000001"}))
        assert (f"{today:%m%d}", "360", "1", "00") == tuple(first[number] for number in (15, 50, 66, 39))
        await till.next_day()
        assert first == await serve(bank, link, Message("0501", KEYS | {76: "0000000001"}))
        yesterday = Message("0500", KEYS | {11: "000008", 15: f"{today - ONE_DAY:%m%d}", 76: "0000000001"})
        second = await serve(bank, link, yesterday)
        assert (yesterday.fields[15], "2", "95", "0000000000") == tuple(second[number] for number in (15, 66, 39, 76))


async def test_what_is_malformed(bank: Bank) -> None:
    """A date of no calendar, another currency, no DE11."""
    for fields, number in (
        (KEYS | {15: "1301"}, 15),
        (KEYS | {15: "0230"}, 15),
        (KEYS | {50: "840"}, 50),
        ({7: "1123120000"}, 11),
    ):
        with pytest.raises(FormatError, match=f"field {number}: is "):
            await serve(bank, hot_link(), Message("0500", fields))
