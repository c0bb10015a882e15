"""A small bank with families, cards and money, for tests of what comes after. Everything is made by the bank's own operations."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations import card as card_operations
from gateway.operations import instruction, kpm
from gateway.operations.bank import reading
from gateway.rules.card import CardEvent
from gateway.simulator.families import write_kpm_list
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.wallet import TestCard, Wallet
from gateway.testlink import ensure_test_link, read_test_key
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.operations.instruction import SiResult

MAKER, CHECKER = "maker", "checker"
PIN = "204817"
SI_HEADER = ["NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL", "KODE_WILAYAH"]
MONTHS = ("2026-10", "2026-11", "2026-12")


@dataclass(frozen=True, slots=True)
class Holder:
    """A family with its account and card."""

    family_id: int
    nik: str
    name: str
    region: str
    account_number: str
    account_state: str
    card_id: int
    pan: Pan
    programmes: tuple[str, ...]


async def open_families(bank: Bank, folder: Path, families: int = 10, seed: int = 1) -> list[Holder]:
    """Import and approve a list without faults; every family has an account and an ordered card."""
    path = folder / f"kpm-{seed}.csv"
    write_kpm_list(path, families, seed=seed)
    summary = await kpm.import_list(bank, MAKER, path, f"SK-{seed}", bank.business_date)
    await kpm.approve(bank, CHECKER, summary.batch)
    return await holders(bank)


async def holders(bank: Bank) -> list[Holder]:
    """Every family with its newest card, by id."""
    async with reading(bank) as connection:
        rows = list(await connection.execute(HOLDERS))
    return [
        Holder(
            row.id, bank.vault.open(bytes(row.nik), table="family", row=row.id, column="nik"), row.name, row.region, row.number,
            row.state, row.card_id, Pan(bank.vault.open(bytes(row.pan), table="card", row=row.card_id, column="pan")),
            tuple(row.programmes),
        )
        for row in rows
    ]  # fmt: skip


async def activate(bank: Bank, families: list[Holder], pin: str = PIN) -> Wallet:
    """Deliver and hand over every card; every family chooses the same PIN. Returns the wallet of the simulator."""
    path = ensure_test_link(bank)
    assert path.exists()
    label, components = read_test_key(bank.settings.data_dir)
    pinpad = pinpad_of(Wallet((), label, tuple(components)))
    key = bank.hsm.find(label)
    proof = card_operations.HandOver(ktp_seen=True, kk_seen=True, mother_name="SITI")
    cards = []
    for holder in families:
        await card_operations.deliver(bank, "branch", holder.card_id, "0014")
        await card_operations.hand_over(bank, "branch", holder.card_id, proof)
        block = bytes.fromhex(pinpad.block(holder.pan, Pin(pin)))
        await card_operations.choose_pin(bank, "branch", holder.card_id, block, key)
        expires = await _expiry(bank, holder.card_id)
        cards.append(TestCard(holder.pan, Pin(pin), expires, holder.account_number, holder.name))
    return Wallet(tuple(cards), label, tuple(components))


async def choose_pin_again(bank: Bank, holder: Holder, pin: str = PIN, *, reset: bool = True) -> None:
    """At the branch: the old PIN is forgotten, and the family types a new one on the PIN pad."""
    if reset:
        await card_operations.change_state(bank, "branch", holder.card_id, CardEvent.RESET_PIN, "at the branch")
    key = bank.hsm.find(read_test_key(bank.settings.data_dir)[0])
    await card_operations.choose_pin(bank, "branch", holder.card_id, pin_block(bank, holder, Pin(pin)), key)


def pin_block(bank: Bank, holder: Holder, pin: Pin) -> bytes:
    """A PIN as the branch's PIN pad sends it."""
    label, components = read_test_key(bank.settings.data_dir)
    return bytes.fromhex(pinpad_of(Wallet((), label, tuple(components))).block(holder.pan, pin))


async def credit(
    bank: Bank, folder: Path, families: list[Holder], amount_idr: int = 600_000, programme: str = "SEMBAKO", si: str = "SI-1",
    stage: str = "2026-T4", months: tuple[str, ...] = MONTHS,
) -> SiResult:  # fmt: skip
    """Credit every family the same amount by one SI of one SP2D."""
    rows = [
        [h.nik, h.account_number, h.name, programme, stage, ",".join(months), str(amount_idr), h.region]
        for h in families
    ]
    path = write_si(folder / f"{si}.csv", rows)
    sp2d = instruction.Sp2d(f"SP2D-{si}", bank.business_date, amount_idr * len(families))
    await instruction.import_instruction(bank, MAKER, path, si, sp2d)
    return await instruction.approve(bank, CHECKER, si)


def write_si(path: Path, rows: list[list[str]]) -> Path:
    """Write an SI list."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(SI_HEADER)
        writer.writerows(rows)
    return path


async def _expiry(bank: Bank, card_id: int) -> date:
    async with reading(bank) as connection:
        found: date = (await connection.execute(EXPIRY, {"id": card_id})).scalar_one()
        return found


EXPIRY = text("SELECT expires_on FROM card WHERE id = :id")
HOLDERS = text("""
    SELECT f.id, f.nik, f.name, a.region, a.number, a.state, c.id AS card_id, c.pan,
           array(SELECT p.code FROM enrolment e JOIN programme p ON p.number = e.programme
                 WHERE e.family_id = f.id ORDER BY p.number) AS programmes
    FROM family f JOIN account a ON a.cell = f.cell AND a.id = f.id
    JOIN LATERAL (SELECT id, pan FROM card c WHERE c.cell = a.cell AND c.account_id = a.id ORDER BY id DESC LIMIT 1) c ON true
    ORDER BY f.id
""")
