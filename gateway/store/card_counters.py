"""Counters that go up and never back: of each chip card's transactions (ATC), and of each DUKPT terminal's keys (KSN).

Taken inside the transaction of the group that uses them, so a group that fails leaves them as they were. Each is one statement,
for groups that have such data and no others. Read next: gateway.rules.chip (counter_fault), gateway.operations.pin_check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.lane_connection import LaneConnection


class ChipCounter(NamedTuple):
    """The counter a card's chip told in a right cryptogram, and how far above the last one it may be."""

    cell: int
    account_id: int
    card_id: int
    atc: int
    window: int


class DeviceCounter(NamedTuple):
    """The counter of a terminal's key serial number. BASE_KEY: label#version of the key its own come from."""

    base_key: str
    device: str
    counter: int


class LastCounter(NamedTuple):
    """A card's last counter; None: it had none. OPEN: somebody has let its next one be any number above."""

    atc: int | None
    open: bool


async def take_chip_counters(connection: LaneConnection, told: Sequence[ChipCounter]) -> list[LastCounter]:
    """Move each card to its new counter where that is its next. Returns what each card had before.

    The cards are locked already, and each is told once.
    """
    columns = zip(*told, strict=True)
    parameters = dict(zip(("cells", "accounts", "cards", "atcs", "windows"), map(list, columns), strict=True))
    return [LastCounter(*row) for row in await connection.fetch(TAKE_CHIP, parameters)]


async def take_device_counters(connection: LaneConnection, told: Sequence[DeviceCounter]) -> dict[tuple[str, str], int]:
    """Move each terminal to the highest of its counters, if that is above. Returns by (base key, device) the one before; 0: none.

    Terminals are locked in their order, which every lane keeps, until the transaction ends.
    """
    highest: dict[tuple[str, str], int] = {}
    for one in told:
        name = one.base_key, one.device
        highest[name] = max(highest.get(name, 0), one.counter)
    names = sorted(highest)
    parameters = {
        "keys": [base_key for base_key, _ in names],
        "devices": [device for _, device in names],
        "counters": [highest[name] for name in names],
    }
    return {(row[0], row[1]): row[2] for row in await connection.fetch(TAKE_DEVICE, parameters)}


# The condition is gateway.rules.chip.counter_fault. The SELECT sees cards as they were before the UPDATE.
TAKE_CHIP = """
    WITH told AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:cells AS smallint[]), CAST(:accounts AS bigint[]), CAST(:cards AS bigint[]),
                             CAST(:atcs AS int[]), CAST(:windows AS int[]))
            WITH ORDINALITY AS t (cell, account_id, id, atc, ahead, place)
    ), taken AS (
        UPDATE card c SET last_atc = t.atc, atc_open = false FROM told t
        WHERE c.cell = t.cell AND c.account_id = t.account_id AND c.id = t.id
          AND (c.last_atc IS NULL OR (t.atc > c.last_atc AND (c.atc_open OR t.atc - c.last_atc <= t.ahead)))
    )
    SELECT c.last_atc, c.atc_open
    FROM told t JOIN card c ON c.cell = t.cell AND c.account_id = t.account_id AND c.id = t.id ORDER BY t.place
"""
# `before` is how an upsert tells what it found, under the lock it holds.
TAKE_DEVICE = """
    INSERT INTO device_counter AS d (base_key, device, counter)
    SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:devices AS text[]), CAST(:counters AS bigint[]))
        AS t (base_key, device, counter) ORDER BY base_key, device
    ON CONFLICT (base_key, device) DO UPDATE SET before = d.counter, counter = greatest(d.counter, EXCLUDED.counter)
    RETURNING base_key, device, before
"""
