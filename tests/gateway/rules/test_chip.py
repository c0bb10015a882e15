"""Twin of gateway.rules.chip: what is no proof of a card, and which transaction counters are refused."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.authorise import DeclineReason
from gateway.rules.chip import ATC_MOST, CardRules, Entry, Need, Shown, counter_fault, entry_of, missing_proof

R = DeclineReason
NEEDS: tuple[Need, ...] = get_args(Need)
RULES = st.builds(CardRules, st.sampled_from(NEEDS), st.sampled_from(NEEDS), st.booleans(), st.integers(1, ATC_MOST))
SHOWN = st.builds(
    Shown, st.sampled_from(Entry), st.booleans(), st.sampled_from(["", "101", "201", "501", "601"]), st.booleans()
)
ATCS = st.integers(0, ATC_MOST)


def shown(words: str) -> Shown:
    """What came, in words: how the card was read, whether with chip data, a service code, a value."""
    entry, *rest = words.split()
    code = next((word for word in rest if word.isdigit()), "")
    return Shown(Entry(entry), "chip" in rest, code, "value" in rest)


@pytest.mark.parametrize(
    ("de22", "entry"),
    [
        ("051", Entry.CHIP), ("071", Entry.CHIP), ("951", Entry.CHIP), ("021", Entry.STRIPE), ("901", Entry.STRIPE),
        ("911", Entry.STRIPE), ("801", Entry.FALLBACK), ("011", Entry.OTHER), ("000", Entry.OTHER), ("", Entry.OTHER),
        ("5", Entry.OTHER),
    ],
)  # fmt: skip
def test_de22_says_how_the_card_was_read(de22: str, entry: Entry) -> None:
    """Its first two digits; what says neither chip nor stripe is neither."""
    assert entry is entry_of(de22)


@pytest.mark.parametrize(
    ("chip", "value", "allowed", "came", "reason"),
    [
        ("off", "off", False, shown("FALLBACK 601"), None),
        ("required", "required", False, shown("CHIP chip"), None),
        ("required", "required", False, shown("STRIPE chip 601"), None),
        ("required", "off", False, shown("CHIP"), R.CHIP_MISSING),
        ("required", "off", False, shown("OTHER 101 value"), R.CHIP_MISSING),
        ("required", "off", False, shown("STRIPE"), R.CHIP_MISSING),
        ("required", "off", True, shown("FALLBACK"), R.CHIP_MISSING),
        ("required", "off", False, shown("STRIPE 101"), None),
        ("required", "off", False, shown("STRIPE 601"), R.FALLBACK_REFUSED),
        ("optional", "off", False, shown("STRIPE 201 value"), R.FALLBACK_REFUSED),
        ("optional", "off", False, shown("FALLBACK 101 value"), R.FALLBACK_REFUSED),
        ("required", "off", True, shown("FALLBACK 601"), None),
        ("required", "required", True, shown("FALLBACK 601"), R.STRIPE_VALUE_MISSING),
        ("required", "required", True, shown("FALLBACK 601 value"), None),
        ("optional", "off", False, shown("CHIP"), None),
        ("off", "required", False, shown("CHIP"), R.STRIPE_VALUE_MISSING),
        ("off", "required", False, shown("OTHER"), R.STRIPE_VALUE_MISSING),
        ("off", "optional", False, shown("STRIPE 601"), None),
    ],
)  # fmt: skip
def test_what_is_no_proof(chip: Need, value: Need, *, allowed: bool, came: Shown, reason: DeclineReason | None) -> None:
    """Policies of a link beside what came."""
    assert reason is missing_proof(CardRules(chip, value, allowed, 100), came)


@given(rules=RULES, came=SHOWN)
def test_a_stricter_link_never_lets_more_through(rules: CardRules, came: Shown) -> None:
    """Whatever is refused stays refused where a policy is tightened, and a link that wants nothing refuses nothing."""
    refused = missing_proof(rules, came) is not None
    if rules.chip == rules.stripe_value == "off":
        assert not refused
    stricter = [rules._replace(chip=need) for need in NEEDS[NEEDS.index(rules.chip) :]]
    stricter += [rules._replace(stripe_value=need) for need in NEEDS[NEEDS.index(rules.stripe_value) :]]
    for one in (*stricter, rules._replace(fallback_allowed=False)):
        assert missing_proof(one, came) is not None or not refused


@given(rules=RULES, entry=st.sampled_from(Entry), code=st.sampled_from(["", "101", "601"]))
def test_no_other_de22_is_a_way_around_what_is_required(rules: CardRules, entry: Entry, code: str) -> None:
    """Without chip data and without a value nothing passes a link that requires both."""
    assert missing_proof(rules._replace(chip="required", stripe_value="required"), shown(f"{entry} {code}"))


@given(last=st.none() | ATCS, atc=ATCS, window=st.integers(1, ATC_MOST))
def test_a_counter_goes_up_within_its_window(last: int | None, atc: int, window: int) -> None:
    """Any first one; then above the last, and not too far."""
    fault = counter_fault(last, atc, window)
    if last is None or atc in range(last + 1, last + window + 1):
        assert fault is None
    else:
        assert fault is (R.CHIP_REPLAYED if atc <= last else R.CHIP_AHEAD)
