"""Totals of a partner (0500, 0520 and their repeats): fields to counts and rupiah, and ours to fields. Knows no database.

Counts are n 10, sums n 16 with the link's exponent, DE97 is C or D and n 16. DE15 names the settlement date; without it the
partner's day of this moment is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import clock
from gateway.operations.partner_totals import reconcile
from gateway.rules.partner_totals import year_of
from gateway.rules.settlement import PartnerDay
from gateway.terminals.desk_key import asked_of
from iso.amount import write_amount
from iso.errors import FormatError

if TYPE_CHECKING:
    from datetime import date

    from gateway.operations.bank import Bank
    from gateway.rules.partner_totals import Totals
    from gateway.terminals.profile import Link
    from iso.message import Message

RUPIAH = "360"
SETTLEMENT_DATE, CURRENCY, NET = 15, 50, 97
COUNT_DIGITS, SUM_DIGITS = 10, 16
COUNTS = {
    74: "credits", 75: "credit_reversals", 76: "debits", 77: "debit_reversals", 80: "inquiries", 81: "authorisations",
}  # fmt: skip
SUMS = {86: "credits_idr", 87: "credit_reversals_idr", 88: "debits_idr", 89: "debit_reversals_idr"}
CONTENT = (SETTLEMENT_DATE, CURRENCY, *COUNTS, *SUMS, NET)


async def serve(bank: Bank, link: Link, message: Message) -> dict[int, str]:
    """The fields of the answer that are not echoed by every answer: DE15, DE50, our totals, DE66, DE39. Raises FormatError."""
    asked = asked_of(message, link, CONTENT)
    on = _date(bank, link, message)
    if message.get(CURRENCY, RUPIAH) != RUPIAH:
        raise FormatError(CURRENCY, "is not rupiah")
    theirs = read_totals(message, link.amount_exponent)
    meant = {SETTLEMENT_DATE: f"{on:%m%d}", CURRENCY: RUPIAH}
    return await reconcile(bank, asked, on, theirs, lambda ours: meant | write_totals(ours, link.amount_exponent))


def read_totals(message: Message, exponent: int) -> dict[str, int]:
    """What a message tells, by name; what it leaves out is not there. Raises FormatError."""
    told = {name: _digits(message, number) for number, name in COUNTS.items() if number in message.fields}
    told |= {
        name: _rupiah(_digits(message, number), number, exponent) for number, name in SUMS.items() if number in message.fields
    }  # fmt: skip
    net = message.get(NET)
    if net is not None:
        if net[:1] not in ("C", "D") or not (net[1:].isascii() and net[1:].isdigit()):
            raise FormatError(NET, "must be C or D and digits")
        amount_idr = _rupiah(int(net[1:]), NET, exponent)
        told["net_idr"] = amount_idr if net[0] == "C" else -amount_idr
    return told


def write_totals(ours: Totals, exponent: int) -> dict[int, str]:
    """Every total as a field. Raises FormatError where one does not fit."""
    told = ours.told()
    fields = {number: f"{told[name]:0{COUNT_DIGITS}d}" for number, name in COUNTS.items()}
    fields |= {number: write_amount(told[name], exponent, number, SUM_DIGITS) for number, name in SUMS.items()}
    sign = "D" if ours.net_idr < 0 else "C"
    return fields | {NET: sign + write_amount(abs(ours.net_idr), exponent, NET, SUM_DIGITS)}


def _date(bank: Bank, link: Link, message: Message) -> date:
    told = message.get(SETTLEMENT_DATE)
    if told is None:
        return PartnerDay(link.cut_over).of(clock.now(), bank.business_date)
    try:
        return year_of(int(told[:2]), int(told[2:]), bank.business_date)
    except ValueError:
        raise FormatError(SETTLEMENT_DATE, "is not a date") from None


def _digits(message: Message, number: int) -> int:
    text = message.fields[number]
    if not (text.isascii() and text.isdigit()):
        raise FormatError(number, "must be digits")
    return int(text)


def _rupiah(units: int, number: int, exponent: int) -> int:
    amount_idr, sen = divmod(units, 100 if exponent else 1)
    if sen:
        raise FormatError(number, "must be whole rupiah")
    return amount_idr
