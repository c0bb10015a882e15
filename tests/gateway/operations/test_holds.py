"""Twin of gateway.operations.holds: holds over TCP, completed, released, lapsed, and refunds; the books agree throughout."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.operations.holds import release_lapsed
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, tranches_idr
from tests.gateway.world import credit

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

HELD = "SELECT sum(held_idr) FROM purse"
OPEN = "SELECT count(*) FROM authorisation WHERE held_until IS NOT NULL"


async def test_a_hold_is_completed_in_part_and_the_rest_comes_back(bank: Bank, tmp_path: Path) -> None:
    """From the oldest tranche on; the repeated completion is answered the same and moves nothing."""
    async with open_street(bank, tmp_path) as street:
        await credit(bank, tmp_path, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        account = street.families[0].family_id
        hold = await street.shop.hold(street.card, 650_000)
        assert ("00", AID_IDR + 100_000 - 650_000) == (hold.code, hold.available_idr)
        assert (650_000, 1) == (await one_value(bank, HELD), await one_value(bank, OPEN))
        assert [0, 50_000] == await tranches_idr(bank, account)
        await assert_proved(bank)
        done = await street.shop.complete(hold, 620_000)
        again = await street.shop.repeat(done)
        assert ("00", "00") == (done.code, again.code)
        assert [0, 80_000] == await tranches_idr(bank, account)
        assert (0, 0) == (await one_value(bank, HELD), await one_value(bank, OPEN))
        second = await street.shop.complete(hold, 10_000)
        assert "00" == second.code  # an advice is always accepted; what could not be done is kept for people
        assert ["APPROVED", "APPROVED", "HOLD_AMOUNT"] == await reasons(bank)
        back = await street.shop.reverse(done)
        assert "00" == back.code
        assert [600_000, 100_000] == await tranches_idr(bank, account)
    await assert_proved(bank)


@pytest.mark.parametrize("kept", [0, 200_000])
async def test_a_reversed_hold_is_released(bank: Bank, tmp_path: Path, kept: int) -> None:
    """All of it or a part; what is left can still be completed, and no more than that."""
    async with open_street(bank, tmp_path) as street:
        account = street.families[0].family_id
        hold = await street.shop.hold(street.card, 500_000)
        await street.shop.reverse(hold, kept_idr=kept)
        assert (kept, AID_IDR - kept) == (await one_value(bank, HELD), await available_idr(bank, account))
        await street.shop.complete(hold, 500_000)
        assert "HOLD_AMOUNT" == (await reasons(bank))[-1]
        if kept:
            await street.shop.complete(hold, kept)
            assert (0, AID_IDR - kept) == (await one_value(bank, HELD), await available_idr(bank, account))
    await assert_proved(bank)


async def test_a_hold_lapses_after_its_days(bank: Bank, tmp_path: Path) -> None:
    """The job gives back what nobody completed, once, and not before its day is over."""
    async with open_street(bank, tmp_path) as street:
        account = street.families[0].family_id
        await street.shop.hold(street.card, 500_000)
        kept = await street.shop.hold(street.card, 30_000)
        await street.shop.complete(kept, 30_000)
        until = await one_value(bank, "SELECT held_until FROM authorisation WHERE held_until IS NOT NULL")
        assert bank.business_date + timedelta(days=7) == until
        assert 0 == (await release_lapsed(bank, until, 1)).tranches
        done = await release_lapsed(bank, until + timedelta(days=1), 1)
        assert (1, 500_000) == (done.tranches, done.amount_idr)
        assert 0 == (await release_lapsed(bank, until + timedelta(days=1), 1)).tranches
        assert (0, AID_IDR - 30_000) == (await one_value(bank, HELD), await available_idr(bank, account))
    await assert_proved(bank)


async def test_a_refund_goes_back_to_its_tranches(bank: Bank, tmp_path: Path) -> None:
    """Part by part until nothing is left of the purchase; too much, and what was no purchase, is refused."""
    async with open_street(bank, tmp_path) as street:
        account = street.families[0].family_id
        bought = await street.shop.purchase(street.card, 300_000)
        cash = await street.atm.withdraw(street.card, 50_000)
        first = await street.shop.refund(bought, 100_000)
        assert ("00", AID_IDR - 250_000) == (first.code, await available_idr(bank, account))
        assert "13" == (await street.shop.refund(bought, 200_001)).code
        assert "25" == (await street.atm.refund(cash, 50_000)).code
        assert "00" == (await street.shop.reverse(bought, kept_idr=0)).code
        assert AID_IDR - 50_000 == await available_idr(bank, account)
        assert "13" == (await street.shop.refund(bought, 1)).code
    corrected = await as_owner(bank, "SELECT kind, corrects IS NOT NULL FROM transfer WHERE kind = 'REVERSAL'")
    assert [("REVERSAL", True)] * 2 == [tuple(row) for row in corrected]
    await assert_proved(bank)


async def test_a_refund_is_not_given_back_twice(bank: Bank, tmp_path: Path) -> None:
    """A reversal that names a refund moves nothing: it is kept for people, the family has its money once."""
    async with open_street(bank, tmp_path) as street:
        account = street.families[0].family_id
        await street.shop.purchase(street.card, 200_000)
        second = await street.shop.purchase(street.card, 100_000)
        refund = await street.shop.refund(second, 100_000)
        assert AID_IDR - 200_000 == await available_idr(bank, account)
        await street.shop.reverse(refund)
        assert ("ORIGINAL_UNKNOWN", AID_IDR - 200_000) == (
            (await reasons(bank))[-1],
            await available_idr(bank, account),
        )
    await assert_proved(bank)
