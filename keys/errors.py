"""Everything that can go wrong with keys, PINs and sealed data.

Refuses to know values: no message here holds a PIN, a PAN, a key or sealed text, so each may be logged and shown as it is.
Read next: hsm.py (who raises KeyRefused), keystore.py (KeystoreError), pin.py (the weak PIN rules).
"""

from __future__ import annotations

from enum import StrEnum


class PinRefusal(StrEnum):
    """Why a PIN, or the block it came in, is not accepted."""

    WRONG_LENGTH = "WRONG_LENGTH"
    """Too short or too long for the bank's rule."""

    NOT_DIGITS = "NOT_DIGITS"
    """Something other than the digits 0 to 9."""

    WEAK_REPEATED = "WEAK_REPEATED"
    """One digit, or a group of two or three, again and again: 111111, 121212, 123123."""

    WEAK_PAIRS = "WEAK_PAIRS"
    """Three pairs: 112233."""

    WEAK_SEQUENCE = "WEAK_SEQUENCE"
    """Up or down by one: 123456, 987654, 890123."""

    WEAK_BIRTH_DATE = "WEAK_BIRTH_DATE"
    """The holder's birth date, as ddmmyy, mmddyy or yymmdd."""

    BAD_BLOCK = "BAD_BLOCK"
    """The block does not decipher to a PIN block of this card."""

    WRONG_PIN = "WRONG_PIN"
    """The present PIN was not given rightly, for whatever cause."""


class KeysError(Exception):
    """Root of all errors of this room."""


class KeyRefused(KeysError):
    """A key may not do what was asked, is weak, is not known here, or would not be allowed to exist."""


class KeyBlockError(KeysError):
    """A key block or a wrapped key cannot be read, is not authentic, or would not protect the key in it."""


class KsnRefused(KeysError):
    """A key serial number (DUKPT) is malformed, has more one-bits than a device may count to, or was used before."""


class CardDataRefused(KeysError):
    """What came with a card cannot be: expiry date, service code, sequence number, counter or chip data."""


class KeystoreError(KeysError):
    """The keystore or the master key cannot be used: damaged, wrong master key, wrong file mode, missing, there already."""


class PanRefused(KeysError):
    """What was given cannot be a PAN."""


class PinRefused(KeysError):
    """A PIN was not accepted; `reason` says why."""

    def __init__(self, reason: PinRefusal) -> None:
        super().__init__(f"the PIN is refused: {reason.value}")
        self.reason = reason


class TokenError(KeysError):
    """A PKCS#11 token does not answer as it must: missing, wrong PIN, an object gone, or an operation it does not have.

    `code`: the return code (CKR_...), None where the token was not asked.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class VaultError(KeysError):
    """Sealed data does not open: changed, moved to another place, or sealed under another key."""


class SelfTestFailed(KeysError):
    """A published vector did not come out: nothing this process computes can be trusted."""
