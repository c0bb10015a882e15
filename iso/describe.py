"""A message for people and for logs, masked.

What is not known to be harmless is hidden, whatever the dialect: the card number keeps its first six and last four digits,
accounts their last four, and secrets (tracks, PIN, chip, MAC, security data), free text and what stands in it show no character
at all. The unmasked way has its own name so that it can be found. Of a dialect it knows names and lengths. Read next:
message.py, dialect.py.
"""

from __future__ import annotations

import json
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

from iso.dialect import HIMBARA

if TYPE_CHECKING:
    from collections.abc import Callable

    from iso.dialect import Dialect
    from iso.message import Message

_SUMMARISED = (2, 3, 4, 7, 11, 12, 13, 18, 32, 37, 38, 39, 41, 42, 49, 70, 90, 95)
_PAN = 2
_ACCOUNTS = frozenset({102, 103})
_PLAIN = frozenset({*range(3, 14), *range(15, 34), *range(37, 44), *range(49, 52), *range(66, 96), 97, 99, 100})
_SECRET = frozenset({14, 34, 35, 36, 45, 52, 53, 55, 64, 96, 125, 128, 192})
_WIPED = "[wiped]"
_SHORTEST_PAN = 13
_SHORTEST_OF_LONG_BIN = 16
_BIN, _LONG_BIN = 6, 8
_TAIL = 4
_SHAPES_KEPT = 256  # sets of fields whose members are kept ready


def summary(message: Message) -> dict[str, str]:
    """The few fields that tell which message it was, masked, for one line of a log: {"mti": ..., "de11": ...}."""
    fields = message.fields
    said = {"mti": _visible(message.mti)}
    said.update({f"de{number}": masked(number, fields[number]) for number in _SUMMARISED if number in fields})
    return said


def summary_members(message: Message) -> str:
    """The fields of summary() as members of a JSON object, sorted by name, for logs of every message. ASCII.

    >>> from iso.message import Message
    >>> summary_members(Message("0200", {2: "6013010000000018", 11: "000007", 52: "0123456789ABCDEF"}))
    '"de11": "000007", "de2": "601301******0018"'
    """
    fields = message.fields
    frame, values_of, card = _members(tuple(fields))
    values = values_of(fields)
    said = "".join(values)
    if said.isascii() and said.isprintable() and '"' not in said and "\\" not in said:
        parts = list(frame)
        parts[1::2] = values
        if card:
            parts[card] = mask_pan(parts[card])
        return "".join(parts)
    told = {name: text for name, text in summary(message).items() if name != "mti"}
    return json.dumps(told, sort_keys=True)[1:-1]


def describe(message: Message, dialect: Dialect = HIMBARA, *, long_bin: bool = False) -> str:
    """Every field on its own line, named as in `dialect`, masked. `long_bin`: eight digits of a card number show, not six."""
    return _lines(message, masked_fields(message, dialect, long_bin=long_bin), dialect)


def masked_fields(message: Message, dialect: Dialect = HIMBARA, *, long_bin: bool = False) -> dict[int, str]:
    """What describe() shows of each field, by number. Where `dialect` has made a field longer, its length alone."""
    shown = {}
    for number, value in message.fields.items():
        usual = _as_usual(number, dialect) or number in _SECRET
        shown[number] = masked(number, value, long_bin=long_bin) if usual else _length_of(value)
    return shown


def describe_unmasked(message: Message, dialect: Dialect = HIMBARA) -> str:
    """Every field on its own line with its true value: card number, track and PIN block too. Never for a log."""
    return _lines(message, message.fields, dialect)


def masked(number: int, value: str, *, long_bin: bool = False) -> str:
    """What may be shown of one field's value."""
    if number == _PAN:
        return mask_pan(value, long_bin=long_bin)
    if number in _ACCOUNTS:
        return mask_tail(value)
    if number in _PLAIN:
        return _visible(value)
    if number in _SECRET:
        return _WIPED
    return _length_of(value)


def mask_pan(pan: str, *, long_bin: bool = False) -> str:
    """First six and last four digits (PCI DSS 3.4.1); a number too short to be a card's shows nothing.

    With `long_bin` the first eight, where the number has at least sixteen digits: an issuer's number of ISO/IEC 7812-1 has eight.
    """
    if len(pan) < _SHORTEST_PAN or not pan.isdigit():
        return "*" * len(pan)
    first = _LONG_BIN if long_bin and len(pan) >= _SHORTEST_OF_LONG_BIN else _BIN
    return f"{pan[:first]}{'*' * (len(pan) - first - _TAIL)}{pan[-_TAIL:]}"


def mask_tail(account: str) -> str:
    """All but the last four characters starred; a number of up to four characters shows nothing."""
    account = account.strip()
    if len(account) <= _TAIL:
        return "*" * len(account)
    return "*" * (len(account) - _TAIL) + _visible(account[-_TAIL:])


@lru_cache(maxsize=_SHAPES_KEPT)
def _members(numbers: tuple[int, ...]) -> tuple[tuple[str, ...], Callable[[dict[int, str]], tuple[str, ...]], int]:
    """Of a message with these fields: what stands around its values, with a place for each; who picks them; the card's place."""
    told = sorted((f"de{number}", number) for number in numbers if number in _SUMMARISED)
    order = [number for _, number in told]
    if not order:
        return (), lambda _: (), 0
    opening = [f'"{name}": "' for name, _ in told]
    frame = [text for name in opening for text in (f'", {name}', "")]
    values_of = itemgetter(*order) if len(order) > 1 else lambda fields: (fields[order[0]],)
    return (opening[0], *frame[1:], '"'), values_of, 2 * order.index(_PAN) + 1 if _PAN in order else 0


def _as_usual(number: int, dialect: Dialect) -> bool:
    """Whether the field is no longer than usual: a bank that made something else of it may keep anything there."""
    own, usual = dialect.by_number.get(number), HIMBARA.by_number.get(number)
    return own is None or usual is None or own.length <= usual.length


def _length_of(value: str) -> str:
    return f"[{len(value)} characters]"


def _lines(message: Message, shown: dict[int, str], dialect: Dialect) -> str:
    names = dialect.by_number
    lines = [f"MTI {_visible(message.mti)}"]
    for number in sorted(shown):
        name = names[number].name if number in names else "unknown field"
        lines.append(f"{number:03d} {name:<44} {_visible(shown[number])}")
    return "\n".join(lines)


def _visible(value: str) -> str:
    """No line break or control character gets into a log."""
    return value if value.isascii() and value.isprintable() else ascii(value)
