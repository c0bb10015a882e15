"""Tests of gateway.operations.refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import SQLAlchemyError

from gateway.operations import refusals as operations
from gateway.operations.bank import reading
from gateway.operations.proof import verify_audit
from gateway.operations.refusals import Refusals, write_refusals
from gateway.store import ceremonies
from keys.errors import KeyRefused
from keys.permissions import Operation
from keys.toolbox import Refusal

if TYPE_CHECKING:
    from gateway.operations.bank import Bank

SEALING = Refusal("audit#1", Operation.SEAL, "key audit#1 may not do SEAL")


async def test_a_refused_use_is_in_the_chain(bank: Bank) -> None:
    """Of the HSM itself: which key, what was asked, why, how often; and the chain holds."""
    audit = bank.keys.audit
    for _ in range(3):
        with pytest.raises(KeyRefused):
            bank.hsm.seal(audit, b"text", b"place")
    with pytest.raises(KeyRefused):
        bank.hsm.blind_index(audit, b"text")
    assert 4 == await write_refusals(bank)
    assert 0 == await write_refusals(bank)
    async with reading(bank) as connection:
        found = [act for act in await ceremonies.acts(connection) if act.operation == "key.refused"]
    told = {(act.actor, act.key, act.detail["refused"], act.detail["times"]) for act in found}
    assert {("hsm", "audit#1", "SEAL", 3), ("hsm", "audit#1", "BLIND_INDEX", 1)} == told
    assert all("may not do" in act.detail["reason"] for act in found)
    assert all(check.ok for check in await verify_audit(bank))


async def test_what_cannot_be_written_is_kept(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away: nothing is lost, and what came meanwhile is added."""

    def away(*_: object) -> None:
        raise SQLAlchemyError("away")

    bank.refusals.note(SEALING)
    with monkeypatch.context() as patch:
        patch.setattr(operations, "transaction", away)
        with pytest.raises(SQLAlchemyError):
            await write_refusals(bank)
    bank.refusals.note(SEALING)
    assert 2 == await write_refusals(bank)


def test_counted_by_what_differs() -> None:
    """A flood of one refusal is one entry; what was taken is gone, what is put back is there again."""
    waiting = Refusals()
    for _ in range(1000):
        waiting.note(SEALING)
    waiting.note(SEALING._replace(operation=Operation.UNSEAL))
    taken = waiting.take()
    assert [1000, 1] == [count for _, count in sorted(taken.items())]
    assert not waiting.take()
    waiting.note(SEALING)
    waiting.put_back(taken)
    assert 1002 == waiting.take().total()


def test_each_is_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """At once, with its reason."""
    Refusals().note(SEALING)
    said = capsys.readouterr()
    assert "key audit#1 may not do SEAL" in said.out + said.err
