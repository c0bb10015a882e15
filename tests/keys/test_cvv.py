"""Card verification values."""

from collections.abc import Callable
from typing import Any

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import cvv, tdes
from keys.cvv import CardValue, ExpiryOrder
from keys.errors import CardDataRefused, KeysError
from keys.sensitive import Pan
from tests.keys.samples import PAN, SECOND_KEY, pans, vectors

KINDS = {"000": CardValue.CVV2, "999": CardValue.ICVV}
four_digits = st.text("0123456789", min_size=4, max_size=4)
service_codes = st.text("0123456789", min_size=3, max_size=3).filter(lambda code: code not in KINDS)


def ready(key: bytes, digits: int = 3) -> Callable[[bytes], str]:
    """A maker over a CVK of 16 bytes."""
    return cvv.maker(tdes.encipherer(key[:8]), tdes.encipherer(key), digits)


MAKE = ready(SECOND_KEY)


@pytest.mark.parametrize("vector", vectors("cvv"), ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """CVV1, iCVV and CVV2 of one card; jPOS with its short account numbers; psec."""
    given_ = vector["inputs"]
    pan, expiry, code = given_["pan"], given_["expiry"], given_["service_code"]
    make = ready(bytes.fromhex(given_["cvk"]))
    assert vector["expected"]["cvv"] == make(cvv.data_of(pan, expiry, code))
    if len(pan) > 12:
        kind = KINDS.get(code, CardValue.CVV1)
        data = cvv.card_data(kind, Pan(pan), expiry, code if kind is CardValue.CVV1 else None)
        assert vector["expected"]["cvv"] == make(data)


@pytest.mark.parametrize("vector", vectors("dcvv"), ids=lambda vector: vector["name"])
def test_dynamic_vectors(vector: dict[str, Any]) -> None:
    """An external tool's, with a key of the card by EMV option A."""
    given_ = vector["inputs"]
    master = tdes.encipherer(bytes.fromhex(given_["mdk"]))
    left = bytes.fromhex((given_["pan"] + given_["psn"])[-16:])
    card_key = master(left) + master(bytes(byte ^ 0xFF for byte in left))
    data = cvv.card_data(CardValue.DCVV, Pan(given_["pan"]), given_["expiry"], given_["service_code"], given_["atc"])
    assert vector["expected"]["dcvv"] == ready(card_key)(data)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.binary(min_size=16, max_size=16), pans, four_digits, service_codes)
def test_same_as_psec(key: bytes, pan: Pan, expiry: str, code: str) -> None:
    """The psec package makes the same values; where a block has fewer than three numerals it stops short, and we do not."""
    make = ready(key)
    for kind, service_code in ((CardValue.CVV1, code), (CardValue.CVV2, None), (CardValue.ICVV, None)):
        fixed = {CardValue.CVV2: "000", CardValue.ICVV: "999"}.get(kind, code)
        expected = psec.cvv.generate_cvv(key, pan.reveal(), expiry, fixed)
        made = make(cvv.card_data(kind, pan, expiry, service_code))
        assert 3 == len(made)
        assert expected == made[: len(expected)]


@given(pans, four_digits, service_codes)
def test_more_digits_go_on_where_fewer_stop(pan: Pan, expiry: str, code: str) -> None:
    """Four or five digits begin with the three."""
    data = cvv.card_data(CardValue.CVV1, pan, expiry, code)
    made = [ready(SECOND_KEY, digits)(data) for digits in (3, 4, 5)]
    assert [3, 4, 5] == [len(value) for value in made]
    assert made[0] == made[1][:3] == made[2][:3]
    assert made[1] == made[2][:4]


def test_the_steps_of_a_token() -> None:
    """Two calls: the first block under the left half alone, then, with the second added, under the whole key."""
    steps: list[tuple[str, str]] = []

    def noted(name: str, answer: bytes) -> Callable[[bytes], bytes]:
        def encipher(block: bytes) -> bytes:
            steps.append((name, block.hex()))
            return answer

        return encipher

    make = cvv.maker(
        noted("left", bytes.fromhex("00000000000000FF")), noted("whole", bytes.fromhex("FEDCBAFEDCBAFE91")), 5
    )
    assert "91543" == make(bytes.fromhex("0123456789ABCDEF00000000000000F1"))
    assert [("left", "0123456789abcdef"), ("whole", "000000000000000e")] == steps


def test_fields_stand_one_behind_the_other() -> None:
    """PAN of any length, expiry, service code, zeros."""
    assert "6013010000000019" + "2512" + "101" + "0" * 9 == cvv.card_data(CardValue.CVV1, PAN, "2512", "101").hex()
    assert "6013010000000019" + "1225" + "000" + "0" * 9 == cvv.card_data(CardValue.CVV2, PAN, "1225").hex()
    assert "6013010000000019" + "2512" + "999" + "0" * 9 == cvv.card_data(CardValue.ICVV, PAN, "2512").hex()
    assert (
        "0042010000000019" + "2512" + "101" + "0" * 9 == cvv.card_data(CardValue.DCVV, PAN, "2512", "101", "0042").hex()
    )
    assert "4111111111111111113" + "2512" + "101" + "0" * 6 == cvv.data_of("4111111111111111113", "2512", "101").hex()


def test_kinds_of_one_card_differ() -> None:
    """A value read at one place is of no use at another (four different ones for the sample card)."""
    data = [
        cvv.card_data(CardValue.CVV1, PAN, "2512", "101"),
        cvv.card_data(CardValue.CVV2, PAN, "2512"),
        cvv.card_data(CardValue.ICVV, PAN, "2512"),
        cvv.card_data(CardValue.DCVV, PAN, "2512", "101", "0001"),
    ]
    assert 4 == len({ready(SECOND_KEY, 5)(one) for one in data})


@pytest.mark.parametrize(
    ("kind", "service_code", "counter"),
    [
        (CardValue.CVV1, None, None),
        (CardValue.CVV1, "000", None),
        (CardValue.CVV1, "999", None),
        (CardValue.CVV1, "", None),
        (CardValue.CVV1, "101", "0001"),
        (CardValue.CVV2, "101", None),
        (CardValue.CVV2, "000", None),
        (CardValue.CVV2, None, "0001"),
        (CardValue.ICVV, "999", None),
        (CardValue.ICVV, None, "0001"),
        (CardValue.DCVV, None, "0001"),
        (CardValue.DCVV, "101", None),
        (CardValue.DCVV, "000", "0001"),
        (CardValue.DCVV, "999", "0001"),
        (CardValue.DCVV, "101", "001"),
        (CardValue.DCVV, "101", "00A1"),
    ],
)
def test_what_does_not_belong_to_a_kind_is_refused(
    kind: CardValue, service_code: str | None, counter: str | None
) -> None:
    """So no kind can be asked for by another name."""
    with pytest.raises(CardDataRefused):
        cvv.card_data(kind, PAN, "2512", service_code, counter)


@pytest.mark.parametrize(
    ("account", "expiry", "service_code", "what"),
    [
        ("12345678901", "2512", "101", "12 to 19"),
        ("12345678901234567890", "2512", "101", "12 to 19"),
        ("60130100000000I9", "2512", "101", "12 to 19"),
        ("６０１３０１００００００００１９", "2512", "101", "12 to 19"),
        ("6013010000000019", "251", "101", "expiry"),
        ("6013010000000019", "25123", "101", "expiry"),
        ("6013010000000019", "25/1", "101", "expiry"),
        ("6013010000000019", "2512", "10", "service code"),
        ("6013010000000019", "2512", "1011", "service code"),
        ("6013010000000019", "2512", "1F1", "service code"),
    ],
)
def test_bad_fields_are_refused(account: str, expiry: str, service_code: str, what: str) -> None:
    """By name, without the value."""
    with pytest.raises(CardDataRefused, match=what) as caught:
        cvv.data_of(account, expiry, service_code)
    assert account not in str(caught.value)


@pytest.mark.parametrize("digits", [-1, 0, 1, 2, 6, 16])
def test_other_counts_of_digits_are_refused(digits: int) -> None:
    """Two digits are guessed too soon; six are not in the block for certain."""
    with pytest.raises(CardDataRefused, match="3 to 5"):
        ready(SECOND_KEY, digits)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 24])
def test_other_data_reach_no_cipher(length: int) -> None:
    """A cipher would be out of step after a part of a block."""
    with pytest.raises(CardDataRefused, match="16 bytes"):
        MAKE(bytes(length))
    assert "139" == MAKE(cvv.data_of("4111111111111111", "2512", "201"))


@pytest.mark.parametrize(("order", "expected"), [(ExpiryOrder.YYMM, "2611"), (ExpiryOrder.MMYY, "1126")])
def test_order_of_an_expiry_date(order: ExpiryOrder, expected: str) -> None:
    """The track's, or the other way round."""
    assert expected == cvv.ordered_expiry("2611", order)


@pytest.mark.parametrize("order", ExpiryOrder)
@pytest.mark.parametrize("expiry", ["2600", "2613", "1126", "261", "26111", "26/1", "", "２６１１"])
def test_bad_expiry_dates_are_refused(expiry: str, order: ExpiryOrder) -> None:
    """A month is 01 to 12, in whatever order it is asked for."""
    with pytest.raises(CardDataRefused):
        cvv.ordered_expiry(expiry, order)


@given(
    st.sampled_from(CardValue),
    pans,
    st.text(max_size=5) | four_digits,
    st.none() | st.text(max_size=4) | service_codes,
    st.none() | st.text(max_size=5) | four_digits,
)
def test_any_input_gives_three_digits_or_an_error_of_ours(
    kind: CardValue, pan: Pan, expiry: str, service_code: str | None, counter: str | None
) -> None:
    """Nothing else."""
    try:
        value = MAKE(cvv.card_data(kind, pan, expiry, service_code, counter))
    except KeysError:
        return
    assert value.isdigit()
    assert 3 == len(value)


@given(st.text(max_size=6), st.sampled_from(ExpiryOrder))
def test_any_expiry_gives_four_digits_or_an_error_of_ours(expiry: str, order: ExpiryOrder) -> None:
    """Nothing else."""
    try:
        assert 4 == len(cvv.ordered_expiry(expiry, order))
    except KeysError:
        assert expiry[2:] not in cvv._MONTHS or not expiry.isascii() or not expiry.isdigit()
