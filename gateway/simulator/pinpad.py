"""The PIN pad of the terminals: a typed PIN goes in, an enciphered block comes out (ISO 9564-1 format 0 under the zone key).

Its key can only encipher, and lives in memory alone: what the bank does with the block is not known here. Read next:
keys/hsm.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.simulator.errors import WalletError
from keys.errors import KeysError
from keys.keytypes import KeyMode, KeySpec, KeyUsage
from keys.pin import weakness
from keys.sensitive import Pin
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from gateway.simulator.wallet import Wallet
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.sensitive import Pan

_STEP = 271_829  # odd and no multiple of 5, so that every number comes in turn
_LAST_DAY = 31


class PinPad:
    """Many terminals may share one. `zpk`: a handle of `hsm` that may encipher PINs."""

    def __init__(self, hsm: Hsm, zpk: KeyHandle) -> None:
        self._hsm = hsm
        self._zpk = zpk

    def block(self, pan: Pan, pin: Pin) -> str:
        """DE52: 16 hexadecimal characters. Raises KeyRefused where the key may not encipher."""
        return self._hsm.encipher_pin(pin, self._zpk, pan).hex().upper()


def pinpad_of(wallet: Wallet) -> PinPad:
    """A PIN pad with the wallet's test key. Raises WalletError where there is none, or a weak one."""
    if not wallet.zpk_components:
        raise WalletError("the wallet holds no components of the terminals' PIN key")
    hsm = SoftwareHsm.in_memory()
    try:
        zpk = hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.ENCRYPT), wallet.zpk_label, wallet.zpk_components)
    except KeysError as error:
        raise WalletError(f"the terminals' PIN key: {error}") from None
    return PinPad(hsm, zpk)


def wrong_pin(pin: Pin) -> Pin:
    """A PIN of the same length that is not this one."""
    digits = pin.reveal()
    return Pin(f"{(int(digits) + 1) % 10 ** len(digits):0{len(digits)}d}")


def other_pin(pin: Pin) -> Pin:
    """A PIN of the same length that a bank lets a family choose: neither this one, nor weak, nor a date."""
    digits = pin.reveal()
    size, number = len(digits), int(digits)
    while True:
        number = (number + _STEP) % 10**size
        found = f"{number:0{size}d}"
        if found != digits and weakness(found, None, size) is None and min(int(found[:2]), int(found[2:4])) > _LAST_DAY:
            return Pin(found)
