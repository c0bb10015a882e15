"""Every cause for which a PIN block fails, as blocks of the right length: what terminals, partners and attackers may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys import aes, pinblock, tdes
from keys.pinblock import PinFormat
from keys.sensitive import Pin

if TYPE_CHECKING:
    from collections.abc import Callable

    from keys.sensitive import Pan

OF_FOUR_DIGITS = ("wrong in the last digit", "PIN of four digits", "PIN of twelve digits")
"""What a PVV does not tell from the right PIN: it covers four digits."""


def failing_blocks(
    pin_format: PinFormat, keys: tuple[bytes, bytes], pans: tuple[Pan, Pan], right: Pin
) -> dict[str, bytes]:
    """Blocks that do not hold RIGHT, a PIN of six digits, for the first of PANS under the first of KEYS, by their cause."""
    (key, other_key), (pan, other_pan) = keys, pans
    digits = right.reveal()
    last = str((int(digits[-1]) + 1) % 10)

    def made(pin: str, pan: Pan = pan, key: bytes = key) -> bytes:
        return pinblock.encipher_block(
            pin_format, _cipher(pin_format, key), Pin(pin), pan, lambda count: bytes(range(count))
        )

    blocks = {
        "wrong PIN": made(digits[::-1] if digits != digits[::-1] else "314159"),
        "wrong in the last digit": made(digits[:-1] + last),
        "wrong card": made(digits, pan=other_pan),
        "wrong key": made(digits, key=other_key),
        "PIN of four digits": made(digits[:4]),
        "PIN of twelve digits": made(digits * 2),
        "zeros": bytes(pin_format.block_bytes),
        "ones": b"\xff" * pin_format.block_bytes,
    }
    for name, field in _bad_fields(pin_format, digits).items():
        blocks[name] = _enciphered(pin_format, key, pan, field)
    return blocks


def _bad_fields(pin_format: PinFormat, digits: str) -> dict[str, str]:
    """Clear fields of 16 hex digits that no terminal makes; before they are bound to a card."""
    control, fill = pin_format[-1], "A" if pin_format is PinFormat.ISO_4 else "F"
    another = "3" if control == "0" else "0"
    return {
        "bad fill": f"{control}6{digits}".ljust(15, fill) + "0",
        "bad fill at the first": f"{control}6{digits}0".ljust(16, fill),
        "wrong format": f"{another}6{digits}".ljust(16, fill),
        "format 1": f"16{digits}".ljust(16, fill),
        "non digit": f"{control}6{digits[:2]}A{digits[3:]}".ljust(16, fill),
        "non digit at the last": f"{control}6{digits[:-1]}B".ljust(16, fill),
        "wrong length of the PIN": f"{control}4{digits}".ljust(16, fill),
        "a length that no PIN has": f"{control}D{digits}".ljust(16, fill),
        "no PIN": f"{control}0".ljust(16, fill),
    }


def _enciphered(pin_format: PinFormat, key: bytes, pan: Pan, field: str) -> bytes:
    """A field bound to its card and enciphered, as the format has it."""
    encipher, clear = _cipher(pin_format, key), bytes.fromhex(field)
    if pin_format is PinFormat.ISO_4:
        bound = int.from_bytes(encipher(clear + bytes(8))) ^ int.from_bytes(pinblock.pan_field(pan))
        return encipher(bound.to_bytes(16))
    bound = int.from_bytes(clear) ^ int.from_bytes(pinblock.account_field(pan))
    return encipher(bound.to_bytes(8))


def _cipher(pin_format: PinFormat, key: bytes) -> Callable[[bytes], bytes]:
    return aes.encipherer(key) if pin_format is PinFormat.ISO_4 else tdes.encipherer(key)
