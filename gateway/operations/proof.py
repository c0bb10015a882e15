"""The proofs a bank can be asked for at any time: the ledger, its papers (SP2D, SI, returns, partners), and the audit chain."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.operations.bank import Bank, reading
from gateway.operations.settlement import settlement_checks
from gateway.store import audit, decided, papers, partitions
from gateway.store.authorisations import ANSWERED_DAYS
from ledger import days
from ledger.chart import Control
from ledger.proof import Check, control_balance, control_balances, prove, prove_since

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

ROOTS_FILE = "audit-roots.jsonl"
ONE_DAY = timedelta(days=1)
# A reversal counts where its original stood: from this long after the detached months on every original is at hand.
DETACHED_ORIGINALS = timedelta(days=ANSWERED_DAYS + 3)


async def prove_ledger(bank: Bank, *, incremental: bool = False) -> list[Check]:
    """Every check of the book, and that its control accounts are what SP2D, SI, partners and returns say.

    INCREMENTAL: what came after the last closed day, on its checkpoints; the whole proof where no day was ever closed.
    """
    async with reading(bank) as connection:
        closed = await days.last_closed(connection) if incremental else None
        if closed is None:
            checks = await prove(connection)
            rpl = await control_balance(connection, Control.RPL)
            checks += await papers.check_all(connection, rpl)
            start = await days.detached_through(connection)
            return checks + await settlement_checks(connection, None if start is None else start + DETACHED_ORIGINALS)
        checks = await prove_since(connection, closed)
        rpl = (await control_balances(connection, closed))[Control.RPL]
        checks += await papers.check_since(connection, closed, rpl)
        return checks + await settlement_checks(connection, closed + ONE_DAY)


async def proven_from(bank: Bank) -> date | None:
    """The closed day on which an incremental proof stands; None where no day was ever closed."""
    async with reading(bank) as connection:
        return await days.last_closed(connection)


async def equation(bank: Bank) -> dict[str, int]:
    """What was credited, withdrawn, purchased, frozen and returned, and what remains, in rupiah, reversals netted."""
    async with reading(bank) as connection:
        row = (await connection.execute(EQUATION)).one()
        return {name: int(value or 0) for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name


async def verify_audit(bank: Bank) -> list[Check]:
    """Walk every chain, check each authorisation against the chain, and each head against the roots kept outside."""
    checks = []
    async with reading(bank) as connection:
        heads = await audit.heads(connection)
        for stream, head in heads.items():
            count, wrong = await audit.verify_stream(connection, bank.audit_verify, stream, head)
            checks.append(Check(f"chain {stream}", wrong is None, wrong or f"{count} events hold"))
        checks.append(await _check_authorisations(connection))
        checks.append(_check_roots(bank, bank.settings.data_dir / ROOTS_FILE, heads))
    if all(check.ok for check in checks):
        _write_roots(bank, bank.settings.data_dir / ROOTS_FILE, heads)
    return checks


async def _check_authorisations(connection: AsyncConnection) -> Check:
    """Every authorisation is in a chain, exactly as it was decided, and every chained one is there."""
    rows, wrong = await decided.verify(connection, await partitions.kept_since(connection))
    return Check("authorisations", wrong is None, wrong or f"{rows} are as they were decided")


def _check_roots(bank: Bank, path: Path, heads: dict[str, audit.Head]) -> Check:
    """No chain is shorter than it was when its head was last written outside the database."""
    if not path.exists():
        return Check("roots kept outside", ok=True, detail="none kept yet")
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        root = _root(bank, line)
        if root is None:
            return Check("roots kept outside", ok=False, detail=f"{path.name}: line {number} was changed")
        for stream, seq in root["heads"].items():
            if stream not in heads or heads[stream].seq < seq:
                now = heads[stream].seq if stream in heads else 0
                return Check(
                    "roots kept outside", ok=False, detail=f"{stream} had {seq} events on {root['at']}, now {now}"
                )
    return Check("roots kept outside", ok=True, detail="no chain was cut off")


def _root(bank: Bank, line: bytes) -> dict[str, Any] | None:
    """A root as it was written, or None where a byte of it is another."""
    try:
        root: dict[str, Any] = json.loads(line)
        expected = bytes.fromhex(root.pop("mac"))
    except (ValueError, KeyError, TypeError, AttributeError):  # not JSON, no MAC, not an object
        return None
    return root if bank.audit_verify(json.dumps(root, sort_keys=True).encode(), expected) else None


def _write_roots(bank: Bank, path: Path, heads: dict[str, audit.Head]) -> None:
    root: dict[str, Any] = {"at": bank.now().isoformat(), "heads": {name: head.seq for name, head in heads.items()}}
    root["mac"] = bank.audit_mac(json.dumps(root, sort_keys=True).encode()).hex()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(root, sort_keys=True) + "\n")


# What reversals and corrections took back is recognised by the control account it came from, or went to.
EQUATION = text("""
    SELECT coalesce(sum(amount_idr) FILTER (WHERE kind = 'CREDIT'), 0)
             - coalesce(sum(amount_idr) FILTER (WHERE kind = 'CORRECTION' AND credit / 1000 = 2), 0) AS credited_idr,
           coalesce(sum(amount_idr) FILTER (WHERE kind IN ('WITHDRAWAL', 'CAPTURE') AND credit / 1000 IN (3, 4)), 0)
             - coalesce(sum(amount_idr) FILTER (WHERE kind IN ('REVERSAL', 'CORRECTION') AND debit / 1000 IN (3, 4)), 0)
             AS withdrawn_idr,
           coalesce(sum(amount_idr) FILTER (WHERE kind IN ('PURCHASE', 'CAPTURE') AND credit / 1000 = 5), 0)
             - coalesce(sum(amount_idr) FILTER (WHERE kind IN ('REVERSAL', 'CORRECTION') AND debit / 1000 = 5), 0)
             AS purchased_idr,
           sum(amount_idr) FILTER (WHERE kind = 'FREEZE') AS frozen_idr,
           sum(amount_idr) FILTER (WHERE kind = 'RETURN') AS returned_idr,
           (SELECT sum(available_idr + held_idr + frozen_idr) FROM purse) AS remaining_idr
    FROM transfer
""")
