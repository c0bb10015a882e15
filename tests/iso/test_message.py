"""Answers: their MTI and what they echo; and a repr without secrets."""

import pytest

from iso.errors import FormatError
from iso.message import Message, response_mti
from tests.iso.samples import withdrawal


@pytest.mark.parametrize(
    ("request_mti", "answer_mti"),
    [
        ("0100", "0110"),
        ("0101", "0110"),
        ("0120", "0130"),
        ("0121", "0130"),
        ("0200", "0210"),
        ("0220", "0230"),
        ("0221", "0230"),
        ("0400", "0410"),
        ("0401", "0410"),
        ("0420", "0430"),
        ("0421", "0430"),
        ("0500", "0510"),
        ("0800", "0810"),
        ("2200", "2210"),
        ("0999", "none"),
        ("0640", "0650"),
        ("0202", "0212"),
        ("0203", "0212"),
        ("0207", "0217"),
    ],
)
def test_response_mti(request_mti: str, answer_mti: str) -> None:
    """Known and unknown requests have an answering MTI; answers have none."""
    try:
        answered = response_mti(request_mti)
    except FormatError:
        answered = "none"
    assert answered == answer_mti


@pytest.mark.parametrize("mti", ["0210", "0430", "0810", "020", "02000", "", "02x0"])
def test_an_answer_is_never_answered(mti: str) -> None:
    """An MTI that is an answer's, or none, is refused."""
    with pytest.raises(FormatError, match=r"^message: MTI"):
        response_mti(mti)


def test_response_echoes_what_matching_needs() -> None:
    """DE 2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42 and 49 come back; PIN block, MCC and entry mode do not."""
    answer = withdrawal().response()
    assert (answer.mti, list(answer.fields)) == ("0210", [2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49])


def test_response_does_not_change_the_request() -> None:
    """Filling the answer leaves the question alone."""
    request = withdrawal()
    request.response().fields[39] = "00"
    assert request == withdrawal()


def test_network_answer_echoes_the_network_code() -> None:
    """An 0810 repeats DE70."""
    answer = Message("0800", {7: "1224031500", 11: "000001", 53: "0" * 16, 70: "301"}).response()
    assert answer == Message("0810", {7: "1224031500", 11: "000001", 70: "301"})


def test_reversal_answer_echoes_the_original_data() -> None:
    """An 0430 repeats DE90, and no DE70."""
    answer = Message("0421", {11: "000124", 70: "001", 90: "0" * 42}).response()
    assert answer == Message("0430", {11: "000124", 90: "0" * 42})


def test_get() -> None:
    """A field, or the default."""
    message = withdrawal()
    assert (message.get(11), message.get(39), message.get(39, "")) == ("000123", None, "")


@pytest.mark.parametrize(("mti", "is_request"), [("0200", True), ("0421", True), ("0210", False), ("0430", False)])
def test_is_request(mti: str, is_request: bool) -> None:  # noqa: FBT001 - a column of the table above
    """Requests and advices are due an answer, answers are not."""
    assert Message(mti, {}).is_request is is_request


def test_repr_is_masked() -> None:
    """Neither card number nor PIN block show."""
    text = repr(withdrawal())
    assert ("601301******0018" in text, "6013010000000018" in text, "0123456789ABCDEF" in text) == (True, False, False)
