"""The bank as its partners see it: messages over real TCP, and what the ledger says afterwards."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import text

from gateway.operations import card as card_operations
from gateway.rules.card import CardEvent
from gateway.simulator.exchange import ECHOED
from gateway.simulator.terminal import Asked, Purse
from gateway.simulator.wallet import strangers
from keys.sensitive import Pin
from tests.gateway.street import (
    AID_IDR,
    assert_proved,
    available_idr,
    framed,
    open_street,
    raw_link,
    reasons,
    tranches_idr,
)
from tests.gateway.world import credit, holders

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank

WRONG = Pin("918273")
WRONG_REQUESTS: list[tuple[dict[int, str], str]] = [
    ({4: "000000000000"}, "13"),
    ({49: "840"}, "12"),  # foreign currency
    ({18: "5411"}, "57"),  # no cash at an e-Warong
    ({3: "210000"}, "12"),  # a processing code nobody serves
    ({3: "012000"}, "57"),  # an account type nobody has
    ({4: "000000010050"}, "30"),  # half a rupiah
    *[({number: ""}, "30") for number in (2, 3, 4, 7, 11, 18, 32, 41, 49, 52)],
]
HAPPENINGS = [
    (CardEvent.REPORT_LOST, "41"),
    (CardEvent.REPORT_STOLEN, "43"),
    (CardEvent.BLOCK, "62"),
    (CardEvent.RESET_PIN, "62"),
    (CardEvent.CLOSE, "62"),
]
BY_SQL = [
    ("UPDATE card SET expires_on = '2020-01-31' WHERE account_id = :id", "54"),
    ("UPDATE account SET state = 'BLOCKED' WHERE id = :id", "62"),
    ("UPDATE tranche SET state = 'BLOCKED', blocked_on = credited_on WHERE account_id = :id", "62"),
]


async def test_a_day_at_the_terminals(bank: Bank, tmp_path: Path) -> None:
    """Cash at an ATM and an agent, a purchase, balances: each answer tells what is left, and the proof holds."""
    async with open_street(bank, tmp_path) as street:
        card = street.card
        done = [
            await street.atm.balance(card),
            await street.atm.withdraw(card, 200_000),
            await street.agent.withdraw(card, 150_000),
            await street.shop.purchase(card, 75_500),
            await street.shop.balance(card),
        ]
        assert ["00"] * 5 == [one.code for one in done]
        assert [600_000, 400_000, 250_000, 174_500, 174_500] == [one.available_idr for one in done]
        assert [] == [fault for one in done for fault in one.faults()]
        assert 174_500 == await available_idr(bank, street.families[0].family_id)
    await assert_proved(bank)
    async with bank.database.engine.connect() as connection:
        owed = {row.credit: int(row.sum) for row in await connection.execute(OWED)}
    assert {3000: 200_000, 4000: 150_000, 5000: 75_500} == owed


async def test_every_approval_has_its_own_approval_code(bank: Bank, tmp_path: Path) -> None:
    """DE38 stands in approved answers alone, six characters, no two alike."""
    async with open_street(bank, tmp_path) as street:
        good = [await street.atm.withdraw(street.card, 50_000) for _ in range(3)]
        bad = await street.atm.withdraw(street.card, 900_000)
        codes = [one.answer.get(38, "") for one in good if one.answer]
        assert [6, 6, 6] == [len(code) for code in codes]
        assert 3 == len(set(codes))
        assert bad.answer is not None
        assert bad.answer.get(38) is None


async def test_answers_echo_what_was_sent(bank: Bank, tmp_path: Path) -> None:
    """DE 2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42 and 49 come back exactly, in approvals and in declines; the PIN never does."""
    assert (2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49) == ECHOED
    async with open_street(bank, tmp_path) as street:
        done = [
            await street.atm.withdraw(street.card, 10_000),
            await street.shop.purchase(street.card, 900_000),
            await street.agent.balance(street.card),
            await street.atm.withdraw(street.card, 10_000, WRONG),
        ]
        done.append(await street.atm.reverse(done[0]))
        for one in done:
            assert one.answer is not None
            sent = {number: one.request.get(number) for number in ECHOED}
            assert sent == {number: one.answer.get(number) for number in ECHOED}
            assert not {14, 18, 22, 35, 43, 52} & set(one.answer.fields)


async def test_a_balance_has_one_entry_a_purse(bank: Bank, tmp_path: Path) -> None:
    """DE54 holds 20 characters a purse: account type, available, rupiah, credit, 12 digits with two decimals."""
    async with open_street(bank, tmp_path) as street:
        answer = (await street.atm.balance(street.card)).answer
    assert answer is not None
    told = answer.get(54, "")
    assert {"1002360C000000000000", "9802360C000060000000"} == {told[:20], told[20:]}


async def test_a_purse_is_chosen_by_the_processing_code(bank: Bank, tmp_path: Path) -> None:
    """DE3 98 spends food money only, 10 cash money only, 00 what the rules say."""
    async with open_street(bank, tmp_path) as street:
        cash = await street.shop.purchase(street.card, 10_000, purse=Purse.CASH)
        food = await street.shop.purchase(street.card, 10_000, purse=Purse.FOOD)
        rule = await street.shop.purchase(street.card, 10_000)
        assert ("51", "00", "00") == (cash.code, food.code, rule.code)
        assert AID_IDR - 20_000 == rule.available_idr


async def test_wrong_requests_move_nothing(bank: Bank, tmp_path: Path) -> None:
    """A request that is incomplete, foreign or not served is answered with its code; nothing moves and the link stays up."""
    async with open_street(bank, tmp_path) as street, raw_link(street.service) as link:
        await link.send(framed(street.switch.network_message("001")))
        assert "00" == (await link.receive()).get(39)
        for change, code in WRONG_REQUESTS:
            message = street.atm.request(Asked.CASH, street.card, 100_000)
            message.fields = {number: value for number, value in (message.fields | change).items() if value}
            await link.send(framed(message))
            answer = await link.receive()
            assert (change, "0210", code) == (change, answer.mti, answer.get(39))
            assert message.get(37) == answer.get(37)
        assert AID_IDR == (await street.atm.balance(street.card)).available_idr
    assert ["APPROVED"] == await reasons(bank)


async def test_three_wrong_pins_lock_the_card(bank: Bank, tmp_path: Path) -> None:
    """After three wrong PINs even the right one is refused, on every channel, until the branch unlocks the card."""
    async with open_street(bank, tmp_path) as street:
        card = street.card
        wrong = [await street.atm.withdraw(card, 50_000, WRONG) for _ in range(3)]
        right = [
            await street.atm.withdraw(card, 50_000),
            await street.shop.purchase(card, 5_000),
            await street.atm.balance(card),
        ]
        assert ["55", "55", "55"] == [one.code for one in wrong]
        assert ["75", "75", "75"] == [one.code for one in right]
        number = street.families[0].card_id
        await card_operations.change_state(bank, "branch", number, CardEvent.UNLOCK_PIN, "family came with KTP")
        after = await street.atm.withdraw(card, 50_000)
        assert ("00", AID_IDR - 50_000) == (after.code, after.available_idr)


async def test_a_right_pin_gives_the_tries_back(bank: Bank, tmp_path: Path) -> None:
    """Two wrong PINs, a right one and two wrong ones do not lock a card; a repeated wrong message uses no second try."""
    async with open_street(bank, tmp_path) as street:
        first = await street.atm.withdraw(street.card, 10_000, WRONG)
        assert [True] * 4 == [(await street.atm.repeat(first)).same_answer(first) for _ in range(4)]
        codes = [(await street.atm.balance(street.card, pin)).code for pin in (WRONG, None, WRONG, WRONG, None)]
    assert ["55", "00", "55", "55", "00"] == codes


async def test_cards_that_do_not_work(bank: Bank, tmp_path: Path) -> None:
    """A card that is lost, stolen, blocked, reset, replaced or expired, or whose money is blocked, gets nothing."""
    async with open_street(bank, tmp_path, families=len(HAPPENINGS) + 3) as street:
        expected = []
        for holder, (event, code) in zip(street.families, HAPPENINGS, strict=False):
            await card_operations.change_state(bank, "branch", holder.card_id, event, "a reason")
            expected.append(code)
        for holder, (statement, code) in zip(street.families[len(HAPPENINGS) :], BY_SQL, strict=True):
            await _sql(bank, statement, holder.family_id)
            expected.append(code)
        got = [(await street.atm.withdraw(card, 50_000)).code for card in street.wallet.cards]
        assert expected == got
        assert [AID_IDR] * len(got) == [await available_idr(bank, one.family_id) for one in street.families]


async def test_a_card_without_a_pin_does_not_work(bank: Bank, tmp_path: Path) -> None:
    """The replacement of a lost card works only after hand-over and PIN; the old card never again."""
    async with open_street(bank, tmp_path) as street:
        await card_operations.change_state(bank, "branch", street.families[0].card_id, CardEvent.REPORT_LOST, "lost")
        await card_operations.replace(bank, "branch", street.families[0].card_id, "lost")
        (holder,) = await holders(bank)
        assert holder.pan != street.card.pan
        new = replace(street.card, pan=holder.pan)
        assert ("62", "41") == ((await street.atm.balance(new)).code, (await street.atm.balance(street.card)).code)


async def test_unknown_cards(bank: Bank, tmp_path: Path) -> None:
    """A card that was never issued is answered 14 and remembered."""
    async with open_street(bank, tmp_path) as street:
        stranger = next(strangers(street.wallet.cards, random.Random(5)))
        done = [await street.atm.withdraw(stranger, 50_000), await street.shop.balance(stranger)]
        assert ["14", "14"] == [one.code for one in done]
        assert (await street.atm.repeat(done[0])).same_answer(done[0])
    assert ["CARD_UNKNOWN"] * 2 == await reasons(bank)


async def test_too_little_money(bank: Bank, tmp_path: Path) -> None:
    """One rupiah too much is refused and tells the balance; exactly all is paid; then nothing is left."""
    async with open_street(bank, tmp_path) as street:
        over = await street.atm.withdraw(street.card, AID_IDR + 1)
        all_of_it = await street.agent.withdraw(street.card, AID_IDR)
        none = await street.shop.purchase(street.card, 1)
        assert [("51", AID_IDR), ("00", 0), ("51", 0)] == [
            (one.code, one.available_idr) for one in (over, all_of_it, none)
        ]


async def test_an_old_stage_is_spent_first(bank: Bank, tmp_path: Path) -> None:
    """Two stages are two tranches: the older is drawn first, and a reversal fills them as they were."""
    async with open_street(bank, tmp_path) as street:
        await credit(bank, tmp_path, street.families, 200_000, si="SI-2", stage="2026-T3", months=("2026-07",))
        family = street.families[0].family_id
        small = await street.atm.withdraw(street.card, 100_000)
        assert [500_000, 200_000] == await tranches_idr(bank, family)
        large = await street.atm.withdraw(street.card, 550_000)
        assert [0, 150_000] == await tranches_idr(bank, family)
        await street.atm.reverse(large, kept_idr=510_000)
        after_partial = await tranches_idr(bank, family)
        assert 190_000 == sum(after_partial)
        await street.atm.reverse(small)
        assert 290_000 == await available_idr(bank, family)
    await assert_proved(bank)


async def _sql(bank: Bank, statement: str, account_id: int) -> None:
    async with bank.database.engine.begin() as connection:
        await connection.execute(text(statement), {"id": account_id})


OWED = text("SELECT credit, sum(amount_idr) FROM transfer WHERE credit BETWEEN 3000 AND 5999 GROUP BY credit")
