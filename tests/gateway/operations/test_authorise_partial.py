"""Tests of gateway.operations.authorise: purchases and holds that are approved in part, over TCP, and all that comes of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.operations import limits, link_exceptions, setup
from gateway.operations.bank import reading
from gateway.operations.holds import release_lapsed
from gateway.operations.partner_totals import our_totals
from gateway.operations.settlement import close_all
from gateway.operations.trace import follow
from gateway.simulator.terminal import Asked
from gateway.store import holds
from gateway.terminals.links_file import DEFAULT_FILE
from iso.additional_amounts import AmountType, read_additional_amounts
from iso.message import Message
from keys.sensitive import Pin
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, tranches_idr
from tests.gateway.world import MAKER, credit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.simulator.exchange import Exchange
    from tests.gateway.street import Street

ON = 'partial_approval = "purchases"\nasked_in_54 = true\n'
MUCH = 1_000_000
ROW = "SELECT amount_idr, CAST(answer AS json) ->> 'asked' AS asked, response_code, reason, amounts_idr FROM authorisation"
USED = "SELECT sum(amount_idr) FROM terminal_use WHERE terminal LIKE '%W0000003'"
LIMITS = """
[[limit]]
name = "terminal-day"
per = "TERMINAL"
period = "DAY"
channels = ["EWARONG"]
max_amount_idr = 900_000
valid_from = 2026-01-01
reason = "a test"

[[limit]]
name = "shop"
per = "CARD"
period = "TRANSACTION"
channels = ["EWARONG"]
max_amount_idr = 500_000
valid_from = 2026-01-01
reason = "a test"
"""


@asynccontextmanager
async def street_of(bank: Bank, folder: Path, settings: str = ON, families: int = 1) -> AsyncIterator[Street]:
    """A street whose link has SETTINGS more than the shipped one; at the end every proof holds."""
    path = folder / "links.toml"
    shipped = DEFAULT_FILE.read_text(encoding="utf-8")
    path.write_text(
        shipped.replace("expiring_in_48 = true\n", f"expiring_in_48 = true\n{settings}", 1), encoding="utf-8"
    )
    bank.settings = bank.settings.model_copy(update={"links_file": path})
    async with open_street(bank, folder, families) as street:
        yield street
    await assert_proved(bank)


def named(done: Exchange, amount_idr: int) -> Message:
    """A purchase as its reversal names it, with another amount in DE4."""
    return Message(done.request.mti, done.request.fields | {4: f"{amount_idr * 100:012d}"})


async def exceptions(bank: Bank) -> list[str]:
    """Why people must look at something."""
    _, found = await link_exceptions.overview(bank)
    return [one.reason for one in found]


async def test_what_there_is_is_approved(bank: Bank, tmp_path: Path) -> None:
    """10, DE4 what was approved, an approval code, nothing left and what was asked for in DE54; the row keeps both amounts."""
    async with street_of(bank, tmp_path) as street:
        await credit(bank, tmp_path, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        done = await street.shop.purchase(street.card, MUCH)
        assert ("10", AID_IDR + 100_000, 0) == (done.code, done.approved_idr, done.available_idr)
        assert [] == done.faults()
        assert done.answer is not None
        assert 6 == len(done.answer.get(38, ""))
        assert [
            ("10", AmountType.AVAILABLE, 0),
            ("98", AmountType.AVAILABLE, 0),
            ("00", AmountType.ORIGINAL, MUCH),
        ] == [
            (one.account_type, one.amount_type, one.amount_idr)
            for one in read_additional_amounts(done.answer.get(54, ""), 2)
        ]
        assert [0, 0] == await tranches_idr(bank, street.families[0].family_id)
        (row,) = await as_owner(bank, ROW)
        assert (700_000, str(MUCH), "10", "PARTIALLY_APPROVED", [600_000, 100_000]) == tuple(row)
        assert "51" == (await street.shop.purchase(street.card, MUCH)).code
        assert [] == await exceptions(bank)


async def test_repeats_get_the_very_same_answer(bank: Bank, tmp_path: Path) -> None:
    """The same bytes, with the type of a repeat, with another time, and many at once; also when money has come since."""
    async with street_of(bank, tmp_path) as street, street.new_switch() as other:
        done = await street.shop.purchase(street.card, MUCH)
        await credit(bank, tmp_path, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        for marked in (False, True):
            assert (await street.shop.repeat(done, marked=marked)).same_answer(done)
        late = await street.shop.send(Message("0201", done.request.fields | {7: "1224000000"}))
        assert done.answer is not None
        assert late.answer is not None
        assert [done.answer.get(number) for number in (4, 38, 39, 54)] == [
            late.answer.get(number) for number in (4, 38, 39, 54)
        ]
        again = street.shop.request(Asked.PURCHASE, street.card, MUCH)
        clients = (street.switch.client, other.client) * 5
        answers = await asyncio.gather(
            *(client.request(Message("0200", dict(again.fields)), again=True) for client in clients)
        )
        assert [answers[0].fields] * 10 == [one.fields for one in answers]
        assert ("10", "000010000000") == (answers[0].get(39), answers[0].get(4))
        assert [0, 0] == await tranches_idr(bank, street.families[0].family_id)


async def test_who_may_not_gets_nothing(bank: Bank, tmp_path: Path) -> None:
    """Cash at an ATM or agent, goods at an ATM, and an advice; nor anybody without the right PIN."""
    async with street_of(bank, tmp_path) as street:
        at_atm = street.shop.request(Asked.PURCHASE, street.card, MUCH)
        advice = street.shop.advice(Asked.PURCHASE, street.card, MUCH)
        done = [
            await street.atm.withdraw(street.card, MUCH),
            await street.agent.withdraw(street.card, MUCH),
            await street.shop.send(Message("0200", at_atm.fields | {18: "6011"})),
            await street.shop.purchase(street.card, MUCH, Pin("999999")),
            await street.shop.send(advice),
        ]
        assert ["51", "51", "51", "55", "00"] == [one.code for one in done]
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)
    assert ["INSUFFICIENT_FUNDS"] == await exceptions(bank)


async def test_a_link_without_it_is_told_51(bank: Bank, tmp_path: Path) -> None:
    """As shipped."""
    async with street_of(bank, tmp_path, "") as street:
        done = [await street.shop.purchase(street.card, MUCH), await street.shop.hold(street.card, MUCH)]
        assert ["51", "51"] == [one.code for one in done]


async def test_only_who_says_so(bank: Bank, tmp_path: Path) -> None:
    """Where the profile asks for a mark: in a tag of DE48, that begins as agreed."""
    settings = (
        'tags = { 48 = "2+3" }\npartial_approval = "marked"\npartial_mark = { field = 48, tag = "61", value = "1" }\n'
    )
    async with street_of(bank, tmp_path, settings) as street:
        asked = street.shop.request(Asked.PURCHASE, street.card, MUCH).fields
        for place, (private, code) in enumerate([("", "51"), ("610010", "51"), ("620011", "51"), ("6100510000", "10")]):
            fields = asked | {11: f"{900 + place:06d}", 48: private}
            message = Message("0200", {number: text for number, text in fields.items() if text})
            assert (private, code) == (private, (await street.shop.send(message)).code)


@pytest.mark.parametrize("name", [AID_IDR, MUCH])
async def test_a_full_reversal_names_either_amount(bank: Bank, tmp_path: Path, name: int) -> None:
    """What was approved comes back once; a repeated and a second reversal, by the other amount too, give nothing more."""
    async with street_of(bank, tmp_path) as street:
        family = street.families[0].family_id
        done = await street.shop.purchase(street.card, MUCH)
        back = [await street.shop.send(street.shop.reversal(named(done, name)))]
        assert AID_IDR == await available_idr(bank, family)
        back.append(await street.shop.repeat(back[0], marked=True))
        back.append(await street.shop.send(street.shop.reversal(named(done, AID_IDR + MUCH - name))))
        assert ["00"] * 3 == [one.code for one in back]
        assert AID_IDR == await available_idr(bank, family)
        assert (await street.shop.repeat(done)).same_answer(done)
        assert AID_IDR == await available_idr(bank, family)
    assert [] == await exceptions(bank)


async def test_a_reversal_of_another_amount_is_for_people(bank: Bank, tmp_path: Path) -> None:
    """Neither amount, or more kept than was approved: nothing moves. Less kept (DE95): the rest comes back."""
    async with street_of(bank, tmp_path) as street:
        family = street.families[0].family_id
        done = await street.shop.purchase(street.card, MUCH)
        wrong = await street.shop.send(street.shop.reversal(named(done, AID_IDR + 1_000)))
        kept_too_much = await street.shop.send(street.shop.reversal(done.request, AID_IDR + 1_000))
        assert ["00", "00"] == [wrong.code, kept_too_much.code]
        assert ["REVERSAL_AMOUNT", "REVERSAL_AMOUNT"] == await exceptions(bank)
        assert 0 == await available_idr(bank, family)
        part = await street.shop.send(street.shop.reversal(done.request, 250_000))
        assert ("00", AID_IDR - 250_000) == (part.code, await available_idr(bank, family))
        rest = await street.shop.reverse(done)
        assert ("00", AID_IDR) == (rest.code, await available_idr(bank, family))


async def test_a_reversal_that_overtakes_it(bank: Bank, tmp_path: Path) -> None:
    """The late purchase is told 68, and no part of it is approved."""
    async with street_of(bank, tmp_path) as street:
        late = street.shop.request(Asked.PURCHASE, street.card, MUCH)
        assert "00" == (await street.shop.send(street.shop.reversal(late))).code
        assert "68" == (await street.shop.send(late)).code
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)


async def test_a_hold_in_part(bank: Bank, tmp_path: Path) -> None:
    """What is held can be completed, added to when money comes, released by either amount, and lapses; no more than it."""
    async with street_of(bank, tmp_path, families=3) as street:
        first, second, third = (street.wallet.cards[place] for place in range(3))
        held = await street.shop.hold(first, MUCH)
        assert ("10", AID_IDR) == (held.code, held.approved_idr)
        assert "00" == (await street.shop.complete(held, AID_IDR + 1_000)).code
        assert ["HOLD_AMOUNT"] == await exceptions(bank)
        assert "00" == (await street.shop.complete(held, 400_000)).code
        released = await street.shop.hold(second, MUCH)
        assert "00" == (await street.shop.send(street.shop.reversal(released.request))).code
        lapsed = await street.shop.hold(third, MUCH)
        assert "10" == lapsed.code
        assert 1 == (await release_lapsed(bank, bank.business_date + timedelta(days=8), 1)).tranches
        left = [await available_idr(bank, family.family_id) for family in street.families]
        assert [AID_IDR - 400_000, AID_IDR, AID_IDR] == left
        async with reading(bank) as connection:
            known = [await holds.of_account(connection, family.account_number) for family in street.families]
        assert [("COMPLETED", AID_IDR), ("REVERSED", AID_IDR), ("EXPIRED", AID_IDR)] == [
            (one.state, one.amount_idr) for (one,) in known
        ]


async def test_an_increment_is_never_in_part(bank: Bank, tmp_path: Path) -> None:
    """Whole or not at all; a hold in part and what was added to it are released together, by either amount."""
    async with street_of(bank, tmp_path) as street:
        family = street.families[0].family_id
        held = await street.shop.hold(street.card, MUCH)
        await credit(bank, tmp_path, street.families, 100_000, si="SI-2", stage="2027-T1", months=("2027-01",))
        for amount_idr, code in ((150_000, "51"), (40_000, "00")):
            more = street.shop.following(held.request, "0100", Asked.PURCHASE, amount_idr)
            assert code == (await street.shop.send(street.shop.with_pins(more, street.card, street.card.pin))).code
        assert 60_000 == await available_idr(bank, family)
        back = await street.shop.send(street.shop.reversal(named(held, MUCH + 40_000)))
        assert ("00", AID_IDR + 100_000) == (back.code, await available_idr(bank, family))


async def test_goods_brought_back(bank: Bank, tmp_path: Path) -> None:
    """Of what was approved, never more."""
    async with street_of(bank, tmp_path) as street:
        done = await street.shop.purchase(street.card, MUCH)
        assert ["13", "00", "13"] == [
            (await street.shop.refund(done, amount_idr)).code for amount_idr in (AID_IDR + 1_000, 200_000, 400_001)
        ]
        assert 200_000 == await available_idr(bank, street.families[0].family_id)


async def test_limits_count_what_was_approved(bank: Bank, tmp_path: Path) -> None:
    """A limit of the purchase refuses what would be approved; the terminal's day counts that, not what was asked for."""
    policy = tmp_path / "limits.toml"
    policy.write_text(LIMITS, encoding="utf-8")
    await setup.load_policy(bank, MAKER, policy)
    async with street_of(bank, tmp_path, families=3) as street:
        first, second, third = (street.wallet.cards[place] for place in range(3))
        assert "61" == (await street.shop.purchase(first, MUCH)).code
        await street.atm.withdraw(first, 150_000)
        assert ("10", 450_000) == ((done := await street.shop.purchase(first, MUCH)).code, done.approved_idr)
        assert 450_000 == await one_value(bank, USED)
        await street.atm.withdraw(second, 150_000)
        assert ("10", 450_000) == ((done := await street.shop.purchase(second, MUCH)).code, done.approved_idr)
        assert "61" == (await street.shop.purchase(third, 1_000)).code
        number = await one_value(bank, "SELECT min(id) FROM authorisation WHERE reason = 'PARTIALLY_APPROVED'")
        judged, rules = await limits.show(bank, number)
        assert (450_000, 2) == (
            judged.amount_idr,
            len([one for one in rules if one.rule.name in ("shop", "terminal-day")]),
        )


async def test_the_books_of_the_day(bank: Bank, tmp_path: Path) -> None:
    """Settlement, the partner's totals and the trace know the approved amount; the trace what was asked for as well."""
    async with street_of(bank, tmp_path, families=2) as street:
        done = await street.shop.purchase(street.card, MUCH)
        held = await street.shop.hold(street.wallet.cards[1], MUCH)
        await street.shop.complete(held, AID_IDR)
        today = bank.business_date
        async with reading(bank) as connection:
            totals = await our_totals(connection, "himbara", today)
        assert (2, 2 * AID_IDR, 1) == (totals.debits, totals.debits_idr, totals.authorisations)
        number = await one_value(bank, "SELECT min(id) FROM authorisation")
        trace = await follow(bank, f"authorisation:{number}")
        assert "purchase, approved for a part of Rp1.000.000, at e-Warong" in repr(trace.steps)
        assert AID_IDR == done.approved_idr
    await setup.move_business_date(bank, MAKER, today + timedelta(days=1))
    closed = await close_all(bank, "siti", today)
    assert [(1, AID_IDR, 1, AID_IDR, 0)] == [
        (one.purchases, one.purchases_idr, one.completions, one.completions_idr, one.declined) for one in closed
    ]
    assert ["PARTIALLY_APPROVED", "PARTIALLY_APPROVED", "APPROVED"] == await reasons(bank)
