"""What a trace is told: papers, rows, tranches, transfers with what caused them, settlements, returns and corrections. Pure.

No name, NIK or card number is among it. gateway.store.trace reads it, gateway.rules.trace joins it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ledger.chart import Control, is_purse

if TYPE_CHECKING:
    from datetime import date, datetime

CHANNEL_OF = {Control.ATM_SETTLEMENT: "ATM", Control.AGENT_PAYABLE: "AGENT", Control.EWARONG_PAYABLE: "EWARONG"}


class Paper(NamedTuple):
    """An SI with its SP2D."""

    si_id: int
    si_no: str
    state: str
    file_name: str
    file_sha256: str
    rows: int
    amount_idr: int
    maker: str
    checker: str | None
    reason: str | None
    business_date: date
    sp2d_no: str
    sp2d_date: date
    sp2d_amount_idr: int


class Row(NamedTuple):
    """A row of an SI's list, decided or waiting. TRANCHE: (cell, account id, tranche id) where it was credited."""

    si_id: int
    line: int
    account_number: str | None
    programme: str | None
    stage: str | None
    amount_idr: int | None
    state: str
    reason: str | None
    tranche: tuple[int, int, int] | None


class TrancheFacts(NamedTuple):
    """A tranche as it stands."""

    cell: int
    account_id: int
    id: int
    account_number: str
    programme: str
    stage: str
    si_id: int
    si_line: int
    credited_on: date
    available_from: date
    amount_idr: int
    available_idr: int
    held_idr: int
    frozen_idr: int
    returned_idr: int
    state: str

    @property
    def key(self) -> tuple[int, int, int]:
        """What it is found by."""
        return self.cell, self.account_id, self.id


class Cause(NamedTuple):
    """The authorisation behind a transfer."""

    kind: str
    channel: str
    acquirer: str
    terminal: str
    merchant: str | None
    link: str
    rrn: str | None
    stan: str
    reason: str
    response_code: str
    asked_idr: int
    settlement_date: date
    message_key: bytes
    original_key: bytes | None
    pan_masked: str | None
    stand_in: int | None = None  # why it was answered while the books were away; None: it was not


class Movement(NamedTuple):
    """A transfer of a tranche. CAUSE: its authorisation, where one caused it."""

    cell: int
    account_id: int
    tranche_id: int
    id: int
    debit: int
    credit: int
    amount_idr: int
    kind: str
    source: str
    source_id: int
    corrects: int | None
    business_date: date
    posted_at: datetime
    cause: Cause | None

    @property
    def control(self) -> int | None:
        """The control account on its other side (ledger.chart.Control), None between a purse's own phases."""
        for account in (self.debit, self.credit):
            if not is_purse(account):
                return account // 1_000
        return None

    @property
    def settled_as(self) -> tuple[str, date, str] | None:
        """Link, partner's day and channel it is settled under; None where no partner is concerned."""
        channel = CHANNEL_OF.get(self.control)  # type: ignore[call-overload]  # None and other controls have none
        if self.cause is None or channel is None:
            return None
        return self.cause.link, self.cause.settlement_date, channel


class Settlement(NamedTuple):
    """What became of a link's day and channel."""

    id: int
    state: str
    evidence: str | None
    paid_on: date | None


class Return(NamedTuple):
    """A return to the treasury with its evidence."""

    id: int
    amount_idr: int
    tranches: int
    rpl_date: date
    rpl_evidence: str
    state: str
    returned_on: date | None
    deposit_evidence: str | None
    ntpn: str | None


class Correction(NamedTuple):
    """Why a wrong transfer was taken back, by whom, and the day it belongs to."""

    id: int
    reason: str
    maker: str
    checker: str
    value_date: date


class Opening(NamedTuple):
    """What a tranche was when the journal at hand begins, where its months were detached."""

    credited_idr: int
    available_idr: int
    held_idr: int
    frozen_idr: int
    returned_idr: int


NOTHING_BEFORE = Opening(0, 0, 0, 0, 0)
