"""Tests of gateway.measure.credit_kill. The run itself: tests/gateway/operations/test_credit_kill.py."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from gateway.measure.credit_kill import children_of, ledger_digest
from tests.gateway.owner import as_owner
from tests.gateway.world import credit, open_families

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

CHANGES = (
    "UPDATE tranche SET available_idr = available_idr - 1 WHERE account_id = 1",
    "UPDATE tranche SET clock_from = clock_from + 1 WHERE account_id = 1",
    "UPDATE transfer SET amount_idr = amount_idr + 1 WHERE account_id = 1",
    "UPDATE purse SET available_idr = available_idr + 1 WHERE account_id = 1",
    "UPDATE si_row SET reason = 'x' WHERE line = 2",
    "DELETE FROM transfer WHERE account_id = 1",
    """INSERT INTO transfer SELECT cell, account_id, id + 99, debit, credit, amount_idr, kind, source, source_id, tranche_id,
       corrects, business_date, posted_at FROM transfer WHERE account_id = 2""",
)
NUMBERS = (
    "UPDATE transfer SET id = id + 1000, posted_at = posted_at + interval '1 day'",
    "UPDATE transfer SET tranche_id = tranche_id + 50 WHERE tranche_id IS NOT NULL",
    "UPDATE tranche SET id = id + 50",
    "UPDATE si_row SET tranche_id = tranche_id + 50",
)


async def test_the_digest_sees_every_rupiah_and_no_number(bank: Bank, tmp_path: Path) -> None:
    """Other ids and times are the same ledger; a rupiah, a date, a reason, a transfer more or less are another."""
    await credit(bank, tmp_path, await open_families(bank, tmp_path, 3))
    url = bank.database.url.render_as_string(hide_password=False)
    before = await ledger_digest(url)
    for statement in NUMBERS:
        await as_owner(bank, statement)
    assert before == await ledger_digest(url)
    seen = {before}
    for statement in CHANGES:
        await as_owner(bank, statement)
        seen.add(await ledger_digest(url))
    assert len(CHANGES) + 1 == len(seen)


def test_children_are_found() -> None:
    """A process that lives is among its parent's; one that has ended is not."""
    with subprocess.Popen(["/bin/sleep", "30"]) as child:
        assert child.pid in children_of(os.getpid())
        child.kill()
    assert child.pid not in children_of(os.getpid())
