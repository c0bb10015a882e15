"""The proofs a bank can be asked for at any time: the ledger, its papers (SP2D, SI, returns, partners), and the audit chain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.operations.bank import Bank, reading
from gateway.store import audit, decided
from ledger.chart import Control
from ledger.proof import Check, control_balance, prove

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

ROOTS_FILE = "audit-roots.jsonl"


async def prove_ledger(bank: Bank) -> list[Check]:
    """Every check of the book, and that its control accounts are what SP2D, SI, partners and returns say."""
    async with reading(bank) as connection:
        checks = await prove(connection)
        for name, statement in PAPER_CHECKS.items():
            wrong, first = (await connection.execute(text(statement))).one()
            checks.append(Check(name, not wrong, "holds" if not wrong else f"{wrong} disagree, the first: {first}"))
        checks.append(await _equal(connection, "RPL account = returns at RPL", Control.RPL, RPL_OPEN))
        checks.append(
            await _equal(
                connection, "ATM settlement = approved less reversed at ATMs", Control.ATM_SETTLEMENT, PAID["ATM"]
            )
        )
        checks.append(
            await _equal(connection, "agents' payable = approved less reversed", Control.AGENT_PAYABLE, PAID["AGENT"])
        )
        checks.append(
            await _equal(
                connection, "e-Warong payable = approved less reversed", Control.EWARONG_PAYABLE, PAID["EWARONG"]
            )
        )
        return checks


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
            count, wrong = await audit.verify_stream(connection, bank.audit_mac, stream, head)
            checks.append(Check(f"chain {stream}", wrong is None, wrong or f"{count} events hold"))
        checks.append(await _check_authorisations(connection))
        checks.append(_check_roots(bank, bank.settings.data_dir / ROOTS_FILE, heads))
    if all(check.ok for check in checks):
        _write_roots(bank, bank.settings.data_dir / ROOTS_FILE, heads)
    return checks


async def _equal(connection: AsyncConnection, name: str, control: Control, statement: Any) -> Check:  # noqa: ANN401 - text()
    booked = await control_balance(connection, control)
    said = int((await connection.execute(statement)).scalar_one() or 0)
    return Check(name, booked == said, f"booked Rp{booked:,}, papers say Rp{said:,}")


async def _check_authorisations(connection: AsyncConnection) -> Check:
    """Every authorisation is in a chain, exactly as it was decided, and every chained one is there."""
    rows, wrong = await decided.verify(connection)
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
        expected = root.pop("mac")
    except (ValueError, KeyError, TypeError, AttributeError):  # not JSON, no MAC, not an object
        return None
    return root if bank.audit_mac(json.dumps(root, sort_keys=True).encode()).hex() == expected else None


def _write_roots(bank: Bank, path: Path, heads: dict[str, audit.Head]) -> None:
    root: dict[str, Any] = {"at": bank.now().isoformat(), "heads": {name: head.seq for name, head in heads.items()}}
    root["mac"] = bank.audit_mac(json.dumps(root, sort_keys=True).encode()).hex()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(root, sort_keys=True) + "\n")


PAPER_CHECKS = {
    "every SI that was credited: rows = tranches = transfers": """
        SELECT count(*), min(si_no) FROM (
            SELECT s.si_no,
                   (SELECT coalesce(sum(amount_idr), 0) FROM si_row r
                    WHERE r.si_id = s.id AND r.state = 'TOPUP_SUKSES') AS rows,
                   (SELECT coalesce(sum(amount_idr), 0) FROM tranche t WHERE t.si_id = s.id) AS tranches,
                   (SELECT coalesce(sum(amount_idr), 0) FROM transfer x
                    WHERE x.source = 'si' AND x.source_id = s.id AND x.kind = 'CREDIT') AS transfers
            FROM si s) c WHERE rows <> tranches OR tranches <> transfers
    """,
    "no SI credited more than its SP2D, and each was funded with exactly that": """
        SELECT count(*), min(si_no) FROM (
            SELECT s.si_no, s.state, p.amount_idr AS sp2d,
                   coalesce((SELECT sum(amount_idr) FROM transfer x WHERE x.source = 'si' AND x.source_id = s.id
                             AND x.kind = 'FUND'), 0) AS funded,
                   coalesce((SELECT sum(amount_idr) FROM tranche t WHERE t.si_id = s.id), 0) AS credited
            FROM si s JOIN sp2d p ON p.no = s.sp2d_no) c
        WHERE credited > sp2d OR funded <> (CASE WHEN state IN ('POSTING', 'POSTED') THEN sp2d ELSE 0 END)
    """,
    "one account, one live card a family": """
        SELECT count(*), min(account_id)::text FROM (
            SELECT account_id FROM card WHERE state NOT IN ('LOST', 'STOLEN', 'REPLACED', 'CLOSED')
            GROUP BY account_id HAVING count(*) > 1) c
    """,
}
RPL_OPEN = text("SELECT sum(amount_idr) FROM treasury_return WHERE state = 'AT_RPL'")
PAID = {
    channel: text(f"""
        SELECT sum(amount_idr - reversed_idr) FROM authorisation
        WHERE reason = 'APPROVED' AND kind IN ('CASH', 'PURCHASE', 'COMPLETION') AND channel = '{channel}'
    """)
    for channel in ("ATM", "AGENT", "EWARONG")
}
EQUATION = text("""
    SELECT sum(amount_idr) FILTER (WHERE kind = 'CREDIT') AS credited_idr,
           coalesce(sum(amount_idr) FILTER (WHERE kind IN ('WITHDRAWAL', 'CAPTURE') AND credit / 1000 IN (3, 4)), 0)
             - coalesce(sum(amount_idr) FILTER (WHERE kind = 'REVERSAL' AND debit / 1000 IN (3, 4)), 0) AS withdrawn_idr,
           coalesce(sum(amount_idr) FILTER (WHERE kind IN ('PURCHASE', 'CAPTURE') AND credit / 1000 = 5), 0)
             - coalesce(sum(amount_idr) FILTER (WHERE kind = 'REVERSAL' AND debit / 1000 = 5), 0) AS purchased_idr,
           sum(amount_idr) FILTER (WHERE kind = 'FREEZE') AS frozen_idr,
           sum(amount_idr) FILTER (WHERE kind = 'RETURN') AS returned_idr,
           (SELECT sum(available_idr + held_idr + frozen_idr) FROM purse) AS remaining_idr
    FROM transfer
""")
