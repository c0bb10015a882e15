"""What comes with a card in a message: PIN block and whose key it is under, chip data, track 2. For links that want it.

DE22 how the card was read, DE23 its sequence number, DE35 track 2 (ISO/IEC 7813), DE52 or another field the PIN block, DE55
chip data (EMV book 3, annex B), a private field the key serial number of a DUKPT terminal (ANSI X9.24). What is malformed is a
FormatError naming the field, but for a damaged PIN block, which is a wrong PIN. Refuses to know keys: it names their labels.
Read next: gateway.operations.card_check, which verifies.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from gateway.operations.card_check import CardData, Chip, IssuerAnswer, Stripe
from gateway.rules.chip import CardRules, Entry, ScriptResult, ScriptTold, Shown, entry_of, script_named
from iso import tlv
from iso.errors import FormatError
from keys.cvv import CardValue
from keys.emv import AC_BYTES, ATC_BYTES
from keys.emv_profile import ATC, CRYPTOGRAM, ISSUER_DATA, profiles
from keys.errors import KsnRefused
from keys.ksn import AES_BYTES, AesKsn, TdesKsn
from keys.pinblock import PinFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.terminals.profile import Link
    from gateway.terminals.unread_tags import UnreadTags
    from iso.message import Message
    from keys.emv_profile import Profile

ANSWER_TAG = "91"
"""Issuer authentication data (EMV book 3, annex A)."""
BLOCK_HEX = {0: 16, 3: 16, 4: 32}
FORMATS = {0: PinFormat.ISO_0, 3: PinFormat.ISO_3, 4: PinFormat.ISO_4}
_AMOUNT, _CURRENCY, _SEQUENCE, _INFORMATION = "9F02", "5F2A", "5F34", "9F27"
SCRIPT, IDENTIFIER, COMMAND, RESULTS = "72", "9F18", "86", "9F5B"
"""Of issuer scripts (EMV book 3, 10.10)."""
_RESULTS = {0: ScriptResult.NOT_DONE, 1: ScriptResult.FAILED, 2: ScriptResult.TAKEN}
_RESULT_BYTES, _RESULTS_MOST = 5, 8
_VERIFICATION, _VERIFICATION_BYTES = "95", 5
_SCRIPT_FAILED = 0x30  # before or after the last cryptogram, in the last byte (EMV book 3, annex C5)
_TYPE, _REQUEST = 0xC0, 0x80  # of a cryptogram, in its information data: an ARQC (EMV book 3, 6.5.5)
_TRACK2 = re.compile(r"(\d{8,19})[=D](\d{4})(\d{3})(\d*)F?", re.ASCII)
_VALUE_DIGITS = 3


def card_data(message: Message, link: Link, unread: UnreadTags | None = None) -> CardData | None:
    """What came with the card; None at a link that wants nothing but a PIN block of format 0 under its ZPK.

    UNREAD: where the tags of chip data are counted that the bank does not read. Raises FormatError.
    """
    if link.chip == "off" and link.stripe_value == "off" and link.pin_scheme == "zpk" and link.pin_format == 0:
        return None
    rules = CardRules(
        link.chip, link.stripe_value, link.chip_fallback == "allowed", link.chip_window, link.chip_scripts
    )
    entry = entry_of(message.get(22, ""))
    chip = None if link.chip == "off" else _chip(message, link, unread)
    stripe = None if link.chip == "off" and link.stripe_value == "off" else _stripe(message, link, entry)
    shown = Shown(
        entry,
        chip is not None,
        "" if stripe is None else stripe.service_code,
        stripe is not None and stripe.value != "",
    )
    ksn = None if link.pin_scheme == "zpk" else _ksn(message, link)
    return CardData(rules, shown, chip, stripe, ksn, FORMATS[link.pin_format])


def pin_block(message: Message, link: Link) -> bytes | None:
    """The enciphered PIN block: 8 bytes, 16 of format 4. Empty: damaged, which counts as a wrong PIN. None: none came."""
    return _block(message, link, link.pin_block_field)


def new_pin_block(message: Message, link: Link) -> bytes | None:
    """The block of the PIN that a PIN change is to, under the key and in the format of the other one. Empty: damaged."""
    return _block(message, link, link.new_pin_field)


def _block(message: Message, link: Link, number: int) -> bytes | None:
    text = message.get(number)
    if text is None:
        return None
    try:
        return bytes.fromhex(text) if len(text) == BLOCK_HEX[link.pin_format] else b""
    except ValueError:
        return b""


def chip_field(answer: IssuerAnswer) -> str:
    """DE55 of an answer, hex: issuer authentication data for the card, and a script to run after its last cryptogram.

    EMV book 3, 10.10: template 72 with the script's identifier (9F18) and its command (86).

    >>> chip_field(IssuerAnswer(bytes.fromhex("4EBC8F764A2E8B853030")))
    '910A4EBC8F764A2E8B853030'
    """
    items = [(ANSWER_TAG, answer.issuer_data)]
    if answer.script is not None:
        script = ((IDENTIFIER, answer.script.identifier), (COMMAND, answer.script.command))
        items.append((SCRIPT, tlv.build(script)))
    return tlv.build(items).hex().upper()


def script_words(message: Message) -> tuple[ScriptTold, ...]:
    """What a message's terminal says of scripts that came with an earlier answer; nothing where it cannot be read.

    Tag 9F5B, 5 bytes a script: the result in the first four bits, then the script's identifier (EMV book 4, annex A5). Without
    it, the bits of tag 95 that say that a script failed, of the transaction of tag 9F36. It is no part of what a message asks
    for: nothing is refused for it.
    """
    text = message.get(tlv.CHIP_DATA)
    if text is None:
        return ()
    try:
        tags = dict(tlv.parse(bytes.fromhex(text)))
    except (ValueError, FormatError):
        return ()
    results, terminal, counter = tags.get(RESULTS, b""), tags.get(_VERIFICATION, b""), tags.get(ATC, b"")
    if results:
        return tuple(_words(results))
    failed = len(terminal) == _VERIFICATION_BYTES and terminal[-1] & _SCRIPT_FAILED
    return (
        (ScriptTold(None, int.from_bytes(counter), ScriptResult.FAILED),)
        if failed and len(counter) == ATC_BYTES
        else ()
    )


def _words(results: bytes) -> Iterator[ScriptTold]:
    for at in range(0, min(len(results), _RESULTS_MOST * _RESULT_BYTES), _RESULT_BYTES):
        found, result = script_named(results[at + 1 : at + _RESULT_BYTES]), _RESULTS.get(results[at] >> 4)
        if found is not None and result is not None:
            yield ScriptTold(*found, result)


def _chip(message: Message, link: Link, unread: UnreadTags | None) -> Chip | None:
    """Chip data, with every tag that the card's cryptogram is made of; None: none came."""
    text = message.get(tlv.CHIP_DATA)
    if text is None:
        return None
    try:
        tags = dict(tlv.parse(bytes.fromhex(text)))
    except ValueError:
        raise FormatError(tlv.CHIP_DATA, "is not hexadecimal") from None
    if unread is not None:
        unread.add(tlv.CHIP_DATA, tags.keys() - _read_of_chips(link.chip_profile, scripts=bool(link.chip_scripts)))
    return Chip(
        _signers(link, tags), link.chip_key, link.chip_script_key, tags, _sequence(message, tags.get(_SEQUENCE)),
        _signed_this(message, tags),
    )  # fmt: skip


@cache
def _read_of_chips(names: tuple[str, ...], *, scripts: bool) -> frozenset[str]:
    """Tags of chip data that the bank reads, where cards are of these profiles. SCRIPTS: whether the link carries any."""
    signed = {one.tag for name in names for one in profiles()[name].data}
    told = {RESULTS, _VERIFICATION} if scripts else set()
    return frozenset(signed | told | {CRYPTOGRAM, ATC, ISSUER_DATA, _AMOUNT, _CURRENCY, _SEQUENCE, _INFORMATION})


def _signers(link: Link, tags: dict[str, bytes]) -> tuple[Profile, ...]:
    """The link's profiles of the cryptogram version that tag 9F10 tells; where it is of none, the first, which refuses it.

    Those whose version stands further on come first: where NSICCS has its version, Visa has its key index, and for one index
    the cryptogram of Visa's version 18 is right by NSICCS's rules as well, but not the answer.
    Raises FormatError where a tag is not there that the cryptogram of such a card is made of.
    """
    named = sorted((profiles()[name] for name in link.chip_profile), key=lambda profile: -profile.cvn_at)
    found = tuple(profile for profile in named if profile.knows(tags)) or (named[0],)
    for profile in found:
        for tag, least, most in (
            *((one.tag, one.least, one.most) for one in profile.data), (CRYPTOGRAM, AC_BYTES, AC_BYTES),
        ):  # fmt: skip
            if tag not in tags:
                raise FormatError(tlv.CHIP_DATA, f"tag {tag} is missing")
            if not least <= len(tags[tag]) <= most:
                raise FormatError(tlv.CHIP_DATA, f"tag {tag} has a wrong length")
    return found


def _signed_this(message: Message, tags: dict[str, bytes]) -> bool:
    """Whether the card signed this request: its amount and currency, where they are told, and as a request (ARQC)."""
    amount, currency = message.get(4), message.get(49)
    information = tags.get(_INFORMATION, b"")
    return (
        (amount is None or tags.get(_AMOUNT, b"").hex() in ("", amount))
        and (currency is None or tags.get(_CURRENCY, b"").hex() in ("", f"0{currency}"))
        and (not information or information[0] & _TYPE == _REQUEST)
    )


def _sequence(message: Message, told: bytes | None) -> str:
    """The card's sequence number, two digits: DE23, tag 5F34, or 00."""
    field = message.get(23)
    inside = None if told is None else told.hex()
    if field is None:
        return inside or "00"
    if not (field.isascii() and field.isdigit() and field.startswith("0")):
        raise FormatError(23, "is not a card sequence number")
    if inside is not None and inside != field[1:]:
        raise FormatError(23, f"is another than tag {_SEQUENCE} of field {tlv.CHIP_DATA}")
    return field[1:]


def _stripe(message: Message, link: Link, entry: Entry) -> Stripe | None:
    """Track 2 with the value that the link has it carry; None: none came."""
    text = message.get(35)
    if text is None:
        return None
    found = _TRACK2.fullmatch(text)
    if found is None:
        raise FormatError(35, "is not track 2 of a card")
    pan, expiry, service_code, rest = found.groups()
    if pan != message.get(2, pan):
        raise FormatError(35, "is of another card than field 2")
    value = ""
    if link.stripe_value != "off":
        value = rest[link.stripe_value_at : link.stripe_value_at + _VALUE_DIGITS]
    kind = CardValue.ICVV if entry is Entry.CHIP else CardValue.CVV1
    return Stripe(link.stripe_key, kind, expiry, service_code, value if len(value) == _VALUE_DIGITS else "")


def _ksn(message: Message, link: Link) -> TdesKsn | AesKsn:
    """The key serial number: 20 hex digits of triple DES, 24 of AES."""
    text = message.get(link.ksn_field)
    if text is None:
        raise FormatError(link.ksn_field, "is missing")
    text = text.strip()
    try:
        return AesKsn.parse(text) if len(text) == 2 * AES_BYTES else TdesKsn.parse(text)
    except KsnRefused:
        raise FormatError(link.ksn_field, "is not a key serial number that a terminal counts to") from None
