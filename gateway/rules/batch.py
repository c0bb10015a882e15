"""The life of a KPM list and of a standing instruction, as tables: made by one person, decided by another. Pure."""

from __future__ import annotations

from enum import StrEnum


class BatchState(StrEnum):
    """Where a list stands."""

    PROPOSED = "PROPOSED"
    OPENING = "OPENING"  # approved; accounts are being opened
    DONE = "DONE"
    REJECTED = "REJECTED"


class BatchEvent(StrEnum):
    """What may happen to a list."""

    APPROVE = "approve"
    FINISH = "finish"
    REJECT = "reject"


B, E = BatchState, BatchEvent
BATCH_TRANSITIONS = {
    (B.PROPOSED, E.APPROVE): B.OPENING,
    (B.OPENING, E.APPROVE): B.OPENING,  # resumed after a crash, by the same checker
    (B.OPENING, E.FINISH): B.DONE,
    (B.PROPOSED, E.REJECT): B.REJECTED,
}


class SiState(StrEnum):
    """Where a standing instruction stands."""

    MISMATCH = "MISMATCH"  # its sum or count is not the SP2D's: nothing of it is ever credited
    PROPOSED = "PROPOSED"
    POSTING = "POSTING"
    POSTED = "POSTED"
    REJECTED = "REJECTED"


class SiEvent(StrEnum):
    """What may happen to a standing instruction."""

    APPROVE = "approve"
    FINISH = "finish"
    REJECT = "reject"


SI_TRANSITIONS = {
    (SiState.PROPOSED, SiEvent.APPROVE): SiState.POSTING,
    (SiState.POSTING, SiEvent.APPROVE): SiState.POSTING,  # resumed after a crash
    (SiState.POSTING, SiEvent.FINISH): SiState.POSTED,
    (SiState.PROPOSED, SiEvent.REJECT): SiState.REJECTED,
    (SiState.MISMATCH, SiEvent.REJECT): SiState.REJECTED,
}
