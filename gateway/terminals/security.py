"""What a link proves and asks to be proved: MACs of its messages, and keys that come over it.

The connection asks it three things and knows nothing else of keys. Read next: connection.py, network.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iso.codec import encode

if TYPE_CHECKING:
    from gateway.terminals.profile import Link
    from iso.dialect import Dialect
    from iso.message import Message
    from keys.hsm import Hsm


class LinkSecurity:
    """Of one link, as its profile says."""

    def __init__(self, link: Link, hsm: Hsm) -> None:
        """LINK says which keys and how strict; HSM has the keys."""
        self._link = link
        self._hsm = hsm

    @property
    def proves(self) -> bool:
        """Whether messages of this link are looked at at all: where not, the connection neither asks nor seals."""
        return False

    def refusal(self, message: Message, data: bytes) -> str | None:
        """DE39 for a message whose MAC is missing, wrong or seen before; None where all is well.

        Asked for every request before anything else of it is read, network management too, and for every answer to a request
        of ours. DATA: the message as it came, without length and message header.
        """
        del message, data
        return None

    def encode(self, message: Message, dialect: Dialect, request: Message | None) -> bytes:
        """Bytes of MESSAGE, with a MAC where the link wants one or REQUEST, which it answers, had one. None: we ask."""
        del request
        return encode(message, dialect)

    def key_change(self, request: Message) -> Message:
        """The answer to an 0800 that brings a key (DE70 101, 161): no link takes one yet, 12."""
        answer = request.response()
        answer.fields[39] = "12"
        return answer
