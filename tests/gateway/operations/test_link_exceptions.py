"""Twin of gateway.operations.link_exceptions: advices over TCP, what they post and what they leave to people, and its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.errors import NotFound, Refused
from gateway.operations import link_exceptions, settlement
from gateway.operations.bank import reading
from gateway.rules.authorise import RequestKind
from gateway.rules.link_exception import ExceptionState
from gateway.rules.purse import Channel
from gateway.simulator.terminal import Asked
from iso.message import Message
from tests.gateway.owner import as_owner, one_value
from tests.gateway.street import AID_IDR, assert_proved, available_idr, framed, open_street, raw_link, reasons
from tests.gateway.till import open_till
from tests.gateway.world import CHECKER, MAKER

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.terminal import Terminal
    from tests.gateway.street import Street


def advice(
    terminal: Terminal, street: Street, amount_idr: int, mti: str = "0220", asked: Asked = Asked.PURCHASE
) -> Message:
    """What a partner tells of that it approved for the first card: no PIN comes with it."""
    message = terminal.request(asked, street.card, amount_idr, mti=mti)
    del message.fields[52]
    message.fields[39] = "00"
    return message


async def queued(bank: Bank) -> list[tuple[str, str, int, int | None]]:
    """Open exceptions: reason, type of the message, what it says and what its original had taken; in order."""
    _, found = await link_exceptions.overview(bank)
    return [(one.reason, one.mti, one.amount_idr, one.taken_idr) for one in sorted(found, key=lambda one: one.id)]


def told(done: Exchange) -> tuple[str, str]:
    """Type and code of an answer, which names no balance."""
    assert done.answer is not None
    assert {48, 54}.isdisjoint(done.answer.fields)
    return done.answer.mti, done.code


async def test_advices_are_posted(bank: Bank, tmp_path: Path) -> None:
    """0120 and 0220 of goods and cash move money without a PIN, below limits, with a lost card; repeats move nothing more."""
    async with open_street(bank, tmp_path) as street:
        family = street.families[0].family_id
        async with bank.database.engine.begin() as connection:
            await connection.execute(text("UPDATE card SET state = 'LOST'"))
        first = await street.shop.send(advice(street.shop, street, 100_000, "0120"))
        done = [first, await street.shop.repeat(first, marked=True)]
        done.append(await street.shop.send(advice(street.shop, street, 50_000)))
        done.append(await street.atm.send(advice(street.atm, street, 30_000, asked=Asked.CASH)))
        done.append(await street.agent.send(advice(street.agent, street, 20_000, "0121", Asked.CASH)))
        assert ["0130", "0130", "0230", "0230", "0130"] == [told(one)[0] for one in done]
        assert {"00"} == {one.code for one in done}
        assert AID_IDR - 200_000 == await available_idr(bank, family)
        assert [] == await queued(bank)
        assert ["PURCHASE", "PURCHASE", "CASH", "CASH"] == await _kinds(bank)
        back = await street.shop.reverse(first)
        assert ("00", AID_IDR - 100_000) == (back.code, await available_idr(bank, family))
    await assert_proved(bank)


async def test_what_cannot_be_posted_is_kept_for_people(bank: Bank, tmp_path: Path) -> None:
    """Accepted, whatever is the matter; never more than there is; once a message, however often it comes."""
    async with open_street(bank, tmp_path) as street:
        shop, family = street.shop, street.families[0].family_id
        wrong = [
            advice(shop, street, AID_IDR + 1_000),
            advice(shop, street, 10_000),
            advice(shop, street, 11_000, "0120"),
        ]
        wrong[1].fields[49] = "840"
        wrong[2].fields[2] = "6013010000000018"
        done = [await shop.send(one) for one in wrong]
        done += [await shop.repeat(done[0]), await shop.repeat(done[0], marked=True)]
        bad = advice(shop, street, 12_000)
        bad.fields[4] = "000000000050"
        done.append(await shop.send(bad))
        async with bank.database.engine.begin() as connection:
            await connection.execute(text("UPDATE account SET state = 'BLOCKED'"))
        done.append(await shop.send(advice(shop, street, 13_000)))
        declined = advice(shop, street, 14_000, "0120")
        declined.fields[39] = "51"
        done.append(await shop.send(declined))
        assert ["00", "00", "00", "00", "00", "30", "00", "00"] == [told(one)[1] for one in done]
        assert [
            ("INSUFFICIENT_FUNDS", "0220", AID_IDR + 1_000, None), ("ADVICE_NOT_SERVED", "0220", 10_000, None),
            ("CARD_UNKNOWN", "0120", 11_000, None), ("ADVICE_UNREADABLE", "0220", 0, None),
            ("ACCOUNT_BLOCKED", "0220", 13_000, None),
        ] == await queued(bank)  # fmt: skip
        assert "ADVICE_DECLINED" == (await reasons(bank))[-1]
        assert AID_IDR == await available_idr(bank, family)
    await assert_proved(bank)


async def test_a_field_that_cannot_be_read_is_answered_30_and_kept(bank: Bank, tmp_path: Path) -> None:
    """The codec's refusals too, where card and key can be read; without a key there is an answer and nothing to keep."""
    async with open_street(bank, tmp_path) as street, raw_link(street.service) as link:
        await link.send(framed(Message("0800", {7: "1123120000", 11: "000001", 70: "001"})))
        await link.receive()
        message = advice(street.shop, street, 10_000)
        key = (message.fields[7] + message.fields[11]).encode()
        for right, wrong in ((b"000001000000", b"00000100000X"), (key, key[:-1] + b"X")):
            assert 1 == framed(message).count(right)
            await link.send(framed(message).replace(right, wrong))
            answer = await link.receive()
            assert ("0230", "30") == (answer.mti, answer.get(39))
    assert [("ADVICE_UNREADABLE", "0220", 0, None)] == await queued(bank)
    detail = await one_value(bank, "SELECT detail FROM link_exception")
    assert detail.startswith("field 4: ")


async def test_completions_that_do_not_fit(bank: Bank, tmp_path: Path) -> None:
    """More than is held, a hold that lapsed, one nobody knows: 00, and each is told apart."""
    async with open_street(bank, tmp_path) as street:
        hold = await street.shop.hold(street.card, 100_000)
        lapsed = await street.shop.hold(street.card, 50_000)
        await as_owner(bank, LAPSE, stan=lapsed.request.fields[11])
        never = replace(hold, request=street.shop.request(Asked.PURCHASE, street.card, 70_000, mti="0100"))
        done = [
            await street.shop.complete(hold, 100_001), await street.shop.complete(lapsed, 50_000),
            await street.shop.complete(never, 70_000),
        ]  # fmt: skip
        assert ["00"] * 3 == [one.code for one in done]
        assert [
            ("HOLD_AMOUNT", "0220", 100_001, 100_000), ("HOLD_EXPIRED", "0220", 50_000, 0),
            ("ORIGINAL_UNKNOWN", "0220", 70_000, None),
        ] == await queued(bank)  # fmt: skip
        posted = await street.shop.send(advice(street.shop, street, 30_000, "0120"))
        late = await street.shop.complete(posted, 30_000)
        assert ("00", AID_IDR - 180_000) == (late.code, await available_idr(bank, street.families[0].family_id))
        assert (
            "00" == (await street.atm.withdraw(street.card, 10_000)).code
        )  # the month's use can be counted all the same
        assert 3 == len(await queued(bank))


async def test_an_advice_of_what_we_approved_takes_nothing_more(bank: Bank, tmp_path: Path) -> None:
    """Under the key of our own approval; under the key of our refusal people decide, once."""
    async with open_street(bank, tmp_path) as street:
        paid = await street.shop.purchase(street.card, 40_000)
        refused = await street.shop.purchase(street.card, AID_IDR)
        for first in (paid, refused):
            fields = {number: value for number, value in first.request.fields.items() if number != 52}
            done = [await street.shop.send(Message(mti, dict(fields))) for mti in ("0220", "0221")]
            expected = "00" if first is paid else "94"
            assert [("0230", expected)] * 2 == [told(one) for one in done]
        assert AID_IDR - 40_000 == await available_idr(bank, street.families[0].family_id)
        assert [("KEY_REUSED", "0220", AID_IDR, None)] == await queued(bank)


async def test_an_advice_of_what_was_given_back_is_for_people(bank: Bank, tmp_path: Path) -> None:
    """We approved, it was reversed, and then the partner says that it happened: 94, nothing moves, and people must look."""
    async with open_street(bank, tmp_path) as street:
        paid = await street.shop.purchase(street.card, 40_000)
        assert "00" == (await street.shop.reverse(paid)).code
        fields = {number: value for number, value in paid.request.fields.items() if number != 52}
        assert ("0230", "94") == told(await street.shop.send(Message("0220", fields)))
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)
        assert [("KEY_REUSED", "0220", 40_000, None)] == await queued(bank)


async def test_reversals_that_do_not_fit(bank: Bank, tmp_path: Path) -> None:
    """Another amount, and an original that never comes; one that comes after all is refused and needs nobody."""
    async with open_street(bank, tmp_path) as street:
        paid = await street.atm.withdraw(street.card, 100_000)
        wrong = street.atm.reversal(paid.request)
        wrong.fields[4] = "000009000000"
        await street.atm.send(wrong)
        late = street.atm.request(Asked.CASH, street.card, 20_000)
        await street.atm.send(street.atm.reversal(late))
        expected = [("REVERSAL_AMOUNT", "0420", 90_000, 100_000), ("ORIGINAL_UNKNOWN", "0420", 20_000, None)]
        assert expected == await queued(bank)
        assert "68" == (await street.atm.send(late)).code
        assert expected[:1] == await queued(bank)
        ended = await one_value(
            bank, "SELECT a.reason FROM link_exception x JOIN authorisation a ON a.id = x.settled_by"
        )
        assert "REVERSED_BEFORE" == ended
        for original in (paid, paid, await street.atm.withdraw(street.card, 2 * AID_IDR)):
            assert "00" == (await street.atm.reverse(original)).code
        found = await as_owner(bank, FOUND)
        assert [None, None, None, "ALREADY_REVERSED", "NOTHING_TAKEN"] == [row[0] for row in found]
        unposted = await street.shop.send(advice(street.shop, street, 2 * AID_IDR))
        assert 2 == len(await queued(bank))
        await street.shop.reverse(unposted)
        assert expected[:1] == await queued(bank)
    await assert_proved(bank)


async def test_a_reversal_stops_an_advice_that_comes_after_it(bank: Bank, tmp_path: Path) -> None:
    """Of a 0120, of a 0220, and of a hold: the late message is accepted or refused, and moves nothing."""
    async with open_street(bank, tmp_path) as street:
        late = [
            advice(street.shop, street, 10_000, "0120"), advice(street.shop, street, 20_000),
            street.shop.request(Asked.PURCHASE, street.card, 30_000, mti="0100"),
        ]  # fmt: skip
        for message in late:
            await street.shop.send(street.shop.reversal(message))
        assert 3 == len(await queued(bank))
        assert ["00", "00", "68"] == [(await street.shop.send(message)).code for message in late]
        assert [] == await queued(bank)
        assert AID_IDR == await available_idr(bank, street.families[0].family_id)


async def test_a_late_reversal_is_booked_and_shown(bank: Bank, tmp_path: Path) -> None:
    """After the partner's day was closed, and after the aid was frozen: the family has its money, and people are told."""
    async with open_till(bank, tmp_path, families=1) as till:
        first = bank.business_date
        paid = await till.ask(RequestKind.CASH, 100_000)
        other = await till.ask(RequestKind.PURCHASE, 50_000, Channel.EWARONG)
        await till.next_day()
        await settlement.close_all(bank, MAKER, first)
        await till.ask(RequestKind.REVERSAL, 100_000, original=paid)
        await as_owner(bank, "UPDATE tranche SET state = 'FROZEN'")
        await till.ask(RequestKind.REFUND, 10_000, Channel.EWARONG, original=other)
        assert [
            ("ORIGINAL_SETTLED", "0400", 100_000, 100_000),
            ("AID_RETURNING", "0200", 10_000, 50_000),
        ] == await queued(bank)
        assert AID_IDR - 40_000 == await available_idr(bank, till.families[0].family_id)


async def test_two_people_end_an_exception(bank: Bank, tmp_path: Path) -> None:
    """With a note, once, and in the audit chain; its age is counted in business dates."""
    async with open_street(bank, tmp_path) as street:
        await street.shop.send(advice(street.shop, street, 2 * AID_IDR))
    (count,), (found,) = await link_exceptions.overview(bank)
    assert ("himbara", "INSUFFICIENT_FUNDS", 1, 2 * AID_IDR) == (
        count.link,
        count.reason,
        count.messages,
        count.amount_idr,
    )
    assert (street.families[0].account_number, ExceptionState.OPEN) == (found.account, found.state)
    assert 0 == link_exceptions.age_days(bank, found)
    bank.moved_date = bank.business_date + timedelta(days=3)
    assert 3 == link_exceptions.age_days(bank, found)
    for maker, checker, note, word in (
        (MAKER, f" {MAKER.upper()} ", "x", "two different"), (MAKER, "", "x", "two different"), (MAKER, CHECKER, " ", "note"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=word):
            await link_exceptions.resolve(bank, maker, checker, found.id, note)
    ended = await link_exceptions.resolve(bank, MAKER, CHECKER, found.id, " partner repaid, letter 3 ")
    assert (ExceptionState.RESOLVED, MAKER, CHECKER, "partner repaid, letter 3", bank.business_date) == (
        ended.state, ended.maker, ended.checker, ended.note, ended.resolved_on
    )  # fmt: skip
    with pytest.raises(Refused, match="was resolved on"):
        await link_exceptions.resolve(bank, MAKER, CHECKER, found.id, "again")
    with pytest.raises(NotFound, match="there is no exception 99"):
        await link_exceptions.show(bank, 99)
    assert ([], []) == await link_exceptions.overview(bank)
    assert [ended] == (await link_exceptions.overview(bank, "himbara", resolved=True))[1]
    assert ([], []) == await link_exceptions.overview(bank, "another", resolved=True)
    assert 1 == await one_value(bank, "SELECT count(*) FROM audit_event WHERE operation = 'exception.resolve'")
    await assert_proved(bank)


@pytest.mark.parametrize(
    "change",
    ["amount_idr = 1", "reason = 'X'", "state = 'RESOLVED'",
     "state = 'RESOLVED', resolved_on = now(), settled_by = 1, note = 'x'",
     "state = 'RESOLVED', resolved_on = now(), maker = 'siti', checker = ' SITI', note = 'x'"],
)  # fmt: skip
async def test_the_database_keeps_an_exception_as_it_came(bank: Bank, tmp_path: Path, change: str) -> None:
    """What the message said, and an end without two people, are refused to everyone."""
    async with open_street(bank, tmp_path) as street:
        await street.shop.send(advice(street.shop, street, 2 * AID_IDR))
    with pytest.raises(DBAPIError):
        async with bank.database.engine.begin() as connection:
            await connection.execute(text(f"UPDATE link_exception SET {change}"))
    assert 1 == len(await queued(bank))


async def _kinds(bank: Bank) -> list[str]:
    async with reading(bank) as connection:
        return list(
            (await connection.execute(text("SELECT kind FROM authorisation ORDER BY decided_at, id"))).scalars()
        )


FOUND = "SELECT CAST(answer AS json) ->> 'found' FROM authorisation WHERE kind = 'REVERSAL' ORDER BY decided_at"
LAPSE = """
    UPDATE authorisation SET held_until = NULL, reversed_idr = amount_idr, kept_idr = ARRAY[0] WHERE stan = :stan
"""
