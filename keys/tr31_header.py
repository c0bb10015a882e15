"""The header of a key block (ANSI X9.143, TR-31; ISO 20038): what the key in it is for, in clear text.

    byte  0     version: how the block is protected (A, B, C, D, E)
    byte  1-4   characters of the whole block, decimal
    byte  5-6   usage: P0 PIN encryption, K1 key block protection, M6 CMAC ...
    byte  7     algorithm the key is for: T triple DES, A AES, H HMAC, R RSA, E elliptic curve, S DSA, D single DES
    byte  8     mode of use: E encipher, D decipher, B both, G make a MAC, V verify it, C both, X derive, N any ...
    byte  9-10  version of the key; 00 none; a c first: a component, not a whole key
    byte 11     exportability: E under a trusted key, N not at all, S by the sender's rules
    byte 12-13  number of optional blocks, decimal
    byte 14-15  reserved, 00; X9.143:2021 has a key context in byte 14, of which only 0 is read here
    then each optional block: name (2), its whole length in hex (2), text; a length of 256 or more is 00, its bytes (2), itself

Refuses to know keys: that the header is authentic, tr31.py finds. It is strict, so that one header has one reading, and the
messages name the place and never repeat the text. Read next: tr31.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from keys.errors import KeyBlockError

BLOCK_CHARACTERS_MOST = 9999
FIXED = 16
"""Characters before the optional blocks."""

UNITS = {"A": 8, "B": 8, "C": 8, "D": 16, "E": 2}
"""Characters that a block, and its optional blocks, are a multiple of. E enciphers by CTR: whole bytes are enough."""

PADDING = "PB"
"""The optional block that fills the others up to a unit; its text means nothing."""

_OPTIONAL_MOST = 99
_SHORT_HEAD, _SHORT_MOST = 4, 0xFF
_LONG_HEAD = 10
_WIDTHS = {"01": 1, "02": 2}

_LETTERS_OR_DIGITS = re.compile("[0-9A-Z]{2}").fullmatch
_HEX = re.compile("[0-9A-F]+").fullmatch
_DIGITS = re.compile("[0-9]+").fullmatch
# Field, its place, and what may stand there.
_FIELDS = (
    ("version", "byte 0", re.compile("[A-E]").fullmatch),
    ("usage", "bytes 5-6", _LETTERS_OR_DIGITS),
    ("algorithm", "byte 7", re.compile("[ADEHRST]").fullmatch),
    ("mode", "byte 8", re.compile("[BCDEGNSTVXY]").fullmatch),
    ("key_version", "bytes 9-10", re.compile("[0-9A-Za-z]{2}").fullmatch),
    ("exportability", "byte 11", re.compile("[ENS]").fullmatch),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a key block says of its key (X9.143:2021 6.2, table 1); fields as in the table above, each checked.

    Raises KeyBlockError, naming the field.
    BLOCKS: name and text of each optional block in order, without the padding block; their text is kept as it came.
    """

    version: str
    usage: str
    algorithm: str
    mode: str
    key_version: str = "00"
    exportability: str = "N"
    blocks: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for field, place, allowed in _FIELDS:
            if not allowed(getattr(self, field)):
                raise KeyBlockError(f"the header's {field.replace('_', ' ')} ({place}) is none that X9.143 has")
        if self.blocks:
            _refuse_blocks(self.blocks)

    @property
    def is_component(self) -> bool:
        """Whether the block holds a component, of no use before it is combined with the others."""
        return self.key_version[0] == "c"

    def block(self, name: str) -> str | None:
        """The text of the optional block NAME, or None."""
        return dict(self.blocks).get(name)

    def build(self, sealed: int) -> str:
        """The header as text, with a padding block where its version wants one, before SEALED characters of key and MAC.

        Raises KeyBlockError where the whole would be longer than its length field can say. X9.143, 8.4.2:

        >>> Header("B", "B0", "T", "X", "12", "S", (("KS", "00604B120F9292800000"),)).build(80)
        'B0120B0TX12S0100KS1800604B120F9292800000'
        """
        texts = [_optional(name, text) for name, text in self.blocks]
        unit = UNITS[self.version]
        missing = -sum(map(len, texts)) % unit
        if missing:
            while missing <= _SHORT_HEAD:  # name, length, and never without text
                missing += unit
            texts.append(_optional(PADDING, "0" * (missing - _SHORT_HEAD)))
        whole = FIXED + sum(map(len, texts)) + sealed
        if whole > BLOCK_CHARACTERS_MOST or len(texts) > _OPTIONAL_MOST:
            raise KeyBlockError("the key block would have more than 9999 characters or 99 optional blocks")
        head = f"{self.version}{whole:04d}{self.usage}{self.algorithm}{self.mode}{self.key_version}{self.exportability}"
        return f"{head}{len(texts):02d}00{''.join(texts)}"


def parse(block: str) -> tuple[Header, int]:
    """The header of the whole key block BLOCK (X9.143:2021 6.2), and the number of characters it takes.

    Raises KeyBlockError, naming the place. Vector: TR-31:2018 A.7.2.2.

    >>> header, end = parse("B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E")
    >>> header.usage, header.algorithm, header.mode, end
    ('P0', 'T', 'E', 16)
    """
    if not FIXED <= len(block) <= BLOCK_CHARACTERS_MOST:
        raise KeyBlockError("a key block has 16 to 9999 characters")
    if not (block.isascii() and block.isprintable()):
        raise KeyBlockError("a key block is printable ASCII")
    length, count = block[1:5], block[12:14]
    if not _DIGITS(length) or int(length) != len(block):
        raise KeyBlockError("the header's length (bytes 1-4) is not that of the key block")
    if not _DIGITS(count):
        raise KeyBlockError("the header's number of optional blocks (bytes 12-13) is not two digits")
    if block[14:16] != "00":
        raise KeyBlockError("the header's reserved field (bytes 14-15) is not 00")
    blocks, end = _parse_blocks(block, int(count)) if count != "00" else ((), FIXED)
    version, usage, algorithm, mode, key_version, exportability = (
        block[0], block[5:7], block[7], block[8], block[9:11], block[11],
    )  # fmt: skip
    header = Header(version, usage, algorithm, mode, key_version, exportability, blocks)
    if len(block) % UNITS[version]:
        raise KeyBlockError(f"the length of a version {version} key block is a multiple of {UNITS[version]}")
    if (end - FIXED) % UNITS[version]:
        raise KeyBlockError(f"the optional blocks of version {version} do not fill up a multiple of {UNITS[version]}")
    return header, end


def _parse_blocks(block: str, count: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """COUNT optional blocks, and where they end. The padding block is the last, if there is one, and is left out."""
    found: list[tuple[str, str]] = []
    at = FIXED
    for number in range(1, count + 1):
        place = f"optional block {number} (byte {at})"
        size, head = _parse_size(block, at, place)
        name, end = block[at : at + 2], at + size
        if size < head or end > len(block):
            raise KeyBlockError(f"{place} has a length that leaves no room for it")
        if name != PADDING:
            found.append((name, block[at + head : end]))
        elif number != count:
            raise KeyBlockError(f"{place} is a padding block and not the last")
        at = end
    return tuple(found), at


def _parse_size(block: str, at: int, place: str) -> tuple[int, int]:
    """The length of the optional block that begins AT, and how much of it is name and length."""
    size = block[at + 2 : at + 4]
    head = _SHORT_HEAD
    if size == "00":
        width = block[at + 4 : at + 6]
        if width not in _WIDTHS:
            raise KeyBlockError(f"{place} has a length of length that is not 01 or 02")
        head += 2 + 2 * _WIDTHS[width]
        size = block[at + 6 : at + head]
    # Cut short by the end of the block, it leaves no room for itself: the caller refuses that.
    if not _HEX(size):
        raise KeyBlockError(f"{place} has a length that is not upper case hex")
    return int(size, 16), head


def _optional(name: str, text: str) -> str:
    size = _SHORT_HEAD + len(text)
    return f"{name}{size:02X}{text}" if size <= _SHORT_MOST else f"{name}0002{_LONG_HEAD + len(text):04X}{text}"


def _refuse_blocks(blocks: tuple[tuple[str, str], ...]) -> None:
    names = [name for name, _ in blocks]
    if len(set(names)) != len(names):
        raise KeyBlockError("the header has two optional blocks of one name")
    for number, (name, text) in enumerate(blocks, 1):
        if not _LETTERS_OR_DIGITS(name) or name == PADDING:
            raise KeyBlockError(
                f"optional block {number} has a name that is not two upper case letters or digits, or PB"
            )
        if not (text.isascii() and text.isprintable()) or len(text) > BLOCK_CHARACTERS_MOST:
            raise KeyBlockError(f"optional block {number} is not printable ASCII of 9999 characters at most")
