"""The other end of a link as a switch team would write it: pyiso8583, its own field table and frames, and plain sockets.

Written from ISO 8583:1987, ISO 9564-1, ANSI X9.24-1 and docs/iso8583.md; nothing of iso/ or of the simulator is used here.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import iso8583
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from psec.pinblock import encode_pinblock_iso_0

if TYPE_CHECKING:
    from collections.abc import Mapping

Fields = dict[str, str]
PinPad = Callable[[str, str, str], Fields]
"""Card number, PIN and new PIN (or nothing): DE52, DE125 of a new PIN, and DE62 where the link has DUKPT."""
ECHOED = ("2", "3", "4", "7", "11", "12", "13", "32", "37", "41", "42", "49")
WAIT_S = 15.0
TABLE = """2 n..19 3 n6 4 n12 5 n12 6 n12 7 n10 8 n8 9 n8 10 n8 11 n6 12 n6 13 n4 14 n4 15 n4 16 n4 17 n4 18 n4 19 n3 20 n3 21 n3
22 n3 23 n3 24 n3 25 n2 26 n2 27 n1 28 x9 29 x9 30 x9 31 x9 32 n..11 33 n..11 34 s..28 35 z..37 36 z...104 37 a12
38 a6 39 a2 40 a3 41 s8 42 s15 43 s40 44 s..25 45 s..76 46 s...999 47 s...999 48 s...999 49 a3 50 a3 51 a3 52 b8 53 b8
54 a...120 55 b...499 56 s...999 57 s...999 58 s...999 59 s...999 60 s...999 61 s...999 62 s...999 63 s...999 64 b8
66 n1 67 n2 68 n3 69 n3 70 n3 71 n4 72 n4 73 n6 74 n10 75 n10 76 n10 77 n10 78 n10 79 n10 80 n10 81 n10 82 n12 83 n12
84 n12 85 n12 86 n16 87 n16 88 n16 89 n16 90 n42 91 a1 92 a2 93 a5 94 a7 95 a42 96 b8 97 x17 98 s25 99 n..11 100 n..11
101 s..17 102 s..28 103 s..28 104 s...100 120 s...999 121 s...999 122 s...999 123 s...999 124 s...999 125 s...999
126 s...999 127 s...999 128 b8"""
"""Number, kind (a letters and digits, b bytes, n digits, s any character, x C or D and digits, z track), length."""
_ROWS = re.compile(r"(\d+) ([abnsxz])(\.*)(\d+)")
_KINDS = {"n": r"\d*", "a": "[A-Za-z0-9 ]*", "s": "[ -~]*", "b": "(?:[0-9A-F]{2})*", "x": r"[CD]\d+", "z": "[0-9=D]*"}


def specification(text: str, *, packed: bool, raw: bool) -> dict[str, dict[str, Any]]:
    """The table for pyiso8583. TEXT: page of characters. PACKED: digits and lengths two a byte. RAW: bitmaps and bytes raw."""
    made = {name: _entry(text, "a", 0, 0) for name in "ht"}
    made["t"] = {**_entry(text, "n", 0, 4), "data_enc": "b" if packed else text}
    made |= {name: {**_entry(text, "b", 0, 8 if raw else 16), "data_enc": "b" if raw else text} for name in ("p", "1")}
    for number, kind, dots, length in _ROWS.findall(TABLE):
        entry = _entry(text, kind, len(dots), int(length))
        if packed:
            entry |= {"len_enc": "bcd", "len_type": (len(dots) + 1) // 2}
        if packed and kind in "nz":
            pad = {"right_pad": "F"} if dots else {"left_pad": "0"}
            entry |= {"data_enc": "b", "len_count": "nibbles", **pad}
        elif packed and kind == "x":  # C or D is a byte, its digits are packed: told here as the bytes
            entry |= {"data_enc": "b", "max_len": 1 + int(length) // 2}
        elif kind == "b" and raw:
            entry |= {"data_enc": "b"}
        elif kind == "b":
            entry |= {"max_len": 2 * int(length)}
        made[number] = entry
    return made


def _entry(text: str, kind: str, dots: int, length: int) -> dict[str, Any]:
    return {"data_enc": text, "len_enc": text, "len_type": dots, "max_len": length, "desc": kind}


@dataclass(frozen=True)
class Wire:
    """How one kind of link is written. `header`: what stands before our messages; `back`: what must come before theirs."""

    spec: Mapping[str, Mapping[str, Any]]
    length: Callable[[int], bytes]
    length_bytes: int
    read_length: Callable[[bytes], int]
    header: bytes = b""
    back: bytes = b""

    def write(self, mti: str, fields: Fields) -> bytes:
        """A message without frame."""
        data: bytes = bytes(iso8583.encode({"t": mti, **fields}, self.spec)[0])
        return data

    def length_of_two(self, digits: str) -> bytes:
        """An LL of the wire."""
        encoding = self.spec["2"]["len_enc"]
        return bytes.fromhex(digits) if encoding == "bcd" else digits.encode(encoding)

    def frame(self, message: bytes) -> bytes:
        """A message as it goes on the wire."""
        return self.length(len(self.header) + len(message)) + self.header + message

    def read(self, framed: bytes) -> tuple[str, Fields]:
        """Type and fields of an answer, strictly: all bytes used, each field what the standard says. Raises ValueError."""
        if not framed.startswith(self.back):
            raise ValueError(f"the header is {framed[: len(self.back)].hex()}")
        found, _ = iso8583.decode(framed[len(self.back) :], self.spec)
        for number, value in found.items():
            entry = self.spec[number]
            if number.isdigit() and number != "1" and "desc" in entry:
                _check(number, value, entry)
        mti = found.pop("t")
        if found.get("1", "1").strip("0") == "":
            raise ValueError("a second bitmap without a field")
        return mti, {number: value for number, value in found.items() if number not in ("p", "1")}


def _check(number: str, value: str, entry: Mapping[str, Any]) -> None:
    pattern = "[0-9A-F]*" if entry["data_enc"] == "b" else _KINDS[entry["desc"]]
    if re.fullmatch(pattern, value) is None:
        raise ValueError(f"field {number} has wrong characters")


ASCII, BINARY, EBCDIC = (
    specification("ascii", packed=False, raw=False),
    specification("ascii", packed=True, raw=True),
    specification("cp500", packed=False, raw=True),
)
HIMBARA = Wire(ASCII, lambda n: f"{n:04d}".encode(), 4, int)
EDC = Wire(
    BINARY, lambda n: struct.pack(">H", n), 2, lambda b: int(struct.unpack(">H", b)[0]),
    bytes.fromhex("6000030123"), bytes.fromhex("6001230003"),
)  # fmt: skip
MAINFRAME = Wire(EBCDIC, lambda n: struct.pack(">H", n + 2), 2, lambda b: int(struct.unpack(">H", b)[0]) - 2)
BASE24 = Wire(
    ASCII, lambda n: struct.pack(">I", n), 4, lambda b: int(struct.unpack(">I", b)[0]), b"ISO026000070", b"ISO026000070"
)


class Line:
    """One connection: bytes out, answers in."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """WIRE: how it is written."""
        self.wire, self.reader, self.writer = wire, reader, writer

    @classmethod
    async def call(cls, wire: Wire, address: tuple[str, int]) -> Line:
        """Connect."""
        return cls(wire, *await asyncio.open_connection(*address))

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> tuple[str, Fields]:
        """The next message. Raises IncompleteReadError where the bank has closed, TimeoutError where it says nothing."""
        async with asyncio.timeout(WAIT_S):
            length = self.wire.read_length(await self.reader.readexactly(self.wire.length_bytes))
            return self.wire.read(await self.reader.readexactly(length))

    async def ask(self, mti: str, fields: Fields) -> tuple[str, Fields]:
        """A request and its answer."""
        await self.send(self.wire.frame(self.wire.write(mti, fields)))
        return await self.receive()

    async def closed(self) -> bool:
        """Whether the bank closes, without another word."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def answers(self, many: int) -> dict[str, tuple[str, Fields]]:
        """So many answers by their trace number, whatever their order."""
        got = [await self.receive() for _ in range(many)]
        return {fields["11"]: (mti, fields) for mti, fields in got}

    async def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing more comes for so long, and the line stays open."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def sign_on(self, code: str = "001") -> str:
        """DE39 of a sign-on (002: sign-off, 301: echo) that has the fewest fields."""
        return (await self.ask("0800", {"7": "1123031500", "11": "900001", "70": code}))[1]["39"]

    def hang_up(self, *, reset: bool = False) -> None:
        """Close. RESET: by RST, with what was not sent thrown away."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        self.writer.close()

    async def close(self) -> None:
        """Hang up, and wait until it is done."""
        self.hang_up()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def not_echoed(sent: Fields, answer: Fields) -> list[str]:
    """Data elements that did not come back as they were sent."""
    return [number for number in ECHOED if sent.get(number) != answer.get(number)]


@dataclass
class Machine:
    """A terminal with one family's card before it: writes requests."""

    pan: str
    pin_fields: PinPad
    transmitted: str
    acquirer: str = "000002"
    pin: str = "204817"
    terminal: str = "T0000001"
    stan: int = field(default=0)

    def request(
        self, processing: str = "010000", idr: int = 50_000, place: str = "6011", pin: str | None = None
    ) -> Fields:
        """Fields of a 0200. IDR 0: without DE4."""
        self.stan += 1
        amount = {"4": f"{idr * 100:012d}"} if idr else {}
        return {
            "2": self.pan, "3": processing, **amount, "7": self.transmitted, "11": f"{self.stan:06d}", "12": "101500",
            "13": "1123", "18": place, "22": "021", "32": self.acquirer, "37": f"{self.stan:012d}", "41": self.terminal,
            "42": "MERCHANT0000001", "49": "360", **self.pin_fields(self.pan, pin or self.pin, ""),
        }  # fmt: skip

    def change_pin(self, new: str) -> Fields:
        """Fields of a 0200 with the block of a new PIN in DE125."""
        return self.request("900000", 0) | self.pin_fields(self.pan, self.pin, new)

    def track2(self) -> Fields:
        """DE35 of the card's stripe, with the separator that every wire has."""
        return {"35": f"{self.pan}D31122010000000000"}

    def reversal(self, original: Fields, mti: str = "0200", kept_idr: int | None = None) -> Fields:
        """Fields of a 0400 or 0420 of a message. KEPT_IDR: what stays taken (DE95); None: full, without DE95."""
        self.stan += 1
        named = f"{mti}{original['11']}{original['7']}{original['32']:0>11}{0:011d}"
        kept = {} if kept_idr is None else {"95": f"{kept_idr * 100:012d}{0:030d}"}
        kept |= {number: original[number] for number in ("2", "35") if number in original}
        same = {number: original[number] for number in ("3", "4", "18", "32", "37", "41", "42", "49")}
        return {
            **same,
            "7": self.transmitted,
            "11": f"{self.stan:06d}",
            "12": "101600",
            "13": "1123",
            "90": named,
            **kept,
        }


def zone_pin(zpk: bytes) -> PinPad:
    """PIN blocks of format 0 under a zone PIN key."""
    return lambda pan, pin, new: _blocks(zpk, pan, pin, new)


def terminal_pin(bdk: bytes, device: str) -> PinPad:
    """PIN blocks of format 0 under DUKPT, each under the next number. DEVICE: its key serial number with counter zero, hex."""
    first, count = int(device, 16), 0

    def fields(pan: str, pin: str, new: str) -> Fields:
        nonlocal count
        count += 1
        number = (first + count).to_bytes(10)
        return _blocks(dukpt_pin_key(bdk, number), pan, pin, new) | {"62": number.hex().upper()}

    return fields


def _blocks(key: bytes, pan: str, pin: str, new: str) -> Fields:
    pins = {"52": pin} | ({"125": new} if new else {})
    return {number: triple_des(key, encode_pinblock_iso_0(one, pan)).hex().upper() for number, one in pins.items()}


def triple_des(key: bytes, data: bytes) -> bytes:
    """DATA enciphered block by block."""
    cipher = Cipher(TripleDES((key + key)[:24]), modes.ECB()).encryptor()  # noqa: S305 - as PIN standards want
    return bytes(cipher.update(data) + cipher.finalize())


_VARIANT = bytes.fromhex("C0C0C0C000000000C0C0C0C000000000")
_PIN_VARIANT = bytes.fromhex("00000000000000FF00000000000000FF")
_COUNTER = (1 << 21) - 1


def dukpt_pin_key(bdk: bytes, number: bytes) -> bytes:
    """The PIN key of a transaction (ANSI X9.24-1:2009, annex A). NUMBER: its key serial number, 10 bytes.

    >>> dukpt_pin_key(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"), bytes.fromhex("FFFF9876543210E00001")).hex()
    '042666b49184cf5c68de9628d0397b36'
    """
    whole = int.from_bytes(number)
    device = (whole & ~_COUNTER).to_bytes(10)[:8]
    key = triple_des(bdk, device) + triple_des(_xor(bdk, _VARIANT), device)
    register, counter = whole & ((1 << 64) - 1) & ~_COUNTER, whole & _COUNTER
    for bit in range(20, -1, -1):
        if counter >> bit & 1:
            register |= 1 << bit
            key = _half(_xor(key, _VARIANT), register) + _half(key, register)
    return _xor(key, _PIN_VARIANT)


def _half(key: bytes, register: int) -> bytes:
    left, right = key[:8], key[8:]
    return _xor(triple_des(left + left, _xor(register.to_bytes(8), right)), right)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
