"""Where one message ends and the next begins on a TCP stream: a length before each message, on some links a header after it.

Knows no message, only bytes. Memory is bounded: a Deframer never keeps more than one unfinished message. A length that
makes no sense ends the link, since nothing after it can be trusted. Read next: client.py.

    length | message header (TPDU, static or none) | message

Two headers are told apart by name: the length header, and the message header, which the length counts like the message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from iso.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable

TPDU_BYTES = 5
"""Protocol id 0x60, destination address of 2 bytes, source address of 2 bytes."""
_TPDU_ID = b"\x60"
_ADDRESS_BYTES = 2
_STATIC_BYTES_MAX = 64


class FrameKind(StrEnum):
    """How the length is written. Binary ones stand most significant byte first."""

    ASCII4 = "ascii4"
    """4 ASCII digits, 0001 to 9999."""
    BINARY2 = "binary2"
    """2 bytes."""
    BINARY4 = "binary4"
    """4 bytes."""
    BCD2 = "bcd2"
    """4 digits in 2 bytes: 0x01 0x51 is 151."""
    VML = "vml"
    """Visa's message length: 2 bytes, then 2 zero bytes."""


class HeaderKind(StrEnum):
    """What stands between the length and the message."""

    NONE = "none"
    TPDU = "tpdu"
    """5 bytes; an answer goes back with its two addresses swapped."""
    STATIC = "static"
    """1 to 64 bytes that never change, such as BASE24's ISO026000070; an answer goes back with the request's."""


def _read_ascii4(header: bytes) -> int:
    if header.isdigit():
        return int(header)
    raise FrameError("the length header is not 4 digits")


def _read_bcd2(header: bytes) -> int:
    digits = header.hex()
    if digits.isdecimal():
        return int(digits)
    raise FrameError("the length header is not 4 digits in 2 bytes")


def _read_vml(header: bytes) -> int:
    if header[2:] == b"\0\0":
        return int.from_bytes(header[:2], "big")
    raise FrameError("the length header does not end in 2 zero bytes")


def _read_binary(header: bytes) -> int:
    return int.from_bytes(header, "big")


class _Length(NamedTuple):
    """One way to write a length."""

    size: int
    largest: int
    read: Callable[[bytes], int]
    write: Callable[[int], bytes]


_LENGTHS = MappingProxyType(
    {
        FrameKind.ASCII4: _Length(4, 9_999, _read_ascii4, lambda length: b"%04d" % length),
        FrameKind.BINARY2: _Length(2, 0xFFFF, _read_binary, lambda length: length.to_bytes(2, "big")),
        FrameKind.BINARY4: _Length(4, 0xFFFF_FFFF, _read_binary, lambda length: length.to_bytes(4, "big")),
        FrameKind.BCD2: _Length(2, 9_999, _read_bcd2, lambda length: bytes.fromhex(f"{length:04d}")),
        FrameKind.VML: _Length(4, 0xFFFF, _read_vml, lambda length: length.to_bytes(2, "big") + b"\0\0"),
    }
)


@dataclass(frozen=True, slots=True)
class LengthFraming:
    """A length header, and what message header follows it.

    `inclusive`: the length counts the length header itself. `max_length`: the longest that may follow a length header,
    message header and message together, in bytes. `header`: this side's own message header, put before what it asks; a
    TPDU left out is 60 0000 0000. `check_header`: refuse a message whose static header is another, or whose TPDU does not
    begin with 0x60; without it any bytes may stand there. `polls`: a length of zero asks whether the line is up; it makes an
    empty frame, to be answered with `poll`. Without it, it is refused.
    """

    kind: FrameKind = FrameKind.ASCII4
    inclusive: bool = False
    max_length: int = 9_999
    header_kind: HeaderKind = HeaderKind.NONE
    header: bytes = b""
    check_header: bool = True
    polls: bool = False
    header_bytes: int = field(init=False, repr=False, compare=False)
    """Bytes of the length header."""
    message_header_bytes: int = field(init=False, repr=False, compare=False)
    """Bytes of the message header, 0 where there is none."""
    _counted: int = field(init=False, repr=False, compare=False)
    _read: Callable[[bytes], int] = field(init=False, repr=False, compare=False)
    _write: Callable[[int], bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises FrameError: a limit the length cannot write, a header that is none of its kind."""
        put = object.__setattr__  # a frozen dataclass is filled this way
        put(self, "kind", FrameKind(self.kind))
        put(self, "header_kind", HeaderKind(self.header_kind))
        if self.header_kind is HeaderKind.TPDU and not self.header:
            put(self, "header", _TPDU_ID.ljust(TPDU_BYTES, b"\0"))
        self._check_own_header()
        length = _LENGTHS[self.kind]
        put(self, "header_bytes", length.size)
        put(self, "message_header_bytes", len(self.header))
        put(self, "_counted", length.size if self.inclusive else 0)
        put(self, "_read", length.read)
        put(self, "_write", length.write)
        if not len(self.header) < self.max_length <= length.largest - self._counted:
            raise FrameError(f"a limit of {self.max_length} bytes does not fit a header of kind {self.kind}")

    def _check_own_header(self) -> None:
        header = self.header
        if self.header_kind is HeaderKind.NONE and header:
            raise FrameError("a link without message header has none of its own")
        if self.header_kind is HeaderKind.TPDU and (len(header) != TPDU_BYTES or not header.startswith(_TPDU_ID)):
            raise FrameError(f"a TPDU has {TPDU_BYTES} bytes and begins with 0x60")
        if self.header_kind is HeaderKind.STATIC and not 0 < len(header) <= _STATIC_BYTES_MAX:
            raise FrameError(f"a static header has 1 to {_STATIC_BYTES_MAX} bytes, not {len(header)}")

    @property
    def poll(self) -> bytes:
        """A length of zero and nothing after it: a poll, and the answer to one."""
        return self._write(0)

    def frame(self, message: bytes, header: bytes | None = None) -> bytes:
        """Length, message header and message. `header`: another than this side's own, as reply_header() gives it.

        Raises FrameError where the message is empty or too long, or `header` has another size than the link's.
        """
        size = self.message_header_bytes
        if not 0 < len(message) <= self.max_length - size:
            raise FrameError(f"a message has 1 to {self.max_length - size} bytes, not {len(message)}")
        if size or header:
            header = self.header if header is None else header
            if len(header) != size:
                raise FrameError(f"a message header has {size} bytes on this link, not {len(header)}")
            message = header + message
        return self._write(len(message) + self._counted) + message

    def split(self, frame: bytes) -> tuple[bytes, bytes]:
        """Message header and message of what Deframer.feed() gave.

        Raises FrameError where there is no message after the header, or the header is not what this link's must be.
        """
        size = self.message_header_bytes
        header = frame[:size]
        if len(frame) <= size:
            raise FrameError("no message after the message header")
        if self.check_header:
            if self.header_kind is HeaderKind.STATIC and header != self.header:
                raise FrameError("the message header is not this link's")
            if self.header_kind is HeaderKind.TPDU and not header.startswith(_TPDU_ID):
                raise FrameError("the message header is no TPDU: it does not begin with 0x60")
        return header, frame[size:]

    def reply_header(self, header: bytes) -> bytes:
        """The message header of the answer to a message that came with `header`."""
        if self.header_kind is not HeaderKind.TPDU:
            return header
        source = 1 + _ADDRESS_BYTES
        return header[:1] + header[source:] + header[1:source]

    def length_of(self, header: bytes) -> int:
        """Bytes that follow this length header, 0 of a poll on a link that has them.

        Raises FrameError where it is no length, leaves no message, or is too long.
        """
        length = self._read(header) - self._counted
        if length <= self.message_header_bytes:
            if self.polls and length == -self._counted:
                return 0
            raise FrameError("the length header announces an empty message")
        if length > self.max_length:
            raise FrameError(f"the length header announces {length} bytes, more than {self.max_length}")
        return length


HIMBARA_FRAMING = LengthFraming()
"""4 ASCII digits, the length without itself."""


class Deframer:
    """Cuts a stream into frames, however the network cut it into segments. Each byte is copied a few times at most."""

    __slots__ = ("_framing", "_header", "_kept", "_wanted")

    def __init__(self, framing: LengthFraming = HIMBARA_FRAMING) -> None:
        self._framing = framing
        self._header = framing.header_bytes
        self._kept = bytearray()
        self._wanted = 0  # bytes of the unfinished frame, once its length is known

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame. Above 0 for long, with no frame given meanwhile, means a stalled or hostile peer."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[bytes]:
        """Frames completed by `data`, in order, each what stood between two length headers; a poll is an empty one.

        Raises FrameError at a bad length header, with the frames before it in `complete`; every later call raises again.
        """
        kept = self._kept
        if kept:
            kept += data
            if len(kept) < self._wanted:
                return []
            data = bytes(kept)
            self._kept = bytearray()
        frames: list[bytes] = []
        position = end = 0
        while (start := position + self._header) <= len(data):
            try:
                end = start + self._framing.length_of(data[position:start])
            except FrameError as error:
                self._kept, self._wanted = bytearray(data[position:start]), 0
                raise FrameError(error.reason, frames) from None
            if end > len(data):
                break
            frames.append(data[start:end])
            position = end
        if position < len(data):
            self._kept, self._wanted = bytearray(data[position:]), end - position
        return frames
