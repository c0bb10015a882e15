"""Frames that no honest terminal sends, by the million: what is made of a good message by chance and by malice.

Two sorts. `broken` is whole as a frame and wrong inside: whoever reads it must answer or stay silent, and go on. `derailed` lies
about its own length: nothing after it can be trusted, so the connection may only be closed. Refuses to know sockets (fuzz.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from iso.framing import LengthFraming

LONGEST_EXTRA = 300
BITMAP_AT, BITMAP_MOST = 2, 40  # where in a message of any dialect its type, bitmaps and first lengths stand
# BER-TLV of DE55 whose length is 2^63 in long form, an indefinite one, and one of 4 GiB: ISO/IEC 8825-1, 8.1.3
TLV_LIES = (bytes.fromhex("9F26887FFFFFFFFFFFFFFF"), bytes.fromhex("9F2680"), bytes.fromhex("9F2684FFFFFFFF"))
EXTREMES = (b"\x00", b"\xff", b"9", b"0", b"F", b"\x99", b"\x80")


def broken(seeds: Sequence[bytes], framing: LengthFraming, random: Random) -> bytes:
    """A frame with a true length header around a message that was good once. Never empty, never longer than the link allows."""
    message = random.choice(seeds)
    for _ in range(random.randint(1, 3)):
        message = random.choice(_INSIDE)(message, seeds, random)
    return framing.frame((message or b"\x00")[: framing.max_length])


def derailed(seeds: Sequence[bytes], framing: LengthFraming, random: Random) -> bytes:
    """A frame whose header says another length than it has, or no length at all."""
    frame = framing.frame(random.choice(seeds))
    header, message = frame[: framing.header_bytes], frame[framing.header_bytes :]
    lie = random.randrange(4)
    if lie == 0:
        return random.randbytes(framing.header_bytes) + message
    if lie == 1:
        return (b"9999" if header.isdigit() else b"\xff" * len(header)) + message  # larger than whatever comes
    if lie == 2:  # noqa: PLR2004 - the third of four
        return (b"0000" if header.isdigit() else b"\x00" * len(header)) + message
    return frame[: random.randrange(1, len(frame))]


def _flip(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    if not message:
        return message
    changed = bytearray(message)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    return message[: random.randrange(len(message) + 1)]


def _grow(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    return message + random.randbytes(random.randint(1, LONGEST_EXTRA))


def _drop(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(message) + 1)
    return message[:at] + message[at + random.randint(1, 8) :]


def _head(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    """Other bits in the type, the bitmaps and the first lengths: fields that are not there, or not defined."""
    at = random.randrange(BITMAP_AT, BITMAP_MOST)
    extreme = random.choice(EXTREMES) * random.randint(1, 16)
    return message[:at] + extreme + message[at + len(extreme) :]


def _lengths(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    """Somewhere a length that goes past the end."""
    at = random.randrange(len(message) + 1)
    return message[:at] + random.choice((b"999", b"99", b"\x09\x99", b"\x99")) + message[at:]


def _tlv(message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(message) + 1)
    lie = random.choice(TLV_LIES)
    return message[:at] + random.choice((lie, lie.hex().upper().encode())) + message[at:]


def _splice(message: bytes, seeds: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(seeds)
    return message[: random.randrange(len(message) + 1)] + other[random.randrange(len(other)) :]


def _noise(_message: bytes, _seeds: Sequence[bytes], random: Random) -> bytes:
    return random.randbytes(random.randint(1, LONGEST_EXTRA))


_INSIDE: tuple[Callable[[bytes, Sequence[bytes], Random], bytes], ...] = (
    _flip, _flip, _cut, _grow, _drop, _head, _head, _lengths, _tlv, _splice, _noise,
)  # fmt: skip
