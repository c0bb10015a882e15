"""The town the torture plays in: families from a list, cards handed over, programmes with clocks of their own, terminals."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.measure.torture.ceilings import CASH_CHANNELS, Ceiling
from gateway.measure.torture.oracle import Card, Family, Programme
from gateway.measure.torture.terminals import make_terminals
from gateway.measure.torture.world import START, Member, World, open_world
from gateway.operations import card as cards
from gateway.operations import kpm, setup
from gateway.operations.bank import reading
from gateway.simulator.families import write_kpm_list
from gateway.simulator.pinpad import pinpad_of
from gateway.simulator.wallet import TestCard, Wallet
from gateway.testlink import ensure_test_link, read_test_key
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.operations.bank import Bank
    from gateway.settings import Settings

MAKER, CHECKER, BRANCH = "torture-maker", "torture-checker", "torture-branch"
PIN = Pin("204817")
PROGRAMMES = (
    Programme("PKH", "CASH", at_machines=1, at_shops=2),
    Programme("SEMBAKO", "FOOD", at_machines=1, at_shops=1),
    # a top-up with quick clocks that also run on what is left of a used stage
    Programme(
        "TAMBAHAN",
        "CASH",
        at_machines=2,
        at_shops=None,
        block_days=20,
        return_days=30,
        partly_used=True,
        available_after_days=2,
    ),
)
LINK = "himbara"
LIMITED = "000002:A0000008"
CEILINGS = (
    Ceiling("MONTH", CASH_CHANNELS, None, 5_000_000),  # the four that every new bank has
    Ceiling("TRANSACTION", frozenset({"ATM"}), None, 4_000_000),
    Ceiling("DAY", frozenset({"ATM"}), None, 5_000_000),
    Ceiling("DAY", CASH_CHANNELS, None, None, 50),
    Ceiling("DAY", frozenset({"AGENT"}), None, 400_000),
    Ceiling("MONTH", None, "SEMBAKO", 900_000, start=dt.date(2026, 1, 10)),
    Ceiling("DAY", None, None, None, 6, end=dt.date(2026, 1, 31)),
    Ceiling("DAY", None, None, None, 9, start=dt.date(2026, 2, 1)),
    Ceiling("DAY", None, None, 300_000, 3, terminal=LIMITED),
)
POLICY = """
[[programme]]
number = 3
code = "TAMBAHAN"
name = "Bantuan tambahan"
purse = "CASH"
available_after_days = 2
valid_from = 2026-01-01

[[purse_rule]]
programme = "TAMBAHAN"
channels = ["ATM", "AGENT"]
mccs = ["*"]
priority = 2
valid_from = 2026-01-01

[[clock]]
programme = "TAMBAHAN"
warn_days = [10]
block_days = 20
return_days = 30
partly_used = true
reason = "torture"
valid_from = 2026-01-01

[[limit]]
name = "torture-agent-day"
per = "CARD"
period = "DAY"
channels = ["AGENT"]
max_amount_idr = 400_000
reason = "torture"
valid_from = 2026-01-01

[[limit]]
name = "torture-food-month"
per = "CARD"
period = "MONTH"
programme = "SEMBAKO"
max_amount_idr = 900_000
reason = "torture"
valid_from = 2026-01-10

[[limit]]
name = "torture-count-day"
per = "CARD"
period = "DAY"
max_count = 6
reason = "torture"
valid_from = 2026-01-01

[[limit]]  # stands in for the one before
name = "torture-count-day"
per = "CARD"
period = "DAY"
max_count = 9
reason = "torture"
valid_from = 2026-02-01

[[limit]]
name = "torture-machine-day"
per = "TERMINAL"
period = "DAY"
terminal = "000002:A0000008"
max_amount_idr = 300_000
max_count = 3
reason = "torture"
valid_from = 2026-01-01
"""


@asynccontextmanager
async def open_town(settings: Settings, seed: int, families: int) -> AsyncIterator[World]:
    """A bank on a fresh database with FAMILIES who have active cards and no money yet, and its processes running."""
    chosen = settings.model_copy(update={"card_valid_years": 1})
    async with open_world(chosen, seed, {one.code: one for one in PROGRAMMES}, CEILINGS) as world:
        home = world.home
        ensure_test_link(home)
        await setup.move_business_date(home, MAKER, START)
        policy = chosen.data_dir / "torture-policy.toml"
        policy.write_text(POLICY, encoding="utf-8")
        await setup.load_policy(home, MAKER, policy)
        label, components = read_test_key(chosen.data_dir)
        world.pinpad = pinpad_of(Wallet((), label, tuple(components)))
        path = chosen.data_dir / "torture-kpm.csv"
        write_kpm_list(path, families, seed=1)
        summary = await kpm.import_list(home, MAKER, path, "SK-TORTURE", home.business_date)
        await kpm.approve(home, CHECKER, summary.batch)
        async with reading(home) as connection:
            rows = list(await connection.execute(HOLDERS))
        for row in rows:
            nik = home.vault.open(bytes(row.nik), table="family", row=row.id, column="nik")
            card = TestCard(Pan("6013010000000018"), PIN, START, row.number, row.name)
            world.members[row.id] = Member(row.id, nik, row.name, row.region, row.number, row.card_id, card)
            world.families[row.id] = Family(row.id, world.programmes, world.ceilings)
            await hand_over(world, home, world.members[row.id], row.card_id)
        world.terminals = make_terminals(world.pinpad, world.now, lambda: world.today)
        await world.start_processes()
        yield world


async def hand_over(world: World, bank: Bank, member: Member, card_id: int) -> None:
    """The family gets an ordered card and chooses its PIN."""
    async with reading(bank) as connection:
        row = (await connection.execute(CARD, {"id": card_id})).one()
    pan = Pan(bank.vault.open(bytes(row.pan), table="card", row=card_id, column="pan"))
    await cards.deliver(bank, BRANCH, card_id, "0014")
    await cards.hand_over(bank, BRANCH, card_id, cards.HandOver(ktp_seen=True, kk_seen=True, mother_name="SITI"))
    block = bytes.fromhex(world.pinpad.block(pan, PIN))
    await cards.choose_pin(bank, BRANCH, card_id, block, bank.hsm.find(read_test_key(bank.settings.data_dir)[0]))
    expires: dt.date = row.expires_on
    member.card_id = card_id
    member.card = TestCard(pan, PIN, expires, member.account_number, member.name)
    world.families[member.number].cards[pan.reveal()] = Card(card_id, expires)
    world.holder_of[pan.reveal()] = member.number


HOLDERS = text("""
    SELECT f.id, f.nik, f.name, a.region, a.number, c.id AS card_id FROM family f
    JOIN account a ON a.cell = f.cell AND a.id = f.id JOIN card c ON c.cell = a.cell AND c.account_id = a.id ORDER BY f.id
""")
CARD = text("SELECT pan, expires_on FROM card WHERE id = :id")
