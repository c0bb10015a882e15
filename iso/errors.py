"""Everything that can go wrong with a message, a frame or a link.

Refuses to know values: no message of these errors holds what stood in a field, so each may be logged as it is.
Read next: codec.py (who raises FormatError), framing.py (FrameError), client.py (the link errors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iso.message import Message


class IsoError(Exception):
    """Root of all errors of this room."""


class DialectError(IsoError):
    """A dialect's own table is wrong: found when it is made, never on a message."""


class FormatError(IsoError):
    """A message, or one field of it, is not what the dialect says. On the wire this is response code 30.

    `field` is the data element's number, or None where the fault is in no single field. `partial` holds the MTI and all
    fields that could be read, so that an answer can echo them; None where not even the MTI was readable.
    """

    def __init__(self, field: int | None, reason: str, partial: Message | None = None) -> None:
        super().__init__(f"message: {reason}" if field is None else f"field {field}: {reason}")
        self.field = field
        self.reason = reason
        self.partial = partial


class FrameError(IsoError):
    """A length header makes no sense, or a message header is not this link's.

    Where the next message starts, or whose it is, is unknown, so the link must be closed.
    `complete` holds the frames that were whole before the bad length header; they may still be answered.
    """

    def __init__(self, reason: str, complete: Sequence[bytes] = ()) -> None:
        super().__init__(f"frame: {reason}")
        self.reason = reason
        self.complete = tuple(complete)


class LinkError(IsoError):
    """A link could not be used."""


class LinkClosed(LinkError):
    """The connection is not there, or went away before the answer came. Of this class itself: because we closed it."""


class LinkFailed(LinkClosed):
    """The connection could not be made, or went away without our closing it: refused, cut, closed by the other side, dead."""


class DuplicateInFlight(LinkError):
    """A request with the same key still waits for its answer: one answer could not be told from the other. Not sent."""


class LinkTimeout(LinkError):
    """No answer came in time. Whether the other side acted is unknown: reverse, or repeat."""


class SignOnRefused(LinkError):
    """The other side answered the sign-on with something other than 00."""

    def __init__(self, response_code: str) -> None:
        super().__init__(f"sign-on refused with response code {response_code}")
        self.response_code = response_code
