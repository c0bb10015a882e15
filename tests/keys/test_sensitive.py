"""Types that show themselves masked."""

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given

from keys.errors import PanRefused, PinRefusal, PinRefused
from keys.sensitive import Material, Pan, Pin, Sensitive
from tests.keys.samples import any_pans, pins

SECRETS: list[Sensitive[str] | Sensitive[bytes]] = [
    Pan("6013010000000019"),
    Pin("271828"),
    Material(b"a key of bytes!!"),
]


@given(any_pans)
def test_pan_shows_first_six_and_last_four(pan: Pan) -> None:
    """However it is made text, the others are stars, never fewer than four: a short one shows its end alone."""
    digits = pan.reveal()
    expected = (
        digits[:6] + "*" * (len(digits) - 10) + digits[-4:]
        if len(digits) >= 14
        else "*" * (len(digits) - 4) + digits[-4:]
    )
    assert expected.count("*") >= 4
    assert [expected] * 3 == [str(pan), f"{pan}", format(pan, "")]
    assert f"Pan({expected})" == repr(pan) == f"{pan!r}"
    assert (digits[:6], digits[-4:]) == (pan.bin6, pan.last4)


@given(pins)
def test_pin_shows_nothing_of_itself(digits: str) -> None:
    """Not even its length."""
    assert "Pin(******)" == repr(Pin(digits))
    assert {"******"} == {str(Pin(digits)), f"{Pin(digits)}", "%s" % Pin(digits)}  # noqa: UP031 - each way of formatting


def test_format_spec_applies_to_the_mask() -> None:
    """Alignment works, and still shows only the mask."""
    assert "    ******" == f"{Pin('271828'):>10}"


@pytest.mark.parametrize(
    "digits", ["", "6013011", "60130100000000000019", "601301000000001a", "６０１３０１００００００００１９"]
)
def test_what_is_no_pan_is_refused(digits: str) -> None:
    """8 to 19 ASCII digits, and the error does not repeat them."""
    with pytest.raises(PanRefused) as caught:
        Pan(digits)
    assert not digits or digits not in str(caught.value)


def test_the_shortest_and_the_longest() -> None:
    """ISO/IEC 7812-1: 8 to 19 digits."""
    assert ["****0112", "601301*********0019"] == [str(Pan("60130112")), str(Pan("6013010000000000019"))]


def test_check_digit_is_asked_for_by_name() -> None:
    """A wrong check digit is refused where luhn=True, and let through where a link may send any number."""
    assert "0018" == Pan("6013010000000018").last4
    with pytest.raises(PanRefused, match="check digit"):
        Pan("6013010000000018", luhn=True)
    assert "0019" == Pan("6013010000000019", luhn=True).last4


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        ("123", PinRefusal.WRONG_LENGTH),
        ("1234567890123", PinRefusal.WRONG_LENGTH),
        ("12345a", PinRefusal.NOT_DIGITS),
        ("", PinRefusal.NOT_DIGITS),
        ("１２３４５６", PinRefusal.NOT_DIGITS),
    ],
)
def test_what_is_no_pin_is_refused(digits: str, reason: PinRefusal) -> None:
    """4 to 12 ASCII digits."""
    with pytest.raises(PinRefused) as caught:
        Pin(digits)
    assert reason is caught.value.reason


@pytest.mark.parametrize("secret", SECRETS, ids=repr)
def test_never_pickled(secret: Sensitive[str] | Sensitive[bytes]) -> None:
    """Pickle and json refuse."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(secret, protocol)
    with pytest.raises(TypeError):
        json.dumps(secret)


@pytest.mark.parametrize("secret", SECRETS, ids=repr)
def test_never_changed(secret: Sensitive[str] | Sensitive[bytes]) -> None:
    """No attribute can be set or deleted, and there is no __dict__."""
    with pytest.raises(AttributeError, match="cannot be changed"):
        secret._value = "000000"
    with pytest.raises(AttributeError, match="cannot be changed"):
        del secret._value
    assert not hasattr(secret, "__dict__")


def test_equal_by_type_and_value() -> None:
    """A PIN is not a PAN of the same digits."""
    digits = "1234567890123"[:12]
    assert Pin(digits) == Pin(digits)
    assert Pin("271828") != Pin("271829")
    assert Pin("271828") != Material(b"271828")
    assert Pin("271828") != "271828"
    assert 1 == len({Pan("6013010000000019"), Pan("6013010000000019")})


def test_copies_are_the_same_object() -> None:
    """A record that holds one can be copied, and still shows the mask."""

    @dataclass(frozen=True)
    class Request:
        pan: Pan

    request = Request(Pan("6013010000000019"))
    assert request.pan is copy.copy(request.pan)
    assert "{'pan': Pan(601301******0019)}" == repr(asdict(request))
