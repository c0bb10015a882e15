"""Tests of gateway.operations.proof."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.app import run_service
from gateway.operations import dormancy, proof
from gateway.operations.instruction import Sp2d, approve, import_instruction
from gateway.operations.proof import ROOTS_FILE
from tests.gateway.owner import as_owner, one_value, tamper
from tests.gateway.street import stand_before
from tests.gateway.world import CHECKER, MAKER, activate, credit, open_families, write_si

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

LANES = "SELECT stream FROM audit_chain WHERE stream <> 'operations' ORDER BY stream LIMIT 1"


async def _busy_bank(bank: Bank, folder: Path, *, clocks: bool = True) -> None:
    """Four families: one at ATM, agent and e-Warong with a reversal, one whose aid was returned, one half way there."""
    families = await open_families(bank, folder, 4)
    wallet = await activate(bank, families[:2])
    await credit(bank, folder, families, 600_000)
    row = [
        families[0].nik,
        families[0].account_number,
        "ORANG LAIN",
        "PKH",
        "2026-T4",
        "2026-10",
        "5000",
        families[0].region,
    ]
    path = write_si(folder / "SI-2.csv", [row])
    await import_instruction(bank, MAKER, path, "SI-2", Sp2d("SP2D-2", bank.business_date, 5_000))
    await approve(bank, CHECKER, "SI-2")
    async with run_service(bank, jobs=False) as service, stand_before(bank, service, wallet, families) as street:
        card, other = wallet.cards
        codes = [
            (await street.atm.withdraw(card, 100_000)).code,
            (await street.agent.withdraw(card, 50_000)).code,
            (await street.shop.purchase(card, 30_000)).code,
            (await street.shop.purchase(other, 20_000)).code,
            (await street.atm.reverse(await street.atm.withdraw(card, 70_000), 20_000)).code,
            (await street.atm.withdraw(other, 5_000_000)).code,
        ]
    assert ["00", "00", "00", "00", "00", "51"] == codes
    if clocks:
        on = bank.business_date + timedelta(days=106)
        await dormancy.freeze_unused(bank, on, 1)
        await dormancy.debit_to_rpl(bank, on, 1)
        await dormancy.return_unused(bank, on, 1)


async def _wrong(bank: Bank) -> dict[str, str]:
    """The proofs that fail: name -> detail."""
    checks = [*await proof.prove_ledger(bank), *await proof.verify_audit(bank)]
    return {check.name: check.detail for check in checks if not check.ok}


async def test_every_proof_holds_on_a_busy_bank(bank: Bank, tmp_path: Path) -> None:
    """After lists, credits, terminals and clocks every check holds and every rupiah is explained."""
    await _busy_bank(bank, tmp_path)
    assert {} == await _wrong(bank)
    found = await proof.equation(bank)
    assert {
        "credited_idr": 2_400_000,
        "withdrawn_idr": 170_000,
        "purchased_idr": 50_000,
        "frozen_idr": 1_200_000,
        "returned_idr": 1_200_000,
        "remaining_idr": 980_000,
    } == found


async def test_an_empty_bank_is_proved(bank: Bank) -> None:
    """Nothing has happened: every check holds, and every sum is 0."""
    assert {} == await _wrong(bank)
    assert {0} == set((await proof.equation(bank)).values())


PAPERS = (
    ("tranche SET si_id = {}", "id = 1", ("2", "1"), "every SI that was credited: rows = tranches = transfers"),
    ("sp2d SET amount_idr = amount_idr {}", "no = 'SP2D-SI-1'", ("- 1", "+ 1"), "no SI credited more than its SP2D"),
    ("sp2d SET amount_idr = amount_idr {}", "no = 'SP2D-SI-1'", ("+ 1", "- 1"), "no SI credited more than its SP2D"),
    ("si SET state = {}", "si_no = 'SI-1'", ("'PROPOSED'", "'POSTED'"), "no SI credited more than its SP2D"),
    ("treasury_return SET amount_idr = amount_idr {}", "true", ("- 1", "+ 1"), "RPL account = returns at RPL"),
    ("authorisation SET reversed_idr = reversed_idr {}", "reversed_idr > 0", ("+ 1", "- 1"), "ATM settlement"),
    ("authorisation SET amount_idr = amount_idr {}", "channel = 'AGENT'", ("+ 1", "- 1"), "agents' payable"),
    ("authorisation SET reason = {}", "channel = 'EWARONG'", ("'PIN_WRONG'", "'APPROVED'"), "e-Warong payable"),
    ("purse SET available_idr = available_idr {}", "true", ("+ 1", "- 1"), "every purse equals its journal"),
)


async def test_papers_that_disagree_with_the_book_are_found(bank: Bank, tmp_path: Path) -> None:
    """A rupiah changed in a paper, an authorisation or a purse fails the check that compares it, until it is put back."""
    await _busy_bank(bank, tmp_path, clocks=False)
    on = bank.business_date + timedelta(days=106)
    await dormancy.freeze_unused(bank, on, 1)
    await dormancy.debit_to_rpl(bank, on, 1)
    assert {} == await _wrong(bank)
    for change, where, (wrong, right), check in PAPERS:
        await as_owner(bank, f"UPDATE {change.format(wrong)} WHERE {where}")
        assert any(name.startswith(check) for name in await _wrong(bank)), check
        await as_owner(bank, f"UPDATE {change.format(right)} WHERE {where}")
    assert {} == await _wrong(bank)


async def test_a_tampered_chain_is_found(bank: Bank, tmp_path: Path) -> None:
    """Edited, deleted, reordered and inserted events, a moved head and a cut-off end are each found at their place."""
    await _busy_bank(bank, tmp_path, clocks=False)
    assert {} == await _wrong(bank)
    last = await one_value(bank, "SELECT last_seq FROM audit_chain WHERE stream = 'operations'")
    await as_owner(bank, "CREATE TABLE kept AS SELECT * FROM audit_event")
    restore = ("DELETE FROM audit_event", "INSERT INTO audit_event SELECT * FROM kept")
    event, columns = "stream = 'operations' AND seq", "at, actor, operation, subject, detail, hash"
    for statements, detail in (
        ([f"UPDATE audit_event SET actor = 'someone' WHERE {event} = 3"], "event 3 (.*) was changed or moved"),
        ([f"UPDATE audit_event SET detail = replace(detail, '1', '2') WHERE {event} = 1"], "event 1 .*changed"),
        ([f"UPDATE audit_event SET at = at + interval '1 microsecond' WHERE {event} = 2"], "event 2 .*changed"),
        ([f"DELETE FROM audit_event WHERE {event} = 4"], "event 4 is missing"),
        ([f"DELETE FROM audit_event WHERE {event} = {last}"], f"ends at event {last - 1}, its head says {last}"),
        ([f"UPDATE audit_event SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE {event} IN (2, 3)",
          f"UPDATE audit_event SET seq = -seq WHERE {event} < 0"], "event 2 .*moved"),
        ([f"INSERT INTO audit_event SELECT stream, {last + 1}, {columns} FROM audit_event WHERE {event} = {last}"],
         f"event {last + 1} .*moved"),
    ):  # fmt: skip
        await tamper(bank, "audit_event", *statements)
        wrong = await _wrong(bank)
        assert ["chain operations"] == list(wrong)
        assert re.search(detail, wrong["chain operations"])
        await tamper(bank, "audit_event", *restore)
        assert {} == await _wrong(bank)
    await as_owner(bank, "UPDATE audit_chain SET last_hash = decode('00', 'hex') WHERE stream = 'operations'")
    assert ["chain operations"] == list(await _wrong(bank))


async def test_a_changed_authorisation_is_found(bank: Bank, tmp_path: Path) -> None:
    """Every authorisation is compared with the chain: changed, removed, added or unchained ones are told by number."""
    await _busy_bank(bank, tmp_path, clocks=False)
    assert {} == await _wrong(bank)
    await as_owner(bank, "CREATE TABLE kept AS SELECT * FROM authorisation")
    number = await one_value(bank, "SELECT id FROM authorisation WHERE reason = 'INSUFFICIENT_FUNDS'")
    for change, detail in (
        (f"UPDATE authorisation SET response_code = '00' WHERE id = {number}", f"authorisation {number} was changed"),
        (f"UPDATE authorisation SET terminal = 'OTHER' WHERE id = {number}", f"authorisation {number} was changed"),
        (f"DELETE FROM authorisation WHERE id = {number}", f"authorisation {number} was removed"),
        (f"UPDATE authorisation SET id = 777777 WHERE id = {number}", f"authorisation {number} was removed"),
        (ADDED.format(number=number), "authorisation 777777 is in no chain"),
    ):
        await as_owner(bank, change)
        assert {"authorisations": detail} == await _wrong(bank)
        await as_owner(bank, "DELETE FROM authorisation")
        await as_owner(bank, "INSERT INTO authorisation SELECT * FROM kept")
        assert {} == await _wrong(bank)
    stream = await one_value(bank, LANES)
    await tamper(bank, "audit_event", f"DELETE FROM audit_event WHERE stream = '{stream}'")
    await as_owner(bank, "DELETE FROM audit_chain WHERE stream = :stream", stream=stream)
    wrong = await _wrong(bank)
    assert {"authorisations", "roots kept outside"} == set(wrong)
    assert f"{stream} had " in wrong["roots kept outside"]


async def _cut_off(bank: Bank, events: int) -> None:
    """Remove the newest events and set the head back, as someone with the whole database could."""
    last = await one_value(bank, "SELECT last_seq FROM audit_chain WHERE stream = 'operations'")
    await tamper(bank, "audit_event", f"DELETE FROM audit_event WHERE stream = 'operations' AND seq > {last - events}")
    await as_owner(
        bank,
        "UPDATE audit_chain c SET last_seq = e.seq, last_hash = e.hash FROM audit_event e "
        "WHERE c.stream = 'operations' AND e.stream = c.stream AND e.seq = :seq",
        seq=last - events,
    )


async def test_a_cut_off_chain_is_found_by_the_roots_kept_outside(bank: Bank, tmp_path: Path) -> None:
    """A consistent shorter chain holds by itself; the roots in the data folder say it was longer."""
    await open_families(bank, tmp_path, 1)
    roots = bank.settings.data_dir / ROOTS_FILE
    assert not roots.exists()
    assert {} == await _wrong(bank)
    assert 1 == len(roots.read_text().splitlines())
    await _cut_off(bank, 2)
    wrong = await _wrong(bank)
    assert ["roots kept outside"] == list(wrong)
    assert "operations had " in wrong["roots kept outside"]
    assert 1 == len(roots.read_text().splitlines())


async def test_changed_roots_are_found(bank: Bank, tmp_path: Path) -> None:
    """A root that was edited, or is no root at all, fails the check in one line that says where."""
    await open_families(bank, tmp_path, 1)
    assert {} == await _wrong(bank)
    assert {} == await _wrong(bank)
    roots = bank.settings.data_dir / ROOTS_FILE
    good = roots.read_bytes()
    first, second = good.splitlines()
    lower = json.loads(second)
    lower["heads"]["operations"] -= 1
    for line in (
        json.dumps(lower).encode(),
        b"not json",
        b"{}",
        b"[]",
        b"\xff",
        second.replace(b'"mac": "', b'"mac": "0'),
    ):
        roots.write_bytes(first + b"\n" + line + b"\n")
        assert {"roots kept outside": f"{ROOTS_FILE}: line 2 was changed"} == await _wrong(bank)
    roots.write_bytes(good)
    assert {} == await _wrong(bank)


ADDED = """
    INSERT INTO authorisation SELECT (r).* FROM (
        SELECT jsonb_populate_record(a, '{{"id": 777777, "message_key": "another"}}') AS r
        FROM authorisation a WHERE id = {number}
    ) x
"""
