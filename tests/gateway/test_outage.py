"""PostgreSQL is killed under load: what was answered is in the ledger, once; what was not answered is found out by a repeat."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.app import open_bank
from gateway.measure.workbench import LIMITS_FILE
from gateway.operations import setup
from gateway.operations.bank import reading
from gateway.settings import load_settings
from gateway.simulator.terminal import TerminalKind
from tests.gateway.street import assert_proved, available_idr, open_street
from tests.servers import kill

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.terminal import Terminal
    from tests.gateway.street import Street

FAMILIES = 12
NOTE_IDR = 1_000
KILLS = 2


async def test_postgresql_is_killed_under_load(tmp_path: Path) -> None:
    """After each SIGKILL the service goes on by itself; approved answers are in the ledger, declined ones are not."""
    settings = load_settings(data_dir=tmp_path / "var", iso_port=0, http_port=0, log_level="warning")
    async with open_bank(settings) as bank, open_street(bank, tmp_path, families=FAMILIES) as street:
        assert bank.database.embedded is not None
        await setup.load_policy(bank, "maker", LIMITS_FILE)  # one card is used far more often than a family's
        stop = asyncio.Event()
        visits = [asyncio.ensure_future(_visit(street, n, stop)) for n in range(FAMILIES)]
        for _ in range(KILLS):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(kill, bank.database.embedded)
            await asyncio.to_thread(bank.database.embedded.start)
        await asyncio.sleep(0.7)
        stop.set()
        done = [exchange for visited in await asyncio.gather(*visits) for exchange in visited]
        assert {"00"} <= {one.code for one in done} <= {"00", "91", ""}
        await _check_answers(bank, done)
        silent = [one for one in done if one.answer is None]
        settled = [await street.atm.repeat(one) for one in silent]
        assert {"00"} >= {one.code for one in settled}
        await _check_answers(bank, settled)
        paid = Counter(one.request.get(2) for one in [*done, *settled] if one.approved)
        for holder in street.families:
            taken = 600_000 - await available_idr(bank, holder.family_id)
            assert NOTE_IDR * paid[holder.pan.reveal()] == taken
        await assert_proved(bank)


async def _visit(street: Street, number: int, stop: asyncio.Event) -> list[Exchange]:
    """Withdraw again and again from one card. Every third message is sent twice, as a nervous terminal does."""
    card = street.wallet.cards[number]
    async with street.new_switch() as switch:
        switch.client._timeout_s = 8.0
        terminal: Terminal = switch.terminal(
            street.pinpad, TerminalKind.ATM, 100 + number, first_stan=1_000 * number + 1
        )
        done = []
        while not stop.is_set():
            exchange = await terminal.withdraw(card, NOTE_IDR)
            done.append(exchange)
            if len(done) % 3 == 0 and exchange.answer is not None and exchange.approved:
                assert (await terminal.repeat(exchange)).code in ("00", "91", "")
        return done


async def _check_answers(bank: Bank, done: list[Exchange]) -> None:
    """Each answer is the one that stands in the books; a refusal that is in no book moved nothing."""
    async with reading(bank) as connection:
        rows = {(row.terminal, row.stan): row for row in await connection.execute(BOOKED)}
    for one in done:
        if one.answer is None:
            continue
        row = rows.get((one.request.fields[41].strip(), one.request.fields[11]))
        assert one.code == (row.response_code if row else "91")
        assert (1 if one.approved else 0) == (len(row.transfer_ids) if row else 0)
        assert one.answer.get(38) == (json.loads(row.answer)["approval_code"] if row else None)


BOOKED = text("SELECT terminal, stan, response_code, transfer_ids, answer FROM authorisation")
