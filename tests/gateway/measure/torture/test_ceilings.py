"""Tests of gateway.measure.torture.ceilings: limits as the model reads them."""

from __future__ import annotations

import datetime as dt

from gateway.measure.torture.ceilings import CASH_CHANNELS, Ceiling
from tests.gateway.measure.torture.model import DAY, credit, family, say

NEXT = DAY + dt.timedelta(days=1)


def test_a_day_and_a_month() -> None:
    """What is taken counts, what was given back does not, and the next day begins anew while the month goes on."""
    one = family(
        900_000, ceilings=(Ceiling("DAY", CASH_CHANNELS, None, 200_000), Ceiling("MONTH", None, None, 300_000))
    )
    first = say("CASH", 150_000)
    assert "APPROVED" == one.answer(first, DAY).reason
    assert "LIMIT_AMOUNT" == one.answer(say("CASH", 60_000), DAY).reason
    assert "APPROVED" == one.answer(say("PURCHASE", 60_000), DAY).reason
    assert "APPROVED" == one.answer(say("CASH", 90_000), NEXT).reason
    assert "LIMIT_AMOUNT" == one.answer(say("CASH", 10_000), NEXT).reason
    one.answer(say("REVERSAL", 150_000, original=first.key), NEXT)
    assert "APPROVED" == one.answer(say("CASH", 10_000), NEXT).reason


def test_how_often() -> None:
    """A hold counts and its completion takes its place; rupiah come before transactions."""
    one = family(900_000, ceilings=(Ceiling("DAY", None, None, None, 2), Ceiling("TRANSACTION", None, None, 500_000)))
    hold = say("HOLD", 10_000)
    one.answer(hold, DAY)
    one.answer(say("COMPLETION", 10_000, original=hold.key), DAY)
    assert "APPROVED" == one.answer(say("CASH", 10_000), DAY).reason
    assert "LIMIT_COUNT" == one.answer(say("CASH", 10_000), DAY).reason
    assert "LIMIT_AMOUNT" == one.answer(say("CASH", 600_000), DAY).reason


def test_one_programme_and_one_machine() -> None:
    """Other money and other machines are not counted; a machine's limit counts everybody's and no reversal helps."""
    ceilings = (Ceiling("DAY", None, "PKH", 50_000), Ceiling("DAY", None, None, 100_000, 2, terminal="2:A1"))
    one = family(ceilings=ceilings)
    credit(one, 100_000, DAY, "SEMBAKO")
    credit(one, 200_000, DAY, "PKH")
    assert "APPROVED" == one.answer(say("CASH", 90_000), DAY).reason
    assert "LIMIT_AMOUNT" == one.answer(say("CASH", 70_000), DAY).reason
    other = family(900_000, ceilings=ceilings)
    first = say("CASH", 60_000, terminal="2:A1")
    other.answer(first, DAY)
    other.answer(say("REVERSAL", 60_000, original=first.key), DAY)
    one.machines = other.machines
    assert "LIMIT_AMOUNT" == one.answer(say("CASH", 50_000, terminal="2:A1"), DAY).reason
    assert "APPROVED" == one.answer(say("CASH", 20_000, terminal="2:A1"), DAY).reason
    assert "LIMIT_COUNT" == one.answer(say("CASH", 10_000, terminal="2:A1"), DAY).reason


def test_a_period() -> None:
    """Before its first day and after its last a limit is not asked."""
    one = family(900_000, ceilings=(Ceiling("TRANSACTION", None, None, 1, start=NEXT, end=NEXT),))
    said = [one.answer(say("CASH", 10_000), day).reason for day in (DAY, NEXT, NEXT + dt.timedelta(days=1))]
    assert ["APPROVED", "LIMIT_AMOUNT", "APPROVED"] == said
