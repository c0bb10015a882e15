"""The posting rules, pure: what a credit, a debit, a hold, a reversal, a freeze and a return are as transfers.

A transfer takes one amount from one account and gives it to another, so an unbalanced entry cannot be written down. Each
transfer on a purse names the tranche it concerns: the rupiah can be followed, and a reversal goes back where it came from.
Writing them is ledger.book's work. Refuses to know PostgreSQL, clocks and banks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ledger.chart import Control, Phase, control_account, is_purse, purse_account, purse_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date


class Kind(StrEnum):
    """What a transfer is, as an auditor reads it."""

    FUND = "FUND"  # SP2D money reaches the programme's account at the bank
    CREDIT = "CREDIT"  # top-up of a family
    WITHDRAWAL = "WITHDRAWAL"
    PURCHASE = "PURCHASE"
    REVERSAL = "REVERSAL"
    HOLD = "HOLD"
    RELEASE = "RELEASE"
    CAPTURE = "CAPTURE"
    FREEZE = "FREEZE"  # pembekuan saldo
    UNFREEZE = "UNFREEZE"
    TO_RPL = "TO_RPL"  # pendebetan ke RPL
    RETURN = "RETURN"  # setor ke kas negara
    CORRECTION = "CORRECTION"  # takes back a wrong transfer, in an open day
    SETTLE = "SETTLE"  # what is owed to a partner is paid


CORRECTABLE = frozenset({Kind.CREDIT, Kind.WITHDRAWAL, Kind.PURCHASE, Kind.CAPTURE})


class PostingError(ValueError):
    """The posting asked for is not possible: an amount that is not positive, or more than there is."""


class Account(NamedTuple):
    """A family's account and the cell it lives in."""

    cell: int
    id: int


class Source(NamedTuple):
    """What caused a transfer: the table and row that explains it, and the business date it counts for."""

    name: str
    id: int
    business_date: date


class Draw(NamedTuple):
    """A part of one tranche, in rupiah."""

    tranche_id: int
    programme: int
    amount_idr: int


class Transfer(NamedTuple):
    """One row of the journal: AMOUNT_IDR from DEBIT to CREDIT (numbers of ledger.chart). ledger.book refuses what is none."""

    cell: int
    account_id: int
    debit: int
    credit: int
    amount_idr: int
    kind: Kind
    source: Source
    tranche_id: int | None = None
    corrects: int | None = None


def fund(programme: int, amount_idr: int, source: Source) -> Transfer:
    """SP2D money arrives: from the treasury to the programme's account at the bank."""
    return Transfer(
        0, 0, control_account(Control.TREASURY), control_account(Control.PROGRAMME_FUND, programme), amount_idr,
        Kind.FUND, source,
    )  # fmt: skip


def credit(account: Account, draw: Draw, source: Source) -> Transfer:
    """A family is credited with a new tranche."""
    purse = purse_account(account.id, draw.programme, Phase.AVAILABLE)
    return _on_tranche(
        account, draw, control_account(Control.PROGRAMME_FUND, draw.programme), purse, Kind.CREDIT, source
    )


def spend(account: Account, draws: Iterable[Draw], kind: Kind, to: Control, source: Source) -> list[Transfer]:
    """Cash or goods: from the purse to what the bank owes its partner."""
    owed = control_account(to)
    cell, account_id = account
    return [
        Transfer(
            cell, account_id, purse_account(account_id, programme, Phase.AVAILABLE), owed, amount, kind, source, tranche
        )
        for tranche, programme, amount in draws
    ]


def reverse(
    account: Account, draws: Iterable[tuple[Draw, int | None]], back_from: Control, source: Source
) -> list[Transfer]:
    """Give money back to the tranches it came from. Each draw comes with the id of the transfer it corrects."""
    return [
        _on_tranche(
            account, draw, control_account(back_from), purse_account(account.id, draw.programme, Phase.AVAILABLE),
            Kind.REVERSAL, source, corrects,
        )
        for draw, corrects in draws
    ]  # fmt: skip


def hold(account: Account, draws: Iterable[Draw], source: Source) -> list[Transfer]:
    """Set money aside for a purchase that will be completed."""
    return [_between_phases(account, draw, Phase.AVAILABLE, Phase.HELD, Kind.HOLD, source) for draw in draws]


def release(account: Account, draws: Iterable[Draw], source: Source) -> list[Transfer]:
    """Give a hold (or what is left of it) back to its tranches."""
    return [_between_phases(account, draw, Phase.HELD, Phase.AVAILABLE, Kind.RELEASE, source) for draw in draws]


def capture(account: Account, draws: Iterable[Draw], to: Control, source: Source) -> list[Transfer]:
    """Complete a hold: from what was set aside to what the bank owes its partner."""
    return [
        _on_tranche(
            account, draw, purse_account(account.id, draw.programme, Phase.HELD), control_account(to), Kind.CAPTURE,
            source,
        )
        for draw in draws
    ]  # fmt: skip


def freeze(account: Account, draw: Draw, source: Source) -> Transfer:
    """Freeze what is left of a tranche (pembekuan saldo)."""
    return _between_phases(account, draw, Phase.AVAILABLE, Phase.FROZEN, Kind.FREEZE, source)


def unfreeze(account: Account, draw: Draw, source: Source) -> Transfer:
    """Undo a freeze before the money has left."""
    return _between_phases(account, draw, Phase.FROZEN, Phase.AVAILABLE, Kind.UNFREEZE, source)


def to_rpl(account: Account, draw: Draw, source: Source) -> Transfer:
    """Debit frozen aid to RPL (pendebetan)."""
    frozen = purse_account(account.id, draw.programme, Phase.FROZEN)
    return _on_tranche(account, draw, frozen, control_account(Control.RPL, draw.programme), Kind.TO_RPL, source)


def return_to_treasury(programme: int, amount_idr: int, source: Source) -> Transfer:
    """Deposit from RPL at kas negara."""
    return Transfer(
        0, 0, control_account(Control.RPL, programme), control_account(Control.TREASURY), amount_idr, Kind.RETURN,
        source,
    )  # fmt: skip


def correct(wrong: Transfer, wrong_id: int, amount_idr: int, source: Source) -> Transfer:
    """Take back AMOUNT_IDR of a wrong credit or payment, naming it: from where the money went to where it came from.

    What a hold had set aside comes back available. Raises PostingError where the transfer is of another kind, or smaller.
    """
    if wrong.kind not in CORRECTABLE:
        raise PostingError(f"a {wrong.kind} is not corrected by a transfer")
    if amount_idr > wrong.amount_idr:
        raise PostingError(f"the transfer was of {wrong.amount_idr}, not of {amount_idr}")
    back_to = wrong.debit
    if is_purse(back_to):
        account_id, programme, _ = purse_parts(back_to)
        back_to = purse_account(account_id, programme, Phase.AVAILABLE)
    return Transfer(wrong.cell, wrong.account_id, wrong.credit, back_to, amount_idr, Kind.CORRECTION, source,
                    wrong.tranche_id, wrong_id)  # fmt: skip


def settle(owed: Control, net_idr: int, source: Source) -> Transfer:
    """Pay a partner what is owed; a negative NET_IDR is what the partner pays the bank. ledger.book refuses nothing at all."""
    accounts = control_account(owed), control_account(Control.PARTNER_PAID)
    debit, credited = accounts if net_idr >= 0 else accounts[::-1]
    return Transfer(0, 0, debit, credited, abs(net_idr), Kind.SETTLE, source)


def draw_oldest_first(available: Sequence[Draw], amount_idr: int) -> tuple[Draw, ...]:
    """Take AMOUNT_IDR from AVAILABLE (what each tranche has, oldest first). Raises PostingError when it is not enough.

    >>> draw_oldest_first([Draw(1, 1, 300), Draw(2, 1, 500)], 400)
    (Draw(tranche_id=1, programme=1, amount_idr=300), Draw(tranche_id=2, programme=1, amount_idr=100))
    """
    if amount_idr <= 0:
        raise PostingError(f"cannot draw {amount_idr}")
    draws = []
    left = amount_idr
    for tranche in available:
        taken = min(left, tranche.amount_idr)
        if taken > 0:
            draws.append(Draw(tranche.tranche_id, tranche.programme, taken))
            left -= taken
        if left == 0:
            return tuple(draws)
    raise PostingError(f"short by {left}")


def give_back(draws: Sequence[Draw], already_idr: int, amount_idr: int) -> tuple[Draw, ...]:
    """Which part of DRAWS a reversal of AMOUNT_IDR gives back, last drawn first, after ALREADY_IDR were given back before.

    >>> give_back([Draw(1, 1, 300), Draw(2, 1, 100)], 0, 150)
    (Draw(tranche_id=2, programme=1, amount_idr=100), Draw(tranche_id=1, programme=1, amount_idr=50))
    """
    skipped = already_idr
    left_of_each = []
    for draw in reversed(draws):
        part = min(skipped, draw.amount_idr)
        skipped -= part
        left_of_each.append(Draw(draw.tranche_id, draw.programme, draw.amount_idr - part))
    return draw_oldest_first(left_of_each, amount_idr)


def _between_phases(account: Account, draw: Draw, start: Phase, end: Phase, kind: Kind, source: Source) -> Transfer:
    return _on_tranche(
        account, draw, purse_account(account.id, draw.programme, start), purse_account(account.id, draw.programme, end),
        kind, source,
    )  # fmt: skip


def _on_tranche(
    account: Account, draw: Draw, debit: int, credited: int, kind: Kind, source: Source, corrects: int | None = None
) -> Transfer:
    return Transfer(account.cell, account.id, debit, credited, draw.amount_idr, kind, source, draw.tranche_id, corrects)
