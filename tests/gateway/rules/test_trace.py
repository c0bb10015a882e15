"""Tests of gateway.rules.trace: what was read becomes one tree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.rules.trace import Found, Level, Step, authorisation_step, build, disagreement
from gateway.rules.trace_facts import Cause, Correction, Movement, Opening, Paper, Return, Row, Settlement, TrancheFacts
from ledger.chart import Control, Phase, control_account, purse_account

DAY = date(2026, 11, 25)
AT = datetime(2026, 11, 25, 3, tzinfo=UTC)
PAPER = Paper(1, "SI-1", "POSTED", "si.csv", "ab" * 32, 2, 700, "siti", "budi", None, DAY, "S-1", DAY, 700)
TRANCHE = TrancheFacts(3, 42, 7, "0014", "PKH", "2026-T4", 1, 2, DAY, DAY, 600, 600, 0, 0, 0, "OPEN")
ROW = Row(1, 2, "0014", "PKH", "2026-T4", 600, "TOPUP_SUKSES", None, TRANCHE.key)
FAILED = Row(1, 3, "0015", None, None, None, "TOPUP_GAGAL", "ROW_INVALID", None)
ATM, FUND = control_account(Control.ATM_SETTLEMENT), control_account(Control.PROGRAMME_FUND, 1)
RPL = control_account(Control.RPL, 1)
AVAILABLE, HELD, FROZEN = (purse_account(42, 1, phase) for phase in Phase)
CASH = Cause(
    "CASH", "ATM", "000002", "A1", "M1", "himbara", "R1", "000001", "APPROVED", "00", 200, DAY, b"cash", None, "6013*1"
)
BACK = CASH._replace(kind="REVERSAL", message_key=b"back", original_key=b"cash")


def _moved(
    number: int, debit: int, credit: int, amount_idr: int, kind: str, cause: Cause | None = None, **more: int
) -> Movement:
    source = ("authorisation", 90 + number) if cause else ("si", 1) if kind == "CREDIT" else ("treasury_return", 5)
    posted_at = AT + timedelta(minutes=more.get("minute", number))
    return Movement(
        3, 42, 7, number, debit, credit, amount_idr, kind, *source, more.get("corrects"), DAY, posted_at, cause
    )  # fmt: skip


CREDITED = _moved(1, FUND, AVAILABLE, 600, "CREDIT")
PAID = _moved(2, AVAILABLE, ATM, 200, "WITHDRAWAL", CASH)
REVERSED = _moved(3, ATM, AVAILABLE, 50, "REVERSAL", BACK, corrects=2)


def _found(*movements: Movement) -> Found:
    return Found((PAPER,), (ROW,), (TRANCHE,), movements)


def _tranche(found: Found) -> Step:
    (sp2d,) = build(found)
    return sp2d.steps[0].steps[0].steps[0]


def test_from_sp2d_to_tranche() -> None:
    """SP2D, SI with its list and people, rows by line, and below a credited row its tranche."""
    (sp2d,) = build(replace(_found(CREDITED), rows=(FAILED, ROW)))
    (si,) = sp2d.steps
    credited, failed = si.steps
    assert (Level.SP2D, "sp2d:S-1", 700) == (sp2d.level, sp2d.reference, sp2d.amount_idr)
    assert "POSTED: list si.csv of 2 rows, SHA-256 abababababab, made by siti, checked by budi" == si.text
    assert ("si:SI-1:2", "TOPUP_SUKSES: PKH 2026-T4 for account 0014") == (credited.reference, credited.text)
    assert ("si:SI-1:3", "TOPUP_GAGAL ROW_INVALID: unknown programme for account 0015") == (
        failed.reference,
        failed.text,
    )
    assert () == failed.steps
    (tranche,) = credited.steps
    assert ("tranche:7", "OPEN: available Rp600", "account:0014") == (tranche.reference, tranche.text, tranche.cause)
    assert ["credited from the programme's account"] == [one.text for one in tranche.steps]


def test_an_si_that_nobody_approved() -> None:
    """Its reason and that nobody has decided are told; SP2Ds stand by age."""
    older = PAPER._replace(si_id=2, si_no="SI-0", sp2d_no="S-0", sp2d_date=DAY - timedelta(days=1))
    waits = PAPER._replace(state="MISMATCH", checker=None, reason="sum")
    first, second = build(Found((waits, older)))
    assert ("sp2d:S-0", "sp2d:S-1") == (first.reference, second.reference)
    assert second.steps[0].text.startswith("MISMATCH (sum): list")
    assert second.steps[0].text.endswith("nobody has decided yet")


def test_what_takes_back_stands_below_what_it_takes_back() -> None:
    """A reversal, and a correction of any kind, is under the transfer it names; a later one is not lost."""
    taken = _moved(4, ATM, AVAILABLE, 20, "CORRECTION", corrects=2)
    stray = _moved(5, ATM, AVAILABLE, 10, "REVERSAL", BACK._replace(original_key=b"unknown"), corrects=99)
    credited, paid, last = _tranche(_found(CREDITED, PAID, REVERSED, taken, stray)).steps
    assert (["transfer:3", "transfer:4"], "transfer:5") == ([one.reference for one in paid.steps], last.reference)
    assert "correction by treasury return 5" not in paid.text
    assert "transfer:1" == credited.reference


def test_a_completion_stands_below_its_hold() -> None:
    """It names the hold by its message; what it takes, what it releases, and a refund of what it took."""
    held = CASH._replace(kind="HOLD", message_key=b"hold")
    completed = CASH._replace(kind="COMPLETION", asked_idr=150, message_key=b"done", original_key=b"hold")
    refunded = CASH._replace(kind="REFUND", asked_idr=150, message_key=b"refund", original_key=b"done")
    moves = (
        _moved(2, AVAILABLE, HELD, 200, "HOLD", held),
        _moved(3, HELD, ATM, 150, "CAPTURE", completed),
        _moved(4, HELD, AVAILABLE, 50, "RELEASE", completed),
        _moved(5, ATM, AVAILABLE, 150, "REVERSAL", refunded, corrects=3),
    )
    _, hold = _tranche(_found(CREDITED, *moves)).steps
    assert ["transfer:3", "transfer:4"] == [one.reference for one in hold.steps]
    assert ["transfer:5"] == [one.reference for one in hold.steps[0].steps]
    words = [one.text.split()[0] for one in (hold, *hold.steps, *hold.steps[0].steps)]
    assert ["held", "completed", "released", "refunded"] == words


def test_a_lapsed_hold_is_released_below_itself() -> None:
    """The release is booked for the hold's own authorisation, on a day on which that was not decided."""
    held = _moved(2, AVAILABLE, HELD, 200, "HOLD", CASH._replace(kind="HOLD"))
    lapsed = _moved(4, HELD, AVAILABLE, 200, "RELEASE")._replace(source="authorisation", source_id=92)
    _, hold = _tranche(_found(CREDITED, held, lapsed)).steps
    assert ["released, the hold has lapsed, authorisation:92"] == [one.text for one in hold.steps]
    stray = lapsed._replace(source_id=93)
    assert "transfer:4" == _tranche(_found(CREDITED, held, stray)).steps[-1].reference


def test_time_counts_not_numbers() -> None:
    """Ids are handed out ahead, so a reversal may have the lower one: it still stands below its original."""
    paid = _moved(9, AVAILABLE, ATM, 200, "WITHDRAWAL", CASH, minute=2)
    back = _moved(3, ATM, AVAILABLE, 50, "REVERSAL", BACK, minute=3, corrects=9)
    _, only = _tranche(_found(back, paid, CREDITED)).steps
    assert ("transfer:9", ["transfer:3"]) == (only.reference, [one.reference for one in only.steps])


@pytest.mark.parametrize("asked", [{2}, {3}, {2, 3}])
def test_a_chain_that_was_asked_for_is_whole(asked: set[int]) -> None:
    """Asked for a withdrawal or its reversal: both are shown, other transfers are not."""
    (only,) = _tranche(replace(_found(CREDITED, PAID, REVERSED), asked=asked)).steps
    assert ("transfer:2", ["transfer:3"]) == (only.reference, [one.reference for one in only.steps])


def test_a_withdrawal_tells_where_and_with_what() -> None:
    """Terminal, merchant, RRN, answer, masked card, authorisation; that it is a part; that it is not settled."""
    (_, paid) = _tranche(_found(CREDITED, PAID._replace(amount_idr=150))).steps
    assert (
        "cash, a part of Rp200, at ATM 000002:A1 (M1), RRN R1, answered 00, card 6013*1, authorisation:92;"
        " himbara's day 2026-11-25 is not settled"
    ) == paid.text
    assert ("authorisation:92", DAY) == (paid.cause, paid.date)


def test_a_purchase_that_was_approved_in_part() -> None:
    """With what was asked for."""
    cause = CASH._replace(kind="PURCHASE", reason="PARTIALLY_APPROVED", response_code="10", asked_idr=900)
    (_, paid) = _tranche(_found(CREDITED, PAID._replace(kind="PURCHASE", cause=cause))).steps
    assert paid.text.startswith("purchase, approved for a part of Rp900, at ATM 000002:A1 (M1), RRN R1, answered 10,")


def test_the_settlement_stands_below() -> None:
    """Of the link, the partner's day and the channel the money is booked under; a hold has none."""
    paid_on = DAY + timedelta(days=2)
    settled = {("himbara", DAY, "ATM"): Settlement(4, "PAID", "TRX-9", paid_on)}
    hold = _moved(6, AVAILABLE, HELD, 10, "HOLD", CASH._replace(message_key=b"hold"))
    _, paid, held = _tranche(replace(_found(CREDITED, PAID, hold), settlements=settled)).steps
    (settlement,) = paid.steps
    assert (Level.SETTLEMENT, "settlement:4", 200, paid_on) == (
        settlement.level, settlement.reference, settlement.amount_idr, settlement.date
    )  # fmt: skip
    assert "himbara's day 2026-11-25, ATM: PAID, evidence TRX-9" == settlement.text
    closed = {("himbara", DAY, "ATM"): Settlement(4, "CLOSED", None, None)}
    ((settlement,),) = (one.steps for one in _tranche(replace(_found(PAID), settlements=closed)).steps)
    assert ("himbara's day 2026-11-25, ATM: CLOSED, not yet paid", None) == (settlement.text, settlement.date)
    assert ((), False) == (held.steps, "settled" in held.text)


@pytest.mark.parametrize(
    ("returned_on", "ntpn", "text"),
    [
        (None, None, "at RPL, not yet at kas negara, in Rp900 of 3 tranches"),
        (DAY, None, "returned to kas negara, evidence SETOR-1, no NTPN yet, in Rp900 of 3 tranches"),
        (DAY, "N" * 16, f"returned to kas negara, evidence SETOR-1, NTPN {'N' * 16}, in Rp900 of 3 tranches"),
    ],
)
def test_the_return_stands_below(returned_on: date | None, ntpn: str | None, text: str) -> None:
    """RPL evidence, then the deposit's and the treasury's receipt, as far as they are there."""
    sent = Return(5, 900, 3, DAY, "RPL-1", "RETURNED", returned_on, "SETOR-1" if returned_on else None, ntpn)
    debit = _moved(8, FROZEN, RPL, 600, "TO_RPL")
    _, only = _tranche(replace(_found(CREDITED, debit), returns={5: sent})).steps
    assert ("debited to RPL, evidence RPL-1", "return:5") == (only.text, only.cause)
    assert [("return:5", 600, text)] == [(one.reference, one.amount_idr, one.text) for one in only.steps]


def test_a_tranche_that_is_not_its_journal_says_so() -> None:
    """Available, held, frozen and returned must be what the transfers add up to, and the credit must be there."""
    freeze = _moved(4, AVAILABLE, FROZEN, 100, "FREEZE")
    debit = _moved(5, FROZEN, RPL, 100, "TO_RPL")
    moves = (CREDITED, PAID, REVERSED, freeze, debit)
    right = TRANCHE._replace(available_idr=350, returned_idr=100)
    assert not disagreement(right, moves)
    for wrong in (
        right._replace(available_idr=351), right._replace(held_idr=1), right._replace(frozen_idr=1),
        right._replace(returned_idr=99), right._replace(amount_idr=601),
    ):  # fmt: skip
        assert disagreement(wrong, moves)
    assert _tranche(_found(CREDITED, PAID)).text.endswith("; DISAGREES with the journal")


def test_older_transfers_may_be_in_the_archive() -> None:
    """A tranche whose first months were detached begins at what it was then; that is said, and it agrees."""
    left = TRANCHE._replace(available_idr=450)
    found = replace(_found(REVERSED), tranches=(left,), openings={left.key: Opening(600, 400, 0, 0, 0)})
    assert "OPEN: available Rp450; its older transfers are in the archive" == _tranche(found).text
    wrong = replace(found, openings={left.key: Opening(600, 401, 0, 0, 0)})
    assert _tranche(wrong).text.endswith("; DISAGREES with the journal")


def test_a_correction_tells_why() -> None:
    """Reason, both people and the day it belongs to, below the transfer it corrects."""
    taken = _moved(4, ATM, AVAILABLE, 20, "CORRECTION", corrects=2)._replace(source="correction", source_id=8)
    why = Correction(8, "letter 12/X", "siti", "budi", DAY)
    _, paid = _tranche(replace(_found(CREDITED, PAID, taken), corrections={8: why})).steps
    (step,) = paid.steps
    assert "corrected for 2026-11-25: letter 12/X, made by siti, checked by budi" == step.text
    assert "correction:8" == step.cause


def test_an_authorisation_that_moved_nothing() -> None:
    """A refusal with its reason, and a balance."""
    refused = authorisation_step(
        12, DAY, CASH._replace(reason="CARD_LOST", response_code="41", rrn=None, merchant=None)
    )
    assert "cash at ATM 000002:A1, STAN 000001, answered 41, card 6013*1: refused: CARD_LOST" == refused.text
    stood_in = authorisation_step(90, DAY, CASH._replace(stand_in=1003, reason="INSUFFICIENT_FUNDS"))
    assert "answered 00 by STAND_IN 1003, card 6013*1" in stood_in.text
    balance = authorisation_step(13, DAY, CASH._replace(kind="BALANCE", asked_idr=0))
    assert ("authorisation:13", 0, True) == (balance.reference, balance.amount_idr, "moved nothing" in balance.text)
