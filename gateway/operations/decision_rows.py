"""What a group's decisions are written as: transfers of the journal, rows of authorisation, exceptions for people.

Pure but for its types: says what is to be written, and leaves writing to gateway.store. Read next: authorise.py, which decides.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.rules.authorise import GIVING_BACK, WITH_PIN, RequestKind
from gateway.rules.link_exception import nothing_to_reverse
from gateway.rules.purse import Channel
from gateway.store.authorisations import NewAuthorisation
from gateway.store.link_exceptions import NewException
from ledger.chart import Control
from ledger.posting import Account, Kind, Source, Transfer, capture, hold, release, reverse, spend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.authorise import Keyed, Outcome
    from gateway.rules.authorise import Decision, Request
    from gateway.store.authorisations import Loaded

OWED_TO = {
    Channel.ATM: Control.ATM_SETTLEMENT,
    Channel.AGENT: Control.AGENT_PAYABLE,
    Channel.EWARONG: Control.EWARONG_PAYABLE,
}


class Decided(NamedTuple):
    """One decided member, until it is written. FIRST and END: which of the group's transfers are its own."""

    member: Keyed
    decision: Decision
    found: Loaded
    outcome: Outcome
    id: int
    first: int
    end: int


def transfers_of(
    request: Request, decision: Decision, found: Loaded, account: Account, source: Source
) -> list[Transfer]:
    """A decision's draws as the ledger books them."""
    if request.kind is RequestKind.HOLD:
        return hold(account, decision.draws, source)
    original = found.snapshot.original
    if request.kind is RequestKind.COMPLETION:
        taken = capture(account, decision.draws, OWED_TO[Channel(found.original_channel or "")], source)
        return [*taken, *release(account, decision.released, source)]
    if request.kind in GIVING_BACK:
        if original is not None and original.kind is RequestKind.HOLD:
            return release(account, decision.draws, source)
        channel = Channel(found.original_channel or "")
        pairs = [(draw, found.original_transfers.get(draw.tranche_id)) for draw in decision.draws]
        return reverse(account, pairs, OWED_TO[channel], source)
    kind = Kind.PURCHASE if request.kind is RequestKind.PURCHASE else Kind.WITHDRAWAL
    return spend(account, decision.draws, kind, OWED_TO[request.channel], source)


def row_of(one: Decided, transfer_ids: list[int], today: date) -> NewAuthorisation:
    """The row of one decided member, with the answer that a repeat will get."""
    member, decision, found, outcome = one.member, one.decision, one.found, one.outcome
    request, origin = member.command.request, member.command.origin
    told = ""
    if outcome.balances is not None:
        told = ',"balances":{' + ",".join([f'"{purse}":{amount}' for purse, amount in outcome.balances.items()]) + "}"
    if outcome.expiring is not None:
        told += f',"expiring":["{outcome.expiring.on}",{outcome.expiring.amount_idr}]'
    if outcome.chip_answer is not None and member.command.card is not None and member.command.card.chip is not None:
        told += f',"chip":"{member.command.card.chip.mark}"'
        if outcome.chip_answer.script is not None:
            told += f',"script":"{outcome.chip_answer.script.script}"'
    if outcome.stand_in is not None:
        told += f',"stand_in":{outcome.stand_in}'
    if outcome.statement:
        told += ',"statement":' + json.dumps([[str(on), kind, amount] for on, kind, amount in outcome.statement])
    amount_idr = request.amount_idr
    if outcome.approved_idr is not None:
        told += f',"asked":{amount_idr}'
        amount_idr = outcome.approved_idr
    original = found.snapshot.original
    if request.kind is RequestKind.REVERSAL and decision.approved and not decision.draws and original is not None:
        told += f',"found":"{nothing_to_reverse(original)}"'
    approval = "null" if outcome.approval_code is None else f'"{outcome.approval_code}"'
    amounts = [draw.amount_idr for draw in decision.draws]
    held = request.kind is RequestKind.HOLD and bool(decision.draws)
    # What takes back or completes is booked, counted and settled where its original stood; its message need not repeat it.
    channel = str(request.channel if request.kind in WITH_PIN else found.original_channel or request.channel)
    return NewAuthorisation(
        member.cell, one.id, found.account_id, found.card_id, origin.link, str(request.kind), member.message_key,
        request.content_digest, member.original_key, origin.mti, channel, request.mcc, origin.terminal,
        origin.merchant, origin.acquirer, origin.stan, origin.transmitted, origin.rrn, amount_idr,
        str(decision.reason), outcome.response_code, f'{{"approval_code":{approval}{told}}}',
        [draw.tranche_id for draw in decision.draws], [draw.programme for draw in decision.draws],
        amounts, transfer_ids, today, max(today, origin.settlement_date or today), list(decision.limits.evaluated),
        decision.limits.decided_by, [0] * len(amounts) if request.kind in GIVING_BACK else amounts,
        today + timedelta(days=request.hold_days) if held else None,
    )  # fmt: skip


def exceptions_of(
    member: Keyed, found: Loaded, reasons: Sequence[str], number: int | None, today: date
) -> list[NewException]:
    """What people must look at of one message. NUMBER: of its authorisation, or of the one that stands under its key."""
    request, origin, original = member.command.request, member.command.origin, found.snapshot.original
    channel = str(request.channel if request.kind in WITH_PIN else found.original_channel or request.channel)
    taken = None if original is None else original.taken_idr
    return [
        NewException(
            reason, origin.link, today, member.cell, found.account_id, found.card_id, number, found.original_id,
            member.message_key, request.content_digest, member.original_key, origin.mti, str(request.kind), channel,
            origin.acquirer, origin.terminal, origin.stan, origin.transmitted, origin.rrn, request.amount_idr, taken,
            member.command.why,
        )
        for reason in reasons
    ]  # fmt: skip


def columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Rows as one list a column."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {name: [] for name in names}
