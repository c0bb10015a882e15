"""Tests of gateway.simulator.terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.journal import Event, TerminalJournal, read_journal
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import Asked, Purse, Terminal, TerminalKind, reference, track2
from iso.amount import read_replacement
from iso.codec import decode, encode
from iso.original_data import read_original_data
from keys.sensitive import Pin
from tests.gateway.simulator.fake_issuer import FakeIssuer, clock, make_pinpad, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

WALLET = make_wallet(2)
CARD = WALLET.cards[0]
PINPAD = make_pinpad()


def idle(kind: TerminalKind = TerminalKind.ATM, first_stan: int = 1) -> Terminal:
    """A terminal that makes messages and sends none."""
    return Switch("127.0.0.1", 9, clock=clock).terminal(PINPAD, kind, 7, first_stan=first_stan)


def test_withdrawal_holds_every_field_of_the_profile() -> None:
    """Amount with two decimals, DE7 in UTC, DE12 and 13 in Jakarta, a PIN block in hexadecimal."""
    message = idle().request(Asked.CASH, CARD, 50_000)
    expected = {
        2: CARD.pan.reveal(), 3: "010000", 4: "000005000000", 7: "1123173005", 11: "000001", 12: "003005", 13: "1124",
        14: "3111", 18: "6011", 22: "051", 32: "000002", 37: "632717000001", 41: "A0000007", 42: "SIMA00000000007",
        43: f"{'ATM SIMULASI          MEDAN        ID':<40}", 49: "360", 52: PINPAD.block(CARD.pan, CARD.pin),
    }  # fmt: skip
    assert ("0200", expected) == (message.mti, message.fields)


@pytest.mark.parametrize(
    ("kind", "asked", "purse", "code", "merchant_type"),
    [
        (TerminalKind.ATM, Asked.CASH, Purse.CASH, "011000", "6011"),
        (TerminalKind.AGENT, Asked.CASH, Purse.FOOD, "019800", "6012"),
        (TerminalKind.EWARONG, Asked.PURCHASE, Purse.BY_RULE, "000000", "5411"),
        (TerminalKind.EWARONG, Asked.BALANCE, Purse.BY_RULE, "300000", "5411"),
    ],
)
def test_processing_code_and_merchant_type(
    kind: TerminalKind, asked: Asked, purse: Purse, code: str, merchant_type: str
) -> None:
    """DE3 says what is wanted and from which purse, DE18 where the family stands."""
    fields = idle(kind).request(asked, CARD, 0, purse=purse).fields
    assert (code, merchant_type) == (fields[3], fields[18])


@given(
    amount_idr=st.integers(0, 9_999_999_999), stan=st.integers(1, 999_999), kind=st.sampled_from(TerminalKind),
    asked=st.sampled_from(Asked), purse=st.sampled_from(Purse),
)  # fmt: skip
def test_every_message_can_be_encoded_and_read_back(
    amount_idr: int, stan: int, kind: TerminalKind, asked: Asked, purse: Purse
) -> None:
    """Nothing a terminal makes is outside the dialect, or changed by padding."""
    terminal = idle(kind, stan)
    request = terminal.request(asked, CARD, amount_idr, purse=purse)
    for message in (request, terminal.reversal(request), terminal.reversal(request, 1, repeat=True)):
        assert message == decode(encode(message))


def test_trace_numbers_go_round_without_zero() -> None:
    """999999 is followed by 000001."""
    terminal = idle(first_stan=999_999)
    stans = [terminal.request(Asked.CASH, CARD, 1).fields[11] for _ in range(2)]
    assert ["999999", "000001"] == stans


def test_reversal_names_its_original_and_keeps_its_reference() -> None:
    """DE90 is MTI, STAN, DE7, acquirer; trace number and time are its own; no PIN goes with it."""
    terminal = idle()
    request = terminal.request(Asked.CASH, CARD, 150_000)
    reversal = terminal.reversal(request, 50_000)
    original = read_original_data(reversal.fields[90])
    assert original.names(request)
    assert reversal.mti == "0420"
    assert (reversal.fields[37], "000002") == (request.fields[37], reversal.fields[11])
    assert read_replacement(reversal.fields[95], 2).transaction_idr == 50_000
    assert 52 not in reversal.fields


def test_full_reversal_has_no_replacement_amount() -> None:
    """DE95 is for partial ones."""
    terminal = idle()
    assert 95 not in terminal.reversal(terminal.request(Asked.CASH, CARD, 50_000)).fields


def test_repeated_reversal_is_the_same_message_as_0421() -> None:
    """Trace number and time too, so that the bank sees one reversal."""
    terminal = idle()
    request = terminal.request(Asked.CASH, CARD, 150_000)
    first = terminal.reversal(request, 50_000)
    again = terminal.reversal(request, repeat=True)
    assert ("0421", first.fields) == (again.mti, again.fields)


def test_repeat_without_a_first_reversal_is_one_of_its_own() -> None:
    """The 0420 that was lost with its terminal's memory."""
    terminal = idle()
    reversal = terminal.reversal(terminal.request(Asked.CASH, CARD, 50_000), repeat=True)
    assert ("0421", "000002") == (reversal.mti, reversal.fields[11])


async def test_terminal_pays_once_whatever_the_network_repeats() -> None:
    """Withdrawal, repeats, reversal and its repeat: the journal has them all, the account is as before."""
    async with FakeIssuer(WALLET, PINPAD) as bank, Switch("127.0.0.1", bank.port, clock=clock) as switch:
        terminal = switch.terminal(PINPAD, TerminalKind.ATM, 1)
        first = await terminal.withdraw(CARD, 200_000)
        again, marked = await terminal.repeat(first), await terminal.repeat(first, marked=True)
        assert ("00", 800_000, 200_000) == (first.code, first.available_idr, bank.paid_idr)
        assert first.same_answer(again)
        assert first.same_answer(marked)
        assert marked.request.mti == "0201"
        reversal = await terminal.reverse(first)
        repeated = await terminal.reverse(first, repeat=True)
        assert (0, "0430") == (bank.paid_idr, reversal.answer.mti if reversal.answer else "")
        assert reversal.same_answer(repeated)
        assert [first, again, marked, reversal, repeated] == terminal.journal


async def test_purchase_balance_and_typed_pin() -> None:
    """A purchase lowers the balance; another PIN than the card's can be typed."""
    async with FakeIssuer(WALLET, PINPAD) as bank, Switch("127.0.0.1", bank.port, clock=clock) as switch:
        terminal = switch.terminal(PINPAD, TerminalKind.EWARONG, 1)
        assert (await terminal.purchase(CARD, 37_500)).approved
        assert {"10": 962_500, "98": 0} == (await terminal.balance(CARD)).balances
        assert (await terminal.balance(CARD, Pin("999999"))).code == "55"


async def test_record_is_kept_of_answered_and_unanswered(tmp_path: Path) -> None:
    """A dropped answer leaves SENT and UNANSWERED, and the exchange says why."""
    path = tmp_path / "journal"
    bank = FakeIssuer(WALLET, PINPAD, twist=lambda request, answer: None if request.mti == "0200" else answer)
    async with bank:
        switch = Switch("127.0.0.1", bank.port, clock=clock, timeout_s=1)
        await switch.connect()
        with TerminalJournal(path) as record:
            terminal = switch.terminal(PINPAD, TerminalKind.ATM, 1, record=record)
            exchange = await terminal.balance(CARD)
            await terminal.reverse(exchange)
        await switch.close()
    assert (None, "no answer to 0200 within 1 s") == (exchange.answer, exchange.failure)
    events = [(entry.event, entry.mti) for entry in read_journal(path)]
    expected = [(Event.SENT, "0200"), (Event.UNANSWERED, "0200"), (Event.SENT, "0420"), (Event.ANSWERED, "0420")]
    assert expected == events


def test_track_2_holds_number_and_expiry() -> None:
    """DE35 as ISO 7813 has it."""
    assert f"{CARD.pan.reveal()}=311160100000" == track2(CARD)


def test_reference_is_twelve_digits() -> None:
    """Last digit of the year, day of the year, hour, trace number."""
    assert reference(datetime(2026, 2, 1, 9, tzinfo=UTC), "000042") == "603209000042"
