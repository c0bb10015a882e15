"""What happens in offices: SI lists credited, cut off and brought twice; cards blocked and replaced; aid unblocked.

Each function is one step. An operation that is cut off is done again, as a clerk would.
"""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import text

from gateway.errors import Refused
from gateway.measure.torture import clocks, visits
from gateway.measure.torture.invariants import Violated
from gateway.measure.torture.oracle import PIN_TRIES, Key, Said, Stage, Told
from gateway.measure.torture.order import Asked
from gateway.measure.torture.town import CHECKER, MAKER, hand_over
from gateway.measure.torture.wire import CutAt
from gateway.measure.torture.world import AGAIN_S, PATIENCE
from gateway.operations import card as cards
from gateway.operations import correction, dormancy, exclusion, holds, instruction
from gateway.operations.bank import reading
from gateway.rules.card import CardEvent
from gateway.store.lane_connection import DATABASE_ERRORS, unreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sqlalchemy import TextClause

    from gateway.measure.torture.world import Member, World
    from gateway.operations.bank import Bank

Result = TypeVar("Result")
HEADER = ("NIK", "NO_REKENING", "NAMA", "PROGRAM", "TAHAP", "BULAN", "NOMINAL", "KODE_WILAYAH")
STAGE_IDR = (300_000, 600_000, 900_000, 2_700_000)
STAGES_BACK = 3
CUT_SHARE = 0.4
COMMITS_OF_AN_SI = 5
ODD_ROW_SHARE = 0.15
EXCLUDED_DAYS = (10, 60)
BESIDE_SHARE = 0.6


async def credit(world: World) -> str:
    """An SI: taken in, approved by a second person, credited; every row's outcome is the one its family would expect."""
    rows = _rows(world)
    number = f"{world.step}-{len(rows)}"
    path = world.settings.data_dir / f"si-{number}.csv"
    _write(path, [row for _, row in rows])
    amount = sum(int(row[6]) for _, row in rows)
    short = world.chance.random() < ODD_ROW_SHARE
    sp2d = instruction.Sp2d(f"SP2D-{number}", world.today, amount - short, len(rows))
    arm = dice_for_a_cut(world)
    await done(world, arm, lambda bank: _import(bank, path, f"SI-{number}", sp2d))
    if short:
        await must_refuse(world, lambda bank: instruction.approve(bank, CHECKER, f"SI-{number}"))
        return f"SI {number} of {len(rows)} rows disagrees with its SP2D"
    result = await done(world, dice_for_a_cut(world), lambda bank: _approve(bank, f"SI-{number}"))
    expected = Counter(_credit_row(world, member, row) for member, row in rows)
    credited = expected.pop("", 0)
    if (credited, dict(expected)) != (result.credited, result.reasons):
        raise Violated(f"SI {number}: credited {result.credited}, {result.reasons}; due {credited}, {dict(expected)}")
    await must_refuse(world, lambda bank: instruction.import_instruction(bank, MAKER, path, f"SI-{number}", sp2d))
    await must_refuse(world, lambda bank: instruction.approve(bank, CHECKER, f"SI-{number}"))
    await world.verify(member.number for member, _ in rows if member is not None)
    return f"SI {number}: {credited} credited, {sum(expected.values())} refused"


async def block_card(world: World) -> str:
    """A card is blocked, or a blocked one unblocked, or a locked PIN unlocked; whatever its state does not allow is refused."""
    event = world.chance.choice((CardEvent.BLOCK, CardEvent.UNBLOCK, CardEvent.UNLOCK_PIN))
    return await _change_card(world, world.some_member(), event)


async def unlock_cards(world: World) -> str:
    """A busy day at the branch: every family asks for its card to work again; who has no reason to is refused."""
    done = [
        await _change_card(world, world.members[number], event)
        for number in sorted(world.members)
        for event in (CardEvent.UNBLOCK, CardEvent.UNLOCK_PIN)
    ]
    return f"{sum(not line.endswith('refused') for line in done)} cards work again"


async def replace_card(world: World) -> str:
    """A card is lost, stolen, damaged or expired; the family gets a new one. Its money is where it was."""
    member = world.some_member()
    event = world.chance.choice((CardEvent.REPORT_LOST, CardEvent.REPORT_STOLEN, None))
    bank = world.some_process().bank
    old = world.families[member.number].cards[member.card.pan.reveal()]
    old.state = {CardEvent.REPORT_LOST: "LOST", CardEvent.REPORT_STOLEN: "STOLEN", None: "REPLACED"}[event]
    if event is not None:
        await cards.change_state(bank, CHECKER, member.card_id, event, "torture")
    new = await cards.replace(bank, CHECKER, member.card_id, "torture")
    await hand_over(world, bank, member, new.id)
    await world.verify([member.number])
    return f"family {member.number} has a new card, the old one is {old.state}"


async def unblock_aid(world: World) -> str:
    """Blocked aid of a family is opened again, with a new clock."""
    member = world.some_member()
    bank = world.some_process().bank
    summary = await dormancy.unblock(bank, MAKER, CHECKER, "torture", account_number=member.account_number)
    opened = clocks.unblock(world.families[member.number], world.today)
    if summary.tranches != opened:
        raise Violated(f"unblocked {summary.tranches} stages of family {member.number}, due {opened}")
    await world.verify([member.number])
    return f"{opened} stages of family {member.number} unblocked"


async def release_holds(world: World) -> str:
    """Holds that nobody completed in time go back."""
    summary = await holds.release_lapsed(world.some_process().bank, world.today, 0)
    released = sum(family.let_go(world.today) for family in world.real_families())
    if summary.tranches != released:
        raise Violated(f"released {summary.tranches} holds, due {released}")
    await world.verify(family.number for family in world.real_families())
    return f"{released} lapsed holds released"


async def correct_payment(world: World) -> str:
    """A payment is taken back in the office, wholly or in part, often while its terminal reverses it too."""
    original = visits.old_message(world, "CASH", "PURCHASE", "COMPLETION")
    parts = world.chance.choice((1, 1, 2, 3))
    reversal = None
    if original is not None and world.chance.random() < BESIDE_SHARE:
        reversal = visits.new_reversal(world, original)
    number = 0 if original is None else world.holder_of.get(original.said.key.pan, 0)
    if original is None or number == 0:
        return "nothing to correct"
    amount = original.said.amount_idr // parts
    values = {"stan": original.said.key.stan, "transmitted": original.said.key.transmitted, "account": number}
    transfer = await _transfer_of(world, TRANSFER_OF_MESSAGE, values)
    process, bank = world.some_process(), world.some_process().bank
    correcting = asyncio.ensure_future(_take_back(bank, world.members[number], transfer, amount))
    asked = await world.put([] if reversal is None else [(reversal, process)])
    told = Told("APPROVED" if await correcting else "REFUSED")
    key = Key("office", original.said.key.pan, str(world.step), "")
    said = Said(key, (amount,), "CORRECTION", "", "", "", amount, original=original.said.key)
    await world.settle(asked, beside=[Asked(said, told)])
    return f"correction of {original.said.key.stan} by Rp{amount:,} {told.reason}, beside {reversal}"


async def correct_credit(world: World) -> str:
    """A part of a credit was a mistake and goes back to the programme, as far as it is still there."""
    member, place = world.some_member(), world.chance.randrange(3)
    family = world.families[member.number]
    parts = world.chance.choice((1, 3, 10))
    if not family.stages:
        return "no credit to correct"
    stage = family.stages[-1 - place % len(family.stages)]
    amount = stage.amount_idr // parts
    values = {"programme": stage.programme, "stage": stage.name, "account": member.number}
    transfer = await _transfer_of(world, TRANSFER_OF_STAGE, values)
    due = amount <= min(stage.available_idr, stage.amount_idr - stage.corrected_idr)
    if await _take_back(world.some_process().bank, member, transfer, amount) != due:
        raise Violated(f"the correction of {stage.programme} {stage.name} of family {member.number} is due: {due}")
    if due:
        stage.available_idr -= amount
        stage.corrected_idr += amount
        family.transfers += 1
    await world.verify([member.number])
    return f"correction of a credit of family {member.number} by Rp{amount:,}: {due}"


async def exclude(world: World) -> str:
    """A family is put on the exclusion list for some time: it is credited nothing."""
    member = world.some_member()
    until = world.today + dt.timedelta(days=world.chance.randint(*EXCLUDED_DAYS))
    path = world.settings.data_dir / f"exclusion-{world.step}.csv"
    path.write_text(
        f"NIK;ALASAN;MULAI;SAMPAI\n{member.nik};torture;{world.today:%d-%m-%Y};{until:%d-%m-%Y}\n", encoding="utf-8"
    )
    await exclusion.load_exclusions(world.some_process().bank, MAKER, path)
    member.excluded.append((world.today, until))
    return f"family {member.number} is excluded until {until}"


async def _change_card(world: World, member: Member, event: CardEvent) -> str:
    card = world.families[member.number].cards[member.card.pan.reveal()]
    allowed = {CardEvent.BLOCK: "ACTIVE", CardEvent.UNBLOCK: "BLOCKED", CardEvent.UNLOCK_PIN: "PIN_LOCKED"}
    changed = f"{event.value} of family {member.number}'s card"

    def change(bank: Bank) -> Awaitable[object]:
        return cards.change_state(bank, CHECKER, member.card_id, event, "torture")

    if card.state != allowed[event]:
        await must_refuse(world, change)
        return f"{changed} refused"
    await change(world.some_process().bank)
    card.state = "BLOCKED" if event is CardEvent.BLOCK else "ACTIVE"
    if event is not CardEvent.BLOCK:
        card.tries = PIN_TRIES
    return changed


async def _transfer_of(world: World, statement: TextClause, values: dict[str, Any]) -> int:
    """The transfer that an officer finds; 0: there is none."""
    async with reading(world.home) as connection:
        return int((await connection.execute(statement, values)).scalar() or 0)


async def _take_back(bank: Bank, member: Member, transfer: int, amount_idr: int) -> bool:
    """Whether it was taken back, not refused."""
    try:
        await correction.take_back(bank, MAKER, CHECKER, member.account_number, transfer, "torture", amount_idr)
    except Refused:
        return False
    return True


async def _import(bank: Bank, path: Path, si_no: str, sp2d: instruction.Sp2d) -> None:
    """Take it in; one that was cut off after its commit is there already."""
    try:
        await instruction.import_instruction(bank, MAKER, path, si_no, sp2d)
    except Refused as error:
        if "imported before" not in str(error):
            raise


async def _approve(bank: Bank, si_no: str) -> instruction.SiResult:
    """Approve, or take up again; one that was cut off after its last commit is done."""
    try:
        return await instruction.approve(bank, CHECKER, si_no)
    except Refused:
        found = await instruction.result(bank, CHECKER, si_no)
        if found.status != "POSTED":
            raise
        return found


def dice_for_a_cut(world: World) -> tuple[int, CutAt] | None:
    """At which commit an operation is cut off, and where; None: it is not."""
    number, at = world.chance.randint(1, COMMITS_OF_AN_SI), world.chance.choice(tuple(CutAt))
    return (number, at) if world.chance.random() < CUT_SHARE else None


async def done(world: World, cut: tuple[int, CutAt] | None, work: Callable[[Bank], Awaitable[Result]]) -> Result:
    """Do it at some process; where the connection is cut at a commit, again at any."""
    process = world.some_process()
    if cut is not None:
        process.wire.cut_commit(*cut)
    try:
        for attempt in range(PATIENCE):
            try:
                return await work(world.processes[attempt % len(world.processes)].bank if attempt else process.bank)
            except DATABASE_ERRORS as error:
                if not unreachable(error):
                    raise
                await asyncio.sleep(AGAIN_S)
        raise Violated("an operation could not be done again")
    finally:
        if cut is not None and not process.wire.spare_commits():
            world.crashes[f"cut {cut[1].value}"] += 1


async def must_refuse(world: World, work: Callable[[Bank], Awaitable[object]]) -> None:
    """What is wrong to do is refused, whoever asks."""
    try:
        await work(world.some_process().bank)
    except Refused:
        return
    raise Violated("something was done that must be refused")


def _rows(world: World) -> list[tuple[Member | None, list[str]]]:
    """Rows of an SI: some families, one programme and stage; and among them what should not be there."""
    chance = world.chance
    programme = chance.choice(sorted(world.programmes))
    months = (world.today.year - 2026) * 12 + world.today.month - 1
    number = max(0, months // 3 - chance.randrange(STAGES_BACK)) if chance.random() < CUT_SHARE else months // 3
    year, quarter = 2026 + number // 4, number % 4 + 1
    names = ",".join(f"{year}-{month:02d}" for month in range(quarter * 3 - 2, quarter * 3 + 1))
    rows: list[tuple[Member | None, list[str]]] = []
    for member in [world.members[one] for one in sorted(world.members) if chance.random() < 0.5]:  # noqa: PLR2004 half
        row = [member.nik, member.account_number, member.name, programme, f"{year}-T{quarter}", names,
               str(chance.choice(STAGE_IDR)), member.region]  # fmt: skip
        odd = chance.choice(("twice", "name", "account", "nik")) if chance.random() < ODD_ROW_SHARE else ""
        if odd == "twice":
            rows.append((member, list(row)))
        elif odd == "name":
            row[2] = "SOMEBODY ELSE"
        elif odd == "account":
            row[1] = "999999999999999"
        elif odd == "nik":
            row[0] = chance.choice([one.nik for number, one in sorted(world.members.items())])
        rows.append((None if odd == "account" else member, row))
    first = world.members[min(world.members)]
    return rows or [(first, [first.nik, first.account_number, first.name, programme, f"{year}-T{quarter}", names,
                             str(STAGE_IDR[0]), first.region])]  # fmt: skip


def _credit_row(world: World, member: Member | None, row: list[str]) -> str:
    """Why the row must not be credited; '' where it is, and then the family has a new stage."""
    world.treasury.fund(row[3], int(row[6]))
    if member is None:
        return "ACCOUNT_NOT_FOUND"
    if row[0] != member.nik:
        return "NIK_MISMATCH"
    if row[2] != member.name:
        return "NAME_MISMATCH"
    if any(start <= world.today <= end for start, end in member.excluded):
        return "EXCLUDED"
    family, rules = world.families[member.number], world.programmes[row[3]]
    months = frozenset(row[5].split(","))
    for stage in family.stages:
        if stage.programme == row[3] and (stage.name == row[4] or stage.months & months):
            same_list = stage.list_step == world.step
            return "DUP_ROW" if same_list else "ALREADY_PAID"
    start = world.today + dt.timedelta(days=rules.available_after_days)
    amount = int(row[6])
    family.stages.append(Stage(row[3], row[4], months, world.today, start, start, amount, amount, list_step=world.step))
    family.transfers += 1
    return ""


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(HEADER)
        writer.writerows(rows)


TRANSFER_OF_MESSAGE = text("""
    SELECT transfer_ids[1] FROM authorisation
    WHERE account_id = :account AND stan = :stan AND transmitted = :transmitted AND kind IN ('CASH', 'PURCHASE', 'COMPLETION')
""")
TRANSFER_OF_STAGE = text("""
    SELECT x.id FROM transfer x JOIN tranche t ON (t.cell, t.account_id, t.id) = (x.cell, x.account_id, x.tranche_id)
    JOIN programme p ON p.number = t.programme
    WHERE x.account_id = :account AND x.kind = 'CREDIT' AND p.code = :programme AND t.stage = :stage
""")
