"""Errors say where and what, and keep what could be read."""

from iso.errors import (
    DuplicateInFlight,
    FormatError,
    FrameError,
    IsoError,
    LinkClosed,
    LinkError,
    LinkFailed,
    LinkTimeout,
    SignOnRefused,
)
from iso.message import Message


def test_format_error_names_its_field() -> None:
    """A fault in one field is told with the field's number."""
    assert str(FormatError(4, "must be 12 digits")) == "field 4: must be 12 digits"


def test_format_error_without_a_field_speaks_of_the_message() -> None:
    """A fault in no single field is told of the message."""
    assert str(FormatError(None, "MTI must be 4 digits")) == "message: MTI must be 4 digits"


def test_format_error_keeps_the_partial_message() -> None:
    """What could be read travels with the error."""
    partial = Message("0200", {11: "000123"})
    assert FormatError(4, "must be 12 digits", partial).partial is partial


def test_frame_error_keeps_the_whole_messages() -> None:
    """Messages that were whole before a bad header are not lost."""
    error = FrameError("the length header is not 4 digits", [b"one", b"two"])
    assert (str(error), error.complete) == ("frame: the length header is not 4 digits", (b"one", b"two"))


def test_sign_on_refused_tells_the_code() -> None:
    """The refusal names the response code."""
    error = SignOnRefused("91")
    assert (str(error), error.response_code) == ("sign-on refused with response code 91", "91")


def test_every_error_of_the_room_is_an_iso_error() -> None:
    """One except clause catches all of them."""
    links = [LinkClosed(), LinkFailed(), LinkTimeout(), DuplicateInFlight(), SignOnRefused("05")]
    assert [True] * 5 == [isinstance(error, LinkError) for error in links]
    assert [True] * 3 == [isinstance(error, IsoError) for error in (LinkError(), FormatError(None, ""), FrameError(""))]


def test_a_link_that_failed_is_one_that_is_closed() -> None:
    """Who does not care why catches both; who does can tell."""
    assert (True, False) == (issubclass(LinkFailed, LinkClosed), issubclass(LinkClosed, LinkFailed))
