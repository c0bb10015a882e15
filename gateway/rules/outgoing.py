"""What we send of our own accord: how a message is repeated, when it is tried again, and what its answer means. Pure.

The head of a link's queue is sent until it is answered for good, is refused for good, or is too old; later ones wait for it.
Response codes are those of ISO 8583:1987, DE39; 24 to 29 are its codes of file actions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

APPROVED, NOT_ON_FILE, OLD_RECORD_REPLACED, DUPLICATE = "00", "25", "26", "94"
TRY_AGAIN = frozenset({"09", "19", "28", "68", "90", "91", "92", "96"})
"""In progress, re-enter, file locked out, too late, cut-off, issuer or switch down, no route, malfunction: not for good."""
WAIT_MOST_S = 600.0
LAST_STAN = 999_999
REPEATS = {"0": "1", "2": "3", "4": "5"}


class OutgoingState(StrEnum):
    """Where a message stands. SENT: it has left, or may have; REFUSED and EXPIRED wait for a person."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"
    DROPPED = "DROPPED"


WAITING = (OutgoingState.QUEUED, OutgoingState.SENT)
FOR_PEOPLE = (OutgoingState.REFUSED, OutgoingState.EXPIRED)


class Verdict(StrEnum):
    """What an answer means for the message it answers."""

    DONE = "done"
    AGAIN = "again"
    REFUSED = "refused"


def judge(code: str | None, *, repeated: bool, deletes: bool) -> Verdict:
    """What DE39 of an answer says. REPEATED: the message was sent before; DELETES: it takes something off the other side's file.

    A duplicate (94) of what was sent before means that it had arrived; a record that is not there (25) is deleted already, and
    one that was there (26) has been replaced. An answer without a code says nothing: the message is sent again.

    >>> [judge(code, repeated=True, deletes=False).value for code in ("00", "94", "91", "57", None)]
    ['done', 'done', 'again', 'refused', 'again']
    """
    if code in (APPROVED, OLD_RECORD_REPLACED) or (code == DUPLICATE and repeated) or (code == NOT_ON_FILE and deletes):
        return Verdict.DONE
    if code is None or code in TRY_AGAIN:
        return Verdict.AGAIN
    return Verdict.REFUSED


def repeat_mti(mti: str) -> str:
    """The type of the same message when it is sent again (ISO 8583:1987, 4.1: the fourth digit, message origin).

    >>> [repeat_mti(mti) for mti in ("0120", "0302", "0420", "0303")]
    ['0121', '0303', '0421', '0303']
    """
    return mti[:3] + REPEATS.get(mti[3], mti[3])


def wait_s(attempts: int, retry_s: float) -> float:
    """Seconds until a message that was sent ATTEMPTS times is sent again: RETRY_S, and each time twice as long, to ten minutes.

    >>> [wait_s(attempts, 10) for attempts in (1, 2, 3, 50)]
    [10, 20, 40, 600.0]
    """
    most, doubled = max(WAIT_MOST_S, retry_s), 1 << min(attempts - 1, 30)
    return min(most, retry_s * doubled)


def stan_of(number: int) -> str:
    """DE11 of a message by its number, which never comes twice: 000001 to 999999 and again.

    >>> stan_of(1), stan_of(999_999), stan_of(1_000_000)
    ('000001', '999999', '000001')
    """
    return f"{(number - 1) % LAST_STAN + 1:06d}"


def transmitted(now_utc: datetime) -> str:
    """DE7: MMDDhhmmss in GMT."""
    return f"{now_utc:%m%d%H%M%S}"


def reference(now_utc: datetime, stan: str) -> str:
    """DE37: last digit of the year, day of the year, hour, trace number; with the link it stays the same for all repeats."""
    return f"{now_utc:%y}"[-1] + f"{now_utc:%j%H}" + stan
