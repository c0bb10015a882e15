"""Twin of gateway.rules.credit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import pytest

from gateway.rules.account import AccountState
from gateway.rules.credit import GUIDANCE, CreditAccount, CreditReason, CreditRow, refuse_credit

ROW = CreditRow(b"nik", "Siti Aminah", "SEMBAKO", "2026-T4", ("2026-10", "2026-11", "2026-12"), 600_000)
ACCOUNT = CreditAccount(b"nik", "SITI AMINAH", AccountState.ACTIVE, excluded=False)
KNOWN = {"PKH": 1, "SEMBAKO": 2}


@dataclass(frozen=True)
class Facts:
    """What refuse_credit() sees; by default, a row that is paid."""

    row: CreditRow = ROW
    account: CreditAccount | None = ACCOUNT
    paid: dict[str, set[str]] = field(default_factory=dict)
    in_this_si: dict[str, set[str]] = field(default_factory=dict)

    def judge(self) -> CreditReason | None:
        """Ask the rule."""
        return refuse_credit(self.row, self.account, KNOWN, self.paid, self.in_this_si)


FAULTS: list[tuple[CreditReason, str, dict[str, Any]]] = [
    (CreditReason.ROW_INVALID, "row", {"amount_idr": None}),
    (CreditReason.PROGRAM_UNKNOWN, "row", {"programme": "BLT"}),
    (CreditReason.ACCOUNT_NOT_FOUND, "no account", {}),
    (CreditReason.NIK_MISMATCH, "row", {"nik_index": b"another"}),
    (CreditReason.NAME_MISMATCH, "row", {"holder_name": "Siti Aminah Lubis"}),
    (CreditReason.ACCOUNT_NOT_ACTIVE, "account", {"state": AccountState.BLOCKED}),
    (CreditReason.EXCLUDED, "account", {"excluded": True}),
    (CreditReason.DUP_ROW, "in_this_si", {"SEMBAKO": {"2026-11"}}),
    (CreditReason.ALREADY_PAID, "paid", {"SEMBAKO": {"2026-T4"}}),
]


def spoil(facts: Facts, where: str, change: dict[str, Any]) -> Facts:
    """The facts with one fault more."""
    if where == "row":
        return replace(facts, row=replace(facts.row, **change))
    if where == "no account":
        return replace(facts, account=None)
    if where == "account":
        return replace(facts, account=facts.account and replace(facts.account, **change))
    if where == "paid":
        return replace(facts, paid=change)
    return replace(facts, in_this_si=change)


def test_a_good_row_is_paid() -> None:
    """Nothing speaks against it; the name is compared, not its spelling in capitals."""
    assert Facts().judge() is None


@pytest.mark.parametrize(("reason", "where", "change"), FAULTS)
def test_each_fault_has_its_reason(reason: CreditReason, where: str, change: dict[str, Any]) -> None:
    """One fault, one reason."""
    assert reason is spoil(Facts(), where, change).judge()


@pytest.mark.parametrize(("first", "second"), list(combinations(FAULTS, 2)), ids=lambda fault: fault[0].value)
def test_the_earlier_reason_is_told(
    first: tuple[CreditReason, str, dict[str, Any]], second: tuple[CreditReason, str, dict[str, Any]]
) -> None:
    """Of two faults the one that stands earlier in CreditReason is the answer."""
    facts = spoil(spoil(Facts(), *second[1:]), *first[1:])
    assert first[0] is facts.judge()


def test_the_faults_of_these_tests_are_all_there_are() -> None:
    """A new reason needs a fault here, and guidance for the ministry in both languages."""
    assert list(CreditReason) == [reason for reason, _, _ in FAULTS]
    assert set(CreditReason) == set(GUIDANCE)
    assert all(" / " in told for told in GUIDANCE.values())


@pytest.mark.parametrize(
    "missing", [{"nik_index": None}, {"holder_name": None}, {"stage": None}, {"months": ()}, {"amount_idr": None}]
)
def test_a_row_without_a_part_is_invalid(missing: dict[str, Any]) -> None:
    """Whatever the reader could not make out stops the credit."""
    assert Facts(row=replace(ROW, **missing)).judge() is CreditReason.ROW_INVALID


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (AccountState.PENDING_ID, None),
        (AccountState.ACTIVE, None),
        (AccountState.BLOCKED, CreditReason.ACCOUNT_NOT_ACTIVE),
        (AccountState.CLOSED, CreditReason.ACCOUNT_NOT_ACTIVE),
    ],
)
def test_the_account_must_be_alive(state: AccountState, expected: CreditReason | None) -> None:
    """A family that is not identified yet is paid; a blocked or closed account is not."""
    assert expected is Facts(account=replace(ACCOUNT, state=state)).judge()


@pytest.mark.parametrize("before", ["2026-T4", "2026-10", "2026-12"])
def test_a_stage_or_any_month_of_it_is_paid_once(before: str) -> None:
    """One month that was paid before is enough, and only for the same programme."""
    assert Facts(paid={"SEMBAKO": {before}}).judge() is CreditReason.ALREADY_PAID
    assert Facts(in_this_si={"SEMBAKO": {before}}).judge() is CreditReason.DUP_ROW
    assert Facts(paid={"PKH": {before}}, in_this_si={"PKH": {before}}).judge() is None


def test_another_stage_is_paid() -> None:
    """What was paid for other months does not stand in the way."""
    assert Facts(paid={"SEMBAKO": {"2026-T3", "2026-07", "2026-08", "2026-09"}}).judge() is None
