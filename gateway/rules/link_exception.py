"""What of a partner's messages people must look at: nothing that could not be done as it was told may pass in silence. Pure.

A request that is refused is the terminal's own affair: it was told. An advice tells of what has happened, and a reversal of money
that has come back; where the books cannot follow them, or followed them late, somebody has to speak with the partner. Refuses to
know how it is kept (gateway.store.link_exceptions) and who decides on it (gateway.operations.link_exceptions).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.rules.authorise import GIVING_BACK, DeclineReason, RequestKind

if TYPE_CHECKING:
    from gateway.rules.authorise import Decision, Original, Request, Snapshot


class ExceptionState(StrEnum):
    """Where an exception stands."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


class Finding(StrEnum):
    """Why, where the reason of the answer does not say it. The others are DeclineReason's."""

    ORIGINAL_SETTLED = (
        "ORIGINAL_SETTLED"  # given back after its day was closed with the partner: theirs must be corrected too
    )
    AID_RETURNING = "AID_RETURNING"  # given back to aid that was frozen or is gone to the treasury meanwhile
    HOLD_EXPIRED = "HOLD_EXPIRED"  # a completion of a hold that had lapsed


NOTHING_AMISS = (DeclineReason.ADVICE_DECLINED, DeclineReason.REVERSED_BEFORE)
"""Advices that move nothing and need nobody: the partner's own refusal, and what its reversal came before."""
AMISS = (DeclineReason.ORIGINAL_UNKNOWN, DeclineReason.REVERSAL_AMOUNT)


class Nothing(StrEnum):
    """Why an approved reversal moves nothing: kept with it."""

    ALREADY_REVERSED = "ALREADY_REVERSED"
    NOTHING_TAKEN = "NOTHING_TAKEN"  # the original was refused, or asked for no money


def nothing_to_reverse(original: Original) -> Nothing:
    """Which of the two it is of an original that an approved reversal gave nothing back of."""
    return Nothing.ALREADY_REVERSED if original.draws else Nothing.NOTHING_TAKEN


def exceptions_for(request: Request, snapshot: Snapshot, decision: Decision, *, advice: bool) -> tuple[str, ...]:
    """Why people must look at a message that was decided: each a DeclineReason or a Finding. Mostly none."""
    reason, original = decision.reason, snapshot.original
    if decision.replayed:
        return (reason.value,) if advice and reason is DeclineReason.KEY_REUSED else ()
    if decision.approved:
        if request.kind not in GIVING_BACK or not decision.draws or original is None:
            return ()
        settled = original.settled and request.kind is RequestKind.REVERSAL  # a refund may come weeks later
        found = ((Finding.ORIGINAL_SETTLED, settled), (Finding.AID_RETURNING, original.returning))
        return tuple(finding.value for finding, there in found if there)
    if request.kind is RequestKind.REVERSAL and reason in AMISS:
        return (reason.value,)
    if request.kind is RequestKind.REFUND:
        return (reason.value,) if reason is DeclineReason.REVERSAL_AMOUNT else ()
    if not advice or reason in NOTHING_AMISS:
        return ()
    if reason is DeclineReason.HOLD_AMOUNT and original is not None and original.expired:
        return (Finding.HOLD_EXPIRED.value,)
    return (reason.value,)


def settles_by_itself(request: Request, snapshot: Snapshot, decision: Decision) -> bool:
    """Whether what people were to look at is over without them: nothing moved, and nothing has to.

    The original of a reversal came after it, or the reversal of an advice that could not be posted.
    """
    if decision.reason is DeclineReason.REVERSED_BEFORE:
        return True
    original = snapshot.original
    full = request.kind is RequestKind.REVERSAL and decision.approved and request.kept_idr == 0
    return full and original is not None and not original.draws
