"""A little bank with a whole life of aid, for tests of traces: credited, withdrawn, reversed, refunded, held, frozen, returned.

Everything is done by the bank's own operations and, but for holds and refunds, over TCP. live() stops after each deed.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.app import run_service
from gateway.operations import dormancy, holds, instruction, settlement, setup
from gateway.rules.authorise import RequestKind
from gateway.simulator.terminal import Asked
from gateway.terminals.mapping import to_command
from tests.gateway.owner import as_owner
from tests.gateway.street import stand_before
from tests.gateway.world import CHECKER, MAKER, activate, credit, open_families, write_si

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.operations.authorise import Outcome
    from gateway.operations.bank import Bank
    from gateway.simulator.wallet import TestCard
    from iso.message import Message
    from tests.gateway.street import Street

AID_IDR = 600_000
OLDER_IDR = 200_000
FIRST, SECOND = "SP2D-SI-1", "SP2D-SI-2"  # five rows of AID_IDR, the last one fails; two rows of OLDER_IDR
NTPN = "ABCDEF0123456789"
PAID_BY = "TRF-1"  # the number of the transfer order of the first day's settlement
RUN = 7


async def live(bank: Bank, folder: Path) -> AsyncGenerator[str]:
    """The story, deed by deed: each yield names what was just done."""
    families = await open_families(bank, folder, 5)
    wallet = await activate(bank, families)
    rows = [
        [
            one.nik,
            one.account_number,
            one.name,
            "SEMBAKO",
            "2026-T4",
            "2026-10,2026-11,2026-12",
            str(AID_IDR),
            one.region,
        ]
        for one in families
    ]
    rows[4][2] = "SOMEBODY ELSE ENTIRELY"
    sp2d = instruction.Sp2d(FIRST, bank.business_date, AID_IDR * 5)
    await instruction.import_instruction(bank, MAKER, write_si(folder / "SI-1.csv", rows), "SI-1", sp2d)
    yield "a list is in"
    await instruction.approve(bank, CHECKER, "SI-1")
    yield "it is approved and credited, but for one row"
    await credit(bank, folder, families[:2], OLDER_IDR, si="SI-2", stage="2026-T3", months=("2026-07",))
    yield "a second SP2D is credited"
    async with run_service(bank, jobs=False) as service, stand_before(bank, service, wallet, families) as street:
        async for deed in _spend(street):
            yield deed
    async for deed in _end(bank):
        yield deed


async def _spend(street: Street) -> AsyncGenerator[str]:
    first, second, third = street.wallet.cards[:3]
    cash = await street.atm.withdraw(first, 200_000)
    yield "cash at an ATM"
    await street.atm.reverse(cash, kept_idr=150_000)
    yield "a part of it reversed"
    await street.agent.withdraw(first, 550_000)
    yield "cash at an agent, out of two tranches"
    whole = await street.agent.withdraw(second, 30_000)
    await street.agent.reverse(whole)
    yield "cash that was reversed whole"
    await street.shop.purchase(second, 75_000)
    goods = await street.shop.purchase(second, 60_000)
    yield "goods"
    await refund(street, goods.request, 25_000)
    yield "some of them brought back"
    message, _ = await hold(street, second, 50_000)
    yield "money held"
    await complete(street, message, 40_000)
    yield "the hold completed, and what is over released"
    await hold(street, second, 20_000)
    yield "money that stays held"
    await street.atm.withdraw(third, 900_000)
    await street.atm.balance(third)
    yield "a refusal and a balance"
    await setup.move_business_date(street.bank, MAKER, street.bank.business_date + timedelta(days=1))
    await refund(street, goods.request, 10_000)
    yield "more goods brought back, the day after"


async def _end(bank: Bank) -> AsyncGenerator[str]:
    start = bank.business_date - timedelta(days=1)
    await settlement.close_settlement(bank, MAKER, "himbara", start)
    yield "the partner's first day is closed"
    await settlement.order_payment(bank, MAKER, "himbara", start, PAID_BY)
    await settlement.pay_settlement(bank, CHECKER, "himbara", start)
    yield "and paid"
    await setup.move_business_date(bank, MAKER, start + timedelta(days=9))
    await holds.release_lapsed(bank, bank.business_date, RUN)
    yield "a hold that nobody completed has lapsed"
    await setup.move_business_date(bank, MAKER, start + timedelta(days=91))
    await dormancy.block(bank, bank.business_date, RUN)
    yield "unused aid is blocked"
    await setup.move_business_date(bank, MAKER, start + timedelta(days=106))
    await dormancy.freeze_unused(bank, bank.business_date, RUN)
    yield "unused aid is frozen"
    await dormancy.debit_to_rpl(bank, bank.business_date, RUN)
    yield "it is debited to RPL"
    await setup.move_business_date(bank, MAKER, start + timedelta(days=107))
    await dormancy.return_unused(bank, bank.business_date, RUN)
    yield "it is back at kas negara"
    (row,) = await as_owner(bank, "SELECT id FROM treasury_return ORDER BY id LIMIT 1")
    await dormancy.confirm_receipt(bank, CHECKER, row.id, NTPN)
    yield "the treasury has sent its receipt"


async def live_through(bank: Bank, folder: Path) -> None:
    """The whole story."""
    async for _ in live(bank, folder):
        pass


async def live_until(bank: Bank, folder: Path, last: str) -> None:
    """The story up to and including a deed."""
    async with aclosing(live(bank, folder)) as deeds:
        async for deed in deeds:
            if deed == last:
                return
    raise AssertionError(last)


async def archive_2026(bank: Bank) -> None:
    """Carry the transfers of that year into the opening balances and take them out of the journal, as the retention does."""
    await as_owner(bank, CARRY)
    await as_owner(bank, "DELETE FROM transfer WHERE business_date < '2027-01-01'")


CARRY = """
    INSERT INTO tranche_opening
    SELECT cell, account_id, tranche_id, programme, sum(credited_idr), sum(available_idr), sum(held_idr), sum(frozen_idr),
           sum(returned_idr)
    FROM tranche_move WHERE business_date < '2027-01-01' GROUP BY 1, 2, 3, 4
"""


async def hold(street: Street, card: TestCard, amount_idr: int) -> tuple[Message, Outcome]:
    """Set money aside at the e-Warong."""
    message = street.shop.request(Asked.PURCHASE, card, amount_idr)
    command = to_command(message, street.service.link, street.bank.hsm.find("zpk-himbara"))
    request = command.request._replace(kind=RequestKind.HOLD)
    return message, await _ask(street, command._replace(request=request, origin=command.origin._replace(mti="0100")))


async def complete(street: Street, held: Message, amount_idr: int) -> Outcome:
    """Complete a hold with AMOUNT_IDR; the rest of it is released."""
    return await _about(street, held, "1", RequestKind.COMPLETION, amount_idr)


async def refund(street: Street, bought: Message, amount_idr: int) -> Outcome:
    """Bring goods back."""
    return await _about(street, bought, "2", RequestKind.REFUND, amount_idr)


async def _about(street: Street, original: Message, of_class: str, kind: RequestKind, amount_idr: int) -> Outcome:
    command = to_command(street.shop.reversal(original), street.service.link, street.bank.hsm.find("zpk-himbara"))
    assert command.origin.original is not None
    request = command.request._replace(kind=kind, amount_idr=amount_idr)
    mti = "0220" if kind is RequestKind.COMPLETION else "0200"
    origin = command.origin._replace(mti=mti, original=(of_class, *command.origin.original[1:]))
    return await _ask(street, command._replace(request=request, origin=origin))


async def _ask(street: Street, command: object) -> Outcome:
    done: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
    street.service.lanes.submit(command, done.set_result)  # type: ignore[arg-type]
    outcome = await done
    assert outcome is not None
    assert "00" == outcome.response_code
    return outcome
