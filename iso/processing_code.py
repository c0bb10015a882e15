"""DE3, the processing code: transaction, from-account and to-account, two digits each (ISO 8583:1987, A.1).

Knows the split and the standard's names, not what a bank does for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iso.errors import FormatError

_FIELD = 3
_DIGITS = re.compile(r"[0-9]{6}")


@dataclass(frozen=True, slots=True)
class ProcessingCode:
    """The parts of DE3, two digits each."""

    transaction: str
    """00 purchase, 01 cash, 20 refund, 30 and 31 balance, 40 transfer, 9x PIN."""
    from_account: str
    """00 default, 10 savings, 20 current, 30 credit; others by agreement."""
    to_account: str

    @property
    def text(self) -> str:
        """DE3, 6 digits."""
        return self.transaction + self.from_account + self.to_account


def read_processing_code(text: str) -> ProcessingCode:
    """The parts of a DE3. Raises FormatError unless it is 6 digits."""
    if _DIGITS.fullmatch(text) is None:
        raise FormatError(_FIELD, "must be 6 digits")
    return ProcessingCode(text[:2], text[2:4], text[4:])
