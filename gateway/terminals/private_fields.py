"""Private fields (DE43, 48, 60 to 63, 120 to 127) that a link's profile gives a structure: tags, BASE24 tokens or fixed columns.

A field without one may hold anything and is let pass. One with tags is checked and sent back as it came, tags that nobody knows
among them, since the partner's own host may want them; columns are checked. What we tell in DE48 takes the same form. Knows no
meaning of a partner's tag or column, but that of partial_mark. Read next: iso/private_tlv.py, iso/layout.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iso import private_tlv
from iso.errors import FormatError

if TYPE_CHECKING:
    from datetime import date

    from gateway.terminals.profile import Link
    from gateway.terminals.unread_tags import UnreadTags
    from iso.message import Message

PRIVATE = 48
TAGS = {"2+2": "EX", "2+3": "EX", "3+3": "EXP", "tokens": "EX"}
"""Under which tag DE48 tells what is lost next, by the shape of its tags."""


def check(message: Message, link: Link, unread: UnreadTags | None = None) -> None:
    """Raise FormatError where a private field is not made as the profile says. UNREAD: counts tags that nobody reads."""
    fields = message.fields
    for number, shape in link.tags.items():
        if number in fields:
            items = private_tlv.parse(fields[number], shape, number)
            if unread is not None:
                mark = link.partial_mark
                read = mark.tag if mark is not None and mark.field == number else None
                unread.add(number, [tag for tag, _ in items if tag != read])
    for number, layout in link.columns.items():
        if number in fields:
            layout.read(fields[number])


def marks_partial(message: Message, link: Link) -> bool:
    """Whether a message says that its terminal can do with a part of what it asks for. Raises FormatError."""
    mark = link.partial_mark
    if mark is None or mark.field not in message.fields:
        return False
    text = message.fields[mark.field]
    if mark.column is not None:
        return link.columns[mark.field].read(text)[mark.column].startswith(mark.value)
    items = private_tlv.parse(text, link.tags[mark.field], mark.field)
    return any(tag == mark.tag and value.startswith(mark.value) for tag, value in items)


def sent_back(message: Message, link: Link) -> dict[int, str]:
    """Fields of tags as they came, for the answer."""
    return {number: message.fields[number] for number in link.tags if number in message.fields}


def expiring(message: Message, link: Link, on: date, amount: str) -> str:
    """DE48 of an answer: what is lost next, by columns, as one tag more, or as EXP, date and amount. AMOUNT: 12 digits.

    Raises FormatError where it does not fit any more.
    """
    day = f"{on:%Y%m%d}"
    layout = link.columns.get(PRIVATE)
    if layout is not None:
        return layout.write({"expiring_on": day, "expiring_amount": amount})
    shape = link.tags.get(PRIVATE)
    if shape is None:
        return f"EXP{day}{amount}"
    came = message.get(PRIVATE)
    before = () if came is None else private_tlv.parse(came, shape, PRIVATE)
    text = private_tlv.build([*before, (TAGS[shape], day + amount)], shape, PRIVATE)
    if len(text) > link.wire.field(PRIVATE).length:
        raise FormatError(PRIVATE, "has no room for what is lost next")
    return text
