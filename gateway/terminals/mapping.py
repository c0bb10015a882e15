"""Between the wire and the bank: a message becomes a command, an outcome becomes an answer. Knows no socket and no database.

What a message lacks or says wrongly is a FormatError (answered 30) or a Declined with the code to answer; nothing of it reaches
the ledger.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.operations.authorise import AuthoriseCommand, Origin, Outcome
from gateway.rules.authorise import WITH_PIN, DeclineReason, Request, RequestKind
from gateway.rules.purse import Channel, PurseChoice
from gateway.terminals import private_fields
from gateway.terminals.card_data import BLOCK_HEX, card_data, chip_field, new_pin_block, pin_block, script_words
from gateway.terminals.profile import Asked, Link
from iso.additional_amounts import AdditionalAmount, AmountType, write_additional_amounts
from iso.amount import read_amount, read_replacement, write_amount
from iso.errors import FormatError
from iso.original_data import institution_number, read_original_data
from iso.processing_code import read_processing_code
from iso.response_codes import INVALID_AMOUNT, INVALID_TRANSACTION, NOT_PERMITTED, TERMINAL_NOT_PERMITTED
from keys.errors import PanRefused
from keys.sensitive import Pan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from gateway.store.authorisations import Movement
    from gateway.terminals.unread_tags import UnreadTags
    from iso.message import Message
    from keys.keytypes import KeyHandle

RUPIAH = "360"
KINDS = {  # class and function of the MTI, transaction of DE3
    ("20", "00"): RequestKind.PURCHASE,
    ("20", "01"): RequestKind.CASH,
    ("20", "20"): RequestKind.REFUND,
    ("20", "38"): RequestKind.STATEMENT,
    ("20", "90"): RequestKind.PIN_CHANGE,
    ("20", "30"): RequestKind.BALANCE,
    ("20", "31"): RequestKind.BALANCE,
    ("10", "00"): RequestKind.HOLD,
    ("12", "00"): RequestKind.PURCHASE,
    ("12", "01"): RequestKind.CASH,
    ("22", "00"): RequestKind.PURCHASE,  # of a hold, where it names one
    ("22", "01"): RequestKind.CASH,
}
FINANCIAL = frozenset({"0100", "0101", "0120", "0121", "0200", "0201", "0220", "0221", "0400", "0401", "0420", "0421"})
"""Message types that move money, or tell that it moved."""
ORIGINALS = {  # what names another message in DE90, and the classes of message it may name
    RequestKind.REVERSAL: "12", RequestKind.COMPLETION: "1", RequestKind.REFUND: "2",
}  # fmt: skip
IN_PART = (RequestKind.PURCHASE, RequestKind.HOLD)  # of goods there may be fewer; a machine pays no odd amount
FREQUENT = frozenset({RequestKind.CASH, RequestKind.PURCHASE, RequestKind.BALANCE})
WITHOUT_MONEY = (RequestKind.STATEMENT, RequestKind.PIN_CHANGE)  # asked for without amount, currency and purse
DIGEST_BYTES = 16
ASKED_KEPT = 512  # combinations of a link; there are a few dozen, unless somebody makes them up
APPROVING = frozenset({"00", "08", "10", "11", "16"})  # DE39 of ISO 8583:1987, A.9, that let money out; 10: DE4 of it
ADVICE = "2"
LINE_KINDS = {
    "CREDIT": "CRD", "WITHDRAWAL": "CSH", "PURCHASE": "PUR", "REVERSAL": "REV", "HOLD": "HLD", "RELEASE": "RLS",
    "FREEZE": "FRZ", "UNFREEZE": "UFZ", "CORRECTION": "COR",
}  # fmt: skip
"""What moved, in a mini statement, by ledger.posting.Kind: those that change what can be spent."""
_SHORTEST_PAN = 13  # of a card; ISO/IEC 7812-1 has shorter numbers, which are no cards of a link
TRACK2_SEPARATORS = "=D"


class Declined(Exception):
    """The message is well formed and asks for something this link does not do; CODE is its answer."""

    def __init__(self, code: str, why: str) -> None:
        """CODE: two characters of DE39. WHY: for the log."""
        super().__init__(why)
        self.code = code


def to_command(
    message: Message,
    link: Link,
    pin_key: KeyHandle,
    settlement_date: date | None = None,
    unread: UnreadTags | None = None,
) -> AuthoriseCommand:
    """The command in a financial, authorisation or reversal message. Raises FormatError or Declined.

    SETTLEMENT_DATE: the partner's day; None: the business date. UNREAD: counts tags that nobody reads. An advice is never
    refused where its card and key can be read: what is wrong with it goes with the command, to be kept for people.
    """
    if message.mti[2] != ADVICE:
        return frequent_command(message, link, pin_key, settlement_date) or _command(
            message, link, pin_key, settlement_date, unread
        )
    try:
        return _command(message, link, pin_key, settlement_date, unread)
    except FormatError as error:
        return unreadable_advice(message, link, str(error), settlement_date)
    except Declined as error:
        return _faulty_advice(message, link, DeclineReason.ADVICE_NOT_SERVED, str(error), settlement_date)


def frequent_command(
    message: Message, link: Link, pin_key: KeyHandle, settlement_date: date | None
) -> AuthoriseCommand | None:
    """The same for cash, goods and balances at a plain link, which is nearly all there is, at half the cost.

    None: it is none of these, or something is missing or wrong; the long way says what.
    """
    fields = message.fields
    get = fields.get
    asked = link.asked.get((message.mti, get(3), get(18), get(49)))
    if asked is None or not link.plain or asked.kind not in FREQUENT or asked.partial:
        return None
    kind, channel, purse, _ = asked
    try:
        amount = 0 if kind is RequestKind.BALANCE else read_amount(fields[4], link.amount_exponent)
        acquirer, terminal, block = fields[32], fields[41].strip(), fields[link.pin_block_field]
        stan, transmitted = fields[11], fields[7]
        pin = bytes.fromhex(block)
        pan = _pan(message)
    except (KeyError, ValueError, FormatError):
        return None
    if acquirer != link.acquirer or len(block) != BLOCK_HEX[0] or (amount == 0 and kind is not RequestKind.BALANCE):
        return None
    request = Request(kind, channel, fields[18], purse, amount, _digest(message), f"{acquirer}:{terminal}")
    origin = Origin(
        link.name, message.mti, terminal, get(42, "").strip(), acquirer, stan, transmitted, get(37, "").strip(), None,
        settlement_date,
    )  # fmt: skip
    return AuthoriseCommand(request, origin, pan, pin, pin_key, link.response_codes)


def is_advice(message: Message) -> bool:
    """Whether a message tells of money that has moved: a 0120, 0220 or 0420, or its repeat."""
    return message.mti in FINANCIAL and message.mti[2] == ADVICE


def unreadable_advice(message: Message, link: Link, why: str, settlement_date: date | None = None) -> AuthoriseCommand:
    """An advice of which something cannot be read: answered 30, and kept for people. MESSAGE: what could be read of it.

    Raises FormatError where card or key cannot be read.
    """
    return _faulty_advice(message, link, DeclineReason.ADVICE_UNREADABLE, why, settlement_date)


def to_answer(message: Message, outcome: Outcome, link: Link) -> Message:
    """The answer to a message."""
    answer = message.response()
    if link.structured:
        answer.fields |= private_fields.sent_back(message, link)
    answer.fields[39] = outcome.response_code
    if outcome.approval_code is not None:
        answer.fields[38] = outcome.approval_code
    if outcome.balances is not None and link.balance_in_54:
        amounts = [
            AdditionalAmount(link.account_types[purse], AmountType.AVAILABLE, amount)
            for purse, amount in outcome.balances.items()
        ]
        answer.fields[54] = write_additional_amounts(amounts, link.amount_exponent)
    if outcome.approved_idr is not None:
        _tell_the_part(message, answer, outcome.approved_idr, link)
    if outcome.statement:
        answer.fields[link.statement_field] = write_statement(outcome.statement, link.amount_exponent)
    if outcome.chip_answer is not None:
        answer.fields[55] = chip_field(outcome.chip_answer)
    if outcome.expiring is not None and link.expiring_in_48:
        amount = write_amount(outcome.expiring.amount_idr, link.amount_exponent)
        with suppress(
            FormatError
        ):  # it does not fit beside the partner's tags, or the profile has changed: the money has moved
            answer.fields[48] = private_fields.expiring(message, link, outcome.expiring.on, amount)
    return answer


def write_statement(lines: Sequence[Movement], exponent: int) -> str:
    """A mini statement: 24 characters a line. YYYYMMDD, what it was (3 letters), C came or D went, 12 digits like DE4.

    >>> from datetime import date
    >>> from gateway.store.authorisations import Movement
    >>> write_statement([Movement(date(2026, 11, 23), "WITHDRAWAL", -50_000)], 2)
    '20261123CSHD000005000000'
    """
    return "".join(
        f"{on:%Y%m%d}{LINE_KINDS.get(kind, 'OTH')}{'C' if amount > 0 else 'D'}{write_amount(abs(amount), exponent)}"
        for on, kind, amount in lines
    )


def refused(message: Message, code: str) -> Message:
    """An answer that says only a response code. Raises FormatError where the message is itself an answer."""
    answer = message.response()
    answer.fields[39] = code
    return answer


def _tell_the_part(message: Message, answer: Message, approved_idr: int, link: Link) -> None:
    """What of it is approved, in place of what was asked for; this in DE54 behind the balance, where the link wants it."""
    answer.fields[4] = write_amount(approved_idr, link.amount_exponent)
    if link.asked_in_54:
        account = read_processing_code(message.fields[3]).from_account
        asked = AdditionalAmount(account, AmountType.ORIGINAL, read_amount(message.fields[4], link.amount_exponent))
        answer.fields[54] = answer.get(54, "") + write_additional_amounts([asked], link.amount_exponent)


def _faulty_advice(
    message: Message, link: Link, fault: DeclineReason, why: str, settlement_date: date | None
) -> AuthoriseCommand:
    """An advice that moves nothing, answered as the link says of FAULT."""
    mcc = message.get(18, "")
    channel = link.cash_places.get(mcc, Channel.EWARONG)
    try:
        amount = read_amount(message.get(4, ""), link.amount_exponent)
    except FormatError:
        amount = 0
    request = Request(
        RequestKind.ADVICE,
        channel,
        mcc,
        PurseChoice.BY_RULE,
        amount,
        _digest(message, fault.value),  # not WHY, which tells the type: a repeat has another
        _terminal(message, link),
        fault=fault,
    )
    pan, origin = _pan(message), _origin(message, link, message.get(41, ""), None, settlement_date)
    words = script_words(message) if link.chip_scripts else ()
    return AuthoriseCommand(request, origin, pan, None, None, link.advice_codes, why=why, script_words=words)


def _command(
    message: Message, link: Link, pin_key: KeyHandle, settlement_date: date | None, unread: UnreadTags | None
) -> AuthoriseCommand:
    if link.structured:
        private_fields.check(message, link, unread)
    pan = _pan(message)
    if link.acquirers and institution_number(message.get(32, "")) not in link.spelled:
        raise Declined(TERMINAL_NOT_PERMITTED, "DE32 is no acquirer of this link")
    request = _reversal(message, link) if message.mti[1] == "4" else _request(message, link)
    original = None
    if request.kind in ORIGINALS or request.increments:
        original = _original(message, ORIGINALS.get(request.kind, "1"))
    origin = _origin(message, link, message.fields.get(41) or _need(message, 41), original, settlement_date)
    codes: Mapping[DeclineReason, str] = link.advice_codes if message.mti[2] == ADVICE else link.response_codes
    card = card_data(message, link, unread) if request.kind in WITH_PIN and not request.forced else None
    new_block = None
    if request.kind is RequestKind.PIN_CHANGE:
        _need(message, link.new_pin_field)
        new_block = new_pin_block(message, link)
    words = script_words(message) if link.chip_scripts else ()
    return AuthoriseCommand(
        request,
        origin,
        pan,
        pin_block(message, link),
        pin_key,
        codes,
        card,
        new_pin_block=new_block,
        script_words=words,
    )


def _origin(
    message: Message,
    link: Link,
    terminal: str,
    original: tuple[str, str, str, str] | None,
    settlement_date: date | None,
) -> Origin:
    get = message.fields.get
    return Origin(
        link.name, message.mti, terminal.strip(), get(42, "").strip(), _acquirer(get(32) or _need(message, 32), link),
        get(11) or _need(message, 11),
        get(7) or _need(message, 7), get(37, "").strip(), original, settlement_date,
        original is not None and not _names_another(message),
        tuple([get(number, "").strip() for number in link.more_key]) if link.more_key else (),
    )  # fmt: skip


def _request(message: Message, link: Link) -> Request:
    kind, channel, purse, partial = _asked(message, link)
    get = message.fields.get
    if kind in WITHOUT_MONEY:
        _need(message, link.pin_block_field)
        lines = link.statement_lines if kind is RequestKind.STATEMENT else 0
        return Request(
            kind, channel, message.fields[18], purse, 0, _digest(message), _terminal(message, link), lines=lines
        )
    amount = 0 if kind is RequestKind.BALANCE else read_amount(get(4) or _need(message, 4), link.amount_exponent)
    if amount == 0 and kind is not RequestKind.BALANCE:
        raise Declined(INVALID_AMOUNT, "amount is zero")
    if message.mti[2] == ADVICE:
        return _advised(
            message, Request(kind, channel, message.fields[18], purse, amount, b"", _terminal(message, link))
        )
    if kind in WITH_PIN and get(link.pin_block_field) is None:
        _need(message, link.pin_block_field)
    request = Request(kind, channel, message.fields[18], purse, amount, _digest(message), _terminal(message, link))
    if kind is RequestKind.HOLD and _names_another(message):
        return request._replace(increments=True)
    if partial and (link.partial_approval == "purchases" or private_fields.marks_partial(message, link)):
        return request._replace(partial=True)
    return request


def _asked(message: Message, link: Link) -> Asked:
    """What a message asks for, where, and of which purse: by its type, DE3, DE18 and DE49, which come in few combinations."""
    if message.mti[2] == ADVICE:
        return _work_out(message, link)
    get = message.fields.get
    key = message.mti, get(3), get(18), get(49)
    found = link.asked.get(key)
    if found is None:
        found = _work_out(message, link)
        if len(link.asked) < ASKED_KEPT:
            link.asked[key] = found
    return found


def _work_out(message: Message, link: Link) -> Asked:
    """The same, unseen. Raises FormatError or Declined."""
    code = read_processing_code(_need(message, 3))
    kind = _kind(message, code.transaction)
    mcc = _need(message, 18)
    channel = link.cash_places.get(mcc, Channel.EWARONG)
    if kind is RequestKind.CASH and mcc not in link.cash_places:
        raise Declined(NOT_PERMITTED, f"cash at MCC {mcc}")
    if kind in WITHOUT_MONEY:
        return Asked(kind, channel, PurseChoice.BY_RULE)
    if _need(message, 49) != RUPIAH:
        raise Declined(INVALID_TRANSACTION, "currency is not rupiah")
    purse = link.purses.get(code.from_account)
    if purse is None:
        raise Declined(NOT_PERMITTED, f"account type {code.from_account}")
    partial = link.partial_approval != "off" and kind in IN_PART and channel is not Channel.ATM
    return Asked(kind, channel, purse, partial)


def _advised(message: Message, request: Request) -> Request:
    """What the partner tells of: it happened, or (DE39 says that it was refused in our name) it did not."""
    declined = message.get(39, "00") not in APPROVING
    forced = request.kind is not RequestKind.COMPLETION
    marks = ("declined",) if declined else ()
    digest = _digest(message, *(("advice", *marks) if forced else marks))
    return request._replace(
        content_digest=digest, forced=forced, fault=DeclineReason.ADVICE_DECLINED if declined else None
    )


def _kind(message: Message, transaction: str) -> RequestKind:
    """What a message asks for or tells of, by the class and function of its MTI and the transaction of its processing code."""
    kind = KINDS.get((message.mti[1:3], transaction))
    if kind is None:
        raise Declined(INVALID_TRANSACTION, f"processing code {transaction} in a {message.mti}")
    if message.mti[2] == ADVICE and _names_another(message):
        if message.mti[1] != "2" or kind is not RequestKind.PURCHASE:  # what it names may have been taken already
            raise Declined(INVALID_TRANSACTION, f"a {message.mti} of {transaction} that names another message")
        return RequestKind.COMPLETION
    return kind


def _names_another(message: Message) -> bool:
    """Whether DE90 is there and says something."""
    return bool(message.get(90, "").strip("0 "))


def _reversal(message: Message, link: Link) -> Request:
    amount = read_amount(_need(message, 4), link.amount_exponent)
    replacement = message.get(95)
    kept = 0 if replacement is None else read_replacement(replacement, link.amount_exponent).transaction_idr
    channel = link.cash_places.get(message.get(18, ""), Channel.EWARONG)
    return Request(
        RequestKind.REVERSAL, channel, message.get(18, ""), PurseChoice.BY_RULE, amount, _digest(message), kept_idr=kept
    )


def _original(message: Message, wanted: str) -> tuple[str, str, str, str]:
    """Message class, STAN, DE7 and acquirer of the original, whose class must be one of WANTED.

    A DE90 that leaves the acquirer out means the message's own. A reversal without DE90 that has a DE37 names a financial message
    with its own DE11 and DE7; where there is none, the bank looks for one with its DE11, DE37 and DE41.
    """
    if message.mti[1] == "4" and not _names_another(message) and message.get(37, "").strip():
        return "2", _need(message, 11), _need(message, 7), _need(message, 32)
    original = read_original_data(_need(message, 90))
    if original.mti[1] not in wanted:
        raise Declined(INVALID_TRANSACTION, f"a {message.mti} of a {original.mti}")
    return original.mti[1], original.stan, original.transmitted, str(original.acquirer or _need(message, 32))


def _terminal(message: Message, link: Link) -> str:
    get = message.fields.get
    return f"{_acquirer(get(32, ''), link)}:{get(41, '').strip()}"


def _acquirer(sent: str, link: Link) -> str:
    """DE32 as the profile spells it: what is written in two ways is one terminal to a limit, and one payee."""
    return sent if sent == link.acquirer else link.spelled.get(institution_number(sent), sent)


def _pan(message: Message) -> Pan:
    digits = message.fields.get(2)
    if digits is None:
        track2 = _need(message, 35, name=2)
        ends = [track2.find(separator) for separator in TRACK2_SEPARATORS if separator in track2]
        digits = track2[: min(ends)] if ends else ""
    try:
        pan = Pan(digits)
    except PanRefused:
        pan = None
    if pan is None or len(digits) < _SHORTEST_PAN:
        raise FormatError(2, "is not a card number")
    return pan


def _digest(message: Message, *marks: str) -> bytes:
    """16 bytes over what, with the key fields, makes two messages the same. MARKS: what else an advice says.

    Stored answers are compared by it, so it is the same in every version: the repr of (class, [DE3, 4, 37, 41,
    42, 49, 90, 95], *MARKS), put together here faster than repr does it.
    """
    get = message.fields.get
    more = "".join([f", {mark!r}" for mark in marks]) if marks else ""
    told = (
        f"({message.mti[1]!r}, [{get(3)!r}, {get(4)!r}, {get(37)!r}, {get(41)!r}, {get(42)!r}, {get(49)!r}, {get(90)!r}, "
        f"{get(95)!r}]{more})"
    )
    return hashlib.sha256(told.encode()).digest()[:DIGEST_BYTES]


def _need(message: Message, number: int, name: int | None = None) -> str:
    value = message.get(number)
    if value is None:
        raise FormatError(name or number, "is missing")
    return value
