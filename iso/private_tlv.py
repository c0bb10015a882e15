"""Private fields that hold tagged values (DE48, 60 to 63, 120 to 127), in the shape that a link's profile says.

A shape is "2+3": a tag of two characters, a length of three digits, the value; or "tokens": the tokens of BASE24, as DE126
carries them. Tags that nobody knows are kept, in their place, and written back as they were. Knows no meaning of a tag. Chip data
(DE55) is tlv.py's, fixed columns are layout.py's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from iso.errors import DialectError, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKENS = "tokens"
"""The shape of BASE24 tokens."""

_SHAPE = re.compile(r"([1-9])\+([23])")
_TAG = re.compile(r"[!-~]+")
_VALUE = re.compile(r"[ -~]*")
_TOKENS_HEAD = re.compile(r"& (\d{5})(\d{5})", re.ASCII)
_TOKEN_HEAD = re.compile(r"! ([!-~]{2})(\d{5}) ", re.ASCII)
_HEAD = 12
_TOKEN_TAG, _TOKEN_LENGTH, _TOKEN_HEAD_SIZE = 2, 5, 10


def parse(text: str, shape: str, field: int) -> tuple[tuple[str, str], ...]:
    """The tags and values of `text` in their order; a tag may come twice. Raises FormatError naming `field`.

    What is cut off or left over is refused, and so is a head of tokens that counts them wrongly.

    >>> parse("EX00520261PI003abc", "2+3", 48)
    (('EX', '20261'), ('PI', 'abc'))
    >>> parse("& 0000200026! Q900004 SITI", "tokens", 126)
    (('Q9', 'SITI'),)
    """
    if shape == TOKENS:
        return _parse_tokens(text, field)
    tag_size, length_size = _sizes(shape)
    items: list[tuple[str, str]] = []
    at, end = 0, len(text)
    while at < end:
        tag = text[at : at + tag_size]
        start = at + tag_size + length_size
        length = text[at + tag_size : start]
        if start > end:
            raise FormatError(field, "private tags: a tag or a length is cut off")
        if _TAG.fullmatch(tag) is None or not (length.isascii() and length.isdigit()):
            raise FormatError(field, f"private tags: a tag and {length_size} digits of its length must stand here")
        at = start + int(length)
        if at > end:
            raise FormatError(field, "private tags: a value is cut off")
        items.append((tag, _printable(text[start:at], field)))
    return tuple(items)


def build(items: Iterable[tuple[str, str]], shape: str, field: int) -> str:
    """Tags and values as text of that shape, in their order. Raises FormatError naming `field`.

    Whatever `parse` reads comes out as it was, character by character.

    >>> build([("EX", "20261"), ("PI", "abc")], "2+3", 48)
    'EX00520261PI003abc'
    """
    tag_size, length_size = (_TOKEN_TAG, _TOKEN_LENGTH) if shape == TOKENS else _sizes(shape)
    parts: list[str] = []
    for tag, value in items:
        if len(tag) != tag_size or _TAG.fullmatch(tag) is None:
            raise FormatError(field, f"private tags: a tag has {tag_size} printable characters")
        if len(value) >= 10**length_size:
            raise FormatError(field, f"private tags: a value has at most {10**length_size - 1} characters")
        head = f"{tag}{len(value):0{length_size}d}"
        parts.append((f"! {head} " if shape == TOKENS else head) + _printable(value, field))
    text = "".join(parts)
    return f"& {len(parts) + 1:05d}{_HEAD + len(text):05d}{text}" if shape == TOKENS else text


def tag_length(shape: str) -> int:
    """Characters of a tag. Raises DialectError."""
    return _TOKEN_TAG if shape == TOKENS else _sizes(shape)[0]


@lru_cache(maxsize=64)
def _sizes(shape: str) -> tuple[int, int]:
    """Characters of a tag and digits of a length. Raises DialectError."""
    match = _SHAPE.fullmatch(shape)
    if match is None:
        raise DialectError(
            'a shape of private tags is "tokens", or characters of a tag and digits of a length like "2+3"'
        )
    return int(match[1]), int(match[2])


def _printable(value: str, field: int) -> str:
    if _VALUE.fullmatch(value) is None:
        raise FormatError(field, "private tags: a value must be printable characters")
    return value


def _parse_tokens(text: str, field: int) -> tuple[tuple[str, str], ...]:
    """BASE24: "& ", count of tokens with this head, characters with this head; then "! ", tag, length, a space, the value."""
    head = _TOKENS_HEAD.match(text)
    if head is None:
        raise FormatError(field, 'tokens: must begin with "& " and ten digits')
    if int(head[2]) != len(text):
        raise FormatError(field, "tokens: the head says another length")
    items: list[tuple[str, str]] = []
    at = _HEAD
    while at < len(text):
        token = _TOKEN_HEAD.match(text, at)
        if token is None:
            raise FormatError(field, 'tokens: a token must begin with "! ", its tag, five digits and a space')
        start = at + _TOKEN_HEAD_SIZE
        at = start + int(token[2])
        if at > len(text):
            raise FormatError(field, "tokens: a token is cut off")
        items.append((token[1], _printable(text[start:at], field)))
    if int(head[1]) != len(items) + 1:
        raise FormatError(field, "tokens: the head says another count")
    return tuple(items)
