"""One message: its type and its fields as text, and the skeleton of its answer.

Knows no dialect and no meaning of a field. Its repr is masked. Read next: codec.py (bytes), describe.py (masking).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import overload

from iso import describe
from iso.errors import FormatError

_ECHOED = frozenset({2, 3, 4, 7, 11, 12, 13, 32, 33, 37, 41, 42, 49})
_ECHOED_BY_CLASS = {"4": _ECHOED | {90}, "8": _ECHOED | {70}}
_MTI_LENGTH = 4
_MTIS_KEPT = 128


@dataclass(slots=True, repr=False)
class Message:
    """A message. `mti` is 4 digits, `fields` maps a data element's number (2 to 192) to its text.

    Text whatever the dialect: digits, characters, upper case hexadecimal of what is binary.
    """

    mti: str
    fields: dict[int, str]

    def __repr__(self) -> str:
        return f"Message({describe.summary(self)})"

    @overload
    def get(self, number: int) -> str | None: ...

    @overload
    def get(self, number: int, default: str) -> str: ...

    def get(self, number: int, default: str | None = None) -> str | None:
        """The field's text, or `default` where the message does not hold it."""
        return self.fields.get(number, default)

    @property
    def is_request(self) -> bool:
        """Whether an answer is due: the third digit of the MTI is even."""
        return self.mti[2:3] in _ANSWERED_BY

    def response(self) -> Message:
        """A new message with the answering MTI and what an answer must echo; the response code is the caller's.

        Echoed where present: DE 2, 3, 4, 7, 11, 12, 13, 32, 33, 37, 41, 42, 49; DE90 of a reversal; DE70 of network
        management. Raises FormatError where the message is itself an answer.
        """
        echoed = _ECHOED_BY_CLASS.get(self.mti[1:2], _ECHOED)
        return Message(
            response_mti(self.mti), {number: text for number, text in self.fields.items() if number in echoed}
        )


@lru_cache(maxsize=_MTIS_KEPT)
def response_mti(mti: str) -> str:
    """The MTI that answers `mti`, known or unknown: version and class stay, function and origin follow the standard.

    Third digit (function): 0 request, 2 advice, 4 notification, 6 and 8 reserved; each is answered by the next odd one,
    so 0200 -> 0210, 0420 -> 0430, 0620 -> 0630. Fourth digit (origin): 1, 3 and 5 are repeats and are answered as the
    first sending, so 0101 -> 0110, 0401 -> 0410, 0421 -> 0430. Raises FormatError where the function is odd: an answer
    is never answered, or two hosts could talk for ever.
    """
    if len(mti) != _MTI_LENGTH:
        raise FormatError(None, "MTI must be 4 digits")
    function = _ANSWERED_BY.get(mti[2])
    if function is None:
        raise FormatError(None, "MTI is that of an answer")
    origin = mti[3]
    return mti[:2] + function + _FIRST_SENDING.get(origin, origin)


_ANSWERED_BY = {"0": "1", "2": "3", "4": "5", "6": "7", "8": "9"}
_FIRST_SENDING = {"1": "0", "3": "2", "5": "4"}
