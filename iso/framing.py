"""Where one message ends and the next begins on a TCP stream: a length before each message.

Knows no message, only bytes. Memory is bounded: a Deframer never keeps more than one unfinished message. A header that
makes no sense ends the link, since nothing after it can be trusted. Read next: client.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from iso.errors import FrameError


class FrameKind(StrEnum):
    """How the length is written."""

    ASCII4 = "ascii4"
    """4 ASCII digits, 0001 to 9999."""
    BINARY2 = "binary2"
    """2 bytes, most significant first."""


_HEADER_BYTES = MappingProxyType({FrameKind.ASCII4: 4, FrameKind.BINARY2: 2})
_LARGEST = MappingProxyType({FrameKind.ASCII4: 9_999, FrameKind.BINARY2: 65_535})


@dataclass(frozen=True, slots=True)
class LengthFraming:
    """A length header. `inclusive`: the length counts the header itself. `max_length`: longest message, in bytes."""

    kind: FrameKind = FrameKind.ASCII4
    inclusive: bool = False
    max_length: int = 9_999

    def __post_init__(self) -> None:
        """Refuse a limit that the header cannot write. Raises FrameError."""
        object.__setattr__(self, "kind", FrameKind(self.kind))
        if not 0 < self.max_length <= _LARGEST[self.kind] - self._counted:
            raise FrameError(f"a limit of {self.max_length} bytes does not fit a header of kind {self.kind}")

    @property
    def header_bytes(self) -> int:
        """Bytes of the header."""
        return _HEADER_BYTES[self.kind]

    @property
    def _counted(self) -> int:
        """Header bytes that the length counts."""
        return self.header_bytes if self.inclusive else 0

    def frame(self, payload: bytes) -> bytes:
        """Header and message. Raises FrameError where the message is empty or too long."""
        if not 0 < len(payload) <= self.max_length:
            raise FrameError(f"a message has 1 to {self.max_length} bytes, not {len(payload)}")
        length = len(payload) + self._counted
        if self.kind is FrameKind.ASCII4:
            return b"%04d" % length + payload
        return length.to_bytes(2, "big") + payload

    def length_of(self, header: bytes) -> int:
        """Bytes of the message that follows `header`. Raises FrameError where it is no length, zero or too long."""
        if self.kind is FrameKind.BINARY2:
            length = int.from_bytes(header, "big")
        elif header.isdigit():
            length = int(header)
        else:
            raise FrameError("the length header is not 4 digits")
        length -= self._counted
        if length <= 0:
            raise FrameError("the length header announces an empty message")
        if length > self.max_length:
            raise FrameError(f"the length header announces {length} bytes, more than {self.max_length}")
        return length


HIMBARA_FRAMING = LengthFraming()
"""4 ASCII digits, the length without itself."""


class Deframer:
    """Cuts a stream into messages, however the network cut it into segments."""

    __slots__ = ("_framing", "_header", "_kept")

    def __init__(self, framing: LengthFraming = HIMBARA_FRAMING) -> None:
        self._framing = framing
        self._header = framing.header_bytes
        self._kept = b""

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message: above 0 for long means a stalled or hostile peer."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[bytes]:
        """Messages completed by `data`, in order.

        Raises FrameError at a bad header, with the messages before it in `complete`; every later call raises again.
        """
        kept = self._kept + data if self._kept else data
        messages: list[bytes] = []
        position = 0
        while len(kept) - position >= self._header:
            start = position + self._header
            try:
                end = start + self._framing.length_of(kept[position:start])
            except FrameError as error:
                self._kept = kept[position:start]
                raise FrameError(error.reason, messages) from None
            if end > len(kept):
                break
            messages.append(kept[start:end])
            position = end
        self._kept = kept[position:]
        return messages
