"""Types for what must not be seen: card numbers, PINs, passphrases, key material. All show themselves masked.

The clear value comes out only by the method named reveal, which is easy to search for. They cannot be pickled. Refuses to know
what the values are used for. Read next: pin.py, master.py.
"""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar, final

from keys import luhn
from keys.errors import PanRefused, PinRefusal, PinRefused

PAN_DIGITS = range(8, 20)
PIN_DIGITS = range(4, 13)

_SHOWS_BIN = 6 + 4 + 4

Value = TypeVar("Value", str, bytes)


class Sensitive(Generic[Value]):
    """A value that shows only its mask: in repr, str, format and every message made of those. Immutable."""

    __slots__ = ("_value",)
    _value: Value

    def __init__(self, value: Value) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> Value:
        """The clear value. Each caller must have a reason."""
        return self._value

    @property
    def masked(self) -> str:
        """What may be shown."""
        return "******"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked})"

    def __str__(self) -> str:
        return self.masked

    def __format__(self, spec: str) -> str:
        return format(self.masked, spec)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Sensitive) and self._value == other.reveal()

    def __hash__(self) -> int:
        return hash(self._value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is never pickled")

    def __copy__(self) -> Sensitive[Value]:
        return self

    def __deepcopy__(self, memo: object) -> Sensitive[Value]:
        return self


@final
class Pan(Sensitive[str]):
    """A card number of 8 to 19 digits (ISO/IEC 7812-1). Shows its first six and last four digits (PCI DSS 3.4.1).

    That is the most PCI DSS lets anybody see, and of a short number it would be nearly all: where fewer than four digits stayed
    hidden (13 and less), the last four alone are shown. With luhn=True its check digit must be right. Raises PanRefused.

    >>> f"{Pan('6013010000000019')}"
    '601301******0019'
    >>> f"{Pan('60130112')}"
    '****0112'
    """

    __slots__ = ()

    def __init__(self, digits: str, *, luhn: bool = False) -> None:
        if not (digits.isascii() and digits.isdigit() and len(digits) in PAN_DIGITS):
            raise PanRefused("a PAN has 8 to 19 digits")
        if luhn and not _is_valid(digits):
            raise PanRefused("the check digit of the PAN is wrong")
        super().__init__(digits)

    @property
    def masked(self) -> str:
        """First six and last four digits, of a short PAN the last four; a star for each other, never fewer than four."""
        shown = self.bin6 if len(self._value) >= _SHOWS_BIN else ""
        return f"{shown}{self.last4:*>{len(self._value) - len(shown)}}"

    @property
    def bin6(self) -> str:
        """The first six digits: the issuer."""
        return self._value[:6]

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self._value[-4:]


@final
class Pin(Sensitive[str]):
    """A clear PIN of 4 to 12 digits (ISO 9564-1). Only a terminal has one. Raises PinRefused.

    >>> Pin("271828")
    Pin(******)
    """

    __slots__ = ()

    def __init__(self, digits: str) -> None:
        if not (digits.isascii() and digits.isdigit()):
            raise PinRefused(PinRefusal.NOT_DIGITS)
        if len(digits) not in PIN_DIGITS:
            raise PinRefused(PinRefusal.WRONG_LENGTH)
        super().__init__(digits)


@final
class Material(Sensitive[bytes]):
    """The bytes of a key, on their short way between keystore and cipher."""

    __slots__ = ()


_is_valid = luhn.is_valid
