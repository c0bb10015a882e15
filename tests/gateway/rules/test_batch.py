"""Twin of gateway.rules.batch."""

from __future__ import annotations

from gateway.rules.batch import (
    BATCH_TRANSITIONS,
    SI_TRANSITIONS,
    BatchEvent,
    BatchState,
    SiEvent,
    SiState,
)
from gateway.rules.transitions import move, sources


def test_an_approved_list_is_opened_and_done() -> None:
    """Approval may be said again while accounts are being opened; then the list is done for good."""
    state = move("list", BATCH_TRANSITIONS, BatchState.PROPOSED, BatchEvent.APPROVE)
    assert state is BatchState.OPENING
    assert state is move("list", BATCH_TRANSITIONS, state, BatchEvent.APPROVE)
    assert move("list", BATCH_TRANSITIONS, state, BatchEvent.FINISH) is BatchState.DONE


def test_a_list_is_rejected_only_before_it_is_approved() -> None:
    """Nothing half opened is rejected, and what ended does not move again."""
    assert ["PROPOSED"] == sources(BATCH_TRANSITIONS, BatchEvent.REJECT)
    assert {BatchState.PROPOSED, BatchState.OPENING} == {start for start, _ in BATCH_TRANSITIONS}


def test_an_instruction_that_does_not_match_its_sp2d_is_never_approved() -> None:
    """MISMATCH leads to REJECTED and nowhere else."""
    ways = {event: end for (start, event), end in SI_TRANSITIONS.items() if start is SiState.MISMATCH}
    assert {SiEvent.REJECT: SiState.REJECTED} == ways


def test_an_instruction_is_posted_only_through_approval() -> None:
    """POSTED is reached from POSTING alone, POSTING by approval alone; ended instructions stay so."""
    ways = {(start, event) for (start, event), end in SI_TRANSITIONS.items() if end is SiState.POSTED}
    assert {(SiState.POSTING, SiEvent.FINISH)} == ways
    assert ["POSTING", "PROPOSED"] == sources(SI_TRANSITIONS, SiEvent.APPROVE)
    assert {SiState.POSTED, SiState.REJECTED} == set(SiState) - {start for start, _ in SI_TRANSITIONS}
