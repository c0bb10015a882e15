"""The PIN pads of the terminals: a typed PIN goes in, an enciphered block comes out, under a zone key or as DUKPT has it.

Their keys can only encipher, and live in memory alone: what the bank does with a block is not known here. ISO 9564-1 formats
0, 3 and 4; ANSI X9.24-1 and -3. Read next: testkeys.py; keys/hsm.py.
"""

from __future__ import annotations

import fcntl
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gateway.simulator.errors import ProfileError, WalletError
from gateway.simulator.testkeys import TestKeyKind
from keys.errors import KeysError, KsnRefused
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.pin import weakness
from keys.pinblock import PinFormat
from keys.sensitive import Pin
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.simulator.testkeys import TestKey, TestKeys
    from gateway.simulator.wallet import Wallet
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.sensitive import Pan

_STEP = 271_829  # odd and no multiple of 5, so that every number comes in turn
_LAST_DAY = 31
_DEVICES = {Algorithm.TDES: 1 << 19, Algorithm.AES: 1 << 32}
_DEVICE_BYTES = 4


@dataclass(frozen=True, slots=True)
class PinEntry:
    """The blocks of what was typed, hexadecimal; under DUKPT the serial number of the key they share, else None."""

    blocks: tuple[str, ...]
    ksn: str | None = None


class PinPad:
    """Under a zone key. Many terminals may share one. `zpk`: a handle of `hsm` that may encipher PINs."""

    def __init__(self, hsm: Hsm, zpk: KeyHandle, pin_format: PinFormat = PinFormat.ISO_0) -> None:
        self._hsm = hsm
        self._zpk = zpk
        self._format = pin_format

    def for_terminal(self) -> PinPad:
        """The pad of one more terminal: this one."""
        return self

    def by_card(self) -> PinPad:
        """Where many ask at once: this one."""
        return self

    def block(self, pan: Pan, pin: Pin) -> str:
        """One block: 16 hexadecimal characters, 32 of format 4. Raises KeyRefused where the key may not encipher."""
        return self._hsm.encipher_pin(pin, self._zpk, pan, self._format).hex().upper()

    def enter(self, pan: Pan, *pins: Pin) -> PinEntry:
        """The blocks of one transaction."""
        return PinEntry(tuple(self.block(pan, pin) for pin in pins))


class DukptPinPad:
    """A device with a key of its own for each transaction. `next_ksn` gives its serial number, which counts on."""

    def __init__(
        self, hsm: Hsm, key: KeyHandle, next_ksn: Callable[[], bytes], make: Callable[[], DukptPinPad] | None,
        pin_format: PinFormat = PinFormat.ISO_0,
    ) -> None:  # fmt: skip
        self._hsm = hsm
        self._key = key
        self._next_ksn = next_ksn
        self._make = make
        self._format = pin_format

    def for_terminal(self) -> DukptPinPad:
        """The pad of one more terminal: another device, or this one where there is but one initial key."""
        return self if self._make is None else self._make()

    def by_card(self) -> DukptPinPad | CardPads:
        """Where many ask at once: a device for each card, or this one where there is but one initial key."""
        return self if self._make is None else CardPads(self._make)

    def enter(self, pan: Pan, *pins: Pin) -> PinEntry:
        """The blocks of one transaction, under its key. Raises KsnRefused where the device has used all its keys."""
        ksn = self._next_ksn()
        key = Dukpt(self._key, ksn)
        blocks = tuple(self._hsm.encipher_pin(pin, key, pan, self._format).hex().upper() for pin in pins)
        return PinEntry(blocks, ksn.hex().upper())


class CardPads:
    """A device for each card, made by `make`, for terminals that ask before they are answered.

    What is sent side by side arrives in any order, and a bank takes no number of a device after a higher one. A card is asked
    of once at a time.
    """

    def __init__(self, make: Callable[[], DukptPinPad]) -> None:
        self._make = make
        self._devices: dict[str, DukptPinPad] = {}

    def for_terminal(self) -> CardPads:
        """The pads of one more terminal: these."""
        return self

    def by_card(self) -> CardPads:
        """These."""
        return self

    def enter(self, pan: Pan, *pins: Pin) -> PinEntry:
        """The blocks of one transaction, typed at the card's own device."""
        device = self._devices.get(pan.reveal())
        if device is None:
            device = self._devices[pan.reveal()] = self._make()
        return device.enter(pan, *pins)


Pad: TypeAlias = PinPad | DukptPinPad | CardPads
"""Any kind."""


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


def zone_pad(keys: TestKeys, label: str, pin_format: PinFormat) -> PinPad:
    """A PIN pad under the zone key LABEL. Raises ProfileError."""
    return PinPad(keys.hsm, keys.key(label, TestKeyKind.ZPK).form(keys.hsm), pin_format)


def dukpt_pad(keys: TestKeys, label: str, pin_format: PinFormat) -> DukptPinPad:
    """A PIN pad of the base derivation key, or with the initial key, LABEL. Raises ProfileError."""
    key = keys.key(label, TestKeyKind.BDK, TestKeyKind.INITIAL)
    handle = key.form(keys.hsm)
    if key.kind is TestKeyKind.INITIAL:
        kept = None if keys.folder is None else keys.folder / f"{label}.ksn"
        return DukptPinPad(keys.hsm, handle, _Counter(_initial_ksn(key, 0), kept), None, pin_format)
    devices = _Devices(_DEVICES[key.algorithm], None if keys.folder is None else keys.folder / f"{label}.devices")

    def make() -> DukptPinPad:
        ksn = _initial_ksn(key, devices.following())
        return DukptPinPad(keys.hsm, handle, _Counter(ksn), make, pin_format)

    return make()


class _Devices:
    """Numbers of devices, 1 and up: none comes twice before all were there, as a bank knows how far each has counted.

    The last one is kept in a file, where there is one, of which several programs may take. The first is any.
    """

    def __init__(self, most: int, kept: Path | None) -> None:
        """MOST: above the highest number."""
        self._most = most
        self._kept = kept
        self._last = random.SystemRandom().randrange(1, most)

    def following(self) -> int:
        """The next one. Raises ProfileError."""
        if self._kept is None:
            self._last = self._last % (self._most - 1) + 1
            return self._last
        try:
            with os.fdopen(os.open(self._kept, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._last = int(file.read() or self._last) % (self._most - 1) + 1
                file.seek(0)
                file.truncate()
                file.write(f"{self._last}\n")
        except OSError as error:
            raise ProfileError(f"{self._kept}: {error.strerror}") from None
        except ValueError:
            raise ProfileError(f"{self._kept}: is not the number of the last device") from None
        return self._last


class _Counter:
    """Counts a device's serial numbers; in a file, where there is one, so that it goes on there the next time."""

    def __init__(self, initial: TdesKsn | AesKsn, kept: Path | None = None) -> None:
        self._ksn = initial
        self._kept = kept
        if kept is not None and kept.exists():
            try:
                last = type(initial).parse(kept.read_text(encoding="ascii").strip())
            except (OSError, ValueError, KsnRefused):
                raise ProfileError(f"{kept}: is not the serial number that the terminal used last") from None
            if last.device != initial.device:
                raise ProfileError(f"{kept}: is of another device than the initial key")
            self._ksn = last

    def __call__(self) -> bytes:
        """The next one."""
        self._ksn = self._ksn.following()
        if self._kept is not None:
            handle = os.open(self._kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{self._ksn}\n")
        return bytes(self._ksn)


def _initial_ksn(key: TestKey, device: int) -> TdesKsn | AesKsn:
    """The serial number before the first. DEVICE: which one of a base derivation key; an initial key says it itself."""
    try:
        if key.kind is TestKeyKind.BDK:
            if key.algorithm is Algorithm.TDES:
                return TdesKsn(key.device, device, 0)
            return AesKsn(key.device + device.to_bytes(_DEVICE_BYTES), 0)
        return TdesKsn.parse_initial(key.device) if key.algorithm is Algorithm.TDES else AesKsn(key.device, 0)
    except KsnRefused as error:
        raise ProfileError(f"test key {key.label}: {error}") from None


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
